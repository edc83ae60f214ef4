package address

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

// Option is a part of an address that Normalize removes.
type Option uint8

// The options of Normalize.
const (
	// RemoveLabel cuts the local part at its first "+".
	RemoveLabel Option = 1 << iota
	// RemoveDots deletes all dots of the local part.
	RemoveDots
)

// maxDomain is the greatest length of a domain in octets (RFC 5321, 4.5.3.1.2).
// Longer ones are compared as they are: no mail can be for them.
const maxDomain = 255

// acePrefix starts a label in Punycode (RFC 5890, 2.3.2.1).
const acePrefix = "xn--"

// Normalize returns the form in which addresses are stored and compared: the
// local part (before the last "@") in NFC, lower case and trimmed, the domain as
// NormalizeDomain gives it. A text without "@" is taken as a domain and yields
// "@" and that. It never fails; whether the text is an address is another
// question, see ValidEmail. Applying it twice changes nothing more.
func Normalize(addr string, opts ...Option) string {
	var o Option
	for _, opt := range opts {
		o |= opt
	}
	local, domain := Split(addr)
	local = fold(local)
	if o&RemoveLabel != 0 {
		local, _, _ = strings.Cut(local, "+")
		local = trim(local)
	}
	if o&RemoveDots != 0 {
		local = strings.ReplaceAll(local, ".", "")
		// What the dots kept apart may combine or be space at an end now.
		local = fold(local)
	}
	return local + "@" + NormalizeDomain(domain)
}

// NormalizeLocal returns the local part of an address (or a name without a
// domain) in NFC, lower case and trimmed.
func NormalizeLocal(local string) string { return fold(local) }

// Split cuts an address at its last "@". Without one all of it is the domain.
func Split(addr string) (local, domain string) {
	i := strings.LastIndexByte(addr, '@')
	return addr[:max(i, 0)], addr[i+1:]
}

// View returns the form by which usernames and addresses are unique: lower case,
// without the dots before the first "@" (without any when there is none). Labels
// stay; the text should be normalised.
func View(s string) string {
	i := strings.IndexByte(s, '@')
	if i < 0 {
		i = len(s)
	}
	return lower(strings.ReplaceAll(s[:i], ".", "") + s[i:])
}

// LookupView is the view under which the row of an address would be stored,
// without its label.
func LookupView(addr string) string { return View(Normalize(addr, RemoveLabel, RemoveDots)) }

// NormalizeDomain returns a domain in lower case, trimmed and in NFC, its
// Punycode labels (RFC 3492) decoded without any mapping. A domain with a label
// that cannot be decoded, or that decodes to what is or looks like another ASCII
// label, keeps its Punycode as a whole.
func NormalizeDomain(domain string) string {
	d := fold(domain)
	if len(d) > maxDomain || !strings.Contains(d, acePrefix) {
		return d
	}
	labels := strings.Split(d, ".")
	for i, label := range labels {
		if !strings.HasPrefix(label, acePrefix) {
			continue
		}
		u, ok := decodeLabel(label)
		if !ok {
			return d
		}
		labels[i] = u
	}
	return fold(strings.Join(labels, "."))
}

// decodeLabel decodes one label. The result must not be one that ASCII, or
// another round of decoding, could also have led to: then two spellings of a
// domain would be one or three, depending on how often they pass here.
func decodeLabel(label string) (string, bool) {
	u, err := idna.Punycode.ToUnicode(label)
	if err != nil || !utf8.ValidString(u) {
		return "", false
	}
	u = fold(u)
	if isASCII(u) || strings.Contains(u, acePrefix) || strings.ContainsRune(u, '.') {
		return "", false
	}
	return u, true
}

// fold is NFC, lower case, trim. Lower case may undo NFC in rare letters, so NFC
// comes again.
func fold(s string) string {
	if isASCII(s) {
		return trim(strings.ToLower(s))
	}
	return trim(norm.NFC.String(lower(norm.NFC.String(strings.ToValidUTF8(s, "\uFFFD")))))
}

// lower is the full Unicode lower case, which unlike the one of package strings
// keeps "İ" apart from "i" and knows the final sigma, as other systems on the
// same data do.
func lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return cases.Lower(language.Und).String(s)
}

func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '\uFEFF' })
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
