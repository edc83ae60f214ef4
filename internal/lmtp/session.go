package lmtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"mallard/internal/delivery"
)

const bufferSize = 64 << 10

// errLineTooLong is returned for a command line beyond the limit.
var errLineTooLong = errors.New("command line too long")

// session is one connection.
type session struct {
	srv  *Server
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer

	mu      sync.Mutex
	waiting bool      // for a command: may be interrupted
	until   time.Time // by when the command must be there
	stopped bool

	client   string        // name given with LHLO, "" before
	host     func() string // waits for the host name of the client; nil when it is not looked for
	secure   bool
	sender   *delivery.Sender // nil outside a transaction
	rcpts    []*delivery.Recipient
	tried    int // recipients of the transaction, refused ones included
	refused  int // commands since the last message that was stored
	finished bool
}

func newSession(srv *Server, c net.Conn) *session {
	s := &session{srv: srv}
	_, s.secure = c.(*tls.Conn)
	s.attach(c)
	if srv.o.HostName != nil {
		s.host = srv.o.HostName(c.RemoteAddr())
	}
	return s
}

// attach starts to talk over c, without anything that was read before: a command
// smuggled in front of a TLS handshake must not count as said inside it.
func (s *session) attach(c net.Conn) {
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	s.in = bufio.NewReaderSize(patientReader{s, c}, bufferSize)
	s.out = bufio.NewWriterSize(deadlineWriter{c, s.srv.o.WriteTimeout}, 4096)
}

// errStopped ends the wait for a command at shutdown.
var errStopped = errors.New("shutting down")

// patientReader gives a command line as a whole, and each read of a message, the
// same time. Before it waits it sends what the client may be waiting for (RFC
// 2920, 3.2).
type patientReader struct {
	s *session
	c net.Conn
}

func (r patientReader) Read(p []byte) (int, error) {
	if err := r.s.out.Flush(); err != nil {
		return 0, err
	}
	if err := r.arm(); err != nil {
		return 0, err
	}
	return r.c.Read(p)
}

// arm sets the deadline under the lock of interrupt, which would otherwise be
// overwritten.
func (r patientReader) arm() error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.waiting && r.s.stopped {
		return errStopped
	}
	if r.s.waiting {
		return r.c.SetReadDeadline(r.s.until)
	}
	return r.c.SetReadDeadline(time.Now().Add(r.s.srv.o.ReadTimeout))
}

type deadlineWriter struct {
	c net.Conn
	d time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	if err := w.c.SetWriteDeadline(time.Now().Add(w.d)); err != nil {
		return 0, err
	}
	return w.c.Write(p)
}

// interrupt ends the wait for the next command at shutdown. A message that is
// being received or stored is finished first.
func (s *session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.waiting {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *session) setWaiting(on bool) (stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = on
	s.until = time.Now().Add(s.srv.o.ReadTimeout)
	return s.stopped
}

func (s *session) run(ctx context.Context) {
	s.reply(220, "", fmt.Sprintf("%s LMTP %s", s.srv.o.Name, s.srv.o.Banner))
	for !s.finished {
		line, err := s.next()
		switch {
		case errors.Is(err, errLineTooLong):
			s.reject(500, "5.5.2", "Line too long")
		case err != nil:
			s.goodbye(err)
			return
		default:
			s.command(ctx, line)
		}
		if s.refused > s.srv.o.MaxErrors {
			s.reply(421, "4.7.0", "Too many errors, closing connection")
			s.finished = true
		}
	}
	if s.out.Flush() == nil {
		s.linger()
	}
}

// linger waits for the client to close. If the server closed first, with octets
// unread, TCP would throw away the last reply before the client has read it.
func (s *session) linger() {
	c, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	if s.conn.SetReadDeadline(time.Now().Add(s.srv.o.LingerTime)) == nil {
		_, _ = io.Copy(io.Discard, s.conn)
	}
}

func (s *session) goodbye(err error) {
	var timeout net.Error
	switch {
	case errors.Is(err, errStopped):
		s.reply(421, "4.3.2", "Server is shutting down")
	case errors.As(err, &timeout) && timeout.Timeout():
		s.reply(421, "4.4.2", "Timeout, closing connection")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	default:
		s.srv.o.Log.Debug("LMTP connection", "remote", s.conn.RemoteAddr().String(), "error", err)
	}
	_ = s.out.Flush()
}

// next reads a command line. Replies to commands that came together go out
// together (RFC 2920).
func (s *session) next() (string, error) {
	if s.setWaiting(true) {
		return "", errStopped
	}
	defer s.setWaiting(false)
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line) > s.srv.o.MaxLine {
		return "", s.skipLine(err)
	}
	if err != nil {
		return "", s.waitEnded(err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func (s *session) skipLine(err error) error {
	for errors.Is(err, bufio.ErrBufferFull) {
		s.refused++ // an endless line runs into the limit of errors
		if s.refused > s.srv.o.MaxErrors {
			return errLineTooLong
		}
		_, err = s.in.ReadSlice('\n')
	}
	if err != nil {
		return s.waitEnded(err)
	}
	return errLineTooLong
}

// waitEnded tells the end of a wait by interrupt from other errors.
func (s *session) waitEnded(err error) error {
	if s.setWaiting(false) {
		return errStopped
	}
	return err
}

// reply writes one reply; lines after the first continue it (RFC 5321, 4.2.1). An error of
// the connection comes again with the next read.
func (s *session) reply(code int, enhanced string, lines ...string) {
	for i, l := range lines {
		b := strconv.AppendInt(s.out.AvailableBuffer(), int64(code), 10)
		if i == len(lines)-1 {
			b = append(b, ' ')
		} else {
			b = append(b, '-')
		}
		if enhanced != "" {
			b = append(append(b, enhanced...), ' ')
		}
		b = append(b, printable(l)...)
		_, _ = s.out.Write(append(b, '\r', '\n'))
	}
}

// answer gives a recipient its verdict.
func (s *session) answer(a answer) { s.reply(a.code, a.enhanced, a.text) }

// flush sends the replies to commands that must not wait (RFC 2920, 3.2). An
// error comes again with the next read.
func (s *session) flush() { _ = s.out.Flush() }

// reject is a reply to a command that was wrong.
func (s *session) reject(code int, enhanced, text string) {
	s.refused++
	s.reply(code, enhanced, text)
}

// printable keeps reply text on one line, whatever an address or error holds.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// reset ends the transaction. One that had no good recipient counts as one
// refused command, however many it named: a list of old addresses is no attack.
func (s *session) reset() {
	if s.tried > 0 && len(s.rcpts) == 0 {
		s.refused++
	}
	s.sender, s.rcpts, s.tried = nil, nil, 0
}
