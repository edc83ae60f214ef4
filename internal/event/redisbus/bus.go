// Package redisbus carries events between the nodes of a cluster over Redis, on the channels of WildDuck and in its
// forms, so that its nodes are told and tell.
//
// Receivers of the own process are told at once, by a membus, whatever Redis does. For the others an event waits in a
// bounded queue, where equal ones are merged, until Redis has taken it: Publish never waits, and a time without Redis
// costs no event. What others publish meanwhile is lost; so while the bus does not hear from Redis it tells every
// receiver now and then to look into the store (a Changed without a mailbox), and once more when it hears again. Nobody
// else needs to know whether Redis is there.
//
// The package imports internal/event, its membus, internal/mail and internal/redisconn; it knows nothing of the store.
package redisbus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mallard/internal/event"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/redisconn"
)

// Defaults of Options.
const (
	DefaultWorkersTTL    = 120 * time.Second
	DefaultMaxQueue      = 100_000
	DefaultSubscribeWait = 250 * time.Millisecond
	DefaultHeartbeat     = time.Second
	DefaultPoll          = 3 * time.Second
	DefaultLookRate      = 500
	DefaultCloseWait     = time.Second
)

// Options configure a Bus.
type Options struct {
	// Conn is the connection to Redis, which the bus does not close.
	Conn *redisconn.Conn
	// WorkerID names this process among those that serve users, the key workerId in [dbs] with the process number. Empty:
	// host name and process number, as WildDuck has it.
	WorkerID string
	// WorkerChannels says whether events go only to the processes that serve their account (the setting
	// const:imap:use_wd_worker_channels) and not to all. It is asked at most every 5 s. Nil: to all.
	WorkerChannels func(ctx context.Context) bool
	// WorkersTTL is how long a process counts as serving a user without renewing it (notifyUserWorkersTtl), and
	// WorkersRefresh how often it renews that (notifyUserWorkersRefresh; a quarter of the former when zero).
	WorkersTTL, WorkersRefresh time.Duration
	// MaxQueue is the number of different events that may wait for Redis, at about 120 octets each.
	MaxQueue int
	// SubscribeWait bounds how long New waits for the first connection, and Subscribe for the registration in Redis.
	SubscribeWait time.Duration
	// Heartbeat is the time between two questions whether the subscription to the channels works; after three without an
	// answer it is made anew.
	Heartbeat time.Duration
	// Poll is the time between two looks of an account while nothing is heard from Redis, if LookRate allows it.
	Poll time.Duration
	// LookRate is the number of accounts that are told to look in a second, so that a node with many does not ask the
	// store for all at once.
	LookRate int
	// CloseWait bounds how long Close waits for Redis to take what still waits.
	CloseWait time.Duration
	Log       *slog.Logger
}

func (o *Options) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.WorkersTTL, DefaultWorkersTTL)
	def(&o.WorkersRefresh, o.WorkersTTL/4)
	def(&o.SubscribeWait, DefaultSubscribeWait)
	def(&o.Heartbeat, DefaultHeartbeat)
	def(&o.Poll, DefaultPoll)
	def(&o.CloseWait, DefaultCloseWait)
	if o.MaxQueue <= 0 {
		o.MaxQueue = DefaultMaxQueue
	}
	if o.LookRate <= 0 {
		o.LookRate = DefaultLookRate
	}
	if o.WorkerID == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		o.WorkerID = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Bus is an event bus between nodes. Make one with New.
type Bus struct {
	o        Options
	origin   string // marks what this bus sends
	local    *membus.Bus
	queue    *queue
	accounts *accounts
	link     *link
	look     *looker
	sender   *sender

	stop    context.CancelFunc
	workers sync.WaitGroup

	early   atomic.Bool  // somebody subscribed before the bus was connected
	back    atomic.Int64 // when it was connected again after it had not been, in nanoseconds since 1970; 0 for never
	mu      sync.Mutex
	closing chan struct{} // closed when Close begins
	closed  bool
}

var _ event.Bus = (*Bus)(nil)

// New returns a bus and waits, at most Options.SubscribeWait, until it hears from Redis. That it does not is no error:
// Connected says so, and the bus tries again until it is closed. Close ends its goroutines.
func New(ctx context.Context, o Options) (*Bus, error) {
	if o.Conn == nil {
		return nil, errors.New("redisbus: the connection is missing")
	}
	o.setDefaults()
	var origin [8]byte
	_, _ = rand.Read(origin[:]) // never fails, see its documentation
	b := &Bus{o: o, origin: hex.EncodeToString(origin[:]), local: membus.New(), queue: newQueue(o.MaxQueue), closing: make(chan struct{})}
	b.accounts = newAccounts(o, b.tellToLook)
	b.look = newLooker(o, b.accounts.all, b.tellToLook)
	b.link = newLink(o, b.receive)
	b.sender = newSender(o, b.queue, b.origin, b.settled)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = cancel
	for _, run := range []func(context.Context){b.accounts.run, b.look.run, b.link.run, b.sender.run, b.watch} {
		b.workers.Go(func() { run(running) })
	}
	b.awaitLink(ctx)
	return b, nil
}

func (b *Bus) awaitLink(ctx context.Context) {
	late := time.NewTimer(b.o.SubscribeWait)
	defer late.Stop()
	for !b.Connected() {
		linked, _ := b.link.state()
		up, _ := b.o.Conn.State()
		if b.Connected() {
			return
		}
		select {
		case <-linked:
		case <-up:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Connected reports whether the bus hears from Redis and can talk to it. While it is not, events of other nodes do not
// arrive, and receivers are told to look from time to time.
func (b *Bus) Connected() bool { return b.Err() == nil }

// Err is the reason why the bus is not connected, nil when it is.
func (b *Bus) Err() error {
	_, linkErr := b.link.state()
	_, connErr := b.o.Conn.State()
	if connErr != nil {
		return connErr
	}
	return linkErr
}

// Waiting is the number of events that Redis has not taken yet.
func (b *Bus) Waiting() int { return b.queue.len() }

// settled reports whether Redis has been there for so long that the other nodes have found it as well.
func (b *Bus) settled() bool {
	return b.Connected() && time.Since(time.Unix(0, b.back.Load())) >= settleBeats*b.o.Heartbeat
}

// watch tells the looker and the log when the bus loses Redis and finds it again.
func (b *Bus) watch(ctx context.Context) {
	heard, first := true, true // a node that starts has missed nothing yet
	for {
		linked, linkErr := b.link.state()
		up, connErr := b.o.Conn.State()
		err := errors.Join(connErr, linkErr)
		starting := (linkErr == nil || errors.Is(linkErr, errNotLinked)) && (connErr == nil || errors.Is(connErr, redisconn.ErrNotTried))
		switch {
		case err == nil:
			if !heard || first && b.early.Load() {
				b.back.Store(time.Now().UnixNano())
				b.o.Log.Info("events of other nodes arrive")
				b.look.poll(false)
				// Who serves whom may be forgotten as well; after that everybody looks once.
				b.accounts.renew(b.look.once)
			}
			heard, first = true, false
		case heard && !starting:
			b.o.Log.Warn("events of other nodes do not arrive: looking for changes instead", "every", b.o.Poll, "error", err)
			heard = false
			b.look.poll(true)
		}
		select {
		case <-ctx.Done():
			return
		case <-linked:
		case <-up:
		}
	}
}

// receive is called with each message of the channels.
func (b *Bus) receive(channel, text string) {
	if channel == lookChannel {
		if text != b.origin {
			b.look.once()
		}
		return
	}
	if e, ok := decode(text, b.origin); ok {
		_ = b.local.Publish(context.Background(), e) // fails only when the bus is closed
	}
}

// tellToLook tells the local receivers of an account that something may have changed.
func (b *Bus) tellToLook(acct mail.AccountID) {
	_ = b.local.Publish(context.Background(), event.Event{Account: acct, Kind: event.Changed})
}

// Publish tells the receivers of this process at once and leaves the event for the others in the queue. It waits for
// nothing. It fails with Unavailable after Close, and when the queue is full; then the nodes of Mallard are told to look
// as soon as Redis is back.
func (b *Bus) Publish(ctx context.Context, e event.Event) error {
	if err := b.local.Publish(ctx, e); err != nil {
		return err
	}
	if e.Kind > event.Drop {
		return nil // of no meaning to this version
	}
	if err := b.queue.put(e); err != nil {
		return mail.WrapError(mail.CodeUnavailable, "other nodes are not told", err)
	}
	return nil
}

// Subscribe starts a subscription. It waits until this process is registered for the account, at most
// Options.SubscribeWait, and not at all while the bus is not connected; when Redis is slower, the subscription is told to
// look once that is done.
func (b *Bus) Subscribe(ctx context.Context, acct mail.AccountID) (event.Subscription, error) {
	inner, err := b.local.Subscribe(ctx, acct)
	if err != nil {
		return nil, err
	}
	registered := b.accounts.add(acct)
	if !b.Connected() {
		b.early.Store(true)
	}
	s := &subscription{Subscription: inner, accounts: b.accounts, acct: acct}
	if err := b.await(ctx, acct, registered); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (b *Bus) await(ctx context.Context, acct mail.AccountID, registered <-chan struct{}) error {
	select {
	case <-registered:
		return nil
	default:
	}
	if !b.Connected() { // no event would come, and it looks when they do
		b.accounts.late(acct)
		return nil
	}
	late := time.NewTimer(b.o.SubscribeWait)
	defer late.Stop()
	select {
	case <-registered:
	case <-ctx.Done():
		return mail.WrapError(mail.CodeCanceled, "canceled", ctx.Err())
	case <-late.C:
		b.accounts.late(acct)
	case <-b.closing:
		return mail.WrapError(mail.CodeUnavailable, "events are not available", membus.ErrClosed)
	}
	return nil
}

// subscription is that of the process, and a place in the register of those who serve the account.
type subscription struct {
	event.Subscription
	accounts *accounts
	acct     mail.AccountID
	left     atomic.Bool
}

// Close ends the subscription; it may be called more than once.
func (s *subscription) Close() {
	s.Subscription.Close()
	if !s.left.Swap(true) {
		s.accounts.remove(s.acct)
	}
}

// Close ends all subscriptions. Before it returns it gives Redis a moment (Options.CloseWait) to take the events that
// still wait, and takes this process out of the register.
func (b *Bus) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	close(b.closing)
	b.mu.Unlock()

	err := b.local.Close() // nothing is published from here on
	b.sender.drain(b.o.CloseWait)
	b.accounts.leaveAll(b.o.CloseWait)
	b.stop()
	b.workers.Wait()
	return err
}
