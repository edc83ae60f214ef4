package auth_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mallard/internal/auth"
	"mallard/internal/auth/password"
	"mallard/internal/limit"
	"mallard/internal/limit/memlimit"
	"mallard/internal/mail"
)

func TestUserLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		e.user("alice", "secret")
		e.user("bob", "secret")
		for i := range 12 {
			e.wantCode(mail.CodeAuthFailed, "alice", fmt.Sprint("wrong", i), "imap")
			time.Sleep(time.Second)
		}
		e.pw.work()
		e.wantCode(mail.CodeRateLimited, "alice", "wrong", "imap")
		e.wantCode(mail.CodeRateLimited, "alice@example.com", "secret", "master")
		e.wantOK("bob", "secret", "imap")
		if n := e.pw.work(); n != 1 {
			t.Errorf("%d hashes for refused logins", n-1)
		}
		time.Sleep(120*time.Second - 12*time.Second) // the window counts from the first failure
		e.wantOK("alice", "secret", "imap")
	})
}

func TestSuccessClearsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		e.user("alice", "secret")
		for round := range 3 {
			for i := range 11 {
				e.wantCode(mail.CodeAuthFailed, "alice", fmt.Sprint("wrong", round, i), "imap")
			}
			e.wantOK("alice", "secret", "imap") // the second and third time from the cache
		}
	})
}

// TestDisabledIsCountedLikeWrong: who tries a password of a disabled account must
// not learn from the limit that it was the right one.
func TestDisabledIsCountedLikeWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		e.user("alice", "secret", func(a *mail.Account) { a.Disabled = true })
		for range 12 {
			e.wantCode(mail.CodeAuthFailed, "alice", "secret", "imap")
		}
		e.wantCode(mail.CodeRateLimited, "alice", "secret", "imap")
	})
}

func TestUnknownUserLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, names := range [][]string{
			{"nobody", "no.body", "NOBODY", " nobody "},
			{"no.body@x.test", "nobody+a@X.test", "NoBody@x.TEST"},
			{strings.Repeat("x", 300)},
		} {
			e := newEnv(t)
			for i := range 12 {
				e.wantCode(mail.CodeAuthFailed, names[i%len(names)], fmt.Sprint("wrong", i), "imap")
			}
			for _, n := range names {
				e.wantCode(mail.CodeRateLimited, n, "x", "imap")
			}
			e.wantCode(mail.CodeAuthFailed, "somebody", "x", "imap")
		}
	})
}

// TestGuessesAtTheSameTime has many different guesses arrive before the first one
// is answered.
func TestGuessesAtTheSameTime(t *testing.T) {
	for _, name := range []string{"alice", "nobody"} {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t)
			e.user("alice", "secret")
			e.pw.block = make(chan struct{})
			var failed, limited atomic.Int64
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					_, err := e.login(name, fmt.Sprint("wrong", i), "imap")
					switch mail.CodeOf(err) {
					case mail.CodeAuthFailed:
						failed.Add(1)
					case mail.CodeRateLimited:
						limited.Add(1)
					}
				})
			}
			synctest.Wait()
			close(e.pw.block)
			wg.Wait()
			if failed.Load() != 12 || limited.Load() != 88 || e.pw.work() != 12 {
				t.Errorf("%s: %d checked, %d limited", name, failed.Load(), limited.Load())
			}
			e.wantCode(mail.CodeRateLimited, name, "secret", "imap")
		})
	}
}

// TestSameLoginAtTheSameTime is a mail client that opens its connections, and
// somebody who tries one wrong password many times at once: the answers for an
// unknown user must not differ.
func TestSameLoginAtTheSameTime(t *testing.T) {
	for name, want := range map[string]mail.Code{"alice": mail.CodeInternal, "bob": mail.CodeAuthFailed, "nobody": mail.CodeAuthFailed} {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t)
			e.user("alice", "secret")
			e.user("bob", "other")
			e.pw.block = make(chan struct{})
			errs := make([]error, 40)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { _, errs[i] = e.login(name, "secret", "imap") })
			}
			synctest.Wait()
			close(e.pw.block)
			wg.Wait()
			for _, err := range errs {
				if (err == nil) != (want == mail.CodeInternal) || err != nil && mail.CodeOf(err) != want {
					t.Errorf("%s: %v", name, err)
				}
			}
			if n := e.pw.work(); n != 1 {
				t.Errorf("%s: %d hashes", name, n)
			}
		})
	}
}

// TestLeaderGoesAway has the client leave whose check others wait for.
func TestLeaderGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		e.user("alice", "secret")
		e.pw.block = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		req := auth.Request{Username: "alice", Password: "secret", Scope: "imap"}
		var leader, waiter error
		var wg sync.WaitGroup
		wg.Go(func() { _, leader = e.Authenticate(ctx, req) })
		synctest.Wait()
		wg.Go(func() { _, waiter = e.Authenticate(t.Context(), req) })
		gone, leave := context.WithCancel(t.Context())
		var impatient error
		wg.Go(func() { _, impatient = e.Authenticate(gone, req) })
		synctest.Wait()
		leave()
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(e.pw.block)
		wg.Wait()
		if mail.CodeOf(leader) != mail.CodeCanceled || waiter != nil || mail.CodeOf(impatient) != mail.CodeCanceled {
			t.Errorf("leader %v, waiter %v, impatient %v", leader, waiter, impatient)
		}
	})
}

func TestIPLimit(t *testing.T) {
	for _, tc := range []struct {
		name    string
		from    func(i int) string // of the failures
		then    string
		limited bool
	}{
		{"same", func(int) string { return "192.0.2.1" }, "192.0.2.1", true},
		{"other", func(int) string { return "192.0.2.1" }, "192.0.2.2", false},
		{"mapped", func(int) string { return "::ffff:192.0.2.1" }, "192.0.2.1", true},
		{"one IPv6 customer", func(i int) string { return fmt.Sprintf("2001:db8:0:1::%x", i+1) }, "2001:db8:0:1:ffff::1", true},
		{"another one", func(i int) string { return fmt.Sprintf("2001:db8:0:1::%x", i+1) }, "2001:db8:0:2::1", false},
		{"zone", func(int) string { return "fe80::1%eth0" }, "fe80::2", true},
		{"loopback", func(int) string { return "127.0.0.1" }, "127.0.0.1", false},
		{"loopback 6", func(int) string { return "::1" }, "::1", false},
		{"exempt", func(int) string { return "198.51.100.7" }, "198.51.100.7", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, func(o *auth.Options) { o.IPExempt = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
				e.user("alice", "secret")
				for i := range 300 {
					_, err := e.Authenticate(t.Context(), auth.Request{Username: fmt.Sprint("user", i), Password: "x", Scope: "imap", IP: ip(tc.from(i))})
					if mail.CodeOf(err) != mail.CodeAuthFailed {
						t.Fatalf("failure %d: %v", i, err)
					}
				}
				e.pw.work()
				req := auth.Request{Username: "alice", Password: "secret", Scope: "imap", IP: ip(tc.then)}
				_, err := e.Authenticate(t.Context(), req)
				if limited := mail.CodeOf(err) == mail.CodeRateLimited; limited != tc.limited || (err == nil) == tc.limited {
					t.Errorf("then: %v", err)
				}
				if tc.limited && e.pw.work() != 0 {
					t.Error("a refused address costs hashes")
				}
				time.Sleep(auth.DefaultIPWindow)
				if _, err := e.Authenticate(t.Context(), req); err != nil {
					t.Errorf("after the window: %v", err)
				}
			})
		})
	}
}

func TestLimitsOff(t *testing.T) {
	e := newEnv(t, func(o *auth.Options) { o.UserFailures, o.IPFailures = -1, -1 })
	e.user("alice", "secret")
	for i := range 400 {
		e.wantCode(mail.CodeAuthFailed, "alice", fmt.Sprint("wrong", i), "imap")
	}
	e.wantOK("alice", "secret", "imap")
}

// brokenCounter cannot be reached.
type brokenCounter struct{}

func (brokenCounter) Add(context.Context, string, int64, int64, time.Duration) (limit.Count, error) {
	return limit.Count{}, mail.NewError(mail.CodeUnavailable, "no connection")
}

func (brokenCounter) Reset(context.Context, ...string) error {
	return mail.NewError(mail.CodeUnavailable, "no connection")
}

func TestCounterGone(t *testing.T) {
	e := newEnv(t, func(o *auth.Options) { o.Counter = brokenCounter{} })
	e.user("alice", "secret")
	e.wantCode(mail.CodeUnavailable, "alice", "secret", "imap")

	e = newEnv(t, func(o *auth.Options) { o.Counter, o.Fallback = brokenCounter{}, memlimit.New(memlimit.Options{}) })
	e.user("alice", "secret")
	e.wantOK("alice", "secret", "imap")
	for i := range 12 {
		e.wantCode(mail.CodeAuthFailed, "alice", fmt.Sprint("wrong", i), "imap")
	}
	e.wantCode(mail.CodeRateLimited, "alice", "secret", "imap")
}

// TestTroubleIsNoFailure: what says nothing about a password must not lock anybody
// out, nor let anybody in.
func TestTroubleIsNoFailure(t *testing.T) {
	e := newEnv(t)
	e.user("alice", "secret")
	e.pw.fail = password.ErrBusy
	for range 20 {
		e.wantCode(mail.CodeUnavailable, "alice", "secret", "imap")
		e.wantCode(mail.CodeUnavailable, "nobody", "secret", "imap")
	}
	e.pw.fail = nil
	e.wantOK("alice", "secret", "imap")
	if err := e.db.Close(); err != nil {
		t.Fatal(err)
	}
	e.wantCode(mail.CodeUnavailable, "alice", "secret", "imap")
}
