package imap

import (
	"errors"
	"os"
	"time"
)

// A session is mostly one that waits for its client. After a while it does so on the
// goroutine that serves the connection, which does nothing else and so has a small stack,
// and with no buffers, those of TLS apart. What there is to do is done aside, by run.

// waiting is what a session waits for.
type waiting uint8

const (
	busy       waiting = iota // nothing: it must not be interrupted
	forCommand                // which shutdown ends
	inIdle                    // which events end as well
)

// Reasons for which waiting ends without anything from the client. What has come of a
// line is kept.
var (
	errStopped = errors.New("the server is shutting down")
	errWoken   = errors.New("there are events")
	errTick    = errors.New("the client is to be sent something")
	errQuiet   = errors.New("the client sends nothing for now")
)

// clientsTurn is how long a client in IDLE is listened to between events that follow each
// other without a pause, which would keep its DONE from being heard.
const clientsTurn = time.Millisecond

// patientReader gives every read the time that the state of the session allows.
type patientReader session

func (r *patientReader) Read(p []byte) (int, error) {
	s := (*session)(r)
	if s.waiting != busy {
		if err := s.w.Flush(); err != nil {
			return 0, err
		}
	}
	if err := s.arm(s.r.Waiting()); err != nil {
		return 0, err
	}
	n, err := s.conn.Read(p)
	if n > 0 {
		s.readBy = time.Time{}
		return n, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // and no other time that is over, such as that of the connection itself
		return 0, s.why(err)
	}
	return 0, err
}

// patientWriter gives every write its time.
type patientWriter session

func (w *patientWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.srv.o.WriteTimeout)); err != nil {
		return 0, err
	}
	return w.conn.Write(p)
}

// arm sets the time for a read. A brief one ends when the client is quiet.
func (s *session) arm(brief bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err := s.called(); {
	case errors.Is(err, errWoken) && s.heeded:
		s.heeded = false
		return s.conn.SetReadDeadline(time.Now().Add(clientsTurn))
	case err != nil:
		return err
	}
	switch {
	case !s.loggedIn():
		s.readBy = s.loginBy // for everything, so that no octets buy time
	case s.readBy.IsZero():
		s.readBy = time.Now().Add(s.srv.o.IdleTimeout)
	}
	by := s.deadline()
	if quiet := time.Now().Add(s.srv.o.RestAfter); brief && quiet.Before(by) {
		by = quiet
	}
	return s.conn.SetReadDeadline(by)
}

// called reports whether somebody wants the wait to end. It must run with mu held.
func (s *session) called() error {
	switch {
	case s.waiting != busy && s.stopped:
		return errStopped
	case s.waiting == inIdle && s.woken:
		return errWoken
	}
	return nil
}

// deadline is when the wait is over by itself.
func (s *session) deadline() time.Time {
	if s.idling != nil && !s.tickBy.IsZero() && s.tickBy.Before(s.readBy) {
		return s.tickBy
	}
	return s.readBy
}

// why explains that a read has timed out.
func (s *session) why(timeout error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch err := s.called(); {
	case err != nil:
		return err
	case !now.Before(s.readBy):
		return timeout
	case !now.Before(s.deadline()):
		return errTick
	}
	return errQuiet
}

// await waits for something to do.
func (s *session) await() {
	if s.done {
		return
	}
	s.r.Rest()
	s.w.Rest()
	s.mu.Lock()
	s.waiting = forCommand
	if s.idling != nil {
		s.waiting = inIdle
	}
	err := s.called()
	if err == nil {
		err = s.conn.SetReadDeadline(s.deadline())
	}
	s.mu.Unlock()
	if err == nil {
		_ = s.line.Await() // whatever it meets, the next read meets it again
	}
	s.setWaiting(busy)
}

// setWaiting also reports whether the server is shutting down.
func (s *session) setWaiting(w waiting) (stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = w
	return s.stopped
}

// interrupt ends the wait for the client at shutdown. A command that is being carried
// out is finished first.
func (s *session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.cut()
}

// wake is called when there are events.
func (s *session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = true
	s.cut()
}

// cut ends a wait for which there is no reason any more. It must run with mu held.
func (s *session) cut() {
	if s.called() != nil {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// wasWoken reports whether there may be events that were not taken.
func (s *session) wasWoken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	woken := s.woken
	s.woken = false
	return woken
}
