package redisbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/event"
	"mallard/internal/event/redisbus"
	"mallard/internal/mail"
	"mallard/internal/redisconn/redistest"
)

func registerKey(acct mail.AccountID) string { return "wd:imap:users:" + acct.String() }

// The register is that of WildDuck: a sorted set with the time in milliseconds, that lives one and a half times as long
// as an entry counts.
func TestRegister(t *testing.T) {
	s := redistest.Start(t)
	o := lasting(0)
	o.WorkersRefresh = 50 * time.Millisecond
	n := openNode(t, s.Patient(), o)
	defer n.Close()
	c, acct, ctx := s.Client(t), mail.AccountID{7}, context.Background()
	old := time.Now().Add(-redisbus.DefaultWorkersTTL - time.Second)
	recent := time.Now().Add(-redisbus.DefaultWorkersTTL + time.Minute)
	if err := c.ZAdd(ctx, registerKey(acct),
		redis.Z{Score: float64(old.UnixMilli()), Member: "dead:1"}, redis.Z{Score: float64(recent.UnixMilli()), Member: "other:1"}).Err(); err != nil {
		t.Fatal(err)
	}
	first, second := subscribe(t, n, acct), subscribe(t, n, acct)
	score := func() time.Time {
		t.Helper()
		z, err := c.ZScore(ctx, registerKey(acct), "node0:0").Result()
		if err != nil {
			t.Fatalf("not registered: %v", err)
		}
		return time.UnixMilli(int64(z))
	}
	at := score() // Subscribe waits for it
	if d := time.Since(at).Abs(); d > time.Second {
		t.Errorf("registered for %v ago", d)
	}
	if ttl := c.TTL(ctx, registerKey(acct)).Val(); ttl < 179*time.Second || ttl > 180*time.Second {
		t.Errorf("the register lives %v", ttl)
	}
	register(t, s, acct, "other:1", "node0:0")
	redistest.Eventually(t, "it is renewed", func() bool { return score().After(at) })
	first.Close()
	first.Close()
	time.Sleep(100 * time.Millisecond)
	register(t, s, acct, "other:1", "node0:0")
	second.Close()
	register(t, s, acct, "other:1")
	third := subscribe(t, n, acct)
	register(t, s, acct, "other:1", "node0:0")
	if err := n.Bus.Close(); err != nil {
		t.Error(err)
	}
	register(t, s, acct, "other:1")
	third.Close()
}

// A session that comes while the last one goes stays registered.
func TestRegisterChurn(t *testing.T) {
	s := redistest.Start(t)
	n := openNode(t, s.Patient(), lasting(0))
	defer n.Close()
	acct := mail.AccountID{7}
	for range 300 {
		sub := subscribe(t, n, acct)
		sub.Close()
	}
	subscribe(t, n, acct)
	register(t, s, acct, "node0:0")
	time.Sleep(50 * time.Millisecond)
	register(t, s, acct, "node0:0")
}

// Where events go depends on the setting: to everybody, or to those that serve the account.
func TestChannels(t *testing.T) {
	s := redistest.Start(t)
	c, ctx, acct := s.Client(t), context.Background(), mail.AccountID{7}
	all := c.PSubscribe(ctx, "*")
	defer all.Close()
	if _, err := all.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	next := func() (channel string) {
		t.Helper()
		m, err := all.ReceiveTimeout(ctx, redistest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		return m.(*redis.Message).Channel
	}
	for _, workers := range []bool{false, true} {
		o := lasting(0)
		asked := 0
		o.WorkerChannels = func(context.Context) bool { asked++; return workers }
		n := openNode(t, s.Patient(), o)
		subscribe(t, n, acct)
		now := float64(time.Now().UnixMilli())
		if err := c.ZAdd(ctx, registerKey(acct), redis.Z{Score: now, Member: "wd:1"}, redis.Z{Score: now - 120_500, Member: "dead:1"}).Err(); err != nil {
			t.Fatal(err)
		}
		publish(t, n, event.Event{Account: mail.AccountID{8}}) // which nobody serves
		publish(t, n, event.Event{Account: acct})
		want := []string{"wd_events", "wd_events"}
		if workers {
			want = []string{"wd_events:worker:wd:1"}
		}
		for _, w := range want {
			if got := next(); got != w {
				t.Errorf("workers %t: published on %s, want %s", workers, got, w)
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if asked != 1 {
			t.Errorf("the setting was asked for %d times", asked)
		}
	}
}

// Everybody hears the channel of all and the own one, whatever the setting says, as WildDuck's publishers may differ.
func TestHearsWildDuck(t *testing.T) {
	s := redistest.Start(t)
	n := openNode(t, s.Patient(), lasting(0))
	defer n.Close()
	redistest.Eventually(t, "connected", n.Connected)
	c, acct := s.Client(t), mail.AccountID{7}
	sub := subscribe(t, n, acct)
	for _, channel := range []string{"wd_events", "wd_events:worker:node0:0"} {
		for text, want := range map[string]event.Event{
			`{"e":"` + acct.String() + `"}`:                                                                       {Account: acct},
			`{"e":"` + acct.String() + `","p":{"command":"LOGOUT","reason":"bye"}}`:                               {Account: acct, Kind: event.Logout, Reason: "bye"},
			`{"e":"` + acct.String() + `","p":{"command":"DROP","mailbox":"` + mail.MailboxID{3}.String() + `"}}`: {Account: acct, Kind: event.Drop, Mailbox: mail.MailboxID{3}},
		} {
			if err := c.Publish(context.Background(), channel, text).Err(); err != nil {
				t.Fatal(err)
			}
			await(t, sub, want)
		}
	}
}

// Many accounts are told to look at a pace that the store can bear.
func TestLookPace(t *testing.T) {
	s := redistest.Start(t)
	o := quick(0)
	o.LookRate = 200
	n := openNode(t, s.Options(), o)
	defer n.Close()
	redistest.Eventually(t, "connected", n.Connected)
	subs := make([]event.Subscription, 100)
	for i := range subs {
		subs[i] = subscribe(t, n, mail.AccountID{1, byte(i)})
	}
	start := time.Now() // it may be noticed before Kill returns
	s.Kill()
	for i, sub := range subs {
		await(t, sub, event.Event{Account: mail.AccountID{1, byte(i)}})
	}
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Errorf("100 accounts looked within %v, at 200 a second", took)
	}
}
