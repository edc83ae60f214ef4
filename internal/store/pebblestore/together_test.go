package pebblestore

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A flush is put off only while there are many changes.
func TestSyncPace(t *testing.T) {
	var p syncPace
	for i, step := range []struct {
		changes int64
		want    time.Duration
	}{{0, 0}, {1, 0}, {togetherFrom, time.Millisecond}, {20, time.Millisecond}, {togetherFrom - 1, 0}, {1, 0}} {
		p.changes.Add(step.changes)
		if got := p.pause(time.Millisecond); got != step.want {
			t.Errorf("step %d, %d changes: %v, not %v", i, step.changes, got, step.want)
		}
	}
	p.changes.Add(togetherFrom)
	if got := p.pause(-1); got != 0 {
		t.Errorf("switched off: %v", got)
	}
}

// Those who store messages at the same time share flushes of the log; one alone has a
// flush for each message, and does not wait for others.
func TestFlushTogether(t *testing.T) {
	const delay, messages = 10 * time.Millisecond, 320
	for _, writers := range []int{1, 16} {
		var flushes atomic.Int64
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log") {
				flushes.Add(1)
				time.Sleep(time.Millisecond)
			}
			return nil
		}))
		r := newRig(t, fs)
		r.close()
		o := options(fs)
		o.SyncDelay, o.SweepInterval = delay, time.Hour // no changes but those of the writers
		var err error
		r.s, err = Open(r.ctx, o)
		r.must(err)
		before, paused := flushes.Load(), r.s.pace.pauses.Load()
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range messages / writers {
					if writers > 1 {
						time.Sleep(time.Duration(w%4) * time.Millisecond) // they do not keep step
					}
					if _, err := r.tryAppend(r.inbox, newMessage(fmt.Sprint(w, " ", i), "text"), ""); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		n := flushes.Load() - before
		paused = r.s.pace.pauses.Load() - paused
		t.Logf("%d writers: %d flushes for %d messages, %d of them put off", writers, n, messages, paused)
		switch {
		case writers == 1 && (n < messages || paused != 0):
			t.Errorf("one writer: %d flushes for %d messages, %d of them put off", n, messages, paused)
		case writers > 1 && (n > messages/4 || paused == 0):
			t.Errorf("%d writers: %d flushes for %d messages, %d of them put off", writers, n, messages, paused)
		}
	}
}
