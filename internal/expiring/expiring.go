// Package expiring keeps a bounded number of values, each for a time.
package expiring

import "time"

// Map is a map whose entries end. It is not safe for concurrent use: what uses it has a lock of its own, which mostly
// guards more than the map.
type Map[K comparable, V any] struct {
	size int
	ttl  time.Duration
	now  func() time.Time
	all  map[K]entry[V]
}

type entry[V any] struct {
	value V
	end   time.Time
}

// NewMap makes a map of at most size entries, each of which ends ttl after it was put in by the clock now. With 0 or less of
// either it keeps nothing.
func NewMap[K comparable, V any](size int, ttl time.Duration, now func() time.Time) *Map[K, V] {
	return &Map[K, V]{size: size, ttl: ttl, now: now, all: make(map[K]entry[V])}
}

// Get returns a value that has not ended.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	e, ok := m.all[key]
	if !ok || !m.now().Before(e.end) {
		return value, false
	}
	return e.value, true
}

// Put keeps a value in the place of what was there. When there is no room, what has ended goes, or else a quarter, no
// matter which: this is for values that can be had again.
func (m *Map[K, V]) Put(key K, value V) {
	if m.ttl <= 0 || m.size <= 0 {
		return
	}
	if _, there := m.all[key]; !there && len(m.all) >= m.size {
		m.evict()
	}
	m.all[key] = entry[V]{value, m.now().Add(m.ttl)}
}

func (m *Map[K, V]) evict() {
	now := m.now()
	for k, e := range m.all {
		if !now.Before(e.end) {
			delete(m.all, k)
		}
	}
	drop := len(m.all) - m.size + max(1, m.size/4)
	for k := range m.all {
		if drop <= 0 {
			return
		}
		delete(m.all, k)
		drop--
	}
}

// Delete drops a value.
func (m *Map[K, V]) Delete(key K) { delete(m.all, key) }

// Clear drops all values.
func (m *Map[K, V]) Clear() { clear(m.all) }

// Len is how many entries there are, with those that have ended and not gone yet.
func (m *Map[K, V]) Len() int { return len(m.all) }
