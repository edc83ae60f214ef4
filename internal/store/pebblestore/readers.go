package pebblestore

import "sync"

// readers knows who may still need content that nothing references any more. A
// reader that starts before the last reference of some content is removed may have
// read that reference; one that starts later cannot. So content may go when every
// reader has ended that had started when its last reference was found gone.
type readers struct {
	mu    sync.Mutex
	round uint64
	first *reader // the oldest
	last  *reader
}

// reader is one who reads; it is part of the structure that reads.
type reader struct {
	start      uint64
	prev, next *reader
	active     bool
}

func (r *readers) init() { r.round = 1 }

func (r *readers) begin(x *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.start, x.prev, x.next, x.active = r.round, r.last, nil, true
	if r.last != nil {
		r.last.next = x
	} else {
		r.first = x
	}
	r.last = x
}

// end may be called more than once.
func (r *readers) end(x *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !x.active {
		return
	}
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		r.first = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	} else {
		r.last = x.prev
	}
	x.active, x.prev, x.next = false, nil, nil
}

// advance starts a round and returns its number: readers that begin from now on
// belong to it or to a later one.
func (r *readers) advance() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.round++
	return r.round
}

// oldest returns the round of the oldest reader, the next round when there is none.
func (r *readers) oldest() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil {
		return r.round + 1
	}
	return r.first.start
}
