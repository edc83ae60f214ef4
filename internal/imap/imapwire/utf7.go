package imapwire

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrMailboxName is returned for a mailbox name that cannot be decoded.
var ErrMailboxName = errors.New("imap: invalid mailbox name")

const b64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

// AppendUTF7 appends s, which is UTF-8, in modified UTF-7 (RFC 3501 section
// 5.1.3). The result is printable ASCII whatever s holds; octets that are not
// UTF-8 become U+FFFD.
func AppendUTF7(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '&':
			dst = append(dst, '&', '-')
			i++
		case c >= 0x20 && c <= 0x7e:
			dst = append(dst, c)
			i++
		default:
			dst, i = appendShifted(dst, s, i)
		}
	}
	return dst
}

// appendShifted appends the run of not directly printable characters of s
// that starts at i, and returns where it ends.
func appendShifted(dst []byte, s string, i int) ([]byte, int) {
	var acc uint32
	var bits uint
	unit := func(u uint16) {
		acc = acc<<16 | uint32(u)
		for bits += 16; bits >= 6; bits -= 6 {
			dst = append(dst, b64[acc>>(bits-6)&0x3f])
		}
		acc &= 1<<bits - 1
	}
	dst = append(dst, '&')
	for i < len(s) && (s[i] < 0x20 || s[i] > 0x7e) {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			unit(uint16(hi))
			unit(uint16(lo))
			continue
		}
		unit(uint16(r))
	}
	if bits > 0 {
		dst = append(dst, b64[acc<<(6-bits)&0x3f])
	}
	return append(dst, '-'), i
}

// DecodeUTF7 decodes a mailbox name in modified UTF-7 to UTF-8. Bare UTF-8,
// which clients send against the rule, is taken as it is. A broken shift
// sequence, an unpaired surrogate, octets that are not UTF-8 and control
// characters give [ErrMailboxName].
func DecodeUTF7(s string) (string, error) {
	amp := strings.IndexByte(s, '&')
	if amp < 0 {
		return checkName(s)
	}
	out := make([]byte, 0, len(s))
	for amp >= 0 {
		out = append(out, s[:amp]...)
		s = s[amp+1:]
		end := strings.IndexByte(s, '-')
		if end < 0 {
			return "", ErrMailboxName
		}
		var ok bool
		if end == 0 {
			out = append(out, '&')
		} else if out, ok = decodeShifted(out, s[:end]); !ok {
			return "", ErrMailboxName
		}
		s = s[end+1:]
		amp = strings.IndexByte(s, '&')
	}
	return checkName(string(append(out, s...)))
}

// decodeShifted appends the UTF-8 form of the modified base64 text s.
func decodeShifted(out []byte, s string) ([]byte, bool) {
	var acc, bits uint32
	var high rune
	for i := range len(s) {
		v := b64Value(s[i])
		if v < 0 {
			return out, false
		}
		acc = acc<<6 | uint32(v)
		if bits += 6; bits < 16 {
			continue
		}
		bits -= 16
		u := rune(acc >> bits & 0xffff)
		acc &= 1<<bits - 1
		switch {
		case high != 0:
			r := utf16.DecodeRune(high, u)
			if r == utf8.RuneError {
				return out, false
			}
			out, high = utf8.AppendRune(out, r), 0
		case u >= 0xd800 && u < 0xdc00:
			high = u
		case u >= 0xdc00 && u < 0xe000:
			return out, false
		default:
			out = utf8.AppendRune(out, u)
		}
	}
	return out, high == 0 && bits < 6 && acc == 0
}

func b64Value(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+':
		return 62
	case c == ',':
		return 63
	}
	return -1
}

// checkName refuses octets that are not UTF-8 and control characters.
func checkName(s string) (string, error) {
	ascii := true
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c == 0x7f {
			return "", ErrMailboxName
		}
		ascii = ascii && c < 0x80
	}
	if !ascii && !utf8.ValidString(s) {
		return "", ErrMailboxName
	}
	return s, nil
}
