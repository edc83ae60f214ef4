package message

import (
	"bytes"
	"strings"
)

// manyBoundaries is how many open multiparts make a map faster than a look at
// each.
const manyBoundaries = 4

// matchBoundary reports whether a line is a boundary of an open multipart, of
// which frame, and whether it is the closing one. The innermost frame wins;
// one of an outer multipart ends the inner ones (RFC 2046 5.1.2). White space
// after the boundary is padding (RFC 2046 5.1.1).
func (p *Parser) matchBoundary(line []byte) (frame int, closing, ok bool) {
	if p.opens == 0 || len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return 0, false, false
	}
	b := bytes.TrimRight(line[2:], " \t\r\n")
	if k, ok := p.findBoundary(b); ok {
		return k, false, true
	}
	if n := len(b) - 2; n > 0 && b[n] == '-' && b[n+1] == '-' {
		if k, ok := p.findBoundary(b[:n]); ok {
			return k, true, true
		}
	}
	return 0, false, false
}

func (p *Parser) findBoundary(b []byte) (int, bool) {
	if len(b) == 0 {
		return 0, false
	}
	if p.opens > manyBoundaries {
		if p.stale {
			p.indexBoundaries()
		}
		k, ok := p.active[string(b)]
		return k, ok
	}
	for k := len(p.frames) - 1; k >= 0; k-- {
		if f := &p.frames[k]; f.boundary != "" && f.boundary == string(b) {
			return k, true
		}
	}
	return 0, false
}

// indexBoundaries makes active, in which an inner boundary hides an equal one
// further out.
func (p *Parser) indexBoundaries() {
	if p.active == nil {
		p.active = make(map[string]int)
	}
	clear(p.active)
	for k := range p.frames {
		if b := p.frames[k].boundary; b != "" {
			p.active[b] = k
		}
	}
	p.stale = false
}

// setBoundary makes the boundary of a frame active.
func (p *Parser) setBoundary(f *frame, boundary string) {
	f.boundary = boundary
	p.opens++
	p.stale = true
}

// dropBoundary makes it inactive.
func (p *Parser) dropBoundary(f *frame) {
	if f.boundary == "" {
		return
	}
	f.boundary = ""
	p.opens--
	p.stale = true
}

// boundary takes a boundary line of frame k: it ends what is open inside that
// multipart and, unless it is the closing one, opens the next part.
func (p *Parser) boundary(k int, closing bool, line []byte) {
	if !closing && !p.mayOpen() {
		// Too many parts: the rest belongs to the last one.
		p.msg.Limited = true
		if len(p.frames) > k+1 && !p.inHeader {
			p.content(line)
			return
		}
	}
	p.endHeaderAtBoundary()
	eol := p.breakBefore()
	lines := p.lines
	if len(line) > 0 && line[len(line)-1] == '\n' {
		lines--
	}
	if eol > 0 {
		lines--
	}
	p.endFrames(k+1, p.off-eol, lines)
	p.advance(line)
	if closing {
		p.dropBoundary(&p.frames[k])
		return
	}
	if p.mayOpen() {
		p.openPart(p.frames[k].part, p.frames[k].digest)
	}
}

// endHeaderAtBoundary ends a header that a boundary cuts off. What the header
// announces is not opened: it is empty.
func (p *Parser) endHeaderAtBoundary() {
	if !p.inHeader {
		return
	}
	p.inHeader = false
	f := &p.frames[len(p.frames)-1]
	f.part.BodyStart = p.off
	f.lines = p.lines
	p.interpret(f.part)
	if f.part.Type == "MULTIPART" || isEmbedded(f.part) {
		f.part.Opaque = true
	}
	p.counts = encodedCounts{encoding: f.part.Encoding}
}

// breakBefore is the length of the line break before a boundary line, which
// belongs to the boundary, or 0 if a header ends there.
func (p *Parser) breakBefore() int64 {
	body := p.off - p.frames[len(p.frames)-1].part.BodyStart
	switch {
	case body == 0 || p.last[1] != '\n':
		return 0
	case body >= 2 && p.last[0] == '\r':
		return 2
	}
	return 1
}

// mayOpen reports whether the limits allow one more part.
func (p *Parser) mayOpen() bool {
	return p.parts < p.limits.MaxParts && p.hdrTotal < p.limits.MaxTotalHeaderBytes
}

// openPart begins a part at the current offset: a child of parent, the root of
// the message that parent contains, or the root of all.
func (p *Parser) openPart(parent *Part, digest bool) {
	part := &Part{HeaderStart: p.off}
	f := frame{part: part}
	switch {
	case parent == nil:
		p.msg.Root = part
		p.hdrMax = p.limits.MaxHeaderBytes
	case parent.Type == "MULTIPART":
		up := &p.frames[len(p.frames)-1]
		f.alternate = up.alternate || parent.Subtype == "ALTERNATIVE"
		parent.Children = append(parent.Children, part)
	default:
		parent.Message = part
	}
	if parent != nil {
		p.hdrMax = min(p.limits.MaxPartHeaderBytes, p.limits.MaxTotalHeaderBytes-p.hdrTotal)
	}
	if digest {
		part.Type, part.Subtype = "MESSAGE", "RFC822"
	}
	p.parts++
	p.frames = append(p.frames, f)
	p.inHeader = true
	p.hdr = p.hdr[:0]
}

// finishHeader ends the header of the innermost part at the current offset and
// opens what it announces.
func (p *Parser) finishHeader() {
	p.inHeader = false
	k := len(p.frames) - 1
	f := &p.frames[k]
	part := f.part
	part.BodyStart = p.off
	f.lines = p.lines
	p.interpret(part)
	p.counts = encodedCounts{encoding: part.Encoding}
	switch {
	case part.Type == "MULTIPART":
		if p.beginMultipart(f); part.Opaque {
			p.beginSum(part)
		}
	case isEmbedded(part):
		p.beginSum(part)
		if !p.mayDescend() || !identityEncoding(part.Encoding) {
			part.Opaque = true
			return
		}
		p.openPart(part, false)
	default:
		p.beginSum(part)
		p.beginText(part)
	}
}

func (p *Parser) beginMultipart(f *frame) {
	if !p.mayDescend() {
		f.part.Opaque = true
		return
	}
	f.digest = f.part.Subtype == "DIGEST"
	boundary := strings.TrimRight(f.part.Param("BOUNDARY"), " \t\r\n")
	if boundary != "" && len(boundary)+4 <= maxBoundaryLine {
		p.setBoundary(f, boundary)
	}
	p.beginImplied(f.part)
}

// mayDescend reports whether the innermost part may contain parts.
func (p *Parser) mayDescend() bool {
	ok := len(p.frames) < p.limits.MaxDepth && p.mayOpen()
	if !ok {
		p.msg.Limited = true
	}
	return ok
}

// isEmbedded reports whether a part contains a message (RFC 2046 5.2.1).
func isEmbedded(p *Part) bool { return p.Type == "MESSAGE" && p.Subtype == "RFC822" }

// identityEncoding reports whether an encoding leaves the octets as they are.
// A composite part may have no other (RFC 2045 6.4).
func identityEncoding(e string) bool {
	return e == "7BIT" || e == "8BIT" || e == "BINARY"
}

// endFrames ends the frames from k inwards with their bodies at end.
func (p *Parser) endFrames(k int, end, lines int64) {
	for i := len(p.frames) - 1; i >= k; i-- {
		f := &p.frames[i]
		p.dropBoundary(f)
		part := f.part
		part.BodyEnd = max(part.BodyStart, end)
		part.Lines = max(0, lines-f.lines)
		p.endText(part)
		p.endSum(part)
		switch {
		case part.Type == "MULTIPART" && !part.Opaque && len(part.Children) == 0:
			c := p.impliedPart(part)
			part.Children = []*Part{c}
			p.impliedText(part, c)
			part.DecodedSize = part.Size()
		case part.Message == nil && len(part.Children) == 0:
			part.DecodedSize = p.counts.decodedSize(part)
			p.counts = encodedCounts{}
		default:
			part.DecodedSize = part.Size()
		}
	}
	p.frames = p.frames[:k]
}

// impliedPart is the text part of a multipart without parts.
func (p *Parser) impliedPart(m *Part) *Part {
	c := &Part{
		HeaderStart: m.BodyStart, BodyStart: m.BodyStart, BodyEnd: m.BodyEnd, Lines: m.Lines,
		Type: "TEXT", Subtype: "PLAIN", Encoding: m.Encoding, Implied: true,
	}
	c.DecodedSize = p.counts.decodedSize(c)
	p.counts = encodedCounts{}
	return c
}
