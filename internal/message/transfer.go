package message

import (
	"bytes"
	"io"
)

// encodedCounts counts the octets of a body that its transfer encoding adds.
type encodedCounts struct {
	encoding           string
	octets, lf, cr, eq int64
}

func (c *encodedCounts) add(b []byte) {
	switch c.encoding {
	case "BASE64":
		c.lf += int64(bytes.Count(b, []byte{'\n'}))
		c.cr += int64(bytes.Count(b, []byte{'\r'}))
	case "QUOTED-PRINTABLE":
	default:
		return
	}
	c.octets += int64(len(b))
	c.eq += int64(bytes.Count(b, []byte{'='}))
}

// decodedSize is Part.DecodedSize of the part that was counted.
func (c *encodedCounts) decodedSize(p *Part) int64 {
	switch c.encoding {
	case "BASE64":
		return (c.octets - c.lf - c.cr - c.eq) * 3 / 4
	case "QUOTED-PRINTABLE":
		return max(0, p.Size()-2*c.eq)
	}
	return p.Size()
}

// transferDecoder undoes a transfer encoding as octets come in. It takes
// damaged input: characters foreign to base64 are skipped, an '=' that starts
// no quoted-printable escape stands for itself.
type transferDecoder struct {
	base64, qp bool

	acc  uint32 // base64: bits of an unfinished quantum
	n    int    // base64: characters in acc
	held []byte // quoted-printable: input that depends on what follows
}

// maxHeld is how much white space at the end of a line a quoted-printable
// decoder waits for the line's end with.
const maxHeld = 1024

func newTransferDecoder(encoding string) transferDecoder {
	return transferDecoder{base64: encoding == "BASE64", qp: encoding == "QUOTED-PRINTABLE"}
}

func (d *transferDecoder) append(dst, src []byte) []byte {
	switch {
	case d.base64:
		return d.appendBase64(dst, src)
	case d.qp:
		return d.appendQP(dst, src)
	}
	return append(dst, src...)
}

// finish ends the input.
func (d *transferDecoder) finish(dst []byte) []byte {
	switch {
	case d.base64:
		dst = d.flushQuantum(dst)
	case d.qp:
		h := bytes.TrimRight(d.held, " \t\r\n")
		if len(h) > 1 { // a lone '=' is a soft line break
			dst = append(dst, h...)
		}
		d.held = d.held[:0]
	}
	return dst
}

const (
	base64Foreign = 0x80
	base64Pad     = 0x81
)

// base64Value maps a character to its value, base64Pad or base64Foreign.
var base64Value = func() (t [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = base64Foreign
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	t['='] = base64Pad
	return t
}()

func (d *transferDecoder) appendBase64(dst, src []byte) []byte {
	t := &base64Value
	for len(src) > 0 {
		if d.n == 0 {
			for len(src) >= 4 {
				a, b, c, e := t[src[0]], t[src[1]], t[src[2]], t[src[3]]
				if (a|b|c|e)&0x80 != 0 {
					break
				}
				dst = append(dst, a<<2|b>>4, b<<4|c>>2, c<<6|e)
				src = src[4:]
			}
			if len(src) == 0 {
				break
			}
		}
		switch v := t[src[0]]; v {
		case base64Foreign:
		case base64Pad:
			dst = d.flushQuantum(dst)
		default:
			d.acc = d.acc<<6 | uint32(v)
			if d.n++; d.n == 4 {
				dst = append(dst, byte(d.acc>>16), byte(d.acc>>8), byte(d.acc))
				d.acc, d.n = 0, 0
			}
		}
		src = src[1:]
	}
	return dst
}

// flushQuantum writes the octets of an unfinished group of four characters.
// Encodings that were put one after the other decode as one.
func (d *transferDecoder) flushQuantum(dst []byte) []byte {
	switch d.n {
	case 2:
		dst = append(dst, byte(d.acc>>4))
	case 3:
		dst = append(dst, byte(d.acc>>10), byte(d.acc>>2))
	}
	d.acc, d.n = 0, 0
	return dst
}

func (d *transferDecoder) appendQP(dst, src []byte) []byte {
	for len(src) > 0 && len(d.held) > 0 {
		// Take octets one by one until what is held is decided.
		d.held = append(d.held, src[0])
		src = src[1:]
		dst = d.settle(dst)
	}
	for len(src) > 0 {
		n := 0
		for n < len(src) && src[n] != '=' && src[n] != '\n' {
			n++
		}
		text := src[:n]
		if n < len(src) && src[n] == '=' {
			dst = append(dst, text...)
			used := 0
			if dst, used = escapeQP(dst, src[n:]); used > 0 {
				src = src[n+used:]
				continue
			}
			d.held = append(d.held, '=')
			return d.appendQP(dst, src[n+1:])
		}
		end := len(bytes.TrimRight(text, " \t\r"))
		end += (n - end) / maxHeld * maxHeld // more than is waited for is text
		if end < n {
			d.held = append(d.held, text[end:]...)
			dst = append(dst, text[:end]...)
			if n == len(src) {
				return d.settle(dst)
			}
			d.held = append(d.held, '\n')
			dst = d.settle(dst)
		} else {
			dst = append(dst, src[:min(n+1, len(src))]...)
		}
		src = src[min(n+1, len(src)):]
	}
	return dst
}

// escapeQP decodes the '=' at the start of src and says how many octets it
// took, 0 if what follows must be seen first.
func escapeQP(dst, src []byte) (out []byte, used int) {
	if len(src) < 3 {
		return dst, 0
	}
	hi, lo := unhex(src[1]), unhex(src[2])
	switch {
	case hi|lo < 16:
		return append(dst, hi<<4|lo), 3
	case src[1] == '\r' && src[2] == '\n':
		return dst, 3
	case src[1] == '\n':
		return dst, 2
	case isSpace(src[1]):
		return dst, 0
	}
	return append(dst, '='), 1
}

// settle decodes held as far as it is decided. held is either white space, or
// an '=' and up to two characters, or an '=' and white space.
func (d *transferDecoder) settle(dst []byte) []byte {
	h := d.held
	last := h[len(h)-1]
	if h[0] == '=' {
		switch {
		case last == '\n' && isSpace(h[1]): // soft line break, white space before it or not
			d.held = h[:0]
		case len(h) == 1:
		case len(h) == 2 && unhex(last) < 16:
		case len(h) == 3 && unhex(h[1])|unhex(last) < 16:
			dst = append(dst, unhex(h[1])<<4|unhex(last))
			d.held = h[:0]
		case isSpace(last) && isSpace(h[1]) && len(h) < maxHeld:
		default: // no escape: the '=' stands for itself
			again := append([]byte(nil), h[1:]...)
			d.held = h[:0]
			dst = append(dst, '=')
			dst = d.appendQP(dst, again)
		}
		return dst
	}
	switch {
	case last == '\n':
		d.held = h[:0]
		if len(h) > 1 && h[len(h)-2] == '\r' {
			return append(dst, '\r', '\n')
		}
		return append(dst, '\n')
	case isSpace(last) && len(h) < maxHeld:
		return dst
	case isSpace(last):
		d.held = h[:0]
		return append(dst, h...)
	}
	// White space inside a line.
	dst = append(dst, h[:len(h)-1]...)
	d.held = h[:0]
	return d.appendQP(dst, []byte{last})
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// IsKnownEncoding reports whether NewDecoder can undo a transfer encoding
// (Part.Encoding, any case); for others it gives the octets as they are.
func IsKnownEncoding(encoding string) bool {
	switch upper(encoding) {
	case "", "7BIT", "8BIT", "BINARY", "BASE64", "QUOTED-PRINTABLE":
		return true
	}
	return false
}

// NewDecoder returns a reader of r with the transfer encoding removed (RFC 2045
// 6). encoding is Part.Encoding in any case. It takes damaged input as Parser
// does; its errors are those of r.
func NewDecoder(encoding string, r io.Reader) io.Reader {
	d := newTransferDecoder(upper(encoding))
	if !d.base64 && !d.qp {
		return r
	}
	return &decodeReader{r: r, d: d, in: make([]byte, 16<<10)}
}

type decodeReader struct {
	r       io.Reader
	d       transferDecoder
	in, out []byte
	pos     int
	err     error
}

func (r *decodeReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.pos == len(r.out) {
		if r.err != nil {
			return 0, r.err
		}
		n, err := r.r.Read(r.in)
		r.out, r.pos = r.d.append(r.out[:0], r.in[:n]), 0
		if err != nil {
			r.err = err
			r.out = r.d.finish(r.out)
		}
	}
	n := copy(p, r.out[r.pos:])
	r.pos += n
	return n, nil
}
