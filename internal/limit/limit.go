// Package limit is the contract of two kinds of limits that several parts of the server, and with a shared service
// several nodes, count together: how often something may happen in a window of time, and how many of something there may
// be at once.
//
// The semantics are those of WildDuck's counters, so that an implementation on its Redis keys can count together with
// WildDuck nodes; this package has the names of the keys. memlimit is the implementation of one process; limittest is
// the suite that every implementation passes. The package imports internal/mail only.
package limit

import (
	"context"
	"time"
)

const (
	// DefaultWindow is the window of a counter that is asked for without one.
	DefaultWindow = 24 * time.Hour
	// MaxIncrement is the greatest increment of a counter: with it a value stays exact in every implementation.
	MaxIncrement = 1 << 48
)

// Count is the state of a counter.
type Count struct {
	// OK says that the limit was not reached before the call, so that what is being counted may happen.
	OK bool
	// Value is what was counted in this window, the increment of this call included if it was counted. It may exceed the
	// limit by one increment.
	Value int64
	// TTL is the time until the window ends and the counter is zero again; zero when nothing is counted.
	TTL time.Duration
}

// Counter counts what happens in windows of time. A window starts with the first increment, has the length that was
// asked for then, and does not slide: later increments do not prolong it. When it ends the counter is zero.
//
// Keys are any text; those that a client can choose should be short, as an implementation may cut the cost of long ones
// but not their transport. Every method is safe for concurrent use and atomic. Errors are *mail.Error with code
// Unavailable when the counters cannot be reached (the caller decides whether to go on without them; mail must), Canceled,
// or Invalid for an increment that is negative or greater than MaxIncrement.
type Counter interface {
	// Add counts inc on a key unless the limit was reached already: then nothing changes and OK is false. An inc of 0
	// only looks. With a limit of 0 or less there is no limit: nothing is counted or looked up, and OK is true. A window
	// of 0 or less is DefaultWindow; windows are exact to a second.
	Add(ctx context.Context, key string, inc, limit int64, window time.Duration) (Count, error)

	// Reset makes the counters of these keys zero.
	Reset(ctx context.Context, keys ...string) error
}

// Concurrency counts what there is at once, for example the connections of an account.
//
// Groups are fixed names chosen by the program, keys any text; keys of different groups are different. Every method is
// safe for concurrent use and atomic. Errors are *mail.Error with code Unavailable or Canceled as for Counter.
type Concurrency interface {
	// Acquire takes one of limit places of a key and returns the function that gives it back. That function may be called
	// more than once and at any time, does not block for long and cannot fail; places that a crashed process held are
	// given back by the implementation in time. With a limit of 0 or less there is always a place, which counts for
	// others all the same. Errors: code Limit when all places are taken.
	Acquire(ctx context.Context, group, key string, limit int) (release func(), err error)

	// Held returns how many places of a key are taken.
	Held(ctx context.Context, group, key string) (int, error)
}

// Limits is both contracts, as an implementation provides them.
type Limits interface {
	Counter
	Concurrency
}
