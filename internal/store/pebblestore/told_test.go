package pebblestore

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// wantTold checks up to where sessions were told of a mailbox.
func (r *rig) wantTold(what string, box mail.MailboxID, want mail.UID) {
	r.Helper()
	if got, err := r.s.TakeRecent(r.ctx, r.acct, box, 0); err != nil || got != want {
		r.Errorf("%s: sessions were told up to %d (%v), want %d", what, got, err, want)
	}
}

func (r *rig) takeRecent(box mail.MailboxID, upTo mail.UID) {
	r.Helper()
	_, err := r.s.TakeRecent(r.ctx, r.acct, box, upTo)
	r.must(err)
}

// onDisk is what the head in the database says.
func (r *rig) onDisk(box mail.MailboxID) mailboxHead {
	r.Helper()
	value, err := r.s.get(boxKey(tabMailboxHead, r.acct, box))
	r.must(err)
	h, err := decodeMailboxHead(value)
	r.must(err)
	return h
}

// What sessions were told of is on the disk a moment later, without a change of the account
// and without waiting for one that is under way.
func TestToldIsWritten(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	for i := range 3 {
		r.append(r.inbox, newMessage(fmt.Sprint(i), "x"), "")
	}
	a, err := r.s.account(r.ctx, r.acct)
	r.must(err)
	a.mu.Lock()
	r.takeRecent(r.inbox, 2)
	r.wantTold("while a change is under way", r.inbox, 2)
	time.Sleep(2 * r.s.opt.FlagDelay)
	if h := r.onDisk(r.inbox); h.told != 0 {
		t.Errorf("the head was written beside a change: %+v", h)
	}
	before := a.head.Load().seq
	a.mu.Unlock()
	r.s.accounts.release(a)
	r.eventually("the head is written", func() bool { return r.onDisk(r.inbox).told == 2 })
	if after := a.head.Load().seq; after != before {
		t.Errorf("the account went from %d to %d", before, after)
	}
	if p := r.check(); len(p) > 0 {
		t.Error(p)
	}
	// A change takes it along, so that nothing more has to be written.
	r.takeRecent(r.inbox, 3)
	r.append(r.inbox, newMessage("more", "x"), "")
	if h := r.onDisk(r.inbox); h.told != 3 || h.uidNext != 5 {
		t.Errorf("the head after a change: %+v", h)
	}
}

// An account that is forgotten has been written.
func TestToldOfForgottenAccounts(t *testing.T) {
	o := options(vfs.NewMem())
	o.CachedAccounts = 1
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), s: s}
	r.must(err)
	defer r.close()
	type box struct {
		acct  mail.AccountID
		inbox mail.MailboxID
	}
	var boxes []box
	for i := range 12 {
		r.createAccount(fmt.Sprint("user", i))
		r.append(r.inbox, newMessage("a", "x"), "")
		r.append(r.inbox, newMessage("b", "x"), "")
		r.takeRecent(r.inbox, mail.UID(1+i%2))
		boxes = append(boxes, box{r.acct, r.inbox})
	}
	for range 2 {
		for i, b := range boxes {
			r.acct = b.acct
			r.wantTold(fmt.Sprint("account ", i), b.inbox, mail.UID(1+i%2))
		}
		r.eventually("one account is in memory", func() bool {
			r.s.accounts.mu.Lock()
			defer r.s.accounts.mu.Unlock()
			return len(r.s.accounts.byID) == 1
		})
	}
}

// eventually waits until something is so.
func (r *rig) eventually(what string, is func() bool) {
	r.Helper()
	for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			r.Fatalf("not so: %s", what)
		}
	}
}

// What sessions were told of a mailbox or an account that is deleted meanwhile leaves nothing.
func TestToldOfWhatIsDeleted(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	kept := r.acct
	r.createAccount("other")
	other := r.acct
	r.append(r.inbox, newMessage("x", "x"), "")
	r.takeRecent(r.inbox, 1)
	r.must(r.s.DeleteAccount(r.ctx, other, time.Time{}))
	r.acct = kept
	b, err := r.s.CreateMailbox(r.ctx, kept, mail.Mailbox{Path: "short-lived"}, 0)
	r.must(err)
	r.append(b.ID, newMessage("x", "x"), "")
	r.takeRecent(b.ID, 1)
	r.must(r.s.DeleteMailbox(r.ctx, kept, b.ID, 0))
	for !r.s.writeTold() {
		time.Sleep(time.Millisecond)
	}
	for what, key := range map[string][]byte{
		"mailbox": boxKey(tabMailboxHead, kept, b.ID), "account": boxKey(tabMailboxHead, other, r.inbox),
	} {
		r.eventually("the "+what+" has no head", func() bool {
			value, err := r.s.get(key)
			r.must(err)
			return value == nil
		})
	}
}

// A store that is open for reading only remembers for itself.
func TestToldReadOnly(t *testing.T) {
	fs := vfs.NewMem()
	r := newRig(t, fs)
	r.append(r.inbox, newMessage("x", "x"), "")
	r.close()
	o := options(fs)
	o.ReadOnly = true
	s, err := Open(r.ctx, o)
	r.must(err)
	r.s = s
	r.takeRecent(r.inbox, 1)
	r.wantTold("read only", r.inbox, 1)
	r.close()
	r.open()
	r.wantTold("afterwards", r.inbox, 0)
}

// What is in a store of format 2 counts as told of, what comes after that does not.
func TestToldOfOlderStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	r := &rig{TB: t, ctx: t.Context(), fs: vfs.Default, dir: dir}
	r.must(os.CopyFS(dir, os.DirFS("testdata/format-2")))
	r.open()
	a, err := r.s.AccountByName(r.ctx, "user")
	r.must(err)
	r.acct = a.ID
	b, err := r.s.MailboxByPath(r.ctx, r.acct, mail.Inbox)
	r.must(err)
	for i := range 3 {
		r.wantTold(fmt.Sprint("start ", i), b.ID, b.UIDNext-1)
		if got := r.append(b.ID, newMessage("new", "x"), ""); got.UID != b.UIDNext+mail.UID(i) {
			t.Errorf("UID %d", got.UID)
		}
		r.wantTold(fmt.Sprint("a message after start ", i), b.ID, b.UIDNext-1)
		r.close()
		r.open()
	}
	if p := r.check(); len(p) > 0 {
		t.Error(p)
	}
	r.close()
}

// A session that has read a message that is in the database but not yet in memory is told of
// it for all: it is not recent in the next one.
func TestToldWhileInstalling(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	a, m, before, after := r.twoHeads()
	defer r.s.accounts.release(a)
	a.mu.Lock()
	m.head.Store(before) // as it is until the second message is installed
	ended := make(chan error, 1)
	go func() {
		_, err := r.s.TakeRecent(r.ctx, r.acct, r.inbox, 2)
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Errorf("the session did not wait for the message: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	m.head.Store(after)
	a.mu.Unlock()
	if !t.Failed() {
		r.must(<-ended)
	}
	r.wantTold("after a session that read what was not installed", r.inbox, 2)
}

// A mailbox that is restored with fewer UIDs leaves no session told of more, also not one that
// was told meanwhile.
func TestToldWhileRestoring(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	b, err := r.s.Mailbox(r.ctx, r.acct, r.inbox)
	r.must(err)
	a, err := r.s.account(r.ctx, r.acct)
	r.must(err)
	defer r.s.accounts.release(a)
	m := a.set.Load().byID[r.inbox]
	var stop atomic.Bool
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer stop.Store(true)
	for range 2 {
		sessions.Go(func() {
			for !stop.Load() {
				if _, err := r.s.TakeRecent(r.ctx, r.acct, r.inbox, 99); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 500 {
		for _, next := range []mail.UID{100, 2} {
			b.UIDNext = next
			b.HighestModSeq++
			r.must(r.s.RestoreMailbox(r.ctx, r.acct, *b))
		}
		if h := r.onDisk(r.inbox); h.told > 1 {
			t.Fatalf("round %d: the head on the disk says %d of UIDNEXT %d", i, h.told, h.uidNext)
		}
		a.mu.Lock() // sessions that ask for more than there is wait
		ended := time.Now().Add(time.Second)
		for m.told.Load() > 1 && time.Now().Before(ended) { // one may be about to see to it
			time.Sleep(time.Microsecond)
		}
		told := m.told.Load()
		a.mu.Unlock()
		if told > 1 {
			t.Fatalf("round %d: sessions were told up to %d of a mailbox with UIDNEXT 2", i, told)
		}
	}
}

// The heads that are written for it do not put off the flush of other changes.
func TestToldIsWrittenAfterTheFlush(t *testing.T) {
	mem := vfs.NewCrashableMem()
	r := newRig(t, mem)
	uid := r.append(r.inbox, newMessage("first", "text"), "").UID
	r.s.told.mu.Lock() // as if there were many
	defer r.s.told.mu.Unlock()
	_, err := r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.UIDSetOf(uid), Flags: mail.NewFlags(mail.Flagged)})
	r.must(err)
	r.eventually("the flags are on the disk", func() bool {
		crashed, err := Open(r.ctx, options(mem.CrashClone(vfs.CrashCloneCfg{})))
		r.must(err)
		defer func() { r.must(crashed.Close()) }()
		set, err := crashed.Changes(r.ctx, r.acct, r.inbox, 0)
		r.must(err)
		return set.Changed.Len() == 1 && set.Changed.At(0).Flags.Has(mail.Flagged)
	})
}

// Taking messages costs no change: it is some memory, and a small write for many of them.
func BenchmarkTakeRecent(b *testing.B) {
	r := newRig(b, vfs.NewMem())
	r.append(r.inbox, newMessage("x", "x"), "")
	var recents store.Recents = r.s
	b.ReportAllocs()
	for b.Loop() {
		if _, err := recents.TakeRecent(r.ctx, r.acct, r.inbox, 1); err != nil {
			b.Fatal(err)
		}
	}
}
