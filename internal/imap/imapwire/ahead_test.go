package imapwire_test

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"

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
