package mailbox

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// asked counts what the engine is asked for.
type asked struct {
	Store
	counters, wholes, fetches atomic.Int32
}

func (a *asked) Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	a.counters.Add(int32(len(ids)))
	return a.Store.Counters(ctx, acct, ids...)
}

func (a *asked) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	if since == 0 {
		a.wholes.Add(1)
	}
	return a.Store.Changes(ctx, acct, mbox, since)
}

func newCounting(t *testing.T, idle int) (*fixture, *asked) {
	f := newFixture(t, memstore.Options{}, nil)
	a := &asked{Store: f.store}
	f.Service = New(Options{Store: a, Bus: membus.New(), CountCopies: true, IdleCopies: idle, Search: SearchCache{Index: 1 << 20, Text: 1 << 20}})
	return f, a
}

// check compares counters with those of the engine and what the engine was asked for.
func (a *asked) check(t *testing.T, f *fixture, when string, counted, wholes int32) {
	t.Helper()
	ids := f.boxes
	a.counters.Store(0)
	a.wholes.Store(0)
	got, err := f.Counters(t.Context(), f.acct, ids...)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if a.counters.Load() != counted || a.wholes.Load() != wholes {
		t.Errorf("%s: the engine counted %d mailboxes and was asked for %d, want %d and %d", when, a.counters.Load(), a.wholes.Load(), counted, wholes)
	}
	want, err := f.store.Counters(t.Context(), f.acct, ids...)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%s: %v, want %v (%v)", when, got, want, err)
	}
}

// Who asks again and again for counters is answered from copies, and right.
func TestCountersFromCopies(t *testing.T) {
	f, a := newCounting(t, 0)
	f.add(t, f.boxes[0], 5, mail.NewFlags(mail.Seen))
	f.add(t, f.boxes[1], 3, mail.NewFlags(mail.Deleted))
	a.check(t, f, "first", 2, 0)
	a.check(t, f, "second", 0, 2)
	a.check(t, f, "third", 0, 0)
	change := func(u store.FlagUpdate) {
		if _, err := f.UpdateFlags(t.Context(), f.acct, f.boxes[0], u); err != nil {
			t.Fatal(err)
		}
	}
	change(store.FlagUpdate{UIDs: mail.UIDSetOf(1, 2), Mode: store.FlagsReplace, Flags: mail.NewFlags(mail.Deleted)})
	if _, err := f.Move(t.Context(), f.acct, f.boxes[0], f.boxes[1], mail.UIDSetOf(2, 3)); err != nil {
		t.Fatal(err)
	}
	f.add(t, f.boxes[0], 1, mail.Flags{})
	a.check(t, f, "after changes", 0, 0)
	if err := f.Delete(t.Context(), f.acct, f.boxes[1], true); err != nil {
		t.Fatal(err)
	}
	a.check(t, f, "after a deletion", 1, 0)
	a.check(t, f, "later", 0, 1)
	// A mailbox that is selected has a copy at once.
	b, err := f.Create(t.Context(), f.acct, mail.Mailbox{Path: "third"}, false)
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.View(t.Context(), f.acct, b.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	f.boxes = append(f.boxes[:1], b.ID)
	f.add(t, b.ID, 2, mail.Flags{})
	a.check(t, f, "selected", 0, 0)
}

// What is too large for a copy is counted by the engine, and not read whole each time.
func TestCountersWithoutRoom(t *testing.T) {
	f, a := newCounting(t, -1)
	f.add(t, f.boxes[0], 5, mail.NewFlags(mail.Seen))
	a.check(t, f, "first", 2, 0)
	a.check(t, f, "second", 0, 2)
	for range 3 {
		a.check(t, f, "later", 2, 0)
	}
}

func (a *asked) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		for row, err := range a.Store.Fetch(ctx, acct, mbox, q) {
			if a.fetches.Add(1); !yield(row, err) {
				return
			}
		}
	}
}

// What a view of the mailbox knows is not read again by a search.
func TestSearchFromCopy(t *testing.T) {
	f, a := newCounting(t, 0)
	rc := draft.New(draft.Options{})
	for i := range 10 {
		flags := mail.NewFlags(mail.Seen)
		if i < 4 {
			flags = mail.NewFlags(0, "work")
		}
		f.put(t, rc, &letter{header: [][2]string{{"Subject", fmt.Sprint("number ", i)}}, body: "hello", flags: flags, date: time.Unix(1e9, 0)})
	}
	unseen := search.Flags{Unset: mail.Seen}
	for name, tc := range map[string]struct {
		q     search.Query
		found int
	}{
		"all":          {search.All{}, 10},
		"all of some":  {search.UIDs(mail.UIDSetOf(2, 9, 77)), 2},
		"unseen":       {unseen, 4},
		"keyword":      {search.Not{Query: search.Keyword("WORK")}, 6},
		"mod-sequence": {search.ModSeq(1 << 40), 0},
	} {
		p, err := search.Compile(tc.q, search.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		a.fetches.Store(0)
		found, err := f.Search(t.Context(), f.acct, f.boxes[0], p)
		if err != nil || len(found) != tc.found || a.fetches.Load() != 0 {
			t.Errorf("%s: found %d, read %d, want %d and none (%v)", name, len(found), a.fetches.Load(), tc.found, err)
		}
	}
	p, err := search.Compile(unseen, search.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := f.Search(t.Context(), f.acct, mail.MailboxID{9}, p); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("in an unknown mailbox %v was found, error %v", found, err)
	}
}

// One account gets no counters of another one's mailboxes.
func TestCountersOfOthers(t *testing.T) {
	f, _ := newCounting(t, 0)
	f.add(t, f.boxes[0], 5, mail.Flags{})
	other, err := f.store.CreateAccount(t.Context(), store.NewAccount{Account: mail.Account{Username: "joe"}, View: "joe", Mailboxes: []mail.Mailbox{{Path: mail.Inbox}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for acct, want := range map[mail.AccountID]int{f.acct: 1, other.ID: 0} {
			if got, err := f.Counters(t.Context(), acct, f.boxes[0]); err != nil || len(got) != want {
				t.Errorf("account %v: %v, %v", acct, got, err)
			}
		}
	}
}

// When the engine fails, so does the call.
func TestCountersFail(t *testing.T) {
	broken := mail.NewError(mail.CodeUnavailable, "broken")
	var fail atomic.Bool
	f := newFixture(t, memstore.Options{Fault: func(op string) error {
		if fail.Load() && (op == "Changes" || op == "Counters") {
			return broken
		}
		return nil
	}}, nil)
	f.Service = New(Options{Store: f.store, Bus: membus.New(), CountCopies: true})
	for i := range 4 {
		fail.Store(true)
		if got, err := f.Counters(t.Context(), f.acct, f.boxes...); mail.CodeOf(err) != mail.CodeUnavailable {
			t.Errorf("%d: %v, %v", i, got, err)
		}
		fail.Store(false)
		if got, err := f.Counters(t.Context(), f.acct, f.boxes...); err != nil || len(got) != 2 {
			t.Errorf("%d: %v, %v", i, got, err)
		}
	}
}
