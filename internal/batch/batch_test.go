package batch

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type item struct{ n, done int }

// recorder is an operation that takes a second.
type recorder struct {
	mu    sync.Mutex
	calls []string
}

func (r *recorder) do(items []*item) {
	r.mu.Lock()
	var names []int
	for _, it := range items {
		names = append(names, it.n)
	}
	r.calls = append(r.calls, fmt.Sprint(names))
	r.mu.Unlock()
	time.Sleep(time.Second)
	for _, it := range items {
		it.done++
	}
}

func TestWhatComesMeanwhileGoesTogether(t *testing.T) {
	for _, tc := range []struct {
		name  string
		limit int
		keys  string // of the items, in the order in which they come
		want  []string
	}{
		{"alone", 10, "a", []string{"[0]"}},
		{"one key", 10, "aaaaa", []string{"[0]", "[1 2 3 4]"}},
		{"few at a time", 2, "aaaaaa", []string{"[0]", "[1 2]", "[3 4]", "[5]"}},
		{"two keys", 10, "ababab", []string{"[0]", "[1]", "[2 4]", "[3 5]"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				b := New[rune](tc.limit, r.do)
				var g sync.WaitGroup
				for n, key := range tc.keys {
					g.Go(func() {
						it := &item{n: n}
						if err := b.Do(key, it); err != nil || it.done != 1 {
							t.Errorf("item %d was done %d times, error %v", n, it.done, err)
						}
					})
					time.Sleep(time.Millisecond)
				}
				g.Wait()
				if !slices.Equal(r.calls, tc.want) {
					t.Errorf("calls %v, want %v", r.calls, tc.want)
				}
				if len(b.all) != 0 {
					t.Errorf("%d queues are left", len(b.all))
				}
			})
		})
	}
}

// Who comes when nobody is there does not wait.
func TestAloneIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New[string](10, (&recorder{}).do)
		begin := time.Now()
		for n := range 3 {
			if err := b.Do("a", &item{n: n}); err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("it took %v, want 3s", d)
		}
	})
}

// An operation that panics is an error for those who came along, and the next ones are served.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New[string](10, func(items []int) {
			time.Sleep(time.Second)
			if len(items) == 2 {
				panic("two")
			}
		})
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				defer func() {
					if r := recover(); r != nil {
						errs <- fmt.Errorf("panic: %v", r)
					}
				}()
				errs <- b.Do("a", 1)
			}()
			time.Sleep(time.Millisecond)
		}
		got := []string{fmt.Sprint(<-errs), fmt.Sprint(<-errs), fmt.Sprint(<-errs)}
		slices.Sort(got)
		if want := []string{"<nil>", "panic: two", ErrBroken.Error()}; !slices.Equal(got, want) {
			t.Errorf("errors %q, want %q", got, want)
		}
		if err := b.Do("a", 3); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}
