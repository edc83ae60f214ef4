package membus

import (
	"slices"
	"sync"

	"mallard/internal/event"
	"mallard/internal/mail"
)

// subscription collects events for one receiver. Its memory is bounded by
// MaxChanged and MaxDrop, however slow the receiver is.
type subscription struct {
	bus     *Bus
	account mail.AccountID

	mu      sync.Mutex
	closed  bool
	ready   chan struct{} // one value at most waits in it; nil: nobody asked for it
	onReady func()        // nil: nobody asked for it
	pending []event.Event // in order of arrival, no two are equal
	seen    map[key]struct{}
	count   [event.Drop + 1]int // pending events by kind
}

// key is what makes two events equal. A Reason is not part of it: it is told once.
type key struct {
	kind    event.Kind
	mailbox mail.MailboxID
}

var _ event.Subscription = (*subscription)(nil)

func (s *subscription) Ready() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready == nil {
		s.ready = make(chan struct{}, 1)
		switch {
		case s.closed:
			close(s.ready)
		case len(s.pending) > 0:
			s.ready <- struct{}{}
		}
	}
	return s.ready
}

func (s *subscription) OnReady(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onReady = f
	if s.closed || len(s.pending) > 0 {
		f()
	}
}

func (s *subscription) Take() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The token of what is taken now must not wake the receiver again. Both
	// sides hold the lock, so that a token never gets lost in between.
	if !s.closed {
		select {
		case <-s.ready:
		default:
		}
	}
	out := s.pending
	s.pending, s.seen = nil, nil
	s.count = [len(s.count)]int{}
	return out
}

func (s *subscription) Close() {
	s.bus.remove(s)
	s.end(true)
}

// end closes the subscription; the receiver that closes it itself wants no rest.
func (s *subscription) end(discard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if discard {
		s.pending, s.seen = nil, nil
	}
	if !s.closed {
		s.closed = true
		if s.ready != nil {
			close(s.ready)
		}
		s.called()
	}
}

// add merges the event into those that wait and wakes the receiver.
func (s *subscription) add(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.merge(e) {
		return
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
	s.called()
}

// called calls who is to be called when the subscription is ready.
func (s *subscription) called() {
	if s.onReady != nil {
		s.onReady()
	}
}

// merge puts e among the pending events and reports whether that changed them.
func (s *subscription) merge(e event.Event) bool {
	limit := 1 // Logout: the first one says it for all
	switch e.Kind {
	case event.Changed:
		limit = MaxChanged
	case event.Drop:
		limit = MaxDrop
	case event.Logout:
		e.Mailbox = mail.MailboxID{}
	default:
		return false // of no meaning to this version
	}
	if s.has(e.Kind, mail.MailboxID{}) || s.has(e.Kind, e.Mailbox) {
		return false // said already, or covered by "any mailbox"
	}
	if e.Mailbox.IsZero() || s.count[e.Kind] >= limit {
		s.forget(e.Kind)
		e.Mailbox = mail.MailboxID{}
	}
	if s.seen == nil {
		s.seen = make(map[key]struct{})
	}
	s.seen[key{e.Kind, e.Mailbox}] = struct{}{}
	s.pending = append(s.pending, e)
	s.count[e.Kind]++
	return true
}

func (s *subscription) has(k event.Kind, mbox mail.MailboxID) bool {
	_, ok := s.seen[key{k, mbox}]
	return ok
}

// forget drops the pending events of a kind, which one without a mailbox replaces.
func (s *subscription) forget(k event.Kind) {
	if s.count[k] == 0 {
		return
	}
	s.pending = slices.DeleteFunc(s.pending, func(e event.Event) bool {
		if e.Kind == k {
			delete(s.seen, key{k, e.Mailbox})
		}
		return e.Kind == k
	})
	s.count[k] = 0
}
