package imapwire

import (
	"errors"
	"io"
	"net"
	"strconv"
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
	encoderKeep  = 4 << 10  // a larger buffer is dropped by Flush
	encoderFlush = 64 << 10 // data is written once there is this much
	encoderPass  = 16 << 10 // larger pieces of literals are not copied
)

// ErrLiteralLength means that a literal got more or fewer octets than were
// announced. The connection is out of step and has to be closed.
var ErrLiteralLength = errors.New("imap: literal does not have its announced length")

// Encoder writes responses. Data is buffered until Flush, or until there is
// much of it. The first error stays: everything after it is dropped, and Err
// and Flush return it. Used by one goroutine at a time.
type Encoder struct {
	w    io.Writer
	buf  []byte
	utf8 bool
	err  error
	lit  LiteralWriter
}

// NewEncoder returns an Encoder that writes to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// SetUTF8 tells whether the client has enabled UTF8=ACCEPT (RFC 6855).
func (e *Encoder) SetUTF8(on bool) { e.utf8 = on }

// UTF8 reports what SetUTF8 was given.
func (e *Encoder) UTF8() bool { return e.utf8 }

// Reset makes the Encoder write to w, as after STARTTLS or COMPRESS. What was
// not flushed is lost.
func (e *Encoder) Reset(w io.Writer) { e.w, e.buf = w, e.buf[:0] }

// Err returns the first error.
func (e *Encoder) Err() error { return e.err }

// Flush writes what is buffered, and lets go of a large buffer.
func (e *Encoder) Flush() error {
	if len(e.buf) > 0 && e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
	if cap(e.buf) > encoderKeep {
		e.buf = nil
	}
	return e.err
}

// start returns the buffer to append to.
func (e *Encoder) start() []byte {
	if e.buf == nil {
		e.buf = make([]byte, 0, encoderMin)
	}
	return e.buf
}

// line takes back the buffer with a whole line but for its end.
func (e *Encoder) line(dst []byte) { e.took(append(dst, '\r', '\n')) }

// took takes back the buffer, and writes it once it is large.
func (e *Encoder) took(dst []byte) {
	e.buf = dst
	if len(dst) < encoderFlush {
		return
	}
	if e.err == nil {
		_, e.err = e.w.Write(dst)
	}
	e.buf = dst[:0]
	if cap(dst) > 2*encoderFlush {
		e.buf = nil
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
	e := l.e
	if int64(len(p)) > l.left && e.err == nil {
		e.err = ErrLiteralLength
	}
	if e.err != nil {
		return 0, e.err
	}
	l.left -= int64(len(p))
	if len(p) < encoderPass {
		e.took(append(e.start(), p...))
		return len(p), e.err
	}
	if len(e.buf) == 0 {
		_, e.err = e.w.Write(p)
	} else {
		bufs := net.Buffers{e.buf, p}
		_, e.err = bufs.WriteTo(e.w)
		e.buf = e.buf[:0]
	}
	return len(p), e.err
}

// WriteString implements io.StringWriter.
func (l *LiteralWriter) WriteString(s string) (int, error) {
	if len(s) >= encoderPass {
		return l.Write([]byte(s))
	}
	if int64(len(s)) > l.left && l.e.err == nil {
		l.e.err = ErrLiteralLength
	}
	if l.e.err != nil {
		return 0, l.e.err
	}
	l.left -= int64(len(s))
	l.e.took(append(l.e.start(), s...))
	return len(s), l.e.err
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
