package node

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestHeapPace(t *testing.T) {
	const headroom = 32 << 20
	p := &heapPace{headroom: headroom, percent: plainPercent}
	allocated := uint64(0)
	for i, tc := range []struct {
		ran, live uint64 // octets allocated, in MiB
		percent   int
		giveBack  bool
	}{
		{0, 8, 100, false},
		{23, 8, 100, false},          // not quite three times what is live
		{24, 8, 400, false},          // busy
		{16, 16, 200, false},         // still
		{15, 16, 200, false},         // a pause
		{8, 4, 800, false},           // busy again
		{9, 1, 800, false},           // what is live may be next to nothing
		{9999, 1024, 100, false},     // and so much that the default is more
		{99, 8, 400, false},          //
		{7, 8, 400, false},           // calm
		{7, 8, plainPercent, true},   // for long enough
		{7, 8, plainPercent, false},  // given back once
		{23, 8, plainPercent, false}, //
		{24, 8, 400, false},          // and all over again
		{0, 8, 400, false},           //
		{0, 8, plainPercent, true},   // calm and quiet is given back for once
		{0, 8, plainPercent, false},  //
		{20, 8, plainPercent, false}, // something, not enough to be busy
		{0, 8, plainPercent, false},  //
		{0, 8, plainPercent, true},   // quiet for long enough
		{0, 8, plainPercent, false},  // given back once
		{7, 8, plainPercent, false},  // less than there would be a collection for
		{0, 8, plainPercent, false},  //
		{0, 8, plainPercent, false},  //
	} {
		allocated += tc.ran << 20
		if percent, giveBack := p.step(allocated, tc.live<<20, 10); percent != tc.percent || giveBack != tc.giveBack {
			t.Fatalf("step %d: %d %%, give back %t; want %d %%, %t", i, percent, giveBack, tc.percent, tc.giveBack)
		}
	}
}

// While clients come there is as little garbage as in a calm node, and afterwards it is given back.
func TestHeapPaceWhileClientsCome(t *testing.T) {
	p := &heapPace{headroom: 32 << 20, percent: plainPercent}
	allocated := uint64(0)
	for i, tc := range []struct {
		ran      uint64 // octets allocated, in MiB
		conns    int
		percent  int
		giveBack bool
	}{
		{40, 15, 400, false}, // busy, with few clients
		{40, 31, plainPercent, false},
		{40, 300, plainPercent, false},
		{40, 315, 400, false}, // no more than come all the time
		{40, 600, plainPercent, false},
		{0, 600, plainPercent, false},
		{0, 600, plainPercent, true}, // given back, as when it was busy
		{40, 500, 400, false},        // clients that go are no reason
	} {
		allocated += tc.ran << 20
		if percent, giveBack := p.step(allocated, 8<<20, tc.conns); percent != tc.percent || giveBack != tc.giveBack {
			t.Fatalf("step %d: %d %%, give back %t; want %d %%, %t", i, percent, giveBack, tc.percent, tc.giveBack)
		}
	}
}

// The names of the numbers are known to the runtime.
func TestHeapNumbers(t *testing.T) {
	before, _ := heapNumbers()
	kept := make([]byte, 8<<20)
	runtime.GC()
	after, live := heapNumbers()
	runtime.KeepAlive(kept)
	if after < before+8<<20 || live < 8<<20 {
		t.Errorf("%d octets allocated after %d, %d live", after, before, live)
	}
}

// A busy process has more garbage, and less when it is calm again; it ends as it began.
func TestPaceHeap(t *testing.T) {
	t.Setenv("GOGC", "") // who sets it decides himself, so paceHeap would do nothing
	set := debug.SetGCPercent(plainPercent)
	t.Cleanup(func() { debug.SetGCPercent(set) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		paceHeap(ctx, 256<<20, func() int { return 0 })
	}()
	goal := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	end := time.Now().Add(30 * time.Second)
	for ; goal() == plainPercent && time.Now().Before(end); time.Sleep(time.Millisecond) {
		runtime.KeepAlive(make([]byte, 1<<20))
	}
	if goal() == plainPercent {
		t.Error("a busy process has as little garbage as a calm one")
	}
	for goal() != plainPercent && time.Now().Before(end) {
		time.Sleep(100 * time.Millisecond)
	}
	if g := goal(); g != plainPercent {
		t.Errorf("%d %% when it is calm, want %d", g, plainPercent)
	}
	cancel()
	<-done
}
