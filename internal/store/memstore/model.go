package memstore

import (
	"slices"
	"strings"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// account is an account with all that belongs to it.
type account struct {
	row      mail.Account
	view     string
	boxes    map[mail.MailboxID]*mailbox
	names    map[string]bool  // paths that are subscribed without a mailbox
	modSeq   mail.ModSeq      // the last one given to a change of the account
	validity mail.UIDValidity // the last one given to a mailbox
	journal  []store.JournalEntry
	threads  map[threadKey]mail.ThreadID
}

// threadKey ties messages together: same message id among the references, same
// subject.
type threadKey struct{ reference, subject string }

// mailbox is a mailbox with its messages.
type mailbox struct {
	row  mail.Mailbox
	size int64       // octets of the messages
	msgs []*message  // ascending UIDs
	gone []tombstone // in the order of the expunges
	told mail.UID    // see store.Recents
	// forgotten is the greatest mod-sequence of a tombstone that was thrown away.
	forgotten mail.ModSeq
}

type tombstone struct {
	uid    mail.UID
	modSeq mail.ModSeq
}

// message is one message in one mailbox. The content is shared with its copies.
type message struct {
	uid      mail.UID
	modSeq   mail.ModSeq
	flags    mail.Flags
	date     time.Time
	saved    time.Time
	expires  time.Time
	metaData string
	info     string
	id       mail.MessageID
	emailID  mail.EmailID
	threadID mail.ThreadID
	junk     bool // came into a \Junk mailbox by a copy or a move
	prefix   []byte
	content  *content
}

// content is what Stage took in; it never changes.
type content struct {
	data, header                           []byte
	envelope, bodyStructure, tree, summary []byte
	references                             []string
	subject                                string
}

func (m *message) size() int64 { return int64(len(m.prefix)) + int64(len(m.content.data)) }

func (m *message) hot() mail.HotRow {
	return mail.HotRow{UID: m.uid, ModSeq: m.modSeq, Flags: m.flags, Octets: m.size()}
}

// next returns the mod-sequence of a new change.
func (a *account) next() mail.ModSeq {
	a.modSeq++
	return a.modSeq
}

// used is StorageUsed.
func (a *account) used() int64 {
	var n int64
	for _, b := range a.boxes {
		n += b.size
	}
	return n
}

// byPath returns the mailbox with a path, nil when there is none.
func (a *account) byPath(path string) *mailbox {
	for _, b := range a.boxes {
		if b.row.Path == path {
			return b
		}
	}
	return nil
}

// thread returns the thread of a message that comes into the account.
func (a *account) thread(c *content, fresh func() mail.ThreadID) mail.ThreadID {
	var id mail.ThreadID
	for _, ref := range c.references {
		if known, ok := a.threads[threadKey{ref, c.subject}]; ok {
			id = known
			break
		}
	}
	if id.IsZero() {
		id = fresh()
	}
	for _, ref := range c.references {
		if key := (threadKey{ref, c.subject}); a.threads[key].IsZero() {
			a.threads[key] = id
		}
	}
	return id
}

// snapshot returns a copy of the mailbox row.
func (b *mailbox) snapshot() *mail.Mailbox {
	row := b.row
	row.Keywords = slices.Clone(b.row.Keywords)
	return &row
}

func (b *mailbox) counters() mail.Counters {
	var c mail.Counters
	for _, m := range b.msgs {
		c.Add(1, m.flags, m.size())
	}
	return c
}

// find returns the position of a UID or where it would be.
func (b *mailbox) find(uid mail.UID) (int, bool) {
	return slices.BinarySearchFunc(b.msgs, uid, func(m *message, uid mail.UID) int {
		switch {
		case m.uid < uid:
			return -1
		case m.uid > uid:
			return 1
		}
		return 0
	})
}

// in returns the messages of a set, ascending.
func (b *mailbox) in(set mail.UIDSet) []*message {
	var out []*message
	for _, r := range set {
		from, _ := b.find(r.First)
		for _, m := range b.msgs[from:] {
			if m.uid > r.Last {
				break
			}
			out = append(out, m)
		}
	}
	return out
}

// add puts a message at the end and gives it its UID.
func (b *mailbox) add(m *message, ms mail.ModSeq) {
	m.uid, m.modSeq = b.row.UIDNext, ms
	b.row.UIDNext++
	b.size += m.size()
	b.row.HighestModSeq = ms
	b.msgs = append(b.msgs, m)
	b.sawKeywords(m.flags)
}

// remove takes messages out and leaves tombstones.
func (b *mailbox) remove(msgs []*message, ms mail.ModSeq, keep int) {
	for _, m := range msgs {
		i, _ := b.find(m.uid)
		b.msgs = slices.Delete(b.msgs, i, i+1)
		b.size -= m.size()
		b.gone = append(b.gone, tombstone{m.uid, ms})
	}
	b.row.HighestModSeq = ms
	if over := len(b.gone) - keep; keep > 0 && over > 0 {
		b.forgotten = b.gone[over-1].modSeq
		b.gone = slices.Delete(b.gone, 0, over)
	}
}

// sawKeywords notes the keywords that are new in the mailbox.
func (b *mailbox) sawKeywords(f mail.Flags) {
	for k := range f.Keywords() {
		known := slices.ContainsFunc(b.row.Keywords, func(s string) bool { return strings.EqualFold(s, k) })
		if !known && len(b.row.Keywords) < mail.MaxKeywords {
			b.row.Keywords = append(b.row.Keywords, k)
		}
	}
}

// log adds an entry to the account's journal. The identifiers grow even when the
// clock steps back or the generator's counter wraps.
func (s *Store) log(a *account, e store.JournalEntry) {
	e.ID = mail.NewID[mail.JournalID](s.gen)
	if n := len(a.journal); n > 0 {
		if last := a.journal[n-1].ID; compareID(e.ID, last) <= 0 {
			e.ID = following(last)
		}
	}
	e.Created = s.now()
	a.journal = append(a.journal, e)
}

// logMessage adds an entry about a message.
func (s *Store) logMessage(a *account, b *mailbox, m *message, e store.JournalEntry) {
	e.Mailbox, e.ModSeq = b.row.ID, b.row.HighestModSeq
	e.UID, e.Message, e.Thread = m.uid, m.id, m.threadID
	if e.Command != store.JournalExpunge {
		e.Flags = m.flags
	}
	if e.Command == store.JournalExists {
		e.InternalDate = m.date
	}
	s.log(a, e)
}

// logMailbox adds an entry about a mailbox.
func (s *Store) logMailbox(a *account, b *mailbox, command store.JournalCommand) {
	e := store.JournalEntry{Command: command, Mailbox: b.row.ID, ModSeq: b.row.HighestModSeq}
	if command != store.JournalDelete {
		e.Path = b.row.Path
	}
	s.log(a, e)
}

// compareID orders identifiers by their octets.
func compareID[Of any](a, b mail.ID[Of]) int { return slices.Compare(a[:], b[:]) }

// following is the identifier just after id.
func following[Of any](id mail.ID[Of]) mail.ID[Of] {
	for i := len(id) - 1; i >= 0; i-- {
		id[i]++
		if id[i] != 0 {
			break
		}
	}
	return id
}
