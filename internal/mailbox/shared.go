package mailbox

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// viewLimits bound the copies of mailboxes that are kept in memory.
type viewLimits struct {
	// deltas and deltaRows are how many changes, and messages in them, a session
	// may lag behind before it compares whole lists instead of applying the
	// changes one by one. A row costs some 48 octets.
	deltas, deltaRows int
	// idleOctets bounds the copies kept for mailboxes that nobody has selected at
	// the moment; a message costs 20 octets, a mailbox idleOverhead.
	idleOctets int
	// recentBoxes is for how many mailboxes it is remembered which messages sessions were
	// told of, where the engine does not, and whether those without a copy were asked for.
	recentBoxes int
	// recentRows is how many recent messages of a mailbox without a copy are counted by
	// reading them.
	recentRows int
}

// idleOverhead is about what a copy costs beside its messages, in octets.
const idleOverhead = 512

// DefaultIdleCopies is the default of Options.IdleCopies.
const DefaultIdleCopies = 32 << 20

func defaultViewLimits() viewLimits {
	return viewLimits{deltas: 1024, deltaRows: 32 << 10, idleOctets: DefaultIdleCopies, recentBoxes: 64 << 10, recentRows: 4096}
}

type boxKey struct {
	acct mail.AccountID
	mbox mail.MailboxID
}

// shared is the copy of one mailbox's hot rows that all sessions of this
// process share. It starts from a snapshot and moves only by store.Changes, which
// it applies idempotently: applying a change twice, or one that the snapshot has
// already, alters nothing.
type shared struct {
	key    boxKey
	limits viewLimits
	epochs *atomic.Uint64
	// These are guarded by viewTable.mu.
	refs  int
	known bool          // it was loaded
	place *list.Element // in viewTable.idle, nil while it is in use
	cost  int           // octets, as of then

	// refresh serialises reading changes from the store.
	refresh sync.Mutex

	mu     sync.Mutex
	loaded bool
	// epoch is a number of its own for each time since which every change is known, and since which no message was
	// put in the place of another: replaced is what the engine says of that.
	epoch    uint64
	replaced string
	to       mail.ModSeq // everything up to here is applied
	uidNext  mail.UID
	highest  mail.UID // greatest UID that was ever in rows
	// rows are the messages. A session may keep a prefix of their UIDs without
	// copying.
	rows mail.HotRows

	// log holds the last changes; log[i] has number first+i. logged is how many
	// messages are in them.
	log    []delta
	first  uint64
	logged int
}

// delta is one step of a shared copy, without what turned out to be known.
type delta struct {
	to       mail.ModSeq
	added    []mail.UID
	flagged  []mail.HotRow // existing messages whose flags or mod-sequence changed
	expunged mail.UIDSet
}

// rows is what the delta costs.
func (d *delta) rows() int { return len(d.added) + len(d.flagged) + len(d.expunged) }

// viewTable holds the shared copies of a process.
type viewTable struct {
	limits viewLimits

	mu         sync.Mutex
	boxes      map[boxKey]*shared
	idle       *list.List // of *shared with refs == 0, least recently used first
	idleOctets int        // their costs
	// asked are mailboxes without a copy of which the counters were asked for.
	asked map[boxKey]askState
	// epochs numbers the epochs of all copies.
	epochs atomic.Uint64
}

func (t *viewTable) init() {
	t.limits = defaultViewLimits()
	t.boxes, t.idle = make(map[boxKey]*shared), list.New()
	t.asked = make(map[boxKey]askState)
}

// acquire returns the copy of a mailbox, a new one when there is none. The caller
// releases it.
func (t *viewTable) acquire(key boxKey) *shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.take(key)
}

func (t *viewTable) take(key boxKey) *shared {
	sh := t.boxes[key]
	if sh == nil {
		sh = &shared{key: key, limits: t.limits, epochs: &t.epochs}
		t.boxes[key] = sh
	}
	t.busy(sh)
	sh.refs++
	return sh
}

// busy takes a copy out of the idle ones.
func (t *viewTable) busy(sh *shared) {
	if sh.place != nil {
		t.idle.Remove(sh.place)
		sh.place, t.idleOctets = nil, t.idleOctets-sh.cost
	}
}

// release gives a copy back.
func (t *viewTable) release(sh *shared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sh.refs--
	if sh.refs > 0 || t.boxes[sh.key] != sh {
		return
	}
	if !sh.known { // it was never loaded
		delete(t.boxes, sh.key)
		return
	}
	sh.cost = sh.rest()
	sh.place, t.idleOctets = t.idle.PushBack(sh), t.idleOctets+sh.cost
	for t.idleOctets > t.limits.idleOctets {
		old := t.idle.Front().Value.(*shared)
		t.busy(old)
		delete(t.boxes, old.key)
		if delete(t.asked, old.key); old.cost > t.limits.idleOctets {
			t.noteAsked(old.key, askTooLarge)
		}
	}
}

// forget drops the copy of a mailbox that is gone. Sessions that still have it
// find out by themselves.
func (t *viewTable) forget(key boxKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sh := t.boxes[key]; sh != nil {
		t.busy(sh)
	}
	delete(t.boxes, key)
	delete(t.asked, key)
}

// rest drops what only sessions need, of which there are none, and returns what the
// copy costs in octets.
func (sh *shared) rest() int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.first += uint64(len(sh.log))
	sh.log, sh.logged = nil, 0
	return idleOverhead + sh.rows.Octets()
}

// sync brings the copy up to date with the store.
func (sh *shared) sync(ctx context.Context, st Store, t *viewTable) error {
	sh.refresh.Lock()
	defer sh.refresh.Unlock()
	sh.mu.Lock()
	loaded, since := sh.loaded, sh.to
	sh.mu.Unlock()
	if !loaded {
		if err := sh.load(ctx, st); err != nil {
			return err
		}
		t.know(sh)
		return nil
	}
	set, err := st.Changes(ctx, sh.key.acct, sh.key.mbox, since)
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.apply(set)
	return nil
}

// know notes that a copy was loaded.
func (t *viewTable) know(sh *shared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sh.known = true
}

// load reads the first snapshot. It is a change set as well: only that says up to which mod-sequence it is complete.
func (sh *shared) load(ctx context.Context, st Store) error {
	set, err := st.Changes(ctx, sh.key.acct, sh.key.mbox, 0)
	if err != nil {
		return fmt.Errorf("read mailbox: %w", err)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.rows, sh.highest = set.Changed, set.Changed.Last()
	sh.to, sh.uidNext, sh.loaded = set.To, set.UIDNext, true
	sh.epoch, sh.replaced = sh.epochs.Add(1), set.Replaced
	return nil
}

// apply takes over a change set and logs what was new in it.
func (sh *shared) apply(set *store.ChangeSet) {
	sh.uidNext = max(sh.uidNext, set.UIDNext)
	d := delta{to: max(sh.to, set.To)}
	expunged := set.Expunged
	if set.Whole || set.Replaced != sh.replaced {
		sh.epoch, sh.replaced = sh.epochs.Add(1), set.Replaced
	}
	if set.Whole {
		expunged = set.Changed.Missing(sh.rows.UIDs())
	}
	for r := range set.Changed.All() {
		sh.applyRow(&d, r)
	}
	d.expunged = sh.rows.Remove(expunged)
	sh.to = d.to
	if len(d.added) == 0 && len(d.flagged) == 0 && len(d.expunged) == 0 {
		return
	}
	sh.log = append(sh.log, d)
	sh.logged += d.rows()
	sh.trimLog()
}

// trimLog forgets the oldest changes beyond the limits. A change of a whole big
// mailbox is more than may be kept: then there is nothing left.
func (sh *shared) trimLog() {
	over := max(len(sh.log)-sh.limits.deltas, 0)
	for i := range over {
		sh.logged -= sh.log[i].rows()
	}
	for ; over < len(sh.log) && sh.logged > sh.limits.deltaRows; over++ {
		sh.logged -= sh.log[over].rows()
	}
	sh.log = slices.Delete(sh.log, 0, over)
	sh.first += uint64(over)
}

func (sh *shared) applyRow(d *delta, r mail.HotRow) {
	if i, ok := sh.rows.Find(r.UID); ok {
		if sh.rows.At(i).ModSeq < r.ModSeq {
			sh.rows.Set(i, r.ModSeq, r.Flags)
			d.flagged = append(d.flagged, r)
		}
		return
	}
	// A UID up to the highest that is not there was expunged before: the row
	// comes from a reading that overlaps. The store never shows a message with a
	// lower UID after one with a higher UID.
	if r.UID > sh.highest {
		sh.rows.Append(r)
		sh.highest = r.UID
		d.added = append(d.added, r.UID)
	}
}
