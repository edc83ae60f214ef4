package memstore

import (
	"context"
	"slices"
	"strings"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// CreateMailbox stores a mailbox.
func (s *Store) CreateMailbox(ctx context.Context, acct mail.AccountID, in mail.Mailbox, maxMailboxes int) (*mail.Mailbox, error) {
	if err := s.enter(ctx, "CreateMailbox"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return nil, err
	}
	if a.byPath(in.Path) != nil {
		return nil, mail.NewError(mail.CodeExists, "mailbox already exists")
	}
	if maxMailboxes > 0 && len(a.boxes) >= maxMailboxes {
		return nil, mail.NewError(mail.CodeLimit, "the account has the greatest allowed number of mailboxes")
	}
	in.Subscribed = in.Subscribed || a.names[in.Path]
	delete(a.names, in.Path)
	b := s.putMailbox(a, in)
	s.logMailbox(a, b, store.JournalCreate)
	return b.snapshot(), nil
}

// putMailbox stores a mailbox that was checked; the store is locked.
func (s *Store) putMailbox(a *account, in mail.Mailbox) *mailbox {
	a.validity = max(a.validity+1, mail.UIDValidity(s.opts.Now().Unix()))
	b := &mailbox{row: mail.Mailbox{
		ID:            mail.NewID[mail.MailboxID](s.gen),
		Path:          in.Path,
		SpecialUse:    in.SpecialUse,
		Subscribed:    in.Subscribed,
		Hidden:        in.Hidden,
		Retention:     in.Retention,
		Encrypt:       in.Encrypt,
		UIDValidity:   a.validity,
		UIDNext:       1,
		HighestModSeq: a.next(),
		Created:       in.Created,
	}}
	if b.row.Created.IsZero() {
		b.row.Created = s.now()
	}
	a.boxes[b.row.ID] = b
	return b
}

// ListMailboxes returns the mailboxes of an account by path.
func (s *Store) ListMailboxes(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error) {
	if err := s.enter(ctx, "ListMailboxes"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return nil, err
	}
	return a.sorted(), nil
}

// sorted returns the mailboxes by path.
func (a *account) sorted() []*mail.Mailbox {
	var out []*mail.Mailbox
	for _, b := range a.boxes {
		out = append(out, b.snapshot())
	}
	slices.SortFunc(out, func(a, b *mail.Mailbox) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Mailbox returns a mailbox.
func (s *Store) Mailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error) {
	if err := s.enter(ctx, "Mailbox"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, id)
	if err != nil {
		return nil, err
	}
	return b.snapshot(), nil
}

// MailboxByPath returns the mailbox with a path.
func (s *Store) MailboxByPath(ctx context.Context, acct mail.AccountID, path string) (*mail.Mailbox, error) {
	if err := s.enter(ctx, "MailboxByPath"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if a := s.accounts[acct]; a != nil {
		if b := a.byPath(path); b != nil {
			return b.snapshot(), nil
		}
	}
	return nil, noMailbox("no such mailbox")
}

// Counters returns the counters of mailboxes.
func (s *Store) Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	if err := s.enter(ctx, "Counters"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	out := make(map[mail.MailboxID]mail.Counters, len(ids))
	for _, id := range ids {
		if _, b, err := s.mailbox(acct, id); err == nil {
			out[id] = b.counters()
		}
	}
	return out, nil
}

// UpdateMailbox changes the settings of a mailbox.
func (s *Store) UpdateMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, change func(*mail.Mailbox) error) (*mail.Mailbox, error) {
	if err := s.enter(ctx, "UpdateMailbox"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, id)
	if err != nil {
		return nil, err
	}
	if s.opts.Mangle {
		_ = change(b.snapshot()) // an attempt that came to nothing
	}
	row := b.snapshot()
	if err := change(row); err != nil {
		return nil, err
	}
	b.row.Subscribed, b.row.Hidden, b.row.Retention = row.Subscribed, row.Hidden, row.Retention
	b.row.SpecialUse, b.row.Encrypt = row.SpecialUse, row.Encrypt
	return b.snapshot(), nil
}

// RenameMailboxes renames mailboxes in one step.
func (s *Store) RenameMailboxes(ctx context.Context, acct mail.AccountID, renames []store.Rename) error {
	if err := s.enter(ctx, "RenameMailboxes"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	target := make(map[mail.MailboxID]string)
	for _, r := range renames {
		if _, _, err := s.mailbox(acct, r.ID); err != nil {
			return err
		}
		target[r.ID] = r.Path
	}
	a := s.accounts[acct]
	if a == nil {
		return nil // nothing to rename
	}
	taken := make(map[string]bool)
	for id, b := range a.boxes {
		path, renamed := target[id]
		if !renamed {
			path = b.row.Path
		}
		if taken[path] {
			return mail.NewError(mail.CodeExists, "mailbox already exists")
		}
		taken[path] = true
	}
	for _, r := range renames {
		b := a.boxes[r.ID]
		b.row.Path = r.Path
		b.row.Subscribed = b.row.Subscribed || a.names[r.Path]
		delete(a.names, r.Path)
		s.logMailbox(a, b, store.JournalRename)
	}
	return nil
}

// DeleteMailbox removes a mailbox with its messages.
func (s *Store) DeleteMailbox(ctx context.Context, acct mail.AccountID, id mail.MailboxID, nameOctets int) error {
	if err := s.enter(ctx, "DeleteMailbox"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a, b, err := s.mailbox(acct, id)
	if err != nil {
		return err
	}
	delete(a.boxes, id)
	if b.row.Subscribed && a.hasRoom(b.row.Path, nameOctets) {
		a.names[b.row.Path] = true
	}
	b.row.HighestModSeq = a.next()
	s.logMailbox(a, b, store.JournalDelete)
	return nil
}
