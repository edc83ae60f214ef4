package mailbox

import (
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// An engine without a place for it makes the service remember what sessions were told of,
// for so many mailboxes. What is forgotten is recent once more, and never the other way round.
func TestLocalRecents(t *testing.T) {
	type without struct{ Store }
	r, ok := recentsOf(&Options{Store: without{memstore.New(memstore.Options{})}}).(*localRecents)
	if !ok {
		t.Fatal("the memory of the process is not taken")
	}
	r.limit = 2
	acct := mail.AccountID{1}
	for i, step := range []struct {
		box        byte
		upTo, want mail.UID
	}{
		{1, 0, 0}, {1, 5, 0}, {1, 3, 5}, {1, 0, 5}, {1, 6, 5}, {2, 1, 0}, {2, 0, 1},
		{1, 7, 6}, // known, so that nothing is forgotten for it
		{3, 9, 0}, // the third one
		{1, 0, 0}, {2, 0, 0}, {3, 0, 9},
	} {
		got, err := r.TakeRecent(t.Context(), acct, mail.MailboxID{step.box}, step.upTo)
		if err != nil || got != step.want {
			t.Errorf("step %d: told up to %d (%v), want %d", i, got, err, step.want)
		}
	}
	for name, o := range map[string]Options{
		"the engine": {Store: memstore.New(memstore.Options{})},
		"the option": {Store: memstore.New(memstore.Options{}), Recents: r},
	} {
		want := store.Recents(r)
		if o.Recents == nil {
			want = o.Store.(store.Recents)
		}
		if got := New(o).recents; got != want {
			t.Errorf("%s: %T is taken", name, got)
		}
	}
}

// Who cannot find out what is recent takes it for recent, once it has to be told; opening a
// mailbox can fail instead.
func TestRecentNotKnown(t *testing.T) {
	down := mail.NewError(mail.CodeUnavailable, "later")
	broken := false
	f := newFixture(t, memstore.Options{Fault: func(op string) error {
		if broken && op == "TakeRecent" {
			return down
		}
		return nil
	}}, nil)
	box := f.boxes[0]
	f.add(t, box, 2, mail.Flags{})
	first := newClient(t, f, "first", box, true)
	defer first.v.Close()
	second := newClient(t, f, "second", box, true)
	defer second.v.Close()
	f.add(t, box, 1, mail.Flags{})
	first.settled()
	broken = true
	second.settled()
	if _, err := f.View(t.Context(), f.acct, box, true); err == nil {
		t.Error("a mailbox is opened although nobody knows what is recent")
	}
	if _, err := f.Recent(t.Context(), f.acct, box); err == nil {
		t.Error("recent messages are counted although nobody knows them")
	}
	if first.v.RecentCount() != 3 || second.v.RecentCount() != 1 || !second.v.Recent(3) {
		t.Errorf("%d and %d recent messages, want 3 and 1", first.v.RecentCount(), second.v.RecentCount())
	}
	broken = false
	if n := len(f.views.boxes); n != 1 || f.views.boxes[boxKey{f.acct, box}].refs != 2 {
		t.Errorf("%d copies, or another number of sessions than 2 on it", n)
	}
}

// Messages that are counted without a copy are those that would be recent.
func TestRecentCounted(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.views.limits.idleOctets = 0
	box := f.boxes[0]
	check := func(what string, want int) {
		t.Helper()
		if n, err := f.Recent(t.Context(), f.acct, box); err != nil || n != want {
			t.Errorf("%s: %d recent messages, %v; want %d", what, n, err, want)
		}
	}
	check("empty", 0)
	f.add(t, box, 3, mail.Flags{})
	check("nobody was told", 3)
	v, err := f.View(t.Context(), f.acct, box, false)
	if err != nil || v.RecentCount() != 3 {
		t.Fatalf("%d recent messages for a look, %v", v.RecentCount(), err)
	}
	v.Close()
	check("after a look", 3)
	if v, err = f.View(t.Context(), f.acct, box, true); err != nil {
		t.Fatal(err)
	}
	v.Close()
	check("after a session", 0)
	f.add(t, box, 2, mail.Flags{})
	check("two more", 2)
	if _, err := f.Recent(t.Context(), f.acct, mail.MailboxID{}); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("a mailbox that is not there: %v", err)
	}
	if _, err := f.store.TakeRecent(t.Context(), f.acct, box, ^mail.UID(0)); err != nil {
		t.Fatal(err)
	}
	check("told of more than there is", 0)
	f.add(t, box, 1, mail.Flags{})
	check("and one more", 1)
}

// Many recent messages are counted from a copy, so that the next call does not read them
// again, unless the copy is too large to be kept.
func TestManyRecentCounted(t *testing.T) {
	for name, tc := range map[string]struct {
		idle                         int
		firstRead, laterRead, copies int32 // messages that are read; copies that are made
	}{
		"with room for a copy": {0, 4, 0, 1},
		"without":              {-1, 4, 9, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f, a := newCounting(t, tc.idle)
			f.views.limits.recentRows = 3
			box := f.boxes[0]
			f.add(t, box, 10, mail.Flags{})
			if _, err := f.recents.TakeRecent(t.Context(), f.acct, box, 1); err != nil {
				t.Fatal(err)
			}
			for i, read := range []int32{tc.firstRead, tc.laterRead, tc.laterRead} {
				a.fetches.Store(0)
				n, err := f.Recent(t.Context(), f.acct, box)
				if err != nil || n != 9 {
					t.Errorf("call %d: %d recent messages, %v", i, n, err)
				}
				if got := a.fetches.Load(); got != read || a.wholes.Load() != tc.copies {
					t.Errorf("call %d: %d messages were read and %d copies made, want %d and %d", i, got, a.wholes.Load(), read, tc.copies)
				}
			}
			if _, err := f.Recent(t.Context(), f.acct, mail.MailboxID{}); mail.CodeOf(err) != mail.CodeNoMailbox {
				t.Errorf("a mailbox that is not there: %v", err)
			}
		})
	}
}

// Who asks once how many messages are recent where nobody was told of any is answered by the engine, as the command that
// asks for the counters as well: a copy is worth it for who asks again.
func TestAllRecentCounted(t *testing.T) {
	for name, both := range map[string]bool{"recent alone": false, "with the counters": true} {
		t.Run(name, func(t *testing.T) {
			f, a := newCounting(t, 0)
			box := f.boxes[0]
			f.add(t, box, 10, mail.Flags{})
			for i, want := range []struct{ counted, copies int32 }{{1, 0}, {0, 1}, {0, 1}} {
				a.counters.Store(0)
				if both {
					if _, err := f.Counters(t.Context(), f.acct, box); err != nil {
						t.Fatal(err)
					}
					want.counted *= 2
				}
				if n, err := f.Recent(t.Context(), f.acct, box); err != nil || n != 10 {
					t.Errorf("call %d: %d recent messages, %v", i, n, err)
				}
				if a.counters.Load() != want.counted || a.wholes.Load() != want.copies {
					t.Errorf("call %d: the engine counted %d times, there are %d copies; want %d and %d", i, a.counters.Load(), a.wholes.Load(), want.counted, want.copies)
				}
			}
		})
	}
}
