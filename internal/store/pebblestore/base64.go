package pebblestore

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"slices"

	fast "github.com/segmentio/asm/base64"
)

// base64 bodies are stored decoded when encoding the octets again gives exactly
// the text that came in: that is proved for every line before it is taken.

// wrapping is how a base64 text is broken into lines. All lines but the last have
// width characters; the last has no line ending of its own.
type wrapping struct {
	width int64 // characters in a line, a multiple of 4; 0 for one line of any length
	crlf  bool  // lines end with CRLF, not LF
}

const (
	// cutFrom is the least size of a body that is stored apart from the text.
	cutFrom = 2048
	// maxWidth is the greatest width of lines that are taken out.
	maxWidth = 16 << 10
	// cutBlock is how much of a body is looked at in one go.
	cutBlock = 64 << 10
)

func (w wrapping) eol() []byte {
	if w.crlf {
		return []byte("\r\n")
	}
	return []byte("\n")
}

// encodedLen is the length of the text for n octets.
func (w wrapping) encodedLen(n int64) int64 {
	chars := (n + 2) / 3 * 4
	if w.width == 0 || chars == 0 {
		return chars
	}
	return chars + ((chars+w.width-1)/w.width-1)*int64(len(w.eol()))
}

// valid reports whether a stored wrapping makes sense.
func (w wrapping) valid() bool { return w.width >= 0 && w.width%4 == 0 && w.width <= maxWidth }

// appendEncoded appends the text of whole lines: data is the content of lines from
// the start of one, all of them full unless last is set.
func (w wrapping) appendEncoded(b, data []byte, last bool) []byte {
	start, chars := len(b), base64.StdEncoding.EncodedLen(len(data))
	size := int(w.encodedLen(int64(len(data))))
	width, eol := int(w.width), w.eol()
	if !last && width > 0 && chars > 0 && chars%width == 0 {
		size += len(eol)
	}
	b = slices.Grow(b, size)[:start+size]
	// All is encoded at once, at the end of the room, since that is much faster than
	// line by line; then the lines move to their places.
	out, from := b[start:], size-chars
	fast.StdEncoding.Encode(out[from:], data)
	if width == 0 || from == 0 {
		return b
	}
	to := 0
	for ; from < size; from += width {
		to += copy(out[to:], out[from:min(from+width, size)])
		if to < size {
			to += copy(out[to:], eol)
		}
	}
	return b
}

// decodeProved decodes text into dst and proves that encoding gives text again.
func decodeProved(dst, text, scratch []byte) (data []byte, ok bool) {
	n, err := fast.StdEncoding.Decode(dst[:base64.StdEncoding.DecodedLen(len(text))], text)
	if err != nil || base64.StdEncoding.EncodedLen(n) != len(text) {
		return nil, false
	}
	again := scratch[:len(text)]
	fast.StdEncoding.Encode(again, dst[:n])
	return dst[:n], bytes.Equal(again, text)
}

// cutter takes the octets of a base64 body out of a message.
type cutter struct {
	src      *source
	pos, end int64 // what is not yet taken
	wrap     wrapping
	out      io.Writer
	start    int64 // of the taken text
	taken    int64 // end of the taken text, without the line ending behind it
	*cutBuffers
}

// cutBuffers is the memory of a cutter, which is used again.
type cutBuffers struct {
	gathered, decoded, scratch []byte
}

// cutBase64 decodes as much of the body as can be rebuilt exactly, from its first
// line on, and writes it to out. The text from start to taken is what was decoded;
// taken is start when nothing could be.
func cutBase64(src *source, start, end int64, out io.Writer, mem *cutBuffers) (c *cutter, err error) {
	c = &cutter{cutBuffers: mem, src: src, pos: start, end: end, out: out, start: start, taken: start}
	head, err := src.at(start, min(end-start, maxWidth+256))
	if err != nil {
		return nil, err
	}
	// Empty lines before the first one stay in the text.
	for len(head) > 0 && (head[0] == '\r' || head[0] == '\n') {
		head = head[1:]
		c.pos++
	}
	c.start, c.taken = c.pos, c.pos
	nl := bytes.IndexByte(head, '\n')
	switch {
	case nl < 0 && c.end-c.pos > int64(len(head)):
		return c, nil // a long line that is not the only one, or is too long
	case nl < 0:
		return c, c.takeLast(head)
	case nl > 0 && head[nl-1] == '\r':
		c.wrap = wrapping{int64(nl - 1), true}
	default:
		c.wrap = wrapping{int64(nl), false}
	}
	if c.wrap.width == 0 || !c.wrap.valid() {
		return c, nil
	}
	return c, c.run()
}

// run takes blocks of full lines, then the last line.
func (c *cutter) run() error {
	record := c.wrap.width + int64(len(c.wrap.eol()))
	block := max(cutBlock/record, 1) * record
	c.gathered = slices.Grow(c.gathered[:0], int(min(block, c.end-c.pos+record)))
	for {
		text, err := c.src.at(c.pos, min(block, c.end-c.pos))
		if err != nil {
			return err
		}
		full, whole, err := c.takeFull(text)
		if err != nil {
			return err
		}
		if whole && int64(len(text)) == block {
			continue
		}
		return c.takeLast(text[full:])
	}
}

// takeFull takes the full lines at the start of text and returns their length and
// whether that was all of the text.
func (c *cutter) takeFull(text []byte) (n int, whole bool, err error) {
	width, eol := int(c.wrap.width), c.wrap.eol()
	record := width + len(eol)
	c.gathered = c.gathered[:0]
	for len(text)-n >= record && bytes.Equal(text[n+width:n+record], eol) {
		c.gathered = append(c.gathered, text[n:n+width]...)
		n += record
	}
	good, err := c.takeLines(c.gathered, width)
	if err != nil {
		return 0, false, err
	}
	lines := good / width
	c.pos += int64(lines * record)
	if lines > 0 {
		c.taken = c.pos - int64(len(eol))
	}
	return lines * record, lines*record == len(text), nil
}

// takeLines takes lines without their endings up to the first that cannot be
// rebuilt, and returns the number of characters taken.
func (c *cutter) takeLines(lines []byte, width int) (int, error) {
	if len(lines) == 0 {
		return 0, nil
	}
	c.grow(len(lines))
	data, ok := decodeProved(c.decoded, lines, c.scratch)
	if ok && len(data) == len(lines)/4*3 {
		_, err := c.out.Write(data)
		return len(lines), err
	}
	n := 0
	for ; n < len(lines); n += width {
		data, ok := decodeProved(c.decoded, lines[n:n+width], c.scratch)
		if !ok || len(data) != width/4*3 {
			break
		}
		if _, err := c.out.Write(data); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// takeLast takes the line at the start of text when it can be the last: it may be
// shorter and padded.
func (c *cutter) takeLast(text []byte) error {
	limit := int64(len(text))
	if c.wrap.width > 0 {
		limit = min(limit, c.wrap.width)
	}
	line := text[:limit]
	if i := bytes.IndexAny(line, "\r\n"); i >= 0 {
		line = line[:i]
	}
	if len(line) == 0 || len(line)%4 != 0 {
		return nil
	}
	c.grow(len(line))
	data, ok := decodeProved(c.decoded, line, c.scratch)
	if !ok {
		return nil
	}
	if _, err := c.out.Write(data); err != nil {
		return fmt.Errorf("write decoded content: %w", err)
	}
	c.pos += int64(len(line))
	c.taken = c.pos
	return nil
}

func (c *cutter) grow(n int) {
	if len(c.scratch) < n {
		c.scratch = make([]byte, n)
		c.decoded = make([]byte, n)
	}
}
