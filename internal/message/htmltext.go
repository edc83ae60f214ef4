package message

import (
	"bytes"
	"html"
	"strconv"
	"strings"
)

// htmlText renders HTML as text, as octets of UTF-8 come in, with a small
// fixed state: tags are dropped, blocks become lines, scripts, styles and the
// head vanish, images give their alt text.
type htmlText struct {
	links bool // write link targets in brackets

	state  htmlState
	quote  byte   // in a tag: the open quote
	tag    []byte // in a tag: its text so far, bounded
	entity []byte // in an entity: its text so far
	raw    string // element of which the content is dropped
	rawEnd int    // how much of "</raw" has been seen
	dashes int    // in a comment: how much of "-->" has been seen

	out    bool // something was written
	space  bool // white space is due
	breaks int  // line breaks are due
	pre    int
	lists  []int // open lists: the last number of an ordered one, else -1
	href   []byte
}

type htmlState uint8

const (
	htmlData htmlState = iota
	htmlEntity
	htmlTagOpen // after '<'
	htmlTag
	htmlComment
	htmlRaw
)

// maxTag is how much of a tag is kept, in octets. What comes later in it is
// not seen.
const maxTag = 2048

// maxEntity is the longest entity name, with '&'.
const maxEntity = 34

func (h *htmlText) append(dst, src []byte) []byte {
	for len(src) > 0 {
		switch h.state {
		case htmlData:
			dst, src = h.data(dst, src)
		case htmlEntity:
			dst, src = h.inEntity(dst, src)
		case htmlTagOpen:
			dst, src = h.tagOpen(dst, src)
		case htmlTag:
			dst, src = h.inTag(dst, src)
		case htmlComment:
			src = h.inComment(src)
		case htmlRaw:
			src = h.inRaw(src)
		}
	}
	return dst
}

func (h *htmlText) finish(dst []byte) []byte {
	switch h.state {
	case htmlEntity:
		dst = h.endEntity(dst)
	case htmlTagOpen:
		dst = h.text(dst, "<")
	}
	if h.out && h.breaks > 0 {
		dst = append(dst, '\n')
	}
	return dst
}

// data reads up to a markup character.
func (h *htmlText) data(dst, src []byte) (out, rest []byte) {
	n := 0
	for n < len(src) && src[n] != '<' && src[n] != '&' {
		n++
	}
	dst = h.text(dst, view(src[:n]))
	if n == len(src) {
		return dst, nil
	}
	if src[n] == '&' {
		h.state = htmlEntity
		h.entity = append(h.entity[:0], '&')
	} else {
		h.state = htmlTagOpen
	}
	return dst, src[n+1:]
}

// text writes text, white space collapsed.
func (h *htmlText) text(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		if isHTMLSpace(s[i]) {
			if h.pre > 0 {
				dst = h.flush(dst)
				dst = append(dst, s[i])
			} else {
				h.space = true
			}
			i++
			continue
		}
		from := i
		for i < len(s) && !isHTMLSpace(s[i]) {
			i++
		}
		dst = h.flush(dst)
		dst = append(dst, s[from:i]...)
	}
	return dst
}

func isHTMLSpace(c byte) bool { return isSpace(c) || c == '\f' }

// flush writes the white space that is due.
func (h *htmlText) flush(dst []byte) []byte {
	switch {
	case !h.out:
	case h.breaks > 0:
		dst = append(dst, "\n\n"[:min(2, h.breaks)]...)
	case h.space:
		dst = append(dst, ' ')
	}
	h.out, h.space, h.breaks = true, false, 0
	return dst
}

func (h *htmlText) lineBreaks(n int) { h.breaks = max(h.breaks, n) }

func (h *htmlText) inEntity(dst, src []byte) (out, rest []byte) {
	c := src[0]
	if len(h.entity) < maxEntity && (c == '#' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z') {
		h.entity = append(h.entity, c)
		return dst, src[1:]
	}
	if c == ';' {
		h.entity = append(h.entity, c)
		src = src[1:]
	}
	return h.endEntity(dst), src
}

func (h *htmlText) endEntity(dst []byte) []byte {
	h.state = htmlData
	s := html.UnescapeString(string(h.entity))
	return h.text(dst, strings.ReplaceAll(s, "\u00a0", " "))
}

func (h *htmlText) tagOpen(dst, src []byte) (out, rest []byte) {
	c := src[0]
	switch {
	case c == '!' || c == '?' || c == '/' || c|0x20 >= 'a' && c|0x20 <= 'z':
		h.state, h.quote, h.tag = htmlTag, 0, h.tag[:0]
		return dst, src
	}
	h.state = htmlData
	return h.text(dst, "<"), src
}

// inTag collects a tag up to its '>'.
func (h *htmlText) inTag(dst, src []byte) (out, rest []byte) {
	for i, c := range src {
		switch {
		case h.quote != 0:
			if c == h.quote {
				h.quote = 0
			}
		case c == '>':
			h.state = htmlData
			return h.endTag(dst), src[i+1:]
		case (c == '"' || c == '\'') && h.tag[0] != '!' && h.afterEquals():
			h.quote = c
		}
		if len(h.tag) < maxTag {
			h.tag = append(h.tag, c)
		}
		if len(h.tag) == 3 && string(h.tag) == "!--" {
			h.state, h.dashes = htmlComment, 2
			return dst, src[i+1:]
		}
	}
	return dst, nil
}

// afterEquals reports whether a quote at this point opens a value.
func (h *htmlText) afterEquals() bool {
	t := bytes.TrimRight(h.tag, " \t\r\n")
	return len(t) == maxTag || len(t) > 0 && t[len(t)-1] == '='
}

func (h *htmlText) inComment(src []byte) []byte {
	for i, c := range src {
		switch {
		case c == '-':
			h.dashes++
		case c == '>' && h.dashes >= 2:
			h.state = htmlData
			return src[i+1:]
		default:
			h.dashes = 0
		}
	}
	return nil
}

// inRaw drops the content of an element up to its end tag.
func (h *htmlText) inRaw(src []byte) []byte {
	for i, c := range src {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		want := byte('<')
		switch {
		case h.rawEnd == 1:
			want = '/'
		case h.rawEnd >= 2 && h.rawEnd-2 < len(h.raw):
			want = h.raw[h.rawEnd-2]
		case h.rawEnd >= 2:
			if c == '>' || c == '/' || isHTMLSpace(c) {
				h.state, h.quote, h.tag = htmlTag, 0, append(h.tag[:0], '/')
				h.tag = append(h.tag, h.raw...)
				return src[i:]
			}
		}
		switch {
		case c == want:
			h.rawEnd++
		case c == '<':
			h.rawEnd = 1
		default:
			h.rawEnd = 0
		}
	}
	return nil
}

// endTag acts on the tag that was collected.
func (h *htmlText) endTag(dst []byte) []byte {
	closing := h.tag[0] == '/'
	t := h.tag
	if closing {
		t = t[1:]
	}
	n := 0
	for n < len(t) && n < 12 && !isHTMLSpace(t[n]) && t[n] != '/' {
		n++
	}
	var buf [12]byte
	for i, c := range t[:n] {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return h.element(dst, string(buf[:n]), closing, t[n:])
}

func (h *htmlText) element(dst []byte, name string, closing bool, attrs []byte) []byte {
	switch name {
	case "script", "style", "title", "template":
		if !closing {
			h.state, h.raw, h.rawEnd = htmlRaw, name, 0
		}
	case "br":
		if h.out {
			h.breaks++
		}
	case "p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "dl", "table":
		h.lineBreaks(2)
	case "ul", "ol":
		h.list(name == "ol", closing)
	case "div", "tr", "section", "article", "header", "footer", "center", "hr", "dt", "dd",
		"form", "fieldset", "address", "main", "nav", "aside", "caption", "figure", "option", "body":
		h.lineBreaks(1)
	case "li":
		h.lineBreaks(1)
		if !closing {
			dst = h.text(dst, h.bullet())
			h.space = true
		}
	case "td", "th":
		h.space = true
	case "pre":
		h.lineBreaks(1)
		if closing {
			h.pre = max(0, h.pre-1)
		} else if h.pre < 8 {
			h.pre++
		}
	case "img", "area":
		if alt := attribute(attrs, "alt"); alt != "" {
			dst = h.text(dst, alt)
		}
	case "a":
		dst = h.link(dst, closing, attrs)
	}
	return dst
}

// maxLists is how many lists may contain one another.
const maxLists = 32

func (h *htmlText) list(ordered, closing bool) {
	h.lineBreaks(2)
	switch {
	case closing && len(h.lists) > 0:
		h.lists = h.lists[:len(h.lists)-1]
	case !closing && len(h.lists) < maxLists:
		n := -1
		if ordered {
			n = 0
		}
		h.lists = append(h.lists, n)
	}
}

// bullet is what the next item of the innermost list begins with.
func (h *htmlText) bullet() string {
	n := len(h.lists) - 1
	if n < 0 || h.lists[n] < 0 {
		return "*"
	}
	h.lists[n]++
	return strconv.Itoa(h.lists[n]) + "."
}

// link writes the target of a link after its text, if asked for.
func (h *htmlText) link(dst []byte, closing bool, attrs []byte) []byte {
	if !h.links {
		return dst
	}
	if closing {
		if len(h.href) > 0 {
			h.space = true
			dst = h.text(dst, "["+string(h.href)+"]")
		}
		h.href = h.href[:0]
		return dst
	}
	h.href = h.href[:0]
	href := attribute(attrs, "href")
	if strings.HasPrefix(href, "http:") || strings.HasPrefix(href, "https:") {
		h.href = append(h.href, href...)
	}
	return dst
}

// attribute finds the value of an attribute in the text of a tag.
func attribute(attrs []byte, name string) string {
	s := view(attrs)
	for s != "" {
		s = strings.TrimLeft(s, " \t\r\n\f/")
		n := 0
		for n < len(s) && s[n] != '=' && !isHTMLSpace(s[n]) {
			n++
		}
		key := s[:n]
		s = strings.TrimLeft(s[n:], " \t\r\n\f")
		value := ""
		if strings.HasPrefix(s, "=") {
			value, s = attributeValue(strings.TrimLeft(s[1:], " \t\r\n\f"))
		}
		if strings.EqualFold(key, name) {
			return strings.ReplaceAll(html.UnescapeString(strings.Clone(value)), "\u00a0", " ")
		}
	}
	return ""
}

func attributeValue(s string) (value, rest string) {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		value, rest, _ = strings.Cut(s[1:], s[:1])
		return value, rest
	}
	n := 0
	for n < len(s) && !isHTMLSpace(s[n]) {
		n++
	}
	return s[:n], s[n:]
}
