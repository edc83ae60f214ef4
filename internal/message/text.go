package message

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// TextKind says what a chunk of text given to Parser.Text is.
type TextKind uint8

const (
	// TextPlain is a part that is meant to be read in place and is no HTML.
	TextPlain TextKind = iota
	// TextHTML is such a part in HTML, rendered as text.
	TextHTML
	// TextHeader is the header of an embedded message, one decoded field a
	// line.
	TextHeader
	// TextAttachment is a textual part that is an attachment, or of a textual
	// type that is not read in place (calendars, tables).
	TextAttachment
)

// previewBytes is how much text a preview is made of.
const previewBytes = introSource * utf8.UTFMax

// maxPreamble is how much text of a multipart is kept for the case that it
// turns out to have no parts.
const maxPreamble = 64 << 10

// textSink is the text side of a parser, reused from message to message.
type textSink struct {
	left     int    // octets of text that may still be given out
	shown    []byte // preview of what a reader sees: HTML before plain text
	plain    []byte // preview of the plain alternatives
	preamble []byte
	part     partSink
}

func newTextSink() *textSink { return &textSink{} }

func (t *textSink) reset() {
	t.shown, t.plain, t.preamble = t.shown[:0], t.plain[:0], t.preamble[:0]
}

func (t *textSink) preview() string {
	if len(t.shown) > 0 {
		return Intro(view(t.shown))
	}
	return Intro(view(t.plain))
}

// partSink decodes the body of one part.
type partSink struct {
	part    *Part
	kind    TextKind
	preview *[]byte // where the preview of the part goes, nil if nowhere
	pipe    textPipe

	preamble bool // only keep: the part is a multipart
	eol      [2]byte
	eolLen   int // a line break that may belong to a boundary
}

// textPipe turns the octets of a body into text.
type textPipe struct {
	transfer transferDecoder
	charset  charsetDecoder
	html     *htmlText
	flowed   *flowedText
	begun    bool // the first text has come

	decoded, converted, rendered []byte
}

// set prepares the pipe for a part. Buffers are kept.
func (t *textPipe) set(part *Part, render bool) {
	t.transfer = newTransferDecoder(part.Encoding)
	t.charset = newCharsetDecoder(part.Charset())
	t.html, t.flowed, t.begun = nil, nil, false
	switch {
	case part.Type != "TEXT" || !render:
	case part.Subtype == "HTML":
		t.html = &htmlText{}
	case part.Subtype == "PLAIN" && strings.EqualFold(part.Param("FORMAT"), "flowed"):
		t.flowed = &flowedText{delSp: strings.EqualFold(part.Param("DELSP"), "yes")}
	}
}

// run decodes b and, at the end of the body, what the decoders hold. The
// result is valid until the next call.
func (t *textPipe) run(b []byte, end bool) []byte {
	if t.transfer.base64 || t.transfer.qp {
		t.decoded = t.transfer.append(t.decoded[:0], b)
		if end {
			t.decoded = t.transfer.finish(t.decoded)
		}
		b = t.decoded
	}
	t.converted = t.charset.append(t.converted[:0], b)
	if end {
		t.converted = t.charset.finish(t.converted)
	}
	text := t.converted
	if !t.begun && len(text) > 0 {
		t.begun = true
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
	}
	switch {
	case t.html != nil:
		t.rendered = t.html.append(t.rendered[:0], text)
		if end {
			t.rendered = t.html.finish(t.rendered)
		}
	case t.flowed != nil:
		t.rendered = t.flowed.append(t.rendered[:0], text)
		if end {
			t.rendered = t.flowed.finish(t.rendered)
		}
	default:
		return text
	}
	return t.rendered
}

// isInline reports whether a part is meant to be read in place.
func (p *Part) isInline() bool {
	return p.Disposition == "" || p.Disposition == "INLINE"
}

// InlineText reports whether the part is text that belongs to what a reader
// sees: text/plain, text/html, text/rfc822-headers or message/delivery-status
// that is not marked as an attachment.
func (p *Part) InlineText() bool {
	if !p.isInline() || len(p.Children) > 0 {
		return false
	}
	switch p.Type {
	case "TEXT":
		return p.Subtype == "PLAIN" || p.Subtype == "HTML" || p.Subtype == "RFC822-HEADERS"
	case "MESSAGE":
		return p.Subtype == "DELIVERY-STATUS"
	}
	return false
}

// textKind tells what text a leaf has, if any.
func (p *Part) textKind() (kind TextKind, ok bool) {
	switch {
	case p.InlineText() && p.Subtype == "HTML":
		return TextHTML, true
	case p.InlineText():
		return TextPlain, true
	case p.Type == "TEXT":
		return TextAttachment, true
	case p.Type == "MESSAGE" && (p.Subtype == "DELIVERY-STATUS" || p.Subtype == "DISPOSITION-NOTIFICATION" ||
		p.Subtype == "GLOBAL-DELIVERY-STATUS" || p.Subtype == "GLOBAL-HEADERS" ||
		p.Subtype == "GLOBAL-DISPOSITION-NOTIFICATION"):
		return TextAttachment, true
	}
	return 0, false
}

// endRootHeader begins the text of a message.
func (p *Parser) endRootHeader() {
	if p.text != nil {
		p.text.reset()
		p.text.left = p.limits.TextBytes
	}
}

// beginText begins the body of a leaf.
func (p *Parser) beginText(part *Part) {
	if p.text == nil {
		return
	}
	kind, ok := part.textKind()
	if !ok {
		return
	}
	p.startSink(part, kind)
	if p.text.part.preview == nil && (p.Text == nil || p.msg.TextLimited) {
		p.sink = nil
	}
}

func (p *Parser) startSink(part *Part, kind TextKind) {
	s := &p.text.part
	s.part, s.kind, s.preamble, s.eolLen = part, kind, false, 0
	s.preview = p.previewOf(kind)
	s.pipe.set(part, true)
	p.sink = s
}

// previewOf tells where the preview of a part of the innermost frame goes. Of
// a multipart/alternative the HTML is shown, the text is for want of it.
func (p *Parser) previewOf(kind TextKind) *[]byte {
	f := &p.frames[len(p.frames)-1]
	if !p.Preview || p.isMessageRoot(f.part) {
		return nil // a forwarded plain message is no text of this one
	}
	switch {
	case kind == TextHTML, kind == TextPlain && !f.alternate:
		return startPreview(&p.text.shown)
	case kind == TextPlain:
		return startPreview(&p.text.plain)
	}
	return nil
}

// startPreview separates the parts of a preview, which is nil once it is full.
func startPreview(b *[]byte) *[]byte {
	switch {
	case len(*b) >= previewBytes:
		return nil
	case len(*b) > 0:
		*b = append(*b, '\n')
	}
	return b
}

// beginImplied keeps the text of a multipart until its first boundary.
func (p *Parser) beginImplied(m *Part) {
	if p.text == nil {
		return
	}
	p.text.preamble = p.text.preamble[:0]
	s := &p.text.part
	s.part, s.preamble, s.eolLen = m, true, 0
	p.sink = s
}

// feed gives body octets to the sink. The last line break is kept back: it
// may belong to a boundary.
func (p *Parser) feed(s *partSink, b []byte) {
	if s.preamble {
		if room := maxPreamble - len(p.text.preamble); room > 0 {
			p.text.preamble = append(p.text.preamble, b[:min(room, len(b))]...)
		}
		return
	}
	if s.eolLen == 1 && s.eol[0] == '\r' && len(b) == 1 && b[0] == '\n' {
		s.eol[1], s.eolLen = '\n', 2
		return
	}
	if s.eolLen > 0 {
		n := s.eolLen
		s.eolLen = 0
		p.give(s, s.eol[:n], false)
	}
	n := len(b)
	if b[n-1] == '\n' {
		n--
	}
	if n > 0 && b[n-1] == '\r' {
		n--
	}
	s.eolLen = copy(s.eol[:], b[n:])
	p.give(s, b[:n], false)
}

// give decodes octets and hands out the text.
func (p *Parser) give(s *partSink, b []byte, end bool) {
	if p.sink == nil || len(b) == 0 && !end {
		return
	}
	p.handOut(s, s.pipe.run(b, end))
}

func (p *Parser) handOut(s *partSink, text []byte) {
	if s.preview != nil {
		room := previewBytes - len(*s.preview)
		*s.preview = append(*s.preview, validPrefix(text, room)...)
		if len(text) > room {
			s.preview = nil
		}
	}
	if p.Text != nil && len(text) > 0 {
		p.giveOut(s, text)
	}
	if s.preview == nil && (p.Text == nil || p.msg.TextLimited) {
		p.sink = nil
	}
}

// giveOut hands out text as far as the limit allows. Once a character did not
// fit nothing follows, or what follows would depend on where a chunk ended.
func (p *Parser) giveOut(s *partSink, text []byte) {
	p.text.left -= len(text)
	if p.text.left < 0 {
		text = validPrefix(text, len(text)+p.text.left)
		p.text.left = 0
		p.msg.TextLimited = true
	}
	if len(text) > 0 {
		p.Text(s.kind, s.part, text)
	}
}

// endText ends the text of a part of which the end is known.
func (p *Parser) endText(part *Part) {
	s := p.sink
	if s == nil || s.part != part {
		return
	}
	if !s.preamble {
		if s.eolLen > 0 && part.BodyEnd == p.off { // the end of the message, not a boundary
			n := s.eolLen
			s.eolLen = 0
			p.give(s, s.eol[:n], false)
		}
		p.give(s, nil, true)
	}
	p.sink = nil
}

// impliedText hands out the text of a multipart that had no parts.
func (p *Parser) impliedText(m, implied *Part) {
	if p.text == nil || len(p.text.preamble) == 0 {
		return
	}
	b := p.text.preamble
	b = b[:min(int64(len(b)), m.Size())]
	p.startSink(implied, TextPlain)
	p.give(&p.text.part, b, true)
	p.sink = nil
	p.text.preamble = p.text.preamble[:0]
}

// embeddedHeader hands out the header of an embedded message.
func (p *Parser) embeddedHeader(part *Part) {
	if p.text == nil || p.Text == nil || p.msg.TextLimited {
		return
	}
	s := partSink{part: part, kind: TextHeader}
	sink := p.sink
	p.sink = &s
	p.handOut(&s, AppendHeaderText(nil, p.hdr))
	p.sink = sink
}

// TextOf reads the body of a text part (the octets from BodyStart to BodyEnd)
// and returns its text as UTF-8, at most limit octets of it: transfer encoding
// and charset decoded, format=flowed undone, HTML rendered with the targets of
// its links. The only errors are those of body.
func TextOf(part *Part, body io.Reader, limit int) (string, error) {
	var pipe textPipe
	pipe.set(part, true)
	if pipe.html != nil {
		pipe.html.links = true
	}
	return readText(&pipe, body, limit)
}

// HTMLOf is TextOf without rendering: the HTML of a text/html part as UTF-8.
func HTMLOf(part *Part, body io.Reader, limit int) (string, error) {
	var pipe textPipe
	pipe.set(part, false)
	return readText(&pipe, body, limit)
}

func readText(pipe *textPipe, body io.Reader, limit int) (string, error) {
	var text []byte
	buf := make([]byte, 16<<10)
	for len(text) < limit {
		n, err := body.Read(buf)
		text = append(text, pipe.run(buf[:n], err != nil)...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read text part: %w", err)
		}
	}
	return string(validPrefix(text, limit)), nil
}

// validPrefix cuts b to at most n octets at a character's start.
func validPrefix(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return b[:n]
}
