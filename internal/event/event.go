// Package event carries hints that something changed from the session that made
// a change to the sessions that want to know.
//
// The store is the truth, an event is a hint: it may be late, come twice, come in
// another order or not at all. A receiver reads the store to learn what happened,
// and reads it from time to time without any hint as well. An event is therefore
// never the only way in which something is told.
//
// membus is the bus of one process; bustest is the suite that every bus passes.
// The package imports internal/mail only.
package event

import (
	"context"

	"mallard/internal/mail"
)

// Kind says what an event asks of its receiver.
type Kind uint8

// The kinds of events.
const (
	// Changed: read the journal of the account. Mailbox may name the mailbox
	// that changed, to spare others the look.
	Changed Kind = iota
	// Logout: end all sessions of the account, telling Reason.
	Logout
	// Drop: the mailbox is gone; without a mailbox: look whether yours still is.
	Drop
)

// Event is one hint.
type Event struct {
	Account mail.AccountID
	Kind    Kind
	Mailbox mail.MailboxID // zero: any
	Reason  string
}

// Bus takes and hands out events.
type Bus interface {
	// Publish tells the subscribers of the account. It never waits for them.
	// An error means that some may not have been told; the change itself stands.
	Publish(ctx context.Context, e Event) error
	// Subscribe starts to collect the events of an account. The subscription is
	// active when the call returns: what is published afterwards is seen.
	Subscribe(ctx context.Context, acct mail.AccountID) (Subscription, error)
	// Close ends all subscriptions. Publish and Subscribe fail afterwards with
	// code Unavailable.
	Close() error
}

// Subscription collects events of one account for one receiver.
type Subscription interface {
	// Ready gets a value when there is something to take, and is closed with the
	// subscription. A receiver that is slow costs nobody else anything.
	Ready() <-chan struct{}
	// OnReady has f called each time that Ready gets a value and when it is closed,
	// and before it returns if that was so already. Who publishes calls it: it must
	// not wait, and not call the subscription or the bus. A receiver that is told in
	// this way needs no goroutine that waits at Ready.
	OnReady(f func())
	// Take returns what has come since the last call, in order of arrival as far
	// as the bus knows it. It is bounded: equal events are merged; too many
	// different Changed or Drop events are replaced by one of the same kind
	// without a mailbox, which stands for any; the first Logout stands for later
	// ones. Nothing is lost in another way once it has come. After Bus.Close the
	// rest can be taken, after Close there is nothing to take.
	Take() []Event
	// Close ends the subscription; it may be called more than once.
	Close()
}
