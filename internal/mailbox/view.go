package mailbox

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"mallard/internal/mail"
)

// View is a mailbox as one session sees it: a list of UIDs whose positions are
// the message sequence numbers (RFC 3501, 2.3.1.2). It changes only when the
// session takes an Update, so a sequence number means the same message to client
// and server at any time.
//
// A View belongs to one goroutine.
type View struct {
	svc *Service
	sh  *shared

	uids []mail.UID // what the client knows; may share the array of sh.rows
	pos  uint64     // number of the next delta to take over
	told mail.ModSeq
	// uidNext belongs to what Sync has learnt: a client takes messages with UIDs
	// from there on for new ones, so it must not run ahead.
	uidNext mail.UID

	added    []mail.UID // not told yet, ascending
	expunged mail.UIDSet
	flagged  map[mail.UID]mail.ModSeq
	// own holds up to which mod-sequence the client knows the flags of a message
	// already, where that is beyond told.
	own map[mail.UID]mail.ModSeq

	searched time.Time // when the last Search looked, until a Sync

	recent mail.UIDSet
	claim  bool // this session may take messages as recent from others
}

// Update is what may be told to a client now, in this order.
type Update struct {
	// Expunged messages, the one with the greatest sequence number first, so that
	// each number is right at the moment it is told.
	Expunged []Numbered
	// Exists is the number of messages now; tell it when Grown is set.
	Exists int
	Grown  bool
	Recent int
	// Flags are messages whose flags changed, ascending.
	Flags []NumberedRow
}

// Numbered is a message with its sequence number.
type Numbered struct {
	Seq uint32
	UID mail.UID
}

// NumberedRow is a hot row with its sequence number.
type NumberedRow struct {
	Seq uint32
	mail.HotRow
}

// Empty reports whether there is nothing to tell.
func (u *Update) Empty() bool { return len(u.Expunged) == 0 && !u.Grown && len(u.Flags) == 0 }

// View opens a mailbox for a session. With claim the session takes over the
// messages that no session has seen as recent. The caller closes the view.
// Errors: NoMailbox.
func (s *Service) View(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, claim bool) (*View, error) {
	sh := s.views.acquire(boxKey{acct, mbox})
	if err := s.sync(ctx, sh); err != nil {
		s.views.release(sh)
		return nil, err
	}
	v := &View{svc: s, sh: sh, claim: claim}
	sh.mu.Lock()
	v.uids = sh.rows.UIDs()
	v.pos = sh.first + uint64(len(sh.log))
	v.told, v.uidNext = sh.to, sh.uidNext
	sh.mu.Unlock()
	if err := v.findRecent(ctx, v.uids); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// Close releases the view.
func (v *View) Close() {
	if v.sh != nil {
		v.svc.views.release(v.sh)
		v.sh = nil
	}
}

// Sync learns what happened since the last call. It changes nothing that the
// client can see; Take does. Errors: NoMailbox when the mailbox is gone.
func (v *View) Sync(ctx context.Context) error {
	searched := v.searched
	v.searched = time.Time{}
	if !searched.IsZero() && time.Since(searched) < syncedFor {
		return nil
	}
	return v.sync(ctx, func() {})
}

// sync is Sync and then, in the same moment, a look at the copy.
func (v *View) sync(ctx context.Context, look func()) error {
	if err := v.svc.sync(ctx, v.sh); err != nil {
		return err
	}
	v.sh.mu.Lock()
	defer v.sh.mu.Unlock()
	if v.pos < v.sh.first {
		v.compare()
	} else {
		for _, d := range v.sh.log[v.pos-v.sh.first:] {
			v.takeDelta(&d)
		}
	}
	v.caughtUp()
	look()
	return nil
}

func (v *View) takeDelta(d *delta) {
	v.added = append(v.added, d.added...)
	for _, r := range d.flagged {
		v.markFlagged(r.UID, r.ModSeq)
	}
	n := len(v.expunged)
	for u := range d.expunged.All() {
		if v.markExpunged(u) {
			v.expunged = append(v.expunged, mail.UIDRange{First: u, Last: u})
		}
	}
	if len(v.expunged) > n {
		v.expunged = mail.NormalizeUIDs(v.expunged)
	}
}

func (v *View) markFlagged(u mail.UID, ms mail.ModSeq) {
	if ms <= v.own[u] {
		return
	}
	if _, ok := slices.BinarySearch(v.uids, u); !ok {
		return // not told yet, the client will ask for its flags
	}
	if v.flagged == nil {
		v.flagged = make(map[mail.UID]mail.ModSeq)
	}
	v.flagged[u] = ms
}

// markExpunged reports whether the client knows the message and must be told.
func (v *View) markExpunged(u mail.UID) bool {
	delete(v.flagged, u)
	if i, ok := slices.BinarySearch(v.added, u); ok {
		v.added = slices.Delete(v.added, i, i+1)
		return false
	}
	_, known := slices.BinarySearch(v.uids, u)
	return known
}

// compare finds the changes by comparing the lists, for a session that slept
// through more changes than are logged.
func (v *View) compare() {
	uids := v.sh.rows.UIDs()
	v.expunged, v.added = nil, nil
	i := 0 // both lists are in order
	for _, u := range v.uids {
		for i < len(uids) && uids[i] < u {
			i++
		}
		if i == len(uids) || uids[i] != u {
			v.expunged = v.expunged.Append(u)
			delete(v.flagged, u)
			continue
		}
		if ms := v.sh.rows.At(i).ModSeq; ms > v.told {
			v.markFlagged(u, ms)
		}
	}
	i, known := v.sh.rows.Find(v.Last())
	if known {
		i++
	}
	v.added = slices.Clone(uids[i:])
}

// caughtUp must run with sh.mu held.
func (v *View) caughtUp() {
	v.pos = v.sh.first + uint64(len(v.sh.log))
	v.told, v.uidNext = v.sh.to, v.sh.uidNext
	maps.DeleteFunc(v.own, func(_ mail.UID, ms mail.ModSeq) bool { return ms <= v.told })
	if len(v.own) == 0 {
		v.own = nil
	}
}

// Take applies what Sync found and returns what the client must be told. Without
// expunge removed messages keep their numbers until a later call, for the
// commands during which RFC 3501, 7.4.1 forbids EXPUNGE.
func (v *View) Take(ctx context.Context, expunge bool) Update {
	if v.findRecent(ctx, v.added) != nil {
		v.addRecent(v.added) // as RFC 3501, 2.3.2 wants it where it is not known
	}
	v.sh.mu.Lock()
	defer v.sh.mu.Unlock()
	var u Update
	if expunge && len(v.expunged) > 0 {
		u.Expunged = v.dropExpunged()
	}
	u.Grown = len(v.added) > 0
	v.takeAdded()
	u.Exists, u.Recent = len(v.uids), v.recent.Count()
	u.Flags = v.takeFlagged()
	return u
}

func (v *View) dropExpunged() []Numbered {
	out := make([]Numbered, 0, v.expunged.Count())
	keep := make([]mail.UID, 0, len(v.uids))
	for i, uid := range v.uids {
		if v.expunged.Contains(uid) {
			out = append(out, Numbered{Seq: uint32(i + 1), UID: uid})
			continue
		}
		keep = append(keep, uid)
	}
	slices.Reverse(out)
	v.uids = keep
	v.recent = subtract(v.recent, v.expunged)
	v.expunged = nil
	return out
}

// takeAdded appends the new messages to the list. Normally the list is then the
// shared one, which costs nothing; only when the shared one has moved on, or keeps
// less because messages still have their numbers here, the session needs its own.
func (v *View) takeAdded() {
	if len(v.expunged) == 0 && v.pos == v.sh.first+uint64(len(v.sh.log)) {
		v.uids = v.sh.rows.UIDs()
	} else if len(v.added) > 0 {
		v.uids = append(slices.Clip(v.uids), v.added...)
	}
	v.added = nil
}

func (v *View) takeFlagged() []NumberedRow {
	if len(v.flagged) == 0 {
		return nil
	}
	out := make([]NumberedRow, 0, len(v.flagged))
	later := make(map[mail.UID]mail.ModSeq)
	for uid, ms := range v.flagged {
		i, ok := v.sh.rows.Find(uid)
		seq, known := slices.BinarySearch(v.uids, uid)
		switch {
		case !ok || !known:
		case v.sh.rows.At(i).ModSeq < v.own[uid]:
			later[uid] = ms // the client knows better than the copy
		default:
			out = append(out, NumberedRow{Seq: uint32(seq + 1), HotRow: v.sh.rows.At(i)})
		}
	}
	slices.SortFunc(out, func(a, b NumberedRow) int { return int(a.Seq) - int(b.Seq) })
	v.flagged = later // a new one: the old one can be as large as the mailbox
	return out
}

// Mailbox returns the id of the mailbox.
func (v *View) Mailbox() mail.MailboxID { return v.sh.key.mbox }

// Len is the number of messages that the client knows, and the greatest
// sequence number.
func (v *View) Len() int { return len(v.uids) }

// UID returns the UID of a sequence number, which must be from 1 to Len.
func (v *View) UID(seq uint32) mail.UID { return v.uids[seq-1] }

// UIDs are all UIDs in order. The slice must not be changed and is valid until
// the next Take.
func (v *View) UIDs() []mail.UID { return v.uids }

// Seq returns the sequence number of a UID.
func (v *View) Seq(uid mail.UID) (uint32, bool) {
	i, ok := slices.BinarySearch(v.uids, uid)
	return uint32(i + 1), ok
}

// Last returns the UID of the last message, 0 in an empty mailbox.
func (v *View) Last() mail.UID {
	if n := len(v.uids); n > 0 {
		return v.uids[n-1]
	}
	return 0
}

// HighestModSeq is the mod-sequence up to which Sync has learnt every change.
func (v *View) HighestModSeq() mail.ModSeq { return max(v.told, 1) }

// UIDNext is the next UID of the mailbox as of the last Sync.
func (v *View) UIDNext() mail.UID { return v.uidNext }

// Row returns the current flags and mod-sequence of a message, false when it is
// gone.
func (v *View) Row(uid mail.UID) (mail.HotRow, bool) {
	v.sh.mu.Lock()
	defer v.sh.mu.Unlock()
	i, ok := v.sh.rows.Find(uid)
	if !ok {
		return mail.HotRow{}, false
	}
	return v.sh.rows.At(i), true
}

// Rows yields the messages of a set that the client knows and that still exist,
// in order. The rows are current, which may be newer than the last Sync.
func (v *View) Rows(set mail.UIDSet) iter.Seq[NumberedRow] {
	return func(yield func(NumberedRow) bool) {
		for _, r := range set {
			i, _ := slices.BinarySearch(v.uids, r.First)
			for ; i < len(v.uids) && v.uids[i] <= r.Last; i++ {
				row, ok := v.Row(v.uids[i])
				if ok && !yield(NumberedRow{Seq: uint32(i + 1), HotRow: row}) {
					return
				}
			}
		}
	}
}

// FirstUnseen returns the sequence number of the first message without \Seen,
// 0 when there is none.
func (v *View) FirstUnseen() uint32 {
	v.sh.mu.Lock()
	defer v.sh.mu.Unlock()
	for i := range v.sh.rows.Where(func(f mail.Flags) bool { return !f.Has(mail.Seen) }) {
		if seq, ok := slices.BinarySearch(v.uids, v.sh.rows.At(i).UID); ok {
			return uint32(seq + 1)
		}
	}
	return 0
}

// subtract returns the UIDs of a that are not in b. a is a set that is small in
// memory: the recent messages of a session.
func subtract(a, b mail.UIDSet) mail.UIDSet {
	if len(a) == 0 || len(b) == 0 {
		return a
	}
	var out mail.UIDSet
	for u := range a.All() {
		if !b.Contains(u) {
			out = out.Append(u)
		}
	}
	return out
}
