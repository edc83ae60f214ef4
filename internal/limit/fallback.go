package limit

import (
	"context"
	"errors"
	"time"

	"mallard/internal/mail"
)

// Fallback counts with others, and alone while these cannot be reached: the limits hold for each node then, and nobody
// waits or is refused because a service is gone. Make it with NewFallback.
type Fallback struct{ shared, own Limits }

var _ Limits = (*Fallback)(nil)

// NewFallback returns limits that use shared, and own where that fails with Unavailable.
func NewFallback(shared, own Limits) *Fallback { return &Fallback{shared: shared, own: own} }

func gone(err error) bool { return err != nil && mail.CodeOf(err) == mail.CodeUnavailable }

// Add implements Counter.
func (f *Fallback) Add(ctx context.Context, key string, inc, limit int64, window time.Duration) (Count, error) {
	c, err := f.shared.Add(ctx, key, inc, limit, window)
	if gone(err) {
		return f.own.Add(ctx, key, inc, limit, window)
	}
	return c, err
}

// Reset implements Counter. Without the shared counters it resets the own ones alone and reports Unavailable.
func (f *Fallback) Reset(ctx context.Context, keys ...string) error {
	return errors.Join(f.shared.Reset(ctx, keys...), f.own.Reset(ctx, keys...))
}

// Acquire implements Concurrency.
func (f *Fallback) Acquire(ctx context.Context, group, key string, limit int) (release func(), err error) {
	release, err = f.shared.Acquire(ctx, group, key, limit)
	if gone(err) {
		return f.own.Acquire(ctx, group, key, limit)
	}
	return release, err
}

// Held implements Concurrency. Places that were taken without the shared service are known while that is gone only.
func (f *Fallback) Held(ctx context.Context, group, key string) (int, error) {
	n, err := f.shared.Held(ctx, group, key)
	if gone(err) {
		return f.own.Held(ctx, group, key)
	}
	return n, err
}
