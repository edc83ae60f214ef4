package memlimit

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"mallard/internal/limit"
	"mallard/internal/limit/limittest"
)

func TestSuite(t *testing.T) {
	limittest.Run(t, limittest.Config{
		Open: func(t testing.TB, n int) []limit.Limits {
			l := New(Options{})
			t.Cleanup(func() { check(t, l) })
			nodes := make([]limit.Limits, n)
			for i := range nodes {
				nodes[i] = l
			}
			return nodes
		},
		Advance: time.Sleep, // of the bubble's clock
		Within:  synctest.Test,
	})
}

// check checks that the three views of the counters agree.
func check(t testing.TB, l *Limits) {
	t.Helper()
	if len(l.counters) != len(l.ends) || len(l.counters) != l.used.Len() || len(l.counters) > l.maxKeys {
		t.Errorf("%d counters, %d ends, %d in order of use, limit %d", len(l.counters), len(l.ends), l.used.Len(), l.maxKeys)
	}
	for i, c := range l.ends {
		if c.index != i || l.counters[c.key] != c || c.value <= 0 {
			t.Errorf("counter %q: index %d at %d, value %d", c.key, c.index, i, c.value)
		}
	}
}

func add(t testing.TB, l *Limits, key string, inc int64, window time.Duration) limit.Count {
	t.Helper()
	c, err := l.Add(t.Context(), key, inc, 1000, window)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBounded(t *testing.T) {
	l := New(Options{MaxKeys: 100})
	for i := range 10_000 {
		add(t, l, fmt.Sprint("key", i), 1, time.Hour)
	}
	if len(l.counters) != 100 {
		t.Errorf("%d counters", len(l.counters))
	}
	check(t, l)
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	l := New(Options{MaxKeys: 3})
	for _, key := range []string{"a", "b", "c"} {
		add(t, l, key, 5, time.Hour)
	}
	add(t, l, "a", 0, time.Hour) // looking is use
	add(t, l, "d", 1, time.Hour) // takes the place of b
	for key, want := range map[string]int64{"a": 5, "b": 0, "c": 5, "d": 1} {
		if got := add(t, l, key, 0, time.Hour).Value; got != want {
			t.Errorf("%s is %d, want %d", key, got, want)
		}
	}
	check(t, l)
}

func TestEndedGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10 * maxDrop
		l := New(Options{MaxKeys: n + 1})
		add(t, l, "old but lasting", 5, time.Hour)
		for i := range n {
			add(t, l, fmt.Sprint("short", i), 1, time.Minute)
		}
		time.Sleep(2 * time.Minute)
		for i := range n {
			add(t, l, fmt.Sprint("new", i), 1, time.Hour)
		}
		if got := add(t, l, "old but lasting", 0, time.Hour).Value; got != 5 {
			t.Errorf("a counter was dropped instead of those that ended: %d", got)
		}
		check(t, l)
	})
}

// Counters that ended go soon after, with no more than a little work in each call.
func TestEndedAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		l := New(Options{})
		for i := range n {
			add(t, l, fmt.Sprint("key", i), 1, time.Minute)
		}
		time.Sleep(time.Minute)
		for i := 1; len(l.counters) > 0; i++ {
			before := len(l.counters)
			if c := add(t, l, "key1", 0, time.Minute); c != (limit.Count{OK: true}) {
				t.Fatalf("a counter that ended and was not dropped yet is %+v", c)
			}
			if dropped := before - len(l.counters); dropped > maxDrop+1 {
				t.Fatalf("%d dropped at once", dropped)
			}
			if i > n/maxDrop {
				t.Fatalf("%d left", len(l.counters))
			}
		}
		check(t, l)
	})
}

func TestPlacesAreForgotten(t *testing.T) {
	l := New(Options{})
	for i := range 1000 {
		release, err := l.Acquire(t.Context(), "imap", fmt.Sprint(i), 1)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if len(l.places) != 0 {
		t.Errorf("%d places are left", len(l.places))
	}
}

func BenchmarkAdd(b *testing.B) {
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = limit.FailedLogins(fmt.Sprintf("%024x", i))
	}
	l := New(Options{})
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		add(b, l, keys[i%len(keys)], 1, time.Hour)
		i++
	}
}

// BenchmarkMemory shows what a counter costs when there are as many as there may be.
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		l := New(Options{})
		for i := range DefaultMaxKeys {
			add(b, l, limit.FailedLogins(fmt.Sprintf("%024x", i)), 1, time.Hour)
		}
		b.ReportMetric(float64(heap()-before)/DefaultMaxKeys, "B/counter")
		runtime.KeepAlive(l)
	}
}
