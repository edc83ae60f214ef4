package mongostore

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

const (
	// inFlight is how many numbers of a mailbox may be on their way at once: older ones are settled on first sight.
	inFlight = 1024
	// young is how old a change may be by its writer's clock for those before it to be taken as perhaps on their way, on
	// first sight. Nodes' clocks must not differ by more.
	young = 30 * time.Second
	// lively is how long after its last change a mailbox is searched for rows that came late.
	lively = 5 * time.Minute
	// latePause is how often that is done at most for those who were told the same.
	latePause = 500 * time.Millisecond
	// watchTime is how long messages are looked for at a UID that was gone past, every lookPause, in which rows that came
	// late are looked for as well.
	watchTime = 10 * time.Minute
	lookPause = time.Second
	// journalLife is how long a journal row surely lives; it ends after three hours.
	journalLife = 170 * time.Minute
	// maxTracks is of how many mailboxes a node remembers what it has seen.
	maxTracks = 1 << 16
	// maxHanded is how many earlier answers of Changes about a mailbox are remembered with their time.
	maxHanded = 256
	// maxSeen is how many journal rows of a mailbox are remembered.
	maxSeen = 4096
)

// tracks remember what this node has seen of the numbers of mailboxes. They are lost with the process: a node that sees a
// mailbox for the first time goes by the times that writers have noted.
type tracks struct {
	mu  sync.Mutex
	all map[bson.ObjectID]*track
}

func (t *tracks) init() { t.all = make(map[bson.ObjectID]*track) }

func (t *tracks) of(mbox bson.ObjectID) *track {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.all[mbox]
	if tr == nil {
		if len(t.all) >= maxTracks {
			for id := range t.all { // any one
				delete(t.all, id)
				break
			}
		}
		tr = &track{watch: make(map[mail.UID]time.Time)}
		t.all[mbox] = tr
	}
	return tr
}

func (t *tracks) forget(mbox bson.ObjectID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, mbox)
}

// track is what this node has seen of the numbers of one mailbox.
type track struct {
	mu sync.Mutex
	// settled and uids say how far numbers are accounted for: of every mod-sequence up to settled, and of every UID below
	// uids, all that there will be is there to be read, or its writer has had its time.
	known   bool
	settled mail.ModSeq
	uids    mail.UID
	// checks are when numbers were first seen to be handed out.
	checks []check
	// handed are the mod-sequences up to which callers were told everything, in ascending order.
	handed []handed
	// readings counts the readings that ended; rows are the journal rows that they saw, by the number of the reading.
	readings uint64
	rows     map[bson.ObjectID]seenAt
	// last is the last modifyIndex that was seen, and changed when it was first seen.
	last    mail.ModSeq
	changed time.Time
	// watch are UIDs that were gone past, and until when a message that comes there after all is looked for.
	watch   map[mail.UID]time.Time
	watches time.Time // when they were last looked at
	lates   time.Time // when rows that came late were last looked for
	// claims are changes of others that this node is completing.
	claims map[bson.ObjectID]time.Time
}

type check struct {
	at     time.Time
	modSeq mail.ModSeq
	uids   mail.UID
}

// handed is an answer: what it did not tell, because it was not there yet, comes after.
type handed struct {
	to     mail.ModSeq
	last   mail.ModSeq // the last that had been handed out to writers
	at     time.Time   // when its reading began
	latest time.Time   // when the last reading began that found the same
	before uint64      // readings that had ended then
	own    uint64      // its own number
	looked time.Time   // when rows that came late were last looked for
}

type seenAt struct {
	reading uint64
	created time.Time
}

// sight is what a track knows before a reading begins. What is settled then is there for every read that follows.
type sight struct {
	known   bool
	settled mail.ModSeq
	uids    mail.UID
	// agedModSeq and agedUIDs were handed out so long ago that nobody waits for them any more.
	agedModSeq mail.ModSeq
	agedUIDs   mail.UID
	lively     bool
	lateDue    bool    // it is time to look for rows that came late
	readings   uint64  // that have ended
	answer     *handed // that gave the caller its since; nil when it is not known
	// sureAt is a moment at which no number after since had been handed out to a writer; zero when none is known.
	sureAt  time.Time
	watched map[mail.UID]bool // UIDs that were gone past
	look    bool              // it is time to look for messages there
}

// begin looks at the track before a reading since a mod-sequence.
func (t *track) begin(now time.Time, lease time.Duration, since mail.ModSeq) sight {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := sight{known: t.known, settled: t.settled, uids: t.uids, lively: t.changed.IsZero() || now.Sub(t.changed) < lively}
	for _, c := range t.checks {
		if now.Sub(c.at) >= lease {
			s.agedModSeq, s.agedUIDs = max(s.agedModSeq, c.modSeq), max(s.agedUIDs, c.uids)
		}
	}
	if s.lateDue = s.lively && now.Sub(t.lates) >= lookPause; s.lateDue {
		t.lates = now
	}
	s.readings = t.readings
	for i, h := range t.handed {
		if h.to > since {
			break
		}
		s.answer = nil
		if h.last <= since && h.latest.After(s.sureAt) {
			s.sureAt = h.latest
		}
		if h.to == since {
			s.answer = &h
			// On first sight a node tells less than there is. Who was told that comes again soon; somebody who comes later
			// may have the number from long ago.
			if now.Sub(h.at) < 2*lease && h.at.After(s.sureAt) {
				s.sureAt = h.at
			}
			// A session asks after each of its commands, and there can be hundreds of rows to look through.
			if s.lively && now.Sub(h.looked) < latePause {
				s.lively = false
			} else {
				t.handed[i].looked = now
			}
		}
	}
	maps.DeleteFunc(t.watch, func(_ mail.UID, until time.Time) bool { return now.After(until) })
	if len(t.watch) > 0 {
		s.watched = make(map[mail.UID]bool, len(t.watch))
		for u := range t.watch {
			s.watched[u] = true
		}
		if s.look = now.Sub(t.watches) >= lookPause; s.look {
			t.watches = now
		}
	}
	return s
}

// observe notes what numbers were handed out at a moment.
func (t *track) observe(now time.Time, ms mail.ModSeq, uids mail.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ms != t.last {
		t.last, t.changed = ms, now
	}
	if n := len(t.checks); n > 0 && t.checks[n-1].modSeq >= ms && t.checks[n-1].uids >= uids {
		return
	}
	t.checks = append(t.checks, check{now, ms, uids})
}

// end takes over what a reading found: up to where the numbers are settled, what was told to the caller, and the journal
// rows that were seen.
func (t *track) end(r *reading, settled mail.ModSeq, uids mail.UID, to mail.ModSeq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = true
	t.settled, t.uids = max(t.settled, settled), max(t.uids, uids)
	t.checks = slices.DeleteFunc(t.checks, func(c check) bool { return c.modSeq <= t.settled && c.uids <= t.uids })
	for _, u := range r.passed {
		t.watch[u] = r.started.Add(watchTime)
	}
	t.readings++
	t.see(r)
	looked := r.started
	if !r.lively && r.answer != nil {
		looked = r.answer.looked
	}
	t.hand(handed{to: to, last: r.modSeq, at: r.started, before: r.readings, own: t.readings, looked: looked})
}

// see notes the rows of a reading.
func (t *track) see(r *reading) {
	if t.rows == nil {
		t.rows = make(map[bson.ObjectID]seenAt)
	}
	old := r.s.o.Now().Add(-watchTime)
	for _, row := range slices.Concat(r.rows, r.late) {
		if _, ok := t.rows[row.id]; !ok && row.created.After(old) {
			t.rows[row.id] = seenAt{t.readings, row.created}
		}
	}
	if len(t.rows) > maxSeen {
		maps.DeleteFunc(t.rows, func(_ bson.ObjectID, s seenAt) bool { return s.created.Before(old) })
	}
	if len(t.rows) > 2*maxSeen {
		clear(t.rows) // then some are told twice
	}
}

// hand notes an answer. Of several with the same mod-sequence that counts whose reading began first.
func (t *track) hand(h handed) {
	h.latest = h.at
	i, ok := slices.BinarySearchFunc(t.handed, h.to, func(x handed, to mail.ModSeq) int { return cmp.Compare(x.to, to) })
	switch {
	case !ok:
		t.handed = slices.Insert(t.handed, i, h)
	case h.before < t.handed[i].before:
		t.handed[i] = h
	case h.last == t.handed[i].last && h.at.After(t.handed[i].latest):
		t.handed[i].latest = h.at
	case h.last == h.to: // the first one did not know yet that nothing comes after it
		t.handed[i].last, t.handed[i].latest = h.last, h.at
	}
	if len(t.handed) > maxHanded { // half as many, spread over the time; the last ones stay
		keep := t.handed[:0]
		for i, x := range t.handed {
			if i%2 == 0 || i > maxHanded-maxHanded/8 {
				keep = append(keep, x)
			}
		}
		t.handed = keep
	}
}

// told reports whether a caller with this answer was told of a row.
func (t *track) told(answer *handed, id bson.ObjectID) bool {
	if answer == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.rows[id]
	return ok && (s.reading <= answer.before || s.reading == answer.own)
}

// quiet reports whether there is nothing to read after since: all numbers are settled, none came, and what comes late was
// looked for just now.
func (s *sight) quiet(since, ms mail.ModSeq, uids mail.UID) bool {
	return s.known && !s.lateDue && len(s.watched) == 0 && since == ms && s.settled >= ms && s.uids >= uids
}

// idBefore is the least id of a moment.
func idBefore(t time.Time) bson.ObjectID {
	sec := min(max(t.Unix(), 0), math.MaxUint32)
	return bson.ObjectID{byte(sec >> 24), byte(sec >> 16), byte(sec >> 8), byte(sec)}
}
