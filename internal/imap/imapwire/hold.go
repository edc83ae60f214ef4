package imapwire

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
