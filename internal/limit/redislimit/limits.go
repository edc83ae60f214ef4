// Package redislimit keeps limits in Redis, on the keys and with the arithmetic of WildDuck, so that all nodes count
// together.
//
// A counter is one key that expires. Places (limit.Concurrency) are counted in WildDuck's hashes, and beside them each
// node writes down what of it is its own: so the places of a node that died are given back by the others, what a
// starting WildDuck forgets is counted again, and what could not be told to Redis is made good when it is back.
//
// While Redis is gone every call fails with Unavailable, at once after the first; the caller decides what that means. The
// package imports internal/limit, internal/mail and internal/redisconn.
package redislimit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/limit"
	"mallard/internal/mail"
	"mallard/internal/redisconn"
)

// Defaults of Options.
const (
	DefaultNodeTTL = time.Minute
	DefaultBeat    = 10 * time.Second
)

// maxKey is the longest key in octets that is kept as it is; of a longer one a hash is kept. No key of WildDuck for an
// existing account is as long.
const maxKey = 512

// Options are the settings.
type Options struct {
	// Conn is the connection to Redis, which the limits do not close.
	Conn *redisconn.Conn
	// NodeTTL is how long a node may be silent before others give its places back, Beat how often it says that it lives.
	NodeTTL, Beat time.Duration
	Log           *slog.Logger
}

// Limits implements limit.Limits. Make it with New.
type Limits struct {
	o    Options
	node string // names this process and no other, ever

	stop    context.CancelFunc
	done    chan struct{}
	wake    chan struct{}
	closing sync.Once
	closed  atomic.Bool

	mu    sync.Mutex
	held  map[place]*holding
	dirty map[place]struct{} // Redis may say something else of them
}

var _ limit.Limits = (*Limits)(nil)

// New returns limits. It starts a goroutine, which Close ends.
func New(o Options) (*Limits, error) {
	if o.Conn == nil {
		return nil, errors.New("redislimit: the connection is missing")
	}
	if o.NodeTTL <= 0 {
		o.NodeTTL = DefaultNodeTTL
	}
	if o.Beat <= 0 {
		o.Beat = min(DefaultBeat, o.NodeTTL/4)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	var unique [8]byte
	_, _ = rand.Read(unique[:]) // never fails, see its documentation
	ctx, cancel := context.WithCancel(context.Background())
	l := &Limits{
		o: o, node: fmt.Sprintf("%s:%d:%s", host, os.Getpid(), hex.EncodeToString(unique[:])),
		stop: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1),
		held: map[place]*holding{}, dirty: map[place]struct{}{},
	}
	go l.run(ctx)
	return l, nil
}

// counterScript is WildDuck's counter: nothing changes at or above the limit; the window begins with the first increment.
// KEYS: the counter. ARGV: limit, increment, window in milliseconds. Returns whether it was below the limit, the value
// and what is left of the window in milliseconds.
var counterScript = redis.NewScript(`
local value = tonumber(redis.call('GET', KEYS[1]) or 0)
if value >= tonumber(ARGV[1]) then
  return {0, value, redis.call('PTTL', KEYS[1])}
end
if tonumber(ARGV[2]) > 0 then
  local before = value
  value = redis.call('INCRBY', KEYS[1], ARGV[2])
  if before == 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
end
return {1, value, redis.call('PTTL', KEYS[1])}
`)

// Add implements limit.Counter.
func (l *Limits) Add(ctx context.Context, key string, inc, most int64, window time.Duration) (limit.Count, error) {
	if err := canceled(ctx); err != nil {
		return limit.Count{}, err
	}
	if inc < 0 || inc > limit.MaxIncrement {
		return limit.Count{}, mail.NewError(mail.CodeInvalid, "the increment of a counter is out of range")
	}
	if most <= 0 {
		return limit.Count{OK: true}, nil
	}
	if window <= 0 {
		window = limit.DefaultWindow
	}
	var c limit.Count
	err := l.o.Conn.Do(ctx, func(ctx context.Context) error {
		answer, err := counterScript.Run(ctx, l.o.Conn.Client(), []string{shortKey(key)}, most, inc, max(window.Milliseconds(), 1)).Int64Slice()
		if err != nil {
			return err
		}
		if len(answer) != 3 {
			return fmt.Errorf("the counter's answer is %v", answer)
		}
		c = limit.Count{OK: answer[0] == 1, Value: answer[1]}
		if c.Value > 0 && answer[2] > 0 {
			c.TTL = time.Duration(min(answer[2], math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
		}
		return nil
	})
	if err != nil {
		return limit.Count{}, fmt.Errorf("count: %w", err)
	}
	return c, nil
}

// Reset implements limit.Counter.
func (l *Limits) Reset(ctx context.Context, keys ...string) error {
	if err := canceled(ctx); err != nil {
		return err
	}
	if len(keys) == 0 {
		return nil
	}
	short := make([]string, len(keys))
	for i, key := range keys {
		short[i] = shortKey(key)
	}
	err := l.o.Conn.Do(ctx, func(ctx context.Context) error { return l.o.Conn.Client().Del(ctx, short...).Err() })
	if err != nil {
		return fmt.Errorf("reset counters: %w", err)
	}
	return nil
}

// shortKey bounds the length of a key. The hash cannot be mistaken for a key that is kept as it is: it makes a key that is
// longer than those.
func shortKey(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxKey+1-len(sum)] + string(sum[:])
}

func canceled(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return mail.WrapError(mail.CodeCanceled, "", err)
	}
	return nil
}

// Close gives back the places that are still held, if Redis is there, and ends the goroutine. Nothing but releases of
// places may follow, which do nothing.
func (l *Limits) Close() error {
	l.closing.Do(func() {
		l.closed.Store(true)
		l.stop()
		<-l.done
		l.leave()
	})
	return nil
}
