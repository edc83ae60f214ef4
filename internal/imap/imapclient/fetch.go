package imapclient

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mallard/internal/imap/imapwire"
)

type rng = imapwire.NumRange

// parseSet parses a set of numbers without "*".
func parseSet(b []byte) ([]rng, error) {
	set, err := imapwire.ParseNumSet(string(b))
	if err == nil && set.Dynamic() {
		err = imapwire.ErrNumSet
	}
	return set.Ranges, err
}

// setLen returns how many numbers are in the ranges.
func setLen(set []rng) uint64 {
	var n uint64
	for _, r := range set {
		n += uint64(max(r.Start, r.Stop)-min(r.Start, r.Stop)) + 1
	}
	return n
}

// Numbers returns the numbers of ranges one by one.
func Numbers(set []imapwire.NumRange) []uint32 {
	var out []uint32
	for _, r := range set {
		for n := uint64(min(r.Start, r.Stop)); n <= uint64(max(r.Start, r.Stop)); n++ {
			out = append(out, uint32(n))
		}
	}
	return out
}

// fetch parses the list of a FETCH response.
func (c *Client) fetch(r *Response) {
	l := &c.lex
	f := r.Fetch
	l.list(func() {
		name := c.itemName()
		if slices.Contains(f.Items, name) {
			l.failf("data item %s is sent twice", name)
		}
		f.Items = append(f.Items, name)
		l.sp()
		if strings.HasSuffix(name, "]") || strings.HasSuffix(name, ">") {
			c.section(r, name)
			return
		}
		c.fetchItem(r, name)
	})
	if len(f.Items) == 0 {
		l.failf("FETCH response without data")
	}
}

// itemName takes the name of a data item with its section. Names that were
// seen before are not copied again.
func (c *Client) itemName() string {
	l := &c.lex
	start := l.pos
	for b := l.peek(); isAtomByte(b) && b != '['; b = l.peek() {
		l.pos++
	}
	if l.peek() == '[' {
		switch string(l.line[start:l.pos]) {
		case "BODY", "BINARY", "BINARY.SIZE":
		default:
			l.failf("data item with a section")
		}
		l.expect('[')
		l.sectionSpec()
		l.expect(']')
		if l.accept('<') {
			l.number(63)
			l.expect('>')
		}
	}
	if l.err != nil {
		return ""
	}
	raw := l.line[start:l.pos]
	if name, ok := c.names[string(raw)]; ok {
		return name
	}
	name := string(raw)
	if len(c.names) < 1000 {
		c.names[name] = name
	}
	return name
}

// sectionSpec takes what stands in the brackets.
func (l *lexer) sectionSpec() {
	for b := l.peek(); b >= '1' && b <= '9'; b = l.peek() {
		l.nz32()
		if l.peek() == ']' {
			return
		}
		l.expect('.')
	}
	switch {
	case l.peek() == ']', l.word("HEADER"), l.word("TEXT"), l.word("MIME"):
	case l.word("HEADER.FIELDS"), l.word("HEADER.FIELDS.NOT"):
		l.sp()
		if l.list(func() { l.skipAString() }) == 0 {
			l.failf("no header names in section")
		}
	default:
		l.failf("unknown section")
	}
}

func (l *lexer) skipAString() {
	if l.peek() == '"' {
		l.skipQuoted()
		return
	}
	start := l.pos
	for b := l.peek(); isAtomByte(b) || b == ']'; b = l.peek() {
		l.pos++
	}
	if l.pos == start {
		l.failf("expected an astring")
	}
}

func (c *Client) fetchItem(r *Response, name string) {
	l, f := &c.lex, r.Fetch
	switch name {
	case "UID":
		f.UID = l.nz32()
	case "FLAGS":
		f.Flags = l.flags(false)
	case "RFC822.SIZE":
		f.Size = int64(l.number(63))
	case "MODSEQ":
		l.expect('(')
		f.ModSeq = l.modseq()
		l.expect(')')
	case "INTERNALDATE":
		f.InternalDate = l.dateTime()
	case "RFC822", "RFC822.HEADER", "RFC822.TEXT":
		c.section(r, name)
	case "EMAILID":
		l.expect('(')
		f.EmailID = l.atom()
		l.expect(')')
	case "THREADID":
		if !l.null() {
			l.expect('(')
			f.ThreadID = l.atom()
			l.expect(')')
		}
	case "SAVEDATE":
		if !l.null() {
			f.SaveDate = l.dateTime()
		}
	case "PREVIEW":
		f.Preview = l.nstr()
	case "ENVELOPE", "BODY", "BODYSTRUCTURE":
		c.structure(f, name)
	default:
		l.failf("unknown data item %s", name)
	}
}

func (c *Client) structure(f *Fetch, name string) {
	l := &c.lex
	switch {
	case c.Light:
		if l.peek() != '(' {
			l.failf("expected a list")
		}
		l.skipValue()
	case name == "ENVELOPE":
		f.Envelope = l.envelope()
	case name == "BODY":
		f.Body = l.body(false)
	default:
		f.BodyStructure = l.body(true)
	}
}

// dateTime takes an INTERNALDATE: 26 characters in quotes, the day padded
// with a space or a zero.
func (l *lexer) dateTime() time.Time {
	s := string(l.quoted())
	t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", s)
	if err != nil || len(s) != 26 {
		l.failf("invalid date-time %q", s)
	}
	return t
}

// section takes text of a message.
func (c *Client) section(r *Response, name string) {
	l, f := &c.lex, r.Fetch
	if strings.HasPrefix(name, "BINARY.SIZE[") {
		f.BinarySizes[name] = l.number(63)
		return
	}
	binary := strings.HasPrefix(name, "BINARY[")
	switch b := l.peek(); {
	case b == '"':
		f.Sections[name] = Section{Data: bytes.Clone(l.quoted())}
	case l.null():
		f.Sections[name] = Section{Nil: true}
	default:
		if binary {
			l.accept('~')
		}
		if c.OnLiteral != nil {
			c.stream(r, name)
			return
		}
		f.Sections[name] = Section{Data: l.literal(true)}
	}
}

// Literal is the octets of a literal that is still on the wire.
type Literal struct {
	// Name is the data item, such as BODY[].
	Name string
	// Size is the number of octets.
	Size int64

	c    *Client
	left int64
}

// stream hands a literal to OnLiteral.
func (c *Client) stream(r *Response, name string) {
	l := &c.lex
	n := l.literalSize()
	if l.err != nil {
		return
	}
	lit := &c.lit
	*lit = Literal{Name: name, Size: n, c: c, left: n}
	if err := c.OnLiteral(r, lit); err != nil {
		l.err = fmt.Errorf("imapclient: %s of message %d: %w", name, r.Number, err)
		return
	}
	for lit.left > 0 && l.err == nil {
		k, err := l.br.Discard(int(min(lit.left, 1<<30)))
		lit.left -= int64(k)
		l.err = err
	}
	l.next()
}

// Read implements io.Reader.
func (t *Literal) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n, err := t.c.lex.br.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteTo implements io.WriterTo. The octets are handed over from the read
// buffer; w must not keep them.
func (t *Literal) WriteTo(w io.Writer) (int64, error) {
	br := t.c.lex.br
	var total int64
	for t.left > 0 {
		if _, err := br.Peek(1); err != nil {
			return total, err
		}
		chunk, _ := br.Peek(int(min(t.left, int64(br.Buffered()))))
		n, err := w.Write(chunk)
		br.Discard(n)
		t.left -= int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
