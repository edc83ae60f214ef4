package httpapi

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// maxText is the greatest size of the text, and of the HTML, that is shown of one
// message, in octets. maxTextPart is that of one part.
const (
	maxText     = 4 << 20
	maxTextPart = 1 << 20
)

// shownText is what a reader sees of a message.
type shownText struct {
	text string
	html []string
}

// messageText reads the parts that are meant to be read. Of alternatives both
// forms are taken; where there is one form only, the other is made from it.
func (a *API) messageText(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID, m *stored) (shownText, error) {
	body, err := a.opt.Mailboxes.Open(ctx, acct, mbox, uid)
	if err != nil {
		return shownText{}, fmt.Errorf("open message: %w", err)
	}
	defer func() { _ = body.Close() }()
	r := textReader{body: body, prefix: m.prefix, left: maxText}
	forms, err := r.part(m.tree.Root)
	if err != nil {
		return shownText{}, err
	}
	forms = forms.complete()
	links := cidLinks(m.sum.Attachments)
	for i := range forms.html {
		forms.html[i] = replaceLinks(forms.html[i], links)
	}
	return shownText{text: strings.Join(forms.text, "\n"), html: forms.html}, nil
}

type textReader struct {
	body   store.Body
	prefix int64
	left   int // octets that may still be read
}

// textForms are the two forms of a part of a message. lacking forms are made
// from the other one only when it is known that no alternative has them.
type textForms struct {
	text, html []string
	plainOnly  bool // html is to be made from text
	htmlOnly   bool // text is to be made from html
}

// complete makes the form that is missing.
func (f textForms) complete() textForms {
	if f.plainOnly {
		for _, t := range f.text {
			f.html = append(f.html, textToHTML(t))
		}
	}
	f.plainOnly, f.htmlOnly = false, false
	return f
}

func (r *textReader) part(p *message.Part) (textForms, error) {
	if !p.IsMultipart() {
		return r.leaf(p)
	}
	parts := make([]textForms, 0, len(p.Children))
	for _, child := range p.Children {
		f, err := r.part(child)
		if err != nil {
			return textForms{}, err
		}
		if len(f.text) > 0 || len(f.html) > 0 {
			parts = append(parts, f)
		}
	}
	if p.Subtype == "ALTERNATIVE" {
		return joinAlternatives(parts), nil
	}
	return joinParts(parts), nil
}

// joinParts puts parts one after the other. Only when they are of different
// kinds the missing forms are made: an alternative may yet have them.
func joinParts(parts []textForms) textForms {
	var all textForms
	all.plainOnly = !slices.ContainsFunc(parts, func(f textForms) bool { return !f.plainOnly })
	all.htmlOnly = len(parts) > 0 && !slices.ContainsFunc(parts, func(f textForms) bool { return !f.htmlOnly })
	for _, f := range parts {
		if !all.plainOnly {
			f = f.complete()
		}
		all.text, all.html = append(all.text, f.text...), append(all.html, f.html...)
	}
	return all
}

// joinAlternatives takes the HTML of those that have some, and the text of those
// that are no HTML.
func joinAlternatives(parts []textForms) textForms {
	var plain, rendered, rich textForms
	for _, f := range parts {
		switch {
		case f.plainOnly:
			plain.text = append(plain.text, f.text...)
		case f.htmlOnly:
			rich.html, rendered.text = append(rich.html, f.html...), append(rendered.text, f.text...)
		default:
			rich.html, plain.text = append(rich.html, f.html...), append(plain.text, f.text...)
		}
	}
	out := textForms{text: plain.text, html: rich.html}
	if len(out.text) == 0 {
		out.text, out.htmlOnly = rendered.text, len(rich.html) > 0
	}
	out.plainOnly = len(out.html) == 0
	return out
}

func (r *textReader) leaf(p *message.Part) (textForms, error) {
	if !p.InlineText() || p.Size() == 0 || r.left <= 0 {
		return textForms{}, nil
	}
	if p.Type == "TEXT" && p.Subtype == "HTML" {
		source, err := r.read(p, message.HTMLOf)
		if err != nil {
			return textForms{}, err
		}
		text, err := r.read(p, message.TextOf)
		return textForms{html: []string{strings.TrimRight(source, "\r\n")}, text: []string{strings.TrimRight(text, "\n")}, htmlOnly: true}, err
	}
	text, err := r.read(p, message.TextOf)
	return textForms{text: []string{strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n")}, plainOnly: true}, err
}

func (r *textReader) read(p *message.Part, as func(*message.Part, io.Reader, int) (string, error)) (string, error) {
	limit := min(maxTextPart, r.left)
	if limit <= 0 {
		return "", nil
	}
	src := newRange(r.body, r.prefix+p.BodyStart, p.Size())
	text, err := as(p, src, limit)
	if cerr := src.Close(); err == nil {
		err = cerr
	}
	r.left -= len(text)
	return text, err
}

// rangeReader reads a range of a body, which can only be written.
type rangeReader struct {
	*io.PipeReader
	done chan error
}

func newRange(body store.Body, off, n int64) *rangeReader {
	pr, pw := io.Pipe()
	r := &rangeReader{PipeReader: pr, done: make(chan error, 1)}
	go func() {
		err := body.WriteRange(pw, off, n)
		r.done <- err
		_ = pw.CloseWithError(err) // never fails
	}()
	return r
}

// Close ends reading, maybe before the end, and waits until the body is free.
func (r *rangeReader) Close() error {
	_ = r.PipeReader.Close() // never fails
	<-r.done
	return nil
}

// linkText finds addresses of pages in plain text.
var linkText = regexp.MustCompile(`https?://[^\s<>"'\x60]+`)

// textToHTML shows plain text as HTML: nothing in it is markup.
func textToHTML(text string) string {
	var b strings.Builder
	b.WriteString("<p>")
	last := 0
	for _, m := range linkText.FindAllStringIndex(text, 1000) {
		writeEscaped(&b, text[last:m[0]])
		link := html.EscapeString(text[m[0]:m[1]])
		b.WriteString(`<a href="` + link + `">` + link + `</a>`)
		last = m[1]
	}
	writeEscaped(&b, text[last:])
	b.WriteString("</p>")
	return b.String()
}

func writeEscaped(b *strings.Builder, s string) {
	s = html.EscapeString(s)
	s = strings.ReplaceAll(s, "\n\n", "</p><p>")
	b.WriteString(strings.ReplaceAll(s, "\n", "<br/>"))
}

// cidLinks maps Content-IDs without brackets to attachment ids.
func cidLinks(list []message.Attachment) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		if id := strings.Trim(a.ContentID, "<> "); id != "" {
			if _, taken := out[id]; !taken {
				out[id] = a.ID
			}
		}
	}
	return out
}

// cidLink finds links to parts of the message.
var cidLink = regexp.MustCompile(`(?i)cid:[^\s"'<>)]+`)

// replaceLinks turns cid: links to attachments of the message into attachment: links.
func replaceLinks(source string, links map[string]string) string {
	if len(links) == 0 {
		return source
	}
	return cidLink.ReplaceAllStringFunc(source, func(link string) string {
		id := html.UnescapeString(link[len("cid:"):])
		if plain, err := url.PathUnescape(id); err == nil {
			id = plain
		}
		if att, found := links[id]; found {
			return "attachment:" + att
		}
		return link
	})
}
