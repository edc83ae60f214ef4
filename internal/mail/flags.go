package mail

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// SystemFlags is a bit set of the system flags of RFC 3501, 2.3.2. \Recent is
// not one of them: it belongs to a session, not to a message.
type SystemFlags uint8

// The system flags that are stored with a message.
const (
	Seen SystemFlags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft

	allSystemFlags = Seen | Answered | Flagged | Deleted | Draft
)

// MaxKeywordLen is the greatest length of a keyword in octets.
const MaxKeywordLen = 255

// MaxKeywords is the greatest number of keywords of one message.
const MaxKeywords = 100

// systemFlagNames pairs each bit with its name, in the order of the bits.
func systemFlagNames() [5]string {
	return [...]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}
}

// Names yields the IMAP names of the flags that are set.
func (f SystemFlags) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, name := range systemFlagNames() {
			if f&(1<<i) != 0 && !yield(name) {
				return
			}
		}
	}
}

// ParseSystemFlag returns the bit of a system flag name, in any case.
func ParseSystemFlag(name string) (SystemFlags, bool) {
	for i, n := range systemFlagNames() {
		if strings.EqualFold(n, name) {
			return 1 << i, true
		}
	}
	return 0, false
}

// Flags are the system flags and keywords of a message. The value is immutable
// and comparable: equal flags are equal values. Keywords keep the spelling in
// which they were first given and compare without regard to ASCII case.
type Flags struct {
	System SystemFlags
	// keywords are sorted by their lower-case form and joined by a space,
	// which no keyword can contain.
	keywords string
}

// NewFlags returns flags with the given keywords. Duplicates are dropped.
// Keywords are not validated here; see ParseFlags.
func NewFlags(system SystemFlags, keywords ...string) Flags {
	if len(keywords) == 0 {
		return Flags{System: system}
	}
	kw := slices.Clone(keywords)
	slices.SortStableFunc(kw, compareFold)
	kw = slices.CompactFunc(kw, strings.EqualFold)
	return Flags{System: system, keywords: strings.Join(kw, " ")}
}

// FlagsFromKeywordString rebuilds flags from the result of KeywordString. It
// is for storage engines, which thereby need not split and join.
func FlagsFromKeywordString(system SystemFlags, keywords string) Flags {
	return Flags{System: system & allSystemFlags, keywords: keywords}
}

// KeywordString returns the keywords, sorted and joined by single spaces.
func (f Flags) KeywordString() string { return f.keywords }

// ParseFlags reads flag names: system flags in any case and keywords.
func ParseFlags(names []string) (Flags, error) {
	var sys SystemFlags
	var kw []string
	for _, n := range names {
		if strings.HasPrefix(n, `\`) {
			bit, ok := ParseSystemFlag(n)
			if !ok {
				return Flags{}, fmt.Errorf("%s is not a flag that can be stored", n)
			}
			sys |= bit
			continue
		}
		if err := ValidKeyword(n); err != nil {
			return Flags{}, err
		}
		kw = append(kw, n)
	}
	f := NewFlags(sys, kw...)
	if n := strings.Count(f.keywords, " ") + 1; n > MaxKeywords {
		return Flags{}, fmt.Errorf("%d keywords, at most %d are allowed", n, MaxKeywords)
	}
	return f, nil
}

// ValidKeyword reports why s cannot be a keyword: a keyword is an IMAP atom of
// at most MaxKeywordLen octets (RFC 3501, 9, flag-keyword).
func ValidKeyword(s string) error {
	if s == "" || len(s) > MaxKeywordLen {
		return fmt.Errorf("a keyword has 1 to %d octets, this one has %d", MaxKeywordLen, len(s))
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return fmt.Errorf("character %q is not allowed in a keyword", c)
		}
	}
	return nil
}

// IsZero reports whether no flag is set.
func (f Flags) IsZero() bool { return f == Flags{} }

// Has reports whether all the given system flags are set.
func (f Flags) Has(s SystemFlags) bool { return f.System&s == s }

// HasKeyword reports whether the keyword is set, in any case.
func (f Flags) HasKeyword(name string) bool {
	for k := range f.Keywords() {
		if strings.EqualFold(k, name) {
			return true
		}
	}
	return false
}

// Keywords yields the keywords in order.
func (f Flags) Keywords() iter.Seq[string] {
	if f.keywords == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(f.keywords, " ")
}

// Names yields system flags, then keywords.
func (f Flags) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range f.System.Names() {
			if !yield(n) {
				return
			}
		}
		for n := range f.Keywords() {
			if !yield(n) {
				return
			}
		}
	}
}

// List returns the names as a slice, empty but not nil when no flag is set.
func (f Flags) List() []string {
	out := []string{}
	return slices.AppendSeq(out, f.Names())
}

// Add returns f with the flags of g. Where both have a keyword, f's spelling stays.
func (f Flags) Add(g Flags) Flags {
	if g.keywords == "" || g.keywords == f.keywords {
		return Flags{System: f.System | g.System, keywords: f.keywords}
	}
	kw := slices.Collect(f.Keywords())
	return NewFlags(f.System|g.System, slices.AppendSeq(kw, g.Keywords())...)
}

// Remove returns f without the flags of g.
func (f Flags) Remove(g Flags) Flags {
	sys := f.System &^ g.System
	if f.keywords == "" || g.keywords == "" {
		return Flags{System: sys, keywords: f.keywords}
	}
	var kw []string
	for k := range f.Keywords() {
		if !g.HasKeyword(k) {
			kw = append(kw, k)
		}
	}
	return NewFlags(sys, kw...)
}

// compareFold orders by ASCII lower case without allocating.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := lowerASCII(a[i]), lowerASCII(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
