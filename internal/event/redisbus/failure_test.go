package redisbus_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"mallard/internal/clocktest"
	"mallard/internal/event"
	"mallard/internal/event/redisbus"
	"mallard/internal/mail"
	"mallard/internal/redisconn"
	"mallard/internal/redisconn/redistest"
)

// quick are options with times that suit a test.
func quick(n int) redisbus.Options {
	return redisbus.Options{
		WorkerID: fmt.Sprintf("node%d:%d", n, n), Heartbeat: 100 * time.Millisecond, Poll: 200 * time.Millisecond,
		SubscribeWait: 100 * time.Millisecond, CloseWait: 200 * time.Millisecond,
	}
}

// lasting are options of a node that has Redis all the time, however much the machine has to do; its connection is to be
// a patient one.
func lasting(n int) redisbus.Options {
	o := quick(n)
	o.Heartbeat, o.SubscribeWait, o.CloseWait = redistest.Patience, redistest.Patience, redistest.Patience
	return o
}

// pair opens two nodes that end with the test.
func pair(t testing.TB, o redisconn.Options, options func(int) redisbus.Options) (a, b *node) {
	t.Helper()
	nodes := [2]*node{}
	for i := range nodes {
		n := openNode(t, o, options(i))
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		redistest.Eventually(t, "the node is connected", n.Connected)
		nodes[i] = n
	}
	return nodes[0], nodes[1]
}

func subscribe(t testing.TB, b event.Bus, acct mail.AccountID) event.Subscription {
	t.Helper()
	s, err := b.Subscribe(t.Context(), acct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func publish(t testing.TB, b event.Bus, e event.Event) {
	t.Helper()
	took := clocktest.Took(func() {
		if err := b.Publish(t.Context(), e); err != nil {
			t.Errorf("publish: %v", err)
		}
	})
	if took > 50*time.Millisecond {
		t.Errorf("publish took %v", took)
	}
}

// await waits for an event and returns the time that it took.
func await(t testing.TB, s event.Subscription, want event.Event) time.Duration {
	t.Helper()
	return awaitAny(t, s, want)
}

// awaitAny waits for one of several events.
func awaitAny(t testing.TB, s event.Subscription, want ...event.Event) time.Duration {
	t.Helper()
	start, late := time.Now(), time.After(redistest.Patience)
	for {
		select {
		case <-s.Ready():
			if slices.ContainsFunc(s.Take(), func(e event.Event) bool { return slices.Contains(want, e) }) {
				return time.Since(start)
			}
		case <-late:
			t.Fatalf("%+v did not come", want)
		}
	}
}

// While Redis is gone, receivers of the own process are told at once and those of other nodes are told to look; what was
// published meanwhile arrives when Redis is back, without a restart of anybody.
func TestRedisGone(t *testing.T) {
	for _, tc := range []struct {
		name       string
		stop, heal func(s *redistest.Server)
	}{
		{"killed", (*redistest.Server).Kill, (*redistest.Server).Run},
		{"paused", (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := redistest.Start(t)
			a, b := pair(t, s.Options(), quick)
			acct, box := mail.AccountID{1}, mail.MailboxID{2}
			here, there := subscribe(t, a, acct), subscribe(t, b, acct)
			publish(t, a, event.Event{Account: acct, Mailbox: box})
			await(t, there, event.Event{Account: acct, Mailbox: box})
			here.Take()

			tc.stop(s)
			end := event.Event{Account: acct, Kind: event.Logout, Reason: "bye"}
			publish(t, a, event.Event{Account: acct, Mailbox: mail.MailboxID{3}})
			told := func() {
				awaitAny(t, here, event.Event{Account: acct, Mailbox: mail.MailboxID{3}}, event.Event{Account: acct})
			}
			if took := clocktest.Took(told); took > 50*time.Millisecond {
				t.Errorf("the own process was told after %v", took)
			}
			redistest.Eventually(t, "both nodes know", func() bool { return !a.Connected() && !b.Connected() })
			publish(t, a, end)
			for range 3 {
				if took := await(t, there, event.Event{Account: acct}); took > 3*time.Second {
					t.Errorf("told to look after %v", took)
				}
			}
			// A session that begins now is served all the same, at once.
			var late event.Subscription
			if took := clocktest.Took(func() { late = subscribe(t, b, mail.AccountID{9}) }); took > 50*time.Millisecond {
				t.Errorf("subscribe without Redis took %v", took)
			}
			await(t, late, event.Event{Account: mail.AccountID{9}})

			tc.heal(s)
			redistest.Eventually(t, "both nodes are connected", func() bool { return a.Connected() && b.Connected() })
			await(t, there, end) // from the time without Redis
			redistest.Eventually(t, "nothing waits", func() bool { return a.Waiting() == 0 })
			register(t, s, mail.AccountID{9}, "node1:1")
			// The looks end.
			redistest.Eventually(t, "no more looks", func() bool {
				late.Take()
				time.Sleep(3 * quick(0).Poll)
				return len(late.Take()) == 0
			})
			// An event comes as it is. A node that was not heard in time is connected anew, and tells its sessions to look instead.
			e := event.Event{Account: mail.AccountID{9}, Mailbox: box}
			publish(t, a, e)
			awaitAny(t, late, e, event.Event{Account: e.Account})
		})
	}
}

// What nobody learns by looking reaches a node also when that is back later than the one that tells it.
func TestLateNode(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.StartProxy(t, s.Addr())
	o := quick(0)
	o.Heartbeat = 500 * time.Millisecond // five of which the other has
	a, b := openNode(t, s.Options(), o), openNode(t, redistest.Options(proxy.Addr()), quick(1))
	defer a.Close()
	defer b.Close()
	redistest.Eventually(t, "connected", func() bool { return a.Connected() && b.Connected() })
	acct := mail.AccountID{1}
	there := subscribe(t, b, acct)
	s.Kill()
	redistest.Eventually(t, "both nodes know", func() bool { return !a.Connected() && !b.Connected() })
	proxy.Block()
	end := event.Event{Account: acct, Kind: event.Logout, Reason: "bye"}
	publish(t, a, end)
	s.Run()
	redistest.Eventually(t, "the event is sent", func() bool { return a.Connected() && a.Waiting() == 0 })
	if b.Connected() {
		t.Error("the other node is back already")
	}
	proxy.Unblock()
	await(t, there, end)
	time.Sleep(6 * o.Heartbeat)
	if slices.Contains(there.Take(), end) {
		t.Error("it is told again and again")
	}
}

// register waits until exactly these processes are registered for the account.
func register(t testing.TB, s *redistest.Server, acct mail.AccountID, want ...string) {
	t.Helper()
	c := s.Client(t)
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("registered are %v", got)
		}
	}()
	redistest.Eventually(t, fmt.Sprintf("registered are %v", want), func() bool {
		got, _ = c.ZRange(context.Background(), "wd:imap:users:"+acct.String(), 0, -1).Result()
		return slices.Equal(got, want)
	})
}

func TestFailover(t *testing.T) {
	cluster := redistest.StartCluster(t)
	a, b := pair(t, cluster.Options(), quick)
	acct, box := mail.AccountID{1}, mail.MailboxID{2}
	there := subscribe(t, b, acct)
	publish(t, a, event.Event{Account: acct, Mailbox: box})
	await(t, there, event.Event{Account: acct, Mailbox: box})
	cluster.Master.Kill()
	start := time.Now()
	e := event.Event{Account: acct, Kind: event.Drop, Mailbox: box}
	publish(t, a, e)
	// A node that is not there yet when the other publishes again is told to look.
	awaitAny(t, there, e, event.Event{Account: acct})
	t.Logf("the event arrived %v after the master was killed", time.Since(start).Round(time.Millisecond))
	redistest.Eventually(t, "both nodes are connected", func() bool { return a.Connected() && b.Connected() })
	register(t, cluster.Replica, acct, "node1:1")
	publish(t, a, event.Event{Account: acct, Kind: event.Logout, Reason: "after"})
	await(t, there, event.Event{Account: acct, Kind: event.Logout, Reason: "after"})
}

// A node that starts while Redis is gone serves, and finds Redis later.
func TestStartWithoutRedis(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	start := time.Now()
	b := openNode(t, s.Options(), quick(1))
	defer b.Close()
	if took := time.Since(start); took > time.Second || b.Connected() || b.Err() == nil {
		t.Errorf("started after %v, connected %t, %v", took, b.Connected(), b.Err())
	}
	sub := subscribe(t, b, mail.AccountID{1})
	for range 3 {
		await(t, sub, event.Event{Account: mail.AccountID{1}})
	}
	s.Run()
	redistest.Eventually(t, "connected", b.Connected)
	register(t, s, mail.AccountID{1}, "node1:1")
	if b.Err() != nil {
		t.Error(b.Err())
	}
}

// What is too much for the queue is made good by a look of everybody, also on nodes that had Redis all the time.
func TestQueueFull(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.StartProxy(t, s.Addr())
	o := quick(0)
	o.MaxQueue = 10
	a := openNode(t, redistest.Options(proxy.Addr()), o)
	defer a.Close()
	b := openNode(t, s.Patient(), lasting(1))
	defer b.Close()
	redistest.Eventually(t, "connected", func() bool { return a.Connected() && b.Connected() })
	there := subscribe(t, b, mail.AccountID{200})
	proxy.Block()
	full := 0
	for i := range byte(201) {
		if err := a.Publish(t.Context(), event.Event{Account: mail.AccountID{i}}); err != nil {
			if full++; mail.CodeOf(err) != mail.CodeUnavailable {
				t.Errorf("publish: %v", err)
			}
		}
	}
	if full == 0 || a.Waiting() > 10 {
		t.Errorf("%d of 201 events were refused, %d wait", full, a.Waiting())
	}
	redistest.Eventually(t, "known to be gone", func() bool { return !a.Connected() })
	if !b.Connected() || len(there.Take()) != 0 {
		t.Error("the other node has lost Redis as well")
	}
	proxy.Unblock()
	await(t, there, event.Event{Account: mail.AccountID{200}})
}

// A node whose way to Redis is bad catches up as soon as it is good, and others do not notice.
func TestBadWay(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.StartProxy(t, s.Addr())
	a := openNode(t, redistest.Options(proxy.Addr()), quick(0))
	defer a.Close()
	b := openNode(t, s.Patient(), lasting(1))
	defer b.Close()
	redistest.Eventually(t, "connected", func() bool { return a.Connected() && b.Connected() })
	acct := mail.AccountID{7}
	here, there := subscribe(t, a, acct), subscribe(t, b, acct)
	for i := range byte(30) {
		switch i % 6 {
		case 0:
			proxy.Cut()
		case 1:
			proxy.CutWrites()
		case 2:
			proxy.Delay(30 * time.Millisecond)
		case 3:
			proxy.Delay(0)
		case 4:
			proxy.Block()
			time.Sleep(400 * time.Millisecond)
			proxy.Unblock()
		}
		out := event.Event{Account: acct, Kind: event.Drop, Mailbox: mail.MailboxID{1, i}}
		publish(t, a, out)
		await(t, there, out)
		publish(t, b, event.Event{Account: acct, Mailbox: mail.MailboxID{2, i}})
		awaitAny(t, here, event.Event{Account: acct, Mailbox: mail.MailboxID{2, i}}, event.Event{Account: acct})
	}
	if !b.Connected() {
		t.Error("the other node noticed")
	}
}

// Another process is told in time, far within what users notice.
func TestLatency(t *testing.T) {
	s := redistest.Start(t)
	a, b := pair(t, s.Patient(), lasting)
	acct := mail.AccountID{1}
	there := subscribe(t, b, acct)
	var took []time.Duration
	for i := range 300 {
		e := event.Event{Account: acct, Mailbox: mail.MailboxID{1, byte(i), byte(i >> 8)}}
		took = append(took, clocktest.Took(func() {
			publish(t, a, e)
			await(t, there, e)
		}))
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	t.Logf("from Publish on one node to Ready on the other: p50 %v, p99 %v", p50, p99)
	if p50 > 30*time.Millisecond {
		t.Errorf("p50 is %v", p50)
	}
}
