package imapwire

import (
	"io"
	"sync/atomic"
	"time"
)

// ahead writes buffers in a goroutine of its own while the next one is being filled,
// so that a long answer is read from the store and taken by the network at the same
// time. It holds at most two buffers besides the one that is being filled.
type ahead struct {
	w      io.Writer
	full   chan fullBuffer
	done   chan struct{}
	failed atomic.Bool
	err    error // of the writer; to be read when failed is set
}

// fullBuffer is data to be written. Large, when not nil, is the buffer that it is in.
type fullBuffer struct {
	data  []byte
	large *[encoderLarge]byte
}

func newAhead(w io.Writer) *ahead {
	a := &ahead{w: w, full: make(chan fullBuffer, 1), done: make(chan struct{})}
	go a.run()
	return a
}

// run writes until the channel is closed. After an error the rest is dropped.
func (a *ahead) run() {
	defer close(a.done)
	for b := range a.full {
		if !a.failed.Load() {
			if _, err := a.w.Write(b.data); err != nil {
				a.err = err
				a.failed.Store(true)
			}
		}
		if b.large != nil {
			largeBuffers.Put(b.large)
		}
	}
}

// failure returns the error of the writer so far.
func (a *ahead) failure() error {
	if a.failed.Load() {
		return a.err
	}
	return nil
}

// stop waits until everything is written, or has failed.
func (a *ahead) stop() error {
	close(a.full)
	<-a.done
	return a.failure()
}

// handOver gives a full buffer away and takes another one.
func (e *Encoder) handOver(dst []byte) { e.offer(dst, nil) }

// offer gives a buffer that is not empty away and takes another one. False means that
// something else came first, and that nothing has happened.
func (e *Encoder) offer(dst []byte, first <-chan time.Time) bool {
	if e.ahead == nil {
		e.ahead = newAhead(e.w)
	}
	if e.err = e.ahead.failure(); e.err != nil {
		e.buf = e.large[:0]
		return true
	}
	b, own := fullBuffer{data: dst}, &dst[0] == &e.large[0] // else dst has outgrown it
	if own {
		b.large = e.large
	}
	select {
	case e.ahead.full <- b:
	case <-first:
		select { // both may have been there
		case e.ahead.full <- b:
		default:
			return false
		}
	}
	if own {
		e.large = largeBuffers.Get().(*[encoderLarge]byte)
	}
	e.buf = e.large[:0]
	return true
}

// settle ends writing ahead.
func (e *Encoder) settle() {
	e.long = false
	if e.ahead == nil {
		return
	}
	if err := e.ahead.stop(); e.err == nil {
		e.err = err
	}
	e.ahead = nil
}

// Abandon ends the Encoder without writing what is buffered. Interrupt is called when
// something is being written at the moment; it must make the writer return.
func (e *Encoder) Abandon(interrupt func()) {
	if e.ahead != nil {
		interrupt()
	}
	e.settle()
	if e.large != nil {
		largeBuffers.Put(e.large)
	}
	e.large, e.buf = nil, nil
}
