package imapwire

import "time"

// Hold, when on, has more put into the buffer before it is written. A server holds
// while it must not wait for the client, and asks Fits and Pass whether it would.
func (e *Encoder) Hold(on bool) { e.hold = on }

// Fits reports whether n octets can be written without waiting for the client.
func (e *Encoder) Fits(n int) bool {
	free := e.limit() - len(e.buf)
	if e.long && e.large != nil && (e.ahead == nil || len(e.ahead.full) == 0) {
		free += e.limit()
	}
	return n <= free
}

// Full reports whether there is so much in the buffer that it should be written.
func (e *Encoder) Full() bool { return len(e.buf) >= encoderFlush }

// Pass gives a Full buffer away to be written, unless that would have to wait for
// the client: then it is false, and Drain is to be called where waiting is allowed.
func (e *Encoder) Pass() bool {
	switch {
	case !e.Full() || e.err != nil:
		return true
	case !e.long || e.large == nil || e.ahead != nil && len(e.ahead.full) == cap(e.ahead.full):
		return false
	}
	e.handOver(e.buf)
	return true
}

// Await makes room for n octets where Fits is false, or for as much as there can be: it
// gives the buffer away to be written, full or not, for which it waits at most a time
// until the client has taken of what was given away before. It returns what is left of
// that time. False means that the client would have to be waited for longer, or that so
// much never fits.
func (e *Encoder) Await(n int, most time.Duration) (left time.Duration, ok bool) {
	switch {
	case e.err != nil:
		return most, true
	case n > e.limit() || !e.long || e.large == nil || most <= 0:
		return most, false
	case len(e.buf) == 0:
		return most, true
	}
	begin := time.Now()
	timer := time.NewTimer(most)
	defer timer.Stop()
	ok = e.offer(e.buf, timer.C)
	return most - time.Since(begin), ok
}

// Drain gives a Full buffer away to be written, and waits for the client if need be.
func (e *Encoder) Drain() error {
	if e.Full() {
		e.pass()
	}
	return e.err
}

// limit is how much is buffered before it is written.
func (e *Encoder) limit() int {
	if e.hold {
		return encoderFlush + encoderHold
	}
	return encoderFlush
}
