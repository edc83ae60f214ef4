package redisbus_test

import (
	"fmt"
	"testing"

	"mallard/internal/event"
	"mallard/internal/mail"
	"mallard/internal/redisconn/redistest"
)

// Each request of a node fails in turn, in every way, while sessions come and go and events pass in both directions. The
// other node gets every event, its own sessions get each or are told to look, and afterwards all is as before.
func TestFaults(t *testing.T) {
	s := redistest.Start(t)
	proxy, o := s.FaultyOptions(t)
	a, b := openNode(t, o, quick(0)), openNode(t, s.Patient(), lasting(1))
	defer a.Close()
	defer b.Close()
	connected := func() bool { return a.Connected() && b.Connected() }
	redistest.Eventually(t, "connected", connected)
	run := func(t *testing.T, acct mail.AccountID) {
		here, there := subscribe(t, a, acct), subscribe(t, b, acct)
		out := event.Event{Account: acct, Kind: event.Drop, Mailbox: mail.MailboxID{1}}
		publish(t, a, out)
		awaitAny(t, there, out)
		in := event.Event{Account: acct, Mailbox: mail.MailboxID{2}}
		publish(t, b, in)
		awaitAny(t, here, in, event.Event{Account: acct})
		there.Close()
		redistest.Eventually(t, "connected again", connected)
		register(t, s, acct, "node0:0")
		here.Close()
		register(t, s, acct)
	}
	proxy.Forget()
	run(t, mail.AccountID{1})
	requests := proxy.Count()
	if requests < 4 {
		t.Fatalf("a run has only the requests %q", proxy.Names())
	}
	for i, f := range redistest.Faults() {
		for n := range min(requests, 12) {
			t.Run(fmt.Sprintf("%s at %d", f, n+1), func(t *testing.T) {
				proxy.Fail(n+1, f)
				run(t, mail.AccountID{2, byte(i), byte(n)})
				redistest.Eventually(t, "there is such a request, by its beat", proxy.Fired)
			})
		}
	}
	if !b.Connected() {
		t.Error("the other node noticed")
	}
}
