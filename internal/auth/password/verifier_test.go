package password

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// cheap is a hash of "secret" that costs next to nothing.
const cheap = "abNANd1rDfiNc"

func TestVerifier(t *testing.T) {
	v := NewVerifier(Options{Concurrency: 2})
	ctx := t.Context()
	hash, err := v.Hash(ctx, "password")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		password string
		ok       bool
	}{{"password", true}, {"Password", false}, {"", false}} {
		ok, rehash, err := v.Verify(ctx, hash, tc.password)
		if ok != tc.ok || rehash || err != nil {
			t.Errorf("Verify %q: %v, %v, %v", tc.password, ok, rehash, err)
		}
	}
	if ok, rehash, err := v.Verify(ctx, cheap, "secret"); !ok || !rehash || err != nil {
		t.Errorf("Verify of an old hash: %v, %v, %v", ok, rehash, err)
	}
	if err := v.VerifyNobody(ctx, "password"); err != nil {
		t.Errorf("VerifyNobody: %v", err)
	}
}

func TestVerifierLimits(t *testing.T) {
	v := NewVerifier(Options{Limits: Limits{PBKDF2Iterations: 1000}})
	const within = "$pbkdf2-sha256$i=1000$AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	const beyond = "$pbkdf2-sha256$i=1001$AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	if _, _, err := v.Verify(t.Context(), within, "p"); err != nil {
		t.Error(err)
	}
	if _, _, err := v.Verify(t.Context(), beyond, "p"); !errors.Is(err, ErrCost) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := v.Validate(beyond); !errors.Is(err, ErrCost) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := v.Validate(cheap); err != nil {
		t.Errorf("another format: %v", err)
	}
}

func TestVerifierWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewVerifier(Options{Concurrency: 1, Waiting: 2})
		if err := v.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 2)
		go func() { _, _, err := v.Verify(ctx, cheap, "secret"); results <- err }()
		go func() { _, _, err := v.Verify(t.Context(), cheap, "secret"); results <- err }()
		synctest.Wait() // both wait for the slot

		if _, _, err := v.Verify(t.Context(), cheap, "secret"); !errors.Is(err, ErrBusy) {
			t.Errorf("a third caller: %v, want ErrBusy", err)
		}
		if err := v.VerifyNobody(t.Context(), "secret"); !errors.Is(err, ErrBusy) {
			t.Errorf("an unknown user: %v, want ErrBusy", err)
		}
		if _, err := v.Hash(t.Context(), "secret"); !errors.Is(err, ErrBusy) {
			t.Errorf("a new hash: %v, want ErrBusy", err)
		}
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that gave up: %v", err)
		}
		v.release()
		if err := <-results; err != nil {
			t.Errorf("a caller that waited: %v", err)
		}
		if _, _, err := v.Verify(ctx, cheap, "secret"); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that came cancelled: %v", err)
		}
		if n, busy := v.waiting.Load(), len(v.slots); n != 0 || busy != 0 {
			t.Errorf("%d waiting, %d slots taken at the end", n, busy)
		}
	})
}

func TestVerifierConcurrent(t *testing.T) {
	v := NewVerifier(Options{})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			password := "secret"
			if i%2 == 1 {
				password = "wrong"
			}
			ok, _, err := v.Verify(t.Context(), cheap, password)
			if err != nil || ok != (i%2 == 0) {
				t.Errorf("%q: %v, %v", password, ok, err)
			}
		})
	}
	wg.Wait()
}
