package imap_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mallard/internal/imap"
	"mallard/internal/imap/imapclient"
	"mallard/internal/store"
	"mallard/internal/tlsconf"
)

// raw is a client that sends and reads what it likes.
type raw struct {
	net.Conn
	t   testing.TB
	srv *server
	r   *bufio.Reader
}

func (w *world) raw(t testing.TB) *raw {
	t.Helper()
	return w.rawOver(t, true)
}

// piped is raw without TCP, for tests that have a clock of their own.
func (w *world) piped(t testing.TB) *raw {
	t.Helper()
	return w.rawOver(t, false)
}

func (w *world) rawOver(t testing.TB, tcp bool) *raw {
	t.Helper()
	conn, srv := w.connect(t, tcp)
	c := &raw{conn, t, srv, bufio.NewReader(conn)}
	c.want("* OK")
	return c
}

func (c *raw) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send %.60q: %v", text, err)
	}
}

// want reads lines up to one with a prefix.
func (c *raw) want(prefix string) string {
	c.t.Helper()
	begin, mib := time.Now(), -1
	var heard strings.Builder
	for {
		if n := heard.Len() >> 20; n > mib { // of a long answer each MiB has a second more
			mib = n
			_ = c.SetReadDeadline(begin.Add(10*time.Second + time.Duration(n)*time.Second))
		}
		line, err := c.r.ReadString('\n')
		heard.WriteString(line)
		if err != nil {
			c.t.Fatalf("want %q, heard %.1000q, %v", prefix, heard.String(), err)
		}
		if strings.HasPrefix(line, prefix) {
			return heard.String()
		}
	}
}

// rest reads to the end of the connection.
func (c *raw) rest() string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c.r)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Fatalf("heard %.1000q, %v", b, err)
	}
	return string(b)
}

func (c *raw) login() {
	c.t.Helper()
	c.send("login LOGIN jane secret\r\n")
	c.want("login OK")
}

func TestHugeLiterals(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		login      bool
		send, want string
		closes     bool
	}{
		"4 GB before login":          {false, "a LOGIN {4294967296}\r\n", "a NO [TOOBIG]", false},
		"unasked before login":       {false, "a LOGIN {4294967296+}\r\n", "* BYE [TOOBIG]", true},
		"beyond all numbers":         {false, "a LOGIN {99999999999999999999999}\r\n", "a ", false},
		"beyond all numbers unasked": {false, "a LOGIN {99999999999999999999999+}\r\n", "* BYE [TOOBIG]", true},
		"message of 4 GB":            {true, "a APPEND INBOX {4294967296}\r\n", "a NO [TOOBIG]", false},
		"message of 4 GB unasked":    {true, "a APPEND INBOX {4294967296+}\r\n", "* BYE [TOOBIG]", true},
		"message of 2^63":            {true, "a APPEND INBOX {9223372036854775807}\r\n", "a NO [TOOBIG]", false},
		"search for 4 GB":            {true, "a SEARCH TEXT {4294967296}\r\n", "a BAD", false},
		"second message of 4 GB":     {true, "a APPEND INBOX {3+}\r\nx\r\n {4294967296}\r\n", "a NO [TOOBIG]", false},
		"negative":                   {true, "a APPEND INBOX {-1}\r\n", "a BAD", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.raw(t)
			if tc.login {
				c.login()
			}
			c.send(tc.send)
			c.want(tc.want)
			if tc.closes {
				c.rest()
				c.srv.ended(t)
				return
			}
			c.send("b NOOP\r\n")
			c.want("b OK")
		})
	}
	if n := w.messages(t, "INBOX"); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// messages counts the messages of a mailbox.
func (w *world) messages(t testing.TB, name string) int {
	t.Helper()
	n := 0
	for _, err := range w.store.Fetch(t.Context(), w.acct.ID, w.box(t, name), store.FetchQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// A client that stops in the middle is let go, after the time that is its due or
// when it goes.
func TestUnterminated(t *testing.T) { synctest.Test(t, testUnterminated) }

func testUnterminated(t *testing.T) {
	for _, text := range []string{
		"", "a", "a LOGIN", "a LOGIN {10}\r\n", "a LOGIN {10}\r\nabc", "a LOGIN {10+}\r\nabc", "a LOGIN \"x", "a AUTHENTICATE PLAIN\r\n", "a STARTTLS\r\n",
	} {
		w := newWorld(t, options(func(o *imap.Options) { o.LoginTimeout = 100 * time.Millisecond }), withTLS(t))
		c := w.piped(t)
		c.send(text)
		if got := c.rest(); !strings.Contains(got, "* BYE") && !strings.Contains(text, "STARTTLS") {
			t.Errorf("%q ends with %q", text, got)
		}
		c.srv.ended(t)
	}
	for _, text := range []string{
		"a", "a NOOP", "a SELECT {10+}\r\n", "a APPEND INBOX {10+}\r\nabc", "a APPEND INBOX {3+}\r\nabc", "a APPEND INBOX {3+}\r\nabc {3+}\r\nab", "a IDLE\r\n", "a IDLE\r\nDO",
	} {
		w := newWorld(t, options(func(o *imap.Options) { o.IdleTimeout = 100 * time.Millisecond }))
		c := w.piped(t)
		c.login()
		c.send(text)
		c.rest()
		c.srv.ended(t)
		c = w.piped(t)
		c.login()
		c.send(text)
		_ = c.Close()
		c.srv.ended(t)
		if n := w.messages(t, "INBOX"); n != 0 {
			t.Errorf("%q: %d messages are stored", text, n)
		}
	}
}

func withTLS(t *testing.T) setting {
	t.Helper()
	cert, err := tlsconf.SelfSigned(t.TempDir(), []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return options(func(o *imap.Options) { o.TLS = cert.Config() })
}

// Octets that trickle in do not buy time before the login.
func TestSlowLogin(t *testing.T) { synctest.Test(t, testSlowLogin) }

func testSlowLogin(t *testing.T) {
	w := newWorld(t, options(func(o *imap.Options) { o.LoginTimeout = 200 * time.Millisecond }))
	c := w.piped(t)
	var trickle sync.WaitGroup
	trickle.Go(func() {
		for i := 0; ; i++ {
			if _, err := io.WriteString(c, "a NOOP\r\n"[i%8:i%8+1]); err != nil {
				return
			}
			<-time.After(5 * time.Millisecond)
		}
	})
	start := time.Now()
	c.want("* BYE")
	c.srv.ended(t)
	trickle.Wait() // the clock stands still when the test has ended
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// A client that writes octet by octet is slow but right.
func TestOctetByOctet(t *testing.T) {
	t.Run("waits", func(t *testing.T) { octetByOctet(t, time.Hour) })
	t.Run("rests", func(t *testing.T) { octetByOctet(t, time.Nanosecond) })
}

func octetByOctet(t *testing.T, restAfter time.Duration) {
	w := newWorld(t, restsAfter(restAfter))
	conn, _ := w.connect(t, false)
	c := &raw{conn, t, nil, bufio.NewReader(conn)}
	c.want("* OK")
	text := "a LOGIN {4}\r\njane {6+}\r\nsecret\r\nb APPEND INBOX (\\Seen) {5}\r\nx\r\ny\n {3+}\r\nabc\r\nc IDLE\r\nDONE\r\nd LOGOUT\r\n"
	go func() {
		for i := range len(text) {
			if _, err := c.Write([]byte{text[i]}); err != nil {
				return
			}
		}
	}()
	for _, want := range []string{"+ ", "a OK", "+ ", "b OK [APPENDUID", "+ idling", "c OK", "* BYE", "d OK"} {
		c.want(want)
	}
	if n := w.messages(t, "INBOX"); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// heap is how many octets a collection of garbage finds in use.
func heap() int64 {
	runtime.GC()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return int64(live[0].Value.Uint64())
}

// A client that never reads costs little and ends by the time-out.
func TestNeverReads(t *testing.T) {
	w := newWorld(t, options(func(o *imap.Options) { o.WriteTimeout = 500 * time.Millisecond }))
	a := w.client(t)
	a.add("INBOX", "Subject: x\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 50000))
	a.ok("LOGOUT")
	before := heap()
	c := w.raw(t)
	c.login()
	go func() { // as much as goes
		_, _ = io.WriteString(c, "s SELECT INBOX\r\n"+strings.Repeat("f FETCH 1 (BODY.PEEK[] BODY.PEEK[TEXT])\r\n", 20000))
	}()
	var most int64
	for running := true; running; {
		select {
		case <-c.srv.done:
			running = false
		case <-time.After(50 * time.Millisecond):
			most = max(most, heap()-before)
		}
	}
	if most > 6<<20 {
		t.Errorf("it took %d octets of memory", most)
	}
}

func TestPipelined(t *testing.T) {
	w := newWorld(t)
	c := w.raw(t)
	c.login()
	const n = 10000
	go func() {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "n%d NOOP\r\n", i)
		}
		_, _ = io.WriteString(c, b.String())
	}()
	for i := range n {
		line, err := c.r.ReadString('\n')
		if want := fmt.Sprintf("n%d OK", i); err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("heard %q %v, want %s", line, err, want)
		}
	}
}

func TestTooManyErrors(t *testing.T) {
	w := newWorld(t, options(func(o *imap.Options) { o.MaxErrors = 20 }))
	c := w.raw(t)
	c.send(strings.Repeat("a FROBNICATE\r\n", 1000))
	if got := c.rest(); strings.Count(got, "a BAD") != 21 || !strings.Contains(got, "* BYE") {
		t.Errorf("heard %.300q", got)
	}
	c.srv.ended(t)
}

func TestEndlessLine(t *testing.T) {
	w := newWorld(t)
	for _, login := range []bool{false, true} {
		c := w.raw(t)
		if login {
			c.login()
		}
		go func() {
			for {
				if _, err := io.WriteString(c, strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		}()
		if got := c.rest(); !strings.Contains(got, "* BYE") {
			t.Errorf("heard %.300q", got)
		}
		c.srv.ended(t)
	}
}

// Control characters in any place get a clean answer and never a line of their own.
func TestResponseSplitting(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	c.add("INBOX", letter)
	c.ok("SELECT INBOX")
	evil := "x\r\n* 1 EXPUNGE\r\nc9 OK \x00\x01\x7f\""
	lit := fmt.Sprintf("{%d+}\r\n%s", len(evil), evil)
	for _, cmd := range []string{
		"CREATE %s", "DELETE %s", "RENAME INBOX %s", "RENAME %s x", "SUBSCRIBE %s", "STATUS %s (MESSAGES)", "SELECT %s",
		`LIST "" %s`, `LIST %s "*"`, `LSUB "" %s`, "COPY 1 %s", "MOVE 1 %s", "APPEND %s {3+}\r\nabc", "GETQUOTAROOT %s", "GETQUOTA %s",
		"SEARCH SUBJECT %s", "SEARCH HEADER %[1]s %[1]s", "SEARCH TEXT %s", "SEARCH KEYWORD %s", "SEARCH CHARSET %s ALL",
		"STORE 1 +FLAGS (%s)", "STORE 1 +FLAGS %s", "APPEND INBOX (%s) {3+}\r\nabc", "APPEND INBOX %s {3+}\r\nabc",
		"FETCH 1 BODY.PEEK[HEADER.FIELDS (%s)]", "FETCH 1 (%s)", "FETCH %s UID", "ENABLE %s", `ID ("name" %s)`, "ID (%s NIL)", "%s",
		"LOGIN %[1]s %[1]s", "UID %s", "CREATE x (USE (%s))",
	} {
		for _, arg := range []string{lit, `"a` + "\x00" + `b"`, "a\x00b", "\"a\rb\"", "a\x01", `"\\"`, `"\""`, "\xff\xfe", "&AAA", "&", "&-", `"&AA0-"`, "a%b", "{0+}\r\n"} {
			if strings.Contains(cmd, "SELECT") {
				defer func() {}()
			}
			if _, err := c.Cmd("%s", fmt.Sprintf(cmd, arg)); err != nil {
				t.Fatalf("%q with %q: %v", cmd, arg, err)
			}
			// A refused SELECT closes the mailbox; and too many errors the connection.
			if res, err := c.Cmd("SELECT INBOX"); err != nil || res.Name != "OK" {
				c = w.client(t)
				c.ok("SELECT INBOX")
			}
		}
	}
}

// A mailbox keeps its name, whatever it is made of.
func TestNames(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	for _, name := range []string{
		"a b", `quo"te`, `back\slash`, "star*", "per%cent", "(paren)", "{3}", "{3+}", "&", "&-", "a&b", "&AAA-", "grün", "日本", "😀/x", "~peter", "+plus", "]", "NIL", "e\u0301", "é",
		strings.Repeat("ü", 200), " lead", "trail ", ".dot", "in\u0085box", "x/\u200by", "INBOXES", "inboxes",
	} {
		c.ok("CREATE %s", c.Mailbox(name))
		res := c.ok(`LIST "" %s`, c.Mailbox(strings.NewReplacer("*", "%").Replace(name)))
		found := 0
		for _, l := range res.Find("LIST") {
			if l.List.Mailbox == name {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%q is listed %d times: %v", name, found, lines(res))
		}
		if got := c.ok("STATUS %s (MESSAGES)", c.Mailbox(name)).Find("STATUS")[0].Status.Mailbox; got != name {
			t.Errorf("status of %q is of %q", name, got)
		}
		c.add(c.Mailbox(name), letter)
		c.ok("SELECT %s", c.Mailbox(name))
		c.ok("UNSELECT")
		c.ok("RENAME %s other", c.Mailbox(name))
		c.ok("RENAME other %s", c.Mailbox(name))
		c.ok("DELETE %s", c.Mailbox(name))
	}
}

func TestStartTLS(t *testing.T) {
	w := newWorld(t, withTLS(t))
	config := &tls.Config{InsecureSkipVerify: true}
	t.Run("works", func(t *testing.T) {
		c := w.stranger(t)
		if !strings.Contains(strings.Join(c.ok("CAPABILITY").Find("CAPABILITY")[0].Atoms, " "), "STARTTLS") {
			t.Error("it is not offered")
		}
		if err := c.StartTLS(config); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.Join(c.ok("CAPABILITY").Find("CAPABILITY")[0].Atoms, " "), "STARTTLS") {
			t.Error("it is offered again")
		}
		c.do("BAD", "STARTTLS")
		if err := c.Login("jane", "secret"); err != nil {
			t.Fatal(err)
		}
		c.do("BAD", "STARTTLS")
		c.ok("SELECT INBOX")
	})
	t.Run("injection", func(t *testing.T) {
		before := w.logins
		conn, _ := w.connect(t, false) // the server gets it all in one piece
		c := &raw{conn, t, nil, bufio.NewReader(conn)}
		c.want("* OK")
		c.send("a STARTTLS\r\nb LOGIN jane secret\r\nc CREATE evil\r\n")
		c.want("a OK")
		tc := tls.Client(conn, config)
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		c = &raw{tc, t, nil, bufio.NewReader(tc)}
		go c.send("d CAPABILITY\r\ne CREATE x\r\n")
		got := c.want("e BAD")
		if strings.Contains(got, "b ") || strings.Contains(got, "c ") || w.logins != before {
			t.Errorf("what came before the handshake was obeyed: %q", got)
		}
	})
	t.Run("no handshake", func(t *testing.T) {
		c := w.raw(t)
		c.send("a STARTTLS\r\n")
		c.want("a OK")
		c.send("GET / HTTP/1.1\r\n\r\n")
		c.rest()
		c.srv.ended(t)
	})
}

// elsewhere is a connection from another machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9} }

// Without TLS no password is taken from another machine, and none is asked for.
func TestPlainLogin(t *testing.T) {
	w := newWorld(t, withTLS(t), options(func(o *imap.Options) { o.AllowPlain = false }))
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		w.srv.Serve(t.Context(), elsewhere{far})
	}()
	c, err := imapclient.New(near)
	if err != nil {
		t.Fatal(err)
	}
	k := &client{Client: c, t: t}
	if got := strings.Join(c.Greeting.Code.Atoms, " "); !strings.Contains(got, "LOGINDISABLED") || strings.Contains(got, "AUTH=") {
		t.Errorf("greeting offers %s", got)
	}
	k.do("NO PRIVACYREQUIRED", "LOGIN jane secret")
	k.do("NO PRIVACYREQUIRED", "AUTHENTICATE PLAIN AGphbmUAc2VjcmV0")
	k.do("NO PRIVACYREQUIRED", "AUTHENTICATE PLAIN")
	if w.logins != 0 {
		t.Error("the password was looked at")
	}
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.Login("jane", "secret"); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	<-done
}

func TestWrongPasswords(t *testing.T) {
	w := newWorld(t)
	c := w.raw(t)
	c.send(strings.Repeat("a LOGIN jane wrong\r\n", 1000))
	if got := c.rest(); strings.Count(got, "a NO [AUTHENTICATIONFAILED]") != 10 || !strings.Contains(got, "* BYE") {
		t.Errorf("heard %.300q", got)
	}
	c.srv.ended(t)
	if w.logins != 10 {
		t.Errorf("%d passwords were looked at", w.logins)
	}
	for _, text := range []string{
		"AUTHENTICATE PLAIN =", "AUTHENTICATE PLAIN AAA=", "AUTHENTICATE PLAIN !", "AUTHENTICATE PLAIN\r\n*", "AUTHENTICATE PLAIN\r\n!", "AUTHENTICATE PLAIN\r\n",
		"AUTHENTICATE PLAIN am9lAGphbmUAc2VjcmV0", // joe acts as jane
		"AUTHENTICATE LOGIN", "LOGIN jane", "LOGIN jane \"secret", `LOGIN "" ""`,
	} {
		c := w.raw(t)
		c.send("a " + text + "\r\n")
		c.send("b SELECT INBOX\r\n")
		if got := c.want("b BAD"); strings.Contains(got, "a OK") {
			t.Errorf("%q: %q", text, got)
		}
	}
}
