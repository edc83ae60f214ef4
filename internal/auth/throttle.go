package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"sync"
	"time"

	"mallard/internal/address"
	"mallard/internal/limit"
	"mallard/internal/mail"
)

// maxKey is the longest name in octets that becomes part of a counter's key as it
// is.
const maxKey = 128

// userKey is the counter of a known account.
func userKey(id mail.AccountID) string { return limit.FailedLogins(id.String()) }

// nobodyKey is the counter of a login name that no account has: names that would
// mean the same account are counted together, so that the answers to them do not
// differ from those of an account.
func nobodyKey(login string) string {
	view := address.NormalizeLocal(login)
	if local, _ := address.Split(view); local != "" {
		view = address.LookupView(view)
	} else {
		view = address.View(view)
	}
	if len(view) > maxKey {
		sum := sha256.Sum256([]byte(view))
		view = hex.EncodeToString(sum[:])
	}
	return limit.FailedLogins(view)
}

// ipKey is the counter of an IP address, "" for one that is not counted. A /64 is
// what one IPv6 customer has at least.
func (s *Service) ipKey(ip netip.Addr) string {
	ip = ip.Unmap()
	if s.o.IPFailures < 0 || !ip.IsValid() || ip.IsLoopback() {
		return ""
	}
	for _, p := range s.o.IPExempt {
		if p.Contains(ip) {
			return ""
		}
	}
	if ip.Is6() {
		p, err := ip.WithZone("").Prefix(64)
		if err != nil {
			return ""
		}
		return limit.FailedLoginsFrom(p.String())
	}
	return limit.FailedLoginsFrom(ip.String())
}

// count is Add of the counter, or of the fallback while that cannot be reached.
func (s *Service) count(ctx context.Context, key string, n, most int64, window time.Duration) (ok bool, err error) {
	c, err := s.o.Counter.Add(ctx, key, n, most, window)
	if mail.CodeOf(err) == mail.CodeUnavailable && s.o.Fallback != nil {
		c, err = s.o.Fallback.Add(ctx, key, n, most, window)
	}
	return c.OK, err
}

// checkIP refuses addresses that failed too often.
func (s *Service) checkIP(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	ok, err := s.count(ctx, key, 0, s.o.IPFailures, s.o.IPWindow)
	if err != nil {
		return trouble("check login failures of the address", err)
	}
	if !ok {
		return rateLimited("too many failures from this address")
	}
	return nil
}

// failedIP counts a failure of an address.
func (s *Service) failedIP(ctx context.Context, key string) {
	if key == "" {
		return
	}
	if _, err := s.count(context.WithoutCancel(ctx), key, 1, s.o.IPFailures, s.o.IPWindow); err != nil {
		s.o.Log.Warn("cannot count login failures of an address", "error", err)
	}
}

// begin asks whether a login of a user may be checked now; key is its counter. The
// checks that are running count as failures until they end, so that any number of
// guesses at the same time get no further than one after the other. end must be
// called; only a password that was found wrong counts.
func (s *Service) begin(ctx context.Context, key string) (end func(wrong bool), err error) {
	if s.o.UserFailures < 0 {
		return func(bool) {}, nil
	}
	left := s.o.UserFailures - s.pending.add(key)
	ok := left > 0
	if ok {
		ok, err = s.count(ctx, key, 0, left, s.o.UserWindow)
	}
	switch {
	case err != nil:
		s.pending.done(key)
		return nil, trouble("check login failures", err)
	case !ok:
		s.pending.done(key)
		return nil, rateLimited("too many failures for this user")
	}
	return func(wrong bool) {
		defer s.pending.done(key)
		if wrong {
			s.failed(ctx, key)
		}
	}, nil
}

// locked reports, as an error, that a user's logins are refused at present.
func (s *Service) locked(ctx context.Context, key string) error {
	if s.o.UserFailures < 0 {
		return nil
	}
	ok, err := s.count(ctx, key, 0, s.o.UserFailures, s.o.UserWindow)
	if err != nil {
		return trouble("check login failures", err)
	}
	if !ok {
		return rateLimited("too many failures for this user")
	}
	return nil
}

// failed counts a failure of a user. That the client went away is no way out.
func (s *Service) failed(ctx context.Context, key string) {
	if s.o.UserFailures < 0 {
		return
	}
	if _, err := s.count(context.WithoutCancel(ctx), key, 1, s.o.UserFailures, s.o.UserWindow); err != nil {
		s.o.Log.Warn("cannot count a login failure", "error", err)
	}
}

// reset forgets the failures of a user after a success.
func (s *Service) reset(ctx context.Context, key string) {
	if s.o.UserFailures < 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.o.Counter.Reset(ctx, key); err != nil {
		s.o.Log.Warn("cannot reset login failures", "error", err)
	}
	if s.o.Fallback != nil {
		if err := s.o.Fallback.Reset(ctx, key); err != nil {
			s.o.Log.Warn("cannot reset login failures", "error", err)
		}
	}
}

// pending counts running checks by key.
type pending struct {
	mu sync.Mutex
	n  map[string]int64
}

// add adds one and returns how many there were before.
func (p *pending) add(key string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.n[key]
	p.n[key] = n + 1
	return n
}

func (p *pending) done(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[key]--; p.n[key] <= 0 {
		delete(p.n, key)
	}
}
