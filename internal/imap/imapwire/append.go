package imapwire

import (
	"errors"
	"io"
	"time"
)

// Append is APPEND (RFC 3501 section 6.3.11) with MULTIAPPEND (RFC 3502),
// UTF8 (RFC 6855), BINARY (RFC 3516) and CATENATE (RFC 4469).
//
// The messages are still on the wire. The server takes one after the other
// with Next, reads each as a stream, and has received the command when Next
// returns io.EOF. It may give up at any time: it answers and calls
// [Reader.ReadCommand], which skips the rest.
type Append struct {
	Mailbox string

	r    *Reader
	msg  *AppendMessage // the current message, nil before the first Next
	next *AppendMessage // parsed, not given out yet
	done bool           // the command was read to its end, or has failed

	announced bool          // the current line ends with lit
	lit       literalHeader // the literal that comes next
	body      *literalBody  // lit, once it was opened
}

// AppendMessage is one message of an [Append].
type AppendMessage struct {
	// Flags are nil when the client sent no list. They may repeat.
	Flags []string
	// Date is the internal date; zero when not given.
	Date time.Time
	// UTF8 is set when the message was sent as UTF8 (...).
	UTF8 bool
	// Binary is set for a literal8: the message may have NUL octets.
	Binary bool
	// Catenate is set when the message is made of parts: they are read with
	// NextPart, and Size and Open are not used.
	Catenate bool
	// Size is the number of octets announced; at most Limits.MaxAppend. Zero
	// is for the server to refuse: in RFC 3502 it means that the client has
	// changed its mind.
	Size int64

	a      *Append
	part   *AppendPart // of CATENATE, the current one
	sent   int64       // octets of the parts announced so far
	closed bool        // the last part was read
}

// AppendPart is one part of a message that is made with CATENATE.
type AppendPart struct {
	// URL is the IMAP URL of the part; empty for a part that is sent.
	URL string
	// Size is the number of octets of a part that is sent.
	Size int64

	m *AppendMessage
}

func (*Append) args() {}

func appendCommands() []Spec {
	return []Spec{{Name: "APPEND", States: stateUser, parse: parseAppend}}
}

var (
	errAppendOver  = errors.New("imap: the message of this APPEND is not on the wire any more")
	errNotByOctets = errors.New("imap: the octets of this message or part are not sent")
)

func parseAppend(p *parser) Args {
	a := &Append{Mailbox: p.mailboxArg(), r: p.r}
	p.sp()
	a.next = p.appendMessage(a)
	if p.ok() {
		p.r.open = a
	}
	return a
}

// appendMessage reads the arguments of a message up to its literal. Limits
// are counted for each message, because messages are not held in memory.
func (p *parser) appendMessage(a *Append) *AppendMessage {
	p.elems = 0
	m := &AppendMessage{a: a}
	if p.peek() == '(' {
		m.Flags = p.flagList()
		p.sp()
	}
	if p.peek() == '"' {
		t, err := ParseDateTime(p.quoted())
		if err != nil {
			p.bad("Invalid date-time")
		}
		m.Date = t
		p.sp()
	}
	switch {
	case p.wordIs("UTF8"):
		m.UTF8 = true
		p.sp()
		p.expect('(')
	case p.wordIs("CATENATE"):
		m.Catenate = true
		p.sp()
		p.expect('(')
		return m
	}
	p.announce(a, 0)
	m.Size, m.Binary = a.lit.size, a.lit.binary
	return m
}

// announce reads the header of a literal with message text, when before
// octets of the same message were sent already.
func (p *parser) announce(a *Append, before int64) {
	a.lit = p.literalHeader()
	if a.lit.size > p.r.opt.Limits.MaxAppend-before {
		p.fail(No, CodeTooBig, "Message size exceeds the allowed limit")
	}
	a.announced, a.body = p.ok(), nil
}

// Next returns the next message. It is io.EOF after the last one, when the
// whole command was read and is well-formed. What was not read of the message
// before is skipped. After an error the command is over; an [*Error] is
// answered as one of [Reader.ReadCommand].
func (a *Append) Next() (*AppendMessage, error) {
	if a.done {
		return nil, io.EOF
	}
	p := &a.r.p
	if a.msg != nil {
		a.msg.finish()
		if p.lineLeft = a.r.opt.Limits.MaxLine; !p.more() {
			return nil, a.end()
		}
		a.next = p.appendMessage(a)
	}
	if !p.ok() {
		return nil, a.end()
	}
	a.msg, a.next = a.next, nil
	return a.msg, nil
}

// end closes the command and returns what is to be told of it: io.EOF when
// all is well.
func (a *Append) end() error {
	r := a.r
	r.p.end()
	a.close()
	if r.p.ok() {
		return io.EOF
	}
	return r.fail(r.recover())
}

// close makes sure that nothing reads from the command any more.
func (a *Append) close() {
	a.done = true
	if a.body != nil {
		a.body.left, a.body.err = 0, errAppendOver
	}
	if a.r.open == a {
		a.r.open = nil
	}
}

// finish reads the rest of the message.
func (m *AppendMessage) finish() {
	for m.Catenate && !m.closed && m.a.r.p.ok() {
		m.nextPart()
	}
	m.a.finishLiteral()
	if p := &m.a.r.p; m.UTF8 {
		p.spaces()
		p.expect(')')
	}
}

// finishLiteral reads the rest of the current literal and goes on to the line
// behind it.
func (a *Append) finishLiteral() {
	p := &a.r.p
	if !a.announced || !p.ok() {
		return
	}
	if err := a.openLiteral(); err != nil {
		return
	}
	err := a.r.discard(a.body.left)
	a.body.left, a.body.err = 0, errAppendOver
	if err != nil {
		p.err = err
		return
	}
	a.announced = false
	p.afterLiteral()
}

// openLiteral lets the client send the current literal.
func (a *Append) openLiteral() error {
	if a.body != nil {
		return nil
	}
	if p := &a.r.p; !a.lit.nonSync && !p.goAhead() {
		return p.err
	}
	a.body = &literalBody{r: a.r, left: a.lit.size}
	a.r.wide = a.r.wide || a.lit.size > readerKeep
	return nil
}

// Open lets the client send the message and returns its octets. The reader
// ends with io.EOF after Size octets; when the client goes away before, it is
// io.ErrUnexpectedEOF. A second call returns the same reader.
func (m *AppendMessage) Open() (io.Reader, error) {
	if m.Catenate {
		return nil, errNotByOctets
	}
	if m.a.done || m.a.msg != m || !m.a.announced {
		return nil, errAppendOver
	}
	if err := m.a.openLiteral(); err != nil {
		return nil, m.a.end()
	}
	return m.a.body, nil
}

// NextPart returns the next part of a message with Catenate, io.EOF after the
// last one. What was not read of the part before is skipped. Errors are as for
// [Append.Next].
func (m *AppendMessage) NextPart() (*AppendPart, error) {
	if m.a.done || m.a.msg != m || !m.Catenate {
		return nil, errAppendOver
	}
	if m.closed {
		return nil, io.EOF
	}
	part := m.nextPart()
	if !m.a.r.p.ok() {
		return nil, m.a.end()
	}
	if m.closed {
		return nil, io.EOF
	}
	return part, nil
}

// nextPart reads up to the text of the next part, or to the end of the parts.
func (m *AppendMessage) nextPart() *AppendPart {
	p := &m.a.r.p
	m.a.finishLiteral()
	p.spaces()
	if m.part != nil && p.accept(')') {
		m.closed = true
		return nil
	}
	p.element()
	part := &AppendPart{m: m}
	m.part = part
	switch {
	case p.wordIs("URL"):
		p.sp()
		if part.URL = p.astring(); part.URL == "" {
			p.expected("a URL")
		}
	case p.wordIs("TEXT"):
		p.sp()
		p.announce(m.a, m.sent)
		part.Size = m.a.lit.size
		m.sent += part.Size
	default:
		p.expected("URL or TEXT")
	}
	return part
}

// Open lets the client send the part and returns its octets, as
// [AppendMessage.Open] does. A part with a URL has none.
func (t *AppendPart) Open() (io.Reader, error) {
	a := t.m.a
	switch {
	case t.URL != "":
		return nil, errNotByOctets
	case a.done, a.msg != t.m, t.m.part != t, !a.announced:
		return nil, errAppendOver
	}
	if err := a.openLiteral(); err != nil {
		return nil, a.end()
	}
	return a.body, nil
}

// literalBody is the octets of a literal.
type literalBody struct {
	r    *Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (b *literalBody) Read(dst []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.left == 0:
		return 0, io.EOF
	case len(dst) == 0:
		return 0, nil
	}
	n, err := b.r.readSome(dst[:min(int64(len(dst)), b.left)])
	b.left -= int64(n)
	if err != nil {
		b.err = b.r.fail(err)
	}
	return n, err
}

// WriteTo implements io.WriterTo, from the Reader's own buffer.
func (b *literalBody) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for b.err == nil && b.left > 0 {
		n, err := b.writeSome(w)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, b.err
}

func (b *literalBody) writeSome(w io.Writer) (int, error) {
	r := b.r
	if r.r == r.w {
		r.widen(b.left)
		if err := r.fill(); err != nil {
			b.err = r.fail(err)
			return 0, err
		}
	}
	n, err := w.Write(r.buf[r.r : r.r+int(min(b.left, int64(r.w-r.r)))])
	r.r += n
	b.left -= int64(n)
	return n, err
}

// finishAppend skips what a server left unread of an APPEND. It is an [*Error]
// with [Bye] when that is too much.
func (r *Reader) finishAppend() error {
	a := r.open
	if a == nil {
		return nil
	}
	var opened int64
	inLiteral := a.announced && a.body != nil
	if inLiteral {
		opened = a.body.left
	}
	a.close()
	line, budget := r.p.line, r.opt.Limits.MaxDiscard
	if inLiteral {
		if err := r.discard(opened); err != nil {
			return err
		}
		tail, n, err := r.discardLine(budget)
		if err != nil {
			return err
		}
		line = tail
		budget -= n
	}
	return r.skipLiterals(line, budget)
}
