package pebblestore

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/storetest"
)

// maintain lets the background do everything that there is to do now.
func maintain(ctx context.Context, s store.Store) error {
	x := s.(*Store)
	rounds := func() uint64 {
		x.sweep.mu.Lock()
		defer x.sweep.mu.Unlock()
		return x.sweep.done
	}
	// The round that runs may have passed what is asked for; the next finds what is
	// garbage, the one after that removes it.
	for until := rounds() + 3; rounds() < until && ctx.Err() == nil && !x.closed.Load(); {
		x.wakeSweeper()
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}

// slowDisk is a disk in memory whose log cannot be synced while gate is held.
func slowDisk() (fs vfs.FS, mem *vfs.MemFS, gate *sync.Mutex) {
	mem, gate = vfs.NewCrashableMem(), &sync.Mutex{}
	d := &memDisk{mem: mem}
	hook := func(op storetest.FileOp) error {
		if op.Sync && strings.Contains(op.Name, ".log") {
			gate.Lock()
			defer gate.Unlock()
		}
		return nil
	}
	d.hook.Store(&hook)
	return errorfs.Wrap(mem, d), mem, gate
}

// A file of content goes only after the removal of its last message is on the disk:
// a crash that undoes the removal must not leave a message without its content.
func TestContentOutlivesARemovalThatIsLost(t *testing.T) {
	fs, mem, gate := slowDisk()
	r := newRig(t, fs)
	m := newMessage("large", "text", randomBytes(300<<10, 9))
	uid := r.append(r.inbox, m, "").UID

	gate.Lock()
	done := make(chan error)
	go func() {
		_, err := r.s.Expunge(r.ctx, r.acct, r.inbox, mail.OneUID(uid), false)
		done <- err
	}()
	for {
		b, err := r.s.Open(r.ctx, r.acct, r.inbox, uid)
		if mail.CodeOf(err) == mail.CodeNotFound && err != nil {
			break
		}
		r.must(err)
		r.must(b.Close())
		time.Sleep(time.Millisecond)
	}
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		r.s.wakeSweeper()
	}
	for seed := range uint64(20) {
		after := &rig{TB: t, ctx: r.ctx, acct: r.acct, inbox: r.inbox}
		after.fs = crashed(mem, 50, seed)
		after.open()
		b, err := after.s.Open(r.ctx, r.acct, r.inbox, uid)
		if err == nil {
			var w bytes.Buffer
			if err = b.WriteRange(&w, 0, b.Size()); err == nil && !bytes.Equal(w.Bytes(), m.raw) {
				t.Error("other octets")
			}
			r.must(b.Close())
		}
		if err != nil && mail.CodeOf(err) != mail.CodeNotFound {
			t.Errorf("crash %d: the message is back without its content: %v", seed, err)
		}
		after.close()
	}
	gate.Unlock()
	r.must(<-done)
	r.must(maintain(r.ctx, r.s))
	left := 0
	r.must(r.s.blobs.each(func(hash, string) error { left++; return nil }))
	if left != 0 {
		t.Errorf("%d files of content are left", left)
	}
}
