package message

import "strings"

// DecodeHeader makes a field value readable: unfolded, encoded words decoded
// (RFC 2047), the rest taken as UTF-8 with windows-1252 for what is none. It
// takes what mailers write: words with spaces inside or without padding, a
// character cut in two between adjacent words, unknown charsets, words inside
// quoted strings. White space is kept, control characters become spaces. The
// result is valid UTF-8.
func DecodeHeader(value []byte) string { return decodeHeader(string(value)) }

func decodeHeader(s string) string {
	s = unfold(s)
	if isPlainText(s) {
		return s
	}
	var d wordDecoder
	for s != "" {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		w, ok := parseEncodedWord(s[i:])
		if !ok {
			d.text(s[:i+2])
			s = s[i+2:]
			continue
		}
		d.text(s[:i])
		d.word(w)
		s = s[i+w.len:]
	}
	d.text(s)
	d.endWords()
	return string(cleanControls(d.out))
}

// isPlainText reports whether there is nothing to decode. It looks at eight octets at a time,
// and closer when there is a control character, an octet from 0x7f on or a '=' among them.
func isPlainText(s string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := eightOctets(s[i:])
		equals := x ^ '='*ones
		below := (x-' '*ones)&^x | (equals-ones)&^equals
		if (below|x|(x+ones))&high != 0 && !isPlainOctets(s, i, i+8) {
			return false
		}
	}
	return isPlainOctets(s, i, len(s))
}

// eightOctets reads the first octets of s; the compiler makes one instruction of it.
func eightOctets(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// isPlainOctets is isPlainText for a part of s.
func isPlainOctets(s string, from, to int) bool {
	for i := from; i < to; i++ {
		c := s[i]
		if c < ' ' && c != '\t' || c >= 0x7f || c == '=' && i+1 < len(s) && s[i+1] == '?' {
			return false
		}
	}
	return true
}

func cleanControls(b []byte) []byte {
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			b[i] = ' '
		}
	}
	return b
}

// encodedWord is the parse of one =?charset?encoding?text?=.
type encodedWord struct {
	charset string
	base64  bool
	text    string
	len     int
}

// maxWordLen is the longest encoded word that is decoded. RFC 2047 allows 75
// octets, mailers write whole subjects as one.
const maxWordLen = 4 << 10

func parseEncodedWord(s string) (w encodedWord, ok bool) {
	s = s[:min(len(s), maxWordLen)]
	q := strings.IndexByte(s[2:], '?') + 2
	if q <= 2 || q > 60 || q+3 > len(s) || s[q+2] != '?' {
		return w, false
	}
	w.charset = s[2:q]
	switch s[q+1] {
	case 'b', 'B':
		w.base64 = true
	case 'q', 'Q':
	default:
		return w, false
	}
	body := s[q+3:]
	end := strings.Index(body, "?=")
	// An encoder that forgot to encode '?' writes "?=20" inside a word.
	for end >= 0 && !w.base64 && end+3 < len(body) && unhex(body[end+2])|unhex(body[end+3]) < 16 {
		next := strings.Index(body[end+2:], "?=")
		if next < 0 || strings.IndexByte(body[end+2:end+2+next], ' ') >= 0 {
			break
		}
		end += 2 + next
	}
	if end < 0 || strings.Contains(body[:end], "=?") {
		return w, false
	}
	w.text, w.len = body[:end], q+3+end+2
	return w, true
}

// wordDecoder collects the octets of adjacent words of one charset, as a
// character may be cut between them, and converts them together.
type wordDecoder struct {
	out     []byte
	charset string
	raw     []byte
	inWords bool
}

// text takes what is between words. White space between words is not shown
// (RFC 2047 6.2).
func (d *wordDecoder) text(s string) {
	if s == "" || d.inWords && strings.TrimLeft(s, " \t") == "" {
		return
	}
	d.endWords()
	d.out = appendTolerantUTF8(d.out, []byte(s))
}

func (d *wordDecoder) word(w encodedWord) {
	if d.inWords && !strings.EqualFold(d.charset, w.charset) {
		d.endWords()
	}
	d.inWords, d.charset = true, w.charset
	if w.base64 {
		t := transferDecoder{base64: true}
		d.raw = t.finish(t.append(d.raw, []byte(w.text)))
		return
	}
	for i := 0; i < len(w.text); i++ {
		c := w.text[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(w.text) && unhex(w.text[i+1])|unhex(w.text[i+2]) < 16:
			c = unhex(w.text[i+1])<<4 | unhex(w.text[i+2])
			i += 2
		}
		d.raw = append(d.raw, c)
	}
}

func (d *wordDecoder) endWords() {
	if len(d.raw) > 0 {
		d.out = append(d.out, decodeCharset(d.charset, d.raw)...)
		d.raw = d.raw[:0]
	}
	d.inWords = false
}

// DecodeParam makes a parameter readable: the extended syntax of RFC 2231 if
// its name ends in '*', else encoded words, which are not allowed there but
// common.
func DecodeParam(p Param) string {
	if !strings.HasSuffix(p.Name, "*") {
		return decodeHeader(p.Value)
	}
	charset, text := "", p.Value
	if c, rest, ok := strings.Cut(p.Value, "'"); ok {
		if _, t, ok := strings.Cut(rest, "'"); ok {
			charset, text = c, t
		}
	}
	raw := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) && unhex(text[i+1])|unhex(text[i+2]) < 16 {
			c = unhex(text[i+1])<<4 | unhex(text[i+2])
			i += 2
		}
		raw = append(raw, c)
	}
	return string(cleanControls(decodeCharset(charset, raw)))
}

// decodedParam is the readable value of the parameter of that name, in the
// extended form or the plain one.
func decodedParam(params []Param, name string) string {
	for _, n := range [...]string{name + "*", name} {
		for _, p := range params {
			if p.Name == n && p.Value != "" {
				if s := DecodeParam(p); s != "" {
					return s
				}
			}
		}
	}
	return ""
}

// Filename is the decoded file name of a part, "" if it has none. It is as the
// sender wrote it: it may contain path separators.
func (p *Part) Filename() string {
	if s := decodedParam(p.DispositionParams, "FILENAME"); s != "" {
		return s
	}
	return decodedParam(p.Params, "NAME")
}

// collapseSpace turns runs of white space into one space and trims.
func collapseSpace(s string) string {
	if isCollapsed(s) {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}

// isCollapsed reports whether collapseSpace has surely nothing to do: s is ASCII without
// control characters, and each space is a single one between words.
func isCollapsed(s string) bool {
	space := true // before s
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c >= 0x7f || c == ' ' && space {
			return false
		}
		space = c == ' '
	}
	return !space || s == ""
}
