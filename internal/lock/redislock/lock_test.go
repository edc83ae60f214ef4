package redislock

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/clocktest"
	"mallard/internal/mail"
	"mallard/internal/redisconn"
	"mallard/internal/redisconn/redistest"
)

// longTTL is the time of a lease that its owner has to renew, or to notice as lost, on a machine that is busy with others.
const longTTL = 4 * time.Second

const name = "mail:mbwr:6b02b4960dc41b48cba6210e"

func open(t testing.TB, o redisconn.Options) *Locker {
	t.Helper()
	l := New(redistest.Open(t, o), nil)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func mustLock(t testing.TB, l *Locker, ttl time.Duration) (release func(), lost <-chan struct{}) {
	t.Helper()
	release, lost, err := l.Lock(within(t, redistest.Patience), name, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return release, lost
}

func busy(t testing.TB, l *Locker, d time.Duration) {
	t.Helper()
	release, _, err := l.Lock(within(t, d), name, time.Minute)
	if err == nil {
		release()
		t.Fatal("two own the lock")
	}
	if mail.CodeOf(err) != mail.CodeUnavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("lock: %v", err)
	}
}

// Whoever waits for a lock until his time ends in the middle of a request is told that another has it.
func TestDeadlinePassesInRequest(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Patient())
	release, _ := mustLock(t, l, time.Minute)
	defer release()
	_, _, err := l.Lock(redistest.Late(context.Background(), time.Now().Add(300*time.Millisecond)), name, time.Minute)
	if mail.CodeOf(err) != mail.CodeUnavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lock: %v", err)
	}
	if !l.conn.Up() {
		t.Error("Redis is taken for gone")
	}
}

// Of many that want a lock at once one has it at a time, and all get it.
func TestOneOwner(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		lockers := []*Locker{open(t, b.Options()), open(t, b.Options())}
		var owners, taken atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			l := lockers[i%2]
			wg.Go(func() {
				for range 20 {
					release, lost, err := l.Lock(within(t, redistest.Patience), name, time.Minute)
					if err != nil {
						t.Error(err)
						return
					}
					if n := owners.Add(1); n != 1 {
						t.Errorf("%d own the lock", n)
					}
					taken.Add(1)
					select {
					case <-lost:
						t.Error("lost")
					default:
					}
					owners.Add(-1)
					release()
					release()
				}
			})
		}
		wg.Wait()
		if taken.Load() != 160 {
			t.Errorf("taken %d times", taken.Load())
		}
	})
}

// The form is WildDuck's: what it sees of our locks, and what we see of its.
func TestForm(t *testing.T) {
	redistest.Each(t, func(t *testing.T, b redistest.Backend) {
		l, c, ctx := open(t, b.Options()), redistest.Client(t, b.Addr), context.Background()
		all := c.Subscribe(ctx, "mail-release")
		defer all.Close()
		if _, err := all.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Set(ctx, "mailindex", 6, 0).Err(); err != nil {
			t.Fatal(err)
		}
		release, _ := mustLock(t, l, time.Minute)
		got := c.HGetAll(ctx, name).Val()
		delete(got, "owner") // which WildDuck does not look at
		if !maps.Equal(got, map[string]string{"index": "7"}) {
			t.Errorf("the hash is %v", got)
		}
		if ttl := c.PTTL(ctx, name).Val(); ttl > time.Minute || ttl < 59*time.Second {
			t.Errorf("it lives for %v", ttl)
		}
		if v := c.Get(ctx, "mailindex").Val(); v != "7" {
			t.Errorf("the counter is %s", v)
		}
		release()
		if n := c.Exists(ctx, name).Val(); n != 0 {
			t.Error("released and still there")
		}
		m, err := all.ReceiveTimeout(ctx, redistest.Patience)
		if msg, ok := m.(*redis.Message); err != nil || !ok || msg.Payload != name {
			t.Errorf("told %v, %v", m, err)
		}

		// As WildDuck takes it, extends it (which ours must survive), and releases it.
		if err := c.HSet(ctx, name, "index", 8).Err(); err != nil {
			t.Fatal(err)
		}
		c.PExpire(ctx, name, time.Minute)
		busy(t, l, time.Second)
		done := make(chan struct{})
		go func() {
			release, _ := mustLock(t, l, time.Minute)
			release()
			close(done)
		}()
		time.Sleep(300 * time.Millisecond)
		c.Del(ctx, name)
		took := clocktest.Took(func() {
			c.Publish(ctx, "mail-release", name)
			<-done
		})
		if took > 90*time.Millisecond {
			t.Errorf("noticed the release after %v", took)
		}
	})
}

// Nobody tells that a lease has ended by itself.
func TestCrashedOwner(t *testing.T) {
	s := redistest.Start(t)
	dead, l := open(t, s.Patient()), open(t, s.Patient())
	mustLock(t, dead, MinTTL)
	if err := dead.Close(); err != nil { // renews nothing any more
		t.Fatal(err)
	}
	busy(t, l, 100*time.Millisecond)
	took := clocktest.Took(func() {
		release, _ := mustLock(t, l, time.Minute)
		release()
	})
	if took > MinTTL+pollMost {
		t.Errorf("free after %v", took)
	}
	if _, _, err := dead.Lock(within(t, time.Second), name, time.Minute); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
		t.Errorf("lock after close: %v", err)
	}
}

// A lock is held for as long as its owner wants, beyond the time of a lease.
func TestRenewed(t *testing.T) {
	s := redistest.Start(t)
	l, other := open(t, s.Patient()), open(t, s.Patient())
	release, lost := mustLock(t, l, longTTL)
	busy(t, other, 3*longTTL)
	select {
	case <-lost:
		t.Error("lost")
	default:
	}
	release()
	second, _ := mustLock(t, other, MinTTL)
	second()
}

// An owner is told that it has lost the lock before another can have it.
func TestLost(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.StartProxy(t, s.Addr())
	l, other := open(t, redistest.Options(proxy.Addr())), open(t, s.Patient())
	release, lost := mustLock(t, l, longTTL)
	proxy.Block()
	second, _ := mustLock(t, other, time.Minute)
	select {
	case <-lost:
	default:
		t.Error("two own the lock")
	}
	proxy.Unblock()
	redistest.Eventually(t, "Redis is back", l.conn.Up)
	release() // which must not take the lock from the other
	busy(t, l, 300*time.Millisecond)
	second()

	// Somebody deletes it: its owner notices.
	release, lost = mustLock(t, l, MinTTL)
	s.Client(t).Del(context.Background(), name)
	select {
	case <-lost:
	case <-time.After(redistest.Patience):
		t.Error("the owner was not told")
	}
	release()
}

// Redis goes away while a lock is held, and while it is released.
func TestRedisGone(t *testing.T) {
	s := redistest.Start(t)
	l, other := open(t, s.Options()), open(t, s.Options())
	release, lost := mustLock(t, l, time.Minute)
	s.Pause()
	took := clocktest.Took(func() {
		for range 20 {
			if _, _, err := l.Lock(context.Background(), "mail:other", time.Minute); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
				t.Fatalf("lock without Redis: %v", err)
			}
		}
		release()
	})
	if took > 3*s.Options().Timeout {
		t.Errorf("without Redis it took %v", took)
	}
	select {
	case <-lost:
		t.Error("lost")
	default:
	}
	s.Resume()
	// Both are given back: the one that was released, and the one that was taken by a call whose answer never came.
	for _, n := range []string{name, "mail:other"} {
		release, _, err := waitLock(t, other, n)
		if err != nil {
			t.Fatalf("%s is not given back: %v", n, err)
		}
		release()
	}
}

// waitLock locks as soon as Redis answers.
func waitLock(t testing.TB, l *Locker, n string) (release func(), lost <-chan struct{}, err error) {
	t.Helper()
	redistest.Eventually(t, "Redis is back", l.conn.Up)
	return l.Lock(within(t, redistest.Patience), n, time.Minute)
}

func TestCanceled(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Patient())
	release, _ := mustLock(t, l, time.Minute)
	defer release()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, _, err := l.Lock(ctx, name, time.Minute); mail.CodeOf(err) != mail.CodeCanceled {
		t.Errorf("canceled: %v", err)
	}
	if _, _, err := l.Lock(ctx, "nothing", time.Minute); mail.CodeOf(err) != mail.CodeInvalid {
		t.Errorf("no namespace: %v", err)
	}
	l.releases.mu.Lock()
	defer l.releases.mu.Unlock()
	if len(l.releases.spaces) != 0 {
		t.Error("somebody still listens")
	}
}

func TestFailover(t *testing.T) {
	cluster := redistest.StartCluster(t)
	l := open(t, cluster.Options())
	release, _ := mustLock(t, l, time.Minute)
	cluster.Master.Kill()
	release()
	redistest.Eventually(t, "another server locks", func() bool {
		release, _, err := l.Lock(within(t, 5*time.Second), name, time.Minute)
		if err == nil {
			release()
		}
		return err == nil
	})
}
