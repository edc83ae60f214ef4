package storetest

import (
	"fmt"
	"slices"
	"sync"

	"pgregory.net/rapid"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// recentCases are for engines that implement store.Recents.
func recentCases() []caseFunc {
	return []caseFunc{
		{"Take", recentTake},
		{"Copies", recentCopies},
		{"Mailboxes", recentMailboxes},
		{"AtOnce", recentAtOnce},
		{"Reopen", recentReopen},
		{"Crash", recentCrash},
		{"Restored", recentRestored},
	}
}

// take takes the messages of a mailbox up to a UID as recent.
func (f *fixture) take(mbox mail.MailboxID, upTo mail.UID) mail.UID {
	f.Helper()
	r, ok := f.s.(store.Recents)
	if !ok {
		f.Skip("the engine has no place for what sessions were told of")
	}
	told, err := r.TakeRecent(f.ctx, f.acct, mbox, upTo)
	f.must(err)
	return told
}

// told checks up to where sessions were told of a mailbox.
func (f *fixture) told(what string, mbox mail.MailboxID, want mail.UID) {
	f.Helper()
	if got := f.take(mbox, 0); got != want {
		f.Errorf("%s: sessions were told up to UID %d, want %d", what, got, want)
	}
}

func recentTake(f *fixture) {
	f.told("an empty mailbox", f.inbox, 0)
	if got := f.take(f.inbox, 5); got != 0 {
		f.Errorf("the first session of an empty mailbox: told up to %d", got)
	}
	f.told("nothing was there", f.inbox, 0)
	f.fill(f.inbox, 4)
	for i, step := range []struct{ upTo, want mail.UID }{{0, 0}, {2, 0}, {2, 2}, {1, 2}, {0, 2}, {4, 2}, {3, 4}, {1000, 4}, {^mail.UID(0), 4}} {
		if got := f.take(f.inbox, step.upTo); got != step.want {
			f.Errorf("step %d, up to %d: told up to %d before, want %d", i, step.upTo, got, step.want)
		}
	}
	f.fill(f.inbox, 1)
	f.told("a message after all UIDs were taken", f.inbox, 4)
	f.expunge(f.inbox, 4, 5)
	f.told("the last messages are gone", f.inbox, 4)
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags(`\Seen`)})
	f.told("flags", f.inbox, 4)
	f.take(f.inbox, 5)
	f.told("one that is gone", f.inbox, 5)
	r := f.s.(store.Recents)
	for name, id := range map[string]mail.AccountID{"account": {1}, "mailbox": f.acct} {
		_, err := r.TakeRecent(f.ctx, id, mail.MailboxID{9}, 1)
		f.wants("no "+name, err, mail.CodeNoMailbox)
	}
}

// Copies are new in the mailbox that they come into.
func recentCopies(f *fixture) {
	f.take(f.inbox, 0)
	trash := f.path("Trash").ID
	f.fill(f.inbox, 4)
	f.fill(trash, 2)
	f.take(f.inbox, 4)
	f.take(trash, 2)
	_, err := f.s.Copy(f.ctx, f.acct, f.inbox, trash, mail.UIDSetOf(1, 2), 0)
	f.must(err)
	f.told("copied", trash, 2)
	f.take(trash, 3)
	_, err = f.s.Move(f.ctx, f.acct, f.inbox, trash, mail.UIDSetOf(3))
	f.must(err)
	f.told("moved", trash, 3)
	f.told("the source", f.inbox, 4)
	_, err = f.s.Move(f.ctx, f.acct, trash, f.inbox, mail.UIDSetOf(1))
	f.must(err)
	f.told("moved back", f.inbox, 4)
}

func recentMailboxes(f *fixture) {
	f.take(f.inbox, 0)
	a, b := f.mailbox("a"), f.mailbox("b")
	f.fill(a.ID, 2)
	f.fill(b.ID, 3)
	f.take(a.ID, 1)
	f.take(b.ID, 2)
	f.must(f.s.RenameMailboxes(f.ctx, f.acct, []store.Rename{{ID: a.ID, Path: "b"}, {ID: b.ID, Path: "a"}}))
	_, err := f.s.UpdateMailbox(f.ctx, f.acct, b.ID, func(m *mail.Mailbox) error { m.Subscribed = false; return nil })
	f.must(err)
	f.told("a, renamed", a.ID, 1)
	f.told("b, renamed", b.ID, 2)
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, b.ID, 0))
	_, err = f.s.(store.Recents).TakeRecent(f.ctx, f.acct, b.ID, 3)
	f.wants("a mailbox that was deleted", err, mail.CodeNoMailbox)
	again := f.mailbox("a")
	f.fill(again.ID, 1)
	f.told("another mailbox of that name", again.ID, 0)
}

// Of sessions at the same time one gets each message, while others come.
func recentAtOnce(f *fixture) {
	f.take(f.inbox, 0)
	const sessions, last = 8, 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := map[mail.UID]int{}
	f.fill(f.inbox, 1)
	for range sessions {
		wg.Go(func() {
			for upTo := mail.UID(0); upTo < last; {
				b, err := f.s.Mailbox(f.ctx, f.acct, f.inbox)
				if err != nil {
					f.Error(err)
					return
				}
				upTo = b.UIDNext - 1
				told, err := f.s.(store.Recents).TakeRecent(f.ctx, f.acct, f.inbox, upTo)
				if err != nil {
					f.Error(err)
					return
				}
				mu.Lock()
				for uid := told + 1; uid <= upTo; uid++ {
					taken[uid]++
				}
				mu.Unlock()
			}
		})
	}
	f.fill(f.inbox, last-1)
	wg.Wait()
	for uid := mail.UID(1); uid <= last; uid++ {
		if taken[uid] != 1 {
			f.Errorf("message %d is recent in %d sessions", uid, taken[uid])
		}
	}
}

// What sessions were told of outlives a store that is closed, with changes after it and
// without.
func recentReopen(f *fixture) {
	f.take(f.inbox, 0)
	trash := f.path("Trash").ID
	f.fill(f.inbox, 3)
	f.fill(trash, 3)
	f.take(f.inbox, 2)
	f.reopen()
	f.told("INBOX after the first start", f.inbox, 2)
	f.told("Trash after the first start", trash, 0)
	f.fill(f.inbox, 1)
	f.take(trash, 3)
	f.fill(trash, 1)
	f.reopen()
	f.told("INBOX after the second start", f.inbox, 2)
	f.told("Trash after the second start", trash, 3)
	f.reopen()
	f.told("Trash after the third start", trash, 3)
}

// After a crash no message counts as told of which no session was, and what was noted
// before a change is there with it.
func recentCrash(f *fixture) {
	f.take(f.inbox, 0)
	if f.disk.Crash == nil {
		f.Skip("the engine cannot crash")
	}
	for i := range 8 {
		f.fill(f.inbox, 3)
		last := f.box(f.inbox).UIDNext - 1
		before := f.take(f.inbox, last-1)
		if i%2 == 0 {
			f.fill(f.inbox, 1)
			before = last - 1
		}
		crashed := f.disk.Crash(i*100/7, uint64(i))
		f.close()
		f.disk = crashed
		f.open()
		if got := f.take(f.inbox, 0); got < before || got > last-1 {
			f.Errorf("crash %d: sessions were told up to %d, found %d; %d was on the disk", i, last-1, got, before)
		}
	}
}

// A mailbox that is restored says of its UIDs what it said before, as far as it has them.
func recentRestored(f *fixture) {
	f.take(f.inbox, 0)
	f.fill(f.inbox, 3)
	f.take(f.inbox, 3)
	r := newReplica(f)
	a, err := f.s.Account(f.ctx, f.acct)
	f.must(err)
	r.account(a)
	b := f.box(f.inbox)
	r.mailbox(f.acct, b)
	was := f.s
	f.s = r.to
	defer func() { f.s = was }()
	f.told("restored", f.inbox, 0)
	f.take(f.inbox, 2)
	f.must(r.into.RestoreMailbox(f.ctx, f.acct, *b))
	f.told("restored again", f.inbox, 2)
	less := *b
	less.UIDNext = 2
	f.must(r.into.RemoveRestored(f.ctx, f.acct, f.inbox, mail.UIDSetOf(2, 3)))
	f.must(r.into.RestoreMailbox(f.ctx, f.acct, less))
	f.told("restored with fewer UIDs", f.inbox, 1)
}

// opRecent takes the messages up to a position as recent; it comes to how many were.
func opRecent(path string, at int) op {
	return op{name: fmt.Sprintf("take recent up to %d of %s", at, path), weak: true, run: func(w *world) outcome {
		r, ok := w.s.(store.Recents)
		if !ok {
			return did(nil, "").unless(0)
		}
		id, set, all, err := w.pick(path, []int{at})
		if err != nil {
			return outcome{err: err}
		}
		upTo := mail.UID(0)
		if len(set) > 0 {
			upTo = set[0].First
		}
		told, err := r.TakeRecent(w.ctx, w.acct, id, upTo)
		i, found := slices.BinarySearch(all, told)
		if found {
			i++
		}
		return did(err, "%d of %d were recent", len(all)-i, len(all))
	}}
}

// recent draws an operation on what sessions were told of.
func (m *machine) recent(rt *rapid.T) {
	if _, ok := m.w.s.(store.Recents); ok {
		m.do(opRecent(paths().Draw(rt, "in"), rapid.IntRange(0, 15).Draw(rt, "at")))
	}
}

// recentAfterCrash checks that no message has become one of which sessions were told, and
// makes both sides the same.
func (m *machine) recentAfterCrash() {
	if _, ok := m.w.s.(store.Recents); !ok {
		return
	}
	for _, path := range []string{mail.Inbox, "a", "b", "a/c", "d"} {
		id, err := m.model.box(path)
		if err != nil {
			continue
		}
		all, err := readRows(m.w.ctx, m.model.s, m.model.acct, id, store.FetchQuery{})
		if err != nil {
			m.rt.Fatal(err)
		}
		o := opRecent(path, max(0, len(all)-1))
		got, want := m.w.do(o), m.model.do(o)
		var found, wanted, n int
		if _, err := fmt.Sscanf(got.text+" "+want.text, "%d of %d were recent %d of", &found, &n, &wanted); err != nil || found < wanted {
			m.rt.Fatalf("after a crash, %s: %v (%v), the model says %v", path, got, got.err, want)
		}
		m.history = append(m.history, o)
	}
}
