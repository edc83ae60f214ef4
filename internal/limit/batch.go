package limit

import (
	"context"
	"math"
	"sync"
	"time"
)

// Batch adds up increments of counters that nobody waits for, and counts them together
// now and then: one call for what happens in that time. It is safe for concurrent use.
type Batch struct {
	counter Counter
	window  time.Duration
	every   time.Duration
	failed  func(key string, err error)

	mu     sync.Mutex
	sums   map[string]int64
	timer  *time.Timer // nil when nothing waits
	flush  sync.WaitGroup
	closed bool
}

// NewBatch returns a batch for a counter with a window. An increment waits for every at
// most; one that cannot be counted is told to failed and lost.
func NewBatch(c Counter, window, every time.Duration, failed func(key string, err error)) *Batch {
	return &Batch{counter: c, window: window, every: every, failed: failed, sums: make(map[string]int64)}
}

// Add adds to a counter. After Close nothing is counted.
func (b *Batch) Add(key string, inc int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || inc <= 0 {
		return
	}
	b.sums[key] = min(b.sums[key], MaxIncrement-min(inc, MaxIncrement)) + min(inc, MaxIncrement)
	if b.timer == nil {
		b.flush.Add(1)
		b.timer = time.AfterFunc(b.every, func() { defer b.flush.Done(); b.all() })
	}
}

// Flush counts what waits for a key.
func (b *Batch) Flush(ctx context.Context, key string) {
	b.mu.Lock()
	sum := b.sums[key]
	delete(b.sums, key)
	b.mu.Unlock()
	if sum > 0 {
		b.count(ctx, key, sum)
	}
}

func (b *Batch) all() {
	b.mu.Lock()
	sums := b.sums
	b.sums, b.timer = make(map[string]int64), nil
	b.mu.Unlock()
	for key, sum := range sums {
		b.count(context.Background(), key, sum)
	}
}

func (b *Batch) count(ctx context.Context, key string, sum int64) {
	if _, err := b.counter.Add(ctx, key, sum, math.MaxInt64, b.window); err != nil {
		b.failed(key, err)
	}
}

// Close counts what waits.
func (b *Batch) Close() error {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil && b.timer.Stop() {
		b.flush.Done()
	}
	b.mu.Unlock()
	b.flush.Wait()
	b.all()
	return nil
}
