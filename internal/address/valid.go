package address

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of names.
const (
	// MaxUsername is the greatest length of a username in octets.
	MaxUsername = 128
	// MaxLocal is the greatest length of a local part in octets (RFC 5321, 4.5.3.1.1).
	MaxLocal = 64
	// MaxWildcardPart is the greatest number of characters beside the "*" in the
	// local part of a wildcard: longer ones would never be looked up.
	MaxWildcardPart = 32

	maxLabel = 63 // octets, RFC 1035, 2.3.4
)

// ValidUsername reports whether s, which must be lower case already, can be a
// username: groups of letters, digits and "-" joined by single ".", "_", "=" or
// ":", and optionally "@" and such groups again; 1 to MaxUsername octets.
func ValidUsername(s string) bool {
	if s == "" || len(s) > MaxUsername {
		return false
	}
	before, after, at := strings.Cut(s, "@")
	return validGroups(before) && (!at || validGroups(after))
}

func validGroups(s string) bool {
	joined := true // a group must follow
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
			joined = false
		case c == '.' || c == '_' || c == '=' || c == ':':
			if joined {
				return false
			}
			joined = true
		default:
			return false
		}
	}
	return !joined
}

// ValidEmail reports whether s has the syntax of an address: a dot-atom local
// part (RFC 5321, 4.1.2; with UTF-8 as in RFC 6531, 3.3), "@", and a domain name of
// any top level, also of one label as on a test machine. Quoted local parts and
// address literals are not accepted.
func ValidEmail(s string) bool {
	local, domain := Split(s)
	return utf8.ValidString(s) && validLocal(local) && ValidDomain(domain)
}

func validLocal(local string) bool {
	if local == "" || len(local) > MaxLocal {
		return false
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" || strings.IndexFunc(atom, notAtext) >= 0 {
			return false
		}
	}
	return true
}

// notAtext reports characters outside atext (RFC 5322, 3.2.3) and those beyond
// ASCII that nobody can see or type.
func notAtext(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	case r < utf8.RuneSelf:
		return !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
	}
	return r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsGraphic(r)
}

// ValidDomain reports whether d has the syntax of a domain name: labels of
// letters, digits and inner "-" (RFC 5321, 4.1.2), or of visible characters beyond
// ASCII, each at most 63 octets in ASCII form.
func ValidDomain(d string) bool {
	if d == "" || len(d) > maxDomain || !utf8.ValidString(d) {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validLabel(label string) bool {
	if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, r := range label {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-':
		case r < utf8.RuneSelf, r == utf8.RuneError, unicode.IsSpace(r), !unicode.IsGraphic(r):
			return false
		case strings.ContainsRune("\u3002\uff0e\uff61", r): // other full stops
			return false
		}
	}
	if isASCII(label) {
		return len(label) <= maxLabel
	}
	a, err := idna.Punycode.ToASCII(label)
	return err == nil && len(a) <= maxLabel
}
