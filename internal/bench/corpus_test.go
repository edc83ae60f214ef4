package bench

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"

	"mime"

	"pgregory.net/rapid"
)

func TestCorpusIsTheSameForTheSameSeed(t *testing.T) {
	for _, p := range []Profile{ProfileSmall, ProfileMixed, ProfileAttachments} {
		a, err := NewCorpus(p, 42, 20)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := NewCorpus(p, 42, 30)
		other, _ := NewCorpus(p, 43, 20)
		for i := range a.Len() {
			if !bytes.Equal(a.Content(i), b.Content(i)) {
				t.Errorf("%s: message %d differs between two corpora of one seed", p, i)
			}
			if bytes.Equal(a.Content(i)[idLine:], other.Content(i)[idLine:]) {
				t.Errorf("%s: message %d is the same under another seed", p, i)
			}
		}
	}
}

func TestCorpusSizes(t *testing.T) {
	tests := []struct {
		profile        Profile
		count          int
		lowest, highst int64 // of the mean
	}{
		{ProfileSmall, 3000, 3900, 4300},
		{ProfileMixed, 3000, 28_000, 32_000},
		{ProfileAttachments, 60, 400_000, 900_000},
		{ProfileBig, 1, bigSize - 156, bigSize},
	}
	for _, tt := range tests {
		c, err := NewCorpus(tt.profile, 1, tt.count)
		if err != nil {
			t.Fatal(err)
		}
		if mean := c.Bytes() / int64(c.Len()); mean < tt.lowest || mean > tt.highst {
			t.Errorf("%s: mean of %d octets, want %d to %d", tt.profile, mean, tt.lowest, tt.highst)
		}
	}
	if _, err := NewCorpus("huge", 1, 1); err == nil {
		t.Error("no error for a profile that does not exist")
	}
	if _, err := NewCorpus(ProfileSmall, 1, 0); err == nil {
		t.Error("no error for no messages")
	}
}

// Another parser must find nothing wrong with the mail, down to the decoded parts.
func TestCorpusIsWellFormedMail(t *testing.T) {
	for _, p := range []Profile{ProfileSmall, ProfileMixed, ProfileAttachments} {
		c, err := NewCorpus(p, 7, 60)
		if err != nil {
			t.Fatal(err)
		}
		parts := 0
		for i := range c.Len() {
			content := c.Content(i)
			checkLines(t, content)
			m, err := mail.ReadMessage(bytes.NewReader(content))
			if err != nil {
				t.Fatalf("%s %d: %v", p, i, err)
			}
			if n := len(m.Header["Received"]); n < 2 || n > 4 {
				t.Errorf("%s %d: %d Received fields", p, i, n)
			}
			for _, name := range []string{"From", "To", "Date", "Subject", "Dkim-Signature", "Message-Id"} {
				if m.Header.Get(name) == "" {
					t.Errorf("%s %d: no %s", p, i, name)
				}
			}
			if _, err := m.Header.AddressList("To"); err != nil {
				t.Errorf("%s %d: To: %v", p, i, err)
			}
			parts += checkParts(t, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
		}
		if parts < c.Len() {
			t.Errorf("%s: %d parts in %d messages", p, parts, c.Len())
		}
	}
}

func checkLines(t *testing.T, content []byte) {
	t.Helper()
	if !bytes.HasSuffix(content, []byte("\r\n")) {
		t.Error("the last line does not end")
	}
	for line := range bytes.Lines(content) {
		if len(line) > 1000 || !bytes.HasSuffix(line, []byte("\r\n")) || bytes.ContainsAny(line[:len(line)-2], "\r\x00") {
			t.Errorf("line %.80q of %d octets", line, len(line))
		}
	}
}

func checkParts(t *testing.T, contentType, encoding string, body io.Reader) int {
	t.Helper()
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatalf("content type %q: %v", contentType, err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		switch encoding {
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		}
		if n, err := io.Copy(io.Discard, body); err != nil || n == 0 {
			t.Errorf("part %s: %d octets, %v", contentType, n, err)
		}
		return 1
	}
	count := 0
	for r := multipart.NewReader(body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return count
		}
		if err != nil {
			t.Fatalf("multipart: %v", err)
		}
		count += checkParts(t, part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part)
	}
}

func TestAttachmentsAreShared(t *testing.T) {
	c, err := NewCorpus(ProfileAttachments, 1, 40)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := newGenerator(ProfileAttachments, 1)
	for k, f := range g.shared {
		found := 0
		for i := range c.Len() {
			if bytes.Contains(c.Content(i), f.encoded) {
				found++
			}
		}
		if found < 5 {
			t.Errorf("file %d is in %d of %d messages", k, found, c.Len())
		}
	}
}

func TestStuffing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[.a]{0,4}`), 0, 8).Draw(t, "lines")
		content := ""
		for _, l := range lines {
			content += l + "\r\n"
		}
		wire, changed := appendStuffed(nil, []byte(content))
		if changed == (string(wire) == content) {
			t.Fatalf("changed is %v for %q -> %q", changed, content, wire)
		}
		var back []byte
		for line := range bytes.Lines(wire) {
			if string(line) == ".\r\n" {
				t.Fatalf("%q ends in the middle as %q", content, wire)
			}
			back = append(back, bytes.TrimPrefix(line, []byte("."))...)
		}
		if string(back) != content {
			t.Fatalf("%q came back as %q", content, back)
		}
	})
}

func TestQuotedPrintableDecodesToItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.StringMatching(`[ =a-zäé]{0,120}`), 1, 4).Draw(t, "lines"), "\r\n")
		encoded := appendQuotedPrintable(nil, []byte(text))
		got, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(encoded)))
		if err != nil || string(got) != text {
			t.Fatalf("%q -> %q -> %q, %v", text, encoded, got, err)
		}
		for line := range bytes.Lines(encoded) {
			if len(bytes.TrimRight(line, "\r\n")) > 76 {
				t.Fatalf("line of %d columns: %q", len(line), line)
			}
		}
	})
}

func TestFindID(t *testing.T) {
	c, err := NewCorpus(ProfileSmall, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	msg := c.Content(1)
	decoy := "X-Note: Message-ID: <0123456789ABCDEF.bench@mail.example.net>\r\nMessage-ID: <other@example.net>\r\n"
	for _, prefix := range []string{"", "Return-Path: <a@b>\r\n", decoy} {
		at, digits := findID(append([]byte(prefix), msg...))
		serial, ok := c.serial(digits)
		if at != len(prefix) || !ok || serial != 1 {
			t.Errorf("behind %q: found at %d, message %d, %v", prefix, at, serial, ok)
		}
	}
	if at, _ := findID([]byte(decoy)); at != -1 {
		t.Errorf("found an id where there is none, at %d", at)
	}
	for _, digits := range []string{"", "0000000000000001", "zzzzzzzzzzzzzzzz"} {
		if _, ok := c.serial([]byte(digits)); ok {
			t.Errorf("%q taken for a message of the corpus", digits)
		}
	}
}

func TestMetaHeader(t *testing.T) {
	in := "Received: from a\r\n\tby b\r\nFROM: a\r\nTo: b,\r\n c\r\nX-To: d\r\nReferences:\r\n <1>\r\n <2>\r\nSubject: s\r\n\r\nFrom: body\r\n"
	want := "FROM: a\r\nTo: b,\r\n c\r\nReferences:\r\n <1>\r\n <2>\r\nSubject: s\r\n\r\n"
	if got := string(metaHeader([]byte(in))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("* 12 EXISTS"))
	f.Add([]byte("* 1 FETCH (BODY[] {123}"))
	f.Add([]byte("* 1 FETCH (BODY[] {99999999999999999999}"))
	f.Add([]byte("Message-ID: <0123456789ABCDEF.bench@mail.example.net>\r\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if n, ok := literalSize(line); ok && (n < 0 || n > 1<<45) {
			t.Errorf("literal of %d", n)
		}
		if n, ok := existsCount(line); ok && n < 0 && !bytes.Contains(line, []byte("-")) {
			t.Errorf("exists %d", n)
		}
		if at, digits := findID(line); at >= 0 && len(digits) != idDigits {
			t.Errorf("%d digits", len(digits))
		}
		prepended(line)
	})
}
