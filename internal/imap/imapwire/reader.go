package imapwire

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
)

const (
	readerMin  = 1 << 10  // buffer of an idle connection
	readerKeep = 8 << 10  // larger buffers are dropped when empty
	readChunk  = 32 << 10 // buffer for throwing away data
	tailLen    = 32       // end of a line, enough for "~{" 20 digits "+}"
)

// errLineTooLong is internal: the line had more bytes than allowed.
var errLineTooLong = errors.New("line too long")

// Options configures a [Reader].
type Options struct {
	Limits Limits
	// Commands is the command table; nil is [NewTable].
	Commands *Table
	// Continue is called when the client waits for leave to send a literal
	// that was accepted: it writes "+ " and flushes. An error ends the
	// command and is returned as it is.
	Continue func() error
	// Charset returns a decoder of the named character set to UTF-8 for
	// SEARCH, or nil when it is not known. US-ASCII and UTF-8 never get here.
	Charset func(name string) func(string) (string, error)
}

// Reader reads commands from a client. It is used by one goroutine at a time.
// It sets no deadlines: a client that stops in the middle of a command is
// bounded by the read deadline of the connection under it.
type Reader struct {
	src  io.Reader
	buf  []byte // buf[r:w] is read but not used
	r, w int
	wide bool  // the last command needed a large buffer
	skip int64 // what of a line of IDLE that was too long may still come; 0 when none was
	wait bool  // for a command
	idle bool  // ReadDone is reading

	opt   Options
	utf8  bool
	p     parser
	open  *Append // APPEND whose messages are still on the wire
	fatal error   // the stream cannot be followed any more
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader, opt Options) *Reader {
	opt.Limits = opt.Limits.withDefaults()
	if opt.Commands == nil {
		opt.Commands = NewTable()
	}
	return &Reader{src: src, opt: opt}
}

// SetLimits changes the limits from the next command on, as after log-in.
func (r *Reader) SetLimits(l Limits) { r.opt.Limits = l.withDefaults() }

// SetUTF8 tells whether the client has enabled UTF8=ACCEPT (RFC 6855):
// mailbox names are then UTF-8 instead of modified UTF-7.
func (r *Reader) SetUTF8(on bool) { r.utf8 = on }

// Buffered returns the number of bytes that can be read without waiting. A
// server that finds some may put off flushing its answers.
func (r *Reader) Buffered() int { return r.w - r.r }

// Waiting tells the source whether the Reader waits for a command, of which nothing has
// come, or for the end of IDLE: when the source fails now, the call may be made again.
func (r *Reader) Waiting() bool { return r.wait || r.idle }

// Rest lets go of what is not needed until the client sends something more.
func (r *Reader) Rest() {
	if r.r == r.w {
		r.buf, r.r, r.w = nil, 0, 0
		r.p = parser{}
	}
}

// Reset makes the Reader read from src and returns what was buffered. After
// STARTTLS those bytes must be thrown away: they came in plain text and may be
// an attacker's (RFC 3501 section 6.2.1). After COMPRESS they are the start of
// the compressed stream.
func (r *Reader) Reset(src io.Reader) []byte {
	rest := bytes.Clone(r.buf[r.r:r.w])
	r.src, r.r, r.w = src, 0, 0
	return rest
}

// ReadCommand reads the next command and checks that it may be used in state.
//
// An error is an [*Error], or what the source or Continue returned; io.EOF
// means that the client closed the connection between commands. An unfinished
// [Append] of the command before is skipped first.
func (r *Reader) ReadCommand(state State) (*Command, error) {
	if r.fatal != nil {
		return nil, r.fatal
	}
	if err := r.finishAppend(); err != nil {
		return nil, r.fail(err)
	}
	r.shrink(r.wide)
	p := &r.p
	*p = parser{r: r, lineLeft: r.opt.Limits.MaxLine, litLeft: r.opt.Limits.MaxLiteral, tag: "*"}
	r.wait = r.r == r.w
	err := p.nextLine()
	r.wait = false
	if err != nil {
		return nil, r.firstLineError(err)
	}
	cmd := p.command(state)
	if p.err != nil {
		return nil, r.fail(r.recover())
	}
	return cmd, nil
}

// firstLineError is for errors before anything of a command was used: a read
// that timed out may be tried again.
func (r *Reader) firstLineError(err error) error {
	if err == io.ErrUnexpectedEOF && r.Buffered() == 0 {
		return io.EOF
	}
	var e *Error
	if errors.As(err, &e) {
		return r.fail(err)
	}
	return err
}

// fail remembers errors after which nothing more can be read.
func (r *Reader) fail(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Kind == Bye {
		r.fatal = err
	}
	return err
}

// recover gets in step with the client after a command that was refused, and
// returns the error to answer with. What the client is sending already, which
// is the rest of the line and the non-synchronising literals that it
// announces, is thrown away.
func (r *Reader) recover() error {
	var e *Error
	if !errors.As(r.p.err, &e) {
		return r.p.err
	}
	if e.Kind == Bye {
		return e
	}
	if err := r.skipLiterals(r.p.line, r.opt.Limits.MaxDiscard); err != nil {
		return err
	}
	return e
}

// skipLiterals throws away the literals that follow when line is the end of
// what was read of a command, with the lines after them.
func (r *Reader) skipLiterals(line []byte, budget int64) error {
	for {
		size, nonSync := literalTail(line)
		if !nonSync {
			return nil
		}
		if size > budget {
			return r.tooMuch()
		}
		if err := r.discard(size); err != nil {
			return err
		}
		tail, n, err := r.discardLine(budget - size)
		if err != nil {
			return err
		}
		budget -= size + n
		line = tail
	}
}

func (r *Reader) tooMuch() error {
	return &Error{Tag: r.p.tag, Kind: Bye, Code: CodeTooBig, Text: "Too much data in a refused command"}
}

// literalTail reports the literal that is announced by the end of line. A size
// that does not fit is math.MaxInt64.
func literalTail(line []byte) (size int64, nonSync bool) {
	if !bytes.HasSuffix(line, []byte("+}")) {
		return 0, false
	}
	digits := line[:len(line)-2]
	open := bytes.LastIndexByte(digits, '{')
	if open < 0 || open == len(digits)-1 {
		return 0, false
	}
	for _, c := range digits[open+1:] {
		if !isDigit(c) {
			return 0, false
		}
	}
	return parseSize(digits[open+1:]), true
}

// parseSize reads digits; too large a number is math.MaxInt64.
func parseSize(digits []byte) int64 {
	var n int64
	for _, c := range digits {
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return math.MaxInt64
		}
		n = n*10 + d
	}
	return n
}

// readLine returns the next line without its end, which is CRLF or, from
// careless clients, a bare LF. The line is valid until the next read. With
// more than limit bytes it is errLineTooLong, and the line's first bytes are
// returned.
func (r *Reader) readLine(limit int) ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.r+scanned:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.r+scanned+i]
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			if len(line) > limit {
				return line[:limit], errLineTooLong
			}
			r.r += scanned + i + 1
			return line, nil
		}
		scanned = r.w - r.r
		if scanned > limit+1 {
			return r.buf[r.r : r.r+limit], errLineTooLong
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads at least one byte more. The end of the stream is
// io.ErrUnexpectedEOF.
func (r *Reader) fill() error {
	if r.r > 0 && (r.r == r.w || r.w == len(r.buf)) {
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
	}
	if r.w == len(r.buf) {
		grown := make([]byte, max(readerMin, 2*len(r.buf)))
		r.wide = len(grown) > readerKeep
		copy(grown, r.buf[:r.w])
		r.buf = grown
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			r.wait = false
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// widen makes the empty buffer larger when n bytes are to go through it.
func (r *Reader) widen(n int64) {
	if n <= readerKeep {
		return
	}
	r.wide = true
	if len(r.buf) < readChunk {
		r.buf, r.r, r.w = make([]byte, readChunk), 0, 0
	}
}

// shrink drops a large buffer that is empty, unless the last command needed
// it: where one message came, more come.
func (r *Reader) shrink(keep bool) {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > readerKeep && !keep {
			r.buf = nil
		}
	}
	r.wide = false
}

// readFull fills dst.
func (r *Reader) readFull(dst []byte) error {
	for len(dst) > 0 {
		n, err := r.readSome(dst)
		dst = dst[n:]
		if err != nil {
			return err
		}
	}
	return nil
}

// readSome reads at least one byte into dst, past the buffer when it is empty.
func (r *Reader) readSome(dst []byte) (int, error) {
	if r.r < r.w {
		n := copy(dst, r.buf[r.r:r.w])
		r.r += n
		return n, nil
	}
	for range 100 {
		n, err := r.src.Read(dst)
		if n > 0 {
			return n, nil
		}
		if err == io.EOF {
			return 0, io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// discard throws away n bytes in constant memory.
func (r *Reader) discard(n int64) error {
	for n > 0 {
		if r.r == r.w {
			r.widen(n)
			if err := r.fill(); err != nil {
				return err
			}
		}
		k := min(n, int64(r.w-r.r))
		r.r += int(k)
		n -= k
	}
	return nil
}

// discardLine throws away the rest of a line of at most budget bytes in
// constant memory; it returns the line's end and its length.
func (r *Reader) discardLine(budget int64) (tail []byte, n int64, err error) {
	for {
		chunk := r.buf[r.r:r.w]
		i := bytes.IndexByte(chunk, '\n')
		if i >= 0 {
			chunk = chunk[:i]
		}
		n += int64(len(chunk))
		if n > budget {
			return nil, n, r.tooMuch()
		}
		tail = append(tail, chunk...)
		if drop := len(tail) - tailLen - 1; drop > 0 {
			tail = append(tail[:0], tail[drop:]...)
		}
		r.r += len(chunk)
		if i >= 0 {
			r.r++
			return bytes.TrimSuffix(tail, []byte("\r")), n, nil
		}
		if err := r.fill(); err != nil {
			return nil, n, err
		}
	}
}

// ReadDone reads the line that ends IDLE (RFC 2177). Anything but DONE is an
// [*Error] without a tag, which the server answers with the tag of IDLE. A call
// that an error of the source has ended may be made again and goes on with the line.
func (r *Reader) ReadDone() error {
	if r.fatal != nil {
		return r.fatal
	}
	r.idle = true
	defer func() { r.idle = false }()
	if r.skip == 0 {
		r.shrink(false)
		line, err := r.readLine(64)
		switch {
		case err == nil && strings.EqualFold(strings.TrimSpace(string(line)), "DONE"):
			return nil
		case err == nil:
			return &Error{Kind: Bad, Text: "Expected DONE"}
		case err != errLineTooLong:
			return err
		}
	}
	if r.skip == 0 {
		r.skip = r.opt.Limits.MaxDiscard
	}
	if _, n, err := r.discardLine(r.skip); err != nil {
		r.skip = max(r.skip-n, 1)
		return err
	}
	r.skip = 0
	return &Error{Kind: Bad, Text: "Line too long"}
}

// readExtraLine reads a line that belongs to a command in progress.
func (r *Reader) readExtraLine(limit int) ([]byte, error) {
	if r.fatal != nil {
		return nil, r.fatal
	}
	line, err := r.readLine(limit)
	if err == errLineTooLong {
		if _, _, err = r.discardLine(r.opt.Limits.MaxDiscard); err == nil {
			return nil, &Error{Kind: Bad, Text: "Line too long"}
		}
	}
	if err != nil {
		return nil, err
	}
	return line, nil
}
