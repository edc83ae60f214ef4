package imapwire

import (
	"strconv"
	"unicode/utf8"
)

// The functions of this file append one value in wire form. Whatever their
// argument holds, the result is one well-formed value: CR, LF and NUL cannot
// end the line or break out of a quoted string.

// maxQuoted is the longest string that is sent quoted; some clients have small
// line buffers.
const maxQuoted = 1000

// AppendAtom appends s as an atom. Octets that an atom cannot have become "_";
// an empty s is "_" too.
func AppendAtom(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '_')
	}
	for i := range len(s) {
		c := s[i]
		if !isAtomChar(c) {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendAString appends s as an atom where possible, else as a string.
func AppendAString(dst []byte, s string) []byte {
	if isAtom(s) && len(s) <= maxQuoted && !isNil(s) {
		return append(dst, s...)
	}
	return AppendString(dst, s, false)
}

// isNil reports whether s, sent as an atom, would be read as NIL.
func isNil(s string) bool {
	return len(s) == 3 && s[0]|0x20 == 'n' && s[1]|0x20 == 'i' && s[2]|0x20 == 'l'
}

// AppendString appends s as a quoted string, or as a literal when it is long
// or has line ends or, unless utf8 is allowed, octets above 127. NUL, which no
// string can have, becomes a space.
func AppendString[T string | []byte](dst []byte, s T, utf8 bool) []byte {
	if !quotable(s, utf8) {
		dst = AppendLiteralHeader(dst, int64(len(s)))
		start := len(dst)
		dst = append(dst, s...)
		for i := start; i < len(dst); i++ {
			if dst[i] == 0 {
				dst[i] = ' '
			}
		}
		return dst
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// quotable reports whether s can be sent as a quoted string.
func quotable[T string | []byte](s T, allowUTF8 bool) bool {
	if len(s) > maxQuoted {
		return false
	}
	ascii := true
	for i := range len(s) {
		c := s[i]
		if c == 0 || c == '\r' || c == '\n' {
			return false
		}
		ascii = ascii && c < 0x80
	}
	return ascii || allowUTF8 && utf8.ValidString(string(s))
}

// AppendQuoted appends s as a quoted string in any case, for places where the
// grammar has no literal: CR, LF and NUL become spaces, and octets above 127
// question marks unless s is UTF-8 and that is allowed.
func AppendQuoted(dst []byte, s string, allowUTF8 bool) []byte {
	high := allowUTF8 && utf8.ValidString(s)
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == 0 || c == '\r' || c == '\n':
			dst = append(dst, ' ')
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x80 && !high:
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// AppendNil appends NIL.
func AppendNil(dst []byte) []byte { return append(dst, "NIL"...) }

// AppendMailbox appends a mailbox name, given in UTF-8: as modified UTF-7, or
// as it is once the client has enabled UTF8=ACCEPT. It is always a string,
// never an atom.
func AppendMailbox(dst []byte, name string, utf8 bool) []byte {
	if utf8 {
		return AppendString(dst, name, true)
	}
	start := len(dst)
	dst = AppendUTF7(dst, name)
	return AppendString(dst[:start], string(dst[start:]), false)
}

// AppendFlags appends a parenthesised list of flags. What is not a flag, such
// as a keyword with a space that an API client set, cannot be told over IMAP
// and is left out.
func AppendFlags(dst []byte, flags []string) []byte {
	dst = append(dst, '(')
	first := true
	for _, f := range flags {
		if !isFlag(f) {
			continue
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		dst = append(dst, f...)
	}
	return append(dst, ')')
}

// isFlag reports whether f is a flag or keyword of RFC 3501.
func isFlag(f string) bool {
	if len(f) > 1 && f[0] == '\\' {
		f = f[1:]
	}
	return isAtom(f)
}

// AppendLiteralHeader appends the announcement of a literal of n octets.
func AppendLiteralHeader(dst []byte, n int64) []byte {
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '}', '\r', '\n')
}

// maxText is the longest response text; some clients show it to people.
const maxText = 512

// AppendText appends human-readable response text (RFC 3501 section 9, text).
// Control characters become spaces, octets above 127 question marks unless
// UTF-8 is allowed. It is never empty, is cut when it is very long, and cannot
// be read as a response code.
func AppendText(dst []byte, s string, allowUTF8 bool) []byte {
	if len(s) > maxText {
		s = s[:maxText]
	}
	high := allowUTF8 && utf8.ValidString(s)
	start := len(dst)
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			dst = append(dst, ' ')
		case c >= 0x80 && !high:
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	if len(dst) == start {
		return append(dst, '-')
	}
	if dst[start] == '[' {
		dst[start] = '('
	}
	return dst
}

// appendCode appends a response code in brackets. Octets that would end it
// become "_".
func appendCode(dst []byte, code Code) []byte {
	dst = append(dst, '[')
	for i := range len(code) {
		c := code[i]
		if c < ' ' || c >= 0x7f || c == ']' {
			c = '_'
		}
		dst = append(dst, c)
	}
	return append(dst, ']', ' ')
}
