// Package dialogtest plays dialogs with a server of a line protocol and compares
// what it says with what a file expects.
//
// A line "C: text" or "C2: text" is sent by the first or second client; the "S:"
// or "S2:" lines below it are the answer. In text, \r\n ends a line, ${name} is
// the file testdata/mail/name as an IMAP non-synchronising literal, and $[name]
// is the same file as it is, dot-stuffed for SMTP, with CRLF line ends. $(n) is
// n times the letter x. A line "C: !lines n" only reads n lines. A line
// "!restart" ends all clients and starts the server anew. Other lines are comments.
//
// The flag -rewrite writes the files anew.
package dialogtest

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the dialogs of the tests anew")

// Server is a server under test.
type Server struct {
	// Serve runs one connection.
	Serve func(ctx context.Context, c net.Conn)
	// Restart returns the Serve of a server that takes over, for "!restart".
	Restart func() func(ctx context.Context, c net.Conn)
	// Ends reports whether a line ends the answer to the client's last line that
	// held a space; one without is taken to continue it.
	Ends func(sent, line string) bool
	// Unstable are expressions whose first group is kept; what else they match
	// differs from run to run and is replaced by "?".
	Unstable []*regexp.Regexp
}

// Run plays all files of a directory, each on a server of its own.
func Run(t *testing.T, dir string, open func(t *testing.T) Server) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogs in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, open(t), string(want))
			switch {
			case got == string(want):
			case *rewrite:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s: %s", file, difference(string(want), got))
			}
		})
	}
}

func play(t *testing.T, srv Server, script string) string {
	clients := map[string]*client{}
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		who, text, ok := strings.Cut(line, ":")
		text = strings.TrimPrefix(text, " ")
		if isName(who, 'S') {
			continue
		}
		out.WriteString(line + "\n")
		if line == "!restart" {
			for _, c := range clients {
				c.end()
			}
			clear(clients)
			srv.Serve = srv.Restart()
		}
		if !ok || !isName(who, 'C') {
			continue
		}
		c := clients[who]
		if c == nil {
			// The greeting belongs above the first line of its client.
			before := strings.TrimSuffix(out.String(), line+"\n")
			out.Reset()
			out.WriteString(before)
			c = dial(t, srv, "S"+who[1:])
			clients[who] = c
			c.answer(&out, "")
			out.WriteString(line + "\n")
		}
		c.say(&out, text)
	}
	return out.String()
}

// isName reports whether a word is a letter with an optional digit.
func isName(s string, letter byte) bool {
	return len(s) > 0 && len(s) <= 2 && s[0] == letter && (len(s) == 1 || s[1] >= '0' && s[1] <= '9')
}

type client struct {
	t     *testing.T
	srv   Server
	name  string
	conn  net.Conn
	last  string // the last line sent that held a space
	lines chan string
	end   func() // closes the connection and waits for the server's side of it
}

func dial(t *testing.T, srv Server, name string) *client {
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ctx, far)
		_ = far.Close()
	}()
	end := func() {
		cancel()
		_ = near.Close()
		<-done
	}
	t.Cleanup(end)
	c := &client{t: t, srv: srv, name: name, conn: near, lines: make(chan string, 4096), end: end}
	go c.read()
	return c
}

func (c *client) read() {
	defer close(c.lines)
	r := bufio.NewReader(c.conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		for _, re := range c.srv.Unstable {
			line = re.ReplaceAllString(line, "$1 ?")
		}
		c.lines <- line
	}
}

// answer copies lines up to the one that ends the answer. The server answers at
// once, so that half a minute of silence is a failure that shows in the dialog.
func (c *client) answer(out *strings.Builder, sent string) {
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				out.WriteString(c.name + ": [closed]\n")
				return
			}
			out.WriteString(strings.TrimRight(c.name+": "+line, " ") + "\n")
			if sent == "" || c.srv.Ends(sent, line) {
				return
			}
		case <-time.After(30 * time.Second):
			out.WriteString(c.name + ": [silence]\n")
			return
		}
	}
}

func (c *client) say(out *strings.Builder, text string) {
	if n, ok := strings.CutPrefix(text, "!lines "); ok {
		var count int
		_, _ = fmt.Sscan(n, &count)
		for range count {
			c.answer(out, "")
		}
		return
	}
	wire := c.expand(strings.ReplaceAll(text, `\r\n`, "\r\n"))
	go func() { _, _ = c.conn.Write([]byte(wire + "\r\n")) }()
	if c.last == "" || strings.Contains(text, " ") {
		c.last = text
	}
	c.answer(out, c.last)
}

var fileRef = regexp.MustCompile(`\$[{\[][a-z0-9-]+[}\]]`)

var repeatRef = regexp.MustCompile(`\$\([0-9]+\)`)

// expand puts files in the place of their names.
func (c *client) expand(text string) string {
	text = repeatRef.ReplaceAllStringFunc(text, func(ref string) string {
		n, err := strconv.Atoi(ref[2 : len(ref)-1])
		if err != nil {
			c.t.Fatal(err)
		}
		return strings.Repeat("x", n)
	})
	return fileRef.ReplaceAllStringFunc(text, func(ref string) string {
		b, err := os.ReadFile(filepath.Join("testdata/mail", ref[2:len(ref)-1]))
		if err != nil {
			c.t.Fatal(err)
		}
		msg := strings.ReplaceAll(string(b), "\n", "\r\n")
		if ref[1] == '{' {
			return fmt.Sprintf("{%d+}\r\n%s", len(msg), msg)
		}
		return strings.ReplaceAll("\r\n"+msg, "\r\n.", "\r\n..")[2:]
	})
}

func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range b {
		if i < len(a) && a[i] == b[i] {
			continue
		}
		from, to := max(0, i-3), min(i+12, len(b))
		expected := "nothing more"
		if i < len(a) {
			expected = a[i]
		}
		return fmt.Sprintf("differs at line %d\n    want %s\n    got  %s", i+1, expected, strings.Join(b[from:to], "\n         "))
	}
	return "lines are missing at the end"
}
