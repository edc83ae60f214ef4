package mailbox

import (
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
	// changes one by one. A row costs some 40 octets.
	deltas, deltaRows int
	// idleBoxes and idleMessages bound the copies kept for mailboxes that nobody
	// has selected at the moment; a message costs 16 octets.
	idleBoxes, idleMessages int
	// recentBoxes is for how many mailboxes without a copy it is remembered
	// which messages no session has been told of.
	recentBoxes int
}

func defaultViewLimits() viewLimits {
	return viewLimits{deltas: 1024, deltaRows: 32 << 10, idleBoxes: 1024, idleMessages: 2 << 20, recentBoxes: 64 << 10}
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
	refs   int  // guarded by viewTable.mu
	known  bool // recentFrom is set; guarded by viewTable.mu

	// refresh serialises reading changes from the store.
	refresh sync.Mutex

	mu      sync.Mutex
	loaded  bool
	epoch   uint64      // a number of its own for each time since which every change is known
	to      mail.ModSeq // everything up to here is applied
	uidNext mail.UID
	highest mail.UID // greatest UID that was ever in uids
	// uids is append-only in place; removing makes a new array. A session may
	// therefore keep a prefix of it without copying.
	uids    []mail.UID
	modSeqs []mail.ModSeq
	flagRef []uint32 // index into flagSet
	flagSet []mail.Flags
	flagIdx map[mail.Flags]uint32

	// log holds the last changes; log[i] has number first+i. rows is how many
	// messages are in them.
	log   []delta
	first uint64
	rows  int

	// recentFrom is the first UID that no session has been told about as recent
	// (RFC 3501, 2.3.2).
	recentFrom mail.UID
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

	mu    sync.Mutex
	boxes map[boxKey]*shared
	idle  []*shared // refs == 0, least recently used first
	// recent is the first UID that no session has been told of, of mailboxes of
	// which there is no copy. It is lost with the process: RFC 3501 has no use
	// for \Recent that would be worth a write to the store for each SELECT.
	recent map[boxKey]mail.UID
	// epochs numbers the epochs of all copies.
	epochs atomic.Uint64
}

func (t *viewTable) init() {
	t.limits = defaultViewLimits()
	t.boxes = make(map[boxKey]*shared)
	t.recent = make(map[boxKey]mail.UID)
}

func (t *viewTable) acquire(key boxKey) *shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	sh := t.boxes[key]
	if sh == nil {
		sh = &shared{key: key, limits: t.limits, epochs: &t.epochs, flagIdx: make(map[mail.Flags]uint32)}
		t.boxes[key] = sh
	} else if sh.refs == 0 {
		t.idle = slices.DeleteFunc(t.idle, func(s *shared) bool { return s == sh })
	}
	sh.refs++
	return sh
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
	t.idle = append(t.idle, sh)
	t.evict()
}

// forget drops the copy of a mailbox that is gone. Sessions that still have it
// find out by themselves.
func (t *viewTable) forget(key boxKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sh := t.boxes[key]; sh != nil && sh.refs == 0 {
		t.idle = slices.DeleteFunc(t.idle, func(s *shared) bool { return s == sh })
	}
	delete(t.boxes, key)
	delete(t.recent, key)
}

func (t *viewTable) evict() {
	total := 0
	for _, sh := range t.idle {
		total += sh.len()
	}
	for len(t.idle) > t.limits.idleBoxes || total > t.limits.idleMessages && len(t.idle) > 0 {
		sh := t.idle[0]
		total -= sh.len()
		delete(t.boxes, sh.key)
		t.noteRecent(sh.key, sh.unclaimed())
		t.idle = slices.Delete(t.idle, 0, 1)
	}
}

func (sh *shared) len() int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return len(sh.uids)
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
		sh.takeRecent(t)
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

// load reads the first snapshot. It is a change set as well: only that says up to which mod-sequence it is complete.
func (sh *shared) load(ctx context.Context, st Store) error {
	set, err := st.Changes(ctx, sh.key.acct, sh.key.mbox, 0)
	if err != nil {
		return fmt.Errorf("read mailbox: %w", err)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.uids = make([]mail.UID, 0, len(set.Changed)+16)
	sh.modSeqs = make([]mail.ModSeq, 0, len(set.Changed)+16)
	sh.flagRef = make([]uint32, 0, len(set.Changed)+16)
	for _, row := range set.Changed {
		sh.push(row.UID, row.ModSeq, row.Flags)
	}
	sh.to, sh.uidNext, sh.loaded, sh.epoch = set.To, set.UIDNext, true, sh.epochs.Add(1)
	return nil
}

func (sh *shared) push(uid mail.UID, ms mail.ModSeq, f mail.Flags) {
	sh.uids = append(sh.uids, uid)
	sh.highest = uid
	sh.modSeqs = append(sh.modSeqs, ms)
	sh.flagRef = append(sh.flagRef, sh.intern(f))
}

func (sh *shared) intern(f mail.Flags) uint32 {
	if i, ok := sh.flagIdx[f]; ok {
		return i
	}
	i := uint32(len(sh.flagSet))
	sh.flagSet = append(sh.flagSet, f)
	sh.flagIdx[f] = i
	return i
}

// spareFlags is how many sets of flags may be kept that no message has any more.
const spareFlags = 1024

// compactFlags forgets sets of flags that are not in use. Without it a client that
// makes up keywords would fill the memory.
func (sh *shared) compactFlags() {
	if len(sh.flagSet) <= spareFlags+2*len(sh.uids) {
		return
	}
	old := sh.flagSet
	sh.flagSet, sh.flagIdx = nil, make(map[mail.Flags]uint32)
	for i, ref := range sh.flagRef {
		sh.flagRef[i] = sh.intern(old[ref])
	}
}

// find returns the position of a UID.
func (sh *shared) find(uid mail.UID) (int, bool) { return slices.BinarySearch(sh.uids, uid) }

// row returns the hot row at a position.
func (sh *shared) row(i int) mail.HotRow {
	return mail.HotRow{UID: sh.uids[i], ModSeq: sh.modSeqs[i], Flags: sh.flagSet[sh.flagRef[i]]}
}

// apply takes over a change set and logs what was new in it.
func (sh *shared) apply(set *store.ChangeSet) {
	sh.uidNext = max(sh.uidNext, set.UIDNext)
	d := delta{to: max(sh.to, set.To)}
	expunged := set.Expunged
	if set.Whole {
		sh.epoch = sh.epochs.Add(1)
		expunged = missing(sh.uids, set.Changed)
	}
	for _, r := range set.Changed {
		sh.applyRow(&d, r)
	}
	d.expunged = sh.remove(expunged)
	sh.to = d.to
	sh.compactFlags()
	if len(d.added) == 0 && len(d.flagged) == 0 && len(d.expunged) == 0 {
		return
	}
	sh.log = append(sh.log, d)
	sh.rows += d.rows()
	sh.trimLog()
}

// trimLog forgets the oldest changes beyond the limits. A change of a whole big
// mailbox is more than may be kept: then there is nothing left.
func (sh *shared) trimLog() {
	over := max(len(sh.log)-sh.limits.deltas, 0)
	for i := range over {
		sh.rows -= sh.log[i].rows()
	}
	for ; over < len(sh.log) && sh.rows > sh.limits.deltaRows; over++ {
		sh.rows -= sh.log[over].rows()
	}
	sh.log = slices.Delete(sh.log, 0, over)
	sh.first += uint64(over)
}

func (sh *shared) applyRow(d *delta, r mail.HotRow) {
	if i, ok := sh.find(r.UID); ok {
		if sh.modSeqs[i] < r.ModSeq {
			sh.modSeqs[i], sh.flagRef[i] = r.ModSeq, sh.intern(r.Flags)
			d.flagged = append(d.flagged, r)
		}
		return
	}
	// A UID up to the highest that is not there was expunged before: the row
	// comes from a reading that overlaps. The store never shows a message with a
	// lower UID after one with a higher UID.
	if r.UID > sh.highest {
		sh.push(r.UID, r.ModSeq, r.Flags)
		d.added = append(d.added, r.UID)
	}
}

// remove takes UIDs out and returns those that were there.
func (sh *shared) remove(set mail.UIDSet) mail.UIDSet {
	var gone mail.UIDSet
	for _, r := range set {
		from, _ := sh.find(r.First)
		for ; from < len(sh.uids) && sh.uids[from] <= r.Last; from++ {
			gone = gone.Append(sh.uids[from])
		}
	}
	if len(gone) == 0 {
		return nil
	}
	// Sessions hold prefixes of the old array, so the rest moves to a new one.
	uids := make([]mail.UID, 0, cap(sh.uids))
	for i, u := range sh.uids {
		if gone.Contains(u) {
			continue
		}
		n := len(uids)
		uids = append(uids, u)
		sh.modSeqs[n], sh.flagRef[n] = sh.modSeqs[i], sh.flagRef[i]
	}
	sh.uids, sh.modSeqs, sh.flagRef = uids, sh.modSeqs[:len(uids)], sh.flagRef[:len(uids)]
	return gone
}

// missing returns the UIDs of the list that no row has.
func missing(uids []mail.UID, rows []mail.HotRow) mail.UIDSet {
	var out mail.UIDSet
	j := 0
	for _, u := range uids {
		for j < len(rows) && rows[j].UID < u {
			j++
		}
		if j == len(rows) || rows[j].UID != u {
			out = out.Append(u)
		}
	}
	return out
}
