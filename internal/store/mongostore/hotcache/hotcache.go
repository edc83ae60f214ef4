// Package hotcache keeps values in memory up to a number of octets. Those that were not used for longest go first.
//
// It knows nothing about what it keeps, and nothing in it can be out of date: whoever uses it takes for key, or notes in
// the value, all that tells one state of a thing from another, so that a value of an older state is one that nobody asks
// for. That way two nodes need not tell each other of changes, and who reads slowly does no harm by putting in late what
// has changed meanwhile.
package hotcache

import "sync"

// entryOctets is about what an entry costs beside its value: itself, its places in the map and in the list.
const entryOctets = 160

// greatestPart of the budget is what one value may have at most: a few large ones would drive out all others.
const greatestPart = 8

// Cache is safe for concurrent use. The values that it gives are shared: nobody may change what they point to.
type Cache[K comparable, V any] struct {
	budget int64

	mu      sync.Mutex
	entries map[K]*entry[K, V]
	list    entry[K, V] // its next is the entry that was used last, its prev the one to go first
	octets  int64
}

type entry[K comparable, V any] struct {
	key        K
	value      V
	octets     int64
	prev, next *entry[K, V]
}

// New makes a cache of at most budget octets, which it takes only as it is filled. With 0 or less it keeps nothing.
func New[K comparable, V any](budget int64) *Cache[K, V] {
	c := &Cache[K, V]{budget: budget, entries: make(map[K]*entry[K, V])}
	c.list.prev, c.list.next = &c.list, &c.list
	return c
}

// Takes reports whether a value of this size would be kept: one above an eighth of the budget would not. It saves making
// one in vain.
func (c *Cache[K, V]) Takes(octets int64) bool { return octets+entryOctets <= c.budget/greatestPart }

// Get returns a value and counts it as used.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		var none V
		return none, false
	}
	e.unlink()
	c.front(e)
	return e.value, true
}

// Put keeps a value of so many octets in the place of what was there. A value that is too large is not kept, and what was
// there goes all the same.
func (c *Cache[K, V]) Put(key K, value V, octets int64) {
	takes := c.Takes(octets)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[key]; old != nil {
		c.remove(old)
	}
	if !takes {
		return
	}
	e := &entry[K, V]{key: key, value: value, octets: octets + entryOctets}
	c.entries[key] = e
	c.front(e)
	c.octets += e.octets
	for c.octets > c.budget {
		c.remove(c.list.prev)
	}
}

// Delete drops a value.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		c.remove(e)
	}
}

// DeleteFunc drops all values whose keys are such. It looks at all of them.
func (c *Cache[K, V]) DeleteFunc(such func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if such(key) {
			c.remove(e)
		}
	}
}

// Len is how many values there are.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// Octets is how many octets they count as, at most the budget.
func (c *Cache[K, V]) Octets() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.octets
}

func (c *Cache[K, V]) front(e *entry[K, V]) {
	e.prev, e.next = &c.list, c.list.next
	e.prev.next, e.next.prev = e, e
}

func (c *Cache[K, V]) remove(e *entry[K, V]) {
	e.unlink()
	delete(c.entries, e.key)
	c.octets -= e.octets
}

func (e *entry[K, V]) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}
