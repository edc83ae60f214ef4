package mimetree

import (
	"bytes"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/message"
)

// longestLine is the length of the longest line.
func longestLine(raw []byte) int {
	n := 0
	for line := range strings.FieldsFuncSeq(string(raw), func(r rune) bool { return r == '\n' || r == '\r' }) {
		n = max(n, len(line))
	}
	return n
}

// FuzzParse: any message has a tree within the limits, the same in memory and in parts, that survives being stored.
func FuzzParse(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.raw)
	}
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n\r\n----\r\n"))
	f.Add([]byte(strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 40)))
	f.Add([]byte(strings.Repeat("Content-Type: multipart/x; boundary=a\n\n--a\n", 40)))
	f.Add([]byte("A: \xe4\xb8\xe4\n\xa0b\n\n<p>&pound&#0;<a href=x><img src=cid:a>\r\r\n\r"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tree, err := Parse(bytes.NewReader(raw), int64(len(raw)), raw)
		if err != nil {
			t.Fatal(err)
		}
		p := tree.Prefixed(nil)
		texts, err := tree.Texts()
		if err != nil {
			t.Fatal(err)
		}
		if len(texts.Text) > 4*maxText || len(texts.HTML) > maxNodes {
			t.Fatalf("too much text: %d", len(texts.Text))
		}
		refs := make([]Reference, len(tree.Cut))
		for i, n := range tree.Cut {
			refs[i] = Reference{n.AttachmentID, []byte{byte(i)}}
			if !bytes.Equal(Normalize(raw[n.Start:n.End], n.Exact), Normalize(raw[n.Start:n.End], false)) || int64(len(Normalize(raw[n.Start:n.End], false))) != n.Size {
				t.Fatalf("%s: size %d, exact %v", n.AttachmentID, n.Size, n.Exact)
			}
		}
		stored := tree.MimeTree(p, refs)
		if err := bson.Raw(stored.Value).Validate(); err != nil {
			t.Fatalf("not valid: %v", err)
		}
		for _, v := range []bson.RawValue{p.Envelope(), tree.BodyStructure(), p.Index(), AppendAttachments(tree.Attachments(), nil)} {
			if err := v.Validate(); err != nil {
				t.Fatalf("not valid: %v", err)
			}
		}
		sameAfterStorage(t, tree, p, stored)
		if longestLine(raw) < 200 {
			sameInParts(t, raw, stored, refs)
		}
	})
}

// FuzzPreview: what a preview is made from may be a little of HTML only when the preview is the same, whatever follows.
func FuzzPreview(f *testing.F) {
	long := strings.Repeat("<p>Some words that are read, and <a href=\"https://example.com/\">a link</a>.</p>\r\n", 40)
	for _, html := range []string{
		long, "<p>[not closed " + long + "]", "<pre>> \r> quoted\n" + strings.Repeat("x\r> ", 600) + "</pre>", strings.Repeat("<blockquote>words ", 30) + long,
		"<ul>" + strings.Repeat("<li>item<ol start=7><li>"+strings.Repeat("long ", 50), 9), strings.Repeat("<h1>-</h1>-----", 100) + long, strings.Repeat("w", 2000) + long,
		"<style>" + long + "</style>" + strings.Repeat("\u200b \ufeff<br>", 400) + long, strings.Repeat("\U0001f600", 300) + " [" + long, "x " + strings.Repeat("<img alt='a]b[' src=s>", 200),
	} {
		f.Add(html)
	}
	f.Fuzz(func(t *testing.T, html string) {
		little, much := renderPreview(html), renderHTML(html, introSource)
		for _, more := range []string{"", "\nand more ] of it"} {
			if got, want := message.Intro(withoutCR(little+more)), message.Intro(withoutCR(much+more)); got != want {
				t.Errorf("%q\nfrom a little: %q\nfrom much:     %q", html, got, want)
			}
		}
	})
}

// A preview of ordinary HTML needs little of it.
func TestPreviewNeedsLittle(t *testing.T) {
	html := strings.Repeat("<p>Some words that are read, and <a href=\"https://example.com/\">a link</a>.</p>\r\n", 40)
	if got := renderPreview(html); len(got) > introSource/4 {
		t.Errorf("%d octets were rendered", len(got))
	}
}

// sameAfterStorage checks that a stored tree is rebuilt as it would have been before.
func sameAfterStorage(t *testing.T, tree *Tree, p *Prefixed, stored bson.RawValue) {
	root, refs, err := Decode(stored.Value)
	if err != nil || len(refs) != len(tree.Cut) {
		t.Fatalf("%d references: %v", len(refs), err)
	}
	show := func(pieces []Piece) string {
		var b strings.Builder
		for _, x := range pieces {
			b.Write(x.Text)
			if x.Body != nil {
				b.WriteString("\x00" + x.Body.AttachmentID)
				b.Write(x.Body.Body)
			}
		}
		return b.String()
	}
	if got, want := show(root.Pieces(root.Header)), show(tree.Root.Pieces(p.Header)); got != want {
		t.Fatalf("stored it is %q, was %q", got, want)
	}
	if root.RuledSize(root.Header) != tree.Root.RuledSize(p.Header) {
		t.Fatal("the size changes when it is stored")
	}
}

// sameInParts parses the message with a small window.
func sameInParts(t *testing.T, raw []byte, want bson.RawValue, refs []Reference) {
	small := &Tree{src: bytes.NewReader(raw), size: int64(len(raw))}
	p := &parser{src: small.src, scanned: maxScans*small.size + 1<<20, window: 256}
	root, err := p.message(0, small.size, 0)
	if err == nil {
		small.Root = root
		err = small.load()
	}
	if err == errLimits {
		return // the tree of one part is the same by its own window
	}
	if err != nil {
		t.Fatal(err)
	}
	got := small.MimeTree(small.Prefixed(nil), refs)
	if !bytes.Equal(got.Value, want.Value) {
		t.Fatalf("in parts:\n%v\nin memory:\n%v", bson.Raw(got.Value), bson.Raw(want.Value))
	}
}
