package account

import (
	"sync"
	"time"

	"mallard/internal/expiring"
)

// cache keeps values that were read a moment ago. What this process changes is forgotten; what
// another one changes is seen after ttl. With a ttl of 0 or less nothing is kept.
type cache[K comparable, V any] struct {
	mu      sync.Mutex
	all     *expiring.Map[K, *V]
	version int // grows with each change of this process
}

func newCache[K comparable, V any](size int, ttl time.Duration, now func() time.Time) *cache[K, V] {
	return &cache[K, V]{all: expiring.NewMap[K, *V](size, ttl, now)}
}

// get returns a value, nil when it is not known, and the version to give to put.
func (c *cache[K, V]) get(key K) (*V, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, _ := c.all.Get(key)
	return v, c.version
}

// put keeps a value, unless something was changed since the version was given: it may have been
// read before that.
func (c *cache[K, V]) put(key K, value *V, version int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version == c.version {
		c.all.Put(key, value)
	}
}

// forget is called after a change of what has the key.
func (c *cache[K, V]) forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	c.all.Delete(key)
}

// clear is called after a change of which it is not known what it concerns.
func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	c.all.Clear()
}
