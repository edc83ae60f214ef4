package message

import (
	"sort"
	"strings"
)

// parseMediaType reads a Content-Type or Content-Disposition value: the first
// word and its parameters. It takes what mailers write: missing semicolons,
// unquoted values with spaces, comments, unterminated quotes.
func parseMediaType(s string, maxParams int) (value string, params []Param) {
	s = skipCFWS(s)
	i := typeEnd(s)
	value = s[:i]
	s = skipCFWS(s[i:])
	// "text / plain" is legal CFWS between tokens.
	if strings.HasPrefix(s, "/") || strings.HasSuffix(value, "/") {
		if strings.HasPrefix(s, "/") {
			s = skipCFWS(s[1:])
			value += "/"
		}
		j := typeEnd(s)
		value += s[:j]
		s = s[j:]
	}
	return value, parseParams(s, maxParams)
}

// typeEnd is where a type or one half of it ends: also at a comma, which makes
// a list in broken headers.
func typeEnd(s string) int {
	if i := strings.IndexAny(s, " \t\r\n;(,"); i >= 0 {
		return i
	}
	return len(s)
}

func parseParams(s string, maxParams int) []Param {
	var params []Param
	extended := false
	for n := 0; n < maxParams; {
		s = skipCFWS(s)
		if s == "" {
			break
		}
		if s[0] == ';' {
			s = s[1:]
			continue
		}
		i := 0
		for i < len(s) && s[i] != '=' && s[i] != ';' && s[i] != '"' && s[i] != '(' && !isSpace(s[i]) {
			i++
		}
		name := s[:i]
		s = skipCFWS(s[i:])
		if s == "" || s[0] != '=' {
			// A word that is no parameter: up to the next separator.
			if s != "" && s[0] == '"' {
				_, s = quotedString(s)
			}
			continue
		}
		var value string
		value, s = paramText(skipCFWS(s[1:]))
		if name == "" {
			continue
		}
		n++
		if params == nil {
			params = make([]Param, 0, 2)
		}
		extended = extended || strings.IndexByte(name, '*') > 0
		params = setParam(params, Param{Name: upper(name), Value: unfold(value)})
	}
	if extended {
		params = joinContinuations(params)
	}
	return params
}

// setParam adds a parameter. Of equal names the last value counts.
func setParam(params []Param, p Param) []Param {
	for i := range params {
		if params[i].Name == p.Name {
			params[i].Value = p.Value
			return params
		}
	}
	return append(params, p)
}

// paramText reads a parameter value and returns what follows it.
func paramText(s string) (value, rest string) {
	if s == "" {
		return "", ""
	}
	if s[0] == '"' {
		return quotedString(s)
	}
	end := strings.IndexByte(s, ';')
	if end < 0 {
		end = len(s)
	}
	value, rest = s[:end], s[end:]
	// "a=b c=d" lacks a semicolon; "name=my file.txt" lacks quotes.
	for i := 0; i < len(value); i++ {
		if !isSpace(value[i]) {
			continue
		}
		next := strings.TrimLeft(value[i:], " \t\r\n")
		if next == "" || next[0] == '(' || startsParam(next) {
			return value[:i], s[i:]
		}
		i = len(value) - len(next)
	}
	return strings.TrimRight(value, " \t\r\n"), rest
}

func startsParam(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '=':
			return i > 0
		case c == '*' || c == '-' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z':
		default:
			return false
		}
	}
	return false
}

// quotedString reads a quoted string, which may lack its end, and returns its
// content without quoting.
func quotedString(s string) (content, rest string) {
	i := 1
	for i < len(s) && s[i] != '"' && s[i] != '\\' {
		i++
	}
	if i >= len(s) {
		return s[1:], ""
	}
	if s[i] == '"' {
		return s[1:i], s[i+1:]
	}
	var b strings.Builder
	b.WriteString(s[1:i])
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:]
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// skipCFWS removes leading white space and comments (RFC 5322 3.2.2).
func skipCFWS(s string) string {
	for s != "" {
		if isSpace(s[0]) {
			s = s[1:]
			continue
		}
		if s[0] != '(' {
			break
		}
		_, s = comment(s)
	}
	return s
}

// comment reads a comment with its nested ones and returns its content
// without quoting of the outer level.
func comment(s string) (content, rest string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
			if depth == 0 {
				return unquotePairs(s[1:i]), s[i+1:]
			}
		}
	}
	return unquotePairs(s[1:]), ""
}

func unquotePairs(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// piece is one continuation of a parameter, NAME*3 or NAME*3*.
type piece struct {
	base     string
	index    int
	extended bool
	value    string
}

func splitPiece(p Param) (piece, bool) {
	star := strings.IndexByte(p.Name, '*')
	if star <= 0 {
		return piece{}, false
	}
	pc := piece{base: p.Name[:star], value: p.Value}
	rest := p.Name[star+1:]
	if rest == "" { // NAME*: a whole extended value
		return piece{}, false
	}
	if strings.HasSuffix(rest, "*") {
		pc.extended = true
		rest = rest[:len(rest)-1]
	}
	if len(rest) == 0 || len(rest) > 4 {
		return piece{}, false
	}
	for i := range len(rest) {
		if rest[i] < '0' || rest[i] > '9' {
			return piece{}, false
		}
		pc.index = pc.index*10 + int(rest[i]-'0')
	}
	return pc, true
}

// joinContinuations merges NAME*0, NAME*1* ... into one parameter (RFC 2231 3
// and 4.1), which stands where its first piece stood. Pieces after a gap are
// dropped, a NAME* or NAME that stands beside the pieces is kept.
func joinContinuations(params []Param) []Param {
	var pieces []piece
	out := params[:0]
	at := make(map[string]int)
	for _, p := range params {
		pc, ok := splitPiece(p)
		if !ok {
			out = append(out, p)
			continue
		}
		if _, seen := at[pc.base]; !seen {
			at[pc.base] = len(out)
			out = append(out, Param{Name: pc.base})
		}
		pieces = append(pieces, pc)
	}
	sort.SliceStable(pieces, func(i, j int) bool { return pieces[i].index < pieces[j].index })
	for base, i := range at {
		out[i] = joinPieces(base, pieces)
	}
	return out
}

func joinPieces(base string, pieces []piece) Param {
	extended, next := false, -1
	for _, pc := range pieces {
		extended = extended || pc.base == base && pc.extended
	}
	var b strings.Builder
	for _, pc := range pieces {
		if pc.base != base || next >= 0 && pc.index < next {
			continue
		}
		if next >= 0 && pc.index > next {
			break
		}
		if next < 0 && extended && !(pc.extended && strings.Count(pc.value, "'") >= 2) {
			b.WriteString("''") // no charset: the reader guesses
		}
		next = pc.index + 1
		if extended && !pc.extended {
			writePercent(&b, pc.value)
		} else {
			b.WriteString(pc.value)
		}
	}
	if extended {
		base += "*"
	}
	return Param{Name: base, Value: b.String()}
}

// writePercent writes s as the value of an extended parameter.
func writePercent(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("*'%()<>@,;:\\\"/[]?=", c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			continue
		}
		b.WriteByte(c)
	}
}

// upper is strings.ToUpper for ASCII that gives well-known words without
// allocation.
func upper(s string) string {
	var buf [32]byte
	if len(s) > len(buf) {
		return upperASCII(s)
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i] = c
	}
	if w, ok := wordIndex[string(buf[:len(s)])]; ok {
		return words[w]
	}
	return string(buf[:len(s)])
}

func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - ('a' - 'A')
		}
	}
	return string(b)
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}

// lowerWord is lowerASCII without allocation for the tokens of most messages.
func lowerWord(s string) string {
	switch s {
	case "7BIT":
		return "7bit"
	case "8BIT":
		return "8bit"
	case "BASE64":
		return "base64"
	case "QUOTED-PRINTABLE":
		return "quoted-printable"
	case "ATTACHMENT":
		return "attachment"
	case "INLINE":
		return "inline"
	}
	return lowerASCII(s)
}
