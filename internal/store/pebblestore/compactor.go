package pebblestore

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactor says when Pebble may compact. It does what Pebble's own scheduler does, which
// starts as many at the same time as Pebble asks for, but for two things:
//
//   - None that merges tables starts before release; those that only take tables away do not
//     ask. Pebble ends the process when a compaction reads a file of values that is missing,
//     so all of them are looked for before (see blobsThere).
//   - After a failure none starts for a while. Pebble repeats a compaction that failed at
//     once, without end; one that meets a damaged table would take a processor for nothing.
//
// Locks: Pebble calls TrySchedule with its own lock held, so Pebble is never called with mu held,
// but for GetAllowedWithoutPermission, which takes no lock.
type compactor struct {
	db   pebble.DBForCompaction
	now  func() time.Time
	poke chan struct{} // something may be allowed now
	stop chan struct{}
	done chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	running  int
	released bool
	failures int // in sequence
	resume   time.Time
}

const (
	// compactorInterval is how often it is looked whether Pebble wants more compactions
	// than before, as by Pebble's scheduler.
	compactorInterval = 100 * time.Millisecond
	// The pause after compactions that failed doubles from the first to the second.
	firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
)

func newCompactor(now func() time.Time) *compactor {
	return &compactor{now: now, poke: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// release lets compactions start.
func (c *compactor) release() {
	c.mu.Lock()
	c.released = true
	c.mu.Unlock()
	c.look()
}

// ended notes how a compaction went.
func (c *compactor) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.failures, c.resume = 0, time.Time{}
		return
	}
	pause := min(firstPause<<min(c.failures, 16), longestPause)
	c.failures++
	c.resume = c.now().Add(pause)
}

// failing reports whether the last compaction failed.
func (c *compactor) failing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures > 0
}

// Register implements pebble.CompactionScheduler.
func (c *compactor) Register(_ int, db pebble.DBForCompaction) {
	c.db = db
	go c.loop()
}

// Unregister implements pebble.CompactionScheduler: afterwards Pebble is not called.
func (c *compactor) Unregister() {
	close(c.stop)
	<-c.done
}

// TrySchedule implements pebble.CompactionScheduler.
func (c *compactor) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !c.take() {
		return false, nil
	}
	return true, c
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (c *compactor) UpdateGetAllowedWithoutPermission() { c.look() }

// Done implements pebble.CompactionGrantHandle.
func (c *compactor) Done() {
	c.give()
	c.look()
}

// Started implements pebble.CompactionGrantHandle, like the two below: they are for schedulers
// that measure.
func (c *compactor) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (c *compactor) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (c *compactor) CumulativeStats(pebble.CompactionGrantHandleStats) {}

func (c *compactor) look() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// take takes the permission for one compaction, if there is one to have.
func (c *compactor) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.released || c.running >= c.db.GetAllowedWithoutPermission() || c.now().Before(c.resume) {
		return false
	}
	c.running++
	return true
}

func (c *compactor) give() {
	c.mu.Lock()
	c.running--
	c.mu.Unlock()
}

// loop starts what Pebble was not permitted when it asked.
func (c *compactor) loop() {
	defer close(c.done)
	tick := time.NewTicker(compactorInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		case <-c.poke:
		}
		for c.take() {
			if waiting, _ := c.db.GetWaitingCompaction(); !waiting || !c.db.Schedule(c) {
				c.give()
				break
			}
		}
	}
}
