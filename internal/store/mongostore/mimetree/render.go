package mimetree

import (
	"strconv"
	"strings"
	"unicode/utf8"

	xhtml "golang.org/x/net/html"
)

const (
	wrapAt    = 80 // characters in a line
	ruleWidth = 40
	// maxNested is how many lists, items and quotations may contain one another.
	maxNested = 20
)

// renderHTML makes a text of HTML: wrapped lines, links and images as [target], headings in capitals. It stops when the
// result has limit octets.
func renderHTML(source string, limit int) string {
	r := &renderer{limit: limit, blocks: []*block{{width: wrapAt}}}
	z := xhtml.NewTokenizer(strings.NewReader(source))
	z.SetMaxBuf(1 << 20)
	for r.size < r.limit {
		switch z.Next() {
		case xhtml.ErrorToken:
			return r.finish()
		case xhtml.TextToken:
			if r.hidden == 0 {
				r.text(string(z.Text()))
			}
		case xhtml.StartTagToken, xhtml.SelfClosingTagToken:
			name, more := z.TagName()
			r.open(string(name), attributes(z, more))
		case xhtml.EndTagToken:
			name, _ := z.TagName()
			r.close(string(name))
		}
	}
	return r.finish()
}

// attributes are those of a tag that matter.
type attributesOf struct{ href, src, alt, start string }

func attributes(z *xhtml.Tokenizer, more bool) (a attributesOf) {
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch string(key) {
		case "href":
			a.href = string(value)
		case "src":
			a.src = string(value)
		case "alt":
			a.alt = string(value)
		case "start":
			a.start = string(value)
		}
	}
	return a
}

// block is text that is wrapped together: all of it, an item of a list, a quotation.
type block struct {
	tag    string
	width  int
	lines  []string
	line   strings.Builder
	chars  int // in line
	breaks int // line breaks that are due
	space  bool
	prefix string // of the first line
	indent string // of the others
}

type renderer struct {
	limit, size int
	blocks      []*block
	lists       []int // the number of the next item; -1 in a list without numbers
	links       []string
	hidden      int // open elements that are not shown
	upper, pre  int
}

func (r *renderer) top() *block { return r.blocks[len(r.blocks)-1] }

// text adds inline text, its white space collapsed.
func (r *renderer) text(s string) {
	if r.upper > 0 {
		s = strings.ToUpper(s)
	}
	b := r.top()
	if r.pre > 0 {
		for i, line := range strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
			if i > 0 {
				r.size++
				b.endLine()
			}
			r.word(b, line)
		}
		return
	}
	for s != "" {
		n := strings.IndexFunc(s, isBlankRune)
		if n == 0 {
			b.space = true
			s = strings.TrimLeftFunc(s, isBlankRune)
			continue
		}
		if n < 0 {
			n = len(s)
		}
		r.word(b, s[:n])
		s = s[n:]
	}
}

// isBlankRune is what collapses; a no-break space does not.
func isBlankRune(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' && r != '\v' || r == 0x200b }

// word adds text that is not cut.
func (r *renderer) word(b *block, w string) {
	if w == "" {
		return
	}
	r.size += len(w) + 1
	if b.breaks > 0 {
		if b.chars > 0 || len(b.lines) > 0 {
			if b.chars > 0 {
				b.endLine()
			}
			for range b.breaks - 1 {
				b.lines = append(b.lines, "")
			}
		}
		b.breaks, b.space = 0, false
	}
	chars := utf8.RuneCountInString(w)
	if b.space && b.chars > 0 {
		if b.chars+1+chars > b.width {
			b.endLine()
		} else {
			b.line.WriteByte(' ')
			b.chars++
		}
	}
	b.space = false
	b.line.WriteString(w)
	b.chars += chars
}

func (b *block) endLine() {
	b.lines = append(b.lines, b.line.String())
	b.line.Reset()
	b.chars = 0
}

func (b *block) breakLines(n int) { b.breaks = max(b.breaks, n) }

func (r *renderer) open(tag string, a attributesOf) {
	switch tag {
	case "script", "style", "head", "title", "template":
		r.hidden++
		return
	}
	if r.hidden > 0 {
		if tag != "body" {
			return
		}
		r.hidden = 0 // a head that was not closed
	}
	b := r.top()
	switch tag {
	case "br":
		b.endLineBreak()
	case "hr":
		b.breakLines(2)
		r.word(b, strings.Repeat("-", ruleWidth))
		b.breakLines(2)
	case "img":
		r.image(a)
	case "a":
		if len(r.links) < maxNested {
			r.links = append(r.links, a.href)
		}
	case "ul", "ol":
		r.openList(tag, a)
	case "li":
		r.openItem()
	case "blockquote":
		r.push(tag, "> ", "> ", 2)
	default:
		if n := breaksAround(tag, true); n > 0 {
			b.breakLines(n)
		}
		r.count(tag, 1)
	}
}

func (r *renderer) close(tag string) {
	switch tag {
	case "script", "style", "head", "title", "template":
		r.hidden = max(0, r.hidden-1)
		return
	}
	if r.hidden > 0 {
		return
	}
	switch tag {
	case "a":
		r.closeLink()
	case "ul", "ol":
		r.pop("li")
		if n := len(r.lists); n > 0 {
			r.lists = r.lists[:n-1]
		}
		r.top().breakLines(r.listBreaks())
	case "li", "blockquote":
		r.pop(tag)
	default:
		if n := breaksAround(tag, false); n > 0 {
			r.top().breakLines(n)
		}
		r.count(tag, -1)
	}
}

// endLineBreak is <br>.
func (b *block) endLineBreak() {
	if b.breaks > 0 {
		b.breaks++
		return
	}
	if b.chars > 0 || len(b.lines) > 0 {
		b.endLine()
	}
	b.space = false
}

// count keeps count of the elements that change the text inside.
func (r *renderer) count(tag string, n int) {
	switch tag {
	case "h1", "h2", "h3", "h4", "h5", "h6":
		r.upper = max(0, r.upper+n)
	case "pre":
		r.pre = max(0, r.pre+n)
	}
}

// breaksAround is how many line breaks there are before or behind an element.
func breaksAround(tag string, before bool) int {
	switch tag {
	case "h1", "h2", "h3":
		if before {
			return 3
		}
		return 2
	case "p", "pre", "h4", "h5", "h6", "table":
		return 2
	case "div", "tr", "section", "article", "header", "footer", "main", "nav", "aside", "form", "fieldset", "address", "center", "dl", "dt", "dd", "figure", "caption":
		return 1
	}
	return 0
}

func (r *renderer) image(a attributesOf) {
	b := r.top()
	if a.alt != "" {
		r.text(a.alt)
		b.space = true
	}
	if a.src != "" && !strings.HasPrefix(a.src, "data:") {
		r.word(b, "["+a.src+"]")
	}
}

func (r *renderer) closeLink() {
	n := len(r.links)
	if n == 0 {
		return
	}
	href := strings.TrimPrefix(r.links[n-1], "mailto:")
	r.links = r.links[:n-1]
	if href == "" || href[0] == '#' {
		return
	}
	b := r.top()
	after := b.space
	b.space = true
	r.word(b, "["+href+"]")
	b.space = after
}

// listBreaks is how many line breaks are around a list.
func (r *renderer) listBreaks() int {
	if len(r.lists) > 0 {
		return 1
	}
	return 2
}

func (r *renderer) openList(tag string, a attributesOf) {
	r.top().breakLines(r.listBreaks())
	if len(r.lists) >= maxNested {
		return
	}
	number := -1
	if tag == "ol" {
		number = 1
		if n, err := strconv.Atoi(a.start); err == nil && n >= 0 {
			number = n
		}
	}
	r.lists = append(r.lists, number)
}

func (r *renderer) openItem() {
	if r.top().tag == "li" && !r.listInside() {
		r.pop("li") // the one before was not closed
	}
	prefix := " * "
	if n := len(r.lists); n > 0 && r.lists[n-1] >= 0 {
		prefix = " " + strconv.Itoa(r.lists[n-1]) + ". "
		r.lists[n-1]++
	}
	r.push("li", prefix, strings.Repeat(" ", len(prefix)), 1)
}

// listInside says whether a list is open in the innermost item.
func (r *renderer) listInside() bool {
	items := 0
	for _, b := range r.blocks {
		if b.tag == "li" {
			items++
		}
	}
	return len(r.lists) > items
}

func (r *renderer) push(tag, prefix, indent string, breaks int) {
	parent := r.top()
	parent.breakLines(breaks)
	if len(r.blocks) >= maxNested {
		return
	}
	r.blocks = append(r.blocks, &block{tag: tag, width: max(20, parent.width-len(prefix)), prefix: prefix, indent: indent})
}

// pop ends the innermost block if it is of this kind, and puts its lines into the one around it.
func (r *renderer) pop(tag string) {
	b := r.top()
	if len(r.blocks) == 1 || b.tag != tag {
		return
	}
	r.blocks = r.blocks[:len(r.blocks)-1]
	lines := b.finish()
	parent := r.top()
	for i, line := range lines {
		prefix := b.prefix
		if i > 0 {
			prefix = b.indent
			parent.breaks = 1
		}
		r.word(parent, strings.TrimRight(prefix+line, " "))
	}
	if tag == "blockquote" {
		parent.breakLines(2)
	} else {
		parent.breakLines(1)
	}
}

// finish returns the lines without the empty ones around them.
func (b *block) finish() []string {
	if b.chars > 0 {
		b.endLine()
	}
	lines := b.lines
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func (r *renderer) finish() string {
	for len(r.blocks) > 1 {
		r.pop(r.top().tag)
	}
	return strings.Join(r.blocks[0].finish(), "\n")
}
