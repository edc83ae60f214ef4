package imapwire_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"mallard/internal/imap/imapclient"
	"mallard/internal/imap/imapwire"
)

// readConn is a connection that gives what was written to a buffer.
type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c readConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c readConn) SetReadDeadline(time.Time) error  { return nil }
func (c readConn) SetWriteDeadline(time.Time) error { return nil }

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// readBack writes responses with f and returns what the strict client makes of
// them. A response more, less or malformed is a failure of the test.
func readBack(t tb, utf8 bool, want int, f func(*imapwire.Encoder)) []*imapclient.Response {
	t.Helper()
	var buf bytes.Buffer
	e := imapwire.NewEncoder(&buf)
	e.Status("", imapwire.CondOK, "", "hello")
	e.Exists(1000)
	e.OK("c1", "", "selected")
	e.SetUTF8(utf8)
	f(e)
	e.OK("c2", "", "done")
	if err := e.Flush(); err != nil {
		t.Fatalf("encoder: %v", err)
	}
	c, err := imapclient.New(readConn{Reader: bytes.NewReader(buf.Bytes())})
	if err != nil {
		t.Fatalf("greeting: %v", err)
	}
	if _, err := c.Select("INBOX"); err != nil {
		t.Fatalf("select: %v", err)
	}
	c.SetUTF8(utf8)
	res, err := c.Cmd("SEARCH ALL")
	if err != nil {
		t.Fatalf("client: %v\n%q", err, buf.Bytes())
	}
	if len(res.Untagged) != want {
		t.Fatalf("%d responses instead of %d\n%q", len(res.Untagged), want, buf.Bytes())
	}
	return res.Untagged
}

// evil makes strings that try to break out of every form.
func evil() *rapid.Generator[string] {
	pieces := rapid.SampledFrom([]string{
		"\r\n", "\n", "\r", "\x00", "\"", "\\", "[", "]", "(", ")", "{", "}", "{3}", "{3}\r\n", "{3+}\r\n", " ", "%", "*", "+ ",
		"* OK x", "c2 OK", "NIL", "nil", "a", "abc", "ä", "日", "😀", "\xff", "\xc3", "&", "&-", "&AOQ-", "\x7f", "\x1b", "~{3}", "",
		"] x\r\nc2 OK x\r\n", "\r\n* BYE x", strings.Repeat("x", 1200), "é" + strings.Repeat("y", 600), "UTF8", "\\Seen",
	})
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(pieces, 0, 5).Draw(t, "pieces"), "")
	})
}

// printable is what AppendText may leave of s.
func safe(s string) bool { return !strings.ContainsAny(s, "\r\n\x00") }

func TestSplitStatus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u8 := rapid.Bool().Draw(t, "utf8")
		text, code, tag := evil().Draw(t, "text"), evil().Draw(t, "code"), evil().Draw(t, "tag")
		rs := readBack(t, u8, 1, func(e *imapwire.Encoder) { e.Status("*", imapwire.CondNO, "", text) })
		if rs[0].Code != nil || rs[0].Name != "NO" {
			t.Fatalf("text %q became a code", text)
		}
		rs = readBack(t, u8, 1, func(e *imapwire.Encoder) { e.Status("", imapwire.CondOK, imapwire.Code("X-A x"+code), text) })
		if rs[0].Name != "OK" {
			t.Fatalf("got %+v", rs[0])
		}
		var buf bytes.Buffer
		e := imapwire.NewEncoder(&buf)
		e.BAD(tag, "", text)
		e.Error("t1", &imapwire.Error{Tag: tag, Kind: imapwire.No, Text: text})
		e.Continue(text)
		e.Flush()
		if n := strings.Count(buf.String(), "\n"); n != 3 || !safe(strings.ReplaceAll(buf.String(), "\r\n", "")) {
			t.Fatalf("%d lines: %q", n, buf.String())
		}
	})
}

func TestSplitMailboxes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u8 := rapid.Bool().Draw(t, "utf8")
		name := evil().Draw(t, "name")
		rs := readBack(t, u8, 4, func(e *imapwire.Encoder) {
			e.List(&imapwire.ListData{
				Attributes: []string{`\HasChildren`}, Delimiter: '/', Mailbox: clean(name), OldName: clean(name), ChildInfo: []string{name},
			})
			e.LSub(&imapwire.ListData{Mailbox: clean(name)})
			e.StatusResponse(clean(name), []imapwire.StatusData{
				{Item: imapwire.StatusMessages, Number: 3}, {Item: imapwire.StatusMailboxID, Text: name}, {Item: imapwire.StatusAppendLimit, Nil: true},
			})
			e.QuotaRoot(clean(name), name)
		})
		for _, got := range []string{rs[0].List.Mailbox, rs[1].List.Mailbox, rs[2].Status.Mailbox, rs[3].Root.Mailbox} {
			if want := clean(name); got != want && !strings.EqualFold(want, "INBOX") {
				t.Fatalf("%q is read as %q", want, got)
			}
		}
	})
}

// clean leaves out control characters, which no mailbox name has.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// TestSplitControl puts names with control characters, which a database may
// hold all the same, through the encoder: the client refuses the name, but the
// line is one line.
func TestSplitControl(t *testing.T) {
	for _, name := range []string{"a\r\nb", "a\x00b", "\n", "x\" \r\n* BYE"} {
		for _, u8 := range []bool{false, true} {
			out := string(imapwire.AppendMailbox(nil, name, u8))
			if u8 && strings.HasPrefix(out, "{") {
				continue // a literal holds everything
			}
			if !safe(out) {
				t.Errorf("%q is written as %q", name, out)
			}
		}
	}
}

func TestSplitStrings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u8 := rapid.Bool().Draw(t, "utf8")
		s, s2 := evil().Draw(t, "s"), evil().Draw(t, "s2")
		flags := []string{`\Seen`, s, `\` + s2, "kw"}
		rs := readBack(t, u8, 5, func(e *imapwire.Encoder) {
			e.ID([]imapwire.IDField{{Name: s, Value: s2}, {Name: s2, Nil: true}})
			e.Quota(s, []imapwire.QuotaUsage{{Resource: s2, Usage: 1, Limit: 2}})
			e.Flags(dedup(flags))
			e.Status("*", imapwire.CondOK, imapwire.CodePermanentFlags(dedup(flags), true), s)
			f := e.Fetch(1)
			f.Flags(dedup(flags))
			f.EmailID(s)
			f.ThreadID(s2)
			f.Preview(s, true)
			item := &imapwire.FetchItem{Kind: imapwire.FetchBodySection, Section: imapwire.Section{
				Kind: imapwire.SectionHeaderFields, Fields: []string{header(s), "b"},
			}}
			w := f.Literal(item, int64(len(s2)))
			io.WriteString(w, s2)
			w.Close()
			f.UID(7)
			f.End()
		})
		if got, want := rs[0].Values[0].List[0].Str, strings.ReplaceAll(s, "\x00", " "); got != want {
			t.Fatalf("ID %q is read as %q", want, got)
		}
		if rs[1].Quota.Root != strings.ReplaceAll(s, "\x00", " ") {
			t.Fatalf("quota root %q is read as %q", s, rs[1].Quota.Root)
		}
		f := rs[4].Fetch
		if f.UID != 7 || *f.Preview != strings.ReplaceAll(s, "\x00", " ") || !contains(f.Flags, "kw") {
			t.Fatalf("got %+v", f)
		}
		for name, sec := range f.Sections {
			if string(sec.Data) != s2 {
				t.Fatalf("%s is %q instead of %q", name, sec.Data, s2)
			}
		}
	})
}

// header makes a header name that a Reader would have let in.
func header(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == ':' || r == '{' {
			return -1
		}
		return r
	}, s)
	return "X" + s[:min(len(s), 50)]
}

func dedup(flags []string) []string {
	var out []string
	for _, f := range flags {
		if !containsFold(out, f) {
			out = append(out, f)
		}
	}
	return out
}

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// TestValues checks single values against what may be in them.
func TestValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := evil().Draw(t, "s")
		atom := string(imapwire.AppendAtom(nil, s))
		if atom == "" || strings.ContainsAny(atom, " \r\n\x00\"\\(){%*]\x7f\x1b") {
			t.Fatalf("atom %q", atom)
		}
		for _, u8 := range []bool{false, true} {
			q := string(imapwire.AppendQuoted(nil, s, u8))
			if !safe(q) || !utf8.ValidString(q) || q[0] != '"' || q[len(q)-1] != '"' {
				t.Fatalf("quoted %q", q)
			}
			text := string(imapwire.AppendText(nil, s, u8))
			if text == "" || !safe(text) || text[0] == '[' || !utf8.ValidString(text) {
				t.Fatalf("text %q", text)
			}
		}
	})
}
