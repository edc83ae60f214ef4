package redisbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// errNotLinked is the state before the first subscription.
var errNotLinked = errors.New("not subscribed yet")

// errSilent ends a connection on which nothing comes any more.
var errSilent = errors.New("the subscription gets no answer")

// link is the subscription to the channels: one connection at a time, made anew whenever it breaks or falls silent.
type link struct {
	o       Options
	receive func(channel, text string)

	mu      sync.Mutex
	err     error
	changed chan struct{} // closed when err changes between nil and not
}

func newLink(o Options, receive func(channel, text string)) *link {
	return &link{o: o, receive: receive, err: errNotLinked, changed: make(chan struct{})}
}

// state tells whether messages arrive, with the reason if not, and a channel that is closed when that changes.
func (l *link) state() (changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed, l.err
}

func (l *link) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.err
	l.err = err
	// The first failure is a change as well: before it nobody knew.
	if (was == nil) != (err == nil) || errors.Is(was, errNotLinked) {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func (l *link) run(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		worked, err := l.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		l.set(err)
		if worked {
			wait = retryFirst
		}
		l.rest(ctx, wait)
		wait = min(2*wait, retryLast)
	}
}

// rest waits for a time, or until Redis comes back.
func (l *link) rest(ctx context.Context, d time.Duration) {
	changed, err := l.o.Conn.State()
	if err == nil {
		changed = nil // it may go away meanwhile, which is no reason to hurry
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-time.After(d):
	}
}

// connection subscribes and receives until the connection breaks. It reports whether it worked, and why it ended.
func (l *link) connection(ctx context.Context) (worked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	channels := []string{sharedChannel, workerPrefix + l.o.WorkerID, lookChannel}
	ps := l.o.Conn.Client().Subscribe(ctx) // to nothing yet: makes no connection
	var heard atomic.Int64
	heard.Store(time.Now().UnixNano())
	var pinger sync.WaitGroup
	pinger.Go(func() { l.ping(ctx, ps, &heard) })
	defer func() {
		cancel()
		_ = ps.Close()
		pinger.Wait()
	}()
	subscribe, cancelSubscribe := context.WithTimeout(ctx, l.o.Conn.Timeout())
	err = ps.Subscribe(subscribe, channels...)
	cancelSubscribe()
	if err != nil {
		return false, fmt.Errorf("subscribe: %w", err)
	}
	confirmed := 0
	for {
		msg, err := ps.Receive(ctx)
		if err != nil {
			if time.Since(time.Unix(0, heard.Load())) > 3*l.o.Heartbeat {
				err = errSilent
			}
			return worked, err
		}
		heard.Store(time.Now().UnixNano())
		switch m := msg.(type) {
		case *redis.Subscription:
			if confirmed++; confirmed == len(channels) {
				worked = true
				l.set(nil)
			}
			if confirmed > len(channels) {
				// The library made a new connection by itself: what came between is lost.
				return worked, errors.New("the connection broke")
			}
		case *redis.Message:
			l.receive(m.Channel, m.Payload)
		}
	}
}

// ping asks for a sign of life and closes the subscription when there is none.
func (l *link) ping(ctx context.Context, ps *redis.PubSub, heard *atomic.Int64) {
	tick := time.NewTicker(l.o.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = ps.Close() // a read without a deadline looks at nothing else
			return
		case <-tick.C:
		}
		if time.Since(time.Unix(0, heard.Load())) > 3*l.o.Heartbeat {
			_ = ps.Close()
			return
		}
		_ = ps.Ping(ctx) // without an answer the above ends it
	}
}
