package mailbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

func seen(uids ...mail.UID) store.FlagUpdate {
	return store.FlagUpdate{UIDs: mail.UIDSetOf(uids...), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Seen)}
}

func flagged(uids ...mail.UID) store.FlagUpdate {
	return store.FlagUpdate{UIDs: mail.UIDSetOf(uids...), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Flagged)}
}

// Two changes of a session that reach its view one after the other, because
// another session looked in between, are both its own.
func TestOwnChangesApart(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.add(t, f.boxes[0], 1, mail.Flags{})
	a, b := newClient(t, f, "a", f.boxes[0], true), newClient(t, f, "b", f.boxes[0], true)
	defer a.v.Close()
	defer b.v.Close()
	a.store(seen(1), false)
	b.sync()
	a.store(flagged(1), false)
	a.sync()
	if u := a.take(true); !u.Empty() {
		t.Errorf("told %+v of own changes", u)
	}
	b.settled()
}

// A silent change hides nothing that another session has changed.
func TestSilentHidesNothing(t *testing.T) {
	for name, between := range map[string]bool{"before": false, "in between": true} {
		t.Run(name, func(t *testing.T) {
			var once sync.Once
			var f *fixture
			other := func() {
				if _, err := f.UpdateFlags(t.Context(), f.acct, f.boxes[0], flagged(1)); err != nil {
					t.Error(err)
				}
			}
			armed := false
			f = newFixture(t, memstore.Options{Fault: func(op string) error {
				if armed && op == "UpdateFlags" {
					armed = false
					once.Do(other)
				}
				return nil
			}}, nil)
			f.add(t, f.boxes[0], 1, mail.Flags{})
			c := newClient(t, f, "a", f.boxes[0], true)
			defer c.v.Close()
			if between {
				armed = true
			} else {
				other()
			}
			c.store(seen(1), true)
			if !between {
				// What is known of the other change now is older than what the client
				// knows of its own.
				c.take(true)
			}
			c.settled()
		})
	}
}

// A session that is told of a deleted mailbox finds out, and nothing of it stays.
func TestDeletedMailbox(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	box := f.boxes[1]
	f.add(t, box, 2, mail.Flags{})
	c, idle := newClient(t, f, "a", box, true), newClient(t, f, "b", box, true)
	idle.v.Close()
	if err := f.Delete(t.Context(), f.acct, box, true); err != nil {
		t.Fatal(err)
	}
	if err := c.v.Sync(t.Context()); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("sync: %v, want no mailbox", err)
	}
	if _, err := c.v.UpdateFlags(t.Context(), seen(1), true); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("update: %v, want no mailbox", err)
	}
	c.check() // what the client knew stays as it was
	if c.v.Len() != 2 {
		t.Errorf("%d messages", c.v.Len())
	}
	c.v.Close()
	c.v.Close()
	if _, err := f.View(t.Context(), f.acct, box, true); mail.CodeOf(err) != mail.CodeNoMailbox {
		t.Errorf("view: %v, want no mailbox", err)
	}
	if n, m := len(f.views.boxes), f.views.idle.Len(); n+m != 0 {
		t.Errorf("%d copies and %d idle ones are left", n, m)
	}
}

// Trouble with the store while one session opens a mailbox does not take the copy
// from the others: they would not share \Recent any more.
func TestTroubleKeepsTheCopy(t *testing.T) {
	var broken string
	errDisk := mail.NewError(mail.CodeUnavailable, "later")
	f := newFixture(t, memstore.Options{Fault: func(op string) error {
		if op == broken {
			return errDisk
		}
		return nil
	}}, nil)
	f.add(t, f.boxes[0], 3, mail.Flags{})
	broken = "Changes"
	if _, err := f.View(t.Context(), f.acct, f.boxes[0], true); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if len(f.views.boxes) > 1 {
		t.Errorf("%d copies of one mailbox", len(f.views.boxes))
	}
	broken = ""
	a := newClient(t, f, "a", f.boxes[0], true)
	defer a.v.Close()
	if a.v.RecentCount() != 3 {
		t.Errorf("%d recent messages, want 3: nobody has seen them", a.v.RecentCount())
	}
	broken = "Changes"
	if _, err := f.View(t.Context(), f.acct, f.boxes[0], true); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if err := a.v.Sync(t.Context()); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	broken = ""
	f.add(t, f.boxes[0], 1, mail.Flags{})
	b := newClient(t, f, "b", f.boxes[0], true)
	defer b.v.Close()
	if a.v.sh != b.v.sh {
		t.Error("two copies of one mailbox")
	}
	a.settled()
	if a.recent[4] || !b.recent[4] {
		t.Errorf("message 4 is recent for a: %t, for b: %t; b was told first", a.recent[4], b.recent[4])
	}
}

// Copies that nobody uses are bounded, and \Recent outlives them.
func TestIdleCopies(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	f.views.limits.idleOctets = 3*idleOverhead + 800
	var boxes []mail.MailboxID
	for i := range 30 {
		b, err := f.Create(t.Context(), f.acct, mail.Mailbox{Path: fmt.Sprint("box", i)}, false)
		if err != nil {
			t.Fatal(err)
		}
		f.add(t, b.ID, 1+i%20, mail.Flags{})
		v, err := f.View(t.Context(), f.acct, b.ID, true)
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
		boxes = append(boxes, b.ID)
		total := 0
		for e := f.views.idle.Front(); e != nil; e = e.Next() {
			total += e.Value.(*shared).rest()
		}
		if total > f.views.limits.idleOctets || total != f.views.idleOctets || len(f.views.boxes) != f.views.idle.Len() {
			t.Fatalf("idle copies of %d octets, counted as %d; %d copies, %d of them idle",
				total, f.views.idleOctets, len(f.views.boxes), f.views.idle.Len())
		}
	}
	if f.views.idle.Len() == 0 {
		t.Error("no copy is kept")
	}
	last := boxes[28]
	f.add(t, last, 1, mail.Flags{})
	for i := range 2 {
		if n, err := f.Recent(t.Context(), f.acct, last); err != nil || n != 1-i {
			t.Errorf("look %d: %d messages would be recent, %v; want %d", i, n, err, 1-i)
		}
		v, err := f.View(t.Context(), f.acct, last, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.RecentCount(); got != 1-i {
			t.Errorf("look %d: %d recent messages, want %d", i, got, 1-i)
		}
		v.Close()
		f.views.limits.idleOctets = 0
	}
}

// Sessions and writers at the same time; run it with -race.
func TestConcurrentViews(t *testing.T) {
	for name, limits := range map[string]viewLimits{
		"defaults": defaultViewLimits(),
		"short":    {deltas: 2, deltaRows: 10, idleOctets: idleOverhead + 300, recentBoxes: 5},
	} {
		t.Run(name, func(t *testing.T) { concurrently(t, limits) })
	}
}

func concurrently(t *testing.T, limits viewLimits) {
	f := newFixture(t, memstore.Options{Tombstones: 20}, nil)
	f.views.limits = limits
	f.add(t, f.boxes[0], 20, mail.Flags{})
	const writers, sessions, steps = 4, 6, 150
	var writing, reading, changing sync.WaitGroup
	changing.Add(sessions)
	stop := make(chan struct{})
	for w := range writers {
		writing.Go(func() { write(t, f, rand.New(rand.NewPCG(1, uint64(w))), steps) })
	}
	var mu sync.Mutex
	claimed := map[mail.UID]string{}
	for i := range sessions {
		reading.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(i)))
			for round := 0; ; round++ {
				c := newClient(t, f, fmt.Sprint(i, ".", round), f.boxes[0], true)
				running := follow(c, rnd, stop)
				c.settledLater()
				mu.Lock()
				for uid, recent := range c.recent {
					if other, ok := claimed[uid]; ok && recent {
						t.Errorf("UID %d is recent in %s and %s", uid, other, c.name)
					} else if recent {
						claimed[uid] = c.name
					}
				}
				mu.Unlock()
				if !running {
					changing.Done()
					changing.Wait()
					c.settled()
				}
				c.v.Close()
				if !running {
					return
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
}

// settledLater tells the client what there is, while others go on.
func (c *client) settledLater() {
	c.sync()
	c.take(true)
}

// follow is a session for some steps; it reports false when all is over.
func follow(c *client, rnd *rand.Rand, stop <-chan struct{}) bool {
	for range 20 {
		select {
		case <-stop:
			return false
		default:
		}
		switch rnd.IntN(5) {
		case 0:
			if len(c.uids) > 0 {
				c.store(flagged(c.uids[rnd.IntN(len(c.uids))]), rnd.IntN(2) == 0)
			}
		default:
			c.sync()
		}
		c.sync()
		c.take(rnd.IntN(2) == 0)
	}
	return true
}

func write(t *testing.T, f *fixture, rnd *rand.Rand, steps int) {
	ctx := context.Background()
	for range steps {
		rows := f.rows(t, f.boxes[0])
		var uids []mail.UID
		for uid := range rows {
			if rnd.IntN(4) == 0 {
				uids = append(uids, uid)
			}
		}
		slices.Sort(uids)
		set := mail.UIDSetOf(uids...)
		var err error
		switch rnd.IntN(6) {
		case 0, 1:
			f.add(t, f.boxes[0], 1+rnd.IntN(3), mail.Flags{})
		case 2, 3:
			u := store.FlagUpdate{UIDs: set, Mode: store.FlagMode(rnd.IntN(3)), Flags: someFlags[rnd.IntN(len(someFlags))]}
			_, err = f.UpdateFlags(ctx, f.acct, f.boxes[0], u)
		case 4:
			_, err = f.Expunge(ctx, f.acct, f.boxes[0], set, false)
		case 5:
			_, err = f.Move(ctx, f.acct, f.boxes[rnd.IntN(2)], f.boxes[0], set)
		}
		if err != nil {
			t.Errorf("write: %v", err)
		}
	}
}
