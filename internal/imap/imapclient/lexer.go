package imapclient

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"mallard/internal/imap/imapwire"
)

const (
	maxLine    = 64 << 20 // one line of a response, such as a large SEARCH
	maxLiteral = 1 << 30  // a literal that is kept in memory
	maxDepth   = 200      // nested lists
)

// ProtocolError is a response that breaks the protocol.
type ProtocolError struct {
	// Line is the line that was being read, cut when it is long.
	Line string
	// Pos is the offset in it.
	Pos int
	// What is wrong.
	What string
}

// Error implements error.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("imapclient: %s at offset %d of %q", e.What, e.Pos, e.Line)
}

// lexer reads tokens of one response. Its methods return zero values after
// the first error, which stays in err.
type lexer struct {
	br    *bufio.Reader
	line  []byte // the current line without CRLF; valid until the next read
	long  []byte // holds a line that is longer than the buffer
	pos   int
	depth int
	utf8  bool
	err   error
}

func (l *lexer) ok() bool { return l.err == nil }

func (l *lexer) failf(format string, args ...any) {
	if l.err != nil {
		return
	}
	line := l.line
	if len(line) > 300 {
		line = line[:300]
	}
	l.err = &ProtocolError{Line: string(line), Pos: l.pos, What: fmt.Sprintf(format, args...)}
}

// next reads the next line.
func (l *lexer) next() {
	if l.err != nil {
		return
	}
	line, err := l.br.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		l.long = l.long[:0]
		for err == bufio.ErrBufferFull && len(l.long) < maxLine {
			l.long = append(l.long, line...)
			line, err = l.br.ReadSlice('\n')
		}
		l.long = append(l.long, line...)
		line = l.long
	}
	l.line, l.pos = line, 0
	if err != nil {
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		l.err = err
		return
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		l.failf("line does not end in CRLF")
		return
	}
	l.line = line[:len(line)-2]
	if bytes.IndexByte(l.line, '\r') >= 0 {
		l.failf("bare CR in line")
	}
	if bytes.IndexByte(l.line, 0) >= 0 {
		l.failf("NUL in line")
	}
}

// peek returns the next byte, 0 at the end of the line.
func (l *lexer) peek() byte {
	if l.err == nil && l.pos < len(l.line) {
		return l.line[l.pos]
	}
	return 0
}

func (l *lexer) accept(c byte) bool {
	if l.peek() != c {
		return false
	}
	l.pos++
	return true
}

func (l *lexer) expect(c byte) {
	if !l.accept(c) {
		l.failf("expected %q", c)
	}
}

func (l *lexer) sp() { l.expect(' ') }

// end wants the end of the response.
func (l *lexer) end() {
	if l.err == nil && l.pos != len(l.line) {
		l.failf("expected the end of the line")
	}
}

// rest takes the rest of the line.
func (l *lexer) rest() []byte {
	if l.err != nil {
		return nil
	}
	b := l.line[l.pos:]
	l.pos = len(l.line)
	return b
}

// isAtomByte is ATOM-CHAR of RFC 3501 section 9.
func isAtomByte(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`(){%*"\]`, c) < 0 || c == '}'
}

// token takes bytes up to a space, a parenthesis or the end of the line.
func (l *lexer) token() []byte {
	start := l.pos
	for l.ok() && l.pos < len(l.line) {
		if c := l.line[l.pos]; c == ' ' || c == '(' || c == ')' {
			break
		}
		l.pos++
	}
	if l.pos == start {
		l.failf("expected a token")
	}
	return l.line[start:l.pos]
}

// atom takes an atom.
func (l *lexer) atom() string {
	start := l.pos
	for l.ok() && l.pos < len(l.line) && isAtomByte(l.line[l.pos]) {
		l.pos++
	}
	if l.pos == start {
		l.failf("expected an atom")
		return ""
	}
	return string(l.line[start:l.pos])
}

// number takes a number of at most bits bits, without leading zeros.
func (l *lexer) number(bits int) uint64 {
	start := l.pos
	var n uint64
	for c := l.peek(); c >= '0' && c <= '9'; c = l.peek() {
		if l.pos-start >= 19 {
			l.failf("number is too large")
		}
		n = n*10 + uint64(c-'0')
		l.pos++
	}
	switch {
	case l.pos == start:
		l.failf("expected a number")
	case l.line[start] == '0' && l.pos-start > 1:
		l.failf("number with leading zero")
	case n >= 1<<bits:
		l.failf("number is too large")
	}
	if l.err != nil {
		return 0
	}
	return n
}

func (l *lexer) nz32() uint32 {
	n := l.number(32)
	if n == 0 {
		l.failf("number must not be zero")
	}
	return uint32(n)
}

func (l *lexer) modseq() uint64 {
	n := l.number(63)
	if n == 0 {
		l.failf("mod-sequence must not be zero")
	}
	return n
}

// numSet takes a set of numbers, without "*", ascending.
func (l *lexer) numSet() []imapwire.NumRange {
	set, err := imapwire.ParseNumSet(string(l.token()))
	if l.err == nil && (err != nil || set.Dynamic()) {
		l.failf("invalid number set")
	}
	return set.Ranges
}

// quoted takes a quoted string.
func (l *lexer) quoted() []byte {
	l.expect('"')
	start := l.pos
	var out []byte // nil while there was no escape
	escaped := false
	for l.ok() {
		if l.pos == len(l.line) {
			l.failf("quoted string is not closed")
			break
		}
		c := l.line[l.pos]
		l.pos++
		switch {
		case c == '"':
			raw := l.line[start : l.pos-1]
			if escaped {
				raw = out
			}
			l.checkQuoted(raw)
			return raw
		case c == '\\':
			if !escaped {
				out, escaped = append([]byte{}, l.line[start:l.pos-1]...), true
			}
			if c = l.peek(); c != '"' && c != '\\' {
				l.failf("invalid escape in quoted string")
			}
			l.pos++
		}
		if escaped {
			out = append(out, c)
		}
	}
	return nil
}

// checkQuoted refuses octets above 127 unless UTF8=ACCEPT is on.
func (l *lexer) checkQuoted(b []byte) {
	for _, c := range b {
		if c < 0x80 {
			continue
		}
		if !l.utf8 || !utf8.Valid(b) {
			l.failf("8-bit octets in quoted string")
		}
		return
	}
}

// literalSize takes "{n}" at the end of the line.
func (l *lexer) literalSize() int64 {
	l.expect('{')
	n := l.number(63)
	l.expect('}')
	l.end()
	return int64(n)
}

// literal takes a literal into memory.
func (l *lexer) literal(allowNUL bool) []byte {
	n := l.literalSize()
	if n > maxLiteral {
		l.failf("literal is too large")
	}
	if l.err != nil {
		return nil
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(l.br, data); err != nil {
		l.err = fmt.Errorf("imapclient: read literal: %w", err)
		return nil
	}
	if !allowNUL && bytes.IndexByte(data, 0) >= 0 {
		l.failf("NUL in literal")
	}
	l.next()
	return data
}

// str takes a string.
func (l *lexer) str() string {
	if l.peek() == '{' {
		return string(l.literal(false))
	}
	return string(l.quoted())
}

// nstr takes a string or NIL.
func (l *lexer) nstr() *string {
	if l.null() {
		return nil
	}
	s := l.str()
	return &s
}

// null takes NIL if it is next.
func (l *lexer) null() bool {
	if !l.ok() || !bytes.HasPrefix(l.line[l.pos:], []byte("NIL")) {
		return false
	}
	l.pos += 3
	return true
}

// astr takes an atom or a string.
func (l *lexer) astr() string {
	if c := l.peek(); c == '"' || c == '{' {
		return l.str()
	}
	start := l.pos
	for l.ok() && l.pos < len(l.line) && (isAtomByte(l.line[l.pos]) || l.line[l.pos] == ']') {
		l.pos++
	}
	if l.pos == start {
		l.failf("expected an astring")
		return ""
	}
	return string(l.line[start:l.pos])
}

// mailbox takes a mailbox name and returns it in UTF-8. Modified UTF-7 has to
// be in its one canonical form.
func (l *lexer) mailbox() string {
	raw := l.astr()
	if l.err != nil {
		return ""
	}
	if l.utf8 {
		if !utf8.ValidString(raw) {
			l.failf("mailbox name is not UTF-8")
		}
		return raw
	}
	name, err := imapwire.DecodeUTF7(raw)
	if err != nil || string(imapwire.AppendUTF7(nil, name)) != raw {
		l.failf("mailbox name %q is not modified UTF-7", raw)
	}
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

// list takes a parenthesised list with one space between its elements.
func (l *lexer) list(item func()) int {
	l.expect('(')
	if l.depth++; l.depth > maxDepth {
		l.failf("nested too deep")
	}
	n := 0
	for l.ok() && l.peek() != ')' {
		if n > 0 {
			l.sp()
		}
		item()
		n++
	}
	l.depth--
	l.expect(')')
	return n
}

// flag takes a flag. star allows \*.
func (l *lexer) flag(star bool) string {
	if !l.accept('\\') {
		return l.atom()
	}
	if star && l.accept('*') {
		return `\*`
	}
	return `\` + l.atom()
}

// flags takes a list of flags in which none is twice.
func (l *lexer) flags(star bool) []string {
	flags := []string{}
	l.list(func() {
		f := l.flag(star)
		for _, have := range flags {
			if strings.EqualFold(have, f) {
				l.failf("flag %s is listed twice", f)
			}
		}
		flags = append(flags, f)
	})
	return flags
}
