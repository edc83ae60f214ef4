package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// change is one change of one account, from the lock to the disk. It is used in
// this way:
//
//	c, err := s.begin(ctx, acct)     the account is locked
//	defer c.end()                    unlocks what is still locked
//	... read, add rows to c.batch, change c.head and c.box(id)
//	return c.commit(true)
//
// commit adds heads and journal to the batch, makes the batch visible, releases
// the account and then waits for the disk.
type change struct {
	s     *Store
	acct  *account
	batch *pebble.Batch
	now   int64 // milliseconds
	// seq is the mod-sequence of the change.
	seq   uint64
	head  accountHead
	boxes []*boxChange
	set   *boxSet // replaces the account's set when not nil
	// account replaces the account's profile in memory when not nil.
	account *mail.Account
	origin  string
	// applied, when not nil, is called when the change has become visible, with the
	// account still locked.
	applied func()
	// entries of the journal, encoded; see journal.go.
	entries journalWriter
	locked  bool
	room    bool // the change stores a message
}

// boxChange is a mailbox that a change touches.
type boxChange struct {
	*mailbox
	head    mailboxHead
	profile *profile // replaces the profile when not nil
	recent  recentChange
	deleted bool
}

// begin locks an account for a change. The caller has entered the store.
func (s *Store) begin(ctx context.Context, id mail.AccountID) (*change, error) {
	return s.beginBatch(ctx, id, nil, false)
}

// beginBatch is begin with a batch that holds rows already; it is the change's
// from now on, also when beginBatch fails. room is set for changes that take much
// room on the disk.
func (s *Store) beginBatch(ctx context.Context, id mail.AccountID, b *pebble.Batch, room bool) (*change, error) {
	if b == nil {
		b = s.db.NewBatch()
	}
	c := &change{s: s, batch: b, room: room}
	if err := s.writable(room); err != nil {
		c.end()
		return nil, err
	}
	a, err := s.account(ctx, id)
	if err != nil {
		c.end()
		return nil, err
	}
	c.acct = a
	a.mu.Lock()
	c.locked = true
	if a.gone {
		c.end()
		return nil, noAccount()
	}
	if ctx.Err() != nil {
		c.end()
		return nil, canceled(ctx)
	}
	c.now = millis(s.opt.Now())
	c.head = *a.head.Load()
	c.seq = c.head.seq + 1
	return c, nil
}

// end releases what the change holds. It may be called more than once.
func (c *change) end() {
	if c.locked {
		c.locked = false
		c.acct.mu.Unlock()
	}
	if c.acct != nil {
		c.s.accounts.release(c.acct)
		c.acct = nil
	}
	if c.batch != nil {
		// An error of Close says nothing: the batch was applied or is not needed.
		_ = c.batch.Close()
		c.batch = nil
	}
}

// box returns a mailbox for changing.
func (c *change) box(id mail.MailboxID) (*boxChange, error) {
	for _, b := range c.boxes {
		if b.id == id {
			return b, nil
		}
	}
	m := c.acct.set.Load().byID[id]
	if m == nil {
		return nil, noMailbox()
	}
	b := &boxChange{mailbox: m, head: *m.head.Load()}
	c.boxes = append(c.boxes, b)
	return b, nil
}

func noMailbox() error { return mail.NewError(mail.CodeNoMailbox, "the mailbox does not exist") }

// takeUIDs gives out n UIDs of a mailbox and returns the first.
func (b *boxChange) takeUIDs(n int) (mail.UID, error) {
	first := b.head.uidNext
	if first+uint64(n) > endOfUIDs {
		return 0, mail.NewError(mail.CodeLimit, "the mailbox has no UIDs left")
	}
	b.head.uidNext += uint64(n)
	return mail.UID(first), nil
}

// count adds a message to the counters of a mailbox, or with n = -1 removes it.
func (b *boxChange) count(h *hot, n int64) {
	b.head.messages += n
	b.head.size += n * h.size
	if h.system&mail.Seen == 0 {
		b.head.unseen += n
	}
	if h.system&mail.Deleted != 0 {
		b.head.deleted += n
	}
}

// current returns the profile as it will be.
func (b *boxChange) current() *profile {
	if b.profile != nil {
		return b.profile
	}
	return b.mailbox.profile.Load()
}

// addKeywords notes keywords that the mailbox has not seen.
func (b *boxChange) addKeywords(f mail.Flags) {
	if f.KeywordString() == "" {
		return
	}
	for k := range f.Keywords() {
		p := b.current()
		if len(p.keywords) >= mail.MaxKeywords {
			return
		}
		if slices.ContainsFunc(p.keywords, func(have string) bool { return strings.EqualFold(have, k) }) {
			continue
		}
		grown := *p
		grown.keywords = append(slices.Clone(p.keywords), k)
		b.profile = &grown
	}
}

// commit ends the change. With durable unset it returns before the change is on
// the disk.
func (c *change) commit(durable bool) error { return c.commitWith(durable, nil) }

// commitWith is commit; visible, when not nil, is called as soon as the change is
// visible and the account released.
func (c *change) commitWith(durable bool, visible func()) error {
	if err := c.reserve(); err != nil {
		return err
	}
	c.head.seq = c.seq
	c.writeHeads()
	c.entries.flush(c)
	o := pebble.NoSync
	if durable {
		o = pebble.Sync
	}
	if err := c.s.apply(c.batch, o); err != nil {
		c.batch = nil // the database may still hold it
		return err
	}
	c.install()
	c.acct.mu.Unlock()
	c.locked = false
	if visible != nil {
		visible()
	}
	if !durable {
		c.s.syncSoon()
		return nil
	}
	if err := c.s.wait(c.batch); err != nil {
		return err
	}
	c.reached()
	return nil
}

// writeHeads adds the rows of account and mailboxes that every change updates.
func (c *change) writeHeads() {
	c.head.epoch, c.head.reserved = c.s.epoch, c.head.seq+seqGap
	var buf [96]byte
	set(c.batch, accountKey(tabAccountHead, c.acct.id), c.head.append(buf[:0]))
	for _, b := range c.boxes {
		if b.deleted {
			continue
		}
		b.head.epoch, b.head.reserved = c.s.epoch, min(b.head.uidNext+uidGap, endOfUIDs)
		b.head.told = min(b.told.Load(), b.head.uidNext-1)
		set(c.batch, boxKey(tabMailboxHead, c.acct.id, b.id), b.head.append(buf[:0]))
		if b.profile != nil {
			set(c.batch, boxKey(tabMailbox, c.acct.id, b.id), b.profile.append(nil))
		}
	}
}

// install shows the new state to readers in memory.
func (c *change) install() {
	head := c.head
	c.acct.head.Store(&head)
	for _, b := range c.boxes {
		if b.profile != nil {
			b.mailbox.profile.Store(b.profile)
		}
		c.keepRecent(b)
		h := b.head
		b.mailbox.head.Store(&h)
	}
	if c.set != nil {
		c.acct.set.Store(c.set)
	}
	if c.applied != nil {
		c.applied()
	}
	if c.account != nil {
		c.acct.profile.Store(c.account)
	}
}

// reached notes the reservations that are on the disk now.
func (c *change) reached() {
	raise(&c.acct.reserved, c.head.reserved)
	for _, b := range c.boxes {
		raise(&b.reserved, b.head.reserved)
	}
}

// raise sets v to at least n.
func raise(v interface {
	Load() uint64
	CompareAndSwap(old, new uint64) bool
}, n uint64) {
	for old := v.Load(); old < n && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// reserve makes sure that no number which the change gives out can be given out
// again after a crash: it must be covered by a reservation on the disk before
// anyone can see it. Each durable change renews the reservations, so this waits
// for the disk only at the first change of a run and when a change gives out very
// many numbers at once.
func (c *change) reserve() error {
	covered := c.acct.reserved.Load() >= c.seq
	for _, b := range c.boxes {
		covered = covered && (b.deleted || b.reserved.Load() >= b.head.uidNext)
	}
	if covered {
		return nil
	}
	batch := c.s.db.NewBatch()
	defer batch.Close()
	head := *c.acct.head.Load()
	head.epoch, head.reserved = c.s.epoch, c.seq+seqGap
	set(batch, accountKey(tabAccountHead, c.acct.id), head.append(nil))
	for _, b := range c.boxes {
		old := b.mailbox.head.Load()
		if old == nil || b.deleted { // being created or removed
			continue
		}
		h := *old
		h.epoch, h.reserved = c.s.epoch, min(b.head.uidNext+uidGap, endOfUIDs)
		set(batch, boxKey(tabMailboxHead, c.acct.id, b.id), h.append(nil))
	}
	if err := c.s.apply(batch, pebble.Sync); err != nil {
		return err
	}
	if err := c.s.wait(batch); err != nil {
		return err
	}
	raise(&c.acct.reserved, head.reserved)
	for _, b := range c.boxes {
		if b.mailbox.head.Load() != nil {
			raise(&b.reserved, min(b.head.uidNext+uidGap, endOfUIDs))
		}
	}
	return nil
}

// journalWriter collects the entries of a change. Its rows are bounded, so that a
// reader need not decode the journal of a huge change at once.
type journalWriter struct {
	rows  [][]byte
	count int // entries in all
	last  int // entries in the last row
}

const entriesPerRow = 256

// add starts an entry and returns the row to append it to; the caller gives the
// row back with put.
func (w *journalWriter) add() []byte {
	if len(w.rows) == 0 || w.last == entriesPerRow {
		w.rows = append(w.rows, make([]byte, 0, 128))
		w.last = 0
	}
	return w.rows[len(w.rows)-1]
}

func (w *journalWriter) put(row []byte) {
	w.rows[len(w.rows)-1] = row
	w.count++
	w.last++
}

// flush adds the rows to the batch.
func (w *journalWriter) flush(c *change) {
	for i, entries := range w.rows {
		n := entriesPerRow
		if i == len(w.rows)-1 {
			n = w.last
		}
		b := make([]byte, 0, len(entries)+len(c.origin)+24)
		b = append(b, valueVersion)
		b = binary.AppendVarint(b, c.now)
		b = appendText(b, c.origin)
		b = binary.AppendUvarint(b, uint64(n))
		set(c.batch, journalKey(c.acct.id, c.seq, uint32(i*entriesPerRow)), append(b, entries...))
	}
}

func (c *change) String() string { return fmt.Sprintf("change %d of account %s", c.seq, c.acct.id) }
