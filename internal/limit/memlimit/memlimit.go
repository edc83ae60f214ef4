// Package memlimit keeps limits in the memory of one process.
//
// Its memory is bounded: at most Options.MaxKeys counters, of 220 to 320 octets each. When there are more, those whose
// window ended go first, then the one that was used (looked at or counted) longest ago, whose count is thereby lost.
// Somebody who wants a counter forgotten must therefore keep MaxKeys others busy within its window. Places (Concurrency)
// are never dropped: there are as many as were acquired and not given back, so the number of connections bounds them.
//
// The package has no goroutines and nothing to close. It imports internal/limit and internal/mail.
package memlimit

import (
	"container/heap"
	"container/list"
	"context"
	"crypto/sha256"
	"math"
	"strings"
	"sync"
	"time"

	"mallard/internal/limit"
	"mallard/internal/mail"
)

// DefaultMaxKeys is the default of Options.MaxKeys.
const DefaultMaxKeys = 1 << 18

// maxKey is the longest key in octets that is kept as it is; of a longer one only a hash is kept.
const maxKey = 128

// Options are the settings. The zero value means the defaults.
type Options struct {
	// MaxKeys is the greatest number of counters.
	MaxKeys int
}

// Limits implements limit.Limits. Make it with New.
type Limits struct {
	maxKeys int

	mu       sync.Mutex
	counters map[string]*counter
	ends     endHeap   // of all counters
	used     list.List // of all counters, the last used first
	places   map[place]int
}

var _ limit.Limits = (*Limits)(nil)

// A counter is never zero.
type counter struct {
	key   string
	value int64
	end   time.Time
	index int           // in Limits.ends
	used  *list.Element // in Limits.used
}

type place struct{ group, key string }

// New returns limits where nothing is counted yet.
func New(o Options) *Limits {
	if o.MaxKeys <= 0 {
		o.MaxKeys = DefaultMaxKeys
	}
	return &Limits{maxKeys: o.MaxKeys, counters: make(map[string]*counter), places: make(map[place]int)}
}

// Add implements limit.Counter.
func (l *Limits) Add(ctx context.Context, key string, inc, most int64, window time.Duration) (limit.Count, error) {
	if err := canceled(ctx); err != nil {
		return limit.Count{}, err
	}
	if inc < 0 || inc > limit.MaxIncrement {
		return limit.Count{}, mail.NewError(mail.CodeInvalid, "the increment of a counter is out of range")
	}
	if most <= 0 {
		return limit.Count{OK: true}, nil
	}
	if window <= 0 {
		window = limit.DefaultWindow
	}
	key = shortKey(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.dropEnded(now)
	c := l.counters[key]
	if c != nil && c.ended(now) {
		l.remove(c)
		c = nil
	}
	if c == nil {
		if inc == 0 {
			return limit.Count{OK: true}, nil
		}
		c = l.insert(key, now, window)
	}
	l.used.MoveToFront(c.used)
	ok := c.value < most
	if ok {
		c.value += min(inc, math.MaxInt64-c.value)
	}
	return limit.Count{OK: ok, Value: c.value, TTL: c.end.Sub(now)}, nil
}

// Reset implements limit.Counter.
func (l *Limits) Reset(ctx context.Context, keys ...string) error {
	if err := canceled(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if c := l.counters[shortKey(key)]; c != nil {
			l.remove(c)
		}
	}
	return nil
}

// Acquire implements limit.Concurrency.
func (l *Limits) Acquire(ctx context.Context, group, key string, most int) (release func(), err error) {
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	p := place{group, shortKey(key)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if most > 0 && l.places[p] >= most {
		return nil, mail.NewError(mail.CodeLimit, "too many at once")
	}
	if l.places[p] == 0 {
		p.key = strings.Clone(p.key)
	}
	l.places[p]++
	return sync.OnceFunc(func() { l.release(p) }), nil
}

// Held implements limit.Concurrency.
func (l *Limits) Held(ctx context.Context, group, key string) (int, error) {
	if err := canceled(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places[place{group, shortKey(key)}], nil
}

func (l *Limits) release(p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[p]--; l.places[p] == 0 {
		delete(l.places, p)
	}
}

// insert makes a counter, for which it may drop another one.
func (l *Limits) insert(key string, now time.Time, window time.Duration) *counter {
	if len(l.counters) >= l.maxKeys {
		l.remove(l.used.Back().Value.(*counter)) // none has ended: dropEnded would have made room
	}
	c := &counter{key: strings.Clone(key), end: now.Add(window)} // the key may be part of something large
	l.counters[c.key] = c
	c.used = l.used.PushFront(c)
	heap.Push(&l.ends, c)
	return c
}

func (l *Limits) remove(c *counter) {
	delete(l.counters, c.key)
	l.used.Remove(c.used)
	heap.Remove(&l.ends, c.index)
}

// maxDrop is how many counters a call may drop: more than it may insert, so that they do not pile up, and few, so that no
// call takes long.
const maxDrop = 8

// dropEnded removes some of the counters whose window has ended.
func (l *Limits) dropEnded(now time.Time) {
	for range maxDrop {
		if len(l.ends) == 0 || !l.ends[0].ended(now) {
			return
		}
		l.remove(l.ends[0])
	}
}

func (c *counter) ended(now time.Time) bool { return !c.end.After(now) }

// shortKey bounds the length of a key. The hash cannot be mistaken for a key that is kept as it is: it is marked with an
// octet that makes it longer than those.
func shortKey(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey-len(sum)+1] + string(sum[:])
}

func canceled(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return mail.WrapError(mail.CodeCanceled, "", err)
	}
	return nil
}

// endHeap orders counters by the end of their windows.
type endHeap []*counter

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].end.Before(h[j].end) }
func (h endHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *endHeap) Push(x any) {
	c := x.(*counter)
	c.index = len(*h)
	*h = append(*h, c)
}

// Pop implements heap.Interface.
func (h *endHeap) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}
