package httpapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// update writes what the API replies into the golden files.
var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden makes the calls of testdata/*.http and compares the replies octet
// by octet, after what differs from run to run is replaced. A file is a list of
// calls:
//
//	### title
//	> POST /users/{alice} Header-Name:value
//	body
//	@name .member[0].path       keep a value of the reply; {name} in later calls
//	< 200 Header-Name
//	reply
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.http")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no golden files")
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".http"), func(t *testing.T) {
			g := &golden{t: t, w: newWorld(t), vars: map[string]string{}}
			g.w.fill(g.vars)
			raw, err := os.ReadFile(name)
			must(t, err)
			got := g.run(string(raw))
			if *update {
				must(t, os.WriteFile(name, []byte(got), 0o644))
			}
		})
	}
}

type golden struct {
	t    *testing.T
	w    *world
	vars map[string]string
}

// fill makes what the golden files start from: a user with mail.
func (w *world) fill(vars map[string]string) {
	w.t.Helper()
	sam, inbox := w.user("sam")
	vars["sam"], vars["saminbox"] = sam.ID.String(), inbox.String()
	for _, name := range []string{"news.eml", "plain.eml", "reply.eml", "broken.eml"} {
		raw, err := os.ReadFile("testdata/" + name)
		must(w.t, err)
		text := strings.ReplaceAll(string(raw), "\n", "\r\n")
		info := `{"source":"MX","from":"bounce@lists.test","to":["s.am+x@example.com"],"time":"2026-01-01T00:00:00Z"}`
		w.put(sam.ID, inbox, text, info)
	}
}

func testDate() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

func (g *golden) run(script string) string {
	g.t.Helper()
	blocks := strings.Split(script, "\n### ")
	var out strings.Builder
	out.WriteString(blocks[0])
	for _, b := range blocks[1:] {
		out.WriteString("\n### " + g.block(b))
	}
	return out.String()
}

// block makes one call and returns the block with the reply that came.
func (g *golden) block(b string) string {
	g.t.Helper()
	lines := strings.Split(strings.TrimRight(b, "\n"), "\n")
	title := lines[0]
	cut := len(lines)
	for i, l := range lines {
		if strings.HasPrefix(l, "< ") {
			cut = i
			break
		}
	}
	head, want := lines[1:cut], strings.Join(lines[cut:], "\n")
	var body, keep []string
	for _, l := range head[1:] {
		if strings.HasPrefix(l, "@") {
			keep = append(keep, l)
			continue
		}
		body = append(body, l)
	}
	words := strings.Fields(g.fillIn(strings.TrimPrefix(head[0], "> ")))
	var header []string
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, ":")
		header = append(header, k, strings.ReplaceAll(v, "_", " "))
	}
	text := g.fillIn(strings.Join(body, "\n"))
	if strings.Contains(strings.Join(header, " "), "message/") || strings.Contains(strings.Join(header, " "), "multipart/") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	r := g.w.call(words[0], words[1], text, header...)
	for _, k := range keep {
		g.keep(title, k, r)
	}
	shown := fmt.Sprintf("< %d", r.status)
	if first, _, _ := strings.Cut(want, "\n"); first != "" {
		for _, name := range strings.Fields(first)[2:] {
			name, _, _ = strings.Cut(name, ":")
			shown += " " + name + ":" + strings.ReplaceAll(r.header.Get(name), " ", "_")
		}
	}
	if isJSON(r.header) {
		checkIndent(g.t, title, r.body)
	}
	got := shown + "\n" + g.normalize(r.body)
	got = strings.TrimRight(got, "\n")
	if got != want && !*update {
		g.t.Errorf("%s\ngot:\n%s\nwant:\n%s", title, got, want)
	}
	return strings.Join(lines[:cut], "\n") + "\n" + got + "\n"
}

func isJSON(h http.Header) bool { return strings.HasPrefix(h.Get("Content-Type"), "application/json") }

// checkIndent holds replies to the form that WildDuck gives them.
func checkIndent(t *testing.T, title, body string) {
	t.Helper()
	if body == "" {
		return
	}
	if !strings.HasSuffix(body, "\n}\n") || !strings.HasPrefix(body, "{\n  \"") || !json.Valid([]byte(body)) {
		t.Errorf("%s: not JSON with an indent of two and a final newline: %q", title, body)
	}
}

func (g *golden) fillIn(s string) string {
	for name, v := range g.vars {
		s = strings.ReplaceAll(s, "{"+name+"}", v)
	}
	return s
}

// keep remembers a member of a reply.
func (g *golden) keep(title, line string, r reply) {
	g.t.Helper()
	name, path, _ := strings.Cut(strings.TrimPrefix(line, "@"), " ")
	var v any
	must(g.t, json.Unmarshal([]byte(r.body), &v))
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch t := v.(type) {
		case map[string]any:
			v = t[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(t) {
				g.t.Fatalf("%s: no %s in %s", title, path, r.body)
			}
			v = t[i]
		}
	}
	s, ok := v.(string)
	if !ok {
		g.t.Fatalf("%s: %s is no string in %s", title, path, r.body)
	}
	g.vars[name] = s
}

var changing = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`"[0-9a-f]{24}"`), `"<id>"`},
	{regexp.MustCompile(`"[0-9a-f]{40}"`), `"<token>"`},
	{regexp.MustCompile(`"(previousCursor|nextCursor)": "[A-Za-z0-9_-]+"`), `"$1": "<cursor>"`},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}@`), `<uuid>@`},
	{regexp.MustCompile(`--_[0-9a-f]{24}-`), `--_<boundary>-`},
	{regexp.MustCompile(`Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20[3-9]\d`), `Date: <now>`},
	{regexp.MustCompile(`"password": "[0-9A-Za-z]{12}"`), `"password": "<password>"`},
}

var isoDate = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]{12}Z"`)

// normalize replaces what differs from run to run.
func (g *golden) normalize(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r", ""), "=\n", "")
	if !utf8.ValidString(s) {
		s = strconv.Quote(s)
	}
	for name, v := range g.vars {
		if len(v) >= 12 {
			s = strings.ReplaceAll(s, v, "{"+name+"}")
		}
	}
	for _, c := range changing {
		s = c.re.ReplaceAllString(s, c.with)
	}
	now := time.Now()
	return isoDate.ReplaceAllStringFunc(s, func(d string) string {
		t, err := time.Parse(`"`+dateLayout+`"`, d)
		if err == nil && now.Sub(t).Abs() < time.Hour {
			return `"<now>"`
		}
		return d
	})
}
