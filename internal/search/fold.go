package search

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold appends the folded form of s to dst: the form in which text and search strings are compared. See the package
// comment for the rule. s is taken to be UTF-8; octets that are not become U+FFFD, one each. The result is valid UTF-8,
// and folding it again changes nothing.
func Fold(dst, s []byte) []byte {
	var f Folder
	return f.Flush(f.Append(dst, s))
}

// FoldString is [Fold] for a string.
func FoldString(s string) []byte {
	return Fold(make([]byte, 0, len(s)), []byte(s))
}

// maxMarks is how many combining marks are put in canonical order together. A longer run, which no language needs, is
// ordered piece by piece, so that memory stays bounded.
const maxMarks = 32

// A Folder folds text that comes in pieces, with the result of [Fold] of the whole. The pieces may be cut anywhere,
// within a character too. The zero value is ready for use. It must not be copied while in use nor used concurrently.
type Folder struct {
	folding
	tail  [utf8.UTFMax]byte // the beginning of a character that is not complete
	ntail int
	cache [256]cached
}

// folding is the state of a text of whole characters.
type folding struct {
	space  bool           // the last octet given out is a space
	marks  [maxMarks]mark // combining marks whose order is not known yet
	nmarks int
}

// A mark is a combining character and its canonical combining class.
type mark struct {
	r     rune
	class uint8
}

// A cached entry is what a character folds to: starters in out[:n], then perhaps one mark in out[n:n+m]. n is 0 for a
// character that does not fit this form: one that begins with a mark, has a space, is nothing at all, or is long.
type cached struct {
	r     rune
	n, m  uint8
	class uint8
	out   [9]byte
}

// Append appends to dst the folded form of s as far as it is certain: at most [maxMarks] marks and the octets of one
// character are held back until the next call.
func (f *Folder) Append(dst, s []byte) []byte {
	for f.ntail > 0 && len(s) > 0 {
		f.tail[f.ntail] = s[0]
		f.ntail++
		s = s[1:]
		dst = f.drainTail(dst, false)
	}
	for len(s) > 0 {
		if s[0] < utf8.RuneSelf {
			if f.nmarks > 0 {
				dst = f.flushMarks(dst)
			}
			var n int
			dst, n = f.appendASCII(dst, s)
			s = s[n:]
			continue
		}
		if !utf8.FullRune(s) {
			f.ntail = copy(f.tail[:], s)
			return dst
		}
		r, size := utf8.DecodeRune(s)
		dst = f.appendRune(dst, r)
		s = s[size:]
	}
	return dst
}

// Reset forgets what was held back and makes the Folder ready for another text.
func (f *Folder) Reset() {
	f.space, f.nmarks, f.ntail = false, 0, 0
}

// Flush appends what was held back and makes the Folder ready for another text.
func (f *Folder) Flush(dst []byte) []byte {
	dst = f.drainTail(dst, true)
	dst = f.flushMarks(dst)
	f.space = false
	return dst
}

// drainTail gives out the characters of the tail that are complete, and with end the rest too.
func (f *Folder) drainTail(dst []byte, end bool) []byte {
	for f.ntail > 0 && (end || utf8.FullRune(f.tail[:f.ntail])) {
		r, size := utf8.DecodeRune(f.tail[:f.ntail])
		dst = f.appendRune(dst, r)
		f.ntail = copy(f.tail[:], f.tail[size:f.ntail])
	}
	return dst
}

// asciiFold is what each ASCII character folds to: letters lower case, white space a space.
const asciiFold = "\x00\x01\x02\x03\x04\x05\x06\x07\x08     \x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f" +
	" !\"#$%&'()*+,-./0123456789:;<=>?@abcdefghijklmnopqrstuvwxyz[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f"

// appendASCII folds the ASCII characters at the start of s and returns their number.
func (f *folding) appendASCII(dst, s []byte) ([]byte, int) {
	start := len(dst)
	if cap(dst)-start < len(s) {
		dst = append(make([]byte, 0, 2*cap(dst)+len(s)), dst...)
	}
	out := dst[start : start+len(s)]
	n, i, space := 0, 0, f.space
	for i < len(s) {
		if i+8 <= len(s) {
			if folded, last, ok := foldWord(binary.LittleEndian.Uint64(s[i:]), space); ok {
				binary.LittleEndian.PutUint64(out[n:n+8], folded)
				n, i, space = n+8, i+8, last
				continue
			}
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			break
		}
		c = asciiFold[c]
		i++
		if c != ' ' || !space {
			out[n] = c
			n++
		}
		space = c == ' '
	}
	f.space = space
	return dst[:start+n], i
}

// foldWord folds eight characters at once when they are ASCII without control characters and without two spaces in a
// row. space says that a space came before; last that the word ends with one.
func foldWord(x uint64, space bool) (folded uint64, last, ok bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	if x&highs != 0 || (x+(0x80-0x20)*ones)&highs != highs {
		return 0, false, false
	}
	spaces := ^((x ^ 0x20*ones) + 0x7f*ones) & highs
	before := spaces << 8
	if space {
		before |= 0x80
	}
	if spaces&before != 0 {
		return 0, false, false
	}
	fromA := x + (0x80-'A')*ones
	afterZ := x + (0x80-'Z'-1)*ones
	upper := fromA &^ afterZ & highs
	return x | upper>>2, spaces>>63 != 0, true
}

func (f *Folder) appendRune(dst []byte, r rune) []byte {
	switch {
	case r < utf8.RuneSelf:
		if f.nmarks > 0 {
			dst = f.flushMarks(dst)
		}
		return f.appendStarter(dst, rune(asciiFold[r]))
	case 0x4e00 <= r && r <= 0x9fff || 0x3400 <= r && r <= 0x4dbf: // ideographs fold to themselves
		if f.nmarks > 0 {
			dst = f.flushMarks(dst)
		}
		f.space = false
		return utf8.AppendRune(dst, r)
	case 0xac00 <= r && r <= 0xd7a3:
		return f.appendHangul(dst, r)
	}
	e := &f.cache[uint8(r)]
	if e.r != r {
		e.fill(r)
	}
	if e.n == 0 {
		return f.appendDecomposed(dst, r)
	}
	if f.nmarks > 0 {
		dst = f.flushMarks(dst)
	}
	dst = append(dst, e.out[:e.n]...)
	f.space = false
	if e.m > 0 {
		r, _ := utf8.DecodeRune(e.out[e.n : e.n+e.m])
		f.marks[0], f.nmarks = mark{r, e.class}, 1
	}
	return dst
}

func (e *cached) fill(r rune) {
	*e = cached{r: r}
	var f folding
	out := f.appendDecomposed(nil, r)
	n := len(out)
	if n == 0 || f.nmarks > 1 || f.space || out[0] == ' ' || hasMark(out) {
		return
	}
	if f.nmarks == 1 {
		e.class = f.marks[0].class
		out = utf8.AppendRune(out, f.marks[0].r)
	}
	if len(out) > len(e.out) {
		return
	}
	e.n, e.m = uint8(n), uint8(len(out)-n)
	copy(e.out[:], out)
}

func hasMark(b []byte) bool {
	for len(b) > 0 {
		p := norm.NFKD.Properties(b)
		if p.CCC() != 0 {
			return true
		}
		b = b[max(p.Size(), 1):]
	}
	return false
}

// appendDecomposed decomposes r (NFKD) and folds the parts.
func (f *folding) appendDecomposed(dst []byte, r rune) []byte {
	var buf [utf8.UTFMax]byte
	b := utf8.AppendRune(buf[:0], r)
	if d := norm.NFKD.Properties(b).Decomposition(); d != nil {
		b = d
	}
	for len(b) > 0 {
		part, size := utf8.DecodeRune(b)
		class := norm.NFKD.Properties(b).CCC()
		b = b[size:]
		if class != 0 {
			if f.nmarks == maxMarks {
				dst = f.flushMarks(dst)
			}
			f.pushMark(mark{part, class})
			continue
		}
		if ignorable(part) {
			continue
		}
		if f.nmarks > 0 {
			dst = f.flushMarks(dst)
		}
		if part == 'ß' || part == 'ẞ' {
			dst = append(dst, "ss"...)
			f.space = false
			continue
		}
		dst = f.appendStarter(dst, unicode.ToLower(unicode.ToTitle(part)))
	}
	return dst
}

// appendStarter gives out a character that is not a mark; pending marks were flushed.
func (f *folding) appendStarter(dst []byte, r rune) []byte {
	if unicode.IsSpace(r) {
		if !f.space {
			dst = append(dst, ' ')
		}
		f.space = true
		return dst
	}
	f.space = false
	return utf8.AppendRune(dst, r)
}

// appendHangul decomposes a Hangul syllable (The Unicode Standard, section 3.12).
func (f *folding) appendHangul(dst []byte, r rune) []byte {
	const (
		firstSyllable                  = 0xac00
		firstLead, firstVowel, noTrail = 0x1100, 0x1161, 0x11a7
		vowels, trails                 = 21, 28
	)
	if f.nmarks > 0 {
		dst = f.flushMarks(dst)
	}
	f.space = false
	s := r - firstSyllable
	dst = utf8.AppendRune(dst, firstLead+s/(vowels*trails))
	dst = utf8.AppendRune(dst, firstVowel+s%(vowels*trails)/trails)
	if t := s % trails; t != 0 {
		dst = utf8.AppendRune(dst, noTrail+t)
	}
	return dst
}

// pushMark inserts a mark behind those of its class and below, which is the canonical order.
func (f *folding) pushMark(m mark) {
	i := f.nmarks
	for i > 0 && f.marks[i-1].class > m.class {
		f.marks[i] = f.marks[i-1]
		i--
	}
	f.marks[i] = m
	f.nmarks++
}

func (f *folding) flushMarks(dst []byte) []byte {
	for _, m := range f.marks[:f.nmarks] {
		dst = utf8.AppendRune(dst, m.r)
		f.space = false
	}
	f.nmarks = 0
	return dst
}

// ignorable reports whether r has the property Default_Ignorable_Code_Point (UAX #44): soft hyphens, joiners, direction
// marks, variation selectors and the like, which a reader does not see.
func ignorable(r rune) bool {
	switch {
	case r < 0xad:
		return false
	case unicode.Is(unicode.Cf, r):
		return !unicode.Is(unicode.Prepended_Concatenation_Mark, r) &&
			(r < 0xfff9 || r > 0xfffb) && (r < 0x13430 || r > 0x1345f)
	}
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
