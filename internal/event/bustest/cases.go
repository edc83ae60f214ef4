package bustest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"mallard/internal/event"
	"mallard/internal/mail"
)

func testReaches(t *testing.T, s *suite) {
	acct, mbox := s.account(), s.mailbox()
	subs := []event.Subscription{
		s.subscribe(t, s.nodes[0], acct), s.subscribe(t, s.nodes[0], acct), s.subscribe(t, s.nodes[1], acct),
	}
	for i, e := range []event.Event{changed(acct, mbox), drop(acct, mbox), logout(acct, "password changed"), changed(acct, mail.MailboxID{})} {
		s.publish(t, s.nodes[i%2], e)
		for _, sub := range subs {
			s.wait(t, sub, e)
		}
	}
}

func testOtherAccounts(t *testing.T, s *suite) {
	mine, other := s.account(), s.account()
	sub, fence := s.subscribe(t, s.nodes[1], mine), s.subscribe(t, s.nodes[1], other)
	for range 10 {
		s.publish(t, s.nodes[0], changed(other, s.mailbox()), logout(other, "x"))
	}
	s.publish(t, s.nodes[0], changed(other, mail.MailboxID{}))
	s.wait(t, fence, changed(other, mail.MailboxID{}))
	e := drop(mine, s.mailbox())
	s.publish(t, s.nodes[0], e)
	if got := s.wait(t, sub, e); len(got) != 1 {
		t.Errorf("got %+v, want only %+v: events of another account came", got, e)
	}
}

// Events from before are not part of the promise, but they must do no harm.
func testBeforeSubscribe(t *testing.T, s *suite) {
	acct := s.account()
	s.publish(t, s.nodes[0], changed(acct, s.mailbox()))
	sub := s.subscribe(t, s.nodes[0], acct)
	e := changed(acct, s.mailbox())
	s.publish(t, s.nodes[0], e)
	s.wait(t, sub, e)
}

func testMerge(t *testing.T, s *suite) {
	acct, a, b := s.account(), s.mailbox(), s.mailbox()
	sub, fence := s.subscribe(t, s.nodes[0], acct), s.subscribe(t, s.nodes[0], acct)
	for range 1000 {
		s.publish(t, s.nodes[0], changed(acct, a), drop(acct, b))
	}
	s.publish(t, s.nodes[0], changed(acct, b))
	s.wait(t, fence, changed(acct, b)) // everything is there now, in the other one as well
	want := []event.Event{changed(acct, a), drop(acct, b), changed(acct, b)}
	got := s.wait(t, sub, changed(acct, b))
	for _, w := range want {
		if n := count(got, w); n != 1 {
			t.Errorf("%+v came %d times in %d events, want it merged into one", w, n, len(got))
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d events, want %d", len(got), len(want))
	}
}

func count(events []event.Event, e event.Event) int {
	n := 0
	for _, x := range events {
		if x == e {
			n++
		}
	}
	return n
}

func testTooManyChanged(t *testing.T, s *suite) { tooMany(t, s, changed) }

func testTooManyDrop(t *testing.T, s *suite) { tooMany(t, s, drop) }

// tooMany floods a receiver that takes nothing: what waits for it is bounded, and
// every mailbox is still covered, by its own event or by one for any mailbox.
func tooMany(t *testing.T, s *suite, kind func(mail.AccountID, mail.MailboxID) event.Event) {
	acct := s.account()
	sub, fence := s.subscribe(t, s.nodes[0], acct), s.subscribe(t, s.nodes[0], acct)
	all := make([]mail.MailboxID, 3*s.MaxPending)
	for i := range all {
		all[i] = s.mailbox()
		s.publish(t, s.nodes[0], kind(acct, all[i]))
	}
	s.publish(t, s.nodes[0], logout(acct, "end"))
	s.wait(t, fence, logout(acct, "end"))
	s.until(t, sub, "flood", func(got []event.Event) bool {
		if len(got) > s.MaxPending {
			t.Fatalf("%d events waited, at most %d may", len(got), s.MaxPending)
		}
		return slices.Contains(got, logout(acct, "end")) && slices.Contains(got, kind(acct, mail.MailboxID{}))
	})
	// The limit is per turn: afterwards there is room for names again.
	s.publish(t, s.nodes[0], kind(acct, all[0]))
	s.wait(t, sub, kind(acct, all[0]))
}

func testNeverLost(t *testing.T, s *suite) {
	acct, gone := s.account(), s.mailbox()
	sub := s.subscribe(t, s.nodes[1], acct)
	flood := func() {
		for range 2 * s.MaxPending {
			s.publish(t, s.nodes[0], changed(acct, s.mailbox()))
		}
	}
	flood()
	s.publish(t, s.nodes[0], drop(acct, gone), logout(acct, "disabled"), logout(acct, "again"))
	flood()
	s.until(t, sub, "Drop and Logout", func(got []event.Event) bool {
		return slices.Contains(got, drop(acct, gone)) && slices.Contains(got, logout(acct, "disabled"))
	})
}

// A receiver that never takes anything delays neither publishers nor the others.
func testSlowReceiver(t *testing.T, s *suite) {
	acct := s.account()
	s.subscribe(t, s.nodes[0], acct) // never read
	s.subscribe(t, s.nodes[1], acct)
	quick := s.subscribe(t, s.nodes[1], acct)
	for range 200 {
		e := changed(acct, s.mailbox())
		s.publish(t, s.nodes[0], e)
		s.wait(t, quick, e)
	}
}

func testReadyAgain(t *testing.T, s *suite) {
	acct, mbox := s.account(), s.mailbox()
	sub := s.subscribe(t, s.nodes[0], acct)
	for range 50 { // the same event again is news once it was taken
		s.publish(t, s.nodes[0], changed(acct, mbox))
		s.wait(t, sub, changed(acct, mbox))
	}
	if got := sub.Take(); len(got) != 0 {
		t.Errorf("Take without news returned %+v", got)
	}
	select {
	case <-sub.Ready():
		t.Error("Ready has a value although everything was taken")
	default:
	}
}

// Who is to be called is called for what waits already, for what comes from either node, and at the end.
func testOnReady(t *testing.T, s *suite) {
	acct := s.account()
	sub, fence := s.subscribe(t, s.nodes[0], acct), s.subscribe(t, s.nodes[0], acct)
	called := make(chan struct{}, 100)
	want := func(when string) {
		t.Helper()
		select {
		case <-called:
		case <-time.After(s.Patience):
			t.Fatalf("nobody was called %s", when)
		}
	}
	e := changed(acct, s.mailbox())
	s.publish(t, s.nodes[0], e)
	s.wait(t, fence, e)
	sub.OnReady(func() { called <- struct{}{} })
	want("for what waits")
	s.wait(t, sub, e)
	for _, b := range s.nodes {
		e := changed(acct, s.mailbox())
		s.publish(t, b, e)
		want("for an event")
		s.wait(t, sub, e)
	}
	if err := s.nodes[0].Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	want("when the bus was closed")
	drain(t, s, sub)
	late := 0
	sub.OnReady(func() { late++ })
	if late != 1 {
		t.Errorf("called %d times for a subscription that has ended", late)
	}
}

func testCloseSubscription(t *testing.T, s *suite) {
	acct := s.account()
	sub, other := s.subscribe(t, s.nodes[0], acct), s.subscribe(t, s.nodes[0], acct)
	s.publish(t, s.nodes[0], changed(acct, s.mailbox()))
	sub.Close()
	sub.Close() // harmless
	drain(t, s, sub)
	e := changed(acct, s.mailbox())
	s.publish(t, s.nodes[0], e)
	s.wait(t, other, e)
	if got := sub.Take(); len(got) != 0 {
		t.Errorf("a closed subscription has %+v", got)
	}
}

// drain reads Ready until it is closed.
func drain(t *testing.T, s *suite, sub event.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	defer cancel()
	for {
		select {
		case _, ok := <-sub.Ready():
			if !ok {
				return
			}
		case <-ctx.Done():
			t.Fatal("Ready was not closed with its subscription")
		}
	}
}

func testCloseBus(t *testing.T, s *suite) {
	acct := s.account()
	var subs []event.Subscription
	for range 3 {
		subs = append(subs, s.subscribe(t, s.nodes[0], acct))
	}
	if err := s.nodes[0].Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	for _, sub := range subs {
		drain(t, s, sub)
		sub.Close()
	}
	if err := s.nodes[0].Publish(context.Background(), changed(acct, s.mailbox())); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
		t.Errorf("Publish after Close: %v, want code unavailable", err)
	}
	if _, err := s.nodes[0].Subscribe(context.Background(), acct); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
		t.Errorf("Subscribe after Close: %v, want code unavailable", err)
	}
}

func testCloseKeepsRest(t *testing.T, s *suite) {
	acct := s.account()
	sub, fence := s.subscribe(t, s.nodes[0], acct), s.subscribe(t, s.nodes[0], acct)
	e := logout(acct, "bye")
	s.publish(t, s.nodes[0], e)
	s.wait(t, fence, e)
	if err := s.nodes[0].Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	s.wait(t, sub, e)
}

// Many publishers and receivers of one account: every receiver learns of every
// mailbox, by name or by an event for any, and ends.
func testConcurrent(t *testing.T, s *suite) {
	const publishers, receivers, each = 4, 4, 300
	acct := s.account()
	mailboxes := make([]mail.MailboxID, publishers*each)
	for i := range mailboxes {
		mailboxes[i] = s.mailbox()
	}
	var wg sync.WaitGroup
	for i := range receivers {
		sub := s.subscribe(t, s.nodes[i%2], acct)
		wg.Go(func() { follow(t, s, sub, mailboxes) })
	}
	for i := range publishers {
		wg.Go(func() {
			for _, m := range mailboxes[i*each : (i+1)*each] {
				s.publish(t, s.nodes[i%2], changed(acct, m), drop(acct, m))
			}
		})
	}
	wg.Wait()
}

// follow takes events until all mailboxes are covered for both kinds.
func follow(t *testing.T, s *suite, sub event.Subscription, mailboxes []mail.MailboxID) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	defer cancel()
	missing := map[event.Kind]map[mail.MailboxID]bool{event.Changed: {}, event.Drop: {}}
	for _, m := range mailboxes {
		missing[event.Changed][m], missing[event.Drop][m] = true, true
	}
	for len(missing[event.Changed])+len(missing[event.Drop]) > 0 {
		select {
		case <-sub.Ready():
		case <-ctx.Done():
			t.Errorf("%d Changed and %d Drop never came", len(missing[event.Changed]), len(missing[event.Drop]))
			return
		}
		for _, e := range sub.Take() {
			delete(missing[e.Kind], e.Mailbox)
			if e.Mailbox.IsZero() {
				// It covers all that were published so far; that the rest comes is
				// what the other receivers and the named events show.
				clear(missing[e.Kind])
			}
		}
	}
}

// Subscribing, publishing and closing at the same time neither panics, races nor hangs.
func testConcurrentClose(t *testing.T, s *suite) {
	acct, mbox := s.account(), s.mailbox()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 100 {
				sub, err := s.nodes[i%2].Subscribe(context.Background(), acct)
				if err != nil {
					return // the bus is closed
				}
				_ = s.nodes[i%2].Publish(context.Background(), changed(acct, mbox))
				sub.Take()
				sub.Close()
				drain(t, s, sub)
			}
		})
		wg.Go(func() {
			for range 100 {
				_ = s.nodes[i%2].Publish(context.Background(), drop(acct, mbox))
			}
			if i == 3 {
				_ = s.nodes[0].Close()
			}
		})
	}
	wg.Wait()
}
