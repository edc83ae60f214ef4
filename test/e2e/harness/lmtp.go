//go:build e2e

package harness

import (
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// A Sender is a raw LMTP connection that returns errors: it is used while the server is being killed.
type Sender struct {
	conn net.Conn
	text *textproto.Conn
}

// NewSender connects and says LHLO.
func NewSender(addr string) (*Sender, error) {
	conn, err := net.DialTimeout("tcp", addr, sessionTime)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * sessionTime))
	s := &Sender{conn: conn, text: textproto.NewConn(conn)}
	if _, _, err = s.text.ReadResponse(220); err == nil {
		err = s.exchange(250, "LHLO sender.example.net")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *Sender) exchange(code int, line string) error {
	if err := s.text.PrintfLine("%s", line); err != nil {
		return err
	}
	_, _, err := s.text.ReadResponse(code)
	return err
}

// Send delivers one message (lines end in CRLF) and returns nil only when the server has acknowledged it.
func (s *Sender) Send(from, to, message string) error {
	s.conn.SetDeadline(time.Now().Add(2 * sessionTime)) // however long the connection is open
	for _, step := range []struct {
		code int
		line string
	}{{250, "MAIL FROM:<" + from + ">"}, {250, "RCPT TO:<" + to + ">"}, {354, "DATA"}} {
		if err := s.exchange(step.code, step.line); err != nil {
			return fmt.Errorf("%s: %w", step.line, err)
		}
	}
	stuffed := strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:]
	if _, err := s.conn.Write([]byte(stuffed + ".\r\n")); err != nil {
		return err
	}
	_, _, err := s.text.ReadResponse(250)
	return err
}

// Close ends the connection.
func (s *Sender) Close() { s.conn.Close() }

// Deliver sends messages to a user, one after the other, and fails the test if one is refused.
func (s *Server) Deliver(to User, messages ...string) {
	s.t.Helper()
	c, err := NewSender(s.LMTP)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	for i, m := range messages {
		if err := c.Send("sender@example.net", to.Address, m); err != nil {
			s.t.Fatalf("deliver message %d: %v", i, err)
		}
	}
}
