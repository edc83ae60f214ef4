package imapwire_test

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mallard/internal/imap/imapwire"
)

// blockedWriter takes some writes, then blocks until it is released.
type blockedWriter struct {
	free    int32
	started chan struct{}
	release chan struct{}
	calls   atomic.Int32
}

var errReleased = errors.New("released")

func (w *blockedWriter) Write(p []byte) (int, error) {
	if n := w.calls.Add(1); n <= w.free {
		return len(p), nil
	} else if n == w.free+1 {
		close(w.started)
	}
	<-w.release
	return 0, errReleased
}

// An answer is made further while its beginning is written, but not without bound.
func TestWritesAhead(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := &blockedWriter{free: 1, started: make(chan struct{}), release: make(chan struct{})}
	e := imapwire.NewEncoder(w)
	line := bytes.Repeat([]byte{'x'}, 1000)
	var made atomic.Int64
	ended := make(chan error)
	go func() {
		for range 10_000 {
			e.Untagged(line)
			if e.Err() != nil {
				break
			}
			made.Add(1)
		}
		ended <- e.Flush()
	}()
	<-w.started
	select {
	case err := <-ended:
		t.Fatalf("10 MB were made for a client that reads nothing: %v", err)
	default:
	}
	close(w.release)
	if err := <-ended; !errors.Is(err, errReleased) {
		t.Errorf("the error of the writer: %v", err)
	}
	if n := made.Load(); n < 128 || n > 1000 {
		t.Errorf("%d lines of 1 kB were made ahead", n)
	}
	if n := w.calls.Load(); n != 2 {
		t.Errorf("%d writes, none is wanted after an error", n)
	}
}

// Who holds is told how long the client may be waited for, and then that there is no
// room; nothing is lost by that.
func TestAwait(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := &blockedWriter{free: 1, started: make(chan struct{}), release: make(chan struct{})}
	e := imapwire.NewEncoder(w)
	e.Hold(true)
	line := bytes.Repeat([]byte{'x'}, 1000)
	fill := func() {
		for !e.Full() {
			e.Untagged(line)
		}
	}
	if left, ok := e.Await(1000, time.Hour); ok || left != time.Hour {
		t.Errorf("a short answer is given away: %v, %v left", ok, left)
	}
	fill()
	if err := e.Drain(); err != nil { // from now on the answer is long
		t.Fatal(err)
	}
	fill()
	if left, ok := e.Await(1000, time.Hour); !ok || left > time.Hour || left < time.Hour-time.Minute {
		t.Errorf("nobody has to be waited for: %v, %v left", ok, left)
	}
	<-w.started
	fill()
	if _, ok := e.Await(1000, time.Hour); !ok {
		t.Error("one buffer may wait to be written")
	}
	fill()
	if left, ok := e.Await(1000, 20*time.Millisecond); ok || left > 0 {
		t.Errorf("there is room though nothing is written: %v left", left)
	}
	if _, ok := e.Await(10<<20, time.Hour); ok {
		t.Error("there is room for 10 MB")
	}
	close(w.release)
	if _, ok := e.Await(1000, time.Hour); !ok || !e.Fits(1000) {
		t.Error("there is no room though all is written")
	}
	if err := e.Flush(); !errors.Is(err, errReleased) {
		t.Errorf("the error of the writer: %v", err)
	}
}

// Where there is room the time does not matter, also when it is over.
func TestAwaitTakesRoom(t *testing.T) {
	defer goleak.VerifyNone(t)
	e := imapwire.NewEncoder(io.Discard)
	e.Hold(true)
	line := bytes.Repeat([]byte{'x'}, 1000)
	for i := range 100 {
		for !e.Full() {
			e.Untagged(line)
		}
		if i == 0 {
			if err := e.Drain(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for !e.Fits(200 << 10) { // the buffer before is not being written yet
			time.Sleep(time.Millisecond)
		}
		if _, ok := e.Await(1000, time.Nanosecond); !ok {
			t.Fatalf("buffer %d: there is room, and it was not taken", i)
		}
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A session that ends in the middle of an answer leaves nothing behind.
func TestAbandon(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := &blockedWriter{free: 1, started: make(chan struct{}), release: make(chan struct{})}
	e := imapwire.NewEncoder(w)
	line := bytes.Repeat([]byte{'x'}, 1000)
	for range 300 {
		e.Untagged(line)
	}
	<-w.started
	e.Abandon(func() { close(w.release) })
	if n := w.calls.Load(); n != 2 {
		t.Errorf("%d writes", n)
	}
	imapwire.NewEncoder(io.Discard).Abandon(func() { t.Error("nothing was being written") })
}
