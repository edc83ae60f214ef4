package redisbus

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/event"
	"mallard/internal/mail"
)

const (
	batchSize   = 256 // events in one round trip
	retryFirst  = 20 * time.Millisecond
	retryLast   = time.Second
	settingLife = 5 * time.Second // of the answer of Options.WorkerChannels
	settingWait = time.Second     // for that answer
	// settleBeats is the time, in heartbeats, within which other nodes are back after Redis was gone: they notice it after
	// three at the latest, and ask again after one.
	settleBeats = 5
)

// sender takes events from the queue and publishes them, again and again until Redis has taken them.
type sender struct {
	o      Options
	queue  *queue
	origin string

	// settled tells whether the others are there: nobody was away within the last time, as far as this node knows.
	settled func() bool

	empty chan chan struct{} // who wants to know that all is sent

	// Of the goroutine alone.
	awayUntil   time.Time        // when Redis was away last, as far as it has tried
	again       []event.Event    // are sent once more, at a time when who was away is back
	againAt     <-chan time.Time // nil when there are none
	perWorker   bool
	perWorkerAt time.Time
}

func newSender(o Options, q *queue, origin string, settled func() bool) *sender {
	return &sender{o: o, queue: q, origin: origin, settled: settled, empty: make(chan chan struct{}, 1)}
}

func (s *sender) run(ctx context.Context) {
	var told chan struct{}
	wait := retryFirst
	for {
		if told != nil && s.queue.len() == 0 {
			close(told)
			told = nil
		}
		select {
		case <-ctx.Done():
			return
		case told = <-s.empty:
			continue
		case <-s.againAt:
			s.repeat(ctx)
			continue
		case <-s.queue.ready:
		}
		events, lost := s.queue.take(batchSize)
		if len(events) == 0 && !lost {
			continue
		}
		if err := s.send(ctx, events, lost); err == nil {
			wait = retryFirst
			s.remember(events)
			continue
		}
		s.queue.giveBack(events, lost)
		s.rest(ctx, wait)
		s.awayUntil = time.Now()
		wait = min(2*wait, retryLast)
	}
}

// remember keeps what was published while other nodes may have been away still, to publish it once more. It leaves out
// what they learn by looking, which they do when they are back.
func (s *sender) remember(events []event.Event) {
	if s.settled() && time.Since(s.awayUntil) >= settleBeats*s.o.Heartbeat {
		return
	}
	for _, e := range events {
		if e.Kind != event.Changed && len(s.again) < s.o.MaxQueue {
			s.again = append(s.again, e)
		}
	}
	if len(s.again) > 0 && s.againAt == nil {
		s.againAt = time.After(settleBeats * s.o.Heartbeat)
	}
}

// repeat publishes what was kept. What Redis does not take is sent like everything else.
func (s *sender) repeat(ctx context.Context) {
	again := s.again
	s.again, s.againAt = nil, nil
	for events := range slices.Chunk(again, batchSize) {
		if s.send(ctx, events, false) != nil {
			s.queue.giveBack(events, false)
		}
	}
}

// rest waits after a failure: for a time, and until Redis is there.
func (s *sender) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(d):
	}
	changed, err := s.o.Conn.State()
	if err == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-changed:
	}
}

// drain waits until all events are sent, at most d, and not at all while Redis is gone.
func (s *sender) drain(d time.Duration) {
	if !s.o.Conn.Up() {
		return
	}
	told := make(chan struct{})
	late := time.NewTimer(d)
	defer late.Stop()
	changed, _ := s.o.Conn.State()
	select {
	case s.empty <- told:
	case <-changed:
		return
	case <-late.C:
		return
	}
	select {
	case <-told:
	case <-changed:
	case <-late.C:
	}
}

// send publishes events. An error means that some of them may not have been published.
func (s *sender) send(ctx context.Context, events []event.Event, lost bool) error {
	var workers map[mail.AccountID][]string
	if s.workerChannels(ctx) {
		var err error
		if workers, err = s.workersOf(ctx, events); err != nil {
			return err
		}
	}
	return s.o.Conn.Do(ctx, func(ctx context.Context) error {
		pipe := s.o.Conn.Client().Pipeline()
		for _, e := range events {
			text := encode(e, s.origin)
			if workers == nil {
				pipe.Publish(ctx, sharedChannel, text)
				continue
			}
			for _, w := range workers[e.Account] {
				pipe.Publish(ctx, workerPrefix+w, text)
			}
		}
		if lost {
			pipe.Publish(ctx, lookChannel, s.origin)
		}
		if pipe.Len() == 0 {
			return nil
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// workerChannels asks for the setting, from time to time.
func (s *sender) workerChannels(ctx context.Context) bool {
	if s.o.WorkerChannels == nil {
		return false
	}
	if now := time.Now(); s.perWorkerAt.IsZero() || now.Sub(s.perWorkerAt) >= settingLife {
		ctx, cancel := context.WithTimeout(ctx, settingWait)
		defer cancel()
		s.perWorker, s.perWorkerAt = s.o.WorkerChannels(ctx), now
	}
	return s.perWorker
}

// workersOf returns the other processes that serve the accounts of the events.
func (s *sender) workersOf(ctx context.Context, events []event.Event) (map[mail.AccountID][]string, error) {
	found := make(map[mail.AccountID]*redis.StringSliceCmd, len(events))
	least := strconv.FormatInt(time.Now().Add(-s.o.WorkersTTL).UnixMilli(), 10)
	err := s.o.Conn.Do(ctx, func(ctx context.Context) error {
		pipe := s.o.Conn.Client().Pipeline()
		for _, e := range events {
			if found[e.Account] == nil {
				found[e.Account] = pipe.ZRangeByScore(ctx, registerKey(e.Account), &redis.ZRangeBy{Min: least, Max: "+inf"})
			}
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make(map[mail.AccountID][]string, len(found))
	for acct, cmd := range found {
		for _, w := range cmd.Val() {
			if w != s.o.WorkerID {
				out[acct] = append(out[acct], w)
			}
		}
	}
	return out, nil
}
