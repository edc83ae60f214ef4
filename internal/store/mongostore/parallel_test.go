package mongostore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// Every piece is done once, no more of them at a time than allowed and all at a time that are, whatever fails.
func TestParallel(t *testing.T) {
	for _, n := range []int{0, 1, 2, parallelism, 5*parallelism + 3} {
		var running, most atomic.Int64
		done := make([]atomic.Int64, n)
		err := parallel(n, func(i int) error {
			if now := running.Add(1); now > most.Load() {
				most.Store(now)
			}
			for end := time.Now().Add(10 * time.Second); n > 1 && most.Load() < 2 && time.Now().Before(end); {
				time.Sleep(time.Millisecond) // until another one is under way
			}
			time.Sleep(5 * time.Millisecond)
			running.Add(-1)
			if done[i].Add(1); i == 1 || i == n-1 {
				return fmt.Errorf("piece %d", i)
			}
			return nil
		})
		for i := range done {
			if got := done[i].Load(); got != 1 {
				t.Errorf("of %d piece %d was done %d times", n, i, got)
			}
		}
		if want := int64(min(n, parallelism)); most.Load() > want || n > 1 && most.Load() < 2 {
			t.Errorf("of %d there were %d at a time, want %d", n, most.Load(), want)
		}
		if want := fmt.Sprint("piece ", min(1, n-1)); n > 0 && (err == nil || err.Error() != want) || n == 0 && err != nil {
			t.Errorf("of %d the error is %v, want %s", n, err, want)
		}
	}
	if err := parallel(3, func(int) error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
