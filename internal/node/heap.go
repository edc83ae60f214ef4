package node

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go collects garbage when the heap has doubled. A node whose heap is small, as that of a cluster's is, would do it every
// few messages. So while it is busy it may have some octets of garbage more before it does, and when it is so no longer,
// it gives the memory back. A node that does next to nothing after it has done something gives it back as well: a
// thousand clients that come and then wait leave as much garbage as they hold. While they come, there is no more garbage
// than by default: what they hold as long as they stay would lie scattered among it, and keep the memory around it.
const (
	heapStep = time.Second
	// busyCycles is how many collections a step would have by Go's default that make a node busy, calmSteps how many steps
	// without any make it calm.
	busyCycles, calmSteps = 3, 2
	// plainPercent is Go's default, plainHeap the least garbage that it waits for, in octets.
	plainPercent = 100
	plainHeap    = 4 << 20
	// quietOctets is what a node allocates less of in a step while its clients wait.
	quietOctets = 1 << 20
	// comingConns is how many more connections than a step before make clients coming.
	comingConns = 16
)

// heapPace decides how much garbage there may be.
type heapPace struct {
	headroom  uint64 // octets of garbage that a busy node may have
	percent   int
	calm      int    // steps
	allocated uint64 // octets in all
	quiet     int    // steps
	spent     uint64 // octets allocated since memory was given back
	conns     int
}

// step looks at how much was allocated in all, how much is live, and how many connections there are. It returns the
// percentage that is to be in force, and whether memory is to be given back.
func (p *heapPace) step(allocated, live uint64, conns int) (percent int, giveBack bool) {
	coming := conns >= p.conns+comingConns
	p.conns = conns
	ran := allocated - p.allocated
	p.allocated, p.spent, p.quiet = allocated, p.spent+ran, p.quiet+1
	if ran >= quietOctets {
		p.quiet = 0
	}
	cycles := ran / max(live, plainHeap)
	switch {
	case coming:
		p.calm, p.percent = 0, plainPercent
	case cycles >= busyCycles || p.percent > plainPercent && cycles > 0:
		p.calm = 0
		p.percent = max(plainPercent, int(p.headroom*100/max(live, plainHeap)))
	case p.percent > plainPercent:
		if p.calm++; p.calm >= calmSteps {
			p.calm, p.percent, giveBack = 0, plainPercent, true
		}
	}
	giveBack = giveBack || p.quiet >= calmSteps && p.spent >= max(live, plainHeap)
	if giveBack {
		p.spent = 0
	}
	return p.percent, giveBack
}

// paceHeap runs until ctx ends. Who sets GOGC decides himself.
func paceHeap(ctx context.Context, headroom int64, conns func() int) {
	if headroom <= 0 || os.Getenv("GOGC") != "" {
		return
	}
	p := &heapPace{headroom: uint64(headroom), percent: plainPercent}
	set := plainPercent
	defer func() { debug.SetGCPercent(plainPercent) }()
	tick := time.NewTicker(heapStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		allocated, live := heapNumbers()
		percent, giveBack := p.step(allocated, live, conns())
		if percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
		if giveBack {
			debug.FreeOSMemory()
		}
	}
}

// heapNumbers are the octets allocated so far and those that the last collection left.
func heapNumbers() (allocated, live uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64()
}
