package redisbus

import (
	"errors"
	"slices"
	"sync"

	"mallard/internal/event"
	"mallard/internal/mail"
)

// errFull is why an event is not sent: too many wait for Redis already.
var errFull = errors.New("too many events wait for Redis")

// queue holds the events that wait to be sent, in order, no two of them equal. It is bounded: above max a Changed is let
// go, and everybody is told to look instead. Logout and Drop, of which nobody would learn by looking, have as much room
// again.
type queue struct {
	max   int
	ready chan struct{} // has a value when there is something to take

	mu     sync.Mutex
	events []event.Event
	seen   map[key]struct{}
	lost   bool
}

// key is what makes two events equal. A Reason is not part of it: the first is told.
type key struct {
	account mail.AccountID
	kind    event.Kind
	mailbox mail.MailboxID
}

func keyOf(e event.Event) key { return key{e.Account, e.Kind, e.Mailbox} }

func newQueue(limit int) *queue {
	return &queue{max: limit, ready: make(chan struct{}, 1), seen: map[key]struct{}{}}
}

// put adds an event unless an equal one waits.
func (q *queue) put(e event.Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.covered(e) {
		return nil
	}
	limit := q.max
	if e.Kind != event.Changed {
		limit *= 2
	}
	if len(q.events) >= limit {
		q.lost = true
		q.wake()
		return errFull
	}
	q.events = append(q.events, e)
	q.seen[keyOf(e)] = struct{}{}
	q.wake()
	return nil
}

// covered reports whether an event that waits says the same.
func (q *queue) covered(e event.Event) bool {
	if _, ok := q.seen[keyOf(e)]; ok {
		return true
	}
	_, ok := q.seen[key{account: e.Account, kind: e.Kind}] // one for any mailbox
	return ok
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take removes at most n events. With lost true some were let go, and everybody must be told to look.
func (q *queue) take(n int) (events []event.Event, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.events))
	events = slices.Clone(q.events[:n])
	q.events = q.events[n:]
	for _, e := range events {
		delete(q.seen, keyOf(e))
	}
	lost, q.lost = q.lost, false
	if len(q.events) > 0 {
		q.wake()
		return events, lost
	}
	q.events = nil // the array that a flood made is let go
	return events, lost
}

// giveBack returns what was taken and could not be sent, to the front.
func (q *queue) giveBack(events []event.Event, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events = slices.DeleteFunc(events, q.covered)
	for _, e := range events {
		q.seen[keyOf(e)] = struct{}{}
	}
	q.events = append(events, q.events...)
	q.lost = q.lost || lost
	q.wake()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events)
}
