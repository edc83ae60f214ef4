package limittest

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mallard/internal/limit"
	"mallard/internal/mail"
)

const minute = time.Minute

func testLimit(t *testing.T, s *suite) {
	for i := range int64(3) {
		s.want(t, "k", 1, 3, minute, limit.Count{OK: true, Value: i + 1, TTL: minute})
	}
	for range 2 {
		s.want(t, "k", 1, 3, minute, limit.Count{Value: 3, TTL: minute})
	}
	s.advance(minute + time.Second)
	s.want(t, "k", 1, 3, minute, limit.Count{OK: true, Value: 1, TTL: minute})
}

func testWindowDoesNotSlide(t *testing.T, s *suite) {
	s.want(t, "k", 1, 3, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.advance(20 * time.Second)
	s.want(t, "k", 1, 3, minute, limit.Count{OK: true, Value: 2, TTL: 40 * time.Second})
	s.advance(20 * time.Second)
	s.want(t, "k", 1, 3, minute, limit.Count{OK: true, Value: 3, TTL: 20 * time.Second})
	s.advance(10 * time.Second)
	s.want(t, "k", 1, 3, minute, limit.Count{Value: 3, TTL: 10 * time.Second}) // refusals do not prolong it either
	s.advance(11 * time.Second)
	s.want(t, "k", 0, 3, minute, limit.Count{OK: true})
}

func testWindowOfFirst(t *testing.T, s *suite) {
	s.want(t, "k", 1, 9, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.want(t, "k", 1, 9, time.Hour, limit.Count{OK: true, Value: 2, TTL: minute})
	s.advance(minute + time.Second)
	s.want(t, "k", 1, 9, time.Hour, limit.Count{OK: true, Value: 1, TTL: time.Hour})
	s.want(t, "k", 1, 9, minute, limit.Count{OK: true, Value: 2, TTL: time.Hour})
}

func testDefaultWindow(t *testing.T, s *suite) {
	s.want(t, "zero", 1, 9, 0, limit.Count{OK: true, Value: 1, TTL: 24 * time.Hour})
	s.want(t, "negative", 1, 9, -minute, limit.Count{OK: true, Value: 1, TTL: 24 * time.Hour})
}

func testOvershoot(t *testing.T, s *suite) {
	s.want(t, "k", 9, 10, minute, limit.Count{OK: true, Value: 9, TTL: minute})
	s.want(t, "k", 500, 10, minute, limit.Count{OK: true, Value: 509, TTL: minute})
	s.want(t, "k", 1, 10, minute, limit.Count{Value: 509, TTL: minute})
}

func testLook(t *testing.T, s *suite) {
	s.want(t, "k", 0, 2, minute, limit.Count{OK: true})
	s.want(t, "k", 1, 2, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.advance(10 * time.Second)
	s.want(t, "k", 0, 2, minute, limit.Count{OK: true, Value: 1, TTL: 50 * time.Second})
	s.want(t, "k", 1, 2, minute, limit.Count{OK: true, Value: 2, TTL: 50 * time.Second})
	s.want(t, "k", 0, 2, minute, limit.Count{Value: 2, TTL: 50 * time.Second})
}

func testOtherLimit(t *testing.T, s *suite) {
	s.want(t, "k", 2, 2, minute, limit.Count{OK: true, Value: 2, TTL: minute})
	s.want(t, "k", 1, 2, minute, limit.Count{Value: 2, TTL: minute})
	s.want(t, "k", 1, 3, minute, limit.Count{OK: true, Value: 3, TTL: minute})
	s.want(t, "k", 1, 1, minute, limit.Count{Value: 3, TTL: minute})
}

func testNoLimit(t *testing.T, s *suite) {
	s.want(t, "k", 1, 0, minute, limit.Count{OK: true})
	s.want(t, "k", 1, -1, minute, limit.Count{OK: true})
	s.want(t, "k", 0, 1, minute, limit.Count{OK: true}) // nothing was counted
	s.want(t, "k", 1, 1, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.want(t, "k", 1, 0, minute, limit.Count{OK: true}) // nor looked up
}

func testReset(t *testing.T, s *suite) {
	s.want(t, "a", 1, 1, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.want(t, "b", 1, 1, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.want(t, "c", 1, 1, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.reset(t, "a", "b", "never counted")
	s.reset(t)
	s.advance(10 * time.Second)
	s.want(t, "a", 0, 1, minute, limit.Count{OK: true})
	s.want(t, "a", 1, 1, minute, limit.Count{OK: true, Value: 1, TTL: minute}) // a new window
	s.want(t, "b", 1, 1, minute, limit.Count{OK: true, Value: 1, TTL: minute})
	s.want(t, "c", 1, 1, minute, limit.Count{Value: 1, TTL: 50 * time.Second})
}

func testKeys(t *testing.T, s *suite) {
	long := strings.Repeat("long", 1000)
	keys := []string{
		"k", "K", "k ", " k", "", "k:1", "k\x00", "ключ", "\xff", long, long + "1", long + "2", long[:128], long[:129], long[:127],
		"imap", limit.FailedLogins("k"), limit.FailedTOTP("k"), limit.Sent("k"), limit.ReceivedFrom("192.0.2.1", "k"),
	}
	for i, key := range keys {
		s.want(t, key, int64(i)+1, 1000, minute, limit.Count{OK: true, Value: int64(i) + 1, TTL: minute})
	}
	for i, key := range keys {
		s.want(t, key, 0, 1000, minute, limit.Count{OK: true, Value: int64(i) + 1, TTL: minute})
	}
	s.reset(t, long+"1")
	s.want(t, long+"1", 0, 1000, minute, limit.Count{OK: true})
	s.want(t, long+"2", 0, 1000, minute, limit.Count{OK: true, Value: 12, TTL: minute})
}

func testIncrements(t *testing.T, s *suite) {
	for _, inc := range []int64{-1, -1 << 63, limit.MaxIncrement + 1, 1<<63 - 1} {
		for _, most := range []int64{0, 1, 1<<63 - 1} {
			c, err := s.node().Add(context.Background(), "k", inc, most, minute)
			if err == nil || mail.CodeOf(err) != mail.CodeInvalid || c != (limit.Count{}) {
				t.Errorf("add %d: %+v, %v, want code invalid", inc, c, err)
			}
		}
	}
	s.want(t, "k", limit.MaxIncrement, 1<<62, minute, limit.Count{OK: true, Value: limit.MaxIncrement, TTL: minute})
	s.want(t, "k", limit.MaxIncrement-1, 1<<62, minute, limit.Count{OK: true, Value: 2*limit.MaxIncrement - 1, TTL: minute})
}

func testCanceled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n := s.node()
	_, err := n.Add(ctx, "k", 1, 1, minute)
	errs := map[string]error{"add": err, "reset": n.Reset(ctx, "k")}
	_, errs["acquire"] = n.Acquire(ctx, "group", "k", 1)
	_, errs["held"] = n.Held(ctx, "group", "k")
	for name, err := range errs {
		if err == nil || mail.CodeOf(err) != mail.CodeCanceled {
			t.Errorf("%s: %v, want code canceled", name, err)
		}
	}
	s.want(t, "k", 0, 1, minute, limit.Count{OK: true})
	s.held(t, "group", "k", 0)
}

// Of many that count at once exactly as many get through as the limit allows.
func testConcurrentAdd(t *testing.T, s *suite) {
	const workers, each, most = 16, 50, 333
	var passed atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		n := s.nodes[w%len(s.nodes)]
		wg.Go(func() {
			for range each {
				c, err := n.Add(context.Background(), "k", 1, most, time.Hour)
				if err != nil {
					t.Errorf("add: %v", err)
					return
				}
				if c.OK {
					passed.Add(1)
				}
				if c.Value < 1 || c.Value > most {
					t.Errorf("value %d", c.Value)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != most {
		t.Errorf("%d passed, want %d", passed.Load(), most)
	}
}

// noDeadline hides the method Deadline, which may not be called where the clock is not the real one.
type noDeadline struct{ rapid.TB }

// testModel compares random calls with the plainest counter there is. Time passes in steps of ten seconds, and windows
// end between the steps, so that a clock that counts in seconds does not matter.
func testModel(t *testing.T, s *suite) {
	type window struct {
		value int64
		left  time.Duration
	}
	run := 0
	rapid.Check(noDeadline{t}, func(t *rapid.T) {
		run++
		s.begin()
		model := map[string]*window{}
		key := rapid.Map(rapid.IntRange(0, 3), func(i int) string { return strings.Repeat("k", i+1) + string(rune(run)) })
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 9).Draw(t, "call") {
			case 0:
				s.reset(t, k)
				delete(model, k)
			case 1, 2:
				d := time.Duration(rapid.IntRange(1, 5).Draw(t, "steps")) * 10 * time.Second
				s.advance(d)
				for k, w := range model {
					if w.left -= d; w.left <= 0 {
						delete(model, k)
					}
				}
			default:
				inc, most := rapid.Int64Range(0, 3).Draw(t, "inc"), rapid.Int64Range(0, 6).Draw(t, "limit")
				length := time.Duration(rapid.IntRange(0, 6).Draw(t, "window"))*10*time.Second + 5*time.Second
				want := limit.Count{OK: true}
				if most > 0 {
					w := model[k]
					if w == nil {
						w = &window{left: length}
					}
					if want.OK = w.value < most; want.OK {
						w.value += inc
					}
					if want.Value = w.value; w.value > 0 {
						want.TTL, model[k] = w.left, w
					}
				}
				s.want(t, k, inc, most, length, want)
			}
		}
	})
}

func testAcquire(t *testing.T, s *suite) {
	first := s.acquire(t, "imap", "k", 2)
	s.held(t, "imap", "k", 1)
	second := s.acquire(t, "imap", "k", 2)
	s.held(t, "imap", "k", 2)
	s.full(t, "imap", "k", 2)
	s.full(t, "imap", "k", 1)
	s.held(t, "imap", "k", 2)
	third := s.acquire(t, "imap", "k", 3)
	first()
	s.full(t, "imap", "k", 2)
	second()
	fourth := s.acquire(t, "imap", "k", 2)
	third()
	fourth()
	s.held(t, "imap", "k", 0)
}

func testReleaseTwice(t *testing.T, s *suite) {
	first, second := s.acquire(t, "imap", "k", 5), s.acquire(t, "imap", "k", 5)
	for range 3 {
		first()
	}
	s.held(t, "imap", "k", 1)
	third := s.acquire(t, "imap", "k", 2)
	first()
	s.full(t, "imap", "k", 2)
	second()
	third()
	s.held(t, "imap", "k", 0)
}

func testAcquireNoLimit(t *testing.T, s *suite) {
	releases := []func(){s.acquire(t, "imap", "k", 0), s.acquire(t, "imap", "k", -1), s.acquire(t, "imap", "k", 0)}
	s.held(t, "imap", "k", 3)
	s.full(t, "imap", "k", 3)
	for _, release := range releases {
		release()
	}
	s.acquire(t, "imap", "k", 1)()
	s.held(t, "imap", "k", 0)
}

func testGroups(t *testing.T, s *suite) {
	long := strings.Repeat("long", 1000)
	defer s.acquire(t, "imap", "k", 1)()
	defer s.acquire(t, "pop3", "k", 1)()
	defer s.acquire(t, "imap", "K", 1)()
	defer s.acquire(t, "imap", "", 1)()
	defer s.acquire(t, "imap", long+"1", 1)()
	defer s.acquire(t, "imap", long+"2", 1)()
	s.full(t, "imap", "k", 1)
	s.full(t, "imap", long+"1", 1)
	s.held(t, "imap", "other", 0)
	s.want(t, "k", 0, 1, minute, limit.Count{OK: true}) // places are not counted by counters
	s.reset(t, "k", "imap", "imap:k")
	s.held(t, "imap", "k", 1)
}

// At no time more hold a place than there are, and in the end none does.
func testConcurrentAcquire(t *testing.T, s *suite) {
	const workers, each, most = 12, 40, 4
	var holding, got atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		n := s.nodes[w%len(s.nodes)]
		wg.Go(func() {
			for range each {
				release, err := n.Acquire(context.Background(), "imap", "k", most)
				if err != nil {
					if mail.CodeOf(err) != mail.CodeLimit {
						t.Errorf("acquire: %v", err)
					}
					continue
				}
				got.Add(1)
				if h := holding.Add(1); h > most {
					t.Errorf("%d hold one of %d places", h, most)
				}
				holding.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if got.Load() < most {
		t.Errorf("only %d got a place", got.Load())
	}
	s.held(t, "imap", "k", 0)
}
