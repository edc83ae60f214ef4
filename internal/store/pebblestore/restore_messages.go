package pebblestore

import (
	"context"
	"fmt"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// RestoreMessages implements store.Migration.
func (s *Store) RestoreMessages(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Restored) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	seq := uint64(0)
	for i := range in {
		seq = max(seq, uint64(in[i].ModSeq))
		if len(in[i].MetaData) > maxMetaData || len(in[i].Info) > maxMetaData {
			return mail.NewError(mail.CodeLimit, "the metadata is too long")
		}
	}
	c, err := s.beginRestore(ctx, acct, seq)
	if err != nil {
		return boxError(err)
	}
	defer c.end()
	box, err := c.box(mbox)
	if err != nil {
		return err
	}
	box.silent()
	r := &restoration{c: c, box: box, threads: threader{c: c}, documents: map[mail.EmailID]*place{}}
	if r.share, err = c.sharer(); err != nil {
		return err
	}
	defer r.share.close()
	for i := range in {
		if err := r.message(ctx, &in[i]); err != nil {
			return err
		}
	}
	c.applied = r.threads.remember
	if err := c.commit(true); err != nil {
		return err
	}
	for _, x := range r.staged {
		x.used.Store(true)
	}
	if r.garbage > 0 {
		s.wakeSweeper()
	}
	return nil
}

// restoration is one call of RestoreMessages.
type restoration struct {
	c       *change
	box     *boxChange
	share   *sharing
	threads threader
	// documents are those that this change has touched, with the message that it gave
	// the document to first; nil for one that it has removed.
	documents map[mail.EmailID]*place
	staged    []*staged // whose content is used now
	garbage   int
}

func (r *restoration) message(ctx context.Context, in *store.Restored) error {
	c, uid := r.c, in.UID
	h := hot{
		modseq: uint64(in.ModSeq), date: millis(in.InternalDate), id: in.ID, email: in.EmailID, thread: in.ThreadID,
	}
	h.setFlags(in.Flags)
	if in.Junk {
		h.bits |= hotJunk
	}
	old, err := c.s.hotRecord(c.acct.id, r.box.id, uid)
	if err != nil {
		return err
	}
	switch {
	case old != nil && old.id == in.ID && old.email == in.EmailID:
		h.size = old.size
		c.takeOut(r.box, uid, old)
	case old != nil:
		if err := r.drop(uid, old); err != nil {
			return err
		}
		fallthrough
	default:
		if h.size, err = r.content(ctx, in); err != nil {
			return err
		}
	}
	r.box.head.uidNext = max(r.box.head.uidNext, uint64(uid)+1)
	r.box.addKeywords(in.Flags)
	x := extra{expires: expiry(in.Expires), metaData: in.MetaData, info: in.Info}
	if !in.SavedDate.IsZero() && !in.SavedDate.Equal(in.ID.Time()) {
		x.saved = millis(in.SavedDate)
	}
	c.insertRows(r.box, uid, &h, &x)
	return nil
}

// takeOut removes the rows of a message and what it counts, without a word in the
// journal.
func (c *change) takeOut(box *boxChange, uid mail.UID, h *hot) {
	c.removeRows(box.id, uid, h)
	box.count(h, -1)
	c.head.used -= h.size
}

// drop removes a message that another one replaces.
func (r *restoration) drop(uid mail.UID, h *hot) error {
	last, err := r.share.removeLast(h, r.box.id, uid)
	if err != nil {
		return err
	}
	r.c.takeOut(r.box, uid, h)
	if !last {
		return nil
	}
	r.documents[h.email] = nil
	n, err := r.c.removeDocument(h.email)
	r.garbage += n
	return err
}

// content gives a message its document: that of another message with the same EmailID,
// or what was staged. It returns the size of the message.
func (r *restoration) content(ctx context.Context, in *store.Restored) (int64, error) {
	x, ok := in.Staged.(*staged)
	if !ok || x.s != r.c.s || x.closed.Load() {
		return 0, mail.NewError(mail.CodeInvalid, "the message was not staged or is closed")
	}
	m := incoming{staged: x, in: &store.Append{Prefix: in.Prefix}, email: in.EmailID, id: in.ID, size: x.size + int64(len(in.Prefix))}
	if err := r.threads.assign(x.threads, in.ThreadID); err != nil {
		return 0, err
	}
	here := place{r.box.id, in.UID}
	first, touched := r.documents[in.EmailID]
	if !touched {
		var err error
		if first, err = r.c.s.documentUser(ctx, r.c.acct.id, in.EmailID, in.ThreadID); err != nil {
			return 0, err
		}
	}
	if first == nil {
		r.documents[in.EmailID] = &here
		m.write(r.c.batch, r.c.acct.id)
		r.staged = append(r.staged, x)
		return m.size, nil
	}
	r.documents[in.EmailID] = first
	return m.size, r.share.add(&hot{email: in.EmailID}, first.box, first.uid, here.box, here.uid, false)
}

// documentUser returns a message that uses a document, nil when there is none: copies
// of a message are in one conversation.
func (s *Store) documentUser(ctx context.Context, acct mail.AccountID, email mail.EmailID, thread mail.ThreadID) (*place, error) {
	if found, err := s.has(emailKey(tabDocument, acct, email)); err != nil || !found {
		return nil, err
	}
	prefix := memberPrefix(acct, thread)
	for from, end := prefix, after(prefix); from != nil; {
		members, next, err := s.readMembers(ctx, from, end)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			h, err := s.hotRecord(acct, m.Mailbox, m.UID)
			if err != nil {
				return nil, err
			}
			if h != nil && h.email == email {
				return &place{m.Mailbox, m.UID}, nil
			}
		}
		from = next
	}
	return nil, nil
}

// hotRecord returns the record of a message, nil when there is none.
func (s *Store) hotRecord(acct mail.AccountID, box mail.MailboxID, uid mail.UID) (*hot, error) {
	value, err := s.get(uidKey(tabHot, acct, box, uid))
	if err != nil || value == nil {
		return nil, err
	}
	h := new(hot)
	if err := h.decode(value); err != nil {
		return nil, corrupt(fmt.Sprintf("message %d of mailbox %s of account %s", uid, box, acct), err)
	}
	return h, nil
}

// assign writes the rows by which a reply finds a conversation that is given, where they
// do not lead to another one.
func (t *threader) assign(hashes [][16]byte, thread mail.ThreadID) error {
	today := uint32(t.c.now / millisPerDay)
	for _, h := range hashes {
		if _, ok := t.made[h]; ok {
			continue
		}
		var row threadRow
		if err := t.read(h, &row); err != nil {
			return err
		}
		if !row.thread.IsZero() && t.fresh(row.day, today) {
			continue
		}
		if t.made == nil {
			t.made = map[[16]byte]threadRow{}
		}
		row = threadRow{thread, today}
		t.made[h] = row
		t.c.s.setKnown(t.c.batch, threadKey(t.c.acct.id, h), row.append(nil))
	}
	return nil
}

// RemoveRestored implements store.Migration.
func (s *Store) RemoveRestored(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return inSteps(uids, func(set mail.UIDSet) (mail.UIDSet, error) { return s.removeRestoredStep(ctx, acct, mbox, set) })
}

// removeRestoredStep is RemoveRestored for the first messages of a set, and returns the others.
func (s *Store) removeRestoredStep(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet) (rest mail.UIDSet, err error) {
	c, err := s.beginRestore(ctx, acct, 0)
	if err != nil {
		return nil, boxError(err)
	}
	defer c.end()
	box, err := c.box(mbox)
	if err != nil {
		return nil, err
	}
	messages, rest, err := c.collect(ctx, box, uids, nil)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	box.silent()
	gone, err := c.discard(box.id, messages, func(m *copied) { c.takeOut(box, m.uid, &m.hot) })
	if err != nil {
		return nil, err
	}
	if err := c.commit(true); err != nil {
		return nil, err
	}
	if gone > 0 {
		s.wakeSweeper()
	}
	return rest, nil
}
