package memstore

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Fetch yields messages. The UIDs are those of the moment of the call, each row
// is of the moment when it is yielded.
func (s *Store) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		uids, err := s.selectUIDs(ctx, acct, mbox, q)
		if err != nil {
			yield(nil, err)
			return
		}
		n := 0
		for _, uid := range uids {
			if q.Limit > 0 && n == q.Limit {
				return
			}
			row, end, err := s.row(ctx, acct, mbox, uid, q)
			if err != nil {
				yield(nil, err)
				return
			}
			if row == nil {
				continue
			}
			n++
			more := yield(row, nil)
			end()
			if !more {
				return
			}
		}
	}
}

// selectUIDs returns the UIDs that a query selects, in its order.
func (s *Store) selectUIDs(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) ([]mail.UID, error) {
	if err := s.enter(ctx, "Fetch"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, err
	}
	msgs := slices.Clone(b.msgs)
	if q.UIDs != nil {
		msgs = b.in(q.UIDs)
	}
	if q.Order == store.ByDate || q.Order == store.ByDateDescending {
		slices.SortFunc(msgs, func(a, b *message) int { return compareDate(a.date, a.uid, b.date, b.uid) })
		msgs = slices.DeleteFunc(msgs, func(m *message) bool { return !behind(m, q) })
	}
	if q.Order == store.ByUIDDescending || q.Order == store.ByDateDescending {
		slices.Reverse(msgs)
	}
	uids := make([]mail.UID, len(msgs))
	for i, m := range msgs {
		uids[i] = m.uid
	}
	return uids, nil
}

// behind reports whether a message comes after the one where the query continues.
func behind(m *message, q store.FetchQuery) bool {
	if q.AfterUID == 0 {
		return true
	}
	c := compareDate(m.date, m.uid, seconds(q.AfterDate), q.AfterUID)
	if q.Order == store.ByDateDescending {
		return c < 0
	}
	return c > 0
}

func compareDate(at time.Time, a mail.UID, bt time.Time, b mail.UID) int {
	if c := at.Compare(bt); c != 0 {
		return c
	}
	return int(int64(a) - int64(b))
}

// row returns a message as it is now and a function that ends the row. The row is
// nil when the message is gone or no longer selected.
func (s *Store) row(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID, q store.FetchQuery) (*store.Row, func(), error) {
	if err := s.enter(ctx, "FetchRow"); err != nil {
		return nil, nil, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, nil, err
	}
	i, ok := b.find(uid)
	if !ok || b.msgs[i].modSeq <= q.ChangedSince && q.ChangedSince > 0 {
		return nil, nil, nil
	}
	m := b.msgs[i]
	row := rowOf(m, q.Fields)
	prefix, data := m.prefix, m.content.data // the message may be changed when the row is opened
	ended := new(atomic.Bool)
	row.Open = func() (store.Body, error) {
		if err := s.fault("RowOpen"); err != nil {
			return nil, err
		}
		if ended.Load() {
			return nil, errRowEnded()
		}
		return &body{store: s, prefix: prefix, data: data, ended: ended}, nil
	}
	return row, func() { s.endRow(row, ended) }, nil
}

// rowOf makes the row of a message, with copies of the wanted fields.
func rowOf(m *message, f store.Fields) *store.Row {
	row := &store.Row{
		UID: m.uid, ModSeq: m.modSeq, Flags: m.flags, InternalDate: m.date, Size: m.size(), ID: m.id, EmailID: m.emailID,
	}
	c := m.content
	for _, part := range []struct {
		field store.Fields
		from  []byte
		to    *[]byte
	}{
		{store.FieldEnvelope, c.envelope, &row.Envelope},
		{store.FieldBodyStructure, c.bodyStructure, &row.BodyStructure},
		{store.FieldTree, c.tree, &row.Tree},
		{store.FieldSummary, c.summary, &row.Summary},
		{store.FieldHeader, slices.Concat(m.prefix, c.header), &row.Header},
	} {
		if f&part.field != 0 {
			*part.to = bytes.Clone(part.from)
		}
	}
	if f&(store.FieldTree|store.FieldHeader|store.FieldBody) != 0 {
		row.PrefixLen = int64(len(m.prefix))
	}
	row.ThreadID = m.threadID
	if f&store.FieldMeta != 0 {
		row.SavedDate, row.Expires = m.saved, m.expires
		row.Junk = m.junk
		row.MetaData, row.Info = m.metaData, m.info
	}
	return row
}

// endRow makes a row and its body unusable.
func (s *Store) endRow(row *store.Row, ended *atomic.Bool) {
	ended.Store(true)
	if s.opts.Mangle {
		mangle(row.Envelope, row.BodyStructure, row.Tree, row.Summary, row.Header)
		*row = store.Row{Open: row.Open}
	}
}

// Open returns the content of a message.
func (s *Store) Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (store.Body, error) {
	if err := s.enter(ctx, "Open"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, err
	}
	i, ok := b.find(uid)
	if !ok {
		return nil, mail.NewError(mail.CodeNotFound, "no such message")
	}
	return &body{store: s, prefix: b.msgs[i].prefix, data: b.msgs[i].content.data}, nil
}

// MayContain has no index: it yields every message of the set.
func (s *Store) MayContain(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, _ [][]byte) iter.Seq2[mail.UID, error] {
	return func(yield func(mail.UID, error) bool) {
		found, err := s.existing(ctx, acct, mbox, uids)
		if err != nil {
			yield(0, err)
			return
		}
		for _, uid := range found {
			if !yield(uid, nil) {
				return
			}
		}
	}
}

func (s *Store) existing(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet) ([]mail.UID, error) {
	if err := s.enter(ctx, "MayContain"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, err
	}
	var found []mail.UID
	for _, m := range b.in(uids) {
		found = append(found, m.uid)
	}
	return found, nil
}

// Changes returns what happened in a mailbox after since.
func (s *Store) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	if err := s.enter(ctx, "Changes"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, err
	}
	set := &store.ChangeSet{To: b.row.HighestModSeq, UIDNext: b.row.UIDNext, Whole: since < b.forgotten}
	for _, m := range b.msgs {
		if set.Whole || m.modSeq > since {
			set.Changed.Append(m.hot())
		}
	}
	if set.Whole {
		return set, nil
	}
	var gone []mail.UIDRange
	for _, t := range b.gone {
		if t.modSeq > since {
			gone = append(gone, mail.UIDRange{First: t.uid, Last: t.uid})
		}
	}
	set.Expunged = mail.NormalizeUIDs(gone)
	return set, nil
}
