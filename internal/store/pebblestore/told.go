package pebblestore

import (
	"context"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

var _ store.Recents = (*Store)(nil)

// untold are mailboxes whose heads on the disk may not say yet of which messages
// sessions were told. Each change of a mailbox writes that along. For the others the head
// is written a moment later, without a change of the account: a session that is told of
// one message after the other, each of which came by a change, costs next to nothing.
type untold struct {
	mu    sync.Mutex
	boxes map[*mailbox]*account // the accounts are in use, so that they are not forgotten
}

// TakeRecent implements store.Recents.
func (s *Store) TakeRecent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, upTo mail.UID) (mail.UID, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	a, err := s.account(ctx, acct)
	if err != nil {
		return 0, boxError(err)
	}
	defer s.accounts.release(a)
	m := a.set.Load().byID[mbox]
	if m == nil {
		return 0, noMailbox()
	}
	told := min(uint64(upTo), a.lastUID(m, uint64(upTo)))
	for {
		old := m.told.Load()
		if told <= old {
			return mail.UID(old), nil
		}
		if m.told.CompareAndSwap(old, told) {
			m.lowerTold()
			s.noteTold(a, m)
			return mail.UID(old), nil
		}
	}
}

// lastUID returns the last UID of a mailbox that was given out. A message is in the database
// a moment before it is in memory: a session that has read it there waits for that.
func (a *account) lastUID(m *mailbox, seen uint64) uint64 {
	last := m.head.Load().uidNext - 1
	if seen <= last {
		return last
	}
	a.mu.Lock() // who changes the account has it until the change is in memory
	defer a.mu.Unlock()
	return m.head.Load().uidNext - 1
}

// lowerTold keeps what sessions were told of within the UIDs that were given out, which become
// fewer when a mailbox is restored. That asks for it when its head is in memory; who took
// the UID from the head before does so afterwards.
func (m *mailbox) lowerTold() {
	last := m.head.Load().uidNext - 1
	for old := m.told.Load(); old > last && !m.told.CompareAndSwap(old, last); old = m.told.Load() {
	}
}

// noteTold sees to it that the head of a mailbox is written soon.
func (s *Store) noteTold(a *account, m *mailbox) {
	if s.opt.ReadOnly {
		return
	}
	s.told.mu.Lock()
	defer s.told.mu.Unlock()
	if s.told.boxes[m] != nil {
		return
	}
	if s.told.boxes == nil {
		s.told.boxes = make(map[*mailbox]*account)
	}
	s.accounts.retain(a)
	s.told.boxes[m] = a
	s.syncSoon()
}

// writeTold writes the heads of the mailboxes that were noted, and reports whether there
// were none. It waits for no change that is under way: their mailboxes are noted again.
func (s *Store) writeTold() (done bool) {
	s.told.mu.Lock()
	boxes := s.told.boxes
	s.told.boxes = nil
	s.told.mu.Unlock()
	for m, a := range boxes {
		if a.mu.TryLock() {
			s.writeToldOf(a, m)
			a.mu.Unlock()
		} else {
			s.noteTold(a, m)
		}
		s.accounts.release(a)
	}
	return len(boxes) == 0
}

// writeToldOf writes the head of one mailbox, when no change has done so; the account is
// locked. A failure costs nobody anything: messages may be recent once more.
func (s *Store) writeToldOf(a *account, m *mailbox) {
	h := *m.head.Load()
	told := min(m.told.Load(), h.uidNext-1)
	if a.gone || a.set.Load().byID[m.id] != m || h.told >= told || s.writable(false) != nil {
		return
	}
	h.told = told
	if reserved := m.reserved.Load(); reserved > 0 { // perhaps for a change that failed afterwards
		h.epoch, h.reserved = s.epoch, max(h.reserved, reserved)
	}
	b := s.db.NewBatch()
	defer b.Close()
	set(b, boxKey(tabMailboxHead, a.id, m.id), h.append(nil))
	if err := s.apply(b, pebble.NoSync); err != nil {
		s.log.Error("note which messages are no longer recent", "account", a.id, "err", err)
		return
	}
	m.head.Store(&h)
}

// tellNothing is the step from version 2, whose heads say nothing of what sessions were
// told: they are read as they are, and written anew with the next change.
func tellNothing(context.Context, *Store) error { return nil }
