package mimetree

import (
	"html"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// entities are the names of characters beyond ASCII, "&name;" by character.
var entities = sync.OnceValue(func() map[rune]string {
	m := map[rune]string{}
	for name := range strings.FieldsSeq(entityNames) {
		entity := "&" + name + ";"
		r, n := utf8.DecodeRuneInString(html.UnescapeString(entity))
		if n > 1 {
			m[r] = entity
		}
	}
	return m
})

// textAsHTML makes paragraphs and line breaks of a text.
func textAsHTML(text string) string {
	text = strings.TrimFunc(strings.ReplaceAll(text, "\r\n", "\n"), isSpace)
	if text == "" {
		return ""
	}
	names := entities()
	var b strings.Builder
	b.Grow(len(text) + len(text)/8 + 16)
	b.WriteString("<p>")
	for text != "" {
		line, rest, more := strings.Cut(text, "\n")
		line = strings.TrimRight(line, " \t")
		escapeHTML(&b, line, names)
		if !more {
			break
		}
		text = rest
		blank := strings.TrimLeft(text, " \t")
		if !strings.HasPrefix(blank, "\n") {
			b.WriteString("<br/>")
			continue
		}
		for strings.HasPrefix(blank, "\n") {
			text = blank[1:]
			blank = strings.TrimLeft(text, " \t")
		}
		b.WriteString("</p><p>")
	}
	b.WriteString("</p>")
	return b.String()
}

func escapeHTML(b *strings.Builder, s string, names map[rune]string) {
	from := 0
	for i, r := range s {
		var e string
		switch {
		case r == '&':
			e = "&amp;"
		case r == '<':
			e = "&lt;"
		case r == '>':
			e = "&gt;"
		case r == '"':
			e = "&quot;"
		case r == '\'':
			e = "&apos;"
		case r == '`':
			e = "&#x60;"
		case r < utf8.RuneSelf:
			continue
		default:
			if e = names[r]; e == "" {
				e = "&#x" + strings.ToUpper(strconv.FormatInt(int64(r), 16)) + ";"
			}
		}
		b.WriteString(s[from:i])
		b.WriteString(e)
		from = i + utf8.RuneLen(r)
	}
	b.WriteString(s[from:])
}
