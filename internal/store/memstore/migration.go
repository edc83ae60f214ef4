package memstore

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"mallard/internal/mail"
	"mallard/internal/store"
)

var _ store.Migration = (*Store)(nil)

// RestoreAccount stores or replaces an account.
func (s *Store) RestoreAccount(ctx context.Context, in mail.Account, view string) error {
	if err := s.enter(ctx, "RestoreAccount"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if other, taken := s.names[view]; taken && other.row.ID != in.ID {
		return mail.NewError(mail.CodeExists, "this username already exists")
	}
	a := s.accounts[in.ID]
	if a == nil {
		a = &account{boxes: make(map[mail.MailboxID]*mailbox), names: make(map[string]bool), threads: make(map[threadKey]mail.ThreadID)}
		s.accounts[in.ID] = a
	} else {
		delete(s.names, a.view)
	}
	a.row, a.view = *in.Clone(), view
	s.names[view] = a
	return nil
}

// RestoreAddress stores or replaces an address row.
func (s *Store) RestoreAddress(ctx context.Context, in mail.Address) error {
	if err := s.enter(ctx, "RestoreAddress"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if !in.Account.IsZero() {
		if _, err := s.account(in.Account); err != nil {
			return err
		}
	}
	if id, taken := s.views[in.View]; taken && id != in.ID {
		return mail.NewError(mail.CodeExists, "this email address already exists")
	}
	if old := s.addresses[in.ID]; old != nil {
		delete(s.views, old.View)
	}
	s.addresses[in.ID], s.views[in.View] = cloneAddress(&in), in.ID
	return nil
}

// RestoreMailbox stores or replaces a mailbox.
func (s *Store) RestoreMailbox(ctx context.Context, acct mail.AccountID, in mail.Mailbox) error {
	if err := s.enter(ctx, "RestoreMailbox"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return err
	}
	if other := a.byPath(in.Path); other != nil && other.row.ID != in.ID {
		return mail.NewError(mail.CodeExists, "mailbox already exists")
	}
	b := a.boxes[in.ID]
	if b == nil {
		b = &mailbox{}
		a.boxes[in.ID] = b
	}
	delete(a.names, in.Path)
	b.row = in
	b.row.Keywords = slices.Clone(in.Keywords)
	for _, m := range b.msgs {
		b.sawKeywords(m.flags)
	}
	b.gone, b.forgotten, b.told = nil, 0, min(b.told, in.UIDNext-1)
	for uid := mail.UID(1); uid < in.UIDNext; uid++ {
		if _, found := b.find(uid); !found {
			b.gone = append(b.gone, tombstone{uid, in.HighestModSeq})
		}
	}
	a.modSeq, a.validity = max(a.modSeq, in.HighestModSeq), max(a.validity, in.UIDValidity)
	return nil
}

// RestoreMessages stores messages with their UIDs.
func (s *Store) RestoreMessages(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Restored) error {
	if err := s.enter(ctx, "RestoreMessages"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return err
	}
	msgs := make([]*message, len(in))
	for i := range in {
		if msgs[i], err = b.restored(&in[i]); err != nil {
			return err
		}
	}
	for _, m := range msgs {
		i, found := b.find(m.uid)
		if found {
			b.size -= b.msgs[i].size()
			b.msgs[i] = m
		} else {
			b.msgs = slices.Insert(b.msgs, i, m)
		}
		b.size += m.size()
		b.sawKeywords(m.flags)
		a.modSeq = max(a.modSeq, m.modSeq)
		for _, ref := range m.content.references {
			if key := (threadKey{ref, m.content.subject}); a.threads[key].IsZero() {
				a.threads[key] = m.threadID
			}
		}
	}
	return nil
}

// restored makes the message that is to be.
func (b *mailbox) restored(in *store.Restored) (*message, error) {
	m := &message{
		uid: in.UID, modSeq: in.ModSeq, flags: in.Flags, date: seconds(in.InternalDate), saved: seconds(in.SavedDate),
		expires: seconds(in.Expires), metaData: in.MetaData, info: in.Info, junk: in.Junk,
		id: in.ID, emailID: in.EmailID, threadID: in.ThreadID, prefix: slices.Clone(in.Prefix),
	}
	if i, found := b.find(in.UID); found && b.msgs[i].id == in.ID && b.msgs[i].emailID == in.EmailID {
		m.prefix, m.content = b.msgs[i].prefix, b.msgs[i].content
		return m, nil
	}
	st, ok := in.Staged.(*staged)
	if !ok || st.closed.Load() {
		return nil, mail.NewError(mail.CodeInvalid, "the message is not staged")
	}
	m.content = st.content
	return m, nil
}

// RemoveRestored takes messages away again.
func (s *Store) RemoveRestored(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet) error {
	if err := s.enter(ctx, "RemoveRestored"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return err
	}
	for _, m := range b.in(uids) {
		i, _ := b.find(m.uid)
		b.msgs = slices.Delete(b.msgs, i, i+1)
		b.size -= m.size()
	}
	return nil
}

// DomainAliases returns all domain aliases.
func (s *Store) DomainAliases(ctx context.Context) (map[string]string, error) {
	if err := s.enter(ctx, "DomainAliases"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return maps.Clone(s.aliases), nil
}

// EachRecord calls f for all records.
func (s *Store) EachRecord(ctx context.Context, f func(kind, key string, value []byte) error) error {
	if err := s.enter(ctx, "EachRecord"); err != nil {
		return err
	}
	all := make(map[string]map[string][]byte)
	for kind, records := range s.records {
		all[kind] = maps.Clone(records)
	}
	s.mu.Unlock()
	for kind, records := range all {
		for key, value := range records {
			value = bytes.Clone(value)
			err := f(kind, key, value)
			if s.opts.Mangle {
				mangle(value)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
