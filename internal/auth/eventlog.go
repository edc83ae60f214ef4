package auth

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"mallard/internal/mail"
)

// EventLog keeps the log of logins.
type EventLog interface {
	// LogAuthEvent counts events that have just happened and returns the id of their
	// entry, "" when nothing is logged.
	LogAuthEvent(ctx context.Context, e mail.AuthEvent, times int64) (id string, err error)
}

// DefaultEventQueue is the default of Options.EventQueue.
const DefaultEventQueue = 10_000

// eventBatch is how many events are looked at together, so that repetitions are
// written once.
const eventBatch = 256

// eventCloseWait is how long Close waits for events that are not written yet.
const eventCloseWait = 5 * time.Second

// noted is an event that waits to be written.
type noted struct {
	event mail.AuthEvent
	// then is what is to be stored together with the id of the entry; nil for nothing.
	then func(ctx context.Context, entry string)
}

// same is what repetitions of an event have in common.
type same struct {
	account                              mail.AccountID
	action, result, protocol, ip, target string
}

func (n *noted) same() same {
	e := &n.event
	return same{e.Account, e.Action, e.Result, e.Protocol, e.IP, e.Target}
}

// eventWriter writes events behind the back of those who log in: a client does not
// wait for the log. It is one goroutine, so that repetitions find the entry of the
// first.
type eventWriter struct {
	log   EventLog
	warn  func(text string, args ...any)
	queue chan *noted
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	lost   int64

	ctx  context.Context
	stop context.CancelFunc
}

func newEventWriter(log EventLog, size int, warn func(string, ...any)) *eventWriter {
	w := &eventWriter{log: log, warn: warn, queue: make(chan *noted, size), done: make(chan struct{})}
	w.ctx, w.stop = context.WithCancel(context.Background())
	go w.run()
	return w
}

// add takes an event. With a queue that is full, because the database does not
// answer, the event is lost: logins are not held up by their log.
func (w *eventWriter) add(n noted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	select {
	case w.queue <- &n:
		return
	default:
	}
	if w.lost++; w.lost == 1 {
		w.warn("the log of logins is behind: events are lost", "waiting", len(w.queue))
	}
}

// close writes what waits, as long as eventCloseWait.
func (w *eventWriter) close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	timer := time.AfterFunc(eventCloseWait, w.stop)
	defer timer.Stop()
	<-w.done
	w.stop()
	return nil
}

func (w *eventWriter) run() {
	defer close(w.done)
	for n := range w.queue {
		batch := append(make([]*noted, 0, 1+min(len(w.queue), eventBatch)), n)
		for len(batch) < eventBatch {
			more, ok := w.next()
			if !ok {
				break
			}
			batch = append(batch, more)
		}
		w.write(batch)
		w.tellLost()
	}
}

// next returns an event that waits already.
func (w *eventWriter) next() (n *noted, ok bool) {
	select {
	case n, ok = <-w.queue:
		return n, ok
	default:
		return nil, false
	}
}

func (w *eventWriter) write(batch []*noted) {
	times := map[same]int64{}
	for _, n := range batch {
		times[n.same()]++
	}
	ids := map[same]string{}
	for _, n := range batch {
		if w.ctx.Err() != nil {
			return
		}
		id, written := ids[n.same()]
		if !written {
			var err error
			if id, err = w.log.LogAuthEvent(w.ctx, n.event, times[n.same()]); err != nil {
				w.warn("cannot write the log of logins", "account", n.event.Account, "action", n.event.Action, "error", err)
			}
			ids[n.same()] = id
		}
		if n.then != nil {
			n.then(w.ctx, id)
		}
	}
}

func (w *eventWriter) tellLost() {
	w.mu.Lock()
	lost := w.lost
	if len(w.queue) < cap(w.queue)/2 {
		w.lost = 0
	} else {
		lost = 0
	}
	w.mu.Unlock()
	if lost > 0 {
		w.warn("the log of logins lacks events", "lost", lost)
	}
}

// LogEvent notes an event for the log of logins of its account, if there is one. It
// does not wait for it to be written.
func (s *Service) LogEvent(e mail.AuthEvent) {
	if s.events != nil {
		s.events.add(noted{event: e})
	}
}

// Close writes what is left of the log of logins; it takes five seconds at most.
func (s *Service) Close() error {
	if s.events == nil {
		return nil
	}
	return s.events.close()
}

// logLogin notes a login of a known account, and does what is to be stored with it:
// behind the caller's back where there is a log, else at once.
func (s *Service) logLogin(ctx context.Context, req Request, res *Result, err error) {
	var then func(ctx context.Context, entry string)
	if err == nil {
		then = s.afterLogin(req, res)
	}
	if s.events == nil {
		if then != nil {
			then(ctx, "")
		}
		return
	}
	if e, ok := loginEvent(req, res, err); ok {
		s.events.add(noted{event: e, then: then})
	}
}

// loginEvent is the event of a login; ok is false for one that says nothing of an
// account: of nobody, refused unseen, or hindered by trouble.
func loginEvent(req Request, res *Result, err error) (e mail.AuthEvent, ok bool) {
	e = mail.AuthEvent{
		Account: AccountOf(err), Action: mail.ActionAuthentication, Protocol: req.Protocol, IP: ipText(req), Session: req.Session,
		Scope: req.Scope, AppID: req.AppID,
	}
	switch code := mail.CodeOf(err); {
	case err == nil:
		e.Account, e.Result, e.Source = res.Account.ID, mail.ResultSuccess, string(res.Source)
		if res.AppPassword != nil {
			e.AppPassword, e.AppPasswordName = res.AppPassword.ID, res.AppPassword.Description
		} else if req.Scope == ScopeMaster {
			e.Require2FA = strings.Join(res.Account.Enabled2FA, ",")
		}
	case errors.Is(err, errSuspended):
		e.Result = mail.ResultSuspended
	case errors.Is(err, ErrDisabled):
		e.Result = mail.ResultDisabled
	case errors.Is(err, errScopeDisabled): // WildDuck has no word for it
	case code == mail.CodeAuthFailed || code == mail.CodeAuthScope:
		e.Result, e.Source = mail.ResultFail, string(SourceMaster) // whatever was tried
	default:
		return e, false
	}
	return e, !e.Account.IsZero()
}

// afterLogin is what a login that succeeded leaves behind.
func (s *Service) afterLogin(req Request, res *Result) func(ctx context.Context, entry string) {
	now := s.o.Now().UTC()
	if res.AppPassword != nil {
		return func(ctx context.Context, entry string) { s.usedAppPassword(ctx, req, res.AppPassword, now, entry) }
	}
	last := res.Account.LastLogin
	if s.isRecent(last, ipText(req), now) {
		return nil
	}
	id := res.Account.ID
	return func(ctx context.Context, entry string) {
		s.noteLogin(ctx, id, mail.LastLogin{Time: now, IP: ipText(req), Event: entry})
	}
}

// ipText is the address that a login came from, "" when it is not known.
func ipText(req Request) string {
	if !req.IP.IsValid() {
		return ""
	}
	return req.IP.Unmap().String()
}
