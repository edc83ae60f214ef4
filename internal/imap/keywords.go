package imap

import (
	"slices"
	"strings"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
)

// maxKeywordSets bounds what a session remembers to find out quickly that it has
// announced keywords before.
const maxKeywordSets = 1024

// keywords are those of the selected mailbox that the client was told of in FLAGS.
type keywords struct {
	names []string
	// sets are combinations, as KeywordString gives them, that hold nothing new.
	sets map[string]struct{}
}

// learn notes the keywords of a message and reports whether some are new. A
// mailbox announces so many keywords as it remembers; messages may have others.
func (k *keywords) learn(f mail.Flags) bool {
	set := f.KeywordString()
	if set == "" {
		return false
	}
	if _, ok := k.sets[set]; ok {
		return false
	}
	n := len(k.names)
	for name := range f.Keywords() {
		known := slices.ContainsFunc(k.names, func(s string) bool { return strings.EqualFold(s, name) })
		if !known && len(k.names) < mail.MaxKeywords {
			k.names = append(k.names, name)
		}
	}
	if k.sets == nil || len(k.sets) == maxKeywordSets {
		k.sets = make(map[string]struct{})
	}
	k.sets[set] = struct{}{}
	return len(k.names) > n
}

// announce tells the client of keywords that are new in the mailbox, before it
// meets them in a FETCH response (RFC 3501, 7.1, PERMANENTFLAGS, and 7.2.6).
func (s *session) announce(f mail.Flags) {
	if s.keywords.learn(f) {
		s.tellKeywords()
	}
}

// tellKeywords tells which flags the mailbox has and which the client may change.
func (s *session) tellKeywords() {
	flags := append([]string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`}, s.keywords.names...)
	s.w.Flags(flags)
	if s.readOnly {
		s.w.Status("*", imapwire.CondOK, imapwire.CodePermanentFlags(nil, false), "No flag can be changed")
	} else {
		s.w.Status("*", imapwire.CondOK, imapwire.CodePermanentFlags(flags, true), "Flags permitted")
	}
}
