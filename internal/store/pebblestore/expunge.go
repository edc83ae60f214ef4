package pebblestore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Delete is Expunge: nothing that is removed is kept.
func (s *Store) Delete(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, _ bool) (*store.ExpungeResult, error) {
	return s.Expunge(ctx, acct, mbox, uids, false)
}

// Expunge implements store.Messages.
func (s *Store) Expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool) (*store.ExpungeResult, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.expunge(ctx, acct, mbox, uids, onlyDeleted)
}

// expunge is Expunge for those who have entered the store.
func (s *Store) expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool) (*store.ExpungeResult, error) {
	out := &store.ExpungeResult{}
	err := inSteps(uids, func(set mail.UIDSet) (mail.UIDSet, error) {
		return s.expungeStep(ctx, acct, mbox, set, onlyDeleted, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// expungeStep is Expunge for the first messages of a set, and returns the others.
func (s *Store) expungeStep(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool, out *store.ExpungeResult) (rest mail.UIDSet, err error) {
	c, err := s.begin(ctx, acct)
	if err != nil {
		return nil, boxError(err)
	}
	defer c.end()
	box, err := c.box(mbox)
	if err != nil {
		return nil, err
	}
	var want func(*hot) bool
	if onlyDeleted {
		if box.head.deleted == 0 {
			return nil, nil
		}
		want = func(h *hot) bool { return h.system&mail.Deleted != 0 }
	}
	messages, rest, err := c.collect(ctx, box, uids, want)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	var removed mail.UIDSet
	gone, err := c.discard(box.id, messages, func(m *copied) {
		c.remove(box, m.uid, &m.hot)
		removed = removed.Append(m.uid)
	})
	if err != nil {
		return nil, err
	}
	c.tombstone(box, removed)
	box.head.highest = c.seq
	if err := c.commit(true); err != nil {
		return nil, err
	}
	for u := range removed.All() {
		out.UIDs = out.UIDs.Append(u)
	}
	out.ModSeq = mail.ModSeq(c.seq)
	if gone > 0 {
		s.wakeSweeper()
	}
	return rest, nil
}

// discard removes messages: remove takes away their rows in the mailbox, and what
// was the last user of a document takes that along. It returns the content that may
// be garbage afterwards.
func (c *change) discard(box mail.MailboxID, messages []copied, remove func(*copied)) (gone int, err error) {
	share, err := c.sharer()
	if err != nil {
		return 0, err
	}
	defer share.close()
	for i := range messages {
		m := &messages[i]
		last, err := share.removeLast(&m.hot, box, m.uid)
		if err != nil {
			return 0, err
		}
		remove(m)
		if !last {
			continue
		}
		n, err := c.removeDocument(m.hot.email)
		if err != nil {
			return 0, err
		}
		gone += n
	}
	return gone, nil
}

// removeDocument removes a document and what belongs to it, and returns how much
// content may be garbage now.
func (c *change) removeDocument(email mail.EmailID) (n int, err error) {
	acct := c.acct.id
	value, closer, err := c.s.db.Get(emailKey(tabDocument, acct, email))
	if isNotFound(err) {
		return 0, nil // lost already; what it referred to is found by a full sweep
	}
	if err != nil {
		return 0, readError("read a document", err)
	}
	var d document
	var l layout
	if err = d.decode(value); err == nil {
		_, err = l.decode(d.sections[secLayout])
	}
	if err == nil {
		n += dropContent(c.batch, &l, acct, email)
	} else {
		c.s.log.Error("a damaged document is removed", "account", acct, "email", email, "err", err)
	}
	if err := closer.Close(); err != nil {
		return n, readError(fmt.Sprintf("read document %s", email), err)
	}
	for _, tab := range []byte{tabDocument, tabText, tabSignature} {
		del(c.batch, emailKey(tab, acct, email))
	}
	return n, nil
}

// dropContent removes a document's references to content and notes that the content
// may be garbage. It returns the number of references.
func dropContent(b *pebble.Batch, l *layout, acct mail.AccountID, email mail.EmailID) (n int) {
	l.hashes(func(h hash, size int64) {
		del(b, blobRefKey(h, acct, email))
		set(b, garbageKey(h, acct, email), []byte{contentKind(size)})
		n++
	})
	return n
}
