package mailbox

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Limits of the copies of mailboxes that are kept in memory.
const (
	// deltaLog is how many changes a session may lag behind before it compares
	// whole lists instead of applying them one by one.
	deltaLog = 1024
	// maxIdleBoxes and maxIdleMessages bound the copies kept for mailboxes that
	// nobody has selected at the moment; a message costs 16 octets.
	maxIdleBoxes    = 1024
	maxIdleMessages = 2 << 20
)

type boxKey struct {
	acct mail.AccountID
	mbox mail.MailboxID
}

// shared is the copy of one mailbox's hot rows that all sessions of this
// process share. It starts from a snapshot and moves only by store.Changes, which
// it applies idempotently: applying a change twice, or one that the snapshot has
// already, alters nothing.
type shared struct {
	key  boxKey
	refs int // guarded by viewTable.mu

	// refresh serialises reading changes from the store.
	refresh sync.Mutex

	mu      sync.Mutex
	loaded  bool
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

	// log holds the last changes; log[i] has number first+i.
	log   []delta
	first uint64

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

// viewTable holds the shared copies of a process.
type viewTable struct {
	mu    sync.Mutex
	boxes map[boxKey]*shared
	idle  []*shared // refs == 0, least recently used first
}

func (t *viewTable) init() { t.boxes = make(map[boxKey]*shared) }

func (t *viewTable) acquire(key boxKey) *shared {
	t.mu.Lock()
	defer t.mu.Unlock()
	sh := t.boxes[key]
	if sh == nil {
		sh = &shared{key: key, flagIdx: make(map[mail.Flags]uint32)}
		t.boxes[key] = sh
	}
	if sh.refs == 0 {
		t.idle = slices.DeleteFunc(t.idle, func(s *shared) bool { return s == sh })
	}
	sh.refs++
	return sh
}

// release gives a copy back. A copy that is of no more use, because loading
// failed or the mailbox is gone, is dropped.
func (t *viewTable) release(sh *shared, drop bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sh.refs--
	if drop && t.boxes[sh.key] == sh {
		delete(t.boxes, sh.key)
	}
	if sh.refs > 0 || t.boxes[sh.key] != sh {
		return
	}
	t.idle = append(t.idle, sh)
	t.evict()
}

func (t *viewTable) evict() {
	total := 0
	for _, sh := range t.idle {
		total += sh.len()
	}
	for len(t.idle) > maxIdleBoxes || total > maxIdleMessages && len(t.idle) > 0 {
		total -= t.idle[0].len()
		delete(t.boxes, t.idle[0].key)
		t.idle = slices.Delete(t.idle, 0, 1)
	}
}

func (sh *shared) len() int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return len(sh.uids)
}

// sync brings the copy up to date with the store.
func (sh *shared) sync(ctx context.Context, st Store) error {
	sh.refresh.Lock()
	defer sh.refresh.Unlock()
	sh.mu.Lock()
	loaded, since := sh.loaded, sh.to
	sh.mu.Unlock()
	if !loaded {
		if err := sh.load(ctx, st); err != nil {
			return err
		}
		since = sh.to
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

// load reads the first snapshot. Rows may be newer than the mod-sequence that was
// read before them; the changes since are applied on top and do no harm.
func (sh *shared) load(ctx context.Context, st Store) error {
	box, err := st.Mailbox(ctx, sh.key.acct, sh.key.mbox)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.uids = make([]mail.UID, 0, box.Messages+16)
	sh.modSeqs = make([]mail.ModSeq, 0, box.Messages+16)
	sh.flagRef = make([]uint32, 0, box.Messages+16)
	for row, err := range st.Fetch(ctx, sh.key.acct, sh.key.mbox, store.FetchQuery{}) {
		if err != nil {
			return fmt.Errorf("read mailbox: %w", err)
		}
		sh.push(row.UID, row.ModSeq, row.Flags)
	}
	sh.to, sh.uidNext, sh.loaded = box.HighestModSeq, box.UIDNext, true
	sh.recentFrom = box.UIDNext
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
		expunged = missing(sh.uids, set.Changed)
	}
	for _, r := range set.Changed {
		sh.applyRow(&d, r)
	}
	d.expunged = sh.remove(expunged)
	sh.to = d.to
	if len(d.added) == 0 && len(d.flagged) == 0 && len(d.expunged) == 0 {
		return
	}
	sh.log = append(sh.log, d)
	if over := len(sh.log) - deltaLog; over > 0 {
		sh.log = slices.Delete(sh.log, 0, over)
		sh.first += uint64(over)
	}
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
