// Package membus is the event bus of a single process.
//
// It owns the subscriptions and the events that wait in them. It imports
// packages event and mail only; it knows nothing of the store, since an event is
// a hint and never carries state.
package membus

import (
	"context"
	"errors"
	"sync"

	"mallard/internal/event"
	"mallard/internal/mail"
)

// Limits of one subscription.
const (
	// MaxChanged is the number of different Changed events that wait for one
	// receiver; one more replaces them all by a Changed without a mailbox.
	MaxChanged = 64
	// MaxDrop is the number of different Drop events that wait for one receiver;
	// one more replaces them all by a Drop without a mailbox.
	MaxDrop = 1024
)

// ErrClosed is in the chain of the errors of a bus that was closed.
var ErrClosed = errors.New("the event bus is closed")

// Bus is an event bus inside one process. Make one with New.
type Bus struct {
	mu     sync.RWMutex
	closed bool
	subs   map[mail.AccountID]map[*subscription]struct{}
}

var _ event.Bus = (*Bus)(nil)

// New returns an empty bus. It starts no goroutine.
func New() *Bus {
	return &Bus{subs: make(map[mail.AccountID]map[*subscription]struct{})}
}

// Publish puts the event into the subscriptions of the account. It takes time in
// proportion to their number and waits for none of the receivers. The context is
// not looked at: there is nothing to wait for, and a change that was committed is
// announced even if its client has gone. It fails with Unavailable after Close.
func (b *Bus) Publish(_ context.Context, e event.Event) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return mail.WrapError(mail.CodeUnavailable, "events are not available", ErrClosed)
	}
	for s := range b.subs[e.Account] {
		s.add(e)
	}
	return nil
}

// Subscribe starts a subscription, which lives until it or the bus is closed. It
// fails with Unavailable after Close and with Canceled when ctx has ended.
func (b *Bus) Subscribe(ctx context.Context, acct mail.AccountID) (event.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.WrapError(mail.CodeCanceled, "canceled", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, mail.WrapError(mail.CodeUnavailable, "events are not available", ErrClosed)
	}
	s := &subscription{bus: b, account: acct}
	of := b.subs[acct]
	if of == nil {
		of = make(map[*subscription]struct{})
		b.subs[acct] = of
	}
	of[s] = struct{}{}
	return s, nil
}

// Close ends all subscriptions: their Ready channels are closed, what waits in
// them can still be taken. A second call does nothing.
func (b *Bus) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, of := range b.subs {
		for s := range of {
			s.end(false)
		}
	}
	b.subs = nil
	return nil
}

// remove forgets a subscription, and its account with the last one.
func (b *Bus) remove(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.subs[s.account]
	delete(of, s)
	if len(of) == 0 {
		delete(b.subs, s.account)
	}
}
