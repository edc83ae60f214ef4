package redisbus

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/mail"
)

// registerKey is the sorted set of the processes that serve an account, each with the time at which it said so last, in
// milliseconds.
func registerKey(acct mail.AccountID) string { return "wd:imap:users:" + acct.String() }

// accounts are those that have receivers in this process. It keeps the register in Redis like it: other processes look
// there where to send events when these go to workers alone. One goroutine writes, so that what it writes is in order.
type accounts struct {
	o    Options
	tell func(mail.AccountID)

	mu      sync.Mutex
	serving map[mail.AccountID]*served
	pending []mail.AccountID // to be written
	after   []func()         // to be called when pending is written
	wake    chan struct{}
}

// served is an account with receivers, or one that had them and is registered still.
type served struct {
	receivers  int
	registered chan struct{} // closed when it is
	done       bool          // the former is closed
	queued     bool          // in pending
	late       bool          // somebody did not wait, and must look when it is registered
}

func newAccounts(o Options, tell func(mail.AccountID)) *accounts {
	return &accounts{o: o, tell: tell, serving: map[mail.AccountID]*served{}, wake: make(chan struct{}, 1)}
}

// add counts a receiver; the channel is closed as soon as the process is registered for the account.
func (a *accounts) add(acct mail.AccountID) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.serving[acct]
	if s == nil {
		s = &served{registered: make(chan struct{})}
		a.serving[acct] = s
	}
	s.receivers++
	if !s.done {
		a.enqueue(acct, s)
	}
	return s.registered
}

func (a *accounts) remove(acct mail.AccountID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.serving[acct]
	if s == nil || s.receivers == 0 {
		return // the bus was closed before the subscription
	}
	if s.receivers--; s.receivers == 0 {
		a.enqueue(acct, s)
	}
}

// late says that somebody goes on without being registered.
func (a *accounts) late(acct mail.AccountID) {
	a.mu.Lock()
	s := a.serving[acct]
	done := s.done
	s.late = !done
	a.mu.Unlock()
	if done {
		a.tell(acct)
	}
}

// all are the accounts that have receivers.
func (a *accounts) all() []mail.AccountID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Keys(a.serving)), func(acct mail.AccountID) bool { return a.serving[acct].receivers == 0 })
}

// renew registers all accounts again and then calls done.
func (a *accounts) renew(done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for acct, s := range a.serving {
		a.enqueue(acct, s)
	}
	if done != nil {
		a.after = append(a.after, done)
	}
	a.signal()
}

func (a *accounts) enqueue(acct mail.AccountID, s *served) {
	if !s.queued {
		s.queued = true
		a.pending = append(a.pending, acct)
	}
	a.signal()
}

func (a *accounts) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *accounts) run(ctx context.Context) {
	refresh := time.NewTicker(a.o.WorkersRefresh)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			a.renew(nil)
		case <-a.wake:
		}
		a.writeAll(ctx)
	}
}

// writeAll writes what is pending, however long it takes.
func (a *accounts) writeAll(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		batch, after := a.next()
		for _, f := range after {
			f()
		}
		if len(batch) == 0 {
			return
		}
		if err := a.write(ctx, batch); err == nil {
			a.written(batch)
			wait = retryFirst
			continue
		}
		a.failed(batch)
		changed, _ := a.o.Conn.State()
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(wait):
		}
		wait = min(2*wait, retryLast)
	}
}

// entry is what the register shall say of an account.
type entry struct {
	acct  mail.AccountID
	serve bool
}

// next takes a batch of what is pending, and when there is none what is to be called after it.
func (a *accounts) next() (batch []entry, after []func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := min(len(a.pending), batchSize)
	for _, acct := range a.pending[:n] {
		s := a.serving[acct]
		s.queued = false
		batch = append(batch, entry{acct, s.receivers > 0})
	}
	a.pending = a.pending[n:]
	if n == 0 {
		a.pending = nil
		after, a.after = a.after, nil
	}
	return batch, after
}

// written notes what the register says now.
func (a *accounts) written(batch []entry) {
	var look []mail.AccountID
	a.mu.Lock()
	for _, e := range batch {
		s := a.serving[e.acct]
		if !e.serve {
			a.left(e.acct, s)
			continue
		}
		if !s.done {
			s.done = true
			close(s.registered)
		}
		if s.late {
			s.late = false
			look = append(look, e.acct)
		}
	}
	a.mu.Unlock()
	for _, acct := range look {
		a.tell(acct)
	}
}

// left forgets an account that is out of the register, unless it has receivers again.
func (a *accounts) left(acct mail.AccountID, s *served) {
	if s.receivers == 0 {
		if !s.queued {
			delete(a.serving, acct)
		}
		return
	}
	if s.done {
		s.done, s.registered = false, make(chan struct{})
		s.late = true // who came in between took it for registered
	}
	a.enqueue(acct, s)
}

// failed puts a batch back.
func (a *accounts) failed(batch []entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range batch {
		a.enqueue(e.acct, a.serving[e.acct])
	}
}

// write registers accounts and takes others out of the register.
func (a *accounts) write(ctx context.Context, batch []entry) error {
	return a.o.Conn.Do(ctx, func(ctx context.Context) error {
		pipe := a.o.Conn.Client().Pipeline()
		now := time.Now()
		old := strconv.FormatInt(now.Add(-a.o.WorkersTTL).UnixMilli(), 10)
		for _, e := range batch {
			key := registerKey(e.acct)
			if !e.serve {
				pipe.ZRem(ctx, key, a.o.WorkerID)
				continue
			}
			pipe.ZAdd(ctx, key, redis.Z{Score: float64(now.UnixMilli()), Member: a.o.WorkerID})
			pipe.ZRemRangeByScore(ctx, key, "-inf", "("+old)
			pipe.Expire(ctx, key, a.o.WorkersTTL*3/2)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// leaveAll takes the process out of the register, if Redis does that within d.
func (a *accounts) leaveAll(d time.Duration) {
	a.mu.Lock()
	for acct, s := range a.serving {
		s.receivers = 0
		a.enqueue(acct, s)
	}
	done := make(chan struct{})
	a.after = append(a.after, func() { close(done) })
	a.signal()
	a.mu.Unlock()
	changed, err := a.o.Conn.State()
	if err != nil {
		return
	}
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-done:
	case <-changed:
	case <-late.C:
	}
}
