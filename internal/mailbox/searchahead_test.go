package mailbox

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// busyStore is a store in which something happens while a session looks at a mailbox.
type busyStore struct {
	*memstore.Store
	during func()

	mu      sync.Mutex
	fetched []store.FetchQuery
}

func (s *busyStore) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	if during := s.during; during != nil {
		s.during = nil
		during()
	}
	return s.Store.Changes(ctx, acct, mbox, since)
}

func (s *busyStore) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	s.mu.Lock()
	s.fetched = append(s.fetched, q)
	s.mu.Unlock()
	return s.Store.Fetch(ctx, acct, mbox, q)
}

// A search begins while it waits for the engine to say what has happened. That counts: messages that came, went or have other
// flags are found, and not found, as they are then.
func TestSearchWhileThingsHappen(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	st := &busyStore{Store: f.store}
	svc := New(Options{Store: st, Bus: membus.New(), Search: SearchCache{Index: 1 << 20, Text: 1 << 20}})
	rc := draft.New(draft.Options{})
	for range 4 {
		f.put(t, rc, &letter{body: "alpha\r\n"})
	}
	view, err := svc.View(t.Context(), f.acct, f.boxes[0], false)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	body, unseen := compiled(t, search.Body("alpha")), compiled(t, search.And{search.Body("alpha"), search.Flags{Unset: mail.Seen}})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range []struct {
		during func()
		want   []mail.UID
		p      *search.Program
	}{
		{func() {}, []mail.UID{1, 2, 3, 4}, body},
		{func() { f.put(t, rc, &letter{body: "alpha too\r\n"}) }, []mail.UID{1, 2, 3, 4, 5}, body},
		{func() {
			_, err := f.Expunge(t.Context(), f.acct, f.boxes[0], mail.OneUID(2), false)
			must(err)
		}, []mail.UID{1, 3, 4, 5}, body},
		{func() {
			_, err := f.UpdateFlags(t.Context(), f.acct, f.boxes[0], store.FlagUpdate{UIDs: mail.OneUID(3), Flags: mail.NewFlags(mail.Seen)})
			must(err)
		}, []mail.UID{1, 4, 5}, unseen},
		{func() { f.put(t, rc, &letter{body: "beta\r\n"}) }, []mail.UID{1, 3, 4, 5}, body},
	} {
		for name, find := range map[string]func() ([]Found, error){
			"view":    func() ([]Found, error) { return view.Search(t.Context(), step.p) },
			"service": func() ([]Found, error) { return svc.Search(t.Context(), f.acct, f.boxes[0], step.p) },
		} {
			st.during, step.during = step.during, nil
			found, err := find()
			must(err)
			var got []mail.UID
			for _, h := range found {
				got = append(got, h.UID)
			}
			if !slices.Equal(got, step.want) {
				t.Errorf("step %d, %s: found %v, want %v", i, name, got, step.want)
			}
		}
	}
	// A mailbox that is gone is not searched as it was.
	st.during = func() { must(st.DeleteMailbox(t.Context(), f.acct, f.boxes[0], 0)) }
	if found, err := svc.Search(t.Context(), f.acct, f.boxes[0], body); mail.CodeOf(err) != mail.CodeNoMailbox || err == nil {
		t.Errorf("a mailbox that is gone: %v, %v", found, err)
	}
}

// faultyStore is a store that fails in ways that a test sets.
type faultyStore struct {
	*memstore.Store
	changes error // of Changes
	fetch   func(ctx context.Context)
	fetches chan struct{} // receives when Fetch is called
}

func (s *faultyStore) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	if s.changes != nil {
		<-s.fetches // the search ahead is under way
		return nil, s.changes
	}
	return s.Store.Changes(ctx, acct, mbox, since)
}

func (s *faultyStore) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	if s.fetch != nil {
		s.fetches <- struct{}{}
		s.fetch(ctx)
	}
	return s.Store.Fetch(ctx, acct, mbox, q)
}

// newFaulty is a service with a mailbox that has been looked at, of whose message nothing is in the cache.
func newFaulty(t *testing.T) (*faultyStore, *View) {
	t.Helper()
	f := newFixture(t, memstore.Options{}, nil)
	st := &faultyStore{Store: f.store, fetches: make(chan struct{}, 10)}
	svc := New(Options{Store: st, Bus: membus.New(), Search: SearchCache{Index: 1 << 20, Text: 1 << 20}})
	f.put(t, draft.New(draft.Options{}), &letter{body: "alpha\r\n"})
	view, err := svc.View(t.Context(), f.acct, f.boxes[0], false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(view.Close)
	return st, view
}

// A panic in what is begun while a search waits for the engine comes out where the search was called, which can recover it.
func TestSearchPanics(t *testing.T) {
	st, view := newFaulty(t)
	st.fetch = func(context.Context) { panic("a fault") }
	caught := func() (p any) {
		defer func() { p = recover() }()
		found, err := view.Search(t.Context(), compiled(t, search.Body("alpha")))
		t.Errorf("found %v, error %v", found, err)
		return nil
	}()
	if caught != "a fault" {
		t.Errorf("the caller recovers %v", caught)
	}
	if n := len(st.fetches); n != 2 {
		t.Errorf("%d reads, want one that is ahead and one of the caller", n)
	}
}

// When the engine does not say what has happened, nobody waits for what was begun meanwhile, and nothing of it goes on.
func TestSearchDoesNotWait(t *testing.T) {
	st, view := newFaulty(t)
	st.changes = errors.New("no engine")
	ended := false
	st.fetch = func(ctx context.Context) {
		select {
		case <-ctx.Done():
			ended = true
		case <-time.After(20 * time.Second):
		}
	}
	begin := time.Now()
	if _, err := view.Search(t.Context(), compiled(t, search.Body("alpha"))); !errors.Is(err, st.changes) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(begin); !ended || took > 10*time.Second {
		t.Errorf("it took %v, what was begun has been ended: %v", took, ended)
	}
}

// Whatever a search reads it names as it knows it, so that an engine may have it in memory. A mailbox that nobody has looked
// at before is looked at first; in any other what is new is read when the engine has told of it.
func TestSearchNamesWhatItKnows(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	st := &busyStore{Store: f.store}
	svc := New(Options{Store: st, Bus: membus.New(), Search: SearchCache{Index: 1 << 20, Text: 1 << 20}})
	rc := draft.New(draft.Options{})
	for i := range 3 {
		f.put(t, rc, &letter{body: "alpha\r\n"})
		if _, err := svc.Search(t.Context(), f.acct, f.boxes[0], compiled(t, search.Body("alpha"))); err != nil {
			t.Fatal(err)
		}
		if n := len(st.fetched); n != 2*(i+1) {
			t.Errorf("%d reads after search %d, want one of what is known and one of the text each", n, i)
		}
	}
	for i, q := range st.fetched {
		if len(q.Known) != 1 || q.UIDs.Count() != 1 {
			t.Errorf("read %d names %d of %d messages, want the one that is new", i, len(q.Known), q.UIDs.Count())
		}
	}
}

func compiled(t *testing.T, q search.Query) *search.Program {
	t.Helper()
	p, err := search.Compile(q, search.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
