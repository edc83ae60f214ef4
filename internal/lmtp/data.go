package lmtp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"mallard/internal/delivery"
	"mallard/internal/mail"
)

var (
	// errAborted ends a message that the client gave up. What it did instead has
	// been replied to, or will be.
	errAborted = errors.New("the client gave up the message")
	// errTooSlow ends a message that is slower than MaxDataTime and MinRate allow.
	errTooSlow = errors.New("the message took too long")
)

// drainFactor is how many times the greatest message is read away after a
// failure, to stay in step with the client.
const drainFactor = 4

func (s *session) data(ctx context.Context, args string) {
	if args != "" {
		s.reject(501, "5.5.4", "DATA takes no parameter")
		return
	}
	if !s.ready() {
		return
	}
	s.reply(354, "", "End data with <CR><LF>.<CR><LF>")
	s.transfer(ctx, &dotReader{in: s.in, lineStart: true, pace: s.newPace()})
}

// ready checks that a transaction has recipients.
func (s *session) ready() bool {
	if len(s.rcpts) > 0 {
		return true
	}
	if s.sender == nil {
		s.reject(503, "5.5.1", "Say MAIL first")
		return false
	}
	// No fault of a client that sends its commands together.
	s.reply(503, "5.5.1", "No valid recipients")
	return false
}

// source is a message on its way in.
type source interface {
	io.Reader
	// fail tells what is wrong with the message, of which the rest is read away.
	fail(a answer)
}

// transfer receives a message, delivers it and replies once for each recipient
// (RFC 2033, 4.2). A message that has begun is finished at shutdown: the client
// would have to send all of it again.
func (s *session) transfer(ctx context.Context, r source) {
	ctx = context.WithoutCancel(ctx)
	defer s.reset()
	start := time.Now()
	d, err := s.srv.o.Backend.Receive(ctx, r, s.srv.o.MaxSize)
	if err != nil {
		s.receiveFailed(ctx, r, err)
		return
	}
	defer d.Close()
	env := delivery.Envelope{
		Sender: *s.sender, Recipients: s.rcpts, Client: s.client, Remote: s.conn.RemoteAddr(), Protocol: "LMTP", Secure: s.secure,
	}
	if s.host != nil {
		env.RemoteName = s.host()
	}
	for i, v := range s.srv.o.Backend.Deliver(ctx, env, d) {
		a := answer{250, "2.0.0", "Message stored as " + v.ID.String()}
		log, level := s.srv.o.Log, slog.LevelInfo
		if v.Err != nil {
			a, log, level = verdict(v.Err), log.With("error", v.Err), slog.LevelWarn
		} else {
			s.refused = 0
		}
		s.answer(a)
		log.LogAttrs(ctx, level, "delivery", slog.String("recipient", s.rcpts[i].Address), slog.String("account", s.rcpts[i].Account.String()),
			slog.String("sender", s.sender.Address), slog.Int64("size", d.Size()), slog.String("message", v.ID.String()),
			slog.Int("status", a.code), slog.Int64("ms", time.Since(start).Milliseconds()))
	}
}

// receiveFailed answers for a message that was not taken. The rest of it is read
// and forgotten, so that the session stays in step.
func (s *session) receiveFailed(ctx context.Context, r source, err error) {
	if errors.Is(err, errAborted) {
		return
	}
	s.srv.o.Log.WarnContext(ctx, "message not received", "sender", s.sender.Address, "recipients", len(s.rcpts), "error", err)
	a := verdict(err)
	if mail.CodeOf(err) == mail.CodeTooBig {
		a = s.tooBig()
	}
	r.fail(a)
	if !s.drain(r) {
		return
	}
	for range s.rcpts {
		s.answer(a)
	}
}

// drain reads the rest of a message away. When it returns false there is nothing
// more to say about the message.
func (s *session) drain(r io.Reader) bool {
	most := drainFactor * s.srv.o.MaxSize
	n, err := io.Copy(io.Discard, io.LimitReader(r, most+1))
	switch {
	case errors.Is(err, errAborted):
		return false
	case errors.Is(err, errStopped):
		s.reply(421, "4.3.2", "Server is shutting down")
	case err != nil || n > most:
		s.reply(421, "4.4.2", "The message could not be read to its end, closing connection")
	default:
		return true
	}
	s.finished = true
	return false
}

// pace tells when a message is too slow.
type pace struct {
	start time.Time
	o     *Options
}

func (s *session) newPace() pace { return pace{start: time.Now(), o: &s.srv.o} }

// check is called before more octets are waited for, with how many have come.
func (p pace) check(octets int64) error {
	d := time.Since(p.start)
	if d > p.o.MaxDataTime || d > p.o.ReadTimeout && octets < int64(d.Seconds()*float64(p.o.MinRate)) {
		return errTooSlow
	}
	return nil
}
