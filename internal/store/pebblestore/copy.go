package pebblestore

import (
	"context"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Copy implements store.Messages.
func (s *Store) Copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64) (*store.CopyResult, error) {
	return s.copy(ctx, acct, from, to, uids, quota, false)
}

// Move implements store.Messages.
func (s *Store) Move(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*store.CopyResult, error) {
	return s.copy(ctx, acct, from, to, uids, 0, true)
}

// copied is a message that is copied or moved.
type copied struct {
	uid mail.UID
	hot hot // keywords are its own
}

func (s *Store) copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64, move bool) (*store.CopyResult, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	out := &store.CopyResult{}
	err := inSteps(uids, func(set mail.UIDSet) (mail.UIDSet, error) {
		rest, err := s.copyStep(ctx, acct, from, to, set, quota, move, out)
		quota = 0 // the first step has seen that there is room for all
		return rest, err
	})
	if err == nil {
		return out, nil
	}
	if !move {
		s.uncopy(ctx, acct, to, out.To)
	}
	return nil, err
}

// copyStep is copy for the first messages of a set, and returns the others. The quota is applied
// to all of them.
func (s *Store) copyStep(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64, move bool, out *store.CopyResult) (rest mail.UIDSet, err error) {
	c, err := s.begin(ctx, acct)
	if err != nil {
		return nil, boxError(err)
	}
	defer c.end()
	src, dst, err := c.twoBoxes(from, to)
	if err != nil {
		return nil, err
	}
	out.UIDValidity = dst.current().uidValidity
	messages, rest, err := c.collect(ctx, src, uids, nil)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	if !move && len(out.To)+len(rest) > 0 {
		if err := s.space.check(true); err != nil { // what is made in steps stops while it can be taken back
			return nil, err
		}
	}
	if !move && quota > 0 {
		if err := c.fits(ctx, src, messages, rest, quota); err != nil {
			return nil, err
		}
	}
	step := &store.CopyResult{}
	if err := c.duplicate(src, dst, messages, move, step); err != nil {
		return nil, err
	}
	dst.head.highest = c.seq
	if move {
		src.head.highest = c.seq
	}
	if err := c.commit(true); err != nil {
		return nil, err
	}
	out.From, out.To = append(out.From, step.From...), append(out.To, step.To...)
	if move {
		out.SourceModSeq = mail.ModSeq(c.seq)
	}
	return rest, nil
}

// fits reports OverQuota when copies of the messages, and of the rest of the set, would exceed
// the quota.
func (c *change) fits(ctx context.Context, src *boxChange, messages []copied, rest mail.UIDSet, quota int64) error {
	used := c.head.used
	for i := range messages {
		used += messages[i].hot.size
	}
	err := c.s.walk(ctx, c.acct.id, src.id, rest, func(_ mail.UID, h *hot) error {
		used += h.size
		return nil
	})
	if err == nil && used > quota {
		return overQuota()
	}
	return err
}

// twoBoxes returns source and destination.
func (c *change) twoBoxes(from, to mail.MailboxID) (src, dst *boxChange, err error) {
	if src, err = c.box(from); err != nil {
		return nil, nil, err
	}
	if dst, err = c.box(to); err != nil {
		return nil, nil, mail.NewError(mail.CodeNoMailbox, "destination")
	}
	return src, dst, nil
}

// collect reads the hot records of the first messages of a set, of those only the ones that
// want, when not nil, is true for, and returns the rest of the set.
func (c *change) collect(ctx context.Context, src *boxChange, uids mail.UIDSet, want func(*hot) bool) (messages []copied, rest mail.UIDSet, err error) {
	err = c.s.walk(ctx, c.acct.id, src.id, uids, func(uid mail.UID, h *hot) error {
		if want != nil && !want(h) {
			return nil
		}
		if len(messages) == c.s.opt.changeStep {
			rest = src.rest(uids, uid)
			return errStop
		}
		m := copied{uid, *h}
		m.hot.keywords = slices.Clone(h.keywords)
		messages = append(messages, m)
		return nil
	})
	return messages, rest, ignoreStop(err)
}

// duplicate puts messages into dst and, when move is set, takes them out of src.
func (c *change) duplicate(src, dst *boxChange, messages []copied, move bool, out *store.CopyResult) error {
	uid, err := dst.takeUIDs(len(messages))
	if err != nil {
		return err
	}
	share, err := c.sharer()
	if err != nil {
		return err
	}
	defer share.close()
	expires := int64(noExpiry)
	if r := dst.current().retention; r > 0 {
		expires = c.now + r.Milliseconds()
	}
	var removed mail.UIDSet
	var lastFlags mail.Flags
	for i := range messages {
		m := &messages[i]
		x, err := c.s.extra(c.acct.id, src.id, m.uid, &m.hot)
		if err != nil {
			return err
		}
		x.expires, x.saved = expires, 0
		if err := share.add(&m.hot, src.id, m.uid, dst.id, uid, move); err != nil {
			return err
		}
		if move {
			c.remove(src, m.uid, &m.hot)
			removed = removed.Append(m.uid)
		}
		h := m.hot
		h.id, h.modseq = mail.NewID[mail.MessageID](c.s.ids), c.seq
		c.insertAs(dst, uid, &h, &x, h.classify(dst.current().use))
		if f := h.flags(); f != lastFlags {
			dst.addKeywords(f)
			lastFlags = f
		}
		out.From, out.To = append(out.From, m.uid), append(out.To, uid)
		uid++
	}
	if move {
		c.tombstone(src, removed)
	}
	return nil
}

// classify notes whether a message is junk in a mailbox with this use, and returns
// the command of its journal entry.
func (h *hot) classify(use mail.SpecialUse) (cmd byte) {
	junk := h.bits&hotJunk != 0
	switch {
	case use == mail.UseJunk && !junk:
		h.bits |= hotJunk
		return cmdExistsJunk
	case use != mail.UseJunk && use != mail.UseTrash && junk:
		h.bits &^= hotJunk
		return cmdExistsHam
	}
	return cmdExists
}

// remove takes the rows of a message out of a mailbox, but not its document.
func (c *change) remove(box *boxChange, uid mail.UID, h *hot) {
	c.removeRows(box.id, uid, h)
	box.count(h, -1)
	c.head.used -= h.size
	c.noteMessage(cmdExpunge, box.id, uid, h, false)
}

func (c *change) removeRows(box mail.MailboxID, uid mail.UID, h *hot) {
	var key [memberKeySize]byte
	del(c.batch, appendUIDKey(key[:0], tabHot, c.acct.id, box, uid))
	del(c.batch, appendDateKey(key[:0], c.acct.id, box, h.date, uid))
	del(c.batch, appendMemberKey(key[:0], c.acct.id, h.thread, box, uid))
	if h.bits&hotHasExtra != 0 {
		del(c.batch, appendUIDKey(key[:0], tabExtra, c.acct.id, box, uid))
	}
}

// tombstone notes UIDs that were removed.
func (c *change) tombstone(box *boxChange, uids mail.UIDSet) {
	set(c.batch, seqKey(tabTombstone, c.acct.id, box.id, c.seq), appendUIDs(nil, uids))
}

// sharing keeps tabSharing. A document that one message uses has no rows there; as
// soon as there are two, each has one. So a message that is removed tells from the
// rows that are left whether it was the last, and nothing is counted.
//
// Rows that this change adds or removes are not in the database yet; they are kept
// here.
type sharing struct {
	c  *change
	it *pebble.Iterator
	// users of the documents that this change has touched.
	users map[mail.EmailID]map[place]bool
}

// place is a message in a mailbox.
type place struct {
	box mail.MailboxID
	uid mail.UID
}

func (c *change) sharer() (*sharing, error) {
	prefix := accountKey(tabSharing, c.acct.id)
	it, err := c.s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, readError("read who shares a document", err)
	}
	return &sharing{c: c, it: it, users: map[mail.EmailID]map[place]bool{}}, nil
}

func (s *sharing) close() { _ = s.it.Close() } // its errors were seen by read

// read returns the places that share a document; none when there is only one.
func (s *sharing) read(email mail.EmailID) (map[place]bool, error) {
	if u, ok := s.users[email]; ok {
		return u, nil
	}
	u := map[place]bool{}
	prefix := emailKey(tabSharing, s.c.acct.id, email)
	for ok := s.it.SeekGE(prefix); ok; ok = s.it.Next() {
		key := s.it.Key()
		if len(key) != len(prefix)+idSize+4 || string(key[:len(prefix)]) != string(prefix) {
			break
		}
		u[place{mail.MailboxID(key[len(prefix) : len(prefix)+idSize]), keyUID(key)}] = true
	}
	if err := s.it.Error(); err != nil {
		return nil, readError("read who shares a document", err)
	}
	s.users[email] = u
	return u, nil
}

// add notes that a message is copied, or with move set that it is moved.
func (s *sharing) add(h *hot, from mail.MailboxID, fromUID mail.UID, to mail.MailboxID, toUID mail.UID, move bool) error {
	u, err := s.read(h.email)
	if err != nil {
		return err
	}
	if move && len(u) == 0 {
		return nil
	}
	if move {
		s.drop(h.email, u, place{from, fromUID})
	} else {
		s.put(h.email, u, place{from, fromUID})
	}
	s.put(h.email, u, place{to, toUID})
	return nil
}

// removeLast notes that a message is removed and reports whether no other uses its
// document.
func (s *sharing) removeLast(h *hot, box mail.MailboxID, uid mail.UID) (bool, error) {
	u, err := s.read(h.email)
	if err != nil {
		return false, err
	}
	if len(u) > 0 {
		s.drop(h.email, u, place{box, uid})
	}
	return len(u) == 0, nil
}

func (s *sharing) put(email mail.EmailID, u map[place]bool, p place) {
	if !u[p] {
		u[p] = true
		set(s.c.batch, sharingKey(s.c.acct.id, email, p.box, p.uid), nil)
	}
}

func (s *sharing) drop(email mail.EmailID, u map[place]bool, p place) {
	delete(u, p)
	del(s.c.batch, sharingKey(s.c.acct.id, email, p.box, p.uid))
}
