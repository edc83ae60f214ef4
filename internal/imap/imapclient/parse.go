package imapclient

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"unicode/utf8"
)

// response parses the response whose first line is current.
func (c *Client) response() *Response {
	l := &c.lex
	r := c.newResponse()
	switch {
	case l.accept('+'):
		r.Tag = "+"
		c.continuation(r)
	case l.accept('*'):
		r.Tag = "*"
		l.sp()
		c.untagged(r)
	default:
		r.Tag = l.tag()
		l.sp()
		r.Name = strings.ToUpper(l.atom())
		if r.Name != "OK" && r.Name != "NO" && r.Name != "BAD" {
			l.failf("unknown tagged response %s", r.Name)
		}
		l.sp()
		l.respText(r)
	}
	l.end()
	return r
}

// tag takes the tag of a response.
func (l *lexer) tag() string {
	start := l.pos
	for c := l.peek(); c != '+' && (isAtomByte(c) || c == ']'); c = l.peek() {
		l.pos++
	}
	if l.pos == start {
		l.failf("expected a tag")
	}
	return string(l.line[start:l.pos])
}

// continuation parses what follows "+": text or base64, which may be empty.
func (c *Client) continuation(r *Response) {
	l := &c.lex
	l.sp()
	if l.pos == len(l.line) {
		return
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(string(l.line[l.pos:])); err == nil {
		r.Text = string(l.rest())
		return
	}
	l.respText(r)
}

// respText parses an optional code and a text, which is not empty.
func (l *lexer) respText(r *Response) {
	if l.peek() == '[' {
		r.Code = l.code()
		l.sp()
	}
	text := l.rest()
	if len(text) == 0 {
		l.failf("response has no text")
	}
	for _, b := range text {
		if b < ' ' || b == 0x7f {
			l.failf("control character in text")
		}
		if b >= 0x80 && (!l.utf8 || !utf8.Valid(text)) {
			l.failf("8-bit octets in text")
			break
		}
	}
	r.Text = string(text)
}

// plainCodes are the response codes that have no arguments.
const plainCodes = " ALERT ALREADYEXISTS AUTHENTICATIONFAILED AUTHORIZATIONFAILED CANNOT CLIENTBUG CLOSED " +
	"COMPRESSIONACTIVE CONTACTADMIN CORRUPTION EXPIRED EXPUNGEISSUED HASCHILDREN INUSE LIMIT NOMODSEQ " +
	"NONEXISTENT NOPERM NOTSAVED OVERQUOTA PARSE PRIVACYREQUIRED READ-ONLY READ-WRITE SERVERBUG TOOBIG " +
	"TRYCREATE UIDNOTSTICKY UNAVAILABLE UNKNOWN-CTE USEATTR "

// code parses a response code with its brackets.
func (l *lexer) code() *Code {
	l.expect('[')
	code := &Code{Name: strings.ToUpper(l.atom())}
	start := l.pos
	if strings.Contains(plainCodes, " "+code.Name+" ") {
		l.expect(']')
		return code
	}
	switch code.Name {
	case "UIDNEXT", "UIDVALIDITY", "UNSEEN":
		l.sp()
		code.Number = uint64(l.nz32())
	case "HIGHESTMODSEQ":
		l.sp()
		code.Number = l.modseq()
	case "PERMANENTFLAGS":
		l.sp()
		code.Atoms = l.flags(true)
	case "CAPABILITY":
		code.Atoms = l.capabilities(']')
	case "BADCHARSET":
		if l.accept(' ') {
			l.list(func() { code.Atoms = append(code.Atoms, l.atom()) })
		}
	case "APPENDUID":
		l.sp()
		code.Number = uint64(l.nz32())
		l.sp()
		code.Dest = l.codeSet()
	case "COPYUID":
		l.sp()
		code.Number = uint64(l.nz32())
		l.sp()
		code.Source = l.codeSet()
		l.sp()
		code.Dest = l.codeSet()
		if setLen(code.Source) != setLen(code.Dest) {
			l.failf("COPYUID sets differ in length")
		}
	case "MODIFIED":
		l.sp()
		code.Source = l.codeSet()
	default:
		l.unknownCode()
	}
	if l.ok() {
		code.Args = strings.TrimPrefix(string(l.line[start:l.pos]), " ")
	}
	l.expect(']')
	return code
}

// codeSet takes a set that ends at a space or bracket.
func (l *lexer) codeSet() []rng {
	start := l.pos
	for c := l.peek(); c != ' ' && c != ']' && c != 0; c = l.peek() {
		l.pos++
	}
	set, err := parseSet(l.line[start:l.pos])
	if l.err == nil && err != nil {
		l.failf("invalid number set in response code")
	}
	return set
}

// unknownCode takes the arguments of a code without known ones.
func (l *lexer) unknownCode() {
	if l.peek() == ']' {
		return
	}
	l.sp()
	n := bytes.IndexByte(l.line[min(l.pos, len(l.line)):], ']')
	if n <= 0 {
		l.failf("response code is not closed")
		return
	}
	l.pos += n
}

// capabilities takes atoms, each after a space, up to the byte end or the end
// of the line.
func (l *lexer) capabilities(end byte) []string {
	var caps []string
	for l.ok() && l.peek() != end {
		l.sp()
		name := l.atom()
		if slices.Contains(caps, name) {
			l.failf("capability %s is listed twice", name)
		}
		caps = append(caps, name)
	}
	return caps
}

// untagged parses what follows "* ".
func (c *Client) untagged(r *Response) {
	l := &c.lex
	if b := l.peek(); b >= '0' && b <= '9' {
		c.numbered(r)
		return
	}
	start := l.pos
	for b := l.peek(); b > ' ' && b < 0x7f && b != '('; b = l.peek() {
		l.pos++
	}
	r.Name = strings.ToUpper(string(l.line[start:l.pos]))
	switch r.Name {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		l.sp()
		l.respText(r)
	case "CAPABILITY":
		r.Atoms = l.capabilities(0)
		if !slices.Contains(r.Atoms, "IMAP4rev1") && !slices.Contains(r.Atoms, "IMAP4rev2") {
			l.failf("CAPABILITY without IMAP4rev1")
		}
	case "ENABLED":
		r.Atoms = l.capabilities(0)
	case "FLAGS":
		l.sp()
		r.Atoms = l.flags(false)
	case "LIST", "LSUB":
		r.List = l.listData()
	case "STATUS":
		r.Status = l.statusData()
	case "SEARCH", "SORT":
		r.Search = l.searchData()
	case "ESEARCH":
		r.ESearch = l.esearchData()
	case "VANISHED":
		r.Gone = l.vanished()
	case "ID", "NAMESPACE", "THREAD":
		r.Values = l.values(r.Name)
	case "QUOTA":
		r.Quota = l.quota()
	case "QUOTAROOT":
		r.Root = l.quotaRoot()
	default:
		l.failf("unknown response %q", r.Name)
	}
	c.check(r)
}

// numbered parses "n EXISTS" and the like.
func (c *Client) numbered(r *Response) {
	l := &c.lex
	r.Number = uint32(l.number(32))
	l.sp()
	switch {
	case l.word("EXISTS"):
		r.Name = "EXISTS"
	case l.word("RECENT"):
		r.Name = "RECENT"
	case l.word("EXPUNGE"):
		r.Name = "EXPUNGE"
	case l.word("FETCH"):
		r.Name = "FETCH"
	default:
		l.failf("unknown response")
	}
	c.check(r)
	if r.Name == "FETCH" {
		l.sp()
		c.fetch(r)
		c.wantAnnounced(r)
	}
}

// word takes a word in upper case if it is next.
func (l *lexer) word(w string) bool {
	if !l.ok() || !bytes.HasPrefix(l.line[l.pos:], []byte(w)) {
		return false
	}
	if end := l.pos + len(w); end < len(l.line) && isAtomByte(l.line[end]) {
		return false
	}
	l.pos += len(w)
	return true
}

func (l *lexer) listData() *List {
	d := &List{}
	l.sp()
	d.Attributes = l.flags(false)
	for _, a := range d.Attributes {
		if !strings.HasPrefix(a, `\`) {
			l.failf("mailbox attribute %s without backslash", a)
		}
	}
	l.sp()
	if !l.null() {
		if d.Delimiter = string(l.quoted()); len(d.Delimiter) != 1 {
			l.failf("hierarchy separator is not one character")
		}
	}
	l.sp()
	d.Mailbox = l.mailbox()
	if l.accept(' ') {
		l.list(func() {
			d.Extended = append(d.Extended, Value{Kind: KindString, Str: l.astr()})
			l.sp()
			d.Extended = append(d.Extended, l.value())
		})
	}
	return d
}

func (l *lexer) statusData() *Status {
	d := &Status{Numbers: map[string]uint64{}}
	l.sp()
	d.Mailbox = l.mailbox()
	l.sp()
	l.list(func() {
		name := l.atom()
		l.sp()
		if _, twice := d.Numbers[name]; twice {
			l.failf("status item %s is sent twice", name)
		}
		switch name {
		case "MESSAGES", "RECENT", "UNSEEN", "DELETED":
			d.Numbers[name] = l.number(32)
		case "UIDNEXT", "UIDVALIDITY":
			d.Numbers[name] = uint64(l.nz32())
		case "HIGHESTMODSEQ", "SIZE", "DELETED-STORAGE":
			d.Numbers[name] = l.number(63)
		case "APPENDLIMIT":
			if !l.null() {
				d.Numbers[name] = l.number(63)
			}
		case "MAILBOXID":
			l.expect('(')
			d.MailboxID = l.atom()
			l.expect(')')
		default:
			l.failf("unknown status item %s", name)
		}
	})
	return d
}

func (l *lexer) searchData() *Search {
	d := &Search{}
	for l.ok() && l.accept(' ') {
		if l.accept('(') {
			if !l.word("MODSEQ") || len(d.Numbers) == 0 {
				l.failf("MODSEQ expected behind numbers")
			}
			l.sp()
			d.ModSeq = l.modseq()
			l.expect(')')
			break
		}
		d.Numbers = append(d.Numbers, l.nz32())
	}
	return d
}

func (l *lexer) vanished() *Vanished {
	d := &Vanished{}
	l.sp()
	if l.accept('(') {
		if d.Earlier = l.word("EARLIER"); !d.Earlier {
			l.failf("expected EARLIER")
		}
		l.expect(')')
		l.sp()
	}
	d.UIDs = l.numSet()
	return d
}

func (l *lexer) esearchData() *ESearch {
	d := &ESearch{}
	if l.accept(' ') && l.accept('(') {
		if !l.word("TAG") {
			l.failf("expected TAG")
		}
		l.sp()
		d.Tag = l.str()
		l.expect(')')
	}
	if !l.accept(' ') {
		return d
	}
	if l.word("UID") {
		d.UID = true
		if !l.accept(' ') {
			return d
		}
	}
	for l.ok() {
		l.esearchItem(d)
		if !l.accept(' ') {
			break
		}
	}
	return d
}

func (l *lexer) esearchItem(d *ESearch) {
	name := l.atom()
	l.sp()
	switch name {
	case "MIN":
		d.Min = l.nz32()
	case "MAX":
		d.Max = l.nz32()
	case "ALL":
		d.HasAll, d.All = true, l.numSet()
	case "COUNT":
		n := uint32(l.number(32))
		d.Count = &n
	case "MODSEQ":
		d.ModSeq = l.modseq()
	case "PARTIAL":
		l.expect('(')
		d.HasRange, d.PartialRange = true, string(l.token())
		l.sp()
		if !l.null() {
			d.Partial = l.numSet()
		}
		l.expect(')')
	default:
		l.failf("unknown result %s", name)
	}
}

// values takes the data of responses that are kept as values.
func (l *lexer) values(name string) []Value {
	var vs []Value
	if name == "THREAD" {
		if l.accept(' ') {
			for l.ok() && l.peek() == '(' {
				vs = append(vs, l.thread())
			}
		}
		return vs
	}
	for l.ok() && l.accept(' ') {
		vs = append(vs, l.namespaceOrID(name))
	}
	if name == "NAMESPACE" && len(vs) != 3 || name == "ID" && len(vs) != 1 {
		l.failf("%s has the wrong number of values", name)
	}
	return vs
}

// namespaceOrID takes NIL, a list of strings, or namespaces side by side.
func (l *lexer) namespaceOrID(name string) Value {
	if l.peek() != '(' {
		if !l.null() {
			l.failf("expected NIL or a list")
		}
		return Value{}
	}
	if name == "ID" {
		v := l.value()
		if len(v.List)%2 != 0 {
			l.failf("ID has a field without value")
		}
		return v
	}
	v := Value{Kind: KindList}
	l.expect('(')
	for l.ok() && l.peek() == '(' {
		v.List = append(v.List, l.value())
	}
	l.expect(')')
	return v
}

// thread takes a thread: numbers with spaces between, then threads side by
// side.
func (l *lexer) thread() Value {
	v := Value{Kind: KindList}
	l.expect('(')
	if l.depth++; l.depth > maxDepth {
		l.failf("nested too deep")
	}
	for l.ok() && l.peek() != ')' {
		if l.peek() == '(' {
			v.List = append(v.List, l.thread())
			continue
		}
		v.List = append(v.List, Value{Kind: KindNumber, Str: string(l.token())})
		if !l.accept(' ') {
			break
		}
	}
	l.depth--
	l.expect(')')
	return v
}

func (l *lexer) quota() *Quota {
	d := &Quota{Usage: map[string][2]uint64{}}
	l.sp()
	d.Root = l.astr()
	l.sp()
	l.list(func() {
		name := l.atom()
		l.sp()
		used := l.number(63)
		l.sp()
		d.Usage[name] = [2]uint64{used, l.number(63)}
	})
	return d
}

func (l *lexer) quotaRoot() *QuotaRoot {
	d := &QuotaRoot{}
	l.sp()
	d.Mailbox = l.mailbox()
	for l.ok() && l.accept(' ') {
		d.Roots = append(d.Roots, l.astr())
	}
	return d
}
