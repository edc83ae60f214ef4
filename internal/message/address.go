package message

import "strings"

// AddressKind tells mailboxes from the marks of a group.
type AddressKind uint8

// A group (RFC 5322 3.4) is a GroupStart, whose Name is the group's, the
// members, and a GroupEnd.
const (
	Mailbox AddressKind = iota
	GroupStart
	GroupEnd
)

// Address is an entry of an address list. The text of a damaged address is
// never lost: what is no address is the Name.
type Address struct {
	Kind AddressKind
	// Name is the display name (or a trailing comment), quoting removed.
	Name string
	// Route is the obsolete source route "@a,@b" (RFC 5322 4.4).
	Route string
	// Mailbox is the local part, quoting removed.
	Mailbox string
	// Host is the domain as written, empty if there is none.
	Host string
}

// Addr is Mailbox@Host, or the one half that there is.
func (a Address) Addr() string {
	switch {
	case a.Host == "":
		return a.Mailbox
	case a.Mailbox == "":
		return a.Host
	}
	return a.Mailbox + "@" + a.Host
}

// ParseAddressList reads the value of an address field (RFC 5322 3.4, with the
// obsolete forms) and takes what mailers write beyond it: semicolons between
// addresses, missing brackets, 8-bit names, encoded words with specials in
// them. Names are not decoded. It never fails and gives at most
// DefaultLimits().MaxAddresses entries.
func ParseAddressList(value []byte) []Address {
	list, _ := appendAddresses(nil, string(value), DefaultLimits().MaxAddresses)
	return list
}

// addressParser reads one list.
type addressParser struct {
	s       string
	list    []Address
	room    int // entries that may still be appended
	inGroup bool

	words   []word // of the entry that is being read
	comment string
	at      bool // words has an unquoted '@'
	angle   bool
	addr    Address // from the angle brackets
	buf     [8]word
}

// word is a piece of an entry outside of brackets.
type word struct {
	text   string
	quoted bool
	spaced bool // white space or a comment before it
}

func appendAddresses(list []Address, value string, room int) (out []Address, more bool) {
	a := addressParser{s: unfold(value), list: list, room: room}
	a.words = a.buf[:0]
	for a.s != "" && a.room > 0 {
		a.next()
	}
	more = a.s != ""
	a.finish()
	if a.inGroup {
		a.list = append(a.list, Address{Kind: GroupEnd})
	}
	return a.list, more
}

// next reads one token.
func (a *addressParser) next() {
	trimmed := strings.TrimLeft(a.s, " \t\r\n")
	spaced := len(trimmed) != len(a.s)
	a.s = trimmed
	if a.s == "" {
		return
	}
	switch a.s[0] {
	case '(':
		var c string
		c, a.s = comment(a.s)
		if c = strings.TrimSpace(c); c != "" {
			a.comment = c
		}
	case '"':
		var q string
		q, a.s = quotedString(a.s)
		a.words = append(a.words, word{q, true, spaced})
	case '<':
		a.readAngle()
	case ',':
		a.s = a.s[1:]
		a.finish()
	case ';':
		a.s = a.s[1:]
		a.finish()
		if a.inGroup {
			a.inGroup = false
			a.list = append(a.list, Address{Kind: GroupEnd})
		}
	case ':':
		a.s = a.s[1:]
		if a.inGroup || a.angle || a.at || len(a.words) == 0 {
			a.words = append(a.words, word{":", false, spaced})
			return
		}
		name := joinWords(a.words)
		a.clear()
		a.inGroup = true
		a.append(Address{Kind: GroupStart, Name: name})
	default:
		n := atomLen(a.s)
		a.at = a.at || a.s[0] == '@'
		a.words = append(a.words, word{a.s[:n], false, spaced})
		a.s = a.s[n:]
	}
}

// atomLen is the length of the atom, with its dots and '@', at the start of s.
func atomLen(s string) int {
	if n := encodedWordLen(s); n > 0 {
		return n
	}
	if s[0] == '@' || s[0] == '>' || s[0] == ')' {
		return 1
	}
	if s[0] == '[' {
		if i := strings.IndexByte(s, ']'); i > 0 {
			return i + 1
		}
	}
	i := 1
	for i < len(s) && strings.IndexByte(" \t\r\n()\"<>,;:@", s[i]) < 0 {
		i++
	}
	return i
}

// maxAddressWord is the longest encoded word in an address list that is taken
// as one, in octets.
const maxAddressWord = 1024

// encodedWordLen is the length of the encoded word at the start of s, or 0.
// Inside of one, specials have no meaning.
func encodedWordLen(s string) int {
	s = s[:min(len(s), maxAddressWord)]
	if len(s) < 8 || s[0] != '=' || s[1] != '?' {
		return 0
	}
	charset := strings.IndexByte(s[2:], '?') + 2
	if charset <= 2 || charset+3 >= len(s) || s[charset+2] != '?' {
		return 0
	}
	end := strings.Index(s[charset+3:], "?=")
	if end < 0 {
		return 0
	}
	end += charset + 3
	if strings.ContainsAny(s[2:end], " \t<>") {
		return 0
	}
	return end + 2
}

// readAngle reads <route:local@domain>, or up to the next separator if the
// bracket is not closed.
func (a *addressParser) readAngle() {
	var s string
	s, a.s = angleContent(a.s[1:])
	a.angle = true
	if t := skipCFWS(s); t != "" && t[0] == '@' {
		if colon := strings.IndexByte(t, ':'); colon > 0 {
			a.addr.Route = removeWSP(t[:colon])
			s = t[colon+1:]
		}
	}
	var b strings.Builder
	at := -1 // the last unquoted '@' in b
	for s != "" {
		switch c := s[0]; c {
		case '(':
			_, s = comment(s)
		case '"':
			var q string
			q, s = quotedString(s)
			b.WriteString(q)
		case ' ', '\t', '\r', '\n':
			s = s[1:]
		case '@':
			at = b.Len()
			b.WriteByte(c)
			s = s[1:]
		default:
			n := 1
			for n < len(s) && strings.IndexByte(" \t\r\n(\"@", s[n]) < 0 {
				n++
			}
			b.WriteString(s[:n])
			s = s[n:]
		}
	}
	a.addr.Mailbox = b.String()
	if at >= 0 {
		a.addr.Mailbox, a.addr.Host = a.addr.Mailbox[:at], a.addr.Mailbox[at+1:]
	}
}

// angleContent splits s, which follows a '<', at its '>'. If another '<' comes
// first, or none at all, the content ends at the first separator.
func angleContent(s string) (content, rest string) {
	sep := -1
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '>':
			return s[:i], s[i+1:]
		case c == '<':
			if sep < 0 {
				sep = i
			}
			return s[:sep], s[sep:]
		case (c == ',' || c == ';') && sep < 0:
			sep = i
		}
	}
	if sep < 0 {
		return s, ""
	}
	return s[:sep], s[sep:]
}

func removeWSP(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	return strings.Join(strings.Fields(s), "")
}

func (a *addressParser) clear() {
	a.words = a.words[:0]
	a.comment, a.at, a.angle, a.addr = "", false, false, Address{}
}

func (a *addressParser) append(addr Address) {
	a.list = append(a.list, addr)
	a.room--
}

// finish ends an entry.
func (a *addressParser) finish() {
	if !a.angle && len(a.words) == 0 && (a.comment == "" || a.afterGroup()) {
		a.clear()
		return
	}
	switch {
	case a.angle:
		a.addr.Name = joinWords(a.words)
	case a.at:
		a.bareAddress()
	case len(a.words) == 1 && !a.words[0].quoted && a.comment == "" && encodedWordLen(a.words[0].text) == 0:
		a.addr.Mailbox = a.words[0].text // a user of this system
	default:
		a.addr.Name = joinWords(a.words)
	}
	if a.addr.Name == "" {
		a.addr.Name = a.comment
	}
	a.append(a.addr)
	a.clear()
}

// afterGroup reports whether a comment that stands alone is one on a group.
func (a *addressParser) afterGroup() bool {
	n := len(a.list)
	return a.inGroup || n > 0 && a.list[n-1].Kind == GroupEnd
}

// bareAddress reads local@domain without brackets. Words before it are taken
// for a name.
func (a *addressParser) bareAddress() {
	at := len(a.words) - 1
	for a.words[at].quoted || a.words[at].text != "@" {
		at--
	}
	first := at
	for first > 0 && (first == at || !a.words[first].spaced || dotBetween(a.words[first-1], a.words[first])) {
		first--
	}
	var local, host strings.Builder
	for _, w := range a.words[first:at] {
		local.WriteString(w.text)
	}
	rest := at + 1
	for rest < len(a.words) && (rest == at+1 || !a.words[rest].spaced || dotBetween(a.words[rest-1], a.words[rest])) {
		host.WriteString(a.words[rest].text)
		rest++
	}
	a.addr.Mailbox, a.addr.Host = local.String(), host.String()
	a.addr.Name = joinWords(append(append([]word{}, a.words[:first]...), a.words[rest:]...))
}

// dotBetween reports whether white space between two words is that of the
// obsolete "a . b".
func dotBetween(x, y word) bool {
	return !x.quoted && strings.HasSuffix(x.text, ".") || !y.quoted && strings.HasPrefix(y.text, ".")
}

// joinWords makes a phrase of words.
func joinWords(words []word) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0].text
	}
	var b strings.Builder
	for i, w := range words {
		if i > 0 && (w.spaced || w.quoted || words[i-1].quoted) {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return b.String()
}
