package redislimit

import (
	"context"
	"maps"
	"testing"
	"time"

	"mallard/internal/clocktest"
	"mallard/internal/limit"
	"mallard/internal/limit/limittest"
	"mallard/internal/mail"
	"mallard/internal/redisconn"
	"mallard/internal/redisconn/redistest"
)

// open makes limits with times that suit a test.
func open(t testing.TB, o redisconn.Options) *Limits {
	t.Helper()
	return openWith(t, o, Options{NodeTTL: time.Second, Beat: 50 * time.Millisecond})
}

func openWith(t testing.TB, o redisconn.Options, lo Options) *Limits {
	t.Helper()
	lo.Conn = redistest.Open(t, o)
	l, err := New(lo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestSuite(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		limittest.Run(t, limittest.Config{
			Open: func(t testing.TB, n int) []limit.Limits {
				b.Clear(t)
				out := make([]limit.Limits, n)
				for i := range out {
					out[i] = openWith(t, b.Options(), Options{})
				}
				return out
			},
			Advance: b.Advance,
		})
	})
}

func acquire(t testing.TB, l *Limits, key string, most int) func() {
	t.Helper()
	release, err := l.Acquire(context.Background(), "imap", key, most)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func held(t testing.TB, l *Limits, key string) int {
	t.Helper()
	n, err := l.Held(context.Background(), "imap", key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lives reports whether what began to live after start has the time ttl left of a life, to the second.
func lives(ttl, life time.Duration, start time.Time) bool {
	return ttl <= life && ttl >= life-time.Since(start)-time.Second
}

// A counter is WildDuck's: a number that expires.
func TestCounterKeys(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		l, c, ctx := open(t, b.Options()), redistest.Client(t, b.Addr), context.Background()
		start := time.Now()
		if err := c.Set(ctx, limit.Sent("5f"), 7, time.Hour).Err(); err != nil { // by WildDuck
			t.Fatal(err)
		}
		if got, err := l.Add(ctx, limit.Sent("5f"), 2, 10, 0); err != nil || !got.OK || got.Value != 9 || !lives(got.TTL, time.Hour, start) {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := l.Add(ctx, limit.Forwarded("5f"), 3, 10, 0); err != nil || !got.OK {
			t.Errorf("%+v, %v", got, err)
		}
		if v, ttl := c.Get(ctx, "wdf:5f").Val(), c.TTL(ctx, "wdf:5f").Val(); v != "3" || !lives(ttl, 24*time.Hour, start) {
			t.Errorf("wdf:5f is %s for %v", v, ttl)
		}
		if v := c.Get(ctx, "wdr:5f").Val(); v != "9" {
			t.Errorf("wdr:5f is %s", v)
		}
	})
}

// Places are counted in the hash in which WildDuck counts.
func TestPlaceKeys(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		l, c, ctx := open(t, b.Options()), redistest.Client(t, b.Addr), context.Background()
		if err := c.HSet(ctx, "lim:imap", "_version", "1795339288772", "a", 3, "b", 0).Err(); err != nil { // by WildDuck
			t.Fatal(err)
		}
		release := acquire(t, l, "a", 4)
		if _, err := l.Acquire(ctx, "imap", "a", 4); mail.CodeOf(err) != mail.CodeLimit {
			t.Errorf("a fifth of 4 places: %v", err)
		}
		defer acquire(t, l, "b", 1)()
		want := map[string]string{"_version": "1795339288772", "a": "4", "b": "1"}
		if got := c.HGetAll(ctx, "lim:imap").Val(); !maps.Equal(got, want) {
			t.Errorf("lim:imap is %v", got)
		}
		if err := c.HIncrBy(ctx, "lim:imap", "a", -3).Err(); err != nil {
			t.Fatal(err)
		}
		release()
		if n := held(t, l, "a"); n != 0 {
			t.Errorf("%d are held", n)
		}
	})
}

// A WildDuck that starts forgets all connections. Those of this node are counted again.
func TestWildDuckStarts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		l, c, ctx := open(t, b.Options()), redistest.Client(t, b.Addr), context.Background()
		first, second := acquire(t, l, "a", 5), acquire(t, l, "a", 5)
		defer acquire(t, l, "b", 5)()
		for _, version := range []string{"1000", "2000"} {
			if err := c.Del(ctx, "lim:imap").Err(); err != nil {
				t.Fatal(err)
			}
			if err := c.HSet(ctx, "lim:imap", "_version", version, "a", 1).Err(); err != nil {
				t.Fatal(err)
			}
			third := acquire(t, l, "a", 5) // an operation notices it at once
			if n := held(t, l, "a"); n != 4 {
				t.Errorf("%d are held, want 3 of the node and 1 of WildDuck", n)
			}
			third()
			redistest.Eventually(t, "b is counted", func() bool { return held(t, l, "b") == 1 })
		}
		if err := c.HSet(ctx, "lim:imap", "_version", "3000", "a", 1, "b", 0).Err(); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, "the heartbeat notices it", func() bool { return held(t, l, "b") == 1 })
		first()
		second()
		first()
	})
}

// The places of a node that died are given back by another, and nothing is left of it.
func TestNodeDies(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		a, dead, c := open(t, b.Options()), open(t, b.Options()), redistest.Client(t, b.Addr)
		defer acquire(t, a, "x", 9)()
		for range 3 {
			acquire(t, dead, "x", 9)
			acquire(t, dead, "y", 9)
		}
		if held(t, a, "x") != 4 {
			t.Fatal("not counted together")
		}
		dead.stop() // it says nothing any more
		redistest.Eventually(t, "its places are free", func() bool { return held(t, a, "x") == 1 && held(t, a, "y") == 0 })
		redistest.Eventually(t, "it is forgotten", func() bool {
			return c.Exists(t.Context(), ledgerPrefix+dead.node).Val() == 0 && c.ZCard(t.Context(), nodesKey).Val() == 1
		})
	})
}

func TestCloseGivesBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		a, other, c := open(t, b.Options()), open(t, b.Options()), redistest.Client(t, b.Addr)
		release := acquire(t, a, "x", 9)
		defer acquire(t, other, "x", 9)()
		for range 2 {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		release()
		if n := held(t, other, "x"); n != 1 {
			t.Errorf("%d are held", n)
		}
		if n := c.Exists(t.Context(), ledgerPrefix+a.node).Val(); n != 0 {
			t.Error("the ledger is left")
		}
	})
}

// Without Redis calls fail at once; what was given back meanwhile is given back when Redis returns, and what a server
// without persistence forgot is counted again.
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
			l := open(t, s.Options())
			gone, kept := acquire(t, l, "gone", 5), acquire(t, l, "kept", 5)
			tc.stop(s)
			took := clocktest.Took(func() {
				for range 100 {
					if _, err := l.Add(t.Context(), "k", 1, 5, time.Hour); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
						t.Fatalf("add: %v", err)
					}
					if _, err := l.Acquire(t.Context(), "imap", "kept", 5); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
						t.Fatalf("acquire: %v", err)
					}
				}
				gone()
			})
			if took > 2*s.Options().Timeout {
				t.Errorf("calls without Redis took %v", took)
			}
			tc.heal(s)
			redistest.Eventually(t, "Redis is back", l.o.Conn.Up)
			redistest.Eventually(t, "what was given back is free, the other is held", func() bool { return held(t, l, "gone") == 0 && held(t, l, "kept") == 1 })
			kept()
			if n := held(t, l, "kept"); n != 0 {
				t.Errorf("%d are held", n)
			}
			if c, err := l.Add(t.Context(), "k2", 1, 5, time.Hour); err != nil || !c.OK || c.Value != 1 {
				t.Errorf("add: %+v, %v", c, err)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.held) != 0 {
				t.Errorf("%d places are left in memory", len(l.held))
			}
		})
	}
}

func TestFailover(t *testing.T) {
	cluster := redistest.StartCluster(t)
	l := open(t, cluster.Options())
	defer acquire(t, l, "x", 5)()
	cluster.Master.Kill()
	redistest.Eventually(t, "the other server counts", func() bool {
		_, err := l.Add(t.Context(), "k", 1, 5, time.Hour)
		return err == nil
	})
	redistest.Eventually(t, "the place is held", func() bool {
		n, err := l.Held(t.Context(), "imap", "x")
		return err == nil && n == 1
	})
}
