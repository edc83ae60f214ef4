package pebblestore

import (
	"encoding/binary"
	"fmt"
)

// layout says how the octets of a message behind its header are put together: a
// sequence of segments. Segments of text follow each other in one stream, which is
// stored apart; content is elsewhere, under its hash.
type layout struct {
	textMode byte
	textLen  int64
	inline   []byte  // textInline: the stream itself
	chunks   []chunk // textShared
	segments []segment
}

// Where the stream of text is.
const (
	textOwn    = 1 // a row of tabText
	textInline = 2 // in the layout
	textShared = 3 // chunks of content
)

// chunk is a part of a shared stream of text.
type chunk struct {
	size int64
	hash hash
}

// The kinds of segments.
const (
	segText    = 1
	segContent = 2 // content as it is
	segBase64  = 3 // content as base64
)

// segment is one run of octets of the message.
type segment struct {
	kind byte
	size int64 // of the text or the content, before encoding
	hash hash
	wrap wrapping
}

// length is the number of octets of the message.
func (g *segment) length() int64 {
	if g.kind == segBase64 {
		return g.wrap.encodedLen(g.size)
	}
	return g.size
}

func (l *layout) append(b []byte) []byte {
	b = append(b, l.textMode)
	b = binary.AppendUvarint(b, uint64(l.textLen))
	switch l.textMode {
	case textInline:
		b = appendBytes(b, l.inline)
	case textShared:
		b = binary.AppendUvarint(b, uint64(len(l.chunks)))
		for _, c := range l.chunks {
			b = binary.AppendUvarint(b, uint64(c.size))
			b = append(b, c.hash[:]...)
		}
	}
	for i := range l.segments {
		g := &l.segments[i]
		b = append(b, g.kind)
		b = binary.AppendUvarint(b, uint64(g.size))
		if g.kind == segText {
			continue
		}
		b = append(b, g.hash[:]...)
		if g.kind == segBase64 {
			b = append(b, boolOctet(g.wrap.crlf))
			b = binary.AppendUvarint(b, uint64(g.wrap.width))
		}
	}
	return b
}

func boolOctet(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// decodeLayout reads a layout into l, whose slices are reused; inline text points
// into b. It returns the number of octets of the message behind the header.
func (l *layout) decode(b []byte) (size int64, err error) {
	d := decoder{b: b}
	l.textMode = d.octet()
	l.textLen = int64(d.uvarint())
	l.inline, l.chunks, l.segments = nil, l.chunks[:0], l.segments[:0]
	switch l.textMode {
	case textOwn:
	case textInline:
		l.inline = d.take(d.length())
	case textShared:
		for range d.length() {
			l.chunks = append(l.chunks, chunk{int64(d.uvarint()), d.hash()})
		}
	default:
		d.fail()
	}
	for len(d.b) > 0 {
		g := segment{kind: d.octet(), size: int64(d.uvarint())}
		switch g.kind {
		case segText:
		case segContent, segBase64:
			g.hash = d.hash()
			if g.kind == segBase64 {
				g.wrap = wrapping{crlf: d.octet() == 1, width: int64(d.uvarint())}
			}
		default:
			d.fail()
		}
		l.segments = append(l.segments, g)
	}
	if d.err != nil {
		return 0, d.err
	}
	return l.check()
}

// maxContent bounds sizes in a layout, so that damage cannot make sums overflow.
const maxContent = 1 << 40

// check adds up the sizes and refuses what does not fit together.
func (l *layout) check() (size int64, err error) {
	var text, chunks int64
	for i := range l.segments {
		g := &l.segments[i]
		if g.size < 0 || g.size > maxContent || !g.wrap.valid() {
			return 0, fmt.Errorf("%w: segment %d", errValue, i)
		}
		if g.kind == segText {
			text += g.size
		}
		size += g.length()
		if size > maxContent {
			return 0, fmt.Errorf("%w: segment %d", errValue, i)
		}
	}
	for _, c := range l.chunks {
		if c.size < 0 || c.size > maxContent {
			return 0, errValue
		}
		chunks += c.size
	}
	if text != l.textLen || (l.textMode == textShared && chunks != text) || (l.textMode == textInline && int64(len(l.inline)) != text) {
		return 0, fmt.Errorf("%w: %d octets of text, %d are used", errValue, l.textLen, text)
	}
	return size, nil
}

// hashes calls f for everything that the layout refers to by hash, with the size.
func (l *layout) hashes(f func(h hash, size int64)) {
	for i := range l.chunks {
		f(l.chunks[i].hash, l.chunks[i].size)
	}
	for i := range l.segments {
		if g := &l.segments[i]; g.kind != segText {
			f(g.hash, g.size)
		}
	}
}
