package mail

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Separator is the hierarchy separator of mailbox names.
const Separator = "/"

// Inbox is the one spelling under which INBOX is stored (RFC 3501, 5.1).
const Inbox = "INBOX"

// Limits of mailbox names.
const (
	// MaxNameDepth is the greatest number of levels of a mailbox name.
	MaxNameDepth = 128
	// MaxNameLen is the greatest length of one level, in UTF-16 code units.
	MaxNameLen = 512
)

// CanonicalName returns the name under which a mailbox is stored: without
// slashes at the ends, INBOX as first level in capitals. It fails when the name
// is empty, has empty levels, exceeds a limit, is not UTF-8 or holds control
// characters, which some clients cannot send back.
func CanonicalName(name string) (string, error) {
	n := strings.Trim(name, Separator)
	if n == "" {
		return "", NewError(CodeInvalid, "a mailbox name cannot be empty")
	}
	if !utf8.ValidString(n) {
		return "", NewError(CodeInvalid, "a mailbox name must be valid UTF-8")
	}
	levels := strings.Split(n, Separator)
	if len(levels) > MaxNameDepth {
		return "", NewError(CodeLimit, fmt.Sprintf("a mailbox name has at most %d levels", MaxNameDepth))
	}
	for _, l := range levels {
		if err := checkLevel(l); err != nil {
			return "", err
		}
	}
	if strings.EqualFold(levels[0], Inbox) {
		levels[0] = Inbox
	}
	return strings.Join(levels, Separator), nil
}

func checkLevel(l string) error {
	if l == "" {
		return NewError(CodeInvalid, "adjacent hierarchy separators are not supported")
	}
	units := 0
	for _, r := range l {
		if r < ' ' || r == 0x7f {
			return NewError(CodeInvalid, "a mailbox name cannot hold control characters")
		}
		units++
		if r > 0xffff {
			units++
		}
	}
	if units > MaxNameLen {
		return NewError(CodeLimit, fmt.Sprintf("a level of a mailbox name has at most %d characters", MaxNameLen))
	}
	return nil
}

// ParentName returns the name of the mailbox above, or "" at the top.
func ParentName(name string) string {
	if i := strings.LastIndex(name, Separator); i >= 0 {
		return name[:i]
	}
	return ""
}

// IsInferior reports whether name lies below parent.
func IsInferior(name, parent string) bool {
	return len(name) > len(parent)+1 && strings.HasPrefix(name, parent) && name[len(parent)] == '/'
}
