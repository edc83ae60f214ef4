package pebblestore

import (
	"slices"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// The last changes of a mailbox are kept in memory, because sessions ask for them all
// the time: after each hint of the bus and each command of their own. They hang on the
// head that made them visible, so that both are of one moment.

const (
	// recentChanges is how many changes of a mailbox are kept at most.
	recentChanges = 16
	// recentRows is how many messages a change may have touched to be kept.
	recentRows = 16
)

// recentChange is what one change did to the messages of a mailbox. It does not change
// any more once it is in a head.
type recentChange struct {
	seq      uint64
	previous uint64 // the mailbox's highest mod-sequence before
	depth    int    // changes from here on
	next     *recentChange
	changed  []mail.HotRow
	expunged []mail.UID
	tooMany  bool // of a change that is being made: it will not be kept
}

// noteRecent notes what a change does to a message.
func (c *change) noteRecent(cmd byte, box mail.MailboxID, uid mail.UID, h *hot) {
	b := c.touched(box)
	if b == nil || b.recent.tooMany {
		return
	}
	r := &b.recent
	if len(r.changed)+len(r.expunged) >= recentRows {
		*r = recentChange{tooMany: true}
		return
	}
	if cmd == cmdExpunge {
		r.expunged = append(r.expunged, uid)
		return
	}
	r.changed = append(r.changed, mail.HotRow{
		UID: uid, ModSeq: mail.ModSeq(c.seq), Flags: mail.FlagsFromKeywordString(h.system, string(h.keywords)), Octets: h.size,
	})
}

// touched returns a mailbox of the change, nil when it is none.
func (c *change) touched(box mail.MailboxID) *boxChange {
	for _, b := range c.boxes {
		if b.id == box {
			return b
		}
	}
	return nil
}

// keepRecent hangs what the change did on the head that will be installed.
func (c *change) keepRecent(b *boxChange) {
	old := b.mailbox.head.Load()
	if old == nil || b.head.highest != c.seq { // a new mailbox, or its messages did not change
		return
	}
	if b.recent.tooMany {
		b.head.recent = nil
		return
	}
	r := b.recent
	r.seq, r.previous, r.depth = c.seq, old.highest, 1
	if n := old.recent; n != nil && n.depth < recentChanges && n.seq == old.highest {
		r.next, r.depth = n, n.depth+1
	}
	b.head.recent = &r
}

// knows reports whether what is in memory tells what happened after a mod-sequence, and adds
// it to a set, which must be empty. A change is in the database a moment before it is in
// memory: who has read it there knows more than this head, and must not be told less.
func (h *mailboxHead) knows(since uint64, out *store.ChangeSet) bool {
	if h.highest <= since {
		return h.highest == since
	}
	return h.recent.since(since, out)
}

// since adds what happened after a mod-sequence to a set, which must be empty. It
// reports false when not all of it is known.
func (r *recentChange) since(since uint64, out *store.ChangeSet) bool {
	for e := r; ; e = e.next {
		if e == nil {
			return false
		}
		if e.previous <= since {
			break
		}
	}
	var gone []mail.UIDRange
	expunged := func(uid mail.UID) bool {
		return slices.ContainsFunc(gone, func(u mail.UIDRange) bool { return u.First == uid })
	}
	for e := r; e != nil && e.seq > since; e = e.next {
		for _, row := range e.changed {
			if !expunged(row.UID) {
				out.Changed.Append(row)
			}
		}
		for _, uid := range e.expunged {
			gone = append(gone, mail.UIDRange{First: uid, Last: uid})
		}
	}
	out.Changed.Sort() // the newest state of a message stays
	out.Expunged = mail.NormalizeUIDs(gone)
	return true
}
