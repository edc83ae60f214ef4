package imap

import (
	"context"
	"errors"
	"slices"
	"time"

	"mallard/internal/event"
	"mallard/internal/imap/imapwire"
)

// idle begins IDLE (RFC 2177): changes are told as they happen, until the client
// says DONE.
func (s *session) idle(ctx context.Context, cmd *imapwire.Command) error {
	// What happened before is told after the continuation: the subscription
	// has been active since login, so nothing falls between.
	s.w.Continue("idling")
	if err := s.tell(ctx, true); err != nil {
		return err
	}
	s.idling = cmd
	s.tickLater()
	return nil
}

// tickLater puts off the time at which the client is sent something.
func (s *session) tickLater() {
	if d := s.srv.o.KeepAlive; d >= 0 {
		s.tickBy = time.Now().Add(d)
	}
}

// idleOn goes on with IDLE. It is false when there is nothing to do for now.
func (s *session) idleOn(ctx context.Context) bool {
	switch err := s.readDone(); {
	case errors.Is(err, errQuiet):
		return false
	case errors.Is(err, errWoken):
		s.wasWoken()
		s.heed(ctx, s.events.Take())
		s.heeded = true
	case errors.Is(err, errTick):
		// The journal is the truth: look without a hint as well.
		s.tellIdle(ctx)
		if !s.done {
			s.w.Status("*", imapwire.CondOK, "", "Still here")
		}
		s.tickLater()
	default:
		s.endIdle(ctx, err)
	}
	return true
}

func (s *session) readDone() error {
	if s.setWaiting(inIdle) {
		return errStopped
	}
	defer s.setWaiting(busy)
	return s.r.ReadDone()
}

// endIdle completes IDLE, of which the end was read or could not be.
func (s *session) endIdle(ctx context.Context, err error) {
	cmd := s.idling
	s.idling, s.tickBy = nil, time.Time{}
	var bad *imapwire.Error
	switch {
	case err == nil:
		err = s.okText(ctx, cmd, "", "IDLE terminated")
	case !errors.As(err, &bad):
		s.readFailed(err)
		return
	}
	s.answer(ctx, cmd, err)
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
		s.log().WarnContext(ctx, "IMAP IDLE", "error", err)
		s.bye(imapwire.CodeUnavailable, "The mailbox cannot be read now")
	}
}
