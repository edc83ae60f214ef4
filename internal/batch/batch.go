// Package batch makes one operation of what several callers want of one thing at the same time, where they would have to
// wait for each other anyway.
//
// A Batcher is for one thing at a time, by its key; Rounds are for callers that take the same steps with different things.
//
// In a Batcher nobody waits for company that may not come: what comes when nobody else is at it is done at once and alone. What
// comes meanwhile is done together by the next operation. In Rounds who comes first waits for company, where that is likely to
// come, and members wait for each other at their steps; for how long at most their Limits say.
//
// It imports nothing of the module.
package batch

import (
	"errors"
	"sync"
)

// ErrBroken says that the operation ended without a result, because it panicked.
var ErrBroken = errors.New("the operation was broken off")

// A Batcher makes operations on things that have a key: one on each at a time. It is safe for concurrent use. Make it with
// New.
type Batcher[K comparable, T any] struct {
	do  func(items []T)
	max int

	mu  sync.Mutex
	all map[K]*queue[T] // of what is being done
}

// queue are those who wait while something is done with a key.
type queue[T any] struct{ waiting []*entry[T] }

type entry[T any] struct {
	item T
	turn chan bool // true: do it, with others; false: it was done
	done bool
}

// New returns a Batcher. do does what all of the items ask for, at most limit of one key, and notes in each what came of
// it. It is called by one of the callers that brought them.
func New[K comparable, T any](limit int, do func(items []T)) *Batcher[K, T] {
	return &Batcher[K, T]{do: do, max: max(limit, 1), all: make(map[K]*queue[T])}
}

// Do returns when the item was part of an operation. The only error is ErrBroken; what came of the item is in it.
func (b *Batcher[K, T]) Do(key K, item T) error {
	e := &entry[T]{item: item}
	b.mu.Lock()
	q := b.all[key]
	if q == nil {
		q = &queue[T]{}
		b.all[key] = q
		b.mu.Unlock()
		b.lead(key, q, e)
		return nil
	}
	e.turn = make(chan bool, 1)
	q.waiting = append(q.waiting, e)
	b.mu.Unlock()
	if <-e.turn {
		b.lead(key, q, e)
		return nil
	}
	if !e.done {
		return ErrBroken
	}
	return nil
}

// lead does what an item and those that wait ask for. After that the first of those that came meanwhile leads.
func (b *Batcher[K, T]) lead(key K, q *queue[T], first *entry[T]) {
	b.mu.Lock()
	group := append([]*entry[T]{first}, q.take(b.max-1)...)
	b.mu.Unlock()
	defer func() {
		for _, e := range group[1:] {
			e.turn <- false
		}
		b.next(key, q)
	}()
	items := make([]T, len(group))
	for i, e := range group {
		items[i] = e.item
	}
	b.do(items)
	for _, e := range group {
		e.done = true
	}
}

// next ends an operation.
func (b *Batcher[K, T]) next(key K, q *queue[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range q.take(1) {
		e.turn <- true
		return
	}
	delete(b.all, key)
}

// take takes what waits, in its order.
func (q *queue[T]) take(n int) []*entry[T] {
	n = min(n, len(q.waiting))
	out := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return out
}
