package limit_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mallard/internal/limit"
)

// tally is a counter that notes its calls.
type tally struct {
	mu    sync.Mutex
	calls int
	sums  map[string]int64
	fail  error
}

func (c *tally) Add(_ context.Context, key string, inc, most int64, window time.Duration) (limit.Count, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.sums[key] += inc
	if window != time.Hour || most < limit.MaxIncrement {
		return limit.Count{}, fmt.Errorf("window %v, limit %d", window, most)
	}
	return limit.Count{}, c.fail
}

func (c *tally) setFail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

func (c *tally) Reset(context.Context, ...string) error { return nil }

func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &tally{sums: map[string]int64{}}
		failed := make(chan string, 9)
		b := limit.NewBatch(c, time.Hour, time.Second, func(key string, err error) { failed <- fmt.Sprint(key, " ", err) })
		want := func(calls int, sums map[string]int64) {
			t.Helper()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.calls != calls || !maps.Equal(c.sums, sums) {
				t.Errorf("%d calls with %v, want %d with %v", c.calls, c.sums, calls, sums)
			}
		}
		for range 1000 {
			b.Add("a", 3)
		}
		b.Add("b", 1)
		b.Add("c", 0)
		want(0, map[string]int64{})
		b.Flush(t.Context(), "b")
		b.Flush(t.Context(), "none")
		want(1, map[string]int64{"b": 1})
		time.Sleep(time.Second)
		want(2, map[string]int64{"a": 3000, "b": 1})
		time.Sleep(time.Hour) // nothing happens by itself
		want(2, map[string]int64{"a": 3000, "b": 1})

		c.setFail(errors.New("out of order"))
		b.Add("b", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(failed) != 1 || <-failed != "b out of order" {
			t.Errorf("told of %d failures, or of another", len(failed))
		}
		c.setFail(nil)
		b.Add("huge", limit.MaxIncrement)
		b.Add("huge", limit.MaxIncrement+1)
		b.Add("a", 1)
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Fatal(err)
		}
		b.Add("late", 1)
		want(5, map[string]int64{"a": 3001, "b": 2, "huge": limit.MaxIncrement})
		time.Sleep(time.Second)
		want(5, map[string]int64{"a": 3001, "b": 2, "huge": limit.MaxIncrement})
	})
}

// However many add at once, all is counted.
func TestBatchRace(t *testing.T) {
	c := &tally{sums: map[string]int64{}}
	b := limit.NewBatch(c, time.Hour, time.Millisecond, func(key string, err error) { t.Error(key, err) })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 2000 {
				b.Add(fmt.Sprint(i%3), 1)
				if i%100 == 0 {
					b.Flush(t.Context(), "1")
				}
			}
		})
	}
	all.Wait()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if sum := c.sums["0"] + c.sums["1"] + c.sums["2"]; sum != 16000 {
		t.Errorf("%d were counted, want 16000", sum)
	}
}
