package imapwire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// counter counts what is read and can be endless.
type counter struct {
	head io.Reader
	fill byte // repeated after head; 0 for the end of the stream
	n    int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.head.Read(p)
	if err == io.EOF && c.fill != 0 {
		for i := range p {
			p[i] = c.fill
		}
		n, err = len(p), nil
	}
	c.n += int64(n)
	return n, err
}

// TestBounded sends more than is good and looks at what was read and kept.
func TestBounded(t *testing.T) {
	lim := Limits{MaxLine: 1000, MaxLiteral: 1000, MaxAppend: 1000, MaxDiscard: 100_000}
	for _, c := range []struct {
		name, head string
		fill       byte
		maxRead    int64
		kind       Kind
	}{
		{"endless line", "a1 LOGIN ", 'x', 150_000, Bye},
		{"endless line without a tag", "", 'x', 150_000, Bye},
		{"endless spaces", "a1 ", ' ', 150_000, Bye},
		{"endless line after a literal", "a1 LOGIN {3+}\r\nabc", 'x', 150_000, Bye},
		{"endless line after a refused literal", "a1 LOGIN {2000+}\r\n", 'x', 150_000, Bye},
		{"4 GB literal", "a1 LOGIN {4294967296+}\r\n", 'x', 40_000, Bye},
		{"huge literal", "a1 LOGIN {99999999999999999999+}\r\n", 'x', 40_000, Bye},
		{"4 GB APPEND", "a1 APPEND x {4294967296+}\r\n", 'x', 40_000, Bye},
		{"refused synchronising literal", "a1 LOGIN {4294967296}\r\n", 'x', 2000, No},
		{"many refused literals", strings.Repeat("a1 NOOP {1000+}\r\n"+strings.Repeat("x", 1000), 1000), 0, 150_000, Bye},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := &counter{head: strings.NewReader(c.head), fill: c.fill}
			r := NewReader(src, Options{Limits: lim})
			state := StateNotAuthenticated
			if strings.Contains(c.head, "APPEND") {
				state = StateAuthenticated
			}
			_, err := r.ReadCommand(state)
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind {
				t.Fatalf("got %v", err)
			}
			if src.n > c.maxRead || len(r.buf) > 64<<10 {
				t.Errorf("read %d, buffer of %d", src.n, len(r.buf))
			}
			if _, again := r.ReadCommand(state); c.kind == Bye && !errors.Is(again, err) {
				t.Errorf("a stream that was given up is read again: %v", again)
			}
		})
	}
}

// TestChunks runs the golden inputs with a byte in each read: what is
// understood must not depend on packets.
func TestChunks(t *testing.T) {
	for _, file := range []string{"basic", "append", "search", "mailbox", "fetch"} {
		raw, err := os.ReadFile("testdata/" + file + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		var in strings.Builder
		for line := range strings.SplitSeq(string(raw), "\n") {
			if rest, ok := strings.CutPrefix(line, "C: "); ok {
				in.WriteString(rest + "\r\n")
			}
		}
		whole := newSession(strings.NewReader(in.String()), Limits{})
		whole.run(StateSelected)
		for name, src := range map[string]io.Reader{
			"bytes":    iotest.OneByteReader(strings.NewReader(in.String())),
			"halves":   iotest.HalfReader(strings.NewReader(in.String())),
			"with EOF": iotest.DataErrReader(strings.NewReader(in.String())),
		} {
			s := newSession(src, Limits{})
			s.run(StateSelected)
			if got, want := strings.Join(s.events, "\n"), strings.Join(whole.events, "\n"); got != want {
				t.Errorf("%s in %s differs:\n%s\n--- want\n%s", file, name, got, want)
			}
		}
	}
}

// fits runs a reader over input and returns its Reader.
func fits(input string, lim Limits) *Reader {
	return NewReader(strings.NewReader(input), Options{Limits: lim, Continue: func() error { return nil }})
}

func TestReset(t *testing.T) {
	r := fits("a1 STARTTLS\r\na2 LOGIN evil evil\r\n", Limits{})
	if _, err := r.ReadCommand(StateNotAuthenticated); err != nil {
		t.Fatal(err)
	}
	if n := r.Buffered(); n == 0 {
		t.Error("nothing is buffered")
	}
	rest := r.Reset(strings.NewReader("b1 NOOP\r\n"))
	if string(rest) != "a2 LOGIN evil evil\r\n" {
		t.Errorf("rest is %q", rest)
	}
	cmd, err := r.ReadCommand(StateNotAuthenticated)
	if err != nil || cmd.Tag != "b1" {
		t.Errorf("got %+v, %v after Reset", cmd, err)
	}
}

func TestReadDone(t *testing.T) {
	r := fits("a1 IDLE\r\nDONE\r\na2 IDLE\r\n done \r\na3 IDLE\r\nSTOP\r\n"+strings.Repeat("x", 5000)+"\r\na4 NOOP\r\n", Limits{})
	for _, wrong := range []bool{false, false, true} {
		if _, err := r.ReadCommand(StateAuthenticated); err != nil {
			t.Fatal(err)
		}
		if err := r.ReadDone(); (err != nil) != wrong {
			t.Errorf("ReadDone: %v", err)
		}
	}
	var e *Error
	if err := r.ReadDone(); !errors.As(err, &e) || e.Kind != Bad {
		t.Errorf("long line: %v", err)
	}
	if cmd, err := r.ReadCommand(StateAuthenticated); err != nil || cmd.Tag != "a4" {
		t.Errorf("out of step: %v, %v", cmd, err)
	}
	if err := r.ReadDone(); err != io.ErrUnexpectedEOF {
		t.Errorf("end of stream: %v", err)
	}
}

// broken is a source that fails before each octet, and keeps whether the reader was waiting then.
type broken struct {
	text    string
	fail    bool
	waiting []bool
	r       *Reader
}

func (b *broken) Read(p []byte) (int, error) {
	if b.fail = !b.fail; b.fail {
		b.waiting = append(b.waiting, b.r.Waiting())
		return 0, iotest.ErrTimeout
	}
	n := copy(p, b.text[:1])
	b.text = b.text[n:]
	return n, nil
}

// A read of DONE that fails is made again and goes on with the line, however long that is. The source is told when a
// read may fail, and a Reader that rests has no buffer.
func TestWaiting(t *testing.T) {
	src := &broken{text: "DONE\r\n" + strings.Repeat("x", 70) + "DONE\r\nSTOP\r\n"}
	src.r = NewReader(src, Options{})
	for _, want := range []string{"", "Line too long", "Expected DONE"} {
		var err error
		for range 1000 {
			if err = src.r.ReadDone(); !errors.Is(err, iotest.ErrTimeout) {
				break
			}
			if src.r.Waiting() {
				t.Fatal("it waits while nobody reads")
			}
			src.r.Rest() // what has come is kept
		}
		var e *Error
		if errors.As(err, &e) != (want != "") || e != nil && e.Text != want {
			t.Errorf("ReadDone: %v, want %q", err, want)
		}
		if src.r.Rest(); src.r.buf != nil {
			t.Error("it rests with a buffer")
		}
	}
	if slices.Contains(src.waiting, false) {
		t.Error("it did not wait while it read DONE")
	}
	src.waiting, src.text, src.fail = nil, "a NOOP\r\n", false
	if _, err := src.r.ReadCommand(stateAny); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if _, err := src.r.ReadCommand(stateAny); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(src.waiting, []bool{true, false}) {
		t.Errorf("it waited: %v", src.waiting)
	}
}

func TestReadSASL(t *testing.T) {
	r := fits("AGpvZQBzZWNyZXQ=\r\n\r\n=\r\n*\r\n!!\r\nAAA\r\n"+strings.Repeat("A", 2000)+"\r\nAA==\r\n", Limits{MaxLine: 1000})
	for i, want := range []string{"\x00joe\x00secret", "", "", "cancel", "bad", "bad", "bad", "\x00"} {
		got, err := r.ReadSASL()
		var e *Error
		switch {
		case want == "cancel" && err == ErrAuthCancelled:
		case want == "bad" && errors.As(err, &e) && e.Kind == Bad:
		case err != nil || string(got) != want:
			t.Errorf("line %d: got %q, %v", i, got, err)
		}
	}
}

// TestTimeout: a read that failed between commands can be tried again.
func TestTimeout(t *testing.T) {
	src := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("a1 NOOP\r\n")))
	r := NewReader(src, Options{})
	if _, err := r.ReadCommand(stateAny); !errors.Is(err, iotest.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	if cmd, err := r.ReadCommand(stateAny); err != nil || cmd.Tag != "a1" {
		t.Errorf("got %v, %v", cmd, err)
	}
}

func TestContinueError(t *testing.T) {
	gone := errors.New("gone")
	r := NewReader(strings.NewReader("a1 LOGIN {3}\r\nabc d\r\n"), Options{Continue: func() error { return gone }})
	for range 2 {
		if _, err := r.ReadCommand(stateAny); err != gone {
			t.Errorf("got %v", err)
		}
	}
}

func TestWithout(t *testing.T) {
	table := NewTable()
	small := table.Without("compress")
	if _, ok := small.Lookup("COMPRESS"); ok {
		t.Error("COMPRESS is still there")
	}
	if spec, ok := table.Lookup("compress"); !ok || spec.Name != "COMPRESS" {
		t.Error("the first table was changed")
	}
	r := NewReader(strings.NewReader("a1 COMPRESS DEFLATE\r\n"), Options{Commands: small})
	if _, err := r.ReadCommand(stateAny); err == nil || !strings.Contains(err.Error(), "Unknown command") {
		t.Errorf("got %v", err)
	}
}

// TestAppendGivenUp: a server that answers early is in step at the next
// command, wherever it stopped.
func TestAppendGivenUp(t *testing.T) {
	const rest = "z NOOP\r\n"
	// Each one is a client's octets after the line with the first literal.
	for name, input := range map[string]string{
		"synchronising":       "a APPEND x {5}\r\n",
		"non-synchronising":   "a APPEND x {5+}\r\nhello\r\n",
		"more messages":       "a APPEND x {5+}\r\nhello (\\Seen) {5+}\r\nworld\r\n",
		"synchronising later": "a APPEND x {5+}\r\nhello {5}\r\n",
		"UTF8":                "a APPEND x UTF8 (~{5+}\r\nhello)\r\n",
		"catenate":            "a APPEND x CATENATE (TEXT {5+}\r\nhello URL {3+}\r\nabc)\r\n",
		"catenate URL":        "a APPEND x CATENATE (URL abc TEXT {5+}\r\nhello)\r\n",
	} {
		for stop := range 4 {
			if strings.HasPrefix(name, "synchronising") && stop > 0 {
				continue
			}
			r := fits(input+rest, Limits{})
			cmd, err := r.ReadCommand(stateAny)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body := giveUp(t, cmd.Args.(*Append), stop)
			next, err := r.ReadCommand(stateAny)
			if err != nil || next.Tag != "z" {
				t.Errorf("%s, stopped at %d: out of step: %v, %v", name, stop, next, err)
			}
			if body != nil {
				if _, err := io.ReadAll(body); err == nil {
					t.Errorf("%s: a message can be read after its command", name)
				}
			}
		}
	}
}

// giveUp goes stop steps into the command.
func giveUp(t *testing.T, a *Append, stop int) io.Reader {
	if stop == 0 {
		return nil
	}
	m, err := a.Next()
	if err != nil {
		t.Fatal(err)
	}
	if m.Catenate {
		if _, err := m.NextPart(); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	if stop == 1 {
		return nil
	}
	body, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	if stop == 2 {
		if _, err := body.Read(make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
	} else if n, err := io.Copy(io.Discard, body); err != nil || n != 5 {
		t.Fatalf("read %d, %v", n, err)
	}
	return body
}

// TestAppendMisuse: readers of other messages than the current one fail.
func TestAppendMisuse(t *testing.T) {
	r := fits("a APPEND x {3+}\r\nabc {3+}\r\ndef CATENATE (TEXT {1+}\r\nx TEXT {1+}\r\ny)\r\nz NOOP\r\n", Limits{})
	cmd, err := r.ReadCommand(stateAny)
	if err != nil {
		t.Fatal(err)
	}
	a := cmd.Args.(*Append)
	m1, _ := a.Next()
	b1, _ := m1.Open()
	m2, err := a.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m1.Open(); err == nil {
		t.Error("first message was opened after the second was taken")
	}
	if n, err := b1.Read(make([]byte, 3)); n != 0 || err == nil {
		t.Errorf("read %d, %v from the first message", n, err)
	}
	b2, err := m2.Open()
	if again, _ := m2.Open(); err != nil || again != b2 {
		t.Error("second Open gives another reader")
	}
	if data, err := io.ReadAll(b2); string(data) != "def" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := m2.NextPart(); err == nil {
		t.Error("a message without parts has a part")
	}
	misuseParts(t, a)
	if cmd, err := r.ReadCommand(stateAny); err != nil || cmd.Tag != "z" {
		t.Errorf("out of step: %v, %v", cmd, err)
	}
}

func misuseParts(t *testing.T, a *Append) {
	m, err := a.Next()
	if err != nil || !m.Catenate {
		t.Fatalf("got %v, %v", m, err)
	}
	if _, err := m.Open(); err == nil {
		t.Error("CATENATE message was opened")
	}
	p1, _ := m.NextPart()
	p2, err := m.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p1.Open(); err == nil {
		t.Error("first part was opened after the second was taken")
	}
	var got bytes.Buffer
	if body, err := p2.Open(); err != nil {
		t.Error(err)
	} else if _, err := io.Copy(&got, body); err != nil || got.String() != "y" {
		t.Errorf("got %q, %v", got.String(), err)
	}
	if _, err := m.NextPart(); err != io.EOF {
		t.Errorf("got %v after the last part", err)
	}
	for range 2 {
		if _, err := a.Next(); err != io.EOF {
			t.Errorf("got %v after the last message", err)
		}
	}
}

// TestShrink: a connection that waits keeps little memory.
func TestShrink(t *testing.T) {
	msg := strings.Repeat("x", 100_000)
	r := fits("a APPEND x {100000+}\r\n"+msg+"\r\nb NOOP\r\nc NOOP\r\nd APPEND x {100000+}\r\n"+msg+"\r\ne IDLE\r\n", Limits{})
	for _, tag := range []string{"a", "b", "c", "d", "e"} {
		cmd, err := r.ReadCommand(stateAny)
		if err != nil || cmd.Tag != tag {
			t.Fatalf("got %v, %v", cmd, err)
		}
		if a, ok := cmd.Args.(*Append); ok {
			m, _ := a.Next()
			body, _ := m.Open()
			if n, err := io.Copy(io.Discard, body); n != 100_000 || err != nil {
				t.Fatalf("read %d, %v", n, err)
			}
			if _, err := a.Next(); err != io.EOF {
				t.Fatal(err)
			}
		}
		if len(r.buf) > 64<<10 {
			t.Errorf("%s: buffer of %d", tag, len(r.buf))
		}
	}
	if err := r.ReadDone(); err != io.ErrUnexpectedEOF || len(r.buf) > readerKeep {
		t.Errorf("IDLE: %v, buffer of %d", err, len(r.buf))
	}
}
