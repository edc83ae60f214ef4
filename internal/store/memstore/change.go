package memstore

import (
	"context"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// UpdateFlags changes flags and metadata.
func (s *Store) UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error) {
	if err := s.enter(ctx, "UpdateFlags"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, err
	}
	res := &store.FlagResult{}
	var change []*message
	msgs := b.in(u.UIDs)
	for _, m := range msgs {
		if u.UnchangedSince != nil && m.modSeq > *u.UnchangedSince {
			res.Modified = res.Modified.Append(m.uid)
			continue
		}
		if next := updated(m, u); next.flags != m.flags || next.metaData != m.metaData || !next.expires.Equal(m.expires) {
			if tooMany(next.flags) {
				return nil, mail.NewError(mail.CodeLimit, "too many keywords")
			}
			change = append(change, m)
		}
	}
	if len(change) > 0 {
		res.ModSeq = a.next()
		b.row.HighestModSeq = res.ModSeq
	}
	for _, m := range change {
		seen := m.flags.Has(mail.Seen)
		*m = updated(m, u)
		m.modSeq = res.ModSeq
		b.sawKeywords(m.flags)
		res.Changed = append(res.Changed, m.hot())
		s.logMessage(a, b, m, store.JournalEntry{
			Command: store.JournalFetch, SeenChanged: seen != m.flags.Has(mail.Seen), Origin: u.Origin,
		})
	}
	for _, m := range msgs {
		res.Existing = append(res.Existing, m.hot())
	}
	return res, nil
}

// updated returns the message as the update makes it.
func updated(m *message, u store.FlagUpdate) message {
	next := *m
	switch u.Mode {
	case store.FlagsAdd:
		next.flags = m.flags.Add(u.Flags)
	case store.FlagsRemove:
		next.flags = m.flags.Remove(u.Flags)
	case store.FlagsReplace:
		// Keywords that stay keep their spelling.
		next.flags = m.flags.Remove(m.flags.Remove(u.Flags)).Add(u.Flags)
	}
	if u.MetaData != nil {
		next.metaData = *u.MetaData
	}
	if u.Expires != nil {
		next.expires = seconds(*u.Expires)
	}
	return next
}

func tooMany(f mail.Flags) bool {
	n := 0
	for range f.Keywords() {
		n++
	}
	return n > mail.MaxKeywords
}

// Copy stores messages again in another or the same mailbox.
func (s *Store) Copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64) (*store.CopyResult, error) {
	if err := s.enter(ctx, "Copy"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, src, dst, err := s.both(acct, from, to)
	if err != nil {
		return nil, err
	}
	msgs := src.in(uids)
	used := a.used()
	for _, m := range msgs {
		used += m.size()
	}
	if quota > 0 && used > quota && len(msgs) > 0 {
		return nil, overQuota()
	}
	return s.copy(a, dst, msgs), nil
}

// both returns the mailboxes of a copy; the store is locked.
func (s *Store) both(acct mail.AccountID, from, to mail.MailboxID) (a *account, src, dst *mailbox, err error) {
	if a, src, err = s.mailbox(acct, from); err != nil {
		return nil, nil, nil, err
	}
	if _, dst, err = s.mailbox(acct, to); err != nil {
		return nil, nil, nil, noMailbox("destination")
	}
	return a, src, dst, nil
}

// copy puts copies of messages at the end of a mailbox.
func (s *Store) copy(a *account, dst *mailbox, msgs []*message) *store.CopyResult {
	res := &store.CopyResult{UIDValidity: dst.row.UIDValidity}
	if len(msgs) == 0 {
		return res
	}
	ms := a.next()
	for _, m := range msgs {
		c := *m
		c.id = mail.NewID[mail.MessageID](s.gen)
		c.saved = s.now()
		c.expires = time.Time{}
		if dst.row.Retention > 0 {
			c.expires = s.now().Add(dst.row.Retention)
		}
		dst.add(&c, ms)
		s.logMessage(a, dst, &c, store.JournalEntry{Command: store.JournalExists, Junk: c.classify(dst.row.SpecialUse)})
		res.From, res.To = append(res.From, m.uid), append(res.To, c.uid)
	}
	return res
}

// classify notes whether a message is junk in a mailbox with this use, and returns
// what the journal says of it.
func (m *message) classify(use mail.SpecialUse) int8 {
	switch {
	case use == mail.UseJunk && !m.junk:
		m.junk = true
		return 1
	case use != mail.UseJunk && use != mail.UseTrash && m.junk:
		m.junk = false
		return -1
	}
	return 0
}

// Move copies messages and expunges the originals.
func (s *Store) Move(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*store.CopyResult, error) {
	if err := s.enter(ctx, "Move"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, src, dst, err := s.both(acct, from, to)
	if err != nil {
		return nil, err
	}
	msgs := src.in(uids)
	res := s.copy(a, dst, msgs)
	res.SourceModSeq = s.expunge(a, src, msgs)
	return res, nil
}

// Delete is Expunge: nothing that is removed is kept.
func (s *Store) Delete(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, _ bool) (*store.ExpungeResult, error) {
	return s.Expunge(ctx, acct, mbox, uids, false)
}

// Expunge removes messages.
func (s *Store) Expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool) (*store.ExpungeResult, error) {
	if err := s.enter(ctx, "Expunge"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, err
	}
	res := &store.ExpungeResult{}
	var msgs []*message
	for _, m := range b.in(uids) {
		if onlyDeleted && !m.flags.Has(mail.Deleted) {
			continue
		}
		msgs = append(msgs, m)
		res.UIDs = res.UIDs.Append(m.uid)
	}
	res.ModSeq = s.expunge(a, b, msgs)
	return res, nil
}

// expunge removes messages and returns the mod-sequence, zero for none.
func (s *Store) expunge(a *account, b *mailbox, msgs []*message) mail.ModSeq {
	if len(msgs) == 0 {
		return 0
	}
	ms := a.next()
	b.remove(msgs, ms, s.opts.Tombstones)
	for _, m := range msgs {
		s.logMessage(a, b, m, store.JournalEntry{Command: store.JournalExpunge})
	}
	return ms
}
