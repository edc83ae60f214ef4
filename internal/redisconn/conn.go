// Package redisconn is a node's way to Redis: how the configuration names the server (one, or what Sentinels point to,
// with TLS and passwords), a bounded pool of connections, and calls that never wait longer than a bound and fail at once
// while Redis is known to be gone.
//
// What is in Redis is the business of the packages that use it (redisbus, redislimit, redislock, rediscache); this one
// knows no key. It imports internal/mail only.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"mallard/internal/mail"
)

// Conn is the connection of a node to Redis. It is safe for concurrent use. Make it with Open.
type Conn struct {
	o      Options
	client *redis.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	err     error         // why Redis is taken to be gone; nil: it is there
	changed chan struct{} // closed when the former changes between nil and not
	tripped chan struct{} // has a value when the heartbeat shall look soon
}

// ErrNotTried is the state before the first answer.
var ErrNotTried = errors.New("not connected yet")

// ErrClosed is in the chain of errors after Close.
var ErrClosed = errors.New("the connection to Redis is closed")

// silenceLibrary keeps the library from writing to standard error: what it has to say comes back in errors.
var silenceLibrary = sync.OnceFunc(logging.Disable)

// Open makes a connection, which is made when it is needed: a server that is not there is no error here, see Wait. It
// starts a goroutine that asks Redis from time to time whether it answers; Close ends it.
func Open(o Options) (*Conn, error) {
	o.setDefaults()
	if len(o.Sentinels) > 0 && o.Master == "" {
		return nil, errors.New("the name of the master that the Sentinels watch is missing")
	}
	if len(o.Sentinels) == 0 && o.Addr == "" {
		return nil, errors.New("the address of Redis is missing")
	}
	silenceLibrary()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Conn{
		o: o, client: newClient(o), stop: cancel, done: make(chan struct{}),
		err: ErrNotTried, changed: make(chan struct{}), tripped: make(chan struct{}, 1),
	}
	go c.beat(ctx)
	return c, nil
}

// newClient makes the library's client. It repeats nothing by itself: only the caller knows what may happen twice.
func newClient(o Options) *redis.Client {
	const protocol = 2 // understood by every server
	if len(o.Sentinels) > 0 {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: o.Master, SentinelAddrs: o.Sentinels, Dialer: sentinelDialer(o),
			SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
			Username: o.Username, Password: o.Password, DB: o.DB, Protocol: protocol,
			MaxRetries: -1, DialerRetries: 1, DialTimeout: o.DialTimeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout,
			ContextTimeoutEnabled: true, PoolSize: o.PoolSize, MaxActiveConns: o.PoolSize, PoolTimeout: o.Timeout,
			DisableIdentity: true,
		})
	}
	return redis.NewClient(&redis.Options{
		Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, Protocol: protocol, TLSConfig: o.TLS,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: o.DialTimeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout,
		ContextTimeoutEnabled: true, PoolSize: o.PoolSize, MaxActiveConns: o.PoolSize, PoolTimeout: o.Timeout,
		DisableIdentity: true,
		// An extension of one vendor's servers.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Client is the library's client, for subscriptions, and for calls inside Do.
func (c *Conn) Client() *redis.Client { return c.client }

// Timeout is the bound of a call of Do.
func (c *Conn) Timeout() time.Duration { return c.o.Timeout }

// State tells whether Redis answers, with the reason if not, and a channel that is closed when that changes.
func (c *Conn) State() (changed <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed, c.err
}

// Up reports whether Redis answered when it was last asked.
func (c *Conn) Up() bool {
	_, err := c.State()
	return err == nil
}

// Do calls f, which talks to Redis with the context that it is given, and bounds it by Options.Timeout. While Redis is
// known to be gone, f is not called. The library's redis.Nil, the answer that there is nothing, is passed on; other
// errors are *mail.Error with code Canceled when ctx has ended, else Unavailable. After an error that is not an answer of
// Redis it is not known whether Redis did what f asked for.
func (c *Conn) Do(ctx context.Context, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return mail.WrapError(mail.CodeCanceled, "", err)
	}
	if _, err := c.State(); err != nil && !errors.Is(err, ErrNotTried) {
		return unavailable(err)
	}
	bounded, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	err := f(bounded)
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		return err
	case over(ctx) != nil:
		return mail.WrapError(mail.CodeCanceled, "", fmt.Errorf("%w: %w", over(ctx), err))
	}
	if c.fatal(err) {
		c.set(err)
	}
	return unavailable(err)
}

// over is why ctx has ended. A connection, which has the deadline as well, may notice a moment before ctx that it has passed.
func over(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		return context.DeadlineExceeded
	}
	return nil
}

func unavailable(err error) error {
	return mail.WrapError(mail.CodeUnavailable, "a part of the server is not available", fmt.Errorf("redis: %w", err))
}

// fatal reports whether an error means that Redis is gone, and not only that it does not do this.
func (c *Conn) fatal(err error) bool {
	if errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		return false // many calls wait; those that have a connection will tell
	}
	var answer redis.Error
	return !errors.As(err, &answer) || redis.HasErrorPrefix(err, "LOADING") || redis.HasErrorPrefix(err, "MASTERDOWN")
}

// set notes what is known about Redis and wakes those who wait for a change.
func (c *Conn) set(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.err
	if errors.Is(was, ErrClosed) {
		return
	}
	c.err = err
	if (was == nil) == (err == nil) {
		return
	}
	close(c.changed)
	c.changed = make(chan struct{})
	if err == nil {
		c.o.Log.Info("Redis answers", "server", c.name())
		return
	}
	if errors.Is(err, ErrClosed) { // by ourselves: there is nothing to tell
		return
	}
	c.o.Log.Warn("Redis does not answer", "server", c.name(), "error", err)
	select {
	case c.tripped <- struct{}{}:
	default:
	}
}

// name is for logs.
func (c *Conn) name() string {
	if len(c.o.Sentinels) > 0 {
		return c.o.Master
	}
	return c.o.Addr
}

// retryFirst is the time after which a server that went away is asked again; later it is Options.Heartbeat.
const retryFirst = 100 * time.Millisecond

// beat asks whether Redis answers: rarely while it does, soon after it did not.
func (c *Conn) beat(ctx context.Context) {
	defer close(c.done)
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.tripped:
			wait = min(retryFirst, c.o.Heartbeat)
			continue
		case <-time.After(wait):
		}
		err := c.ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, redis.ErrPoolTimeout) { // all connections are busy: their users will tell
			c.set(err)
		}
		wait = min(max(2*wait, retryFirst), c.o.Heartbeat)
		if err == nil {
			wait = c.o.Heartbeat
		}
	}
}

func (c *Conn) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	return c.client.Ping(ctx).Err()
}

// Wait returns when Redis answers, or with the reason why it does not when ctx has ended. It is for the start of a node.
func (c *Conn) Wait(ctx context.Context) error {
	for {
		changed, err := c.State()
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrClosed) {
			return unavailable(err)
		}
		select {
		case <-ctx.Done():
			_, err = c.State()
			return fmt.Errorf("wait for Redis at %s: %w", c.name(), errors.Join(ctx.Err(), err))
		case <-changed:
		}
	}
}

// Close ends the connections. Calls fail with Unavailable afterwards.
func (c *Conn) Close() error {
	c.stop()
	<-c.done
	c.set(ErrClosed)
	err := c.client.Close()
	if errors.Is(err, redis.ErrClosed) {
		return nil
	}
	return err
}
