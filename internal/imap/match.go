package imap

import (
	"strings"

	"mallard/internal/mail"
)

// matchSteps bounds what the patterns of one command cost, in comparisons of an
// octet: a tenth of a second. Ten thousand mailboxes and a sensible pattern take
// a hundredth of it.
const matchSteps = 100 << 20

// matcher matches mailbox names against the patterns of a command, in which *
// stands for anything and % for anything within a level (RFC 3501, 6.3.8).
type matcher struct {
	patterns []string
	steps    int
}

func newMatcher(reference string, patterns []string) *matcher {
	m := &matcher{}
	for _, p := range patterns {
		m.patterns = append(m.patterns, strings.TrimPrefix(reference+p, mail.Separator))
	}
	return m
}

// match reports whether a name matches. Errors: Limit.
func (m *matcher) match(name string) (bool, error) {
	for _, p := range m.patterns {
		if m.pattern(p, name) {
			return true, nil
		}
		if m.steps > matchSteps {
			return false, mail.NewError(mail.CodeLimit, "The pattern is too complex")
		}
	}
	return false, nil
}

// pattern keeps the set of positions of the name that can be reached, so that it
// takes time in proportion to the product of the lengths at worst, whatever the
// wildcards. INBOX matches in any case (RFC 3501, 5.1).
func (m *matcher) pattern(pattern, name string) bool {
	inbox := 0
	if name == mail.Inbox || mail.IsInferior(name, mail.Inbox) {
		inbox = len(mail.Inbox)
	}
	reach := make([]bool, len(name)+1)
	reach[0] = true
	from := 0 // the first position that can be reached
	for i := range len(pattern) {
		if m.steps += len(name) + 1 - from; m.steps > matchSteps {
			return false
		}
		c := pattern[i]
		if c == '*' || c == '%' {
			for j := from + 1; j <= len(name); j++ {
				reach[j] = reach[j] || reach[j-1] && (c == '*' || name[j-1] != mail.Separator[0])
			}
			continue
		}
		for j := len(name); j > from; j-- {
			reach[j] = reach[j-1] && (name[j-1] == c || j <= inbox && name[j-1] == upper(c))
		}
		reach[from] = false
		for from++; from <= len(name) && !reach[from]; from++ {
		}
		if from > len(name) {
			return false
		}
	}
	return reach[len(name)]
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
