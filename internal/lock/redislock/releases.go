package redislock

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/redisconn"
)

// releases wakes those who wait for locks when these are released, by whatever node. It listens only while somebody
// waits. A message may be lost; who waits looks by itself now and then.
type releases struct {
	conn *redisconn.Conn

	mu     sync.Mutex
	spaces map[string]*space
}

// space is a namespace in which somebody waits.
type space struct {
	ps      *redis.PubSub
	hears   chan struct{}                         // closed when messages arrive, or will not
	waiting map[string]map[chan struct{}]struct{} // by the lock
	count   int
	ended   sync.WaitGroup
}

// await returns a channel that gets a value when the lock is released, from now on until leave is called.
func (r *releases) await(ctx context.Context, name, key string) (released <-chan struct{}, leave func()) {
	ch := make(chan struct{}, 1)
	s := r.enter(name, key, ch)
	select {
	case <-s.hears:
	case <-ctx.Done():
	case <-time.After(r.conn.Timeout()):
	}
	return ch, func() { r.leave(name, s, key, ch) }
}

func (r *releases) enter(name, key string, ch chan struct{}) *space {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.spaces[name]
	if s == nil {
		s = r.listen(name)
	}
	if s.waiting[key] == nil {
		s.waiting[key] = map[chan struct{}]struct{}{}
	}
	s.waiting[key][ch] = struct{}{}
	s.count++
	return s
}

// listen subscribes to the releases of a namespace.
func (r *releases) listen(name string) *space {
	ps := r.conn.Client().Subscribe(context.Background()) // to nothing yet: makes no connection
	s := &space{ps: ps, hears: make(chan struct{}), waiting: map[string]map[chan struct{}]struct{}{}}
	if r.spaces == nil {
		r.spaces = map[string]*space{}
	}
	r.spaces[name] = s
	s.ended.Go(func() {
		hears := sync.OnceFunc(func() { close(s.hears) })
		defer hears()
		ctx, cancel := context.WithTimeout(context.Background(), r.conn.Timeout())
		err := ps.Subscribe(ctx, name+"-release")
		cancel()
		// Without messages those who wait look now and then; the next who comes listens anew.
		for err == nil {
			var msg any
			if msg, err = ps.Receive(context.Background()); err != nil {
				return
			}
			hears()
			if m, ok := msg.(*redis.Message); ok {
				r.wake(s, m.Payload)
			}
		}
	})
	return s
}

func (r *releases) wake(s *space, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ch := range s.waiting[key] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (r *releases) leave(name string, s *space, key string, ch chan struct{}) {
	r.mu.Lock()
	delete(s.waiting[key], ch)
	if len(s.waiting[key]) == 0 {
		delete(s.waiting, key)
	}
	s.count--
	last := s.count == 0
	if last {
		delete(r.spaces, name)
	}
	r.mu.Unlock()
	if last {
		_ = s.ps.Close()
		s.ended.Wait()
	}
}
