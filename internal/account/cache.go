package account

import (
	"sync"
	"time"
)

// cache keeps values that were read a moment ago. What this process changes is forgotten; what
// another one changes is seen after ttl.
type cache[K comparable, V any] struct {
	size int
	ttl  time.Duration // nothing is kept when it is not positive
	now  func() time.Time

	mu      sync.Mutex
	all     map[K]cached[V]
	version int // grows with each change of this process
}

type cached[V any] struct {
	value   *V
	expires time.Time
}

func newCache[K comparable, V any](size int, ttl time.Duration, now func() time.Time) *cache[K, V] {
	return &cache[K, V]{size: size, ttl: ttl, now: now, all: make(map[K]cached[V])}
}

// get returns a value, nil when it is not known, and the version to give to put.
func (c *cache[K, V]) get(key K) (*V, int) {
	if c.ttl <= 0 {
		return nil, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.all[key]
	if !ok || !c.now().Before(e.expires) {
		return nil, c.version
	}
	return e.value, c.version
}

// put keeps a value, unless something was changed since the version was given: it may have been
// read before that.
func (c *cache[K, V]) put(key K, value *V, version int) {
	if c.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != c.version {
		return
	}
	if len(c.all) >= c.size {
		c.evict()
	}
	c.all[key] = cached[V]{value, c.now().Add(c.ttl)}
}

// evict makes room: it drops what has expired, or else a quarter.
func (c *cache[K, V]) evict() {
	now := c.now()
	for k, e := range c.all {
		if !now.Before(e.expires) {
			delete(c.all, k)
		}
	}
	drop := len(c.all) - c.size + max(1, c.size/4)
	for k := range c.all {
		if drop <= 0 {
			return
		}
		delete(c.all, k)
		drop--
	}
}

// forget is called after a change of what has the key.
func (c *cache[K, V]) forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	delete(c.all, key)
}

// clear is called after a change of which it is not known what it concerns.
func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	clear(c.all)
}
