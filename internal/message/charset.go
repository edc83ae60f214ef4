package message

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// charsetDecoder turns text of a declared charset into UTF-8 as octets come
// in. Text that is declared as UTF-8 or ASCII, not declared, or declared as
// something unknown is taken as UTF-8 in which each octet that is no UTF-8 is
// a windows-1252 character.
type charsetDecoder struct {
	conv  transform.Transformer // nil for UTF-8
	utf7  *utf7Decoder
	carry []byte // an incomplete character
}

// lookupCharset finds the encoding of a charset name, nil for UTF-8 and for
// names that say nothing. utf7 is apart: it is no encoding of x/text.
func lookupCharset(name string) (enc encoding.Encoding, utf7 bool) {
	name = strings.ToLower(strings.Trim(name, " \t\r\n\"'"))
	if star := strings.IndexByte(name, '*'); star > 0 {
		name = name[:star] // RFC 2231 5: a language follows
	}
	switch name {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "unknown-8bit", "x-unknown", "unknown", "default":
		return nil, false
	case "utf-7", "unicode-1-1-utf-7", "utf7":
		return nil, true
	case "hz-gb-2312":
		return simplifiedchinese.HZGB2312, false
	case "utf-16":
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), false
	case "iso-8859-1", "windows-1252":
		return charmap.Windows1252, false
	}
	if len(name) > 40 {
		return nil, false
	}
	for _, n := range []string{name, strings.TrimPrefix(name, "x-"), charsetAlias(name)} {
		if e, err := htmlindex.Get(n); err == nil && e != encoding.Replacement {
			if canonical, err := htmlindex.Name(e); err == nil && canonical == "utf-8" {
				return nil, false
			}
			return e, false
		}
		if e, err := ianaindex.MIME.Encoding(n); err == nil && e != nil {
			return e, false
		}
	}
	return nil, false
}

// charsetAlias spells names as mailers misspell them: cp-1251, win1250,
// iso8859_2.
func charsetAlias(name string) string {
	name = strings.ReplaceAll(name, "_", "-")
	for _, a := range [...]struct{ from, to string }{
		{"cp-125", "windows-125"}, {"cp125", "windows-125"}, {"win-125", "windows-125"},
		{"win125", "windows-125"}, {"windows125", "windows-125"},
		{"iso8859-", "iso-8859-"}, {"8859-", "iso-8859-"}, {"iso-8859", "iso-8859"},
		{"cp-936", "gbk"}, {"cp936", "gbk"}, {"cp950", "big5"}, {"cp949", "euc-kr"}, {"cp932", "shift_jis"},
	} {
		if strings.HasPrefix(name, a.from) {
			return a.to + name[len(a.from):]
		}
	}
	return name
}

func newCharsetDecoder(name string) charsetDecoder {
	enc, utf7 := lookupCharset(name)
	switch {
	case utf7:
		return charsetDecoder{utf7: &utf7Decoder{}}
	case enc != nil:
		return charsetDecoder{conv: enc.NewDecoder()}
	}
	return charsetDecoder{}
}

func (d *charsetDecoder) append(dst, src []byte) []byte { return d.decode(dst, src, false) }
func (d *charsetDecoder) finish(dst []byte) []byte      { return d.decode(dst, nil, true) }

func (d *charsetDecoder) decode(dst, src []byte, atEOF bool) []byte {
	switch {
	case d.utf7 != nil:
		return d.utf7.append(dst, src)
	case d.conv != nil:
		return d.convert(dst, src, atEOF)
	}
	for len(d.carry) > 0 {
		for len(src) > 0 && !utf8.FullRune(d.carry) {
			d.carry = append(d.carry, src[0])
			src = src[1:]
		}
		if !atEOF && !utf8.FullRune(d.carry) {
			return dst
		}
		_, n := utf8.DecodeRune(d.carry)
		dst = appendTolerantUTF8(dst, d.carry[:n])
		d.carry = append(d.carry[:0], d.carry[n:]...)
	}
	if !atEOF {
		n := len(src) - incompleteTail(src)
		if n < len(src) {
			d.carry = append(d.carry[:0], src[n:]...)
			src = src[:n]
		}
	}
	return appendTolerantUTF8(dst, src)
}

// incompleteTail is how many octets at the end of b may begin a character.
func incompleteTail(b []byte) int {
	for i := 1; i <= len(b) && i < utf8.UTFMax; i++ {
		c := b[len(b)-i]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}

// appendTolerantUTF8 appends src, reading octets that are no UTF-8 as
// windows-1252.
func appendTolerantUTF8(dst, src []byte) []byte {
	if utf8.Valid(src) {
		return append(dst, src...)
	}
	for len(src) > 0 {
		r, n := utf8.DecodeRune(src)
		if r == utf8.RuneError && n == 1 {
			dst = utf8.AppendRune(dst, charmap.Windows1252.DecodeByte(src[0]))
		} else {
			dst = append(dst, src[:n]...)
		}
		src = src[n:]
	}
	return dst
}

// convert runs the converter, which wants whole characters.
func (d *charsetDecoder) convert(dst, src []byte, atEOF bool) []byte {
	if len(d.carry) > 0 {
		src = append(d.carry, src...)
		d.carry = nil
	}
	for {
		if cap(dst)-len(dst) < 64 {
			dst = append(dst, make([]byte, max(64, 2*len(src)))...)[:len(dst)]
		}
		nDst, nSrc, err := d.conv.Transform(dst[len(dst):cap(dst)], src, atEOF)
		dst = dst[:len(dst)+nDst]
		src = src[nSrc:]
		switch {
		case errors.Is(err, transform.ErrShortDst):
			dst = append(dst, make([]byte, max(64, 2*len(src)))...)[:len(dst)]
		case errors.Is(err, transform.ErrShortSrc) && !atEOF:
			d.carry = append(d.carry, src...)
			return dst
		case err != nil && len(src) > 0:
			dst = utf8.AppendRune(dst, utf8.RuneError)
			src = src[1:]
		default:
			return dst
		}
	}
}

// utf7Decoder decodes UTF-7 (RFC 2152), which old mailers wrote.
type utf7Decoder struct {
	shifted bool
	empty   bool // nothing since the '+'
	acc     uint32
	bits    uint
	high    rune // first half of a surrogate pair
}

func (d *utf7Decoder) append(dst, src []byte) []byte {
	for _, c := range src {
		switch v := base64Value[c]; {
		case !d.shifted && c == '+':
			*d = utf7Decoder{shifted: true, empty: true}
		case !d.shifted:
			dst = utf8.AppendRune(dst, charmap.Windows1252.DecodeByte(c))
		case v < 64:
			d.empty = false
			d.acc = d.acc<<6 | uint32(v)
			if d.bits += 6; d.bits >= 16 {
				d.bits -= 16
				dst = d.unit(dst, rune(d.acc>>d.bits&0xffff))
			}
		default:
			if c == '-' && d.empty {
				dst = append(dst, '+')
			} else if c != '-' {
				dst = utf8.AppendRune(dst, charmap.Windows1252.DecodeByte(c))
			}
			d.shifted = false
		}
	}
	return dst
}

// unit takes one UTF-16 code unit.
func (d *utf7Decoder) unit(dst []byte, u rune) []byte {
	switch {
	case u >= 0xd800 && u < 0xdc00:
		d.high = u
		return dst
	case u >= 0xdc00 && u < 0xe000 && d.high != 0:
		u = (d.high-0xd800)<<10 | (u - 0xdc00) + 0x10000
	}
	d.high = 0
	return utf8.AppendRune(dst, u)
}

// decodeCharset converts a whole text.
func decodeCharset(charset string, text []byte) []byte {
	d := newCharsetDecoder(charset)
	return d.finish(d.append(make([]byte, 0, len(text)+len(text)/2), text))
}
