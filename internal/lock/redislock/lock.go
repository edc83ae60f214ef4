// Package redislock has the locks that nodes share, those of Mallard with those of WildDuck, in the form of the library
// that WildDuck uses: a hash that expires, with a number that each new owner gets, and a message when it is released.
//
// A lock is a lease: its owner renews it, and who dies loses it when its time is over. An owner that cannot renew it is
// told before another can have it. The contract is where it is used, for example in mongostore. The package imports
// internal/mail and internal/redisconn.
package redislock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/mail"
	"mallard/internal/redisconn"
)

const (
	// pollLeast and pollMost bound the time after which a lock that another holds is tried again; its release is told
	// earlier.
	pollLeast = 100 * time.Millisecond
	pollMost  = time.Second
	// retry is the time after which something that failed is tried again.
	retry = 250 * time.Millisecond
	// MinTTL is the shortest time of a lease: a shorter one could not be renewed in time.
	MinTTL = 500 * time.Millisecond
)

// Locker takes locks. It is safe for concurrent use. Make it with New.
type Locker struct {
	conn     *redisconn.Conn
	log      *slog.Logger
	releases releases

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	mu      sync.Mutex // so that no worker begins after Close
	workers sync.WaitGroup
}

// New returns a Locker on a connection, which it does not close. A nil log is silent.
func New(conn *redisconn.Conn, log *slog.Logger) *Locker {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Locker{conn: conn, log: log, releases: releases{conn: conn}, ctx: ctx, stop: cancel}
}

// Close ends the renewing of locks that are still held: nobody should hold one. Lock fails with Unavailable afterwards.
func (l *Locker) Close() error {
	l.mu.Lock()
	l.stop()
	l.mu.Unlock()
	l.workers.Wait()
	return nil
}

// spawn starts a goroutine that Close waits for, unless it is closed.
func (l *Locker) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return false
	}
	l.workers.Go(f)
	return true
}

// lease is a lock in somebody's hands.
type lease struct {
	l     *Locker
	key   string // of the hash
	space string // what is before the first colon of the key
	token string // names this lease; WildDuck does not look at it
	index int64  // names it for WildDuck
	ttl   time.Duration
	until time.Time // when it ends unless it is renewed, by our clock and with care

	ended chan struct{} // closed by release
	lost  chan struct{} // closed when it is no longer ours
}

// takeScript takes a lock that is free, or that this very lease has already. KEYS: the lock, the counter of owners. ARGV:
// time of the lease in milliseconds, token. Returns {1, number of the owner} or {0, time left in milliseconds}.
var takeScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[2] then
    return {0, redis.call('PTTL', KEYS[1])}
  end
else
  redis.call('HSET', KEYS[1], 'index', redis.call('INCR', KEYS[2]), 'owner', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {1, tonumber(redis.call('HGET', KEYS[1], 'index'))}
`)

// renewScript prolongs a lease. KEYS: the lock. ARGV: time in milliseconds, token. Returns 1 if it was still held.
var renewScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[2] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
`)

// releaseScript gives a lock back and tells those who wait. KEYS: the lock. ARGV: token, channel. Returns 1 if it was
// still held.
var releaseScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], KEYS[1])
return 1
`)

// Lock waits until a lock is free, at most as long as ctx lives, and takes it for ttl, at least MinTTL. The name is a
// namespace, a colon and what is locked, for example "mail:mbwr:" and the identifier of a mailbox. The lease is renewed
// until release is called or the process dies; release may be called more than once, and gives the lock back even if
// Redis is gone now and comes back before the lease ends.
//
// The channel lost is closed when the lease was not renewed in time or is somebody else's; what the lock protected must
// end then. It is never closed after release.
//
// Errors: Unavailable when Redis does not answer or the deadline of ctx passed while another held the lock, Canceled when
// ctx was canceled, Invalid for a name without a namespace.
func (l *Locker) Lock(ctx context.Context, name string, ttl time.Duration) (release func(), lost <-chan struct{}, err error) {
	space, _, ok := strings.Cut(name, ":")
	if !ok || space == "" {
		return nil, nil, mail.NewError(mail.CodeInvalid, "a lock needs a namespace")
	}
	var token [16]byte
	_, _ = rand.Read(token[:]) // never fails, see its documentation
	s := &lease{
		l: l, key: name, space: space, token: hex.EncodeToString(token[:]), ttl: max(ttl, MinTTL),
		ended: make(chan struct{}), lost: make(chan struct{}),
	}
	if err := s.take(ctx); err != nil {
		return nil, nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if !l.spawn(s.renew) {
		s.giveBack()
		return nil, nil, fmt.Errorf("lock %s: %w", name, errClosed())
	}
	return sync.OnceFunc(func() {
		close(s.ended)
		s.giveBack()
	}), s.lost, nil
}

func errClosed() error {
	return mail.WrapError(mail.CodeUnavailable, "", errors.New("the locks are closed"))
}

// take waits for the lock and takes it.
func (s *lease) take(ctx context.Context) error {
	left, err := s.try(ctx)
	if left == 0 || err != nil {
		return waited(err)
	}
	released, leave := s.l.releases.await(ctx, s.space, s.key)
	defer leave()
	for {
		if left, err = s.try(ctx); left == 0 || err != nil {
			return waited(err)
		}
		again := time.NewTimer(min(max(left, pollLeast), pollMost))
		select {
		case <-released:
		case <-again.C:
		case <-s.l.ctx.Done():
			err = errClosed()
		case <-ctx.Done():
			err = waited(mail.WrapError(mail.CodeCanceled, "", ctx.Err()))
		}
		again.Stop()
		if err != nil {
			return err
		}
	}
}

// waited is the error of who has waited until the deadline, between two requests or in the middle of one; others it leaves.
func waited(err error) error {
	if mail.CodeOf(err) == mail.CodeCanceled && errors.Is(err, context.DeadlineExceeded) {
		return mail.WrapError(mail.CodeUnavailable, "Another operation is in progress, try again later", err)
	}
	return err
}

// try takes the lock if it is free; otherwise it returns how long the owner's lease lasts.
func (s *lease) try(ctx context.Context) (left time.Duration, err error) {
	start := time.Now()
	var answer []int64
	err = s.l.conn.Do(ctx, func(ctx context.Context) (err error) {
		answer, err = takeScript.Run(ctx, s.l.conn.Client(), []string{s.key, s.space + "index"}, s.ttl.Milliseconds(), s.token).Int64Slice()
		if err == nil && len(answer) != 2 {
			err = fmt.Errorf("the answer is %v", answer)
		}
		return err
	})
	switch {
	case err != nil:
		s.until = start.Add(s.ttl + s.l.conn.Timeout())
		s.abandon() // it may be ours without our knowing
		return 0, err
	case answer[0] == 1:
		s.index, s.until = answer[1], s.careful(start)
		return 0, nil
	}
	return max(time.Duration(answer[1])*time.Millisecond, pollLeast), nil
}

// careful is the end of a lease that was asked for at a time: earlier than Redis has it, whose clock may run faster.
func (s *lease) careful(start time.Time) time.Time { return start.Add(s.ttl - s.ttl/20) }

// renew prolongs the lease until it is released, and tells when that failed.
func (s *lease) renew() {
	next := s.ttl / 3
	for {
		select {
		case <-s.ended:
			return
		case <-s.l.ctx.Done():
			return
		case <-time.After(min(next, time.Until(s.until))):
		}
		start := time.Now()
		if !start.Before(s.until) {
			s.lose("it could not be renewed in time")
			return
		}
		held, err := s.prolong()
		switch {
		case err != nil:
			next = min(retry, s.ttl/10)
		case !held:
			s.lose("it is no longer in Redis")
			return
		default:
			s.until, next = s.careful(start), s.ttl/3
		}
	}
}

func (s *lease) prolong() (held bool, err error) {
	ctx, cancel := context.WithDeadline(s.l.ctx, s.until)
	defer cancel()
	err = s.l.conn.Do(ctx, func(ctx context.Context) (err error) {
		held, err = renewScript.Run(ctx, s.l.conn.Client(), []string{s.key}, s.ttl.Milliseconds(), s.token).Bool()
		return err
	})
	return held, err
}

// lose tells the owner, unless it has released the lock meanwhile.
func (s *lease) lose(why string) {
	select {
	case <-s.ended:
		return
	default:
	}
	s.l.log.Warn("a lock was lost", "lock", s.key, "owner", s.index, "reason", why)
	close(s.lost)
}

// giveBack gives the lock back, now or as soon as Redis is there.
func (s *lease) giveBack() {
	if err := s.releaseNow(context.Background()); err != nil {
		s.abandon()
	}
}

func (s *lease) releaseNow(ctx context.Context) error {
	return s.l.conn.Do(ctx, func(ctx context.Context) error {
		return releaseScript.Run(ctx, s.l.conn.Client(), []string{s.key}, s.token, s.space+"-release").Err()
	})
}

// abandon tries to give back a lock until it would have ended by itself.
func (s *lease) abandon() {
	end := time.Now().Add(s.ttl)
	s.l.spawn(func() {
		for time.Now().Before(end) {
			if s.releaseNow(s.l.ctx) == nil {
				return
			}
			select {
			case <-s.l.ctx.Done():
				return
			case <-time.After(retry):
			}
		}
	})
}
