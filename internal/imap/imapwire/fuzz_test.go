package imapwire

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// goldenInputs returns what clients send in the golden files, by block.
func goldenInputs(f *testing.F) []string {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for block := range strings.SplitSeq(string(raw), "\n\n") {
			var in strings.Builder
			for line := range strings.SplitSeq(block, "\n") {
				if rest, ok := strings.CutPrefix(line, "C: "); ok {
					in.WriteString(rest + "\r\n")
				}
			}
			out = append(out, in.String())
		}
	}
	return out
}

// FuzzReader runs whole sessions. Whatever comes, the Reader does not panic,
// ends, keeps its buffers small, and what it understood can be written and
// understood again.
func FuzzReader(f *testing.F) {
	for i, s := range goldenInputs(f) {
		f.Add(s, uint8(1<<(i%3)), i%2 == 0)
		f.Add(s, uint8(StateSelected), false)
	}
	lim := Limits{
		MaxLine: 2000, MaxLiteral: 1000, MaxAppend: 1000, MaxDiscard: 4000, MaxNesting: 10, MaxElements: 100, MaxSetLen: 50,
	}
	f.Fuzz(func(t *testing.T, input string, state uint8, utf8 bool) {
		src := &counter{head: strings.NewReader(input)}
		s := newSession(src, lim)
		s.r.SetUTF8(utf8)
		for {
			cmd, err := s.r.ReadCommand(State(state))
			if len(s.r.buf) > 64<<10 {
				t.Fatalf("buffer of %d", len(s.r.buf))
			}
			var e *Error
			if errors.As(err, &e) && e.Kind != Bye {
				continue
			}
			if err != nil {
				break
			}
			if a, ok := cmd.Args.(*Append); ok {
				s.append(a)
			}
			reparse(t, cmd)
		}
	})
}

// reparse writes the parts of commands that have a wire form and reads them
// again.
func reparse(t *testing.T, cmd *Command) {
	var line, want string
	switch a := cmd.Args.(type) {
	case *Search:
		want = a.Key.String()
		line = "x SEARCH " + want
	case *Fetch:
		var items []string
		for i := range a.Items {
			items = append(items, a.Items[i].String())
		}
		want = strings.Join(items, " ")
		line = "x FETCH " + a.Set.String() + " (" + want + ")"
	default:
		return
	}
	again, err := fits(line+"\r\n", Limits{MaxNesting: 200, MaxElements: 10000, MaxLine: 1 << 20}).ReadCommand(StateSelected)
	if err != nil {
		t.Fatalf("%q is not understood: %v", line, err)
	}
	got := ""
	switch a := again.Args.(type) {
	case *Search:
		got = a.Key.String()
	case *Fetch:
		var items []string
		for i := range a.Items {
			items = append(items, a.Items[i].String())
		}
		got = strings.Join(items, " ")
	}
	if got != want {
		t.Fatalf("%q becomes %q", want, got)
	}
}

// segment is what a client sends without waiting; after a segment that ends in
// a synchronising literal's header it waits.
type client struct {
	commands [][]string
	granted  bool
	started  bool
}

// Read plays the client: the rest of a command is sent only when the server
// asked for it, and the next command when it was answered.
func (c *client) Read(p []byte) (int, error) {
	for len(c.commands) > 0 {
		cmd := &c.commands[0]
		switch {
		case len(*cmd) == 0 || c.started && !c.granted:
			// Sent whole, or refused in place of the continuation.
			c.commands, c.started, c.granted = c.commands[1:], false, false
			continue
		}
		n := copy(p, (*cmd)[0])
		(*cmd)[0] = (*cmd)[0][n:]
		if (*cmd)[0] == "" {
			*cmd = (*cmd)[1:]
			c.started, c.granted = true, false
			if len(*cmd) == 0 {
				c.started = false
			}
		}
		return n, nil
	}
	return 0, io.EOF
}

// TestInStep sends commands with noise in every place and a NOOP after each:
// every NOOP must be understood.
func TestInStep(t *testing.T) {
	text := rapid.StringMatching(`[ -~]{0,12}`)
	word := rapid.SampledFrom([]string{
		"LOGIN", "APPEND x", "APPEND x (a) UTF8 (", "FETCH 1", "SEARCH", "NOSUCH", "SELECT", "LIST", `"`, "(", ")", "BODY[", "OR",
		"SUBJECT", "TEXT", "NOT", "x", "a b", "STATUS x (", "APPEND x CATENATE (TEXT", "TEXT", ") ", "ID (", " ", "~",
	})
	rapid.Check(t, func(t *rapid.T) {
		var cmds [][]string
		n := rapid.IntRange(1, 5).Draw(t, "commands")
		for range n {
			cmds = append(cmds, genCommand(t, text, word), []string{"sentinel NOOP\r\n"})
		}
		all := strings.Join(flatten(cmds), "|")
		c := &client{commands: cmds}
		lim := Limits{MaxLiteral: 20, MaxAppend: 20, MaxNesting: 4, MaxLine: 200}
		s := &session{r: NewReader(c, Options{Limits: lim, Continue: func() error { c.granted = true; return nil }})}
		s.run(StateSelected | StateNotAuthenticated)
		got := 0
		for _, e := range s.events {
			if strings.HasPrefix(e, "sentinel NOOP") {
				got++
			}
		}
		if got != n {
			t.Fatalf("%d of %d commands found\n%q\n%s", got, n, all, strings.Join(s.events, "\n"))
		}
	})
}

func flatten(cmds [][]string) []string {
	var out []string
	for _, c := range cmds {
		out = append(out, strings.Join(c, "^"))
	}
	return out
}

// genCommand makes a command of a few pieces of text with literals between.
func genCommand(t *rapid.T, text, word *rapid.Generator[string]) []string {
	var segments []string
	cur := "t "
	for range rapid.IntRange(0, 3).Draw(t, "literals") {
		cur += pieces(t, text, word)
		data := rapid.StringMatching(`[a-z\r\n{}+0-9]{0,30}`).Draw(t, "data")
		if rapid.Bool().Draw(t, "sync") {
			segments = append(segments, cur+header(len(data), "")+"\r\n")
			cur = data
		} else {
			cur += header(len(data), "+") + "\r\n" + data
		}
	}
	// The end of a line must not look like a literal by chance.
	cur += strings.TrimRight(pieces(t, text, word), "}")
	return append(segments, cur+"\r\n")
}

func pieces(t *rapid.T, text, word *rapid.Generator[string]) string {
	var out []string
	for range rapid.IntRange(0, 3).Draw(t, "pieces") {
		if rapid.Bool().Draw(t, "word") {
			out = append(out, word.Draw(t, "word"))
		} else {
			out = append(out, text.Draw(t, "text"))
		}
	}
	return strings.Join(out, " ")
}

func header(n int, plus string) string {
	var digits []byte
	for ; n > 9; n /= 10 {
		digits = append([]byte{byte('0' + n%10)}, digits...)
	}
	return " {" + string(append([]byte{byte('0' + n)}, digits...)) + plus + "}"
}
