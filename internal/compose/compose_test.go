package compose

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"mallard/internal/message"
)

func render(t testing.TB, m *Message) string {
	t.Helper()
	var b bytes.Buffer
	n, err := m.WriteTo(&b)
	if err != nil {
		t.Fatalf("compose: %v", err)
	}
	if n != int64(b.Len()) {
		t.Errorf("WriteTo says %d octets, wrote %d", n, b.Len())
	}
	return b.String()
}

func example() *Message {
	return &Message{
		From: Address{"Jörg Ä", "jorg@example.test"}, To: []Address{{"Alice", "alice@example.com"}, {"", "not an address"}},
		Cc: []Address{{"", "c@bücher.test"}}, Bcc: []Address{{"O'Neil, \"X\"", "x@example.test"}},
		Subject: "Composed ✓ " + strings.Repeat("long words ", 20), Text: "Hello text\nline 2\n.\n",
		HTML: `<p>Hello <img src="cid:pic1"></p>`, Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)),
		Fields:     []Field{{"X-One", "1"}, {"X-One", "2"}, {"X-Ä", "dropped"}, {"Content-Type", "text/evil"}, {"X-Inject", "a\r\nBcc: evil@example.test"}},
		References: []string{"<a@x>", "b@x\r\nX: y"}, InReplyTo: "<a@x>",
		Attachments: []Attachment{
			{Filename: "pic.png", ContentType: "image/png", ContentID: "pic1", Content: []byte("\x89PNG\r\n")},
			{Filename: "näme.txt", ContentType: "text/plain", Content: []byte("plain ä")},
			{Filename: "in\"ner\r\nX-Evil: 1.eml", ContentType: "message/rfc822", Content: []byte("Subject: inner\r\n\r\ntext\r\n")},
		},
	}
}

func TestStructure(t *testing.T) {
	got := render(t, example())
	msg, err := mail.ReadMessage(strings.NewReader(got))
	if err != nil {
		t.Fatalf("%v in\n%s", err, got)
	}
	if v := msg.Header["X-One"]; !slices.Equal(v, []string{"1", "2"}) {
		t.Errorf("X-One = %q", v)
	}
	for _, name := range []string{"X-Evil", "X"} {
		if v := msg.Header.Get(name); v != "" {
			t.Errorf("%s: %q was injected", name, v)
		}
	}
	if v := msg.Header["Bcc"]; len(v) != 1 || strings.Contains(v[0], "evil") {
		t.Errorf("Bcc = %q", v)
	}
	if v := msg.Header.Get("Date"); v != "Fri, 02 Jan 2026 02:04:05 +0000" {
		t.Errorf("Date = %q", v)
	}
	if v := msg.Header.Get("References"); v != "<a@x> <b@xX:y>" {
		t.Errorf("References = %q", v)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
	if want := strings.TrimSpace(example().Subject); err != nil || subject != want {
		t.Errorf("Subject = %q (%v), want %q", subject, err, want)
	}
	to, err := msg.Header.AddressList("To")
	if err != nil || len(to) != 1 || to[0].Address != "alice@example.com" {
		t.Errorf("To = %v, %v", to, err)
	}
	cc, err := msg.Header.AddressList("Cc")
	if err != nil || cc[0].Address != "c@xn--bcher-kva.test" {
		t.Errorf("Cc = %v, %v", cc, err)
	}
	want := []string{"multipart/alternative", " text/plain Hello text\r\nline 2\r\n.\r\n", " multipart/related", "  text/html <p>Hello <img src=\"cid:pic1\"></p>",
		"  image/png \x89PNG\r\n", "text/plain plain ä", "message/rfc822 Subject: inner\r\n\r\ntext\r\n"}
	if parts := leaves(t, msg.Header.Get("Content-Type"), msg.Body, ""); !slices.Equal(parts, want) {
		t.Errorf("parts:\n%q\nwant:\n%q", parts, want)
	}
}

// leaves reads the parts below a multipart with the standard library.
func leaves(t *testing.T, contentType string, r io.Reader, indent string) []string {
	t.Helper()
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatalf("%s: %v", contentType, err)
	}
	var out []string
	mr := multipart.NewReader(r, params["boundary"])
	for {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("next part: %v", err)
		}
		media, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatalf("part type %q: %v", p.Header.Get("Content-Type"), err)
		}
		if strings.HasPrefix(media, "multipart/") {
			out = append(out, indent+media)
			out = append(out, leaves(t, p.Header.Get("Content-Type"), p, indent+" ")...)
			continue
		}
		var content io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			content = base64.NewDecoder(base64.StdEncoding, p)
		}
		b, err := io.ReadAll(content)
		if err != nil {
			t.Fatalf("read part: %v", err)
		}
		out = append(out, indent+media+" "+string(b))
	}
}

// A message that is attached cannot be encoded (RFC 2046, 5.2.1): its lines get the ends that those of the whole have.
func TestAttachedMessageHasLineEndsOfMail(t *testing.T) {
	m := Message{Text: "see below", Attachments: []Attachment{
		{Filename: "a.eml", ContentType: "message/rfc822", Content: []byte("Subject: a\r\n\nfirst\rsecond\n")},
	}}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if rest := strings.ReplaceAll(b.String(), "\r\n", ""); strings.ContainsAny(rest, "\r\n") {
		t.Errorf("bare CR or LF in %q", b.String())
	}
	if want := "\r\n\r\nSubject: a\r\n\r\nfirst\r\nsecond\r\n"; !strings.Contains(b.String(), want) {
		t.Errorf("%q is not in %q", want, b.String())
	}
}

func TestShapes(t *testing.T) {
	for _, tc := range []struct {
		name string
		msg  Message
		want string // types of all parts
	}{
		{"nothing", Message{}, "text/plain"},
		{"text", Message{Text: "x"}, "text/plain"},
		{"html", Message{HTML: "x"}, "text/html"},
		{"both", Message{Text: "x", HTML: "y"}, "multipart/alternative(text/plain text/html)"},
		{"file only", Message{Attachments: []Attachment{{Filename: "a.pdf"}}}, "multipart/mixed(application/pdf)"},
		{"file without type", Message{Text: "x", Attachments: []Attachment{{Filename: "a"}}}, "multipart/mixed(text/plain application/octet-stream)"},
		{"inline without html", Message{Text: "x", Attachments: []Attachment{{ContentID: "c", ContentType: "image/png"}}}, "multipart/mixed(text/plain image/png)"},
		{"multipart as a file", Message{Text: "x", Attachments: []Attachment{{ContentType: "multipart/mixed; boundary=x"}}}, "multipart/mixed(text/plain application/octet-stream)"},
		{"broken type", Message{Text: "x", Attachments: []Attachment{{ContentType: "text/html\r\nX: y"}}}, "multipart/mixed(text/plain application/octet-stream)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			msg, err := message.ParseBytes([]byte(render(t, &tc.msg)), message.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := shape(msg.Root); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func shape(p *message.Part) string {
	if !p.IsMultipart() {
		return p.ContentType()
	}
	var kids []string
	for _, c := range p.Children {
		kids = append(kids, shape(c))
	}
	return p.ContentType() + "(" + strings.Join(kids, " ") + ")"
}

func TestDataURIs(t *testing.T) {
	m := &Message{EmbedDataURIs: true, HTML: `<p><img alt=x src="data:image/png;base64,iVBORw0KGgpm YWtl"><img src='data:image/svg+xml,<svg>'></p>`}
	got := render(t, m)
	msg, err := message.ParseBytes([]byte(got), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if s := shape(msg.Root); s != "multipart/related(text/html image/png)" {
		t.Fatalf("got %s:\n%s", s, got)
	}
	id := strings.Trim(msg.Root.Children[1].ID, "<>")
	if !strings.Contains(strings.ReplaceAll(got, "=\r\n", ""), "cid:"+id) || !strings.Contains(got, "iVBORw0KGgpmYWtl") {
		t.Errorf("the image is not linked:\n%s", got)
	}
}

func TestTransferEncodings(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for _, tc := range []struct{ asked, content, want string }{
		{"", "x", "base64"}, {"7bit", "x\r\n", "7bit"}, {"7bit", "ä", "base64"}, {"8bit", "ä\r\n", "8bit"}, {"8bit", "a\nb", "base64"},
		{"7bit", long, "base64"}, {"quoted-printable", "ä" + long, "quoted-printable"}, {"x-evil\r\nX: y", "x", "base64"}, {"8bit", "\x00", "base64"},
	} {
		a := Attachment{ContentType: "application/x", TransferEncoding: tc.asked, Content: []byte(tc.content)}
		if got := transferEncoding(&a, a.ContentType); got != tc.want {
			t.Errorf("%q for %.10q: got %q, want %q", tc.asked, tc.content, got, tc.want)
		}
	}
}

// FuzzCompose holds the composer to what it promises: lines of mail, the
// subject, and the parts that went in, whatever the values are.
func FuzzCompose(f *testing.F) {
	f.Add("Jörg", "a@b.test", "Sub\r\nject", "text", "<p>h", "X-A", "v", "fi\"le", "text/plain", "cid", "content")
	f.Add("=?utf-8?q?x?=", "x@xn--a.test", "=?", "\r\n.\r\n--", "", "Bcc", "x\n\n", "../ü", "a/b", "<>", "\x00\xff")
	f.Fuzz(func(t *testing.T, name, addr, subject, text, source, key, value, file, media, cid, content string) {
		if len(name)+len(subject)+len(text)+len(source)+len(value)+len(file)+len(content) > 1<<14 {
			return
		}
		m := &Message{
			From: Address{name, addr}, To: []Address{{name, "to@example.test"}}, Subject: subject, Text: text, HTML: source,
			Fields:      []Field{{key, value}},
			Attachments: []Attachment{{Filename: file, ContentType: media, ContentID: cid, Content: []byte(content)}},
		}
		got := render(t, m)
		for _, line := range strings.Split(got, "\r\n") {
			if strings.ContainsAny(line, "\r\n") && !strings.HasPrefix(media, "message/") {
				t.Fatalf("a line end that is none of mail in %q", line)
			}
		}
		msg, err := message.ParseBytes([]byte(got), message.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		sum := msg.Summary()
		if len(sum.To) != 1 || sum.To[0].Addr() != "to@example.test" {
			t.Errorf("To = %v in\n%s", sum.To, got)
		}
		if len(sum.Bcc) != 0 || len(sum.Cc) != 0 {
			t.Errorf("a recipient was injected:\n%s", got)
		}
		if !strings.EqualFold(strings.TrimSpace(key), "subject") && sum.Subject != strings.Join(strings.Fields(message.DecodeHeader([]byte(encodeText(subject, false)))), " ") {
			t.Errorf("Subject = %q in\n%s", sum.Subject, got)
		}
		if !msg.Root.IsMultipart() {
			t.Errorf("no multipart:\n%s", got)
		}
	})
}
