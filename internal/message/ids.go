package message

import "strings"

// maxReferences is how many message ids of one field are kept: the first and
// the last ones, which are what threads need.
const maxReferences = 256

// MessageIDs lists the message ids of a References or In-Reply-To value, with
// their angle brackets. Phrases and comments between them (RFC 5322 4.5.4) are
// dropped; if no brackets are there at all, each word counts as an id and gets
// them.
func MessageIDs(value string) []string {
	var ids []string
	s := value
	for {
		open := strings.IndexByte(s, '<')
		if open < 0 {
			break
		}
		s = s[open:]
		end := strings.IndexAny(s[1:], "<>") + 1
		if end == 0 {
			break
		}
		if s[end] == '<' { // the bracket was not closed
			s = s[end:]
			continue
		}
		if id := removeWSP(s[1:end]); id != "" {
			ids = appendID(ids, "<"+id+">")
		}
		s = s[end+1:]
	}
	if ids == nil && strings.IndexByte(value, '<') < 0 {
		for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r <= ' ' || r == ',' || r == '>' || r == ';' }) {
			if strings.IndexByte(word, '@') > 0 {
				ids = appendID(ids, "<"+word+">")
			}
		}
	}
	return ids
}

func appendID(ids []string, id string) []string {
	if len(ids) == maxReferences {
		copy(ids[1:], ids[2:])
		ids = ids[:maxReferences-1]
	}
	return append(ids, id)
}
