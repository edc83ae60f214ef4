package mimetree

import (
	"slices"
	"strings"
	"unicode/utf8"

	"mallard/internal/message"
)

// ParsedHeader are the members of parsedHeader in their order.
type ParsedHeader []Member

// Member is one key of parsedHeader.
type Member struct {
	Key   string
	Value Value
}

// Value is a member's value: a text, several texts, addresses, or a value with parameters.
type Value struct {
	kind      valueKind
	text      string
	texts     []string
	addrs     []address
	value     string // of a value with parameters, as it stands
	typ       string // its first half in lower case
	subtype   string // its second half as it stands
	params    []parameter
	hasParams bool
}

type valueKind uint8

const (
	kindText valueKind = iota
	kindTexts
	kindAddresses
	kindParams
)

type parameter struct{ key, value string }

// param returns the value of a parameter.
func (v *Value) param(key string) (string, bool) {
	for _, p := range v.params {
		if p.key == key {
			return p.value, true
		}
	}
	return "", false
}

// last is the text of a field that may be repeated.
func (v *Value) last() string {
	if v.kind == kindTexts {
		return v.texts[len(v.texts)-1]
	}
	return v.text
}

// get returns the value of a key, nil when it is not there.
func (h ParsedHeader) get(key string) *Value {
	for i := range h {
		if h[i].Key == key {
			return &h[i].Value
		}
	}
	return nil
}

// set replaces a value where it stands or appends it.
func (h *ParsedHeader) set(key string, v Value) {
	if old := h.get(key); old != nil {
		*old = v
		return
	}
	*h = append(*h, Member{key, v})
}

// maxKey is the length of a field name from which on it is left out.
const maxKey = 100

// parseHeader interprets the fields of a header.
func parseHeader(fields []string) ParsedHeader {
	h := make(ParsedHeader, 0, len(fields)+1)
	index := map[string]int{}
	for i := len(fields) - 1; i >= 0; i-- {
		name, value, _ := strings.Cut(fields[i], ":")
		key := lowerName(strings.TrimFunc(name, isJSSpace))
		if !goodKey(key) {
			continue
		}
		value = validText(strings.TrimFunc(value, isJSSpace))
		at, repeated := index[key]
		if !repeated {
			index[key] = len(h)
			h = append(h, Member{key, firstValue(key, value)})
			continue
		}
		h[at].Value.addEarlier(key, value)
	}
	for i := range h {
		h[i].Value.finish(h[i].Key)
	}
	if _, ok := index["content-type"]; !ok {
		h = append(h, Member{"content-type", Value{kind: kindParams, value: "text/plain", typ: "text", subtype: "plain"}})
	}
	return h
}

// firstValue reads the last field of a name.
func firstValue(key, value string) Value {
	switch {
	case key == "content-type" || key == "content-disposition":
		return parseParams(unfold(value), key == "content-type")
	case isAddressKey(key):
		return Value{kind: kindAddresses, texts: []string{value}}
	}
	return Value{text: unfold(value)}
}

// addEarlier adds a field that comes before the ones already there.
func (v *Value) addEarlier(key, value string) {
	switch {
	case v.kind == kindParams || isSingle(key):
	case v.kind == kindText:
		v.kind, v.texts = kindTexts, []string{v.text, value}
	default:
		v.texts = append(v.texts, value)
	}
}

// finish brings repeated fields into their order.
func (v *Value) finish(key string) {
	switch v.kind {
	case kindTexts:
		slices.Reverse(v.texts)
	case kindAddresses:
		slices.Reverse(v.texts)
		for _, t := range v.texts {
			v.addrs = append(v.addrs, parseAddresses(unfold(t))...)
		}
		if len(v.addrs) == 0 {
			*v = Value{text: unfold(v.texts[len(v.texts)-1])}
			return
		}
		v.texts = nil
	}
}

// isSingle says whether only the last field of a name counts.
func isSingle(key string) bool {
	switch key {
	case "in-reply-to", "message-id", "content-transfer-encoding", "content-id", "content-description", "content-language", "content-md5", "content-location":
		return true
	}
	return false
}

func isAddressKey(key string) bool {
	switch key {
	case "from", "sender", "reply-to", "to", "cc", "bcc":
		return true
	}
	return false
}

// goodKey says whether a name can be a key of parsedHeader.
func goodKey(key string) bool {
	if len(key) >= maxKey {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '*' {
			return false
		}
	}
	return true
}

// lowerName is ASCII in lower case.
func lowerName(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}

// isJSSpace is the white space that JavaScript trims from text that is read octet for octet.
func isJSSpace(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }

// unfold makes one space of each line break with the white space around it.
func unfold(s string) string {
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\n')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(strings.TrimRightFunc(s[:i], isJSSpace))
		b.WriteByte(' ')
		s = strings.TrimLeftFunc(s[i:], isJSSpace)
	}
}

// validText reads octets as UTF-8; what is none becomes U+FFFD.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			n = invalidLen(s)
		}
		b = utf8.AppendRune(b, r)
		s = s[n:]
	}
	return string(b)
}

// invalidLen is how many octets of bad UTF-8 one U+FFFD stands for: the longest beginning of a character.
func invalidLen(s string) int {
	if len(s) < 2 || utf8.RuneStart(s[1]) {
		return 1
	}
	for n := min(len(s), utf8.UTFMax) - 1; n > 1; n-- {
		if beginsCharacter(s[:n]) {
			return n
		}
	}
	return 1
}

// beginsCharacter says whether s can be the beginning of a character.
func beginsCharacter(s string) bool {
	for _, tail := range [...]string{"\x80", "\xbf", "\x80\x80", "\xbf\xbf", "\x90\x80", "\x8f\xbf"} {
		if r, n := utf8.DecodeRuneInString(s + tail); r != utf8.RuneError && n > len(s) {
			return true
		}
	}
	return false
}

// decodeWords makes encoded words readable (RFC 2047). Only words with a plausible charset are taken for such.
func decodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	var b strings.Builder
	for s != "" {
		i, n := findWords(s)
		if n == 0 {
			break
		}
		b.WriteString(s[:i])
		b.WriteString(message.DecodeHeader([]byte(s[i : i+n])))
		s = s[i+n:]
	}
	b.WriteString(s)
	return b.String()
}

// findWords finds the first run of encoded words that only white space is between.
func findWords(s string) (at, n int) {
	for {
		i := strings.Index(s[at:], "=?")
		if i < 0 {
			return 0, 0
		}
		at += i
		if n = wordLen(s[at:]); n > 0 {
			break
		}
		at += 2
	}
	for {
		rest := s[at+n:]
		next := strings.TrimLeftFunc(rest, isJSSpace)
		w := wordLen(next)
		if w == 0 {
			return at, n
		}
		n += len(rest) - len(next) + w
	}
}

// wordLen is the length of the encoded word that s begins with, 0 when it does not.
func wordLen(s string) int {
	if !strings.HasPrefix(s, "=?") {
		return 0
	}
	i := 2
	for i < len(s) && isCharsetChar(s[i]) {
		i++
	}
	if i == 2 || i+3 > len(s) || s[i] != '?' || s[i+2] != '?' || !strings.ContainsRune("bBqQ", rune(s[i+1])) {
		return 0
	}
	end := strings.IndexByte(s[i+3:], '?')
	if end < 0 || i+3+end+1 >= len(s) || s[i+3+end+1] != '=' {
		return 0
	}
	return i + 3 + end + 2
}

func isCharsetChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '*'
}
