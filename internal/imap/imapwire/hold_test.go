package imapwire_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"

	"mallard/internal/imap/imapwire"
)

const (
	flush = 128 << 10 // from so much on a buffer is Full
	room  = 240 << 10 // so much is in it at most while it is held
)

// untagged writes a line of n octets in all.
func untagged(e *imapwire.Encoder, n int) { e.Untagged(bytes.Repeat([]byte{'x'}, n-len("* \r\n"))) }

// Whoever asks Fits and Pass never waits for a client that reads nothing, and gets as far as there is room.
func TestHoldNeverWaits(t *testing.T) {
	defer goleak.VerifyNone(t)
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(3, seed))
		w := &blockedWriter{free: 1, started: make(chan struct{}), release: make(chan struct{})}
		e := imapwire.NewEncoder(w)
		e.Hold(true)
		made := 0
		fill := func() { // would never end if it waited
			for {
				n := 10 + rng.IntN(30<<10)
				if !e.Fits(n) {
					return
				}
				untagged(e, n)
				if made += n; !e.Pass() && rng.IntN(2) == 0 {
					return
				}
			}
		}
		fill()
		if made < flush || made > room || w.calls.Load() != 0 {
			t.Fatalf("%d octets were made before the first write, %d writes", made, w.calls.Load())
		}
		if err := e.Drain(); err != nil || w.calls.Load() != 1 || e.Full() { // the writer takes this one
			t.Fatalf("drained: %v, %d writes", err, w.calls.Load())
		}
		made = 0
		fill()
		<-w.started
		fill() // what was waiting for the goroutine that writes may have moved on
		if made < 2*flush || made > 3*room {
			t.Fatalf("%d octets were made while nothing was read", made)
		}
		close(w.release)
		if err := e.Flush(); !errors.Is(err, errReleased) {
			t.Fatalf("the error of the writer: %v", err)
		}
	}
}

// Drain and Pass do nothing while there is little; held or not, all octets come out in their order.
func TestHoldKeepsOrder(t *testing.T) {
	var out, want bytes.Buffer
	e := imapwire.NewEncoder(&out)
	for i := range 5000 {
		e.Hold(i/100%2 == 0)
		line := bytes.Repeat([]byte{byte('a' + i%26)}, i%700)
		e.Untagged(line)
		want.WriteString("* ")
		want.Write(line)
		want.WriteString("\r\n")
		switch full := e.Full(); {
		case i%3 == 0:
			if !e.Pass() && !full {
				t.Fatal("not passed though there is little")
			}
		case i%7 == 0:
			if err := e.Drain(); err != nil || e.Full() {
				t.Fatalf("drained: %v, full: %v", err, e.Full())
			}
		}
	}
	if err := e.Flush(); err != nil || !bytes.Equal(out.Bytes(), want.Bytes()) {
		t.Errorf("%d octets of %d came out, or others: %v", out.Len(), want.Len(), err)
	}
}

// After an error nothing waits any more, and nothing is full for ever.
func TestHoldAfterError(t *testing.T) {
	r, w := io.Pipe()
	_ = r.CloseWithError(errReleased)
	e := imapwire.NewEncoder(w)
	e.Hold(true)
	for range 20 {
		untagged(e, 100<<10)
	}
	if !e.Pass() {
		t.Error("what nobody will read is kept to be passed")
	}
	if err := e.Drain(); !errors.Is(err, errReleased) {
		t.Errorf("drained: %v", err)
	}
	if err := e.Flush(); !errors.Is(err, errReleased) {
		t.Errorf("flushed: %v", err)
	}
}
