package imapwire

import (
	"errors"
	"io"
	"strconv"
	"sync"
)

// Condition is the condition of a status response.
type Condition string

// Conditions of status responses. PREAUTH is for greetings alone.
const (
	CondOK      Condition = "OK"
	CondNO      Condition = "NO"
	CondBAD     Condition = "BAD"
	CondBYE     Condition = "BYE"
	CondPreAuth Condition = "PREAUTH"
)

const (
	encoderMin   = 1 << 10
	encoderSmall = 8 << 10   // a buffer with more than this is exchanged for a large one
	encoderFlush = 128 << 10 // data is written once there is this much
	encoderHold  = 112 << 10 // and this much more with Hold
	encoderSpare = 16 << 10  // room behind that, for the item that fills it
	encoderLarge = encoderFlush + encoderHold + encoderSpare
	encoderPass  = 256 << 10 // pieces in which large octet strings are written
)

// largeBuffers holds buffers of encoderLarge octets. Connections have one while they
// write much, so that idle ones cost little.
var largeBuffers = sync.Pool{New: func() any { return new([encoderLarge]byte) }}

// ErrLiteralLength means that a literal got more or fewer octets than were
// announced. The connection is out of step and has to be closed.
var ErrLiteralLength = errors.New("imap: literal does not have its announced length")

// Encoder writes responses. Data is buffered until Flush, or until there is
// much of it; long answers are written while they are made. The first error stays:
// everything after it is dropped, and Err and Flush return it. Used by one goroutine
// at a time; Flush or Abandon must be called in the end.
type Encoder struct {
	w     io.Writer
	buf   []byte
	large *[encoderLarge]byte // what buf is a part of, or nil
	long  bool                // a large buffer was written since Flush
	ahead *ahead              // writes while buf is being filled, or nil
	hold  bool
	utf8  bool
	err   error
	lit   LiteralWriter
}

// NewEncoder returns an Encoder that writes to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// SetUTF8 tells whether the client has enabled UTF8=ACCEPT (RFC 6855).
func (e *Encoder) SetUTF8(on bool) { e.utf8 = on }

// UTF8 reports what SetUTF8 was given.
func (e *Encoder) UTF8() bool { return e.utf8 }

// Reset makes the Encoder write to w, as after STARTTLS or COMPRESS. What was
// not flushed is lost; errors stay.
func (e *Encoder) Reset(w io.Writer) {
	e.settle()
	e.w, e.buf = w, e.buf[:0]
}

// Err returns the first error.
func (e *Encoder) Err() error { return e.err }

// Flush writes what is buffered, and lets go of a large buffer.
func (e *Encoder) Flush() error {
	e.settle()
	e.writeOut(e.buf)
	e.buf = e.buf[:0]
	if e.large != nil {
		largeBuffers.Put(e.large)
		e.large, e.buf = nil, nil
	}
	if cap(e.buf) > encoderSmall {
		e.buf = nil
	}
	return e.err
}

// Rest lets go of the buffer, if everything that was in it is written.
func (e *Encoder) Rest() {
	if e.large == nil && len(e.buf) == 0 {
		e.buf = nil
	}
}

// writeOut writes p unless there was an error.
func (e *Encoder) writeOut(p []byte) {
	for len(p) > 0 && e.err == nil {
		n := min(len(p), encoderPass)
		_, e.err = e.w.Write(p[:n])
		p = p[n:]
	}
}

// start returns the buffer to append to.
func (e *Encoder) start() []byte {
	switch {
	case e.buf == nil:
		e.buf = make([]byte, 0, encoderMin)
	case e.large == nil && len(e.buf) > encoderSmall/2:
		e.enlarge()
	}
	return e.buf
}

// enlarge goes over to a large buffer.
func (e *Encoder) enlarge() {
	if e.large == nil {
		e.large = largeBuffers.Get().(*[encoderLarge]byte)
		e.buf = append(e.large[:0], e.buf...)
	}
}

// line takes back the buffer with a whole line but for its end.
func (e *Encoder) line(dst []byte) { e.took(append(dst, '\r', '\n')) }

// took takes back the buffer, and writes it once it is large.
func (e *Encoder) took(dst []byte) {
	e.buf = dst
	if len(dst) < e.limit() {
		return
	}
	e.pass()
}

// pass gives the buffer away to be written.
func (e *Encoder) pass() {
	dst := e.buf
	if e.long && e.large != nil && e.err == nil {
		e.handOver(dst)
		return
	}
	e.writeOut(dst)
	e.long = true
	if e.buf = dst[:0]; e.large != nil {
		e.buf = e.large[:0] // dst may have outgrown it
	}
}

// Status writes a status response: tagged with the tag of a command, untagged
// with an empty tag or "*". The code may be empty.
func (e *Encoder) Status(tag string, cond Condition, code Code, text string) {
	dst := e.start()
	if tag == "" || tag == "*" {
		dst = append(dst, '*')
	} else {
		dst = appendTag(dst, tag)
	}
	dst = append(append(dst, ' '), cond...)
	dst = append(dst, ' ')
	if code != "" {
		dst = appendCode(dst, code)
	}
	e.line(AppendText(dst, text, e.utf8))
}

// appendTag appends a tag as the client sent it. Tags of a Reader are valid;
// others lose their other characters.
func appendTag(dst []byte, tag string) []byte {
	for i := range len(tag) {
		if isTagChar(tag[i]) {
			dst = append(dst, tag[i])
		} else {
			dst = append(dst, '_')
		}
	}
	return dst
}

// OK writes a tagged OK; the code may be empty.
func (e *Encoder) OK(tag string, code Code, text string) { e.Status(tag, CondOK, code, text) }

// NO writes a tagged NO; the code may be empty.
func (e *Encoder) NO(tag string, code Code, text string) { e.Status(tag, CondNO, code, text) }

// BAD writes a tagged BAD; the code may be empty.
func (e *Encoder) BAD(tag string, code Code, text string) { e.Status(tag, CondBAD, code, text) }

// Error writes the answer to an [Error]. An Error without a tag takes the one
// given. After [Bye] the connection has to be closed.
func (e *Encoder) Error(tag string, err *Error) {
	if err.Tag != "" {
		tag = err.Tag
	}
	switch err.Kind {
	case No:
		e.Status(tag, CondNO, err.Code, err.Text)
	case Bye:
		e.Status("*", CondBYE, err.Code, err.Text)
	default:
		e.Status(tag, CondBAD, err.Code, err.Text)
	}
}

// Continue writes a continuation request with text. The text may be empty.
func (e *Encoder) Continue(text string) {
	dst := append(e.start(), '+', ' ')
	if text != "" {
		dst = AppendText(dst, text, e.utf8)
	}
	e.line(dst)
}

// Challenge writes a continuation request with a SASL challenge.
func (e *Encoder) Challenge(data []byte) {
	e.line(appendBase64(append(e.start(), '+', ' '), data))
}

// number writes "* n NAME".
func (e *Encoder) number(n uint32, name string) {
	dst := append(e.start(), '*', ' ')
	dst = strconv.AppendUint(dst, uint64(n), 10)
	e.line(append(append(dst, ' '), name...))
}

// Exists writes the number of messages.
func (e *Encoder) Exists(n uint32) { e.number(n, "EXISTS") }

// Recent writes the number of recent messages.
func (e *Encoder) Recent(n uint32) { e.number(n, "RECENT") }

// Expunge writes that the message with a sequence number is gone.
func (e *Encoder) Expunge(seq uint32) { e.number(seq, "EXPUNGE") }

// Vanished writes that UIDs are gone; earlier when that was before this
// session (RFC 7162 section 3.2.10). No UIDs write nothing.
func (e *Encoder) Vanished(earlier bool, uids []uint32) {
	if len(uids) == 0 {
		return
	}
	dst := append(e.start(), "* VANISHED "...)
	if earlier {
		dst = append(dst, "(EARLIER) "...)
	}
	e.line(AppendNumSet(dst, uids))
}

// Untagged writes "* " and a line that the caller has made with this
// package's append functions. A line with a bare CR, LF or NUL outside a
// literal is the caller's fault; it is not checked.
func (e *Encoder) Untagged(line []byte) {
	e.line(append(append(e.start(), '*', ' '), line...))
}

// LiteralWriter takes the octets of a literal.
type LiteralWriter struct {
	e    *Encoder
	left int64
	open bool
}

// literal starts a literal of size octets, whose header is written already.
func (e *Encoder) literal(size int64) *LiteralWriter {
	if e.lit.open && e.err == nil {
		e.err = ErrLiteralLength
	}
	e.lit = LiteralWriter{e: e, left: size, open: true}
	return &e.lit
}

// Write implements io.Writer. More octets than were announced are
// [ErrLiteralLength] and not written.
func (l *LiteralWriter) Write(p []byte) (int, error) {
	if !l.take(len(p)) {
		return 0, l.e.err
	}
	e, n := l.e, len(p)
	if len(e.buf)+n > encoderSmall {
		e.enlarge()
	}
	for len(p) > 0 {
		if len(e.buf) == 0 && len(p) >= encoderFlush && e.ahead == nil && !e.hold {
			e.writeOut(p)
			break
		}
		k := min(len(p), e.limit()-len(e.buf))
		e.took(append(e.start(), p[:k]...))
		p = p[k:]
	}
	return n, e.err
}

// WriteString implements io.StringWriter.
func (l *LiteralWriter) WriteString(s string) (int, error) {
	if !l.take(len(s)) {
		return 0, l.e.err
	}
	e, n := l.e, len(s)
	if len(e.buf)+n > encoderSmall {
		e.enlarge()
	}
	for len(s) > 0 {
		k := min(len(s), e.limit()-len(e.buf))
		e.took(append(e.start(), s[:k]...))
		s = s[k:]
	}
	return n, e.err
}

// take counts n octets of the literal; false means that they are not written.
func (l *LiteralWriter) take(n int) bool {
	if int64(n) > l.left && l.e.err == nil {
		l.e.err = ErrLiteralLength
	}
	if l.e.err != nil {
		return false
	}
	l.left -= int64(n)
	return true
}

// Close ends the literal. It is [ErrLiteralLength] when octets are missing.
// Closing twice is allowed.
func (l *LiteralWriter) Close() error {
	if l.open && l.left != 0 && l.e.err == nil {
		l.e.err = ErrLiteralLength
	}
	l.open = false
	return l.e.err
}
