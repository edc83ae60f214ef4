package rediscounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/clocktest"
	"mallard/internal/mail"
	"mallard/internal/redisconn"
	"mallard/internal/redisconn/redistest"
)

func open(t testing.TB, o redisconn.Options) *Counts {
	t.Helper()
	c := New(redistest.Open(t, o), nil)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// look returns what is cached for a mailbox, "-" for nothing.
func look(t testing.TB, c *redis.Client, id mail.MailboxID) string {
	t.Helper()
	var out []string
	for _, key := range []string{"total:" + id.String(), "unseen:" + id.String()} {
		v, err := c.Get(context.Background(), key).Result()
		if errors.Is(err, redis.Nil) {
			v = "-"
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return strings.Join(out, " ")
}

func count(t testing.TB, c *Counts, id mail.MailboxID, total, unseen int64, unknown bool) {
	t.Helper()
	if err := c.Count(context.Background(), id, total, unseen, unknown); err != nil {
		t.Error(err)
	}
}

func read(t testing.TB, c *Counts, id mail.MailboxID, total, unseen int64) string {
	t.Helper()
	asked := false
	a, b, err := c.Read(context.Background(), id, func(context.Context) (int64, int64, error) {
		asked = true
		return total, unseen, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(a, b, asked)
}

// The numbers are WildDuck's: they change only where they are cached, and live for a day after that.
func TestCount(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		c, plain, id := open(t, b.Options()), redistest.Client(t, b.Addr), mail.MailboxID{7}
		ctx := context.Background()
		count(t, c, id, 3, 2, false)
		if got := look(t, plain, id); got != "- -" {
			t.Errorf("%s is cached without anybody having counted", got)
		}
		plain.Set(ctx, totalKey(id), 20, time.Hour)
		for _, tc := range []struct {
			total, unseen int64
			unknown       bool
			want          string
		}{
			{2, 1, false, "22 -"},
			{-1, 0, false, "21 -"},
			{0, 0, false, "21 -"},
			{1, 0, true, "22 -"},
			{-30, 0, false, "- -"},
		} {
			count(t, c, id, tc.total, tc.unseen, tc.unknown)
			if got := look(t, plain, id); got != tc.want {
				t.Errorf("%+v: cached are %s", tc, got)
			}
		}
		plain.Set(ctx, totalKey(id), 5, time.Hour)
		plain.Set(ctx, unseenKey(id), 2, time.Hour)
		count(t, c, id, 0, -1, false)
		if got := look(t, plain, id); got != "5 1" {
			t.Errorf("cached are %s", got)
		}
		if a, b := plain.TTL(ctx, totalKey(id)).Val(), plain.TTL(ctx, unseenKey(id)).Val(); a != time.Hour || b != life {
			t.Errorf("they live for %v and %v", a, b)
		}
		count(t, c, id, 1, 1, true)
		if got := look(t, plain, id); got != "6 -" {
			t.Errorf("cached are %s", got)
		}
		plain.Set(ctx, unseenKey(id), 2, time.Hour)
		count(t, c, id, 0, 0, true)
		if got := look(t, plain, id); got != "6 -" {
			t.Errorf("cached are %s", got)
		}
	})
}

func TestRead(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		c, plain, id := open(t, b.Options()), redistest.Client(t, b.Addr), mail.MailboxID{7}
		ctx := context.Background()
		for i, want := range []string{"20 17 true", "20 17 false"} {
			if got := read(t, c, id, 20, 17); got != want {
				t.Errorf("read %d: %s", i, got)
			}
		}
		if ttl := plain.TTL(ctx, totalKey(id)).Val(); ttl != life {
			t.Errorf("it lives for %v", ttl)
		}
		count(t, c, id, 1, 1, false)
		if got := read(t, c, id, 0, 0); got != "21 18 false" {
			t.Errorf("read %s", got)
		}
		plain.Set(ctx, unseenKey(id), "nonsense", time.Hour)
		if got := read(t, c, id, 21, 3); got != "21 3 true" {
			t.Errorf("read %s", got)
		}
		if err := c.Forget(ctx, id, mail.MailboxID{8}); err != nil {
			t.Error(err)
		}
		if got := look(t, plain, id); got != "- -" {
			t.Errorf("forgotten, and cached are %s", got)
		}
		bad := errors.New("bad")
		if _, _, err := c.Read(ctx, id, func(context.Context) (int64, int64, error) { return 1, 1, bad }); !errors.Is(err, bad) || look(t, plain, id) != "- -" {
			t.Errorf("count failed: %v, cached are %s", err, look(t, plain, id))
		}
		if err := c.Forget(ctx); err != nil {
			t.Error(err)
		}
	})
}

// While Redis is gone changes cost nothing, and what it has from before is dropped when it is back.
func TestRedisGone(t *testing.T) {
	s := redistest.Start(t)
	c, plain := open(t, s.Options()), s.Client(t)
	changed, forgotten, other := mail.MailboxID{1}, mail.MailboxID{2}, mail.MailboxID{3}
	for _, id := range []mail.MailboxID{changed, forgotten, other} {
		read(t, c, id, 10, 5)
	}
	s.Pause()
	took := clocktest.Took(func() {
		for range 200 {
			count(t, c, changed, 1, 1, false)
		}
		if err := c.Forget(t.Context(), forgotten); err != nil {
			t.Error(err)
		}
		if got := read(t, c, changed, 210, 205); got != "210 205 true" {
			t.Errorf("read %s", got)
		}
	})
	if took > 3*s.Options().Timeout {
		t.Errorf("without Redis it took %v", took)
	}
	s.Resume()
	redistest.Eventually(t, "what changed is dropped", func() bool {
		return c.conn.Up() && look(t, plain, changed) == "- -" && look(t, plain, forgotten) == "- -"
	})
	if got := look(t, plain, other); got != "10 5" {
		t.Errorf("what did not change is %s", got)
	}
	if got := read(t, c, changed, 210, 205); got != "210 205 true" {
		t.Errorf("read %s", got)
	}
	if got := look(t, plain, changed); got != "210 205" {
		t.Errorf("cached are %s", got)
	}
}

// More changes than can be remembered empty the cache.
func TestTooManyChanges(t *testing.T) {
	s := redistest.Start(t)
	c, plain, ctx := open(t, s.Options()), s.Client(t), context.Background()
	for i := range 1200 {
		read(t, c, mail.MailboxID{9, byte(i), byte(i >> 8)}, 10, 5)
	}
	plain.Set(ctx, "keep", 1, 0)
	s.Pause()
	count(t, c, mail.MailboxID{1}, 1, 1, false)
	for i := range MaxDirty + 1 {
		c.drop(mail.MailboxID{8, byte(i), byte(i >> 8), byte(i >> 16)})
	}
	c.mu.Lock()
	if len(c.dirty) != 0 || !c.all {
		t.Errorf("%d are remembered", len(c.dirty))
	}
	c.mu.Unlock()
	s.Resume()
	redistest.Eventually(t, "all are dropped", func() bool { return c.conn.Up() && plain.DBSize(ctx).Val() == 1 })
	if got := read(t, c, mail.MailboxID{1}, 3, 2); got != "3 2 true" {
		t.Errorf("read %s", got)
	}
}
