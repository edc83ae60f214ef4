// Package bustest is the suite that every event.Bus passes.
//
// It drives a bus through the interface alone, so that the bus of one process
// and a bus between nodes are held to the same promises. It imports packages
// event and mail, and testing; it knows no implementation.
package bustest

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mallard/internal/event"
	"mallard/internal/mail"
)

// Config says how to make the bus under test.
type Config struct {
	// Open returns n buses that reach each other, as n nodes have them. A bus of
	// one process returns the same one n times. The suite closes them.
	Open func(t testing.TB, n int) []event.Bus
	// Patience is how long an event may take; 30 s when zero. A test that passes
	// never waits that long.
	Patience time.Duration
	// MaxPending is the greatest number of events that Take may return.
	MaxPending int
}

// Run runs the suite.
func Run(t *testing.T, c Config) {
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"ReachesSubscribers", testReaches},
		{"OtherAccounts", testOtherAccounts},
		{"BeforeSubscribe", testBeforeSubscribe},
		{"Merge", testMerge},
		{"TooManyChanged", testTooManyChanged},
		{"TooManyDrop", testTooManyDrop},
		{"NeverLost", testNeverLost},
		{"SlowReceiver", testSlowReceiver},
		{"ReadyAgain", testReadyAgain},
		{"OnReady", testOnReady},
		{"CloseSubscription", testCloseSubscription},
		{"CloseBus", testCloseBus},
		{"CloseKeepsRest", testCloseKeepsRest},
		{"Concurrent", testConcurrent},
		{"ConcurrentClose", testConcurrentClose},
	} {
		t.Run(tc.name, func(t *testing.T) {
			leak := goleak.IgnoreCurrent()
			s := &suite{Config: c, gen: newGen(t)}
			s.nodes = c.Open(t, 2)
			tc.run(t, s)
			for _, b := range s.nodes {
				if err := b.Close(); err != nil {
					t.Errorf("close bus: %v", err)
				}
			}
			goleak.VerifyNone(t, leak)
		})
	}
}

// suite is the state of one case: two nodes, and identifiers.
type suite struct {
	Config
	nodes []event.Bus
	gen   *mail.IDGenerator
}

func newGen(t *testing.T) *mail.IDGenerator {
	t.Helper()
	g, err := mail.NewIDGenerator(nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (s *suite) account() mail.AccountID { return mail.NewID[mail.AccountID](s.gen) }
func (s *suite) mailbox() mail.MailboxID { return mail.NewID[mail.MailboxID](s.gen) }

func (s *suite) publish(t testing.TB, b event.Bus, events ...event.Event) {
	t.Helper()
	for _, e := range events {
		if err := b.Publish(context.Background(), e); err != nil {
			t.Errorf("publish %+v: %v", e, err)
		}
	}
}

func (s *suite) subscribe(t testing.TB, b event.Bus, acct mail.AccountID) event.Subscription {
	t.Helper()
	sub, err := b.Subscribe(context.Background(), acct)
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	t.Cleanup(sub.Close)
	return sub
}

// until takes events until done is satisfied with all that were taken.
func (s *suite) until(t testing.TB, sub event.Subscription, what string, done func([]event.Event) bool) []event.Event {
	t.Helper()
	late := time.NewTimer(s.Patience)
	defer late.Stop()
	var got []event.Event
	for {
		select {
		case _, ok := <-sub.Ready():
			got = append(got, sub.Take()...)
			if done(got) {
				return got
			}
			if !ok {
				t.Fatalf("%s: the subscription ended with %+v", what, got)
			}
		case <-late.C:
			t.Fatalf("%s: not within %v; got %+v", what, s.Patience, got)
		}
	}
}

// wait is until for one event.
func (s *suite) wait(t testing.TB, sub event.Subscription, want event.Event) []event.Event {
	t.Helper()
	return s.until(t, sub, "wait for event", func(got []event.Event) bool { return slices.Contains(got, want) })
}

func changed(acct mail.AccountID, mbox mail.MailboxID) event.Event {
	return event.Event{Account: acct, Kind: event.Changed, Mailbox: mbox}
}

func drop(acct mail.AccountID, mbox mail.MailboxID) event.Event {
	return event.Event{Account: acct, Kind: event.Drop, Mailbox: mbox}
}

func logout(acct mail.AccountID, reason string) event.Event {
	return event.Event{Account: acct, Kind: event.Logout, Reason: reason}
}
