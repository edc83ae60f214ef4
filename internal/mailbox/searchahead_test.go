package mailbox

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"

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
	st.during = func() { must(st.DeleteMailbox(t.Context(), f.acct, f.boxes[0])) }
	if found, err := svc.Search(t.Context(), f.acct, f.boxes[0], body); mail.CodeOf(err) != mail.CodeNoMailbox || err == nil {
		t.Errorf("a mailbox that is gone: %v, %v", found, err)
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
