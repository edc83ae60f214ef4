package imapwire_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"mallard/internal/imap/imapclient"
	"mallard/internal/imap/imapwire"
)

// repeat is a source that gives the same text again and again.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

func BenchmarkReadCommand(b *testing.B) {
	for name, line := range map[string]string{
		"noop":   "a1 NOOP\r\n",
		"fetch":  "a1 UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (From To Subject Date)])\r\n",
		"body":   "a1 UID FETCH 4711 (UID RFC822.SIZE BODY.PEEK[]<0.65536>)\r\n",
		"store":  "a1 UID STORE 4711 +FLAGS.SILENT (\\Seen $Label1)\r\n",
		"search": "a1 UID SEARCH OR FROM \"a\" SUBJECT \"b\" NOT DELETED SINCE 1-Jan-2026\r\n",
		"login":  "a1 LOGIN {3+}\r\njoe {6+}\r\nsecret\r\n",
		"list":   "a1 LIST \"\" \"*\" RETURN (SPECIAL-USE STATUS (MESSAGES UNSEEN))\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			r := imapwire.NewReader(&repeat{text: line}, imapwire.Options{})
			state := imapwire.StateSelected
			if name == "login" {
				state = imapwire.StateNotAuthenticated
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if _, err := r.ReadCommand(state); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	msg := strings.Repeat("x", 30_000)
	line := "a1 APPEND INBOX (\\Seen) \"01-Jan-2026 10:00:00 +0000\" {30000+}\r\n" + msg + "\r\n"
	r := imapwire.NewReader(&repeat{text: line}, imapwire.Options{})
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		cmd, err := r.ReadCommand(imapwire.StateAuthenticated)
		if err != nil {
			b.Fatal(err)
		}
		a := cmd.Args.(*imapwire.Append)
		m, err := a.Next()
		if err != nil {
			b.Fatal(err)
		}
		body, err := m.Open()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			b.Fatal(err)
		}
		if _, err := a.Next(); err != io.EOF {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeFetch(b *testing.B) {
	flags := []string{`\Seen`, `\Answered`, "$Label1"}
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	envelope := []byte(`("Fri, 2 Jan 2026 03:04:05 +0000" "subject" (("A" NIL "a" "b")) NIL NIL NIL NIL NIL NIL "<x@y>")`)
	item := &imapwire.FetchItem{Kind: imapwire.FetchBodySection, Section: imapwire.Section{
		Kind: imapwire.SectionHeaderFields, Fields: []string{"From", "To", "Subject"},
	}}
	header := []byte(strings.Repeat("Subject: hello world\r\n", 20))
	e := imapwire.NewEncoder(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		f := e.Fetch(1)
		f.UID(4711)
		f.Flags(flags)
		f.InternalDate(date)
		f.Size(4711)
		f.Raw(imapwire.FetchEnvelope, envelope)
		w := f.Literal(item, int64(len(header)))
		w.Write(header)
		w.Close()
		f.End()
	}
}

func BenchmarkClient(b *testing.B) {
	header := strings.Repeat("Subject: hello world\r\n", 20)
	line := "* 1 FETCH (UID 4711 FLAGS (\\Seen $Label1) INTERNALDATE \"02-Jan-2026 03:04:05 +0000\" RFC822.SIZE 4711 ENVELOPE " +
		"(\"Fri, 2 Jan 2026 03:04:05 +0000\" \"subject\" ((\"A\" NIL \"a\" \"b\")) NIL NIL NIL NIL NIL NIL \"<x@y>\") " +
		"BODY[HEADER.FIELDS (From To Subject)] {440}\r\n" + header + ")\r\n"
	for name, light := range map[string]bool{"full": false, "light": true} {
		b.Run(name, func(b *testing.B) {
			src := io.MultiReader(strings.NewReader("* OK hi\r\n* 5 EXISTS\r\nc1 OK done\r\n"), &repeat{text: line})
			c, err := imapclient.New(readConn{Reader: src})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Select("INBOX"); err != nil {
				b.Fatal(err)
			}
			if c.Light = light; light {
				c.OnLiteral = func(_ *imapclient.Response, lit *imapclient.Literal) error {
					_, err := lit.WriteTo(io.Discard)
					return err
				}
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if _, err := c.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
