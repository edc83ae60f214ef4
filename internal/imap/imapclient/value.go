package imapclient

import (
	"strconv"
	"strings"
)

// Kind is the kind of a [Value].
type Kind uint8

// Kinds of values.
const (
	KindNil Kind = iota
	KindAtom
	KindNumber
	KindString
	KindList
)

// Value is any value of a response, for what has no type of its own.
type Value struct {
	Kind Kind
	// Str is the text of an atom, number or string.
	Str string
	// List is the elements of a list.
	List []Value
}

// String returns the value in a readable form, strings always quoted.
func (v Value) String() string {
	switch v.Kind {
	case KindNil:
		return "NIL"
	case KindString:
		return strconv.Quote(v.Str)
	case KindList:
		parts := make([]string, len(v.List))
		for i, e := range v.List {
			parts[i] = e.String()
		}
		return "(" + strings.Join(parts, " ") + ")"
	}
	return v.Str
}

// value takes any value.
func (l *lexer) value() Value {
	switch c := l.peek(); {
	case c == '(':
		v := Value{Kind: KindList, List: []Value{}}
		l.list(func() { v.List = append(v.List, l.value()) })
		return v
	case c == '"' || c == '{':
		return Value{Kind: KindString, Str: l.str()}
	}
	s := l.astr()
	switch {
	case s == "NIL":
		return Value{}
	case s != "" && strings.Trim(s, "0123456789") == "":
		return Value{Kind: KindNumber, Str: s}
	}
	return Value{Kind: KindAtom, Str: s}
}

// skipValue checks a value and keeps nothing of it.
func (l *lexer) skipValue() {
	switch c := l.peek(); c {
	case '(':
		l.expect('(')
		if l.depth++; l.depth > maxDepth {
			l.failf("nested too deep")
		}
		// Body structures and address lists put lists side by side
		// without a space.
		for first := true; l.ok() && l.peek() != ')'; first = false {
			if !first && !(l.peek() == '(' && l.pos > 0 && l.line[l.pos-1] == ')') {
				l.sp()
			}
			l.skipValue()
		}
		l.depth--
		l.expect(')')
	case '"':
		l.skipQuoted()
	case '{':
		n := l.literalSize()
		if l.err == nil {
			_, l.err = l.br.Discard(int(n))
		}
		l.next()
	default:
		l.token()
	}
}

// skipQuoted takes a quoted string without a copy.
func (l *lexer) skipQuoted() {
	l.expect('"')
	for l.ok() {
		if l.pos == len(l.line) {
			l.failf("quoted string is not closed")
			return
		}
		c := l.line[l.pos]
		l.pos++
		switch {
		case c == '"':
			return
		case c == '\\':
			if c = l.peek(); c != '"' && c != '\\' {
				l.failf("invalid escape in quoted string")
			}
			l.pos++
		case c >= 0x80 && !l.utf8:
			l.failf("8-bit octets in quoted string")
		}
	}
}
