package pebblestore

import (
	"container/list"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// How far numbers are reserved ahead of their use. A crash skips at most that many.
const (
	seqGap = 1 << 16
	uidGap = 1 << 10
	// validityGap is skipped by a crash: mailboxes whose creation was seen but lost.
	validityGap = 64
	endOfUIDs   = 1 << 32
	maxLost     = 8
)

// account is an account in memory. Everything here can be read from the database
// again; it is kept so that a change need not.
//
// mu is held by the one change that is under way, from the reading of the heads
// until its batch is applied, but not while it waits for the disk. Readers take
// the atomic pointers, whose targets are never modified.
type account struct {
	id   mail.AccountID
	mu   sync.Mutex
	head atomic.Pointer[accountHead]
	set  atomic.Pointer[boxSet]
	// profile is the decoded account without StorageUsed; nil when it must be read.
	profile atomic.Pointer[mail.Account]
	// reserved is the greatest mod-sequence that may be given out: it is that of
	// the head on the disk, zero before this run has marked the account as its own.
	reserved atomic.Uint64
	gone     bool // deleted; guarded by mu

	// The cache's part, guarded by its mutex.
	refs  int
	place *list.Element
	ready chan struct{} // closed when loading has ended
	err   error         // of loading
}

// mailbox is a mailbox in memory.
type mailbox struct {
	id       mail.MailboxID
	profile  atomic.Pointer[profile]
	head     atomic.Pointer[mailboxHead]
	reserved atomic.Uint64 // UIDs below may be given out, see account.reserved
	told     atomic.Uint64 // see told.go
}

// boxSet is the immutable set of the mailboxes of an account.
type boxSet struct {
	byID   map[mail.MailboxID]*mailbox
	sorted []boxEntry // by path
}

type boxEntry struct {
	path string
	box  *mailbox
}

func newBoxSet(boxes []boxEntry) *boxSet {
	slices.SortFunc(boxes, func(a, b boxEntry) int { return strings.Compare(a.path, b.path) })
	set := &boxSet{byID: make(map[mail.MailboxID]*mailbox, len(boxes)), sorted: boxes}
	for _, e := range boxes {
		set.byID[e.box.id] = e.box
	}
	return set
}

func (s *boxSet) byPath(path string) *mailbox {
	i, ok := slices.BinarySearchFunc(s.sorted, path, func(e boxEntry, p string) int { return strings.Compare(e.path, p) })
	if !ok {
		return nil
	}
	return s.sorted[i].box
}

// profile is what of a mailbox changes seldom.
type profile struct {
	path        string
	use         mail.SpecialUse
	subscribed  bool
	hidden      bool
	encrypt     bool
	retention   time.Duration
	uidValidity mail.UIDValidity
	created     int64
	keywords    []string
}

const (
	profileSubscribed = 1 << iota
	profileHidden
	profileEncrypt
)

func (p *profile) append(b []byte) []byte {
	var bits byte
	for bit, on := range map[byte]bool{profileSubscribed: p.subscribed, profileHidden: p.hidden, profileEncrypt: p.encrypt} {
		if on {
			bits |= bit
		}
	}
	b = append(b, valueVersion, bits)
	b = appendText(b, p.path)
	b = appendText(b, string(p.use))
	b = binary.AppendVarint(b, int64(p.retention))
	b = binary.AppendUvarint(b, uint64(p.uidValidity))
	b = binary.AppendVarint(b, p.created)
	b = binary.AppendUvarint(b, uint64(len(p.keywords)))
	for _, k := range p.keywords {
		b = appendText(b, k)
	}
	return b
}

func decodeProfile(b []byte) (*profile, error) {
	d := decoder{b: b}
	d.version()
	bits := d.octet()
	p := &profile{
		subscribed: bits&profileSubscribed != 0, hidden: bits&profileHidden != 0, encrypt: bits&profileEncrypt != 0,
		path: d.text(), use: mail.SpecialUse(d.text()), retention: time.Duration(d.varint()),
		uidValidity: mail.UIDValidity(d.uvarint()), created: d.varint(),
	}
	for range d.length() {
		p.keywords = append(p.keywords, d.text())
	}
	return p, d.end()
}

// mailbox gives the mailbox as the contract shows it.
func (m *mailbox) view() *mail.Mailbox {
	p, h := m.profile.Load(), m.head.Load()
	return &mail.Mailbox{
		ID: m.id, Path: p.path, SpecialUse: p.use, Subscribed: p.subscribed, Hidden: p.hidden,
		Retention: p.retention, Encrypt: p.encrypt, UIDValidity: p.uidValidity,
		UIDNext: mail.UID(min(h.uidNext, endOfUIDs-1)), HighestModSeq: mail.ModSeq(h.highest),
		Keywords: slices.Clone(p.keywords), Created: fromMillis(p.created),
	}
}

// accountCache keeps the accounts that were used last.
type accountCache struct {
	mu     sync.Mutex
	byID   map[mail.AccountID]*account
	recent *list.List // of *account, the most recent first
	limit  int
}

func newAccountCache(limit int) *accountCache {
	return &accountCache{byID: map[mail.AccountID]*account{}, recent: list.New(), limit: limit}
}

// account returns an account for use; the caller releases it.
func (s *Store) account(ctx context.Context, id mail.AccountID) (*account, error) {
	c := s.accounts
	c.mu.Lock()
	a := c.byID[id]
	found := a != nil
	if !found {
		a = &account{id: id, ready: make(chan struct{})}
		a.place = c.recent.PushFront(a)
		c.byID[id] = a
	} else {
		c.recent.MoveToFront(a.place)
	}
	a.refs++
	c.mu.Unlock()

	if !found {
		a.err = s.loadAccount(a)
		close(a.ready)
	}
	select {
	case <-a.ready:
	default:
		select {
		case <-a.ready:
		case <-ctx.Done():
			c.release(a)
			return nil, canceled(ctx)
		}
	}
	if a.err != nil {
		err := a.err
		c.release(a)
		return nil, err
	}
	return a, nil
}

// retain keeps an account that is in use until one more release.
func (c *accountCache) retain(a *account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.refs++
}

// release gives an account back. Unused accounts beyond the limit are forgotten,
// and those that could not be loaded or were deleted at once.
func (c *accountCache) release(a *account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.refs--
	if a.refs == 0 && (a.err != nil || a.head.Load() == nil) {
		c.forget(a)
	}
	for e := c.recent.Back(); e != nil && c.recent.Len() > c.limit; {
		old := e.Value.(*account)
		e = e.Prev()
		if old.refs == 0 {
			c.forget(old)
		}
	}
}

// forget takes an account out of the cache; c.mu is held.
func (c *accountCache) forget(a *account) {
	if c.byID[a.id] == a {
		delete(c.byID, a.id)
	}
	if a.place != nil {
		c.recent.Remove(a.place)
		a.place = nil
	}
}

// drop makes sure that a deleted account is not found any more.
func (c *accountCache) drop(a *account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(a)
}

func noAccount() error { return mail.NewError(mail.CodeNoAccount, "the account does not exist") }

// loadAccount reads heads and mailboxes, and repairs them after a crash.
func (s *Store) loadAccount(a *account) error {
	value, err := s.get(accountKey(tabAccountHead, a.id))
	if err != nil {
		return err
	}
	if value == nil {
		return noAccount()
	}
	head, err := decodeAccountHead(value)
	if err != nil {
		return corrupt(fmt.Sprintf("head of account %s", a.id), err)
	}
	boxes, err := s.loadMailboxes(a.id)
	if err != nil {
		return err
	}
	a.head.Store(&head)
	a.set.Store(newBoxSet(boxes))
	return s.adopt(a)
}

func (s *Store) loadMailboxes(id mail.AccountID) ([]boxEntry, error) {
	var boxes []boxEntry
	err := s.scan(accountKey(tabMailbox, id), func(key, value []byte) error {
		p, err := decodeProfile(value)
		if err != nil {
			return corrupt(fmt.Sprintf("mailbox %x of account %s", key[ownedSize:], id), err)
		}
		m := &mailbox{id: mail.MailboxID(key[ownedSize:])}
		m.profile.Store(p)
		boxes = append(boxes, boxEntry{p.path, m})
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, e := range boxes {
		value, err := s.get(boxKey(tabMailboxHead, id, e.box.id))
		if err != nil {
			return nil, err
		}
		head, err := decodeMailboxHead(value)
		if err != nil {
			return nil, corrupt(fmt.Sprintf("head of mailbox %s of account %s", e.box.id, id), err)
		}
		e.box.head.Store(&head)
		e.box.told.Store(head.told)
	}
	return boxes, nil
}

// adopt settles what this run may give out for an account that was just loaded.
//
// A head that this run wrote, before the account was forgotten, holds its
// reservations; they count once the log is on the disk. A head of an earlier run
// gets none: the first change marks it durably as this run's, see change.reserve.
// When the run that wrote it ended in a crash, numbers behind the head may have
// been seen by sessions and lost. All that could have been given out is skipped.
func (s *Store) adopt(a *account) error {
	head := a.head.Load()
	if head.epoch == s.epoch {
		if err := s.syncLog(); err != nil {
			return err
		}
		a.reserved.Store(head.reserved)
		for _, e := range a.set.Load().sorted {
			if h := e.box.head.Load(); h.epoch == s.epoch {
				e.box.reserved.Store(h.reserved)
			}
		}
		return nil
	}
	if !s.crashed[head.epoch] {
		return nil
	}
	return s.recoverAccount(a)
}

// recoverAccount moves the counters of an account past everything that a crashed
// run can have given out. The result depends on what is on the disk alone, so that
// another crash before it is written leads to the same numbers.
func (s *Store) recoverAccount(a *account) error {
	old := a.head.Load()
	head := *old
	head.epoch, head.seq, head.reserved = s.epoch, old.reserved, old.reserved+seqGap
	head.uidValidity += validityGap
	b := s.db.NewBatch()
	defer b.Close()
	for _, e := range a.set.Load().sorted {
		h := *e.box.head.Load()
		if !s.crashed[h.epoch] {
			continue
		}
		h.lost = addLost(h.lost, seqRange{h.highest, head.seq})
		h.epoch, h.uidNext, h.highest = s.epoch, h.reserved, head.seq
		h.reserved = min(h.uidNext+uidGap, endOfUIDs)
		e.box.head.Store(&h)
		set(b, boxKey(tabMailboxHead, a.id, e.box.id), h.append(nil))
	}
	a.head.Store(&head)
	if s.opt.ReadOnly {
		return nil
	}
	set(b, accountKey(tabAccountHead, a.id), head.append(nil))
	return s.apply(b, pebble.NoSync)
}

// addLost adds a range behind all others and joins the oldest ones when there are
// too many.
func addLost(lost []seqRange, r seqRange) []seqRange {
	lost = append(slices.Clone(lost), r)
	for len(lost) > maxLost {
		lost[1].from = lost[0].from
		lost = lost[1:]
	}
	return lost
}
