package draft_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"mallard/internal/draft"
	"mallard/internal/mail"
	"mallard/internal/store"
)

const multipart = "Message-ID: <own@x>\r\nIn-Reply-To: <parent@x>\r\nReferences: <root@x> <parent@x>\r\n" +
	"Date: Mon, 02 Feb 2026 10:01:05 +0200\r\nSubject: Re: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n" +
	"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: BASE64\r\nContent-Disposition: attachment\r\n\r\nUE5H\r\n--b--\r\n"

func receive(t *testing.T, rc *draft.Receiver, r io.Reader) *draft.Draft {
	t.Helper()
	d, err := rc.Receive(t.Context(), r, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func octets(t *testing.T, c *store.Content) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(c.Source, 0, c.Size+10))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is prepared does not depend on whether the message waits in memory or in
// a file, or how it comes.
func TestReceive(t *testing.T) {
	for name, text := range map[string]string{
		"empty":     "",
		"multipart": multipart,
		"octets":    "X: \xff\x00\n\r\r\nbare\nNUL\x00\xfe",
		"long":      "Subject: long\r\n\r\n" + strings.Repeat("a line of the text\r\n", 10000),
	} {
		mem := receive(t, draft.New(draft.Options{Dir: t.TempDir()}), strings.NewReader(text))
		file := receive(t, draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 16}), iotest.HalfReader(strings.NewReader(text)))
		one := receive(t, draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 700}), iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(text))))
		want := mem.Content()
		for _, d := range []*draft.Draft{mem, file, one} {
			c := d.Content()
			if got := octets(t, c); got != text || c.Size != int64(len(text)) || d.Size() != c.Size {
				t.Errorf("%s: %d octets became %d", name, len(text), len(got))
			}
			if c.Whole != nil && string(c.Whole) != text {
				t.Errorf("%s: the message in memory has %d octets, not %d", name, len(c.Whole), len(text))
			}
			c.Source, c.Whole = want.Source, want.Whole
			if !reflect.DeepEqual(c, want) {
				t.Errorf("%s: prepared\n%+v\nwant\n%+v", name, c, want)
			}
		}
	}
}

func TestContent(t *testing.T) {
	d := receive(t, draft.New(draft.Options{Dir: t.TempDir()}), strings.NewReader(multipart))
	c := d.Content()
	at := func(body string) int64 { return int64(strings.LastIndex(multipart, body)) }
	text, image := at("text\r\n--b"), at("UE5H")
	wantLeaves := []store.Leaf{
		{Start: text, End: text + 4, Encoding: "7bit", Type: "text/plain"},
		{Start: image, End: image + 4, Encoding: "base64", Type: "image/png", Attachment: true},
	}
	if !reflect.DeepEqual(c.Leaves, wantLeaves) {
		t.Errorf("leaves %+v, want %+v", c.Leaves, wantLeaves)
	}
	if want := []string{"own@x", "parent@x", "root@x", "parent@x"}; !reflect.DeepEqual(c.References, want) {
		t.Errorf("references %q, want %q", c.References, want)
	}
	if c.Subject != "Grüße" || c.MessageID != "<own@x>" || !c.HasAttachments || c.Date.Format("15:04 -0700") != "10:01 +0200" {
		t.Errorf("%q %q %v %v", c.Subject, c.MessageID, c.HasAttachments, c.Date)
	}
	head, _, _ := strings.Cut(multipart, "\r\n\r\n")
	if string(c.Header) != head+"\r\n\r\n" {
		t.Errorf("header %q", c.Header)
	}
	if d.Summary().Intro != "text" || d.Message().Root.Type != "MULTIPART" {
		t.Errorf("%+v", d.Summary())
	}
}

// A receiver that has been used finds the same as a new one, also after messages
// that failed.
func TestReuse(t *testing.T) {
	rc := draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 512})
	for i := range 50 {
		text := fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", i, strings.Repeat("word ", i*20))
		if _, err := rc.Receive(t.Context(), strings.NewReader("Subject: other\r\n\r\n"+text), 20); mail.CodeOf(err) != mail.CodeTooBig {
			t.Fatal(err)
		}
		got := receive(t, rc, strings.NewReader(text))
		want := receive(t, draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 512}), strings.NewReader(text))
		a, b := got.Content(), want.Content()
		if octets(t, a) != text {
			t.Fatalf("message %d is not what came", i)
		}
		a.Source = b.Source
		if !reflect.DeepEqual(a, b) {
			t.Errorf("message %d: %+v, want %+v", i, a, b)
		}
		if i%2 == 0 {
			if err := errors.Join(got.Close(), got.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	rc := draft.New(draft.Options{Dir: dir, MemoryMax: 100})
	big := strings.Repeat("x", 1000)
	broken := errors.New("broken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		rc   *draft.Receiver
		ctx  context.Context
		r    io.Reader
		max  int64
		code mail.Code
		is   error
	}{
		"too big, in memory": {rc, t.Context(), strings.NewReader(big), 50, mail.CodeTooBig, nil},
		"too big, in a file": {rc, t.Context(), iotest.OneByteReader(strings.NewReader(big)), 999, mail.CodeTooBig, nil},
		"reader":             {rc, t.Context(), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), 0, mail.CodeInternal, broken},
		"wrapped end":        {rc, t.Context(), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(fmt.Errorf("lost: %w", io.EOF))), 0, mail.CodeInternal, io.EOF},
		"context":            {rc, ended, strings.NewReader("x"), 0, mail.CodeCanceled, context.Canceled},
		"no directory": {
			draft.New(draft.Options{Dir: filepath.Join(dir, "missing"), MemoryMax: 100}), t.Context(), strings.NewReader(big), 0, mail.CodeUnavailable, os.ErrNotExist,
		},
	} {
		d, err := tc.rc.Receive(tc.ctx, tc.r, tc.max)
		if d != nil || mail.CodeOf(err) != tc.code || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
	if d, err := rc.Receive(t.Context(), strings.NewReader(big), 1000); err != nil {
		t.Errorf("exactly the limit: %v", err)
	} else {
		_ = d.Close()
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
}

// endless gives n octets of a message without holding them.
func endless(head, line string, n int64) io.Reader {
	return io.MultiReader(strings.NewReader(head), io.LimitReader(&repeater{line: line}, n-int64(len(head))))
}

type repeater struct {
	line string
	at   int
}

func (r *repeater) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.line[r.at:])
		n += c
		r.at = (r.at + c) % len(r.line)
	}
	return n, nil
}

// A message of 64 MiB allocates a few MiB in all, whatever it is made of: what
// is allocated bounds what is in use at any moment.
func TestMemory(t *testing.T) {
	size := int64(64 << 20)
	if testing.Short() {
		size = 24 << 20 // more than is allowed to be allocated, still
	}
	for name, m := range map[string]struct{ head, line string }{
		"text":        {"Subject: x\r\n\r\n", "a line of text that is as long as lines often are\r\n"},
		"one line":    {"Subject: x\r\n\r\n", "x"},
		"html":        {"Content-Type: text/html\r\n\r\n", "<p>some <b>text</b> &amp; more</p>\r\n"},
		"attachment":  {"Content-Transfer-Encoding: base64\r\nContent-Type: image/png\r\n\r\n", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY\r\n"},
		"parts":       {"Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n"},
		"nesting":     {"", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"},
		"header":      {"", "X-Field: value of a field\r\n"},
		"header line": {"Subject: ", "x"},
		"recipients":  {"To: ", "a.b@example.com,\r\n "},
		"no octets":   {"", "\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			rc := draft.New(draft.Options{Dir: t.TempDir()})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d, err := rc.Receive(t.Context(), endless(m.head, m.line, size), size)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			total := after.TotalAlloc - before.TotalAlloc
			t.Logf("%.1f MiB allocated", float64(total)/(1<<20))
			if total > 24<<20 {
				t.Errorf("%d octets allocated for a message of %d", total, size)
			}
			c := d.Content()
			kept := len(c.Header) + len(c.Envelope) + len(c.BodyStructure) + len(c.Tree) + len(c.Summary) + len(c.Signature)
			if d.Size() != size || kept > 4<<20 {
				t.Errorf("size %d, %d octets beside it", d.Size(), kept)
			}
			var tail bytes.Buffer
			if _, err := io.Copy(&tail, io.NewSectionReader(c.Source, size-10, 20)); err != nil || tail.Len() != 10 {
				t.Errorf("the end: %q, %v", tail.Bytes(), err)
			}
		})
	}
}
