package pebblestore

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// fromDatabase is Changes without what is kept in memory.
func (r *rig) fromDatabase(box mail.MailboxID, since mail.ModSeq) *store.ChangeSet {
	r.Helper()
	a, err := r.s.account(r.ctx, r.acct)
	r.must(err)
	defer r.s.accounts.release(a)
	m := a.set.Load().byID[box]
	known := m.head.Load()
	bare := *known
	bare.recent = nil
	m.head.Store(&bare)
	defer m.head.Store(known)
	set, err := r.s.Changes(r.ctx, r.acct, box, since)
	r.must(err)
	return set
}

// What is remembered of the last changes is what the database says, from every
// mod-sequence on.
func TestRecentChanges(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	rnd := rand.New(rand.NewPCG(1, 2))
	var last mail.UID
	short := 0
	for range 80 {
		uid := mail.UID(1 + rnd.IntN(int(last)+1))
		switch rnd.IntN(5) {
		case 0, 1:
			last = r.append(r.inbox, newMessage("recent", "text"), "").UID
		case 2:
			flags := []mail.Flags{{System: mail.Seen}, {System: mail.Deleted}, mail.NewFlags(mail.Flagged, "Work")}[rnd.IntN(3)]
			_, err := r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{
				UIDs: mail.UIDSet{{First: 1, Last: uid}}, Mode: store.FlagMode(rnd.IntN(2)), Flags: flags,
			})
			r.must(err)
		case 3:
			_, err := r.s.Expunge(r.ctx, r.acct, r.inbox, mail.UIDSetOf(uid), false)
			r.must(err)
		case 4:
			_, err := r.s.Move(r.ctx, r.acct, r.inbox, r.trash, mail.UIDSetOf(uid))
			r.must(err)
		}
		for _, box := range []mail.MailboxID{r.inbox, r.trash} {
			a, err := r.s.account(r.ctx, r.acct)
			r.must(err)
			head := a.set.Load().byID[box].head.Load()
			r.s.accounts.release(a)
			for since := mail.ModSeq(0); since <= mail.ModSeq(head.highest); since++ {
				got, err := r.s.Changes(r.ctx, r.acct, box, since)
				r.must(err)
				if head.recent.since(uint64(since), &store.ChangeSet{}) {
					short++
				}
				want := r.fromDatabase(box, since)
				if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b mail.Flags) bool { return a == b }),
					cmp.Transformer("rows", func(r mail.HotRows) []mail.HotRow { return slices.Collect(r.All()) })); d != "" {
					t.Fatalf("changes of %v since %d (-database +memory):\n%s", box, since, d)
				}
			}
		}
	}
	if short < 300 {
		t.Errorf("%d answers came from memory", short)
	}
}

// twoHeads puts two messages into INBOX and returns its heads after the first and after the second. The caller releases the
// account.
func (r *rig) twoHeads() (a *account, m *mailbox, before, after *mailboxHead) {
	r.Helper()
	r.append(r.inbox, newMessage("first", "text"), "")
	a, err := r.s.account(r.ctx, r.acct)
	r.must(err)
	m = a.set.Load().byID[r.inbox]
	before = m.head.Load()
	r.append(r.inbox, newMessage("second", "text"), "")
	return a, m, before, m.head.Load()
}

// A change is in the database before it is in memory. Who has read it there is not told of
// the state before it by the next reading.
func TestChangesWhileInstalling(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	a, m, before, after := r.twoHeads()
	defer r.s.accounts.release(a)
	m.head.Store(before) // as it is until the second message is installed
	defer m.head.Store(after)
	for _, since := range []uint64{after.highest, before.highest - 1} {
		set, err := r.s.Changes(r.ctx, r.acct, r.inbox, mail.ModSeq(since))
		r.must(err)
		if set.To < mail.ModSeq(since) || uint64(set.To) == after.highest && uint64(set.UIDNext) < after.uidNext {
			t.Errorf("changes since %d end at %d, UIDNEXT %d", since, set.To, set.UIDNext)
		}
	}
}
