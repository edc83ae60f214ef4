package imap

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// Between events that follow each other without a pause a client in IDLE is listened to.
func TestClientsTurn(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	s := &session{
		srv: &Server{o: Options{IdleTimeout: time.Minute, RestAfter: time.Minute}}, conn: far, release: func() {},
		waiting: inIdle, woken: true, heeded: true,
	}
	go func() { _, _ = io.WriteString(near, "DONE") }()
	time.Sleep(5 * clientsTurn) // it is there, mostly
	var heard []byte
	for len(heard) == 0 { // each turn is short
		if err := s.arm(true); err != nil {
			t.Fatalf("the client is not listened to: %v", err)
		}
		b := make([]byte, 10)
		n, err := s.conn.Read(b)
		if heard = b[:n]; n == 0 && !errors.Is(s.why(err), errWoken) {
			t.Fatalf("after %v the session does not go on with events", err)
		}
		s.heeded = s.heeded || n == 0
	}
	if err := s.arm(true); !errors.Is(err, errWoken) {
		t.Errorf("after its turn: %v, want the events", err)
	}
}
