package imapwire

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden runs testdata/*.txt. A block is lines of a client, "C: text" for
// a line with CRLF or C"..." for a Go string as it is, and then what the
// Reader made of them. "state: x" and "limit: x" lines set up the block.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { goldenFile(t, file) })
	}
}

func goldenFile(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
		got := runBlock(t, block)
		if got != block && !*update {
			t.Errorf("block differs\n--- want\n%s\n--- got\n%s", block, got)
		}
		out = append(out, got)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// runBlock returns the block with the output that it should have.
func runBlock(t *testing.T, block string) string {
	var input strings.Builder
	var keep []string
	state, utf8 := StateSelected, false
	var limits Limits
	for line := range strings.SplitSeq(block, "\n") {
		switch {
		case strings.HasPrefix(line, "C: "):
			input.WriteString(line[3:] + "\r\n")
		case strings.HasPrefix(line, `C"`):
			s, err := strconv.Unquote(line[1:])
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			input.WriteString(s)
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "set: "):
			setUp(t, line[5:], &state, &limits, &utf8)
		default:
			continue
		}
		keep = append(keep, line)
	}
	s := newSession(strings.NewReader(input.String()), limits, func(o *Options) { o.Charset = testCharset })
	s.r.SetUTF8(utf8)
	s.run(state)
	if n := len(s.events); n > 0 && s.events[n-1] == "! EOF" {
		s.events = s.events[:n-1]
	}
	return strings.Join(append(keep, s.events...), "\n")
}

func setUp(t *testing.T, text string, state *State, limits *Limits, utf8 *bool) {
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "noauth":
			*state = StateNotAuthenticated
		case "auth":
			*state = StateAuthenticated
		case "utf8":
			*utf8 = true
		case "maxline":
			limits.MaxLine = n
		case "maxliteral":
			limits.MaxLiteral = int64(n)
		case "maxappend":
			limits.MaxAppend = int64(n)
		case "maxnonsync":
			limits.MaxNonSync = int64(n)
		case "maxdiscard":
			limits.MaxDiscard = int64(n)
		case "maxnesting":
			limits.MaxNesting = n
		case "maxelements":
			limits.MaxElements = n
		case "maxsetlen":
			limits.MaxSetLen = n
		default:
			t.Fatalf("unknown setting %q", word)
		}
	}
}

// testCharset knows ISO-8859-1.
func testCharset(name string) func(string) (string, error) {
	if name != "ISO-8859-1" {
		return nil
	}
	return func(s string) (string, error) {
		out := make([]rune, 0, len(s))
		for i := range len(s) {
			out = append(out, rune(s[i]))
		}
		return string(out), nil
	}
}
