package password

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
)

// defaultWaiting is how many callers may wait for a Verifier per running hash; at 16 ms a hash this is some four seconds.
const defaultWaiting = 256

// A Verifier checks and makes hashes with a bound on how many are computed at once, so that a storm of logins cannot
// take every CPU (and, with Argon2, all memory) from the rest of the server. It keeps no passwords and no results. It
// is safe for concurrent use; make it with [NewVerifier].
type Verifier struct {
	limits     Limits
	slots      chan struct{}
	waiting    atomic.Int64
	maxWaiting int64
}

// Options are the settings of a [Verifier]. The zero value means the defaults.
type Options struct {
	// Concurrency is how many hashes are computed at once; default GOMAXPROCS.
	Concurrency int
	// Waiting is how many callers may wait for their turn before further ones fail with [ErrBusy]; default 256 for each
	// of Concurrency.
	Waiting int
	// Limits bounds the cost of stored hashes; default [DefaultLimits].
	Limits Limits
}

// NewVerifier returns a Verifier with the given settings.
func NewVerifier(o Options) *Verifier {
	if o.Concurrency <= 0 {
		o.Concurrency = runtime.GOMAXPROCS(0)
	}
	if o.Waiting <= 0 {
		o.Waiting = defaultWaiting * o.Concurrency
	}
	return &Verifier{
		limits:     o.Limits.withDefaults(),
		slots:      make(chan struct{}, o.Concurrency),
		maxWaiting: int64(o.Waiting),
	}
}

// Verify is [Verify] under the limits and the concurrency of the Verifier. Besides the errors named there it fails with
// [ErrBusy], and with the context's error when ctx ends before its turn comes; a hash that is being computed is finished.
func (v *Verifier) Verify(ctx context.Context, hash, password string) (ok, rehash bool, err error) {
	if err := v.acquire(ctx); err != nil {
		return false, false, err
	}
	defer v.release()
	return verify(hash, password, v.limits)
}

// VerifyNobody is [VerifyNobody] under the concurrency of the Verifier. It waits its turn like Verify does, and fails
// like it, so that unknown users cannot be told from known ones under load either.
func (v *Verifier) VerifyNobody(ctx context.Context, password string) error {
	if err := v.acquire(ctx); err != nil {
		return err
	}
	defer v.release()
	VerifyNobody(password)
	return nil
}

// Hash is [Hash] under the concurrency of the Verifier.
func (v *Verifier) Hash(ctx context.Context, password string) (string, error) {
	if err := v.acquire(ctx); err != nil {
		return "", err
	}
	defer v.release()
	return Hash(password)
}

// Validate is [Validate] under the limits of the Verifier.
func (v *Verifier) Validate(hash string) error {
	_, err := parse(hash, v.limits)
	return err
}

func (v *Verifier) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for a password check: %w", err)
	}
	select {
	case v.slots <- struct{}{}:
		return nil
	default:
	}
	if v.waiting.Add(1) > v.maxWaiting {
		v.waiting.Add(-1)
		return ErrBusy
	}
	defer v.waiting.Add(-1)
	select {
	case v.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a password check: %w", ctx.Err())
	}
}

func (v *Verifier) release() { <-v.slots }
