package compose

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of lines (RFC 5322, 2.1.1; RFC 2047, 2).
const (
	lineTarget = 76
	maxWord    = 75
)

// fieldName returns a name with only the characters that may stand in it.
func fieldName(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 76 || !isToken(s) || strings.Contains(s, ":") {
		return ""
	}
	return s
}

// isToken reports whether s has printable ASCII without space only.
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// clean turns line ends and other controls into single spaces and repairs what
// is not UTF-8.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// encodeText makes an unstructured value: ASCII as it is, everything else in
// encoded words (RFC 2047). In structured values only ASCII stays.
func encodeText(s string, structured bool) string {
	s = clean(s)
	if structured {
		return strings.Map(func(r rune) rune {
			if r >= 0x7f {
				return -1
			}
			return r
		}, s)
	}
	if isASCII(s) && !strings.Contains(s, "=?") && longestWord(s) < 900 {
		return s
	}
	return encodeWords(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func longestWord(s string) int {
	most := 0
	for w := range strings.FieldsSeq(s) {
		most = max(most, len(w))
	}
	return most
}

// encodeWords makes words of base64 or Q, whichever is shorter, that end at
// whole characters.
func encodeWords(s string) string {
	special := 0
	for i := range len(s) {
		if !plainInQ(s[i]) {
			special++
		}
	}
	var words []string
	q := special*3 < len(s)
	for s != "" {
		n := wordLen(s, q)
		if q {
			words = append(words, "=?UTF-8?Q?"+qEncode(s[:n])+"?=")
		} else {
			words = append(words, "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		}
		s = s[n:]
	}
	return strings.Join(words, " ")
}

// wordLen is how many octets of s fit into one encoded word.
func wordLen(s string, q bool) int {
	const room = maxWord - len("=?UTF-8?Q??=")
	used, n := 0, 0
	for n < len(s) {
		_, size := utf8.DecodeRuneInString(s[n:])
		cost := 0
		if q {
			cost = len(qEncode(s[n : n+size]))
		} else {
			cost = (n+size+2)/3*4 - used
		}
		if used+cost > room && n > 0 {
			break
		}
		used += cost
		n += size
	}
	return n
}

func plainInQ(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == ' ' || strings.IndexByte("!*+-/", c) >= 0
}

func qEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('_')
		case plainInQ(c):
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// formatAddress writes a mailbox, "" when there is no address. Domains are in
// ASCII; a local part outside ASCII needs SMTPUTF8 and stays as it is.
func formatAddress(a Address) string {
	addr := clean(a.Address)
	at := strings.LastIndexByte(addr, '@')
	if at < 1 || at == len(addr)-1 || strings.ContainsAny(addr, "<>\\\"(),;: ") {
		return ""
	}
	addr = addr[:at+1] + asciiDomain(addr[at+1:])
	name := clean(a.Name)
	if name == "" {
		return addr
	}
	return formatPhrase(name) + " <" + addr + ">"
}

func formatPhrase(name string) string {
	switch {
	case !isASCII(name) || strings.Contains(name, "=?") || len(name) > 900:
		return encodeWords(name)
	case strings.ContainsAny(name, "\"\\()<>@,;:.[]"):
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return name
}

func asciiDomain(domain string) string {
	if isASCII(domain) {
		return domain
	}
	if d, err := idna.Lookup.ToASCII(domain); err == nil {
		return d
	}
	return domain
}

// fold breaks a field into lines at spaces (RFC 5322, 2.2.3).
func fold(s string) string {
	if len(s) <= lineTarget {
		return s
	}
	var b strings.Builder
	line := 0
	for i, word := range strings.Split(s, " ") {
		switch {
		case i == 0:
		case line+1+len(word) > lineTarget && line > 0 && word != "" && i > 1:
			b.WriteString("\r\n ")
			line = 1
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}

// param is a parameter of a media type or a disposition: a token, a quoted
// string or, outside ASCII, the extended form (RFC 2231).
func param(name, value string) string {
	value = clean(value)
	switch {
	case !isASCII(value):
		return extendedParam(name, value)
	case isToken(value) && !strings.ContainsAny(value, "()<>@,;:\\\"/[]?="):
		return "; " + name + "=" + value
	}
	return "; " + name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

func extendedParam(name, value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; plainInQ(c) && c != ' ' && c != '*' && c != '/' || c == '.' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	enc := b.String()
	const piece = 60
	if len(enc) <= piece {
		return "; " + name + "*=utf-8''" + enc
	}
	var out strings.Builder
	for n := 0; enc != ""; n++ {
		cut := min(piece, len(enc))
		if i := strings.LastIndexByte(enc[:cut], '%'); i > cut-3 && cut < len(enc) {
			cut = i // not inside of %XX
		}
		lead := ""
		if n == 0 {
			lead = "utf-8''"
		}
		fmt.Fprintf(&out, "; %s*%d*=%s%s", name, n, lead, enc[:cut])
		enc = enc[cut:]
	}
	return out.String()
}
