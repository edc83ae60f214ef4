package pebblestore

import (
	"context"
	"errors"
	"fmt"
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
	// deleting are accounts and mailboxes whose rows are being removed.
	deletingAccount map[mail.AccountID]bool
	deletingBox     map[mail.MailboxID]bool
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
		deletingAccount: map[mail.AccountID]bool{}, deletingBox: map[mail.MailboxID]bool{},
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
		c.deletions, c.directory, c.accounts, c.contentRows, c.contentFiles, c.references, c.rows,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// problem reports what is wrong.
func (c *checker) problem(where, format string, args ...any) {
	c.report.Problems++
	if c.o.Problem != nil {
		c.o.Problem(where, fmt.Sprintf(format, args...))
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
		if !pebble.IsCorruptionError(err) {
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

// deletions notes what is being removed in the background.
func (c *checker) deletions() error {
	return c.each("deletions", []byte{tabDeletion}, func(key, _ []byte) error {
		if len(key) != 1+2*idSize {
			c.problem("deletions", "a key has %d octets", len(key))
			return nil
		}
		acct, box := mail.AccountID(key[1:1+idSize]), mail.MailboxID(key[1+idSize:])
		if box.IsZero() {
			c.deletingAccount[acct] = true
		} else {
			c.deletingBox[box] = true
		}
		return nil
	})
}

// directory checks the names of accounts and addresses against their rows.
func (c *checker) directory() error {
	c.progress("names and addresses", 0, 0, "")
	err := c.each("usernames", []byte{tabUsername}, func(key, value []byte) error {
		c.count("usernames")
		if len(value) != idSize {
			c.problem("username "+string(key[1:]), "the row has %d octets", len(value))
			return nil
		}
		return c.mustExist(idKey(tabAccount, mail.AccountID(value)), "username "+string(key[1:]), "its account is missing")
	})
	if err != nil {
		return err
	}
	err = c.each("addresses", []byte{tabAddressView}, func(key, value []byte) error {
		c.count("addresses")
		a, err := decodeAddress(value)
		if err != nil {
			c.problem("address "+string(key[1:]), "the row cannot be decoded: %v", err)
			return nil
		}
		if a.View != string(key[1:]) {
			c.problem("address "+a.Address, "it stands under the name %q", key[1:])
		}
		if a.Account.IsZero() {
			return nil
		}
		return c.mustExist(idKey(tabAccount, a.Account), "address "+a.Address, "its account is missing")
	})
	if err != nil {
		return err
	}
	return c.each("addresses by id", []byte{tabAddress}, func(key, value []byte) error {
		return c.mustExist(textKey(tabAddressView, string(value)), fmt.Sprintf("address %x", key[1:]), "its row is missing")
	})
}

func (c *checker) mustExist(key []byte, where, text string) error {
	ok, err := c.has(key)
	if err != nil {
		c.problem(where, "a row cannot be read: %v", err)
		return nil
	}
	if !ok {
		c.problem(where, "%s", text)
	}
	return nil
}

// rows reads everything there is, so that no checksum of the database is left out.
func (c *checker) rows() error {
	return c.each("all rows", nil, func([]byte, []byte) error {
		c.count("rows")
		if n := c.report.Counts["rows"]; n%1000 == 0 {
			c.progress("rows", n, 0, "rows")
		}
		return nil
	})
}
