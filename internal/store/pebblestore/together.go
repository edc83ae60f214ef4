package pebblestore

import (
	"sync/atomic"
	"time"
)

// togetherFrom is how many durable changes there must be between two flushes of the log
// for the next flush to wait for more of them.
const togetherFrom = 3

// syncPace spaces the flushes of the log while many wait for them at the same time. A
// flush serves all who came before it began; those who come meanwhile wait for the next
// one, which would begin at once and serve the few that are there. A moment later there
// are more, and the machine has fewer flushes to do. Who stores one message after the
// other never waits: there is one change in each flush.
type syncPace struct {
	changes atomic.Int64 // durable changes so far
	before  atomic.Int64 // those until the flush before
	pauses  atomic.Int64 // flushes that were put off so far
}

// pause is asked for after each flush: how long the next one is put off at least.
func (p *syncPace) pause(delay time.Duration) time.Duration {
	n := p.changes.Load()
	if n-p.before.Swap(n) < togetherFrom || delay <= 0 {
		return 0
	}
	p.pauses.Add(1)
	return delay
}
