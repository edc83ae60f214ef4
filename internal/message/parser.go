package message

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// maxBoundaryLine is the longest line that is looked at as a boundary or as
// the end of a header, in octets. RFC 5322 allows lines of 1000.
const maxBoundaryLine = 2048

// Parser is a push parser for one message: Write the octets in chunks of any
// size, then Close. It is not safe for concurrent use.
type Parser struct {
	// Text, if set before the first Write, is given the decoded text of the
	// message in order, as UTF-8 in chunks that need not end at line or word
	// boundaries, for search indexes (see TextKind). p is the part, of which
	// BodyEnd is not yet known; utf8 is valid during the call. In all no more
	// than Limits.TextBytes are given.
	Text func(kind TextKind, p *Part, utf8 []byte)
	// Preview, if set before the first Write, makes Message.Summary know the
	// beginning of the text (Summary.Intro).
	Preview bool

	limits Limits
	msg    *Message

	frames []frame
	opens  int            // frames with an active boundary
	active map[string]int // boundary to frame, once there are many
	stale  bool           // active must be made anew

	inHeader bool
	midLine  bool   // inside a line that cannot be a boundary
	hold     []byte // start of a line of which the end is not here yet
	hdr      []byte // header of the part that is being opened
	hdrMax   int
	hdrTotal int // header octets kept so far, the first header excepted
	parts    int
	addrs    int // addresses that may still be kept

	off   int64 // octets consumed
	lines int64
	last  [2]byte // the last two octets consumed

	counts encodedCounts
	text   *textSink
	sink   *partSink // of the leaf that is being read, nil if unwanted
	sums   []bodySum // of attachments, the first open ones are being read
	open   int
}

// frame is a part that is open. The frames are the path from the root to the
// innermost open part.
type frame struct {
	part      *Part
	boundary  string // of a multipart, "" once it is closed or if it has none
	digest    bool
	alternate bool // inside a multipart/alternative of this message
	lines     int64
}

// NewParser returns a parser with the given limits.
func NewParser(l Limits) *Parser {
	p := &Parser{limits: l.withDefaults()}
	p.Reset()
	return p
}

// Reset makes the parser ready for another message. Text and Preview stay.
func (p *Parser) Reset() {
	clear(p.frames)
	*p = Parser{
		Text: p.Text, Preview: p.Preview, limits: p.limits,
		frames: p.frames[:0], hold: p.hold[:0], hdr: p.hdr[:0],
		active: p.active, stale: true, text: p.text, sums: p.sums,
	}
	p.msg = &Message{}
	p.addrs = p.limits.MaxAddresses
	p.openPart(nil, false)
}

// Parse reads a message to its end. The only errors are those of r.
func Parse(r io.Reader, l Limits) (*Message, error) {
	p := NewParser(l)
	p.Preview = true
	if _, err := io.CopyBuffer(struct{ io.Writer }{p}, struct{ io.Reader }{r}, make([]byte, 64<<10)); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return p.Close()
}

// ParseBytes parses a message in memory. It keeps no reference to b. The error
// is always nil.
func ParseBytes(b []byte, l Limits) (*Message, error) {
	p := NewParser(l)
	p.Preview = true
	_, _ = p.Write(b)
	return p.Close()
}

// Write takes the next octets of the message. It keeps no reference to b and
// never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	p.noteOctets(b)
	if p.text == nil && (p.Text != nil || p.Preview) {
		p.text = newTextSink()
	}
	for len(b) > 0 {
		b = p.step(b)
	}
	return n, nil
}

// Close ends the message and returns what was found. The error is always nil.
// The parser must be Reset before it is used again.
func (p *Parser) Close() (*Message, error) {
	if p.text == nil && (p.Text != nil || p.Preview) {
		p.text = newTextSink()
	}
	if len(p.hold) > 0 {
		line := p.hold
		p.hold = p.hold[:0]
		p.line(line)
	}
	for p.inHeader {
		p.finishHeader()
	}
	m := p.msg
	m.Size, m.Lines = p.off, p.lines
	p.endFrames(0, p.off, p.lines)
	m.HeaderEnd = m.Root.BodyStart
	if p.Preview {
		m.intro = p.text.preview()
	}
	if p.text != nil {
		p.text.reset()
	}
	p.msg = nil
	return m, nil
}

// noteOctets sets the flags that depend on octets alone.
func (p *Parser) noteOctets(b []byte) {
	if !p.msg.HasNUL && bytes.IndexByte(b, 0) >= 0 {
		p.msg.HasNUL = true
	}
	if !p.msg.Has8Bit && has8Bit(b) {
		p.msg.Has8Bit = true
	}
}

func has8Bit(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		w := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if w&high != 0 {
			return true
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// step consumes some of b and returns the rest.
func (p *Parser) step(b []byte) []byte {
	switch {
	case len(p.hold) > 0:
		return p.extendHold(b)
	case p.midLine:
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			p.content(b)
			return nil
		}
		p.endLine(b[:n])
		p.content(b[:n])
		p.midLine = false
		return b[n:]
	case p.inHeader:
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			p.holdLine(b)
			return nil
		}
		p.line(b[:n])
		return b[n:]
	}
	return p.scanBody(b)
}

// extendHold completes a line that began in an earlier chunk.
func (p *Parser) extendHold(b []byte) []byte {
	n := bytes.IndexByte(b, '\n') + 1
	whole := n > 0
	if !whole {
		n = len(b)
	}
	if len(p.hold)+n > maxBoundaryLine {
		line := p.hold
		p.hold = p.hold[:0]
		p.midLine = true
		p.content(line)
		return b
	}
	p.hold = append(p.hold, b[:n]...)
	if whole {
		line := p.hold
		p.hold = p.hold[:0]
		p.line(line)
	}
	return b[n:]
}

// holdLine keeps the start of a line until its end is known, unless it is too
// long to matter.
func (p *Parser) holdLine(b []byte) {
	if len(b) > maxBoundaryLine {
		p.midLine = true
		p.content(b)
		return
	}
	p.hold = append(p.hold[:0], b...)
}

// line takes one whole line with its line break, or the last one without.
func (p *Parser) line(b []byte) {
	p.endLine(b)
	if len(b) <= maxBoundaryLine {
		if k, closing, ok := p.matchBoundary(b); ok {
			p.boundary(k, closing, b)
			return
		}
	}
	p.content(b)
	if p.inHeader && len(b) <= maxBoundaryLine && isBlankLine(b) {
		p.finishHeader()
	}
}

// endLine notes how a line that ends in b ends, before b is consumed. The
// line break is counted when its octets are.
func (p *Parser) endLine(b []byte) {
	n := len(b)
	if n == 0 || b[n-1] != '\n' {
		return
	}
	before := p.last[1]
	if n > 1 {
		before = b[n-2]
	}
	if before != '\r' {
		p.msg.HasBareLF = true
	}
	p.lines++
}

// scanBody consumes body octets up to a boundary or to the end of b. It is at
// the start of a line.
func (p *Parser) scanBody(b []byte) []byte {
	pos := 0
	lines := int64(0)
	bare := p.msg.HasBareLF
	for pos < len(b) {
		if b[pos] == '-' && p.opens > 0 && (pos+1 == len(b) || b[pos+1] == '-') {
			n := bytes.IndexByte(b[pos:], '\n') + 1
			p.lines += lines
			lines = 0
			p.msg.HasBareLF = bare
			if n == 0 {
				p.content(b[:pos])
				p.holdLine(b[pos:])
				return nil
			}
			if n <= maxBoundaryLine {
				if _, _, ok := p.matchBoundary(b[pos : pos+n]); ok {
					p.content(b[:pos])
					p.line(b[pos : pos+n])
					return b[pos+n:]
				}
			}
		}
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			p.midLine = true
			break
		}
		if pos += i; !bare {
			if pos > 0 {
				bare = b[pos-1] != '\r'
			} else {
				bare = p.last[1] != '\r'
			}
		}
		pos++
		lines++
	}
	p.lines += lines
	p.msg.HasBareLF = bare
	p.content(b)
	return nil
}

// content consumes octets that are no boundary.
func (p *Parser) content(b []byte) {
	if len(b) == 0 {
		return
	}
	p.advance(b)
	if p.inHeader {
		if room := p.hdrMax - len(p.hdr); room < len(b) {
			b = b[:room]
			p.msg.Limited = true
		}
		p.hdr = append(p.hdr, b...)
		return
	}
	p.counts.add(b)
	if p.sink != nil {
		p.feed(p.sink, b)
	}
}

func (p *Parser) advance(b []byte) {
	if p.open > 0 {
		p.sum(b)
	}
	p.off += int64(len(b))
	if len(b) >= 2 {
		p.last = [2]byte{b[len(b)-2], b[len(b)-1]}
	} else {
		p.last = [2]byte{p.last[1], b[0]}
	}
}
