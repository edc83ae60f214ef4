package search

import (
	"strings"
	"unicode"
)

// Words is a full-text query: words and phrases that are looked for in the header and the text of a message, as [Text]
// does. A word is found inside other words too.
type Words struct {
	Terms []Term
	// Every says that each word must be there. Without it phrases must be there, and if there are none one of the words.
	// Excluded terms must never be there.
	Every bool
}

// A Term is a word or phrase of [Words].
type Term struct {
	Text    string
	Phrase  bool // it was quoted
	Exclude bool // it was written with a minus sign before it
}

// ParseWords reads a full-text query as people type it: words separated by white space, "phrases in quotes", and a minus
// sign before what must not be there. A quotation mark without its partner ends at the end. Terms without a letter,
// digit or symbol outside punctuation are dropped, so that "-" or "..." alone asks for nothing. Anything is accepted.
func ParseWords(s string, every bool) Words {
	w := Words{Every: every}
	for s = strings.TrimLeftFunc(s, unicode.IsSpace); s != ""; s = strings.TrimLeftFunc(s, unicode.IsSpace) {
		var t Term
		if len(s) > 1 && s[0] == '-' {
			t.Exclude = true
			s = s[1:]
		}
		t.Text, t.Phrase, s = cutTerm(s)
		if strings.ContainsFunc(t.Text, counts) {
			w.Terms = append(w.Terms, t)
		}
	}
	return w
}

// cutTerm takes the first word or phrase off a text that does not start with white space.
func cutTerm(s string) (text string, phrase bool, rest string) {
	if strings.HasPrefix(s, `"`) {
		text, rest, _ = strings.Cut(s[1:], `"`)
		return strings.TrimSpace(text), true, rest
	}
	end := strings.IndexFunc(s, func(r rune) bool { return r == '"' || unicode.IsSpace(r) })
	if end < 0 {
		return s, false, ""
	}
	return s[:end], false, s[end:]
}

// counts reports whether a character can be what a person looks for.
func counts(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsSymbol(r)
}

// query returns what Words stands for.
func (w Words) query() Query {
	var must And
	var words Or
	phrases := false
	for _, t := range w.Terms {
		switch {
		case t.Exclude:
			must = append(must, Not{Text(t.Text)})
		case t.Phrase || w.Every:
			must = append(must, Text(t.Text))
			phrases = true
		default:
			words = append(words, Text(t.Text))
		}
	}
	if len(words) > 0 && !phrases {
		must = append(must, words)
	}
	return must
}
