package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// CheckOptions say what is told while a check runs. Both functions are called one at
// a time.
type CheckOptions struct {
	// Progress is called now and then with what is looked at; total is 0 when it is
	// not known.
	Progress func(stage string, done, total int64, unit string)
	// Problem is called with everything that is wrong: where, and what.
	Problem func(where, text string)
}

// CheckReport sums up a check.
type CheckReport struct {
	Problems int64
	Duration time.Duration
	// Counts is how many of each kind of thing were looked at.
	Counts map[string]int64
}

// checker is one call of Check. It looks at one state of the database, a snapshot;
// content is kept for it from the sweeper. What it finds on a store in use is judged
// twice: a message that is gone by then is no problem.
type checker struct {
	s      *Store
	ctx    context.Context
	o      CheckOptions
	snap   *pebble.Snapshot
	report CheckReport
	reader reader
	runs   meta
	// deleting are accounts and mailboxes whose rows are being removed.
	deletingAccount map[mail.AccountID]bool
	deletingBoxes   map[mail.AccountID][]mail.MailboxID
}

// Check verifies the whole store: every row of the database with its checksums,
// every message re-assembled and compared with the checksum that was taken when it
// came, content and files against their hashes, counters, quota and mod-sequences
// against the messages, and references both ways. It changes nothing, and can be used
// on a store that is in use or open for reading only. Problems are reported, not
// returned; an error means that the check could not go on.
func (s *Store) Check(ctx context.Context, o CheckOptions) (*CheckReport, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	c := &checker{
		s: s, ctx: ctx, o: o, report: CheckReport{Counts: map[string]int64{}},
		deletingAccount: map[mail.AccountID]bool{}, deletingBoxes: map[mail.AccountID][]mail.MailboxID{},
	}
	start := time.Now()
	s.blobs.readers.begin(&c.reader)
	defer s.blobs.readers.end(&c.reader)
	c.snap = s.db.NewSnapshot()
	err := c.run()
	if cerr := c.snap.Close(); err == nil && cerr != nil {
		err = readError("end the check", cerr)
	}
	if err != nil {
		return nil, err
	}
	c.report.Duration = time.Since(start)
	return &c.report, nil
}

func (c *checker) run() error {
	for _, step := range []func() error{
		c.meta, c.deletions, c.directory, c.accounts, c.content, c.references, c.notes, c.rows, c.files,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// problem reports what is wrong, in a line: Pebble adds one to its errors that says nothing.
func (c *checker) problem(where, format string, args ...any) {
	c.report.Problems++
	if c.o.Problem != nil {
		c.o.Problem(where, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n<corruption detail carrier>", ""))
	}
}

func (c *checker) progress(stage string, done, total int64, unit string) {
	if c.o.Progress != nil {
		c.o.Progress(stage, done, total, unit)
	}
}

func (c *checker) count(what string) { c.report.Counts[what]++ }

// each calls f for the rows of a prefix. Damage that keeps a part of the rows from
// being read is reported; an error of f, or a context that ended, is returned.
func (c *checker) each(what string, prefix []byte, f func(key, value []byte) error) error {
	it, err := c.snap.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return readError("check "+what, err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if c.ctx.Err() != nil {
			return errors.Join(canceled(c.ctx), it.Close())
		}
		value, verr := it.ValueAndErr()
		if verr != nil {
			c.problem(what, "a value cannot be read: %v", verr)
			continue
		}
		if err := f(it.Key(), value); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		if !isDamage(err) {
			return readError("check "+what, err)
		}
		c.problem(what, "rows cannot be read: %v", err)
	}
	return nil
}

// get returns a value of the snapshot, nil when there is none.
func (c *checker) get(key []byte) ([]byte, error) {
	v, closer, err := c.snap.Get(key)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, closer.Close()
}

func (c *checker) has(key []byte) (bool, error) {
	_, closer, err := c.snap.Get(key)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

// meta checks the record of runs.
func (c *checker) meta() error {
	value, err := c.get([]byte{tabMeta})
	if err == nil && value == nil {
		err = errNoRuns
	}
	if err == nil {
		c.runs, err = decodeMeta(value)
	}
	if err == nil && (c.runs.epoch == 0 || len(c.runs.crashed) > 0 && slices.Max(c.runs.crashed) > c.runs.epoch) {
		err = fmt.Errorf("%w: run %d", errValue, c.runs.epoch)
	}
	if err != nil {
		c.problem("the store", "the record of runs cannot be read: %v", err)
		c.runs.epoch = math.MaxUint64 // one problem is enough
	}
	return nil
}

// deletions notes what is being removed in the background.
func (c *checker) deletions() error {
	return c.each("deletions", []byte{tabDeletion}, func(key, value []byte) error {
		if len(key) != 1+2*idSize {
			c.problem("deletions", "a key has %d octets", len(key))
			return nil
		}
		acct, box := mail.AccountID(key[1:1+idSize]), mail.MailboxID(key[1+idSize:])
		if _, err := decodeKept(value); err != nil || len(value) > 0 && !box.IsZero() {
			c.problem(fmt.Sprintf("account %s", acct), "the record of its deletion cannot be decoded: %v", err)
		}
		if box.IsZero() {
			c.deletingAccount[acct] = true
			return c.mustNotExist(idKey(tabAccount, acct), fmt.Sprintf("account %s", acct), "it is noted as deleted")
		}
		c.deletingBoxes[acct] = append(c.deletingBoxes[acct], box)
		return c.mustNotExist(boxKey(tabMailbox, acct, box), fmt.Sprintf("mailbox %s of account %s", box, acct), "it is noted as deleted")
	})
}

func (c *checker) mustExist(key []byte, where, text string) error {
	return c.existence(key, true, where, text)
}

func (c *checker) mustNotExist(key []byte, where, text string) error {
	return c.existence(key, false, where, text)
}

func (c *checker) existence(key []byte, want bool, where, text string) error {
	ok, err := c.has(key)
	if err != nil {
		c.problem(where, "a row cannot be read: %v", err)
		return nil
	}
	if ok != want {
		c.problem(where, "%s", text)
	}
	return nil
}
