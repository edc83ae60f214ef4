package imap

import (
	"context"
	"errors"
	"slices"
	"time"

	"mallard/internal/event"
	"mallard/internal/imap/imapwire"
)

// idle is IDLE (RFC 2177): changes are told as they happen, until the client
// says DONE.
func (s *session) idle(ctx context.Context, cmd *imapwire.Command) error {
	// What happened before is told after the continuation: the subscription
	// has been active since login, so nothing falls between.
	s.w.Continue("idling")
	if err := s.tell(ctx, true); err != nil {
		return err
	}
	if err := s.w.Flush(); err != nil {
		return err
	}
	done := make(chan error, 1)
	s.setWaiting(true)
	go func() { done <- s.r.ReadDone() }()
	err := s.idleUntil(ctx, done)
	s.setWaiting(false)
	var bad *imapwire.Error
	switch {
	case errors.As(err, &bad):
		return err
	case err != nil:
		s.readFailed(err)
		return nil
	case s.done:
		return nil
	}
	return s.okText(ctx, cmd, "", "IDLE terminated")
}

// idleUntil returns when the reading of DONE has ended, which it always waits for.
func (s *session) idleUntil(ctx context.Context, done <-chan error) error {
	keepAlive := newTicker(s.srv.o.KeepAlive)
	defer keepAlive.stop()
	hints := s.events.Ready()
	for {
		select {
		case err := <-done:
			if s.setWaiting(true) || errors.Is(err, errStopped) {
				s.bye(imapwire.CodeUnavailable, "The server is shutting down")
				return nil
			}
			return err
		case _, open := <-hints:
			if !open {
				hints = nil // no more hints will come: look from time to time
			}
			s.heed(ctx, s.events.Take())
		case <-keepAlive.c:
			// The journal is the truth: look without a hint as well.
			s.tellIdle(ctx)
			if !s.done {
				s.w.Status("*", imapwire.CondOK, "", "Still here")
			}
		}
		if err := s.w.Flush(); err != nil || s.done {
			s.done = true
			s.interrupt()
			<-done
			return nil
		}
	}
}

// heed tells what events hint at, if it is about the selected mailbox.
func (s *session) heed(ctx context.Context, events []event.Event) {
	if reason, ended := logoutReason(events); ended {
		s.bye("", reason)
		return
	}
	if s.view != nil && slices.ContainsFunc(events, func(e event.Event) bool {
		return e.Mailbox.IsZero() || e.Mailbox == s.view.Mailbox()
	}) {
		s.tellIdle(ctx)
	}
}

// tellIdle tells what is new. There is no command that could be answered with NO,
// so that trouble ends the connection.
func (s *session) tellIdle(ctx context.Context) {
	if err := s.tell(ctx, true); err != nil {
		s.log.WarnContext(ctx, "IMAP IDLE", "error", err)
		s.bye(imapwire.CodeUnavailable, "The mailbox cannot be read now")
	}
}

// ticker is a time.Ticker that may never tick.
type ticker struct {
	t *time.Ticker
	c <-chan time.Time
}

func newTicker(d time.Duration) ticker {
	if d < 0 {
		return ticker{}
	}
	t := time.NewTicker(d)
	return ticker{t, t.C}
}

func (t ticker) stop() {
	if t.t != nil {
		t.t.Stop()
	}
}
