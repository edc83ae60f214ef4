// Package inspect reads everything that a store holds, by the storage contract alone, and
// tells what does not fit together. It is the check of engines that have none of their
// own, which would look deeper: a database server has its own checksums.
//
// It works beside a server: what changes while it is looked at is looked at again.
//
// The package knows no engine. It imports the contract and mail.
package inspect

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Options are what is told as it goes, one at a time; nil for nothing.
type Options struct {
	Progress func(stage string, done, total int64, unit string)
	Problem  func(where, text string)
}

// Report sums up a check that came to its end.
type Report struct {
	Problems int64
	Duration time.Duration
	Counts   map[string]int64 // how many of each kind of thing were looked at
}

// attempts is how often a mailbox is read that changes meanwhile.
const attempts = 5

// page is how many accounts are listed at a time.
const page = 1000

type checker struct {
	Options
	s      store.Store
	report Report
	total  int64
}

// Check looks at everything. The error says why it could not go on.
func Check(ctx context.Context, s store.Store, o Options) (*Report, error) {
	c := &checker{Options: o, s: s, report: Report{Counts: make(map[string]int64)}}
	begin := time.Now()
	q := store.AccountQuery{Limit: page}
	for more := true; more; {
		p, err := s.ListAccounts(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		c.total = p.Total
		for _, a := range p.Accounts {
			q.After = a.ID
			if err := c.account(ctx, a); err != nil && !gone(err) {
				return nil, fmt.Errorf("account %s: %w", a.Username, err)
			}
		}
		more = p.More && len(p.Accounts) > 0
	}
	c.report.Duration = time.Since(begin)
	return &c.report, nil
}

// gone reports whether something was deleted meanwhile.
func gone(err error) bool {
	if err == nil {
		return false
	}
	code := mail.CodeOf(err)
	return code == mail.CodeNoAccount || code == mail.CodeNoMailbox || code == mail.CodeNotFound
}

func (c *checker) problem(where, format string, args ...any) {
	c.report.Problems++
	if c.Problem != nil {
		c.Problem(where, fmt.Sprintf(format, args...))
	}
}

func (c *checker) progress() {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf("messages: %d", c.report.Counts["messages"]), c.report.Counts["accounts"], c.total, "accounts")
	}
}

func (c *checker) account(ctx context.Context, a *mail.Account) error {
	c.report.Counts["accounts"]++
	where := "account " + a.Username
	if err := c.address(ctx, a, where); err != nil {
		return err
	}
	boxes, err := c.s.ListMailboxes(ctx, a.ID)
	if err != nil {
		return fmt.Errorf("list mailboxes: %w", err)
	}
	inbox := false
	paths := make(map[string]bool, len(boxes))
	for _, b := range boxes {
		inbox = inbox || b.Path == mail.Inbox
		if paths[b.Path] {
			c.problem(where, "two mailboxes have the name %q", b.Path)
		}
		paths[b.Path] = true
		if err := c.mailbox(ctx, a, b); err != nil && !gone(err) {
			return fmt.Errorf("mailbox %s: %w", b.Path, err)
		}
		c.progress()
	}
	if !inbox {
		c.problem(where, "it has no INBOX")
	}
	if err := c.subscriptions(ctx, a, where); err != nil {
		return err
	}
	return c.quota(ctx, a, where)
}

// subscriptions looks at the names that are subscribed without a mailbox.
func (c *checker) subscriptions(ctx context.Context, a *mail.Account, where string) error {
	boxes, names, err := c.s.Subscriptions(ctx, a.ID)
	if err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	c.report.Counts["subscribed names"] += int64(len(names))
	for _, b := range boxes {
		if slices.Contains(names, b.Path) {
			c.problem(where, "%q is subscribed as a name without a mailbox, but there is one", b.Path)
		}
	}
	return nil
}

// address looks whether the main address is one of the account's.
func (c *checker) address(ctx context.Context, a *mail.Account, where string) error {
	if a.Address == "" {
		return nil
	}
	p, err := c.s.ListAddresses(ctx, store.AddressQuery{Account: a.ID})
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, row := range p.Addresses {
		if row.Address == a.Address {
			return nil
		}
	}
	again, err := c.s.Account(ctx, a.ID)
	if err == nil && again.Address == a.Address {
		c.problem(where, "its main address %s is none of its addresses", a.Address)
	}
	return err
}

// quota compares what is counted with the mailboxes, as long as nothing changes.
func (c *checker) quota(ctx context.Context, a *mail.Account, where string) error {
	var used, sum int64
	for range attempts {
		before, err := c.s.Account(ctx, a.ID)
		if err != nil {
			return err
		}
		boxes, err := c.s.ListMailboxes(ctx, a.ID)
		if err != nil {
			return err
		}
		used, sum = before.StorageUsed, 0
		counters, err := c.s.Counters(ctx, a.ID, mail.MailboxIDs(boxes)...)
		if err != nil {
			return err
		}
		for _, x := range counters {
			sum += x.Size
		}
		after, err := c.s.Account(ctx, a.ID)
		if err != nil {
			return err
		}
		if used == sum || used != after.StorageUsed {
			return nil
		}
	}
	c.problem(where, "%d octets are counted, its mailboxes have %d: count anew with POST /users/%s/quota/reset", used, sum, a.ID)
	return nil
}

// mailbox reads all messages of a mailbox, and again when it changed meanwhile and
// something does not fit.
func (c *checker) mailbox(ctx context.Context, a *mail.Account, b *mail.Mailbox) error {
	c.report.Counts["mailboxes"]++
	where := fmt.Sprintf("mailbox %s of %s", b.Path, a.Username)
	for try := 1; ; try++ {
		counted, err := c.s.Counters(ctx, a.ID, b.ID)
		if err != nil {
			return err
		}
		x := &reading{box: b, counted: counted[b.ID]}
		if err := c.read(ctx, a.ID, x); err != nil {
			return err
		}
		now, err := c.s.Mailbox(ctx, a.ID, b.ID)
		if err != nil {
			return err
		}
		quiet := now.HighestModSeq == b.HighestModSeq && now.UIDNext == b.UIDNext
		x.counters()
		if len(x.problems) == 0 || quiet || try == attempts {
			c.report.Counts["messages"] += x.messages
			for _, p := range x.problems {
				if quiet || p.uid != 0 { // counters of a mailbox that never rests cannot be compared
					c.problem(p.where(where), "%s", p.text)
				}
			}
			return nil
		}
		b = now
	}
}

// reading is one reading of a mailbox.
type reading struct {
	box                      *mail.Mailbox
	counted                  mail.Counters
	last                     mail.UID
	messages, unseen, marked int64
	problems                 []finding
}

// finding is something wrong with a message, or with UID 0 with the mailbox.
type finding struct {
	uid  mail.UID
	text string
}

func (f *finding) where(mailbox string) string {
	if f.uid == 0 {
		return mailbox
	}
	return fmt.Sprintf("message %d of %s", f.uid, mailbox)
}

func (x *reading) bad(uid mail.UID, format string, args ...any) {
	x.problems = append(x.problems, finding{uid, fmt.Sprintf(format, args...)})
}

// counters compares what was read with what the mailbox says.
func (x *reading) counters() {
	b := x.counted
	if x.messages != b.Messages || x.unseen != b.Unseen || x.marked != b.Deleted {
		x.bad(0, "it has %d messages, %d of them unseen and %d deleted; counted are %d, %d and %d",
			x.messages, x.unseen, x.marked, b.Messages, b.Unseen, b.Deleted)
	}
}

func (c *checker) read(ctx context.Context, acct mail.AccountID, x *reading) error {
	const fields = store.FieldHeader | store.FieldEnvelope | store.FieldBodyStructure | store.FieldBody
	for row, err := range c.s.Fetch(ctx, acct, x.box.ID, store.FetchQuery{Fields: fields}) {
		if err != nil && row != nil && mail.CodeOf(err) == mail.CodeCorrupt {
			x.bad(row.UID, "it cannot be read: %v", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		x.row(row)
		if err := x.octets(row); err != nil {
			if ctx.Err() != nil || mail.CodeOf(err) == mail.CodeUnavailable {
				return err
			}
			if !gone(err) {
				x.bad(row.UID, "its octets cannot be read: %v", err)
			}
		}
		if x.messages%100 == 0 {
			c.progress()
		}
	}
	return nil
}

// row looks at what is known of a message without its octets.
func (x *reading) row(row *store.Row) {
	x.messages++
	if !row.Flags.Has(mail.Seen) {
		x.unseen++
	}
	if row.Flags.Has(mail.Deleted) {
		x.marked++
	}
	if row.UID <= x.last {
		x.bad(row.UID, "its UID comes after %d", x.last)
	}
	x.last = row.UID
	if row.UID >= x.box.UIDNext {
		x.bad(row.UID, "its UID is not below the next one, %d", x.box.UIDNext)
	}
	if row.ModSeq > x.box.HighestModSeq {
		x.bad(row.UID, "its mod-sequence %d is above that of the mailbox, %d", row.ModSeq, x.box.HighestModSeq)
	}
	if len(row.Envelope) == 0 || len(row.BodyStructure) == 0 {
		x.bad(row.UID, "its ENVELOPE or its BODYSTRUCTURE is missing")
	}
}

// octets reads a message and compares its size and its beginning with what is known.
func (x *reading) octets(row *store.Row) error {
	body, err := row.Open()
	if err != nil {
		return err
	}
	w := &measure{want: row.Header}
	err = body.WriteRange(w, 0, body.Size())
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	switch {
	case w.n != row.Size:
		x.bad(row.UID, "it has %d octets, its size is %d", w.n, row.Size)
	case w.differs || w.n < int64(len(row.Header)):
		x.bad(row.UID, "it does not begin with its header")
	}
	return nil
}

// measure counts octets and compares the first ones.
type measure struct {
	want    []byte
	n       int64
	differs bool
}

// Write takes octets.
func (m *measure) Write(b []byte) (int, error) {
	if at := m.n; at < int64(len(m.want)) {
		part := m.want[at:min(int64(len(m.want)), at+int64(len(b)))]
		m.differs = m.differs || !bytes.Equal(part, b[:len(part)])
	}
	m.n += int64(len(b))
	return len(b), nil
}
