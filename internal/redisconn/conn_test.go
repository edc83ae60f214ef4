package redisconn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/clocktest"
	"mallard/internal/mail"
	"mallard/internal/redisconn"
	"mallard/internal/redisconn/redistest"
)

func set(c *redisconn.Conn, key string) error {
	return c.Do(context.Background(), func(ctx context.Context) error { return c.Client().Set(ctx, key, 1, 0).Err() })
}

func TestDo(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		c := redistest.Open(t, b.Options())
		if err := set(c, "k"); err != nil {
			t.Fatal(err)
		}
		err := c.Do(t.Context(), func(ctx context.Context) error { return c.Client().Get(ctx, "nothing").Err() })
		if !errors.Is(err, redis.Nil) {
			t.Errorf("get nothing: %v", err)
		}
		err = c.Do(t.Context(), func(ctx context.Context) error { return c.Client().HGetAll(ctx, "k").Err() })
		if mail.CodeOf(err) != mail.CodeUnavailable || !strings.Contains(err.Error(), "WRONGTYPE") || !c.Up() {
			t.Errorf("wrong type: %v, up %t", err, c.Up())
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = c.Do(ctx, func(ctx context.Context) error {
			cancel()
			return c.Client().Get(ctx, "k").Err()
		})
		if mail.CodeOf(err) != mail.CodeCanceled || !c.Up() {
			t.Errorf("canceled: %v, up %t", err, c.Up())
		}
	})
}

// That the time of a caller has ended in the middle of a call does not mean that Redis is gone.
func TestDeadlinePassesInCall(t *testing.T) {
	s := redistest.Start(t)
	c := redistest.Open(t, s.Patient())
	ctx := redistest.Late(context.Background(), time.Now().Add(20*time.Millisecond))
	err := c.Do(ctx, func(ctx context.Context) error { return c.Client().BLPop(ctx, time.Minute, "nothing").Err() })
	if mail.CodeOf(err) != mail.CodeCanceled || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	if !c.Up() {
		t.Error("Redis is taken for gone")
	}
}

func TestClosed(t *testing.T) {
	s := redistest.Start(t)
	c := redistest.Open(t, s.Options())
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := set(c, "k"); mail.CodeOf(err) != mail.CodeUnavailable || !errors.Is(err, redisconn.ErrClosed) {
		t.Errorf("set: %v", err)
	}
	if err := c.Wait(t.Context()); !errors.Is(err, redisconn.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
}

func TestServerAbsentAtStart(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	c, err := redisconn.Open(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // in which it is tried
	defer cancel()
	if err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), s.Addr()) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("wait: %v", err)
	}
	s.Run()
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := set(c, "k"); err != nil {
		t.Error(err)
	}
}

// A server that is killed or paused costs a call no more than the bound, and the calls after it nothing.
func TestGone(t *testing.T) {
	for _, tc := range []struct {
		name       string
		stop, heal func(s *redistest.Server)
	}{
		{"killed", (*redistest.Server).Kill, (*redistest.Server).Run},
		{"paused", (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := redistest.Start(t)
			c := redistest.Open(t, s.Options())
			if err := set(c, "k"); err != nil {
				t.Fatal(err)
			}
			tc.stop(s)
			took := clocktest.Took(func() {
				var wg sync.WaitGroup
				for range 50 { // more than there are connections
					wg.Go(func() {
						if err := set(c, "k"); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
							t.Errorf("set: %v", err)
						}
					})
				}
				wg.Wait()
			})
			if took > 2*s.Options().Timeout {
				t.Errorf("50 calls took %v", took)
			}
			redistest.Eventually(t, "known to be gone", func() bool { return !c.Up() })
			took = clocktest.Took(func() {
				for range 1000 {
					if set(c, "k") == nil {
						t.Fatal("no error")
					}
				}
			})
			if took > 200*time.Millisecond {
				t.Errorf("1000 calls while it is known to be gone took %v", took)
			}
			changed, _ := c.State()
			tc.heal(s)
			<-changed
			if err := set(c, "k"); err != nil {
				t.Errorf("after it came back: %v", err)
			}
		})
	}
}

func TestIdleConnectionNoticesDeath(t *testing.T) {
	s := redistest.Start(t)
	c := redistest.Open(t, s.Options())
	s.Pause()
	redistest.Eventually(t, "known to be gone", func() bool { return !c.Up() })
	s.Resume()
	redistest.Eventually(t, "known to be there", c.Up)
}

func TestPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	o := s.Options()
	c, err := redisconn.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // in which it is tried
	defer cancel()
	if err := c.Wait(ctx); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
	o, err = redisconn.Parse("redis://:secret@" + s.Addr() + "/5")
	if err != nil {
		t.Fatal(err)
	}
	if err := set(redistest.Open(t, o), "k"); err != nil {
		t.Error(err)
	}
}

func TestFailover(t *testing.T) {
	cluster := redistest.StartCluster(t)
	c := redistest.Open(t, cluster.Options())
	if err := set(c, "before"); err != nil {
		t.Fatal(err)
	}
	cluster.Master.Kill()
	start := time.Now()
	redistest.Eventually(t, "the replica serves", func() bool { return set(c, "after") == nil })
	t.Logf("the replica took over after %v", time.Since(start).Round(time.Millisecond))
	if n, err := cluster.Replica.Client(t).Exists(t.Context(), "before", "after").Result(); err != nil || n != 2 {
		t.Errorf("the replica has %d of 2 keys: %v", n, err)
	}
}
