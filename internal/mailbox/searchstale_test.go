package mailbox

import (
	"context"
	"iter"
	"slices"
	"testing"

	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// rewritten is a store in which other programs have put other messages in the place of some: those of the mailbox with.
type rewritten struct {
	*memstore.Store
	box, with mail.MailboxID
	replaced  map[mail.UID]mail.UID
	sameID    bool // the id of the message stays
	whole     bool // changes are told as a whole
	other     string
	reads     int // messages that were read, and opened
	opens     int
}

func (s *rewritten) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	if s.whole {
		set, err := s.Store.Changes(ctx, acct, mbox, 0)
		if err == nil {
			set.Whole = true
		}
		return set, err
	}
	set, err := s.Store.Changes(ctx, acct, mbox, since)
	if err == nil {
		set.Replaced = s.other
	}
	return set, err
}

func (s *rewritten) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		for row, err := range s.Store.Fetch(ctx, acct, mbox, q) {
			if err != nil {
				yield(nil, err)
				return
			}
			s.reads++
			open := row.Open
			row.Open = func() (store.Body, error) { s.opens++; return open() }
			if other := s.replaced[row.UID]; other == 0 || mbox != s.box {
				if !yield(row, nil) {
					return
				}
				continue
			}
			more := true
			for instead, err := range s.Store.Fetch(ctx, acct, s.with, store.FetchQuery{UIDs: mail.OneUID(s.replaced[row.UID]), Fields: q.Fields}) {
				if err == nil {
					instead.UID, instead.ModSeq, instead.Flags = row.UID, row.ModSeq, row.Flags
					if s.sameID {
						instead.ID, instead.EmailID = row.ID, row.EmailID
					}
				}
				more = yield(instead, err)
			}
			if !more {
				return
			}
		}
	}
}

func (s *rewritten) searches(t *testing.T, svc *Service, acct mail.AccountID, q search.Query) []mail.UID {
	t.Helper()
	p, err := search.Compile(q, search.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := svc.Search(t.Context(), acct, s.box, p)
	if err != nil {
		t.Fatal(err)
	}
	var uids []mail.UID
	for _, f := range found {
		uids = append(uids, f.UID)
	}
	return uids
}

// rewrittenStore has the letters "alpha" and "gamma" in one mailbox and "beta", which is longer, in the other.
func rewrittenStore(t *testing.T, flags mail.Flags) (*rewritten, *Service, *fixture) {
	f := newFixture(t, memstore.Options{}, nil)
	rc := draft.New(draft.Options{})
	f.put(t, rc, &letter{body: "alpha\r\n", flags: flags})
	f.put(t, rc, &letter{body: "gamma\r\n", flags: flags})
	there := *f
	there.boxes = []mail.MailboxID{f.boxes[1]}
	there.put(t, rc, &letter{body: "beta and more\r\n", flags: flags})
	st := &rewritten{Store: f.store, box: f.boxes[0], with: f.boxes[1]}
	return st, New(Options{Store: st, Bus: membus.New(), Search: SearchCache{Index: 1 << 20, Text: 1 << 20}}), f
}

// What was searched once and is another message now is searched as it is now.
func TestSearchRewritten(t *testing.T) {
	flag := func(f *fixture) error { // by another node
		_, err := f.UpdateFlags(context.Background(), f.acct, f.boxes[0], store.FlagUpdate{UIDs: mail.OneUID(1), Flags: mail.NewFlags(mail.Seen)})
		return err
	}
	nothing := func(*fixture) error { return nil }
	for name, tc := range map[string]struct {
		flags         mail.Flags
		sameID, whole bool
		other         string
		change        func(*fixture) error
	}{
		"a message that gets a mod-sequence with that": {sameID: true, change: flag},
		"another message under the same UID":           {change: flag},
		"a draft, without any sign":                    {flags: mail.NewFlags(mail.Draft), sameID: true, change: nothing},
		"messages restored over others":                {whole: true, change: nothing},
		"the same, of which only a mark tells":         {other: "mark", change: nothing},
	} {
		t.Run(name, func(t *testing.T) {
			st, svc, f := rewrittenStore(t, tc.flags)
			for range 2 {
				for word, want := range map[string][]mail.UID{"alpha": {1}, "beta": nil, "gamma": {2}} {
					if got := st.searches(t, svc, f.acct, search.Body(word)); !slices.Equal(got, want) {
						t.Fatalf("before, %q is found in %v", word, got)
					}
				}
			}
			if err := tc.change(f); err != nil {
				t.Fatal(err)
			}
			st.replaced, st.sameID, st.whole, st.other = map[mail.UID]mail.UID{1: 1}, tc.sameID, tc.whole, tc.other
			for _, q := range []search.Query{search.Body("beta"), search.Larger(9), search.And{search.Text("more"), search.Larger(9)}} {
				if got := st.searches(t, svc, f.acct, q); !slices.Equal(got, []mail.UID{1}) {
					t.Errorf("afterwards %v finds %v, want 1", q, got)
				}
			}
			if got := st.searches(t, svc, f.acct, search.Body("alpha")); got != nil {
				t.Errorf("what is no longer there is found in %v", got)
			}
		})
	}
}

// A search reads what it has not seen, and opens what may have the word; searches after that read nothing.
func TestSearchReadsOnce(t *testing.T) {
	st, svc, f := rewrittenStore(t, mail.Flags{})
	for range 3 {
		st.searches(t, svc, f.acct, search.Body("alpha"))
		st.searches(t, svc, f.acct, search.Text("GAMMA"))
		st.searches(t, svc, f.acct, search.And{search.Larger(1), search.Body("nowhere")})
	}
	// Two for the index; the engine has no signatures, so both are opened once.
	if st.reads != 4 || st.opens != 2 {
		t.Errorf("%d messages were read and %d opened, want 4 and 2", st.reads, st.opens)
	}
	// Flags that change elsewhere cost one reading, and no opening.
	if _, err := f.UpdateFlags(t.Context(), f.acct, f.boxes[0], store.FlagUpdate{UIDs: mail.OneUID(1), Flags: mail.NewFlags(mail.Seen)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := st.searches(t, svc, f.acct, search.And{search.Body("alpha"), search.Flags{Set: mail.Seen}}); !slices.Equal(got, []mail.UID{1}) {
			t.Errorf("found %v", got)
		}
	}
	if st.reads != 5 || st.opens != 2 {
		t.Errorf("%d messages were read and %d opened, want 5 and 2", st.reads, st.opens)
	}
}

// The cache stays within its limits, and other mailboxes give way to the one that is searched.
func TestSearchCacheLimits(t *testing.T) {
	f := newSearchFixture(t, memstore.Options{}, nil, SearchCache{Index: 2500, Text: 4 << 10})
	rc := draft.New(draft.Options{})
	p, err := search.Compile(search.Text("x"), search.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	other := *f
	other.boxes = []mail.MailboxID{f.boxes[1]}
	for _, g := range []*fixture{f, &other} {
		for range 12 {
			g.put(t, rc, &letter{body: "x y z\r\n"})
		}
		for range 2 {
			if found, err := g.Search(t.Context(), g.acct, g.boxes[0], p); err != nil || len(found) != 12 {
				t.Fatalf("found %v, %v", found, err)
			}
		}
	}
	c := f.cache
	sum, text := int64(0), int64(0)
	for _, b := range c.boxes {
		for _, m := range b.msgs {
			sum += m.cost()
			if m.text != nil {
				text += m.text.cost()
			}
		}
	}
	if sum != c.size || text != c.room || sum > c.limits.Index || text > c.limits.Text || sum == 0 || text == 0 {
		t.Errorf("counted %d and %d, really %d and %d", c.size, c.room, sum, text)
	}
	if len(c.boxes) != 1 || c.boxes[boxKey{f.acct, f.boxes[1]}] == nil {
		t.Errorf("%d mailboxes are kept", len(c.boxes))
	}
	f.forget(boxKey{f.acct, f.boxes[1]})
	if c.size != 0 || c.room != 0 || c.texts.Len() != 0 || c.used.Len() != 0 {
		t.Errorf("after all was forgotten: %d, %d", c.size, c.room)
	}
}
