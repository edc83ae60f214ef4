package message

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// checkMessage parses raw and checks what holds for every input.
func checkMessage(t testing.TB, raw []byte) *Message {
	t.Helper()
	m, err := ParseBytes(raw, Limits{})
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	if m.Size != int64(len(raw)) || m.Lines != int64(bytes.Count(raw, []byte{'\n'})) {
		t.Fatalf("size %d lines %d of a message with %d and %d", m.Size, m.Lines, len(raw), bytes.Count(raw, []byte{'\n'}))
	}
	if r := m.Root; r.HeaderStart != 0 || r.BodyEnd != m.Size || r.BodyStart != m.HeaderEnd || r.Envelope == nil {
		t.Fatalf("root does not cover the message: %+v", r)
	}
	if !m.Limited && !bytes.Equal(m.Header, raw[:m.HeaderEnd]) {
		t.Fatalf("header is not verbatim: %q", m.Header)
	}
	if m.Has8Bit != has8Bit(raw) || m.HasNUL != (bytes.IndexByte(raw, 0) >= 0) ||
		m.HasBareLF != (bytes.Count(raw, []byte{'\n'}) != bytes.Count(raw, []byte("\r\n"))) {
		t.Fatalf("flags are wrong: 8-bit %v NUL %v bare LF %v", m.Has8Bit, m.HasNUL, m.HasBareLF)
	}
	checkPart(t, raw, m.Root)
	checkTree(t, m)
	checkSummary(t, m)
	checkSections(t, m)
	checkWire(t, AppendEnvelope(nil, m.Root.Envelope))
	checkWire(t, AppendBodyStructure(nil, m.Root, true))
	checkWire(t, AppendBodyStructure(nil, m.Root, false))
	return m
}

func checkPart(t testing.TB, raw []byte, p *Part) {
	t.Helper()
	if p.HeaderStart > p.BodyStart || p.BodyStart > p.BodyEnd {
		t.Fatalf("offsets out of order: %+v", p)
	}
	if p.Type == "" || p.Subtype == "" || p.Encoding == "" {
		t.Fatalf("part without type or encoding: %+v", p)
	}
	if n := int64(bytes.Count(raw[p.BodyStart:p.BodyEnd], []byte{'\n'})); n != p.Lines {
		t.Fatalf("body of %d lines has Lines %d: %+v", n, p.Lines, p)
	}
	if p.DecodedSize < 0 || p.DecodedSize > p.Size() {
		t.Fatalf("decoded size %d of %d", p.DecodedSize, p.Size())
	}
	if p.Type == "MULTIPART" && len(p.Children) == 0 && !p.Opaque || p.Type != "MULTIPART" && len(p.Children) > 0 {
		t.Fatalf("multipart without parts: %+v", p)
	}
	at := p.BodyStart
	for _, c := range p.Children {
		if c.HeaderStart < at || c.BodyEnd > p.BodyEnd {
			t.Fatalf("part %d-%d is not inside %d-%d", c.HeaderStart, c.BodyEnd, at, p.BodyEnd)
		}
		at = c.BodyEnd
		checkPart(t, raw, c)
	}
	if p.Message != nil {
		if p.Message.HeaderStart != p.BodyStart || p.Message.BodyEnd != p.BodyEnd || p.Message.Envelope == nil {
			t.Fatalf("embedded message does not fill its part: %+v", p.Message)
		}
		checkPart(t, raw, p.Message)
	}
}

// parsedOnly are the fields that the codec leaves out on purpose.
var parsedOnly = cmpopts.IgnoreUnexported(Message{}, Envelope{}, Part{})

// normal is a copy of m without what the codec leaves out on purpose.
func normal(m *Message) *Message {
	c := *m
	c.Header, c.intro, c.TextLimited = nil, "", false
	c.Root = normalPart(m.Root)
	return &c
}

func normalPart(p *Part) *Part {
	if p == nil {
		return nil
	}
	c := *p
	c.sum = AttachmentSum{}
	if e := p.Envelope; e != nil {
		plain := *e
		plain.senderImplied, plain.replyToImplied = false, false
		c.Envelope = &plain
	}
	c.Message = normalPart(p.Message)
	c.Children = nil
	for _, child := range p.Children {
		c.Children = append(c.Children, normalPart(child))
	}
	return &c
}

func checkTree(t testing.TB, m *Message) {
	t.Helper()
	enc := AppendTree(nil, m)
	d, err := DecodeTree(enc)
	if err != nil {
		t.Fatalf("decode tree: %v", err)
	}
	d.Root.Envelope = m.Root.Envelope
	want := normal(m)
	if !reflect.DeepEqual(want, normal(d)) {
		if bytes.Count(enc, []byte("MULTIPART")) > 8 { // cmp takes exponential time in the depth
			t.Fatal("decoded tree differs")
		}
		t.Fatalf("decoded tree differs (-want +got)\n%s", cmp.Diff(want, normal(d), parsedOnly))
	}
	d.Root.Envelope = nil
	if !bytes.Equal(AppendTree(nil, d), enc) {
		t.Fatal("decoded tree is encoded in another way")
	}
}

func checkSummary(t testing.TB, m *Message) {
	t.Helper()
	s := m.Summary()
	d, err := DecodeSummary(AppendSummary(nil, &s))
	if err != nil {
		t.Fatalf("decode summary: %v", err)
	}
	if !d.Date.Equal(s.Date) || d.Date.Format("-0700") != s.Date.Format("-0700") {
		t.Fatalf("date %v became %v", s.Date, d.Date)
	}
	d.Date = s.Date
	if diff := cmp.Diff(&s, d); diff != "" {
		t.Fatalf("decoded summary differs (-want +got)\n%s", diff)
	}
	for _, v := range []string{s.Subject, s.MessageID, s.InReplyTo, s.ListID, s.ThreadIndex, s.Intro, s.ContentType} {
		if !utf8.ValidString(v) || strings.ContainsAny(v, "\r\n\x00") {
			t.Fatalf("summary has %q", v)
		}
	}
	if utf8.RuneCountInString(s.Intro) > introChars+1 {
		t.Fatalf("preview of %d characters", utf8.RuneCountInString(s.Intro))
	}
	for _, a := range s.Attachments {
		p := m.Section(a.Section)
		if p == nil || p.Size() != a.Size || p.InlineText() || a.Filename == "" {
			t.Fatalf("attachment %+v is not the part %+v", a, p)
		}
	}
}

func checkSections(t testing.TB, m *Message) {
	t.Helper()
	seen := map[*Part]bool{}
	m.Walk(func(path []int, p *Part) bool {
		if seen[p] {
			t.Fatalf("part %v visited twice", path)
		}
		seen[p] = true
		found := m.Section(path)
		if found != p && (found == nil || found.Message != p) {
			t.Fatalf("section %v is %+v, not %+v", path, found, p)
		}
		start, end, ok := m.SectionRange(path, SectionBody)
		if !ok || start < 0 || start > end || end > m.Size {
			t.Fatalf("section %v is %d-%d %v", path, start, end, ok)
		}
		return true
	})
}

// checkWire checks that b is one parenthesized list of IMAP.
func checkWire(t testing.TB, b []byte) {
	t.Helper()
	rest, ok := skipValue(b, 0)
	if !ok || len(rest) > 0 {
		t.Fatalf("no IMAP list: %q", b)
	}
}

func skipValue(b []byte, depth int) (rest []byte, ok bool) {
	switch {
	case len(b) == 0:
		return nil, false
	case b[0] == '(':
		b = b[1:]
		for first := true; len(b) > 0 && b[0] != ')'; first = false {
			if !first && b[0] != ' ' && b[0] != '(' {
				return nil, false
			}
			if b, ok = skipValue(bytes.TrimPrefix(b, []byte{' '}), depth+1); !ok {
				return nil, false
			}
		}
		if len(b) == 0 {
			return nil, false
		}
		return b[1:], true
	case b[0] == '"':
		for i := 1; i < len(b); i++ {
			switch c := b[i]; {
			case c == '\\':
				i++
			case c == '"':
				return b[i+1:], true
			case c >= 0x80 || c == '\r' || c == '\n' || c == 0:
				return nil, false
			}
		}
		return nil, false
	case b[0] == '{':
		n, digits := leadingInt(string(b[1:min(len(b), 11)]))
		b = b[1+digits:]
		if !bytes.HasPrefix(b, []byte("}\r\n")) || len(b) < 3+n || bytes.IndexByte(b[:3+n], 0) >= 0 {
			return nil, false
		}
		return b[3+n:], true
	case bytes.HasPrefix(b, []byte("NIL")):
		return b[3:], true
	}
	_, digits := leadingInt(string(b[:min(len(b), 9)]))
	return b[digits:], digits > 0
}

// TestChunks checks that the way in which a message is cut into chunks makes
// no difference.
func TestChunks(t *testing.T) {
	for _, name := range corpusFiles(t) {
		raw := readFile(t, name)
		want := dump(raw, [][]byte{raw})
		for seed := range uint64(12) {
			r := rand.New(rand.NewPCG(seed, 1))
			if got := dump(raw, cut(raw, r, int(seed))); !bytes.Equal(got, want) {
				t.Fatalf("%s, seed %d: %s", name, seed, cmp.Diff(string(want), string(got)))
			}
		}
	}
}

// cut cuts raw into chunks of one octet (kind 0), or of random sizes.
func cut(raw []byte, r *rand.Rand, kind int) (chunks [][]byte) {
	most := []int{1, 2, 3, 7, 20, 100}[kind%6]
	for len(raw) > 0 {
		n := min(len(raw), 1+r.IntN(most))
		chunks = append(chunks, bytes.Clone(raw[:n]))
		raw = raw[n:]
	}
	return chunks
}
