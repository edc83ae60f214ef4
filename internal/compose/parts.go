package compose

import (
	"encoding/base64"
	"fmt"
	"html"
	"mime"
	"mime/quotedprintable"
	"path"
	"regexp"
	"strings"
	"sync"
)

// part is a node of the message that is made.
type part struct {
	mediaType string // with parameters, for leaves
	multipart string // subtype, for nodes
	typeParam string // further parameters of a multipart
	children  []*part

	text        string // content of text parts
	attachment  *Attachment
	disposition string
	isText      bool
}

// structure lays out the parts: mixed(alternative(text, related(html, images)), files).
func (c *composer) structure(m *Message) *part {
	source, list := m.HTML, m.Attachments
	if m.EmbedDataURIs && source != "" {
		var images []Attachment
		source, images = embedDataURIs(source)
		list = append(append([]Attachment{}, list...), images...)
	}
	var inline, files []*part
	for i := range list {
		a := &list[i]
		p := attachmentPart(a)
		if a.ContentID != "" && source != "" && a.Disposition != DispositionAttachment {
			inline = append(inline, p)
		} else {
			files = append(files, p)
		}
	}
	body := bodyPart(m.Text, source, inline)
	if len(files) == 0 {
		return body
	}
	if m.Text == "" && source == "" {
		return &part{multipart: "mixed", children: files}
	}
	return &part{multipart: "mixed", children: append([]*part{body}, files...)}
}

func bodyPart(text, source string, inline []*part) *part {
	plain := &part{mediaType: "text/plain; charset=utf-8", text: text, isText: true}
	if source == "" {
		return plain
	}
	rich := &part{mediaType: "text/html; charset=utf-8", text: source, isText: true}
	if len(inline) > 0 {
		rich = &part{multipart: "related", typeParam: `; type="text/html"`, children: append([]*part{rich}, inline...)}
	}
	if text == "" {
		return rich
	}
	return &part{multipart: "alternative", children: []*part{plain, rich}}
}

func attachmentPart(a *Attachment) *part {
	media := mediaType(a)
	if a.Filename != "" {
		media += nameParam(a.Filename)
	}
	disposition := a.Disposition
	switch {
	case disposition == DispositionAttachment || disposition == DispositionInline:
	case a.ContentID != "":
		disposition = DispositionInline
	default:
		disposition = DispositionAttachment
	}
	value := string(disposition)
	if a.Filename != "" {
		value += param("filename", a.Filename)
	}
	return &part{mediaType: media, attachment: a, disposition: value}
}

// nameParam is the obsolete parameter that old readers look at: encoded words,
// although RFC 2047 forbids them there.
func nameParam(filename string) string {
	if name := clean(filename); !isASCII(name) {
		return `; name="` + encodeWords(name) + `"`
	}
	return param("name", filename)
}

// mediaPattern is large, and many programs never need it.
var mediaPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}$`)
})

// mediaType is the type that was given, or one that the file name suggests. A
// multipart would promise a structure that the content may not have.
func mediaType(a *Attachment) string {
	given, rest, _ := strings.Cut(a.ContentType, ";")
	given = strings.ToLower(strings.TrimSpace(given))
	if !mediaPattern().MatchString(given) || strings.HasPrefix(given, "multipart/") {
		guess, _, err := mime.ParseMediaType(mime.TypeByExtension(strings.ToLower(path.Ext(a.Filename))))
		if err != nil {
			guess = "application/octet-stream"
		}
		given, rest = guess, ""
	}
	if !strings.HasPrefix(given, "text/") {
		return given
	}
	charset := "utf-8"
	if _, params, err := mime.ParseMediaType("text/plain;" + rest); err == nil && isToken(params["charset"]) {
		charset = params["charset"]
	}
	return given + param("charset", charset)
}

// part writes a part with its header, of which the caller has ended the line
// before.
func (c *composer) part(p *part) {
	if p.multipart != "" {
		c.multipart(p)
		return
	}
	c.field("Content-Type", p.mediaType)
	if p.isText {
		c.text(p.text)
		return
	}
	a := p.attachment
	if id := messageID(a.ContentID); id != "<>" {
		c.field("Content-ID", id)
	}
	encoding := transferEncoding(a, p.mediaType)
	c.field("Content-Transfer-Encoding", encoding)
	c.field("Content-Disposition", p.disposition)
	c.write("\r\n")
	if strings.HasPrefix(p.mediaType, "message/") {
		c.write(crlf(string(a.Content)))
		return
	}
	c.body(a.Content, encoding)
}

func (c *composer) multipart(p *part) {
	b := c.boundary()
	c.field("Content-Type", "multipart/"+p.multipart+p.typeParam+`; boundary="`+b+`"`)
	c.write("\r\n")
	for i, child := range p.children {
		if i > 0 {
			c.write("\r\n")
		}
		c.write("--", b, "\r\n")
		c.part(child)
	}
	c.write("\r\n--", b, "--\r\n")
}

// text writes a text part: as it is when it is plain ASCII in short lines.
func (c *composer) text(s string) {
	s = crlf(strings.ToValidUTF8(s, "\ufffd"))
	encoding := "7bit"
	if !fitsLines(s, lineTarget) {
		encoding = "quoted-printable"
		if isMostly8Bit(s) {
			encoding = "base64"
		}
	}
	c.field("Content-Transfer-Encoding", encoding)
	c.write("\r\n")
	c.body([]byte(s), encoding)
}

// crlf gives every line the end that mail has.
func crlf(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// fitsLines reports whether s is ASCII without NUL and with lines of at most n octets.
func fitsLines(s string, n int) bool {
	for line := range strings.SplitSeq(s, "\r\n") {
		if len(line) > n || !isASCII(line) || strings.ContainsAny(line, "\x00\r\n") {
			return false
		}
	}
	return true
}

func isMostly8Bit(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] >= 0x80 {
			n++
		}
	}
	return n*2 > len(s)
}

// transferEncoding is the encoding of an attachment. One that was asked for is
// taken when the content comes through it unchanged.
func transferEncoding(a *Attachment, media string) string {
	asked := strings.ToLower(strings.TrimSpace(a.TransferEncoding))
	content := string(a.Content)
	if strings.HasPrefix(media, "message/") {
		return "8bit" // RFC 2046, 5.2.1 allows nothing that hides the message
	}
	switch asked {
	case "quoted-printable":
		return asked
	case "7bit":
		if fitsLines(content, 998) {
			return asked
		}
	case "8bit":
		if crlf(content) == content && !strings.Contains(content, "\x00") && longestLine(content) <= 998 {
			return asked
		}
	}
	return "base64"
}

func longestLine(s string) int {
	most := 0
	for line := range strings.SplitSeq(s, "\r\n") {
		most = max(most, len(line))
	}
	return most
}

func (c *composer) body(content []byte, encoding string) {
	switch encoding {
	case "base64":
		c.base64(content)
	case "quoted-printable":
		w := quotedprintable.NewWriter(c)
		_, err := w.Write(content)
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil && c.err == nil {
			c.err = fmt.Errorf("encode part: %w", err)
		}
	default:
		c.write(string(content))
	}
}

// Write lets encoders write through the composer.
func (c *composer) Write(p []byte) (int, error) {
	c.write(string(p))
	return len(p), c.err
}

// base64Line is how many octets make a line of 76 characters.
const base64Line = 57

func (c *composer) base64(content []byte) {
	buf := make([]byte, 0, 64<<10)
	for i := 0; i < len(content); i += base64Line {
		if i > 0 {
			buf = append(buf, "\r\n"...)
		}
		buf = base64.StdEncoding.AppendEncode(buf, content[i:min(i+base64Line, len(content))])
		if len(buf) > cap(buf)-200 {
			c.write(string(buf))
			buf = buf[:0]
		}
	}
	c.write(string(buf))
}

// dataURI finds images in the HTML itself. It is as large.
var dataURI = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(<img\b[^>]*?\bsrc\s*=\s*["'])(data:(image/[a-z0-9.+-]{1,60})[^,"']{0,200},)([^"']*)(["'])`)
})

// maxDataURIs is the greatest number of images that become attachments.
const maxDataURIs = 500

// embedDataURIs makes attachments of the images in data: URIs.
func embedDataURIs(source string) (string, []Attachment) {
	var images []Attachment
	out := dataURI().ReplaceAllStringFunc(source, func(m string) string {
		g := dataURI().FindStringSubmatch(m)
		if len(images) >= maxDataURIs || !strings.Contains(strings.ToLower(g[2]), ";base64,") {
			return m
		}
		content, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(html.UnescapeString(g[4])), ""))
		if err != nil {
			return m
		}
		id := NewID("mallard")
		media := strings.ToLower(g[3])
		_, ext, _ := strings.Cut(media, "/")
		ext, _, _ = strings.Cut(ext, "+")
		images = append(images, Attachment{
			Filename: fmt.Sprintf("image-%d.%s", len(images)+1, ext), ContentType: media, ContentID: id,
			Disposition: DispositionInline, Content: content,
		})
		return g[1] + "cid:" + id + g[5]
	})
	return out, images
}
