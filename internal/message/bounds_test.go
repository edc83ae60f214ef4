package message

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slow is the processor time that no hostile input of this file may take. It is
// some hundred times what they take.
const slow = 5 * time.Second * raceFactor

// cost is the processor time that f takes: that of this process, whatever else
// the machine does.
func cost(t *testing.T, f func()) time.Duration {
	t.Helper()
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	f()
	return spent() - before
}

func parseQuickly(t *testing.T, raw []byte) (m *Message) {
	t.Helper()
	if d := cost(t, func() { m = checkMessage(t, raw) }); d > slow {
		t.Fatalf("took %v", d)
	}
	return m
}

func TestDeepNesting(t *testing.T) {
	var b bytes.Buffer
	for i := range 10000 {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("\r\nbottom\r\n")
	m := parseQuickly(t, b.Bytes())
	depth := 0
	m.Walk(func(path []int, _ *Part) bool { depth = max(depth, len(path)); return true })
	if !m.Limited || depth > DefaultLimits().MaxDepth {
		t.Errorf("limited %v, depth %d", m.Limited, depth)
	}

	chain := bytes.Repeat([]byte("Content-Type: message/rfc822\r\n\r\n"), 10000)
	if m := parseQuickly(t, chain); !m.Limited {
		t.Error("chain of embedded messages is not limited")
	}
}

func TestManyParts(t *testing.T) {
	raw := []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100000) + "--b--\r\n")
	m := parseQuickly(t, raw)
	n := len(m.Root.Children)
	if !m.Limited || n > DefaultLimits().MaxParts {
		t.Fatalf("limited %v, %d parts", m.Limited, n)
	}
	last := m.Root.Children[n-1]
	if !bytes.HasPrefix(raw[last.BodyStart:last.BodyEnd], []byte("x\r\n--b\r\n\r\nx")) || m.Size-last.BodyEnd != int64(len("\r\n--b--\r\n")) {
		t.Errorf("the last part does not hold the rest: %+v", last)
	}
}

func TestHeaderBounds(t *testing.T) {
	l := DefaultLimits()
	for name, raw := range map[string]string{
		"line of a megabyte":     "Subject: " + strings.Repeat("x", 1<<20) + "\r\nFrom: late@x\r\n\r\nbody\r\n",
		"fields":                 strings.Repeat("X: y\r\n", 200000) + "\r\nbody\r\n",
		"folds":                  "Subject: a" + strings.Repeat("\r\n b", 200000) + "\r\n\r\nbody\r\n",
		"parameters":             "Content-Type: text/plain" + paramList(100000) + "\r\n\r\nbody\r\n",
		"pieces of a parameter":  "Content-Type: text/plain" + strings.Repeat("; a*1=b; c*2*=d", 50000) + "\r\n\r\nbody\r\n",
		"recipients":             "To: " + strings.Repeat("a@b,", 1000000) + "\r\n\r\nbody\r\n",
		"recipients, many lines": strings.Repeat("Cc: a@b, c@d\r\n", 100000) + "\r\nbody\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			m := parseQuickly(t, []byte(raw))
			if len(m.Header) > l.MaxHeaderBytes || !m.Limited {
				t.Errorf("kept %d octets, limited %v", len(m.Header), m.Limited)
			}
			if m.Root.Size() != int64(len("body\r\n")) || !strings.HasSuffix(raw[:m.HeaderEnd], "\r\n\r\n") {
				t.Errorf("the body is not found: %+v", m.Root)
			}
			e := m.Root.Envelope
			if len(e.To)+len(e.Cc) > l.MaxAddresses || len(m.Root.Params) > l.MaxParams {
				t.Errorf("%d addresses, %d parameters", len(e.To)+len(e.Cc), len(m.Root.Params))
			}
		})
	}
}

func paramList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "; p%d=%d", i, i)
	}
	return b.String()
}

func TestPartHeaderBounds(t *testing.T) {
	part := "--b\r\nContent-Description: " + strings.Repeat("x", 60000) + "\r\n\r\nx\r\n"
	m := parseQuickly(t, []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n"+strings.Repeat(part, 200)))
	kept := 0
	for _, p := range m.Root.Children {
		kept += len(p.Description)
	}
	if l := DefaultLimits(); kept > l.MaxTotalHeaderBytes || !m.Limited {
		t.Errorf("kept %d octets of part headers, limited %v", kept, m.Limited)
	}
}

// repeat is an endless message.
type repeat struct {
	text string
	pos  int
}

func (r *repeat) Read(b []byte) (n int, err error) {
	for n < len(b) {
		c := copy(b[n:], r.text[r.pos:])
		n += c
		r.pos = (r.pos + c) % len(r.text)
	}
	return n, nil
}

// TestMemory parses big messages and looks at the memory that this takes.
func TestMemory(t *testing.T) {
	const size = 32 << 20
	for name, text := range map[string]string{
		"header":      "X-Endless: header\r\n",
		"header line": "x",
		"body":        "\r\n\r\nline of a body\r\n",
		"text line":   "\r\n\r\nContent without line end and more",
		"html":        "Content-Type: text/html\r\n\r\n<p>text <b",
		"parts":       "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n",
		"nesting":     "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
		"addresses":   "To: a@b, c@d\r\n",
		"white space": "Content-Type: text/plain; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n  \t  ",
		"carriage":    "\r",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			p := NewParser(Limits{})
			p.Preview = true
			p.Text = func(TextKind, *Part, []byte) {}
			var m *Message
			d := cost(t, func() {
				if n, err := io.CopyN(p, &repeat{text: text}, size); err != nil || n != size {
					t.Fatalf("%d octets: %v", n, err)
				}
				m, _ = p.Close()
			})
			if d > slow {
				t.Errorf("took %v", d)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 16<<20 {
				t.Errorf("%d octets are in use", kept)
			}
			runtime.KeepAlive(p)
			if m.Size != size || m.Root.BodyEnd != size {
				t.Errorf("size %d", m.Size)
			}
		})
	}
}

// TestHostileValues gives each value parser inputs that make careless ones
// take quadratic time.
func TestHostileValues(t *testing.T) {
	const n = 128 << 10
	patterns := []string{
		"(", ")", "\"", "\\", "<", ">", ",", ";", ":", "@", "[", "]", "=?", "=?a?q?", "=?a?q? ", "=?a?b?QQ==?= ", "?=20", "a@b:", "x ",
		"<@a,", "<\"", "<\"<,", "\",<", "a <", "(((", "\"\" ", "a;", "a=", "a=b ", "=\"", "*0=a;", "a*1*=''b;", "re:", "fwd: ",
		"[a]", "[a] ", "[fwd:", "(fwd)", "re[", "[", "<a>", "<a", "a@b ", "\r\n ", "\n\t", " ", "%41", "'", "=41", "\x80", "\xe2", "+A", "&", "&amp", "<a ",
	}
	calls := map[string]func(string){
		"addresses": func(s string) { ParseAddressList([]byte(s)) },
		"header":    func(s string) { DecodeHeader([]byte(s)) },
		"type":      func(s string) { parseMediaType(s, 128) },
		"base":      func(s string) { BaseSubject(s) },
		"thread":    func(s string) { ThreadSubject(s) },
		"ids":       func(s string) { MessageIDs(s) },
		"intro":     func(s string) { Intro(s) },
		"date":      func(s string) { ParseDate(s) },
		"html": func(s string) {
			h := htmlText{links: true}
			h.finish(h.append(nil, []byte(s)))
		},
		"flowed": func(s string) {
			var f flowedText
			f.finish(f.append(nil, []byte(s)))
		},
		"qp": func(s string) {
			d := transferDecoder{qp: true}
			d.finish(d.append(nil, []byte(s)))
		},
		"charset": func(s string) {
			var d charsetDecoder
			d.finish(d.append(nil, []byte(s)))
		},
		"fields": func(s string) { AppendHeaderFields(nil, []byte(s), []string{"a", "b"}, true) },
	}
	for name, call := range calls {
		for _, p := range patterns {
			for _, s := range []string{strings.Repeat(p, n/len(p)), "a@b [x <\"" + strings.Repeat(p, n/len(p))} {
				if d := cost(t, func() { call(s) }); d > slow {
					t.Errorf("%s of many %q took %v", name, p, d)
				}
			}
		}
	}
}

func TestReset(t *testing.T) {
	p := NewParser(Limits{})
	p.Preview = true
	for _, name := range corpusFiles(t) {
		raw := readFile(t, name)
		p.Reset()
		_, _ = p.Write(raw)
		m, _ := p.Close()
		fresh, _ := Parse(bytes.NewReader(raw), Limits{})
		if !bytes.Equal(AppendTree(nil, m), AppendTree(nil, fresh)) || m.intro != fresh.intro || !bytes.Equal(m.Header, fresh.Header) {
			t.Errorf("%s: a parser that was used before finds something else", name)
		}
	}
	// A message that was given up leaves nothing behind.
	p.Reset()
	_, _ = p.Write([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: y\r\n\r\ntext"))
	p.Reset()
	_, _ = p.Write([]byte("Subject: x\r\n\r\nbody"))
	if m, _ := p.Close(); m.Size != 18 || m.intro != "body" || m.Root.Type != "TEXT" {
		t.Errorf("after a reset: %+v %+v", m, m.Root)
	}
}

func TestParseError(t *testing.T) {
	if _, err := Parse(io.MultiReader(strings.NewReader("a: b\r\n"), errReader{}), Limits{}); err == nil {
		t.Error("the error of the reader was lost")
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestNoAliasing checks that a message keeps nothing of the buffers it came
// in, nor of the encodings it is read from.
func TestNoAliasing(t *testing.T) {
	for _, name := range corpusFiles(t) {
		raw := readFile(t, name)
		want := dump(raw, [][]byte{raw})
		chunk := bytes.Clone(raw)
		m, _ := ParseBytes(chunk, Limits{})
		tree, s := AppendTree(nil, m), m.Summary()
		sum := AppendSummary(nil, &s)
		for i := range chunk {
			chunk[i] = '#'
		}
		if !bytes.Equal(AppendTree(nil, m), tree) {
			t.Fatalf("%s: the tree is part of the input", name)
		}
		dt, _ := DecodeTree(tree)
		ds, _ := DecodeSummary(sum)
		keepTree, keepSum := bytes.Clone(tree), bytes.Clone(sum)
		for _, b := range [][]byte{tree, sum} {
			for i := range b {
				b[i] = '#'
			}
		}
		if !bytes.Equal(AppendTree(nil, dt), keepTree) || !bytes.Equal(AppendSummary(nil, ds), keepSum) {
			t.Fatalf("%s: what was decoded is part of the encoding", name)
		}
		if got := dump(raw, [][]byte{raw}); !bytes.Equal(got, want) {
			t.Fatalf("%s: the second parse differs", name)
		}
	}
}
