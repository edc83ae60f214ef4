// Package limittest is the suite that every implementation of package limit passes.
//
// It drives the limits through the interfaces alone, as two nodes that count together do. It imports packages limit and
// mail, and testing; it knows no implementation.
package limittest

import (
	"context"
	"testing"
	"time"

	"mallard/internal/limit"
	"mallard/internal/mail"
)

// Config says how to make the limits under test.
type Config struct {
	// Open returns n Limits with nothing counted that count together, as n nodes have them. Those of one process are the
	// same n times.
	Open func(t testing.TB, n int) []limit.Limits
	// Advance lets time pass for the limits.
	Advance func(d time.Duration)
	// Within runs a case, for limits that need surroundings, such as a clock of their own. Nil just calls it.
	Within func(t *testing.T, run func(t *testing.T))
}

// Run runs the suite.
func Run(t *testing.T, c Config) {
	if c.Within == nil {
		c.Within = func(t *testing.T, run func(t *testing.T)) { run(t) }
	}
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"Limit", testLimit},
		{"WindowDoesNotSlide", testWindowDoesNotSlide},
		{"WindowOfFirst", testWindowOfFirst},
		{"DefaultWindow", testDefaultWindow},
		{"Overshoot", testOvershoot},
		{"Look", testLook},
		{"OtherLimit", testOtherLimit},
		{"NoLimit", testNoLimit},
		{"Reset", testReset},
		{"Keys", testKeys},
		{"Increments", testIncrements},
		{"Canceled", testCanceled},
		{"ConcurrentAdd", testConcurrentAdd},
		{"Model", testModel},
		{"Acquire", testAcquire},
		{"ReleaseTwice", testReleaseTwice},
		{"AcquireNoLimit", testAcquireNoLimit},
		{"Groups", testGroups},
		{"ConcurrentAcquire", testConcurrentAcquire},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.Within(t, func(t *testing.T) {
				s := &suite{Config: c, nodes: c.Open(t, 2)}
				s.begin()
				tc.run(t, s)
			})
		})
	}
}

// suite is the state of one case.
type suite struct {
	Config
	nodes []limit.Limits
	turn  int
	began time.Time     // when the first of what is counted was
	asked time.Duration // by how much Advance has let the clock of the case go on since then
}

// begin notes that what is counted from now on is new.
func (s *suite) begin() { s.began, s.asked = time.Now(), 0 }

// advance lets time pass for the limits.
func (s *suite) advance(d time.Duration) {
	before := time.Now()
	s.Advance(d)
	s.asked += time.Since(before)
}

// passed is the time that has passed by itself, for limits that live by the clock of the machine.
func (s *suite) passed() time.Duration { return time.Since(s.began) - s.asked }

// node returns the nodes in turn: what one does the other must see.
func (s *suite) node() limit.Limits {
	s.turn++
	return s.nodes[s.turn%len(s.nodes)]
}

// fataler is what tests and properties have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (s *suite) add(t fataler, key string, inc, most int64, window time.Duration) limit.Count {
	t.Helper()
	c, err := s.node().Add(context.Background(), key, inc, most, window)
	if err != nil {
		t.Fatalf("add %d to %q: %v", inc, key, err)
	}
	return c
}

// want adds and checks the answer; the time to live may be less by up to a second, and by what has passed.
func (s *suite) want(t fataler, key string, inc, most int64, window time.Duration, want limit.Count) {
	t.Helper()
	got := s.add(t, key, inc, most, window)
	if got.OK != want.OK || got.Value != want.Value {
		t.Fatalf("add %d to %q, limit %d: got %+v, want %+v", inc, key, most, got, want)
	}
	if got.TTL > want.TTL || got.TTL < want.TTL-time.Second-s.passed() || want.TTL > 0 && got.TTL <= 0 {
		t.Fatalf("add %d to %q: time to live %v, want %v", inc, key, got.TTL, want.TTL)
	}
}

func (s *suite) reset(t fataler, keys ...string) {
	t.Helper()
	if err := s.node().Reset(context.Background(), keys...); err != nil {
		t.Fatalf("reset %q: %v", keys, err)
	}
}

func (s *suite) acquire(t fataler, group, key string, most int) func() {
	t.Helper()
	release, err := s.node().Acquire(context.Background(), group, key, most)
	if err != nil {
		t.Fatalf("acquire %s %q of %d: %v", group, key, most, err)
	}
	return release
}

func (s *suite) full(t fataler, group, key string, most int) {
	t.Helper()
	release, err := s.node().Acquire(context.Background(), group, key, most)
	if mail.CodeOf(err) != mail.CodeLimit || err == nil || release != nil {
		t.Fatalf("acquire %s %q of %d: error %v, want code limit", group, key, most, err)
	}
}

func (s *suite) held(t fataler, group, key string, want int) {
	t.Helper()
	got, err := s.node().Held(context.Background(), group, key)
	if err != nil || got != want {
		t.Fatalf("held %s %q: %d, %v, want %d", group, key, got, err, want)
	}
}
