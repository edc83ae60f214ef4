package memlimit

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mallard/internal/limit"
	"mallard/internal/limit/limittest"
	"mallard/internal/mail"
)

// broken are limits that can be taken away.
type broken struct {
	limit.Limits
	gone atomic.Bool
}

var errGone = mail.NewError(mail.CodeUnavailable, "gone")

func (b *broken) Add(ctx context.Context, key string, inc, most int64, window time.Duration) (limit.Count, error) {
	if b.gone.Load() {
		return limit.Count{}, errGone
	}
	return b.Limits.Add(ctx, key, inc, most, window)
}

func (b *broken) Reset(ctx context.Context, keys ...string) error {
	if b.gone.Load() {
		return errGone
	}
	return b.Limits.Reset(ctx, keys...)
}

func (b *broken) Acquire(ctx context.Context, group, key string, most int) (func(), error) {
	if b.gone.Load() {
		return nil, errGone
	}
	return b.Limits.Acquire(ctx, group, key, most)
}

func (b *broken) Held(ctx context.Context, group, key string) (int, error) {
	if b.gone.Load() {
		return 0, errGone
	}
	return b.Limits.Held(ctx, group, key)
}

func TestFallbackSuite(t *testing.T) {
	limittest.Run(t, limittest.Config{
		Open: func(_ testing.TB, n int) []limit.Limits {
			f := limit.NewFallback(New(Options{}), New(Options{}))
			nodes := make([]limit.Limits, n)
			for i := range nodes {
				nodes[i] = f
			}
			return nodes
		},
		Advance: time.Sleep, // of the bubble's clock
		Within:  synctest.Test,
	})
}

// While the shared limits are gone the node counts alone, and after that with the others again.
func TestFallback(t *testing.T) {
	shared := &broken{Limits: New(Options{})}
	f := limit.NewFallback(shared, New(Options{}))
	ctx := t.Context()
	add := func(want int64, ok bool) {
		t.Helper()
		c, err := f.Add(ctx, "k", 1, 2, time.Hour)
		if err != nil || c.Value != want || c.OK != ok {
			t.Errorf("%+v, %v, want %d, %t", c, err, want, ok)
		}
	}
	held := func(want int) {
		t.Helper()
		if n, err := f.Held(ctx, "imap", "k"); err != nil || n != want {
			t.Errorf("%d are held, %v, want %d", n, err, want)
		}
	}
	acquire := func() func() {
		t.Helper()
		release, err := f.Acquire(ctx, "imap", "k", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Acquire(ctx, "imap", "k", 1); mail.CodeOf(err) != mail.CodeLimit {
			t.Errorf("a second of one place: %v", err)
		}
		return release
	}
	add(1, true)
	first := acquire()
	shared.gone.Store(true)
	add(1, true)
	add(2, true)
	add(2, false)
	second := acquire()
	held(1)
	if err := f.Reset(ctx, "k"); mail.CodeOf(err) != mail.CodeUnavailable || err == nil {
		t.Errorf("reset: %v", err)
	}
	add(1, true)
	shared.gone.Store(false)
	add(2, true)
	second()
	held(1)
	first()
	held(0)
	if err := f.Reset(ctx, "k"); err != nil {
		t.Error(err)
	}
	add(1, true)
}
