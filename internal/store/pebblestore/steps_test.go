package pebblestore

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// newStepRig is a rig whose changes take three messages at a time, with ten in INBOX.
func newStepRig(t *testing.T, set ...func(*Options)) *rig {
	o := options(vfs.NewMem())
	o.changeStep = 3
	for _, f := range set {
		f(&o)
	}
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), fs: o.FS, s: s}
	r.must(err)
	t.Cleanup(r.close)
	r.createAccount("user")
	for i := range 10 {
		r.append(r.inbox, newMessage(fmt.Sprint("message ", i), "text", randomBytes(3000, uint64(i))), "")
	}
	return r
}

func (r *rig) uids(box mail.MailboxID) string {
	r.Helper()
	var set mail.UIDSet
	for row, err := range r.s.Fetch(r.ctx, r.acct, box, store.FetchQuery{UIDs: mail.AllUIDs()}) {
		r.must(err)
		set = set.Append(row.UID)
	}
	return set.String()
}

func (r *rig) well() {
	r.Helper()
	if p := r.check(); len(p) > 0 {
		r.Errorf("check: %q", p)
	}
}

// A reader that follows by mod-sequence learns each step of a change of flags, and the result
// tells of all messages.
func TestFlagsInSteps(t *testing.T) {
	r := newStepRig(t)
	before, err := r.s.Mailbox(r.ctx, r.acct, r.inbox)
	r.must(err)
	res, err := r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Seen, "kw")})
	r.must(err)
	if len(res.Changed) != 10 || len(res.Existing) != 10 {
		t.Fatalf("%d changed, %d there", len(res.Changed), len(res.Existing))
	}
	steps := map[mail.ModSeq]int{}
	for i, row := range res.Changed {
		steps[row.ModSeq]++
		if row.UID != mail.UID(i+1) || row.ModSeq <= before.HighestModSeq || i > 0 && row.ModSeq < res.Changed[i-1].ModSeq {
			t.Errorf("row %d is %+v", i, row)
		}
	}
	if len(steps) != 4 || res.ModSeq != res.Changed[9].ModSeq {
		t.Errorf("mod-sequences %v, the greatest is told as %d", steps, res.ModSeq)
	}
	for modseq := range steps {
		changes, err := r.s.Changes(r.ctx, r.acct, r.inbox, modseq)
		r.must(err)
		if want := int(res.ModSeq-modseq)*3 - 2; changes.Changed.Len() != max(want, 0) {
			t.Errorf("%d changes since %d of %d, want %d", changes.Changed.Len(), modseq, res.ModSeq, want)
		}
	}
	again, err := r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Seen)})
	r.must(err)
	if again.ModSeq != 0 || len(again.Changed) != 0 || len(again.Existing) != 10 {
		t.Errorf("the same again gives %+v", again)
	}
	r.well()
}

// A copy into the same mailbox ends, a move and an expunge leave nothing.
func TestCopyMoveExpungeInSteps(t *testing.T) {
	r := newStepRig(t)
	res, err := r.s.Copy(r.ctx, r.acct, r.inbox, r.inbox, mail.AllUIDs(), 0)
	r.must(err)
	if len(res.From) != 10 || len(res.To) != 10 || res.To[0] != 11 || res.To[9] != 20 || r.uids(r.inbox) != "1:20" {
		t.Errorf("copy %+v, INBOX %s", res, r.uids(r.inbox))
	}
	res, err = r.s.Move(r.ctx, r.acct, r.inbox, r.trash, mail.UIDSet{{First: 2, Last: 12}})
	r.must(err)
	box, err := r.s.Mailbox(r.ctx, r.acct, r.inbox)
	r.must(err)
	if len(res.To) != 11 || r.uids(r.inbox) != "1,13:20" || r.uids(r.trash) != "1:11" || res.SourceModSeq != box.HighestModSeq {
		t.Errorf("move %+v, INBOX %s at %d, Trash %s", res, r.uids(r.inbox), box.HighestModSeq, r.uids(r.trash))
	}
	r.well()
	_, err = r.s.UpdateFlags(r.ctx, r.acct, r.trash, store.FlagUpdate{UIDs: mail.UIDSetOf(1, 3, 5, 7, 9), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Deleted)})
	r.must(err)
	gone, err := r.s.Expunge(r.ctx, r.acct, r.trash, mail.AllUIDs(), true)
	r.must(err)
	if gone.UIDs.String() != "1,3,5,7,9" || r.uids(r.trash) != "2,4,6,8,10:11" {
		t.Errorf("expunge %s, Trash %s", gone.UIDs, r.uids(r.trash))
	}
	r.well()
}

// A COPY that fails after the first step takes back what it has copied, also when its client
// is gone; one over quota begins nothing.
func TestCopyIsTakenBack(t *testing.T) {
	r := newStepRig(t)
	row, err := r.s.get(uidKey(tabHot, r.acct, r.inbox, 8))
	r.must(err)
	r.must(r.s.db.Set(uidKey(tabHot, r.acct, r.inbox, 8), []byte("damaged"), nil))
	if _, err := r.s.Copy(r.ctx, r.acct, r.inbox, r.trash, mail.AllUIDs(), 0); mail.CodeOf(err) != mail.CodeCorrupt {
		t.Errorf("copy of a damaged message: %v", err)
	}
	box, err := r.s.Mailbox(r.ctx, r.acct, r.trash)
	r.must(err)
	if got := r.uids(r.trash); got != "" || box.UIDNext == 1 {
		t.Errorf("Trash has %q, its next UID is %d: the copy had not begun, or stayed", got, box.UIDNext)
	}
	r.must(r.s.db.Set(uidKey(tabHot, r.acct, r.inbox, 8), row, nil))
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	out := []mail.UID{}
	res, err := r.s.Copy(r.ctx, r.acct, r.inbox, r.trash, mail.UIDSetOf(1, 2), 0)
	r.must(err)
	r.s.closed.Store(true) // Close waits for a copy that is under way
	r.s.uncopy(ctx, r.acct, r.trash, append(out, res.To...))
	r.s.closed.Store(false)
	if got := r.uids(r.trash); got != "" {
		t.Errorf("what a client that is gone has copied stays: %s", got)
	}
	if _, err := r.s.Copy(r.ctx, r.acct, r.inbox, r.trash, mail.AllUIDs(), 50_000); mail.CodeOf(err) != mail.CodeOverQuota {
		t.Errorf("copy over quota: %v", err)
	}
	next, err := r.s.Mailbox(r.ctx, r.acct, r.trash)
	r.must(err)
	if next.UIDNext != box.UIDNext+2 {
		t.Errorf("a copy over quota has used UIDs: the next was %d and is %d", box.UIDNext, next.UIDNext)
	}
	r.well()
}

// fullDisk is a disk of which each message that is copied into Trash takes 100 octets.
type fullDisk struct {
	vfs.FS
	r    *rig
	copy atomic.Pointer[diskBefore] // nil: there is much room
}

// diskBefore is what there was before the copy.
type diskBefore struct{ next, free uint64 }

func (d *fullDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	before := d.copy.Load()
	if before == nil {
		return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
	}
	d.r.s.space.next.Store(0) // what it says is good for one change only
	used := 100 * (d.next() - before.next)
	return vfs.DiskUsage{AvailBytes: before.free - min(used, before.free)}, nil
}

// next returns the UIDNEXT of Trash.
func (d *fullDisk) next() uint64 {
	box, err := d.r.s.Mailbox(context.Background(), d.r.acct, d.r.trash)
	d.r.must(err)
	return uint64(box.UIDNext)
}

// A COPY that fails as the disk fills is taken back, wherever that happens: it stops while there
// is still room for that.
func TestCopyThatFillsTheDisk(t *testing.T) {
	disk := &fullDisk{FS: vfs.NewMem()}
	r := newStepRig(t, func(o *Options) { o.FS, o.MinFree = disk, 1200 })
	disk.r = r
	failed, begun := 0, 0
	for free := uint64(200); free <= 2500; free += 50 {
		next := disk.next()
		r.s.space.next.Store(0)
		disk.copy.Store(&diskBefore{next, free})
		_, err := r.s.Copy(r.ctx, r.acct, r.inbox, r.trash, mail.AllUIDs(), 0)
		disk.copy.Store(nil)
		r.s.space.next.Store(0)
		got := r.uids(r.trash)
		if err == nil {
			_, err = r.s.Expunge(r.ctx, r.acct, r.trash, mail.AllUIDs(), false)
			r.must(err)
			continue
		}
		if mail.CodeOf(err) != mail.CodeNoSpace || got != "" {
			t.Fatalf("with %d octets free: %v, Trash has %q", free, err, got)
		}
		failed++
		if disk.next() > next {
			begun++
		}
	}
	t.Logf("%d copies failed, %d of them after the first step", failed, begun)
	if begun == 0 {
		t.Error("no copy has failed after the first step")
	}
	r.well()
}

// What is done to very many messages at once costs a bounded memory, but for what it answers.
func TestMemoryOfAHugeChange(t *testing.T) {
	// In one step MOVE and COPY would take some 1,000 octets for each message.
	many, base := 40_000, 28<<20
	switch {
	case os.Getenv("MALLARD_STORETEST_LONG") != "":
		many, base = 1_000_000, 64<<20
	case testing.Short():
		t.Skip("long")
	}
	r := &rig{TB: t, ctx: t.Context(), fs: vfs.Default, dir: t.TempDir()}
	r.open()
	t.Cleanup(r.close)
	r.createAccount("user")
	r.stuffWith(many, func(h *hot) { h.email = mail.NewID[mail.EmailID](r.s.ids) })
	for _, op := range []struct {
		name string
		each int // octets that each message may take: of STORE the answer has all rows twice
		f    func() error
	}{
		{"STORE", 250, func() error {
			_, err := r.s.UpdateFlags(r.ctx, r.acct, r.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Seen)})
			return err
		}},
		{"MOVE", 100, func() error {
			_, err := r.s.Move(r.ctx, r.acct, r.inbox, r.trash, mail.AllUIDs())
			return err
		}},
		{"COPY", 100, func() error {
			_, err := r.s.Copy(r.ctx, r.acct, r.trash, r.inbox, mail.AllUIDs(), 0)
			return err
		}},
		{"EXPUNGE", 100, func() error {
			_, err := r.s.Expunge(r.ctx, r.acct, r.inbox, mail.AllUIDs(), false)
			return err
		}},
	} {
		var err error
		begin := time.Now()
		grown := peak(func() { err = op.f() })
		r.must(err)
		t.Logf("%s of %d messages: %d MiB, %s", op.name, many, grown>>20, time.Since(begin).Round(time.Millisecond))
		// Write buffers of the database (4 MiB each here) and what is not collected yet are part of it.
		if limit := int64(base + op.each*many); grown > limit {
			t.Errorf("%s of %d messages costs %d MiB, at most %d MiB are wanted", op.name, many, grown>>20, limit>>20)
		}
	}
	if !strings.HasPrefix(r.uids(r.trash), "1:") {
		t.Errorf("Trash has %.100s", r.uids(r.trash))
	}
}
