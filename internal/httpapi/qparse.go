package httpapi

import (
	"strings"
	"time"
	"unicode"

	"mallard/internal/mail"
	"mallard/internal/search"
)

// condition is one condition of a search. Which mailbox a message is in is not
// part of search.Query, so the query is made for each mailbox.
type condition func(b *mail.Mailbox) search.Query

func always(q search.Query) condition { return func(*mail.Mailbox) search.Query { return q } }

func allOf(list []condition) condition {
	if len(list) == 1 {
		return list[0]
	}
	return func(b *mail.Mailbox) search.Query {
		out := make(search.And, 0, len(list))
		for _, c := range list {
			out = append(out, c(b))
		}
		return out
	}
}

func anyOf(list []condition) condition {
	if len(list) == 1 {
		return list[0]
	}
	return func(b *mail.Mailbox) search.Query {
		out := make(search.Or, 0, len(list))
		for _, c := range list {
			out = append(out, c(b))
		}
		return out
	}
}

// undeleted keeps messages out that are marked as deleted.
func undeleted() search.Query { return search.Flags{Unset: mail.Deleted} }

// inMailbox is met in mailboxes that are wanted.
func inMailbox(wanted func(b *mail.Mailbox) bool) condition {
	return func(b *mail.Mailbox) search.Query {
		if wanted(b) {
			return search.All{}
		}
		return search.Or{}
	}
}

// parseQ reads a search as people type it: words, "phrases", key:value, OR, AND,
// parentheses, and a minus sign before what must not be. Anything is accepted;
// what means nothing is dropped. It returns nil when nothing is left.
func parseQ(text string, every bool) condition {
	p := qParser{rest: text, every: every}
	return p.expression(0)
}

// maxQDepth is how deep parentheses may nest.
const maxQDepth = 20

type qParser struct {
	rest  string
	every bool
}

// expression reads alternatives up to a closing parenthesis or the end.
func (p *qParser) expression(depth int) condition {
	var alternatives []condition
	for {
		if c := p.conjunction(depth); c != nil {
			alternatives = append(alternatives, c)
		}
		if !p.keyword("OR") {
			break
		}
	}
	if len(alternatives) == 0 {
		return nil
	}
	return anyOf(alternatives)
}

// conjunction reads conditions that must all be met. Words in a row are one
// full-text query.
func (p *qParser) conjunction(depth int) condition {
	var list []condition
	var words search.Words
	flush := func() {
		if len(words.Terms) > 0 {
			words.Every = p.every
			list = append(list, always(search.And{words, undeleted()}))
			words = search.Words{}
		}
	}
	for {
		p.space()
		if p.keyword("AND") {
			flush()
			continue
		}
		if p.rest == "" || p.atOR() || depth > 0 && p.rest[0] == ')' {
			break
		}
		if p.rest[0] == ')' { // without its partner
			p.rest = p.rest[1:]
			continue
		}
		if term, ok := p.word(); ok {
			if term.Text != "" {
				words.Terms = append(words.Terms, term)
			}
			continue
		}
		if c := p.unary(depth); c != nil {
			list = append(list, c)
		}
	}
	flush()
	if len(list) == 0 {
		return nil
	}
	return allOf(list)
}

func (p *qParser) space() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

func (p *qParser) atOR() bool { return hasKeyword(p.rest, "OR") }

func hasKeyword(s, word string) bool {
	if !strings.HasPrefix(s, word) {
		return false
	}
	return len(s) == len(word) || strings.ContainsAny(s[len(word):len(word)+1], " \t\r\n()")
}

func (p *qParser) keyword(word string) bool {
	p.space()
	if !hasKeyword(p.rest, word) {
		return false
	}
	p.rest = p.rest[len(word):]
	return true
}

// word reads a plain word, maybe with a minus sign. It reports false when
// something else comes next.
func (p *qParser) word() (search.Term, bool) {
	rest, negative := strings.CutPrefix(p.rest, "-")
	if rest == "" || rest[0] == '"' || rest[0] == '(' {
		if rest == "" { // a minus sign alone
			p.rest = ""
			return search.Term{}, true
		}
		return search.Term{}, false
	}
	text, after := cutAtom(rest)
	if key, _, found := strings.Cut(text, ":"); found && isKey(key) || text == "" {
		if text == "" {
			p.rest = rest[1:]
			return search.Term{}, true
		}
		return search.Term{}, false
	}
	p.rest = after
	if !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsSymbol(r) }) {
		return search.Term{}, true
	}
	return search.Term{Text: text, Exclude: negative}, true
}

// cutAtom takes what comes before white space, a quotation mark or a parenthesis.
func cutAtom(s string) (atom, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '"' || r == '(' || r == ')' })
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

// isKey reports whether a word before a colon can be the name of a condition.
func isKey(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != ""
}

// unary reads a phrase, a group or a key with its value.
func (p *qParser) unary(depth int) condition {
	rest, negative := strings.CutPrefix(p.rest, "-")
	p.rest = rest
	var c condition
	switch {
	case p.rest == "":
		return nil
	case p.rest[0] == '(':
		p.rest = p.rest[1:]
		if depth >= maxQDepth {
			return nil
		}
		c = p.expression(depth + 1)
		p.space()
		p.rest = strings.TrimPrefix(p.rest, ")")
	case p.rest[0] == '"':
		c = phrase(p.quoted())
	default:
		c = p.pair()
	}
	if c == nil || !negative {
		return c
	}
	return func(b *mail.Mailbox) search.Query { return search.Not{Query: c(b)} }
}

// quoted reads a quoted text. A quotation mark without its partner ends at the end.
func (p *qParser) quoted() string {
	text, rest, _ := strings.Cut(p.rest[1:], `"`)
	p.rest = rest
	return strings.TrimSpace(text)
}

func phrase(text string) condition {
	if text == "" {
		return nil
	}
	return always(search.And{
		search.Or{search.Body(text), search.Header{Field: "Subject", Contains: text}}, undeleted(),
	})
}

func (p *qParser) pair() condition {
	key, rest, _ := strings.Cut(p.rest, ":")
	p.rest = rest
	key = strings.ToLower(key)
	switch key {
	case "from", "to", "cc", "bcc", "subject", "in":
		p.space()
	}
	var value string
	if strings.HasPrefix(p.rest, `"`) {
		value = p.quoted()
	} else {
		value, p.rest = cutAtom(p.rest)
	}
	if value == "" {
		return nil
	}
	if c := textCondition(key, value); c != nil {
		return c
	}
	if c := placeCondition(key, value); c != nil {
		return c
	}
	return factCondition(key, value)
}

func header(field, value string) search.Query { return search.Header{Field: field, Contains: value} }

// textCondition is about what stands in the header.
func textCondition(key, value string) condition {
	switch key {
	case "from", "subject", "cc", "bcc":
		return always(header(upperFirst(key), value))
	case "to":
		return always(search.Or{header("To", value), header("Cc", value), header("Bcc", value)})
	}
	return nil
}

// placeCondition is about where a message is.
func placeCondition(key, value string) condition {
	switch key {
	case "in":
		return inMailbox(func(b *mail.Mailbox) bool { return namesMailbox(value, b) })
	case "mailbox":
		var id mail.MailboxID
		if id.UnmarshalText([]byte(value)) == nil {
			return inMailbox(func(b *mail.Mailbox) bool { return b.ID == id })
		}
	case "thread":
		var id mail.ThreadID
		if id.UnmarshalText([]byte(value)) == nil {
			return always(search.ThreadID(id))
		}
	case "id":
		if namedPatterns["uidlist"].match(value) {
			return always(search.UIDs(parseUIDList(value)))
		}
	case "searchable":
		if yes, _ := parseBool(value); yes {
			return searchableMailbox()
		}
	}
	return nil
}

// searchableMailbox is met outside of spam and deleted mail.
func searchableMailbox() condition {
	return inMailbox(func(b *mail.Mailbox) bool { return b.SpecialUse != mail.UseJunk && b.SpecialUse != mail.UseTrash })
}

// namesMailbox reports whether a person means this mailbox: by its id, its path,
// or what it is for.
func namesMailbox(name string, b *mail.Mailbox) bool {
	if name == b.ID.String() || strings.EqualFold(name, b.Path) {
		return true
	}
	switch strings.ToLower(name) {
	case "spam", "junk":
		return b.SpecialUse == mail.UseJunk
	case "sent":
		return b.SpecialUse == mail.UseSent
	case "trash", "deleted":
		return b.SpecialUse == mail.UseTrash
	case "drafts":
		return b.SpecialUse == mail.UseDrafts
	}
	return false
}

// factCondition is about dates, sizes and flags.
func factCondition(key, value string) condition {
	switch key {
	case "after", "newer", "datestart", "before", "older", "dateend":
		return dateCondition(key, value)
	case "minsize", "maxsize":
		n, ok := parseNumber(value)
		if !ok || n < 0 || n > maxSafe {
			return nil
		}
		if key == "minsize" {
			return always(search.Larger(int64(n) - 1))
		}
		return always(search.Smaller(int64(n) + 1))
	case "has":
		if value = strings.ToLower(value); value == "attachment" || value == "attachments" {
			return always(search.HasAttachment{})
		}
	case "is":
		return flagCondition(map[string]string{"starred": "flagged", "read": "seen", "unread": "unseen"}[strings.ToLower(value)])
	case "attachments", "flagged", "seen", "unseen":
		if yes, _ := parseBool(value); yes {
			return flagCondition(key)
		}
	}
	return nil
}

func dateCondition(key, value string) condition {
	t, ok := parseTime(value)
	if !ok {
		return nil
	}
	switch key {
	case "after", "newer", "datestart":
		return always(search.Arrived{From: t})
	}
	return always(search.Arrived{To: t})
}

func flagCondition(name string) condition {
	switch name {
	case "attachments":
		return always(search.HasAttachment{})
	case "flagged":
		return always(search.Flags{Set: mail.Flagged})
	case "seen":
		return always(search.Flags{Set: mail.Seen, Unset: mail.Deleted})
	case "unseen":
		return always(search.Flags{Unset: mail.Seen | mail.Deleted})
	}
	return nil
}

// arrived is a condition for dates; zero times are no bounds.
func arrived(from, to *time.Time) condition {
	var a search.Arrived
	setIf(&a.From, from)
	setIf(&a.To, to)
	return always(a)
}
