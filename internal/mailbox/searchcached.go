package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// findCached searches a mailbox by the copy of its rows, which is brought up to date first, and the cache.
func (s *Service) findCached(ctx context.Context, key boxKey, p *search.Program, facts bool) ([]Hit, error) {
	if p.Never() {
		return nil, nil
	}
	sh := s.views.acquire(key)
	defer s.views.release(sh)
	return s.findShared(ctx, sh, p, facts, func(look func()) error {
		if err := s.sync(ctx, sh); err != nil {
			return err
		}
		sh.mu.Lock()
		defer sh.mu.Unlock()
		look()
		return nil
	})
}

// findShared searches a mailbox as it is when sync has looked at it, which calls look with sh.mu held. Mostly nothing has
// happened there: so it is searched as it is known while sync waits for the engine, and again when that says otherwise.
func (s *Service) findShared(ctx context.Context, sh *shared, p *search.Program, facts bool, sync func(look func()) error) ([]Hit, error) {
	actx, cancel := context.WithCancel(ctx)
	defer cancel()
	ahead := s.searchAhead(actx, sh, p, facts)
	var rows snapshot
	if err := sync(func() { rows = sh.taken() }); err != nil {
		cancel() // what was begun is of no use
		<-ahead
		return nil, err
	}
	early := <-ahead
	if early != nil && early.rows.same(&rows) {
		return early.hits, nil
	}
	return s.findIn(ctx, sh.key, p, &rows, facts)
}

// earlyHits are what a search has found in rows.
type earlyHits struct {
	rows snapshot
	hits []Hit
}

// searchAhead begins a search of the rows as they are known. It gives nil when nothing is known, and when something went
// wrong, as that may be because of what has happened. A panic is something that went wrong, too: who looks for it does so
// where the caller searches again.
func (s *Service) searchAhead(ctx context.Context, sh *shared, p *search.Program, facts bool) <-chan *earlyHits {
	result := make(chan *earlyHits, 1)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.loaded {
		result <- nil
		return result
	}
	early := &earlyHits{rows: sh.taken()}
	go func() {
		defer func() {
			if recover() != nil {
				early = nil
			}
			result <- early
		}()
		var err error
		if early.hits, err = s.findIn(ctx, sh.key, p, &early.rows, facts); err != nil {
			early = nil
		}
	}()
	return result
}

// findIn searches rows. What the cache cannot decide is read.
func (s *Service) findIn(ctx context.Context, key boxKey, p *search.Program, rows *snapshot, facts bool) ([]Hit, error) {
	f := &cachedSearch{s: s, key: key, p: p, rows: rows}
	if err := f.decideRows(ctx, facts); err != nil {
		return nil, err
	}
	if err := f.decideKept(); err != nil {
		return nil, err
	}
	unknown, err := s.searchOpen(ctx, key, p, f.unknown)
	if err != nil {
		return nil, err
	}
	read, err := f.readOpen(ctx)
	if err != nil {
		return nil, err
	}
	return merge(f.found, unknown, read), nil
}

// syncedFor is how long after the look at the mailbox that began a search another one is not needed to answer it.
const syncedFor = 100 * time.Millisecond

// Search is Service.Search of the mailbox of the view. The view learns what has happened before, as by Sync, and may do
// without the Sync that follows.
func (v *View) Search(ctx context.Context, p *search.Program) ([]Found, error) {
	if v.svc.cache == nil {
		return v.svc.Search(ctx, v.sh.key.acct, v.sh.key.mbox, p)
	}
	began := time.Now()
	hits, err := v.svc.findShared(ctx, v.sh, p, false, func(look func()) error { return v.sync(ctx, look) })
	if err != nil {
		return nil, err
	}
	v.searched = began
	return foundOf(hits), nil
}

// snapshot is what the hot rows of a mailbox were at a moment.
type snapshot struct {
	epoch  uint64
	change uint64 // the number of the next change
	*mail.HotRows
}

// taken must run with sh.mu held.
func (sh *shared) taken() snapshot {
	return snapshot{sh.epoch, sh.first + uint64(len(sh.log)), sh.rows.Snapshot()}
}

// same reports whether nothing has happened between two moments.
func (s *snapshot) same(t *snapshot) bool { return s.epoch == t.epoch && s.change == t.change }

// forget drops what is known of a mailbox that is gone.
func (s *Service) forget(key boxKey) {
	s.views.forget(key)
	s.cache.forget(key)
}

// cachedSearch is one search of one mailbox.
type cachedSearch struct {
	s       *Service
	key     boxKey
	p       *search.Program
	rows    *snapshot
	box     *indexedBox
	found   []Hit
	open    []openMessage // what the rows leave open
	unknown mail.UIDSet   // of which the cache has no room
	read    []openMessage // what must be read
	probes  map[string]*search.Probe
}

type openMessage struct {
	row mail.HotRow
	msg *indexed
}

// decideRows decides what can be decided by the rows, and finds the rest in the cache. With facts it finds all that match
// there.
func (f *cachedSearch) decideRows(ctx context.Context, facts bool) error {
	var wanted []int
	var sure []bool
	for i := range f.rows.Len() {
		row := f.rows.At(i)
		result := f.p.View(row.UID, row.ModSeq, row.Flags)
		switch {
		case result == search.No:
		case result == search.Yes && !facts:
			f.found = append(f.found, Hit{Mailbox: f.key.mbox, UID: row.UID, ModSeq: row.ModSeq})
		default:
			wanted, sure = append(wanted, i), append(sure, result == search.Yes)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	f.open = make([]openMessage, 0, len(wanted))
	f.box = f.s.cache.box(f.key, f.rows.epoch)
	known, err := f.s.load(ctx, f.box, f.rows, wanted)
	if err != nil {
		return err
	}
	for n, i := range wanted {
		row := f.rows.At(i)
		for len(known) > 0 && known[0].uid < row.UID {
			known = known[1:]
		}
		switch {
		case len(known) == 0 || known[0].uid != row.UID || !known[0].valid(&row):
			f.unknown = f.unknown.Append(row.UID)
		case sure[n]:
			f.found = append(f.found, f.hit(&row, known[0]))
		default:
			f.open = append(f.open, openMessage{row, known[0]})
		}
	}
	return nil
}

func (f *cachedSearch) hit(row *mail.HotRow, m *indexed) Hit {
	return Hit{Mailbox: f.key.mbox, UID: row.UID, ModSeq: row.ModSeq, Flags: row.Flags, ID: m.id, Thread: m.thread, InternalDate: m.date}
}

// decideKept decides what can be decided by what the cache has.
func (f *cachedSearch) decideKept() error {
	var d keptDocument // used again, as a mailbox can have many messages
	may := func(n search.Needle) bool { return f.probe(n.Text).MayMatch(*d.msg.sign.Load()) }
	for _, o := range f.open {
		d = keptDocument{msg: o.msg, rec: search.Record{
			UID: o.row.UID, ModSeq: o.row.ModSeq, Flags: o.row.Flags, Size: o.msg.size, InternalDate: o.msg.date, EmailID: o.msg.email,
		}}
		switch ok, err := f.decide(&d, may); {
		case errors.Is(err, errNotKept):
			f.read = append(f.read, o)
		case err != nil:
			return fmt.Errorf("search message %d: %w", o.row.UID, err)
		case ok:
			f.found = append(f.found, f.hit(&o.row, o.msg))
		}
	}
	return nil
}

func (f *cachedSearch) decide(d *keptDocument, may func(search.Needle) bool) (bool, error) {
	if result := f.p.Indexed(&d.rec, may); result != search.Unknown {
		return result == search.Yes, nil
	}
	d.text = f.s.cache.content(d.msg)
	return f.p.Match(d)
}

func (f *cachedSearch) probe(needle []byte) *search.Probe {
	p := f.probes[string(needle)]
	if p == nil {
		if f.probes == nil {
			f.probes = make(map[string]*search.Probe)
		}
		p = search.NewProbe(needle)
		f.probes[string(needle)] = p
	}
	return p
}

// readOpen reads the messages that must be read, and keeps what can be looked for in them.
func (f *cachedSearch) readOpen(ctx context.Context) ([]Hit, error) {
	if len(f.read) == 0 {
		return nil, nil
	}
	q := store.FetchQuery{Fields: searchFields(f.p.Needs()) | store.FieldHeader | store.FieldSummary}
	for _, o := range f.read {
		q.UIDs = q.UIDs.Append(o.row.UID)
		q.Known = append(q.Known, o.row)
	}
	var found []Hit
	var reader contentReader
	for row, err := range f.s.store.Fetch(ctx, f.key.acct, f.key.mbox, q) {
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		ok, err := f.match(row, &reader)
		if err != nil {
			return nil, fmt.Errorf("search message %d: %w", row.UID, err)
		}
		if ok {
			found = append(found, hitOf(f.key, row))
		}
	}
	return found, nil
}

// match decides about a message that was read.
func (f *cachedSearch) match(row *store.Row, reader *contentReader) (bool, error) {
	m, err := indexedOf(row)
	if err != nil {
		return false, err
	}
	text, err := reader.read(row, f.p.Needs()&search.NeedText != 0)
	if err != nil {
		return false, err
	}
	if row.Flags.Has(mail.Draft) {
		return f.p.Match(&keptDocument{rec: record(row), msg: m, text: text})
	}
	i, ok := slices.BinarySearchFunc(f.read, row.UID, func(o openMessage, uid mail.UID) int { return int(int64(o.row.UID) - int64(uid)) })
	if ok && f.read[i].msg.same(m) {
		if f.s.cache.keep(f.read[i].msg, text); text.whole && !f.read[i].msg.sign.Load().Valid() {
			f.s.cache.sign(f.read[i].msg, reader.signature(text))
		}
	}
	return f.p.Match(&keptDocument{rec: record(row), msg: m, text: text})
}
