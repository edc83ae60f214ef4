package imapwire

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// parser reads the arguments of one command. Its methods return a zero value
// once something has failed; err is set by the first failure and stays. Loops
// ask ok.
type parser struct {
	r    *Reader
	line []byte // the current line, without its end
	pos  int
	err  error

	tag      string
	name     string // of the command, once it is known
	uid      bool   // the UID form of the command
	lineLeft int
	litLeft  int64
	elems    int
	depth    int
	decode   func(string) (string, error) // charset of SEARCH
}

func (p *parser) ok() bool { return p.err == nil }

func (p *parser) fail(kind Kind, code Code, text string) {
	if p.err == nil {
		p.err = &Error{Tag: p.tag, Command: p.name, Kind: kind, Code: code, Text: text}
	}
}

func (p *parser) bad(text string) { p.fail(Bad, "", text) }

func (p *parser) badf(format string, args ...any) {
	if p.err == nil {
		p.bad(fmt.Sprintf(format, args...))
	}
}

// expected reports what was missing and where.
func (p *parser) expected(what string) {
	if p.err != nil {
		return
	}
	if p.atEnd() {
		p.bad("Not enough arguments")
		return
	}
	p.badf("Expected %.64s at position %d", what, p.pos+1)
}

// nextLine makes the next line of the stream the current one.
func (p *parser) nextLine() error {
	line, err := p.r.readLine(p.lineLeft)
	if err == errLineTooLong {
		return p.lineTooLong(line)
	}
	if err != nil {
		return err
	}
	p.lineLeft -= len(line)
	p.line, p.pos = line, 0
	switch {
	case bytes.IndexByte(line, 0) >= 0:
		p.findTag()
		p.bad("NUL in command")
	case bytes.IndexByte(line, '\r') >= 0:
		p.findTag()
		p.bad("Bare CR in command")
	}
	return nil
}

// lineTooLong skips a line and makes a refusal of the command.
func (p *parser) lineTooLong(start []byte) error {
	p.line, p.pos = start, 0
	p.findTag()
	tail, _, err := p.r.discardLine(p.r.opt.Limits.MaxDiscard)
	if err != nil {
		return err
	}
	p.line, p.pos = tail, 0
	p.bad("Command line too long")
	return nil
}

// findTag learns the tag of a command that is refused before it is parsed.
func (p *parser) findTag() {
	if p.tag != "*" {
		return
	}
	n := 0
	for n < len(p.line) && isTagChar(p.line[n]) {
		n++
	}
	if n > 0 && n <= maxTag && n < len(p.line) && p.line[n] == ' ' {
		p.tag = string(p.line[:n])
	}
}

// peek returns the next byte, 0 at the end of the line or after an error.
func (p *parser) peek() byte {
	if p.err == nil && p.pos < len(p.line) {
		return p.line[p.pos]
	}
	return 0
}

// atEnd reports whether only spaces are left of the line.
func (p *parser) atEnd() bool {
	return len(bytes.TrimRight(p.line[p.pos:], " ")) == 0
}

// end wants the end of the command. Trailing spaces are forgiven.
func (p *parser) end() {
	if p.ok() && !p.atEnd() {
		p.badf("Too many arguments: unexpected data at position %d", p.pos+1)
	}
}

// accept takes c when it is next.
func (p *parser) accept(c byte) bool {
	if p.peek() != c || c == 0 {
		return false
	}
	p.pos++
	return true
}

func (p *parser) expect(c byte) {
	if !p.accept(c) {
		p.expected(string(c))
	}
}

// spaces skips spaces, as many as there are.
func (p *parser) spaces() {
	for p.accept(' ') {
	}
}

// sp wants a space and forgives more of them.
func (p *parser) sp() {
	if !p.accept(' ') {
		p.expected("a space")
	}
	p.spaces()
}

// more reports whether another argument follows, and goes to it.
func (p *parser) more() bool {
	if !p.ok() || p.atEnd() {
		return false
	}
	p.sp()
	return p.ok()
}

// element counts one element of a list against the limit.
func (p *parser) element() {
	if p.elems++; p.elems > p.r.opt.Limits.MaxElements {
		p.fail(No, CodeLimit, "Too many elements in command")
	}
}

// enter goes one level of nesting down; leave is its counterpart.
func (p *parser) enter() {
	if p.depth++; p.depth > p.r.opt.Limits.MaxNesting {
		p.fail(No, CodeLimit, "Command is nested too deep")
	}
}

func (p *parser) leave() { p.depth-- }

// list reads a parenthesised list; item reads one element. It returns the
// number of elements. Spaces inside the parentheses are forgiven.
func (p *parser) list(item func()) int {
	p.expect('(')
	p.enter()
	p.spaces()
	n := 0
	for p.ok() && !p.accept(')') {
		if n > 0 && (p.pos == 0 || p.line[p.pos-1] != ' ') {
			p.expected("a space or )")
			break
		}
		p.element()
		item()
		n++
		p.spaces()
	}
	p.leave()
	return n
}

// word reads a protocol keyword and returns it in upper case. It is valid
// until the next literal.
func (p *parser) word() []byte {
	start := p.pos
	for p.ok() && p.pos < len(p.line) && isWordChar(p.line[p.pos]) {
		if c := p.line[p.pos]; c >= 'a' && c <= 'z' {
			p.line[p.pos] = c - 'a' + 'A'
		}
		p.pos++
	}
	if p.pos == start {
		p.expected("a keyword")
		return nil
	}
	return p.line[start:p.pos]
}

// wordIs takes the next word if it is the one given, in upper case.
func (p *parser) wordIs(w string) bool {
	end := p.pos + len(w)
	if !p.ok() || end > len(p.line) || (end < len(p.line) && isWordChar(p.line[end])) ||
		!strings.EqualFold(string(p.line[p.pos:end]), w) {
		return false
	}
	p.pos = end
	return true
}

// run reads one or more bytes of a class.
func (p *parser) run(class func(byte) bool, what string) string {
	start := p.pos
	for p.ok() && p.pos < len(p.line) && class(p.line[p.pos]) {
		p.pos++
	}
	if p.pos == start {
		p.expected(what)
		return ""
	}
	return string(p.line[start:p.pos])
}

func (p *parser) atom() string { return p.run(isAtomChar, "an atom") }

// astring reads an atom, a quoted string or a literal.
func (p *parser) astring() string {
	if c := p.peek(); c == '"' || c == '{' {
		return p.str()
	}
	return p.run(isAStringChar, "a string")
}

// str reads a quoted string or a literal.
func (p *parser) str() string {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '{':
		return p.literal()
	}
	p.expected("a string")
	return ""
}

// nstring reads a string or NIL, for which ok is false.
func (p *parser) nstring() (s string, ok bool) {
	if p.wordIs("NIL") {
		return "", false
	}
	s = p.str()
	return s, p.ok()
}

// quoted reads a quoted string. Octets above 127 are accepted whether UTF-8
// was enabled or not.
func (p *parser) quoted() string {
	p.expect('"')
	start := p.pos
	if !p.ok() {
		return ""
	}
	n := bytes.IndexAny(p.line[start:], `"\`)
	if n >= 0 && p.line[start+n] == '"' {
		p.pos = start + n + 1
		return string(p.line[start : start+n])
	}
	var sb strings.Builder
	for p.pos < len(p.line) {
		c := p.line[p.pos]
		p.pos++
		switch c {
		case '"':
			return sb.String()
		case '\\':
			if c = p.peek(); c != '"' && c != '\\' {
				p.badf("Invalid escape in quoted string at position %d", p.pos+1)
				return ""
			}
			p.pos++
		}
		sb.WriteByte(c)
	}
	p.bad("Quoted string is not closed")
	return ""
}

// literalHeader is an announced literal.
type literalHeader struct {
	size    int64
	nonSync bool
	binary  bool // literal8 of RFC 3516
}

// literalHeader reads "{n}", "{n+}", or with a tilde, at the end of a line.
func (p *parser) literalHeader() literalHeader {
	var h literalHeader
	h.binary = p.accept('~')
	p.expect('{')
	start := p.pos
	for p.ok() && p.pos < len(p.line) && isDigit(p.line[p.pos]) {
		p.pos++
	}
	digits := p.line[start:p.pos]
	h.nonSync = p.accept('+')
	if !p.accept('}') || len(digits) == 0 || p.pos != len(p.line) {
		p.badf("Invalid literal at position %d", start)
		return h
	}
	h.size = parseSize(digits)
	if h.nonSync && h.size > p.r.opt.Limits.MaxNonSync {
		p.fail(Bad, CodeTooBig, "Non-synchronising literal too large")
	}
	return h
}

// literal reads a literal into memory and goes on to the line behind it.
func (p *parser) literal() string {
	h := p.literalHeader()
	if h.size > p.litLeft {
		p.fail(No, CodeTooBig, "Literal too large")
	}
	if !p.ok() {
		return ""
	}
	p.litLeft -= h.size
	if !h.nonSync && !p.goAhead() {
		return ""
	}
	data := make([]byte, h.size)
	if err := p.r.readFull(data); err != nil {
		p.err = err
		return ""
	}
	p.afterLiteral()
	if bytes.IndexByte(data, 0) >= 0 {
		p.bad("NUL in literal")
		return ""
	}
	return string(data)
}

// goAhead lets the client send a synchronising literal.
func (p *parser) goAhead() bool {
	if p.r.opt.Continue == nil {
		p.bad("Synchronising literals are not possible here")
		return false
	}
	if err := p.r.opt.Continue(); err != nil {
		p.err = err
	}
	return p.ok()
}

// afterLiteral goes on to the line behind a literal that was read.
func (p *parser) afterLiteral() {
	p.line, p.pos = nil, 0
	if err := p.nextLine(); err != nil {
		p.err = err
	}
}

// number reads a number of at most limit.
func (p *parser) number(limit uint64) uint64 {
	start := p.pos
	var n uint64
	for p.ok() && p.pos < len(p.line) && isDigit(p.line[p.pos]) {
		d := uint64(p.line[p.pos] - '0')
		if n > (limit-d)/10 {
			p.badf("Number too large at position %d", start+1)
			return 0
		}
		n = n*10 + d
		p.pos++
	}
	if p.pos == start {
		p.expected("a number")
	}
	return n
}

func (p *parser) number32() uint32 { return uint32(p.number(math.MaxUint32)) }

// number63 reads a number64 of RFC 9051 or a mod-sequence of RFC 7162, both
// of 63 bits.
func (p *parser) number63() uint64 { return p.number(math.MaxInt64) }

func (p *parser) nzNumber32() uint32 {
	at := p.pos
	n := p.number32()
	if n == 0 {
		p.badf("Number must not be zero at position %d", at+1)
	}
	return n
}

// numSet reads a sequence set.
func (p *parser) numSet() NumSet {
	if !p.ok() {
		return NumSet{}
	}
	set, n, err := parseNumSet(p.line[p.pos:], p.r.opt.Limits.MaxSetLen)
	p.pos += n
	if err == nil && p.pos < len(p.line) && p.line[p.pos] != ' ' && p.line[p.pos] != ')' {
		err = ErrNumSet
	}
	if err != nil {
		p.bad("Invalid sequence set")
		return NumSet{}
	}
	return set
}

// mailbox reads a mailbox name and returns it in UTF-8.
func (p *parser) mailbox() string {
	return p.decodeMailbox(p.astring())
}

func (p *parser) decodeMailbox(raw string) string {
	if !p.ok() {
		return ""
	}
	decode := DecodeUTF7
	if p.r.utf8 {
		decode = checkName
	}
	name, err := decode(raw)
	if err != nil {
		p.fail(No, CodeCannot, "Invalid mailbox name")
		return ""
	}
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

// listMailbox reads a mailbox name with wildcards. A pattern that is not
// modified UTF-7 stays as it is.
func (p *parser) listMailbox() string {
	var raw string
	if c := p.peek(); c == '"' || c == '{' {
		raw = p.str()
	} else {
		raw = p.run(isListChar, "a mailbox pattern")
	}
	if !p.r.utf8 {
		if name, err := DecodeUTF7(raw); err == nil {
			return name
		}
	}
	return strings.ToValidUTF8(raw, string(utf8.RuneError))
}

// flag reads a flag or keyword; system flags are returned in their usual
// spelling.
func (p *parser) flag() string {
	if !p.accept('\\') {
		return p.atom()
	}
	name := `\` + p.atom()
	for _, f := range [...]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, `\Recent`} {
		if strings.EqualFold(name, f) {
			return f
		}
	}
	return name
}

// flagList reads a parenthesised list of flags.
func (p *parser) flagList() []string {
	flags := []string{}
	p.list(func() { flags = append(flags, p.flag()) })
	return flags
}

// date reads a search date, quoted or not.
func (p *parser) date() time.Time {
	at := p.pos
	t, err := ParseDate(p.astring())
	if err != nil {
		p.badf("Invalid date at position %d", at+1)
	}
	return t
}
