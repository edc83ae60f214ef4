package mongostore

import (
	"sync"
	"sync/atomic"
)

// parallelism is how many operations on the database one call has under way at the same time.
const parallelism = 8

// parallel runs n pieces of work, some at a time, and returns the first error in their order. The caller's goroutine does
// its share: most calls have two or three pieces, for which handing them out would cost more than the work on this side.
func parallel(n int, work func(i int) error) error {
	var taken atomic.Int64
	errs := make([]error, n)
	some := func() {
		for i := int(taken.Add(1)) - 1; i < n; i = int(taken.Add(1)) - 1 {
			errs[i] = work(i)
		}
	}
	var others sync.WaitGroup
	for range min(n, parallelism) - 1 {
		others.Go(some)
	}
	some()
	others.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
