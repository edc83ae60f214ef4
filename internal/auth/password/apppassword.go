package password

import (
	"crypto/rand"
	"crypto/sha1"
	"strconv"
	"strings"
	"unicode"
)

// appPasswordLength is the number of letters of an application password, which is 75 bits.
const appPasswordLength = 16

// NewAppPassword returns a new application password: 16 random letters a–z.
func NewAppPassword() string {
	const letters = 26
	out := make([]byte, 0, appPasswordLength)
	var buf [32]byte
	for {
		rand.Read(buf[:]) // never fails
		for _, b := range buf {
			if b >= 256-256%letters {
				continue // would favour the first letters
			}
			out = append(out, 'a'+b%letters)
			if len(out) == appPasswordLength {
				return string(out)
			}
		}
	}
}

// AppPassword brings what a person typed as a password into the form of an application password: white space removed,
// letters lowered. ok is false when it then is not exactly 16 letters a–z and so cannot be one.
func AppPassword(typed string) (normal string, ok bool) {
	if len(typed) > MaxLength {
		return "", false
	}
	normal = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\ufeff' {
			return -1
		}
		return unicode.ToLower(r)
	}, typed)
	if len(normal) != appPasswordLength {
		return "", false
	}
	for _, c := range []byte(normal) {
		if c < 'a' || c > 'z' {
			return "", false
		}
	}
	return normal, true
}

// Selector returns the tag that is stored beside the hash of an application password so that a login need not be checked
// against every hash of the account: the octets of the SHA-1 of the password, added up, modulo 32, in lower-case
// hexadecimal without padding ("0" to "1f"). It gives away 5 of the password's 75 bits.
func Selector(password string) string {
	sum := 0
	for _, b := range sha1.Sum([]byte(password)) {
		sum += int(b)
	}
	return strconv.FormatInt(int64(sum%32), 16)
}
