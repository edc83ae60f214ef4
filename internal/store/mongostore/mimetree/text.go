package mimetree

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"

	"mallard/internal/message"
)

// Limits of the texts in a document, in UTF-16 units or octets as WildDuck counts them.
const (
	maxText        = 1024     // units in text
	maxAllText     = 102400   // units in text and textFooter
	maxHTML        = 655360   // octets in html
	maxRendered    = 2 << 20  // units of HTML that is rendered as text
	maxDecodedBody = 4 << 20  // octets of one body that are decoded
	introSource    = 4 * 2048 // octets of rendered text that a preview is made from, at least 2048 units
)

// Texts are the members of a document that hold what readers see of the message.
type Texts struct {
	Text, Footer string
	HTML         []string
	Intro        string
}

// textMaker collects the texts of the parts.
type textMaker struct {
	t    *Tree
	cids map[string]string // the ids of attachments by their Content-ID, without brackets
	text []string
	size int // octets in text
	html []string
	left int // octets of HTML that there is room for

	plain     []string // what the HTML reads like, for the preview
	plainSize int
}

// Texts makes the texts. The errors are those of the source.
func (t *Tree) Texts() (Texts, error) {
	m := &textMaker{t: t, left: maxHTML}
	for _, n := range t.Cut {
		if v := n.Parsed.get("content-id"); v != nil {
			if m.cids == nil {
				m.cids = map[string]string{}
			}
			m.cids[strings.Trim(strings.TrimSpace(v.text), "<>")] = n.AttachmentID
		}
	}
	var err error
	t.Root.walk(place{}, func(n *Node, at place) {
		if err == nil && !n.IsMultipart && n.inlineText() && n.Size > 0 {
			err = m.add(n, at.alternative)
		}
	})
	return m.finish(), err
}

// add adds the text of a part.
func (m *textMaker) add(n *Node, alternative bool) error {
	text, err := m.decode(n)
	if err != nil {
		return err
	}
	if n.contentType() == "text/html" {
		m.addHTML(strings.TrimFunc(text, isSpace), alternative)
		return nil
	}
	m.addText(text)
	if alternative {
		return nil
	}
	html := textAsHTML(text)
	if html == "" {
		return nil
	}
	m.addPlain(text)
	m.keepHTML(html)
	return nil
}

// addPlain adds to what the preview is made from, until that is enough.
func (m *textMaker) addPlain(text string) {
	if m.plainSize < introSource {
		text = text[:min(len(text), introSource)]
		m.plain = append(m.plain, text)
		m.plainSize += len(text)
	}
}

func (m *textMaker) addHTML(text string, alternative bool) {
	switch {
	case !alternative && len(text) < maxRendered:
		rendered := renderHTML(text, 4*maxAllText)
		m.addText(rendered)
		m.addPlain(rendered)
	case m.plainSize < introSource:
		m.addPlain(renderPreview(text))
	}
	m.keepHTML(m.linkAttachments(text))
}

// renderPreview renders as much of HTML as a preview is made from: a little of it mostly does.
func renderPreview(html string) string {
	if little := renderHTML(html, introSource/8); message.IntroIsSettled(withoutCR(little)) {
		return little
	}
	return renderHTML(html, introSource)
}

// addText adds to the text; what is beyond its limit is not even collected.
func (m *textMaker) addText(text string) {
	if m.size <= 3*maxAllText {
		m.text = append(m.text, text)
		m.size += len(text)
	}
}

// keepHTML adds to html while there is room.
func (m *textMaker) keepHTML(html string) {
	if m.left <= 0 {
		return
	}
	size := len(html)
	if size > m.left {
		html, _ = cutUnits(html, m.left)
	}
	m.left -= size
	m.html = append(m.html, html)
}

func (m *textMaker) finish() Texts {
	var out Texts
	all := strings.TrimFunc(strings.ReplaceAll(strings.Join(m.text, "\n"), "\r\n", "\n"), isSpace)
	out.Text, all = cutUnits(all, maxText)
	out.Text = withoutNUL(out.Text)
	out.Footer, _ = cutUnits(all, maxAllText-maxText)
	out.HTML = m.html
	source := strings.Join(m.plain, "\n")
	if len(out.HTML) == 0 {
		source = out.Text + out.Footer
	}
	out.Intro = message.Intro(withoutCR(source[:min(len(source), 4*introSource)]))
	return out
}

// withoutCR makes line feeds of CR: a preview has its lines ended by those.
func withoutCR(s string) string { return strings.ReplaceAll(s, "\r", "\n") }

func isSpace(r rune) bool {
	return isJSSpace(r) || r == 0xa0 || r == 0xfeff || r == 0x2028 || r == 0x2029
}

// cutUnits splits s behind n UTF-16 units.
func cutUnits(s string, n int) (head, tail string) {
	if len(s) <= n {
		return s, ""
	}
	for i, r := range s {
		w := 1
		if r > 0xffff {
			w = utf16.RuneLen(r)
		}
		if n -= w; n < 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// linkAttachments makes the references to parts of the message links to attachments.
func (m *textMaker) linkAttachments(html string) string {
	if len(m.cids) == 0 || !strings.Contains(html, "cid:") {
		return html
	}
	var b strings.Builder
	for {
		i := strings.Index(html, "cid:")
		if i < 0 {
			b.WriteString(html)
			return b.String()
		}
		i += len("cid:")
		n := strings.IndexAny(html[i:], "'\"> \t\r\n)")
		if n < 0 {
			n = len(html) - i
		}
		id, known := m.cids[html[i:i+n]]
		if !known {
			b.WriteString(html[:i])
			html = html[i:]
			continue
		}
		b.WriteString(html[:i-len("cid:")])
		b.WriteString("attachment:")
		b.WriteString(id)
		html = html[i+n:]
	}
}

// decode reads the text of a part.
func (m *textMaker) decode(n *Node) (string, error) {
	raw, err := m.decoded(n)
	if err != nil {
		return "", err
	}
	typ := n.Parsed.get("content-type")
	charset, _ := typ.param("charset")
	text := decodeCharset(charset, raw)
	if format, _ := typ.param("format"); strings.EqualFold(format, "flowed") && n.contentType() != "text/html" {
		delsp, _ := typ.param("delsp")
		text = unflow(text, strings.EqualFold(delsp, "yes"))
	}
	return text, nil
}

// decoded is a body without its transfer encoding. It may alias the body.
func (m *textMaker) decoded(n *Node) ([]byte, error) {
	encoding := n.TransferEncoding()
	isEncoded := encoding == "base64" || encoding == "quoted-printable"
	if n.Body != nil && !isEncoded {
		return n.Body[:min(len(n.Body), maxDecodedBody)], nil
	}
	var body io.Reader = io.NewSectionReader(m.t.src, n.Start, n.End-n.Start)
	if n.Body != nil {
		body = bytes.NewReader(n.Body)
	}
	if isEncoded {
		body = message.NewDecoder(encoding, body)
	}
	var out bytes.Buffer
	out.Grow(int(min(n.Size, maxDecodedBody)) + bytes.MinRead)
	if _, err := out.ReadFrom(io.LimitReader(body, maxDecodedBody)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// decodeCharset reads text of a charset. Text of none is windows-1257; unknown ones are taken for UTF-8.
func decodeCharset(charset string, raw []byte) string {
	charset = strings.ToLower(strings.TrimSpace(charset))
	if isASCII(raw) && !strings.HasPrefix(charset, "utf-16") && !strings.HasPrefix(charset, "iso-2022") && charset != "hz-gb-2312" && charset != "utf-7" {
		return string(raw)
	}
	var e encoding.Encoding
	switch charset {
	case "":
		e = charmap.Windows1257
	case "utf-8", "utf8", "ascii", "us-ascii", "ansi_x3.4-1968":
	default:
		if e, _ = htmlindex.Get(charset); e == nil || e == encoding.Replacement {
			e, _ = ianaindex.MIME.Encoding(charset)
		}
	}
	if e == nil {
		return validText(string(raw))
	}
	out, err := e.NewDecoder().Bytes(raw)
	if err != nil {
		return validText(string(raw))
	}
	return validText(string(out))
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf || c == 0x1b {
			return false
		}
	}
	return true
}

// unflow joins the lines of format=flowed (RFC 3676).
func unflow(text string, delSp bool) string {
	var b strings.Builder
	b.Grow(len(text))
	soft := true
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if !soft {
			b.WriteByte('\n')
		}
		if i == 0 || !soft {
			line = strings.TrimPrefix(line, " ")
		}
		soft = strings.HasSuffix(line, " ") && line != "-- "
		if soft && delSp {
			line = line[:len(line)-1]
		}
		b.WriteString(line)
	}
	return b.String()
}
