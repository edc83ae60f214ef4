package lmtp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mallard/internal/delivery"
	"mallard/internal/draft"
	"mallard/internal/lmtp"
	"mallard/internal/mail"
	"mallard/internal/tlsconf"
)

// client is the other end of a session, for tests that care when something is
// said.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	stop context.CancelFunc // shuts the server down
	done chan struct{}
}

func dial(t *testing.T, srv *lmtp.Server) *client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := &client{t: t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		far, err := l.Accept()
		_ = l.Close()
		if err != nil {
			return
		}
		srv.Serve(ctx, far)
		_ = far.Close()
	}()
	if c.conn, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.conn.Close()
		<-c.done
	})
	c.r = bufio.NewReader(c.conn)
	c.want("220")
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatalf("send %.40q: %v", text, err)
	}
}

// want reads one reply, of any number of lines, that must begin so.
func (c *client) want(begin string) string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var reply string
	for {
		line, err := c.r.ReadString('\n')
		reply += line
		if err != nil {
			c.t.Fatalf("no reply %q: %q, %v", begin, reply, err)
		}
		if len(line) > 3 && line[3] == ' ' {
			break
		}
	}
	if !strings.HasPrefix(reply, begin) {
		c.t.Fatalf("reply %q, want %q", reply, begin)
	}
	return reply
}

func (c *client) wantEnd() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("the connection does not end: %q, %v", rest, err)
	}
}

func (c *client) say(line, begin string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.want(begin)
}

// begin brings a session to the point before DATA or BDAT.
func (c *client) begin(rcpts ...string) {
	c.t.Helper()
	c.say("LHLO c", "250-")
	c.say("MAIL FROM:<bob@remote.test>", "250")
	for _, r := range rcpts {
		c.say("RCPT TO:<"+r+">", "250 2.1.5")
	}
}

const jane = "jane.roe@example.test"

// troubled is a backend that fails.
type troubled struct {
	lmtp.Backend
	resolve, receive error
	deliver          []error
}

func (b *troubled) Resolve(ctx context.Context, address string) (*delivery.Recipient, error) {
	if b.resolve != nil {
		return nil, b.resolve
	}
	return &delivery.Recipient{Address: address}, nil
}

func (b *troubled) Receive(ctx context.Context, r io.Reader, maxSize int64) (*draft.Draft, error) {
	if b.receive != nil {
		_, _ = io.CopyN(io.Discard, r, 3)
		return nil, b.receive
	}
	return b.Backend.Receive(ctx, r, maxSize)
}

func (b *troubled) Deliver(_ context.Context, env delivery.Envelope, _ *draft.Draft) []delivery.Verdict {
	out := make([]delivery.Verdict, len(env.Recipients))
	for i := range out {
		out[i].Err = b.deliver[i%len(b.deliver)]
	}
	return out
}

// Every kind of trouble has its reply, for each recipient, wherever it happens;
// what is inside an error is not told.
func TestTrouble(t *testing.T) {
	secret := errors.New("secret detail")
	cases := []struct {
		err  error
		want string
	}{
		{mail.WrapError(mail.CodeNotFound, "", secret), "550 5.1.1"},
		{mail.WrapError(mail.CodeNoAccount, "", secret), "550 5.1.1"},
		{mail.WrapError(mail.CodeDisabled, "", secret), "550 5.2.1"},
		{mail.WrapError(mail.CodeOverQuota, "", secret), "552 5.2.2"},
		{mail.WrapError(mail.CodeTooBig, "", secret), "552 5.3.4"},
		{mail.WrapError(mail.CodeForbidden, "", secret), "550 5.7.1"},
		{mail.WrapError(mail.CodeRateLimited, "", secret), "450 4.7.1"},
		{mail.WrapError(mail.CodeNoSpace, "", secret), "452 4.3.1"},
		{mail.WrapError(mail.CodeUnavailable, "", secret), "451 4.3.0"},
		{mail.WrapError(mail.CodeCorrupt, "", secret), "451 4.3.0"},
		{mail.WrapError(mail.CodeConflict, "", secret), "451 4.3.0"},
		{mail.WrapError(mail.CodeCanceled, "", secret), "451 4.3.0"},
		{fmt.Errorf("wrapped: %w", secret), "451 4.3.0"},
	}
	rc := newWorld(t).delivery
	for _, tc := range cases {
		b := &troubled{Backend: rc}
		c := dial(t, lmtp.New(lmtp.Options{Backend: b}))
		c.say("LHLO c", "250-")
		var replies []string
		note := func(reply string) { replies = append(replies, reply) }
		b.resolve = tc.err
		c.say("MAIL FROM:<a@b>", "250")
		note(c.say("RCPT TO:<"+jane+">", tc.want))
		b.resolve = nil
		for _, how := range []struct{ begin, rest string }{
			{"DATA\r\n", "Subject: x\r\n\r\nlong enough\r\n.\r\n"},
			{"BDAT 10\r\nSubject: xBDAT 4 LAST\r\n\r\n\r\n", ""},
			{"BDAT 10 LAST\r\nSubject: x", ""},
		} {
			for _, failing := range []string{"receive", "deliver"} {
				b.receive, b.deliver = nil, []error{tc.err, nil, tc.err}
				if failing == "receive" {
					b.receive = tc.err
				}
				c.say("RSET", "250")
				c.say("MAIL FROM:<a@b>", "250")
				for range 3 {
					c.say("RCPT TO:<"+jane+">", "250")
				}
				c.send(how.begin)
				if how.rest != "" {
					c.want("354")
					c.send(how.rest)
				} else if strings.Contains(how.begin, "BDAT 4") {
					first := "250 2.0.0 10 octets"
					if failing == "receive" {
						first = tc.want // there is no use in the next chunk
					}
					note(c.want(first))
				}
				for i := range 3 {
					if failing == "deliver" && i == 1 {
						note(c.want("250 2.0.0 Message stored as"))
						continue
					}
					note(c.want(tc.want))
				}
			}
		}
		c.say("NOOP", "250 2.0.0 OK")
		if all := strings.Join(replies, ""); strings.Contains(all, "secret") {
			t.Errorf("%v: the client is told %q", tc.err, all)
		}
	}
}

// A client that waits for a reply gets it, whatever else it has begun to send
// (RFC 2920, 3.2); TCP cuts where it likes.
func TestRepliesAreNotHeldBack(t *testing.T) {
	c := dial(t, newWorld(t).srv)
	c.send("LHLO c\r\nMAIL FR")
	c.want("250-")
	c.send("OM:<a@b>\r\nRCPT TO:<" + jane + ">\r\nBDA")
	c.want("250 2.1.0")
	c.want("250 2.1.5")
	c.send("T 3\r\nabcBDAT 4\r\nde")
	c.want("250 2.0.0 3 octets")
	c.send("fgBDAT 2 LAST\r\n\r\nNOOP\r\nR")
	c.want("250 2.0.0 7 octets")
	c.want("250 2.0.0 Message stored")
	c.want("250 2.0.0 OK")
	c.send("SET\r\n")
	c.want("250 2.0.0 Flushed")
	// Lines may end with LF alone, those of a message may not.
	c.send("MAIL FROM:<a@b>\nRCPT TO:<" + jane + ">\nDATA\n")
	c.want("250 2.1.0")
	c.want("250 2.1.5")
	c.want("354")
	c.send("x\n.\nNOOP\n.\r\nNOOP\r\n.\r\n")
	c.want("250 2.0.0 Message stored")
	c.say("QUIT", "221")
	c.wantEnd()
}

// A message that trickles in ends, in both ways to send it, and so does a
// command; the octets and the time that this takes are bounded.
func TestSlow(t *testing.T) {
	const patience = 3 * time.Second // much more than a command takes, and much less than what trickles
	trickle := func(c *client, text string) {
		go func() {
			for i := range text {
				if _, err := io.WriteString(c.conn, text[i:i+1]); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}()
	}
	for name, tc := range map[string]struct {
		o     lmtp.Options
		begin string
		reply string
	}{
		"rate of DATA": {lmtp.Options{ReadTimeout: patience, MinRate: 1e6}, "DATA\r\n", "421 4.4.2"},
		"rate of BDAT": {lmtp.Options{ReadTimeout: patience, MinRate: 1e6}, "BDAT 5000 LAST\r\n", "421 4.4.2"},
		"time of DATA": {lmtp.Options{MaxDataTime: 50 * time.Millisecond}, "DATA\r\n", "421 4.4.2"},
		"time of BDAT": {lmtp.Options{MaxDataTime: 50 * time.Millisecond}, "BDAT 5000 LAST\r\n", "421 4.4.2"},
		"command":      {lmtp.Options{ReadTimeout: patience}, "", "421 4.4.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.o.Backend = w.delivery
			c := dial(t, lmtp.New(tc.o))
			c.begin(jane)
			c.send(tc.begin)
			if strings.HasPrefix(tc.begin, "DATA") {
				c.want("354")
			}
			trickle(c, strings.Repeat("x", 3000))
			c.want(tc.reply)
			<-c.done
			if n := len(w.stored(t)); n != 0 {
				t.Errorf("%d messages are stored", n)
			}
		})
	}
	t.Run("fast enough", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := dial(t, lmtp.New(lmtp.Options{Backend: w.delivery, ReadTimeout: patience, MinRate: 10}))
		c.begin(jane)
		c.say("DATA", "354")
		trickle(c, strings.Repeat("x", 1200)+"\r\n.\r\n") // takes twice ReadTimeout
		c.want("250 2.0.0 Message stored")
	})
}

// A connection that is lost at any octet leaves all of a message or nothing, and
// nothing that a client was not, or could not have been, told about.
func TestLostConnection(t *testing.T) {
	begin := "LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<" + jane + ">\r\n"
	for name, text := range map[string]string{
		"DATA": "DATA\r\nSubject: x\r\n\r\n..\r\n\r\n.\r\n",
		"BDAT": "BDAT 12\r\nSubject: x\r\nBDAT 0\r\nBDAT 5\r\n\r\n.\r\nBDAT 2 LAST\r\n\r\n",
	} {
		whole := begin + text
		for cut := len(begin); cut <= len(whole); cut++ {
			w := newWorld(t)
			c := dial(t, w.srv)
			c.send(whole[:cut])
			// The server reads to this end, and can still reply: it has nothing but
			// the end to tell it.
			if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(c.r); err != nil {
				t.Fatal(err)
			}
			<-c.done
			want := 0
			if cut == len(whole) {
				want = 1
			}
			if n := len(w.stored(t)); n != want {
				t.Errorf("%s cut after %q: %d messages, want %d", name, whole[:cut], n, want)
			}
		}
	}
}

// At shutdown a session that waits ends at once, and one that is in a message
// takes the rest of it first.
func TestShutdown(t *testing.T) {
	t.Run("between commands", func(t *testing.T) {
		c := dial(t, newWorld(t).srv)
		c.begin(jane)
		c.stop()
		c.want("421 4.3.2")
		c.wantEnd()
	})
	t.Run("between chunks", func(t *testing.T) {
		c := dial(t, newWorld(t).srv)
		c.begin(jane)
		c.say("BDAT 3\r\nx", "250")
		c.stop()
		c.want("421 4.3.2")
		c.wantEnd()
	})
	for _, how := range []struct{ begin, rest string }{{"DATA\r\nhal", "f\r\n.\r\n"}, {"BDAT 4 LAST\r\nhal", "f"}} {
		t.Run(how.begin[:4], func(t *testing.T) {
			w := newWorld(t)
			b := &watched{Backend: w.delivery, began: make(chan struct{})}
			c := dial(t, lmtp.New(lmtp.Options{Backend: b}))
			c.begin(jane)
			c.send(how.begin)
			<-b.began
			c.stop()
			c.send(how.rest)
			if how.begin[:4] == "DATA" {
				c.want("354")
			}
			c.want("250 2.0.0 Message stored")
			c.want("421 4.3.2")
			c.wantEnd()
			if n := len(w.stored(t)); n != 1 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// watched tells when the first octets of a message have come.
type watched struct {
	lmtp.Backend
	began chan struct{}
}

func (b *watched) Receive(ctx context.Context, r io.Reader, maxSize int64) (*draft.Draft, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil {
		return nil, err
	}
	close(b.began)
	return b.Backend.Receive(ctx, io.MultiReader(bytes.NewReader(first), r), maxSize)
}

func TestSTARTTLS(t *testing.T) {
	certs, err := tlsconf.SelfSigned(t.TempDir(), []string{"mx.test"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	srv := lmtp.New(lmtp.Options{Backend: w.delivery, TLS: certs.Config()})
	t.Run("session", func(t *testing.T) {
		c := dial(t, srv)
		if r := c.say("LHLO c", "250-"); !strings.Contains(r, "STARTTLS\r\n") {
			t.Errorf("not offered: %q", r)
		}
		c.say("MAIL FROM:<a@b>", "250")
		c.say("STARTTLS now", "501")
		c.say("STARTTLS", "220 2.0.0")
		tc := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
		c.conn, c.r = tc, bufio.NewReader(tc)
		// What was said before does not count (RFC 3207, 4.2).
		c.say("MAIL FROM:<a@b>", "503 5.5.1 Say LHLO")
		if r := c.say("LHLO c", "250-"); strings.Contains(r, "STARTTLS") {
			t.Errorf("offered inside TLS: %q", r)
		}
		c.say("STARTTLS", "503")
		c.say("MAIL FROM:<a@b>", "250")
		c.say("RCPT TO:<"+jane+">", "250")
		c.say("DATA", "354")
		c.say("Subject: x\r\n\r\n.", "250 2.0.0 Message stored")
		c.say("QUIT", "221")
		c.wantEnd()
	})
	t.Run("commands in front of the handshake", func(t *testing.T) {
		c := dial(t, srv)
		c.say("LHLO c", "250-")
		c.send("STARTTLS\r\nMAIL FROM:<evil@b>\r\n")
		c.want("554")
		c.wantEnd()
	})
	t.Run("no handshake", func(t *testing.T) {
		c := dial(t, lmtp.New(lmtp.Options{
			Backend: w.delivery, TLS: certs.Config(), TLSTimeout: 100 * time.Millisecond, LingerTime: 100 * time.Millisecond,
		}))
		c.say("LHLO c", "250-")
		c.say("STARTTLS", "220")
		<-c.done // after TLSTimeout
	})
	t.Run("not configured", func(t *testing.T) {
		c := dial(t, w.srv)
		if r := c.say("LHLO c", "250-"); strings.Contains(r, "STARTTLS") {
			t.Errorf("offered: %q", r)
		}
		c.say("STARTTLS", "502")
	})
}

// The trace header names the recipient as it was given, with the domain in lower
// case, and each recipient gets only its own.
func TestTraceHeader(t *testing.T) {
	w := newWorld(t)
	c := dial(t, w.srv)
	rcpts := []string{"Jane.Roe+Label@EXAMPLE.test", "janeroe@Alias.TEST", "any@wild.test"}
	for _, from := range []string{"", `"a>b c"@Remote.TEST`, "jürgen@jõgeva.ee"} {
		c.say("LHLO c", "250-")
		c.say("MAIL FROM:<"+from+">", "250")
		for _, r := range rcpts {
			c.say("RCPT TO:<"+r+">", "250")
		}
		c.say("DATA", "354")
		c.send("Subject: x\r\nReturn-Path: <forged@x>\r\n\r\n.\r\n")
		for range rcpts {
			c.want("250")
		}
		got := w.stored(t)
		got = got[len(got)-3:]
		slices.SortFunc(got, bytes.Compare)
		for i, to := range []string{"Jane.Roe+Label@example.test", "any@wild.test", "janeroe@alias.test"} {
			want := "Delivered-To: " + to + "\r\nReturn-Path: <" + from + ">\r\nSubject: x\r\nReturn-Path: <forged@x>\r\n\r\n"
			if string(got[i]) != want {
				t.Errorf("stored %q, want %q", got[i], want)
			}
		}
	}
}

// A client that names recipients beyond the limit, all at once as they do, has
// those delivered that fit; one that names a million is sent away.
func TestManyRecipients(t *testing.T) {
	w := newWorld(t)
	srv := lmtp.New(lmtp.Options{Backend: w.delivery, MaxRecipients: 20, MaxErrors: 5})
	c := dial(t, srv)
	c.begin()
	c.send(strings.Repeat("RCPT TO:<"+jane+">\r\n", 150) + "DATA\r\n")
	for i := range 150 {
		if i < 20 {
			c.want("250 2.1.5")
		} else {
			c.want("452 4.5.3")
		}
	}
	c.want("354")
	c.send("Subject: x\r\n\r\n.\r\n")
	for range 20 {
		c.want("250 2.0.0 Message stored")
	}
	c.say("MAIL FROM:<a@b>", "250")
	go func() {
		for range 10000 {
			if _, err := io.WriteString(c.conn, strings.Repeat("RCPT TO:<nobody@example.test>\r\n", 100)); err != nil {
				return
			}
		}
	}()
	for i := range 10*20 + 6 {
		if i < 20 {
			c.want("550 5.1.1")
		} else {
			c.want("452 4.5.3")
		}
	}
	c.want("421 4.7.0")
	<-c.done
}

// A client that talks and never listens is left alone after WriteTimeout.
func TestNeverReads(t *testing.T) {
	c := dial(t, lmtp.New(lmtp.Options{Backend: newWorld(t).delivery, WriteTimeout: 50 * time.Millisecond}))
	go func() {
		for {
			if _, err := io.WriteString(c.conn, strings.Repeat("NOOP\r\n", 1000)); err != nil {
				return
			}
		}
	}()
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the session goes on")
	}
}

// The host name of the client goes with the message.
func TestHostName(t *testing.T) {
	rc := newWorld(t).delivery
	b := &named{Backend: rc}
	c := dial(t, lmtp.New(lmtp.Options{Backend: b, HostName: func(net.Addr) func() string {
		return func() string { return "mx.remote.test" }
	}}))
	c.begin(jane)
	c.say("DATA", "354")
	c.say("Subject: x\r\n\r\ntext\r\n.", "250")
	if b.name != "mx.remote.test" {
		t.Errorf("the host name is %q", b.name)
	}
}

// named notes the host name of clients.
type named struct {
	lmtp.Backend
	name string
}

func (n *named) Deliver(ctx context.Context, env delivery.Envelope, d *draft.Draft) []delivery.Verdict {
	n.name = env.RemoteName
	return n.Backend.Deliver(ctx, env, d)
}
