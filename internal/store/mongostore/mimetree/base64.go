package mimetree

import (
	"encoding/base64"
	"io"
)

const (
	// lineProbe is how much of a body is looked at to find the length of its lines.
	lineProbe = 1000
	maxLine   = 998
	shortLine = 76 // the length that lines of a body of one shorter line are given
)

// LineLength finds out whether a base64 body is kept decoded, and how long its lines are. body is the beginning of the
// body with CRLF at line ends, at least 1001 octets of it or all; size and lines are Node.Size and Node.LineCount.
func LineLength(body []byte, size, lines int64) (n int, decode bool) {
	probe := body[:min(len(body), lineProbe)]
	for n < len(probe) && isBase64(probe[n]) {
		n++
	}
	if n < len(probe) && (probe[n] != '\r' || n+1 >= len(body) || body[n+1] != '\n') {
		return 0, false
	}
	if n < 1 || n > maxLine {
		return 0, false
	}
	if int64(n) == size && n < shortLine {
		n = shortLine
	}
	expected := (size + int64(n) + 1) / int64(n+2)
	if lines < expected-1 || lines > expected+1 {
		return 0, false
	}
	return n, true
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}

// EncodedLen is the length of n octets that are encoded again with such lines. The last line has no end, except when it is
// the only one and full.
func EncodedLen(n int64, line int) int64 {
	chars := (n + 2) / 3 * 4
	if chars == 0 || chars == int64(line) {
		return chars + 2*(chars/max(1, int64(line)))
	}
	return chars + (chars-1)/int64(line)*2
}

// sextets has the value of each character of base64, 0xff for others.
var sextets = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}()

// Decoder decodes base64 as it comes in. Foreign characters are dropped; what is padded ends there, and more may follow.
type Decoder struct {
	acc  uint32
	have int
}

// Append appends the decoded octets of the next part of a body. dst and src may not overlap.
func (d *Decoder) Append(dst, src []byte) []byte {
	for i := 0; i < len(src); i++ {
		v := sextets[src[i]]
		if d.have == 0 {
			for i+4 <= len(src) {
				a, b, c, e := sextets[src[i]], sextets[src[i+1]], sextets[src[i+2]], sextets[src[i+3]]
				if a|b|c|e == 0xff {
					break
				}
				x := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(e)
				dst = append(dst, byte(x>>16), byte(x>>8), byte(x))
				i += 4
			}
			if i == len(src) {
				return dst
			}
			v = sextets[src[i]]
		}
		switch {
		case v != 0xff:
			d.acc = d.acc<<6 | uint32(v)
			if d.have++; d.have == 4 {
				dst = append(dst, byte(d.acc>>16), byte(d.acc>>8), byte(d.acc))
				d.acc, d.have = 0, 0
			}
		case src[i] == '=':
			dst = d.Finish(dst)
		}
	}
	return dst
}

// Finish appends what an incomplete end stands for.
func (d *Decoder) Finish(dst []byte) []byte {
	switch d.have {
	case 2:
		dst = append(dst, byte(d.acc>>4))
	case 3:
		dst = append(dst, byte(d.acc>>10), byte(d.acc>>2))
	}
	d.acc, d.have = 0, 0
	return dst
}

// Encoder encodes octets again, in lines. It writes the part of the result that it was made for and no more.
type Encoder struct {
	w    io.Writer
	line int64
	last int64 // the character behind which there is no line end
	char int64 // the next character
	skip int64
	left int64
	rest [3]byte
	have int
	out  []byte
}

// NewEncoder makes an encoder that writes n octets from offset off of what total octets are when encoded in such lines. It
// must be given the octets from the offset that it returns on, and Close'd.
func NewEncoder(w io.Writer, total int64, line int, off, n int64) (e *Encoder, from int64) {
	l := int64(line)
	e = &Encoder{w: w, line: l, left: n, last: (total + 2) / 3 * 4}
	if e.last == l { // the only line that is full has an end
		e.last++
	}
	quantum := (off/(l+2)*l + min(off%(l+2), l-1)) / 4
	e.char = quantum * 4
	e.skip = off - (e.char + e.char/l*2)
	return e, quantum * 3
}

// Write implements io.Writer.
func (e *Encoder) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 && e.left > 0 {
		if e.have > 0 || len(b) < 3 {
			e.rest[e.have] = b[0]
			b = b[1:]
			if e.have++; e.have == 3 {
				e.have = 0
				if err := e.encode(e.rest[:]); err != nil {
					return 0, err
				}
			}
			continue
		}
		whole := min(len(b)/3*3, 24<<10)
		if err := e.encode(b[:whole]); err != nil {
			return 0, err
		}
		b = b[whole:]
	}
	return n, nil
}

// Close writes what is left, with its padding.
func (e *Encoder) Close() error {
	if e.have == 0 || e.left == 0 {
		return nil
	}
	n := e.have
	e.have = 0
	return e.encode(e.rest[:n])
}

// Done says whether all that was asked for is written.
func (e *Encoder) Done() bool { return e.left == 0 }

func (e *Encoder) encode(b []byte) error {
	var buf [32 << 10]byte
	chars := buf[:base64.StdEncoding.EncodedLen(len(b))]
	base64.StdEncoding.Encode(chars, b)
	e.out = e.out[:0]
	for len(chars) > 0 {
		n := min(int64(len(chars)), e.line-e.char%e.line)
		e.out = append(e.out, chars[:n]...)
		chars = chars[n:]
		if e.char += n; e.char%e.line == 0 && e.char < e.last {
			e.out = append(e.out, "\r\n"...)
		}
	}
	out := e.out[min(e.skip, int64(len(e.out))):]
	e.skip -= int64(len(e.out) - len(out))
	out = out[:min(int64(len(out)), e.left)]
	e.left -= int64(len(out))
	_, err := e.w.Write(out)
	return err
}
