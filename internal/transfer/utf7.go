package transfer

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Names of mailboxes are kept in file names in modified UTF-7 (RFC 3501, 5.1.3)
// by most servers, and in UTF-8 by some.

// utf7 is base64 with a comma and without padding.
func utf7() *base64.Encoding {
	return base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)
}

// encodeName puts a name into modified UTF-7. Runes that must reports true for are
// encoded although they are ASCII.
func encodeName(name string, must func(r rune) bool) string {
	var out strings.Builder
	var run []rune
	flush := func() {
		if len(run) == 0 {
			return
		}
		units := utf16.Encode(run)
		b := make([]byte, 0, 2*len(units))
		for _, u := range units {
			b = append(b, byte(u>>8), byte(u))
		}
		out.WriteString("&" + utf7().EncodeToString(b) + "-")
		run = run[:0]
	}
	for _, r := range name {
		if r < ' ' || r > '~' || must(r) {
			run = append(run, r)
			continue
		}
		flush()
		if r == '&' {
			out.WriteString("&-")
			continue
		}
		out.WriteRune(r)
	}
	flush()
	return out.String()
}

// decodeName reads a name that is in modified UTF-7 or in UTF-8. What is neither
// stays as it is, without octets that are not UTF-8.
func decodeName(s string) string {
	if ascii(s) {
		if name, ok := decodeUTF7(s); ok {
			return name
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func decodeUTF7(s string) (string, bool) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "&")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		code, after, found := strings.Cut(rest, "-")
		if !found {
			return "", false
		}
		s = after
		if code == "" {
			out.WriteByte('&')
			continue
		}
		b, err := utf7().DecodeString(code)
		if err != nil || len(b)%2 != 0 {
			return "", false
		}
		units := make([]uint16, 0, len(b)/2)
		for i := 0; i < len(b); i += 2 {
			units = append(units, uint16(b[i])<<8|uint16(b[i+1]))
		}
		for _, r := range utf16.Decode(units) {
			if r == utf8.RuneError {
				return "", false
			}
			out.WriteRune(r)
		}
	}
}

// level makes a decoded name fit for one level of a path.
func level(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '/':
			return '_' // would be two levels
		case r < ' ' || r == 0x7f:
			return '?'
		}
		return r
	}, s)
}
