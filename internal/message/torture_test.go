package message

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// torture is a message that is made to cost much, 10 MB or more of it.
func torture() map[string]io.Reader {
	times := func(n int, s string) io.Reader { return io.LimitReader(&repeat{text: s}, int64(n*len(s))) }
	join := func(parts ...any) io.Reader {
		var rs []io.Reader
		for _, p := range parts {
			if s, ok := p.(string); ok {
				p = strings.NewReader(s)
			}
			rs = append(rs, p.(io.Reader))
		}
		return io.MultiReader(rs...)
	}
	var nested strings.Builder
	for i := range 60 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\n", i, i)
	}
	mixed := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	return map[string]io.Reader{
		"10,000 parts":             join(mixed, times(10000, "--b\r\nContent-Type: image/png; name=a.png\r\nContent-Disposition: attachment\r\n\r\n"+strings.Repeat("x", 900)+"\r\n"), "--b--\r\n"),
		"10,000 embedded messages": join(mixed, times(10000, "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b\r\nTo: c@d\r\nSubject: s\r\n\r\nx\r\n"), "--b--\r\n"),
		"10,000 nested multiparts": times(10000, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"),
		"10,000 nested messages":   times(10000, "Content-Type: message/rfc822\r\n\r\n"),
		"header of 10 MB":          join(times(250000, "X-Field-Name: some value that it has\r\n  \r\n"), "\r\nbody\r\n"),
		"folded field of 10 MB":    join("Subject: x", times(1<<20, "\r\n folds of"), "\r\n\r\nbody\r\n"),
		"header line of 10 MB":     join("Content-Type: text/plain; name=", times(10<<20, "x"), "\r\n\r\nbody\r\n"),
		"part header of 10 MB":     join(mixed+"--b\r\n", times(250000, "Content-Description: some value that it has\r\n"), "\r\nbody\r\n--b--\r\n"),
		"addresses":                join("To: ", times(1<<20, "a b <c@d>, "), "\r\n\r\nbody\r\n"),
		"groups":                   join("To: ", times(1<<20, "g: a@b, c; "), "\r\n\r\nbody\r\n"),
		"comments":                 join("To: ", times(10<<20, "("), "\r\n\r\nbody\r\n"),
		"encoded words":            join("Subject: ", times(1<<20, "=?utf-8?Q?a?= "), "\r\n\r\nbody\r\n"),
		"pieces of parameters":     join("Content-Type: text/plain", times(1<<20, "; a*1*=%41"), "\r\n\r\nbody\r\n"),
		"references":               join("References:", times(1<<20, " <a@b>"), "\r\n\r\nbody\r\n"),
		"lines like boundaries":    join(nested.String()+"\r\n", times(1<<20, "--b59999 \r\n")),
		"cut boundaries":           join(nested.String()+"\r\n", times(1<<20, "--b1\r")),
		"closing boundaries":       join(nested.String()+"\r\n", times(1<<20, "--b7--\r\n")),
		"tags":                     join("Content-Type: text/html\r\n\r\n", times(2<<20, "<a b=c>")),
		"open tags":                join("Content-Type: text/html\r\n\r\n", times(10<<20, "<")),
		"entities":                 join("Content-Type: text/html\r\n\r\n", times(2<<20, "&amp;")),
		"lists":                    join("Content-Type: text/html\r\n\r\n", times(1<<20, "<ul><ol>")),
		"soft line breaks":         join("Content-Transfer-Encoding: quoted-printable\r\n\r\n", times(2<<20, "=\r\n")),
		"spaces":                   join("Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; format=flowed\r\n\r\n", times(10<<20, " ")),
		"shifts":                   join("Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n", times(2<<20, "\x1b$B\x1b(B")),
		"base64 with holes":        join("Content-Transfer-Encoding: base64\r\n\r\n", times(5<<20, "!A")),
	}
}

// What a message costs is bounded, and counted here: the memory that is
// allocated in all on the way in (which bounds what is in use at any moment),
// the work that text and preview make for those after the parser, and the
// octets that are kept.
func TestTorture(t *testing.T) {
	l := DefaultLimits()
	for name, r := range torture() {
		t.Run(name, func(t *testing.T) {
			p := NewParser(Limits{})
			p.Preview = true
			text := 0
			p.Text = func(_ TextKind, _ *Part, b []byte) { text += len(b) }
			buf := make([]byte, 64<<10)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			size, err := io.CopyBuffer(struct{ io.Writer }{p}, r, buf)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := p.Close()
			s := m.Summary()
			runtime.ReadMemStats(&after)
			kept := len(AppendTree(nil, m)) + len(AppendBodyStructure(nil, m.Root, true)) + len(AppendEnvelope(nil, m.Root.Envelope)) +
				len(AppendSummary(nil, &s)) + len(m.Header)
			total := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d octets: %d allocated, %d kept, %d of text", size, total, kept, text)
			if raceFactor == 1 && total > 32<<20 { // the race detector makes variables escape
				t.Errorf("%d octets are allocated", total)
			}
			if kept > 5<<20 {
				t.Errorf("%d octets are kept", kept)
			}
			if text > l.TextBytes {
				t.Errorf("%d octets of text", text)
			}
			if m.Size != size || m.Root.BodyEnd != size {
				t.Errorf("size %d, body to %d, want %d", m.Size, m.Root.BodyEnd, size)
			}
			parts := 0
			m.Walk(func([]int, *Part) bool { parts++; return true })
			if parts > 2*l.MaxParts || len(s.Attachments) > l.MaxParts {
				t.Errorf("%d parts, %d attachments", parts, len(s.Attachments))
			}
		})
	}
}
