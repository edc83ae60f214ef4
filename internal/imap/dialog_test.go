package imap_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/imap"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the dialogs in testdata")

// world is a server on the model store, with one account.
type world struct {
	t     *testing.T
	srv   *imap.Server
	boxes *mailbox.Service
	recv  *draft.Receiver
	acct  *mail.Account
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st := memstore.New(memstore.Options{Mangle: true})
	bus := membus.New()
	t.Cleanup(func() { _ = bus.Close(); _ = st.Close() })
	acct, err := st.CreateAccount(t.Context(), store.NewAccount{
		Account: mail.Account{Username: "jane", Activated: true}, View: "jane",
		Mailboxes: []mail.Mailbox{
			{Path: "INBOX", Subscribed: true}, {Path: "Sent", SpecialUse: mail.UseSent, Subscribed: true},
			{Path: "Trash", SpecialUse: mail.UseTrash, Subscribed: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, acct: acct, recv: draft.New(draft.Options{Dir: t.TempDir()})}
	w.boxes = mailbox.New(mailbox.Options{Store: st, Bus: bus})
	w.srv = imap.New(imap.Options{
		Auth: w, Accounts: w, Mailboxes: w.boxes, Receiver: w.recv, AllowPlain: true, MaxAppend: 1 << 20,
		KeepAlive: -1, Version: "1",
	})
	return w
}

func (w *world) Login(_ context.Context, user, pass string, _ net.Addr, _ string) (*mail.Account, error) {
	if user == "jane" && pass == "secret" {
		return w.acct, nil
	}
	return nil, mail.NewError(mail.CodeAuthFailed, "Invalid credentials")
}

func (w *world) Quota(context.Context, mail.AccountID) (int64, int64, error) {
	return 2048, 1 << 20, nil
}

func (w *world) Acquire(context.Context, *mail.Account) (func(), error) { return func() {}, nil }

// dial opens a connection to the server.
func (w *world) dial() net.Conn {
	client, server := net.Pipe()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.srv.Serve(ctx, server)
		_ = server.Close()
	}()
	w.t.Cleanup(func() {
		cancel()
		_ = client.Close()
		<-done
	})
	return client
}

// Dialogs are the files of testdata/dialogs. A line "C: text" or "C2: text" is
// sent by the first or second client, and what the server answers is compared
// with the "S:" lines below it. In text, \r\n ends a line and ${name} is a
// message of testdata/mail as a literal. A line "C: !wait" only reads until the
// server is silent. Numbers that differ from run to run are replaced.
func TestDialogs(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogs/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogs: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newWorld(t).play(string(want))
			if got == string(want) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s differs; got:\n%s", file, diff(string(want), got))
		})
	}
}

func (w *world) play(script string) string {
	clients := map[string]*player{}
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		who, text, ok := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(who, "S"):
			continue
		case !ok || !strings.HasPrefix(who, "C"):
			out.WriteString(line + "\n")
			continue
		}
		c := clients[who]
		if c == nil {
			c = &player{t: w.t, name: "S" + who[1:], conn: w.dial()}
			c.lines = make(chan string, 1000)
			go c.read()
			clients[who] = c
			c.expect(&out, "* ")
		}
		out.WriteString(line + "\n")
		c.send(&out, text)
	}
	return out.String()
}

type player struct {
	t     *testing.T
	name  string
	conn  net.Conn
	tag   string
	lines chan string
}

var unstable = []*regexp.Regexp{
	regexp.MustCompile(`(UIDVALIDITY) \d+`),
	regexp.MustCompile(`(\[APPENDUID) \d+`),
	regexp.MustCompile(`(\[COPYUID) \d+`),
	regexp.MustCompile(`(INTERNALDATE) "[^"]*"`),
	regexp.MustCompile(`(EMAILID) \([0-9a-f]+\)`),
	regexp.MustCompile(`(THREADID) \([0-9a-f]+\)`),
	regexp.MustCompile(`(MAILBOXID) \([0-9a-f]+\)`),
}

func (c *player) read() {
	defer close(c.lines)
	r := bufio.NewReader(c.conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		for _, re := range unstable {
			line = re.ReplaceAllString(line, "$1 ?")
		}
		c.lines <- line
	}
}

// expect copies lines up to one that starts with a prefix. The server answers at
// once, so that two seconds of silence are a failure.
func (c *player) expect(out *strings.Builder, prefixes ...string) {
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				out.WriteString(c.name + ": [closed]\n")
				return
			}
			out.WriteString(strings.TrimRight(c.name+": "+line, " ") + "\n")
			for _, p := range prefixes {
				if strings.HasPrefix(line, p) {
					return
				}
			}
		case <-time.After(2 * time.Second):
			out.WriteString(c.name + ": [silence]\n")
			return
		}
	}
}

func (c *player) send(out *strings.Builder, text string) {
	if n, ok := strings.CutPrefix(text, "!lines "); ok {
		var count int
		_, _ = fmt.Sscan(n, &count)
		for range count {
			c.expect(out, "")
		}
		return
	}
	text = strings.ReplaceAll(text, `\r\n`, "\r\n")
	if name, rest, ok := literal(text); ok {
		body, err := os.ReadFile(filepath.Join("testdata/mail", name))
		if err != nil {
			c.t.Fatal(err)
		}
		msg := strings.ReplaceAll(string(body), "\n", "\r\n")
		text = strings.Replace(text, "${"+name+"}", fmt.Sprintf("{%d+}\r\n%s", len(msg), msg), 1) + rest
	}
	go func() { _, _ = c.conn.Write([]byte(text + "\r\n")) }()
	tag, _, command := strings.Cut(text, " ")
	if command {
		c.tag = tag // else it continues the command before
	}
	c.expect(out, c.tag+" ", "+ ", "* BAD", "* BYE")
}

func literal(text string) (name, rest string, ok bool) {
	_, after, ok := strings.Cut(text, "${")
	if !ok {
		return "", "", false
	}
	name, _, ok = strings.Cut(after, "}")
	return name, "", ok
}

func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range b {
		if i >= len(a) || a[i] != b[i] {
			from := max(0, i-3)
			return fmt.Sprintf("at line %d:\nwant %q\n got %s", i+1, a[min(from, len(a)):min(i+2, len(a))], strings.Join(b[from:min(i+12, len(b))], "\n     "))
		}
	}
	return "missing lines at the end"
}
