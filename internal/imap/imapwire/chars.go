package imapwire

// Sets of 7-bit characters as two 64-bit masks (RFC 3501 section 9).
const (
	ctlLo = 1<<32 - 1
	// atom-specials: "(" ")" "{" SP CTL "%" "*" DQUOTE "\" "]"
	atomLo = ^uint64(ctlLo | 1<<' ' | 1<<'"' | 1<<'%' | 1<<'(' | 1<<')' | 1<<'*')
	atomHi = ^uint64(1<<('{'-64) | 1<<('\\'-64) | 1<<(']'-64) | 1<<(127-64))
)

// isAtomChar reports whether c is an ATOM-CHAR.
func isAtomChar(c byte) bool {
	if c < 64 {
		return atomLo>>c&1 != 0
	}
	return c < 128 && atomHi>>(c-64)&1 != 0
}

// isAStringChar reports whether c may stand in an unquoted astring. Octets
// above 127 are accepted because clients send bare UTF-8 in mailbox names and
// search strings.
func isAStringChar(c byte) bool {
	return c >= 0x80 || c == ']' || isAtomChar(c)
}

// isListChar reports whether c may stand in an unquoted list-mailbox.
func isListChar(c byte) bool {
	return c == '%' || c == '*' || isAStringChar(c)
}

// isTagChar reports whether c may stand in a tag.
func isTagChar(c byte) bool {
	return c != '+' && c < 0x80 && isAStringChar(c)
}

// isWordChar reports whether c belongs to a protocol keyword such as a
// command, option, data item or search key name.
func isWordChar(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '.' || c == '-' || c == '_' || c == '=' || c == '+' || c == '/'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isAtom reports whether s can be sent as an atom.
func isAtom[T string | []byte](s T) bool {
	for i := range len(s) {
		if !isAtomChar(s[i]) {
			return false
		}
	}
	return len(s) > 0
}
