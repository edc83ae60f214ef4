package pebblestore

import (
	"context"
	"slices"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// newMailbox makes a mailbox in memory and its boxChange; now is in milliseconds.
func (s *Store) newMailbox(in *mail.Mailbox, validity uint64, seq uint64, now int64) *boxChange {
	created := now
	if !in.Created.IsZero() {
		created = millis(in.Created)
	}
	p := &profile{
		path: in.Path, use: in.SpecialUse, subscribed: in.Subscribed, hidden: in.Hidden, encrypt: in.Encrypt,
		retention: in.Retention, uidValidity: mail.UIDValidity(validity), created: created,
	}
	m := &mailbox{id: mail.NewID[mail.MailboxID](s.ids)}
	m.profile.Store(p)
	return &boxChange{mailbox: m, profile: p, head: mailboxHead{uidNext: 1, highest: seq}}
}

// nextValidity gives out a UIDVALIDITY, which is the time where that is greater than
// the last one.
func (h *accountHead) nextValidity(now int64) uint64 {
	h.uidValidity = max(h.uidValidity+1, uint64(now/1000))
	return h.uidValidity
}

// CreateMailbox implements store.Mailboxes.
func (s *Store) CreateMailbox(ctx context.Context, acct mail.AccountID, in mail.Mailbox, maxMailboxes int) (*mail.Mailbox, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	c, err := s.begin(ctx, acct)
	if err != nil {
		return nil, err
	}
	defer c.end()
	old := c.acct.set.Load()
	if old.byPath(in.Path) != nil {
		return nil, mail.NewError(mail.CodeExists, "the mailbox exists")
	}
	if maxMailboxes > 0 && len(old.sorted) >= maxMailboxes {
		return nil, mail.NewError(mail.CodeLimit, "there are too many mailboxes")
	}
	named, err := c.takeName(in.Path)
	if err != nil {
		return nil, err
	}
	in.Subscribed = in.Subscribed || named
	b := s.newMailbox(&in, c.head.nextValidity(c.now), c.seq, c.now)
	c.boxes = append(c.boxes, b)
	c.set = newBoxSet(append(slices.Clone(old.sorted), boxEntry{in.Path, b.mailbox}))
	c.noteMailbox(cmdCreate, b.id, in.Path)
	if err := c.commit(true); err != nil {
		return nil, err
	}
	return b.view(), nil
}

// boxes runs f with the mailboxes of an account.
func (s *Store) boxes(ctx context.Context, acct mail.AccountID, f func(*boxSet) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	a, err := s.account(ctx, acct)
	if err != nil {
		return err
	}
	defer s.accounts.release(a)
	return f(a.set.Load())
}

// ListMailboxes implements store.Mailboxes.
func (s *Store) ListMailboxes(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error) {
	var out []*mail.Mailbox
	err := s.boxes(ctx, acct, func(set *boxSet) error {
		out = set.views()
		return nil
	})
	return out, err
}

// views gives the mailboxes as the contract shows them.
func (s *boxSet) views() []*mail.Mailbox {
	out := make([]*mail.Mailbox, len(s.sorted))
	for i, e := range s.sorted {
		out[i] = e.box.view()
		out[i].Path = e.path // of the same moment as the others
	}
	return out
}

// Mailbox implements store.Mailboxes.
func (s *Store) Mailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error) {
	return s.oneBox(ctx, acct, func(set *boxSet) *mailbox { return set.byID[id] })
}

// MailboxByPath implements store.Mailboxes.
func (s *Store) MailboxByPath(ctx context.Context, acct mail.AccountID, path string) (*mail.Mailbox, error) {
	return s.oneBox(ctx, acct, func(set *boxSet) *mailbox { return set.byPath(path) })
}

func (s *Store) oneBox(ctx context.Context, acct mail.AccountID, pick func(*boxSet) *mailbox) (*mail.Mailbox, error) {
	var out *mail.Mailbox
	err := s.boxes(ctx, acct, func(set *boxSet) error {
		m := pick(set)
		if m == nil {
			return noMailbox()
		}
		out = m.view()
		return nil
	})
	if mail.CodeOf(err) == mail.CodeNoAccount {
		err = noMailbox()
	}
	return out, err
}

// Counters implements store.Mailboxes.
func (s *Store) Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	out := make(map[mail.MailboxID]mail.Counters, len(ids))
	err := s.boxes(ctx, acct, func(set *boxSet) error {
		for _, id := range ids {
			if m := set.byID[id]; m != nil {
				h := m.head.Load()
				out[id] = mail.Counters{Messages: h.messages, Unseen: h.unseen, Deleted: h.deleted, Size: h.size}
			}
		}
		return nil
	})
	if mail.CodeOf(err) == mail.CodeNoAccount {
		err = nil
	}
	return out, err
}

// UpdateMailbox implements store.Mailboxes.
func (s *Store) UpdateMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, update func(*mail.Mailbox) error) (*mail.Mailbox, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	c, err := s.begin(ctx, acct)
	if err != nil {
		return nil, boxError(err)
	}
	defer c.end()
	b, err := c.box(id)
	if err != nil {
		return nil, err
	}
	v := b.view()
	if err := update(v); err != nil {
		return nil, err
	}
	p := *b.current()
	p.subscribed, p.hidden, p.encrypt = v.Subscribed, v.Hidden, v.Encrypt
	p.retention, p.use = v.Retention, v.SpecialUse
	b.profile = &p
	if err := c.commit(true); err != nil {
		return nil, err
	}
	return b.view(), nil
}

// boxError is the error where the contract knows no missing account.
func boxError(err error) error {
	if mail.CodeOf(err) == mail.CodeNoAccount {
		return noMailbox()
	}
	return err
}

// RenameMailboxes implements store.Mailboxes.
func (s *Store) RenameMailboxes(ctx context.Context, acct mail.AccountID, renames []store.Rename) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.begin(ctx, acct)
	if err != nil {
		return boxError(err)
	}
	defer c.end()
	for _, r := range renames {
		b, err := c.box(r.ID)
		if err != nil {
			return err
		}
		named, err := c.takeName(r.Path)
		if err != nil {
			return err
		}
		p := *b.current()
		p.path, p.subscribed = r.Path, p.subscribed || named
		b.profile = &p
		c.noteMailbox(cmdRename, r.ID, r.Path)
	}
	if len(renames) == 0 {
		return nil
	}
	entries := slices.Clone(c.acct.set.Load().sorted)
	taken := make(map[string]bool, len(entries))
	for i := range entries {
		for _, b := range c.boxes {
			if entries[i].box == b.mailbox {
				entries[i].path = b.profile.path
			}
		}
		if taken[entries[i].path] {
			return mail.NewError(mail.CodeExists, "the mailbox exists")
		}
		taken[entries[i].path] = true
	}
	c.set = newBoxSet(entries)
	return c.commit(true)
}

// DeleteMailbox implements store.Mailboxes. The mailbox is gone at once; its rows
// are removed in the background, which a row of tabDeletion ensures.
func (s *Store) DeleteMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, nameOctets int) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.begin(ctx, acct)
	if err != nil {
		return boxError(err)
	}
	defer c.end()
	b, err := c.box(id)
	if err != nil {
		return err
	}
	if p := b.current(); p.subscribed {
		if err := c.leaveName(p.path, nameOctets); err != nil {
			return err
		}
	}
	b.deleted = true
	c.head.used -= b.head.size
	del(c.batch, boxKey(tabMailbox, acct, id))
	del(c.batch, boxKey(tabMailboxHead, acct, id))
	set(c.batch, deletionKey(acct, id), nil)
	c.noteMailbox(cmdDelete, id, "")
	entries := slices.DeleteFunc(slices.Clone(c.acct.set.Load().sorted), func(e boxEntry) bool { return e.box == b.mailbox })
	c.set = newBoxSet(entries)
	if err := c.commit(true); err != nil {
		return err
	}
	s.wakeSweeper()
	return nil
}
