package imapclient

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"bufio"
	"compress/flate"
)

// script runs a server on one end of a connection: "C: " lines are wanted
// from the client, "S: " lines are sent. A line that ends in "\" has no CRLF.
func script(t *testing.T, conn net.Conn, br *bufio.Reader, text string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line = strings.TrimLeft(line, "\t")
		body, end := line[3:], "\r\n"
		if cut, ok := strings.CutSuffix(body, `\`); ok {
			body, end = cut, ""
		}
		if strings.HasPrefix(line, "S: ") {
			if _, err := io.WriteString(conn, body+end); err != nil {
				t.Errorf("server write: %v", err)
				return
			}
			continue
		}
		want := body + end
		got := make([]byte, len(want))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
			t.Errorf("server read %q, %v; want %q", got, err, want)
			return
		}
	}
}

// start returns a client of a scripted server.
func start(t *testing.T, text string) *Client {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		script(t, b, bufio.NewReader(b), "S: * OK hello\n"+strings.TrimSpace(text))
	}()
	c, err := New(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c
}

const sessionScript = `
		C: c1 LOGIN "joe" "pa\"ss"
		S: * CAPABILITY IMAP4rev1 IDLE
		S: c1 OK [CAPABILITY IMAP4rev1 IDLE] done
		C: c2 ENABLE UTF8=ACCEPT
		S: * ENABLED UTF8=ACCEPT
		S: c2 OK done
		C: c3 SELECT "Größe"
		S: * 3 EXISTS
		S: * FLAGS (\Seen kw)
		S: * OK [PERMANENTFLAGS (\Seen \*)] x
		S: * OK [UIDVALIDITY 7] x
		S: c3 OK [READ-WRITE] done
		C: c4 APPEND "INBOX" (\Seen) "01-Jan-2026 10:00:00 +0000" {5}
		S: + go
		C: hello
		S: c4 OK [APPENDUID 7 9] done
		C: c5 APPEND "INBOX" {5+}
		C: hello
		S: c5 NO [TOOBIG] no
		C: c6 IDLE
		S: + idling
		S: * 4 EXISTS
		C: DONE
		S: * 2 EXPUNGE
		S: c6 OK done
		C: c7 SEARCH SUBJECT {3}
		S: + go
		C: abc TEXT {2}
		S: + go
		C: xy
		S: * SEARCH 1 2 (MODSEQ 9)
		S: c7 OK done
		C: c8 STATUS {70}
		S: c8 NO no such
		C: c9 LOGOUT
		S: * BYE bye
		S: c9 OK done`

func TestCommands(t *testing.T) {
	c := start(t, sessionScript)
	steps := []func() error{
		func() error { return c.Login("joe", `pa"ss`) },
		func() error { _, err := c.Enable("UTF8=ACCEPT"); return err },
		func() error {
			res, err := c.Select("Größe")
			if err == nil && (c.Messages() != 3 || res.FindCode("UIDVALIDITY").Number != 7) {
				err = errors.New("wrong data of SELECT")
			}
			return err
		},
		func() error {
			date := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
			res, err := c.Append("INBOX", 5, strings.NewReader("hello"), AppendOptions{Flags: []string{`\Seen`}, Date: date})
			if err == nil && res.Code.Dest[0].Start != 9 {
				err = errors.New("wrong APPENDUID")
			}
			return err
		},
		func() error {
			res, err := c.Append("INBOX", 5, strings.NewReader("hello"), AppendOptions{NonSync: true})
			if err == nil && (res.Name != "NO" || res.Err() == nil) {
				err = errors.New("NO expected")
			}
			return err
		},
		func() error { return idleStep(c) },
		func() error {
			res, err := c.Must("SEARCH SUBJECT {3}\r\nabc TEXT {2}\r\nxy")
			if err == nil && res.Find("SEARCH")[0].Search.ModSeq != 9 {
				err = errors.New("wrong SEARCH")
			}
			return err
		},
		func() error {
			res, err := c.Cmd("STATUS {70}\r\n%s", strings.Repeat("x", 70))
			if err == nil && res.Name != "NO" {
				err = errors.New("NO expected")
			}
			return err
		},
		c.Logout,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
	}
}

func idleStep(c *Client) error {
	idle, err := c.Idle()
	if err != nil {
		return err
	}
	r, err := idle.Wait(time.Minute)
	if err != nil || r.Name != "EXISTS" || r.Number != 4 {
		return errors.Join(err, errors.New("EXISTS expected"))
	}
	if r, err = idle.Wait(time.Millisecond); r != nil || err != nil {
		return errors.Join(err, errors.New("nothing expected"))
	}
	res, err := idle.Done()
	if err == nil && (len(res.Untagged) != 1 || c.Messages() != 3) {
		err = errors.New("EXPUNGE expected")
	}
	return err
}

func TestStreaming(t *testing.T) {
	for _, light := range []bool{false, true} {
		c := start(t, `
			C: c1 SELECT "INBOX"
			S: * 2 EXISTS
			S: c1 OK done
			C: c2 FETCH 1:2 (UID BODY[] ENVELOPE)
			S: * 1 FETCH (UID 5 BODY[] {11}
			S: hello
			S: abcd RFC822.SIZE 3)
			S: * 2 FETCH (BODY[]<3> {4}
			S: wxyz UID 6 ENVELOPE (NIL "a\"b" NIL NIL NIL ((NIL NIL {1}
			S: a "b")("x" NIL "y" NIL)) NIL NIL NIL NIL))
			S: c2 OK done`)
		if _, err := c.Select("INBOX"); err != nil {
			t.Fatal(err)
		}
		c.Light = light
		var got bytes.Buffer
		c.OnLiteral = func(r *Response, lit *Literal) error {
			got.WriteString(lit.Name + "=")
			if r.Number == 2 {
				io.CopyN(&got, lit, 2) // the rest is skipped
				return nil
			}
			_, err := lit.WriteTo(&got)
			return err
		}
		uids := 0
		_, err := c.Do("FETCH 1:2 (UID BODY[] ENVELOPE)", func(r *Response) error {
			uids += int(r.Fetch.UID)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := "BODY[]=hello\r\nabcdBODY[]<3>=wx"; got.String() != want || uids != 11 {
			t.Errorf("light %v: got %q and UIDs %d", light, got.String(), uids)
		}
	}
}

// TestStrict feeds responses that break the protocol.
func TestStrict(t *testing.T) {
	bad := []string{
		"* OK\r\n", "* OK \r\n", "*OK x\r\n", "* OK x\n", "* OK a\rb\r\n", "* OK a\x00b\r\n", "* OK \xff\r\n",
		"* OK [UIDNEXT 0] x\r\n", "* OK [UIDNEXT] x\r\n", "* OK [UIDNEXT 1]x\r\n", "* OK [ALERT x] y\r\n", "* OK [READ-ONLY\r\n",
		"* OK [PERMANENTFLAGS (\\Seen \\Seen)] x\r\n", "* OK [APPENDUID 1 *] x\r\n", "* OK [COPYUID 1 1:2 3] x\r\n",
		"* OK [X-FOO ] y\r\n", "* OK [COPYUID 123  ] x\r\n",
		"* CAPABILITY IDLE\r\n", "* CAPABILITY IMAP4rev1  IDLE\r\n", "* CAPABILITY IMAP4rev1 \r\n", "* CAPABILITY IMAP4rev1 IDLE IDLE\r\n",
		"* FLAGS (\\Seen \\*)\r\n", "* FLAGS ( \\Seen)\r\n", "* FLAGS (\\Seen  a)\r\n", "* FLAGS \\Seen\r\n",
		"* LIST () \"/\" \r\n", "* LIST () \"//\" x\r\n", "* LIST (Seen) \"/\" x\r\n", "* LIST () \"/\" \"a\\b\"\r\n",
		"* LIST () \"/\" \"r\xc3\xa4k\"\r\n", "* LIST () \"/\" R&D\r\n", "* LIST () \"/\" &AEE-\r\n", "* LIST () \"/\" x y\r\n",
		"* STATUS x (MESSAGES)\r\n", "* STATUS x (FOO 1)\r\n", "* STATUS x (MESSAGES 1 MESSAGES 2)\r\n", "* STATUS x (UIDNEXT 0)\r\n",
		"* STATUS x (MESSAGES 01)\r\n", "* STATUS x (MESSAGES 4294967296)\r\n",
		"* 1 FETCH (FLAGS (unheard))\r\n", "* FLAGS (a)\r\n* 1 FETCH (FLAGS (a b))\r\n", "* 1 FOO\r\n", "* EXISTS\r\n", "* 2 EXISTS \r\n", "* 4 FETCH (FLAGS ())\r\n", "* 0 FETCH (FLAGS ())\r\n", "* 4 EXPUNGE\r\n", "* 2 EXISTS\r\n",
		"* 1 FETCH ()\r\n", "* 1 FETCH (FLAGS)\r\n", "* 1 FETCH (FLAGS () )\r\n", "* 1 FETCH (UID 0)\r\n", "* 1 FETCH (UID 1 UID 1)\r\n",
		"* 1 FETCH (BODY[] {3}\r\nabcd)\r\n", "* 1 FETCH (BODY[] {3} \r\nabc)\r\n", "* 1 FETCH (BODY[] {-3}\r\nabc)\r\n",
		"* 1 FETCH (BODY[FOO] NIL)\r\n", "* 1 FETCH (BODY[]<0.5> NIL)\r\n", "* 1 FETCH (BODY.PEEK[] NIL)\r\n", "* 1 FETCH (BODY[0] NIL)\r\n",
		"* 1 FETCH (INTERNALDATE \"1-Jan-2026 10:00:00 +0000\")\r\n", "* 1 FETCH (MODSEQ 5)\r\n", "* 1 FETCH (NOSUCH 5)\r\n",
		"* 1 FETCH (ENVELOPE (NIL NIL () NIL NIL NIL NIL NIL NIL NIL))\r\n", "* 1 FETCH (ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL))\r\n",
		"* 1 FETCH (BODY (\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 5))\r\n", "* 1 FETCH (BODY (\"TEXT\" \"PLAIN\" () NIL NIL \"7BIT\" 5 1))\r\n",
		"* 1 FETCH (BODY (\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 5 1 NIL))\r\n",
		"* 1 FETCH (BODYSTRUCTURE ((\"A\" \"B\" NIL NIL NIL \"7BIT\" 5) \"MIXED\"))\r\n* BAD\r\n",
		"* SEARCH 1\r\n", "* VANISHED 1:*\r\n", "* VANISHED (EARLIER)\r\n", "* VANISHED 1:9\r\n",
		"* ESEARCH (TAG \"a\") FOO 1\r\n", "* NAMESPACE NIL NIL\r\n", "* ID (\"a\")\r\n", "* QUOTA \"\" (STORAGE 1)\r\n",
		"* NOSUCH x\r\n", "+\r\n", "x9 OK done\r\n", "c2 FOO bar\r\n", "c2 OK [ALERT] \r\n", " OK x\r\n", "\r\n",
	}
	for _, text := range bad {
		c := onBytes(t, "* OK hi\r\n* 3 EXISTS\r\nc1 OK done\r\n"+text+"c2 OK done\r\n")
		if _, err := c.Select("INBOX"); err != nil {
			t.Fatal(err)
		}
		_, err := c.Cmd("NOOP")
		if pe := (*ProtocolError)(nil); !errors.As(err, &pe) {
			t.Errorf("%q was accepted: %v", text, err)
		}
	}
}

func TestExpungeRules(t *testing.T) {
	for cmd, wrong := range map[string]bool{
		"FETCH 1 FLAGS": true, "STORE 1 FLAGS ()": true, "SEARCH ALL": true, "SORT (DATE) UTF-8 ALL": true,
		"UID FETCH 1 FLAGS": false, "NOOP": false, "UID SEARCH ALL": false, "EXPUNGE": false, "MOVE 1 x": false,
	} {
		for _, what := range []string{"* 1 EXPUNGE\r\n", "* VANISHED 7\r\n"} {
			c := onBytes(t, "* OK hi\r\n* 3 EXISTS\r\nc1 OK done\r\n"+what+"c2 OK done\r\n")
			if _, err := c.Select("INBOX"); err != nil {
				t.Fatal(err)
			}
			_, err := c.Cmd("%s", cmd)
			if (err != nil) != wrong {
				t.Errorf("%q during %s: %v", what, cmd, err)
			}
			if !wrong && c.Messages() != 2 {
				t.Errorf("%q during %s: %d messages left", what, cmd, c.Messages())
			}
		}
	}
}

// bytesConn is a connection that has all its input already.
type bytesConn struct {
	net.Conn
	io.Reader
}

func (c bytesConn) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c bytesConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (c bytesConn) SetWriteDeadline(time.Time) error { return nil }
func (c bytesConn) Close() error                     { return nil }

func onBytes(t testing.TB, input string) *Client {
	t.Helper()
	c, err := New(bytesConn{Reader: strings.NewReader(input)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUpgrade(t *testing.T) {
	cert := selfSigned(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer b.Close()
		script(t, b, bufio.NewReader(b), "S: * OK hello\nC: c1 STARTTLS\nS: c1 OK go")
		srv := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}})
		br := bufio.NewReader(srv)
		script(t, srv, br, "C: c2 COMPRESS DEFLATE\nS: c2 OK go")
		zr, zw := flate.NewReader(br), (*flate.Writer)(nil)
		zw, _ = flate.NewWriter(srv, 1)
		want := "c3 NOOP\r\n"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(zr, got); err != nil || string(got) != want {
			t.Errorf("server read %q, %v", got, err)
		}
		io.WriteString(zw, "c3 OK done\r\n")
		zw.Flush()
		io.Copy(io.Discard, b) // until the client closes
	}()
	c, err := Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.Compress(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Must("NOOP"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-done
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestDial(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for _, greeting := range []string{"* OK hi\r\n", "* BYE full\r\n", "* FOO\r\n"} {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, greeting)
			conn.Close()
		}
	}()
	c, err := Dial(context.Background(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cmd("NOOP"); err == nil {
		t.Error("answer from a closed connection")
	}
	for range 2 {
		if c, err := Dial(context.Background(), ln.Addr().String()); err == nil {
			t.Error("greeting was accepted")
			c.Close()
		}
	}
}

// FuzzResponse looks for panics and endless loops.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"* 1 FETCH (UID 5 FLAGS (\\Seen) BODY[HEADER.FIELDS (A B)]<0> {3}\r\nabc)\r\n",
		"* 1 FETCH (BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"UTF-8\") NIL NIL \"7BIT\" 5 1 NIL NIL NIL NIL)(\"A\" \"B\" NIL NIL NIL \"7BIT\" 5) \"MIXED\" (\"BOUNDARY\" \"x\") NIL NIL NIL))\r\n",
		"* 1 FETCH (ENVELOPE (NIL NIL ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL NIL NIL))\r\n",
		"* LIST (\\HasChildren) \"/\" \"&ZeVnLIqe-\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n",
		"* STATUS INBOX (MESSAGES 3 MAILBOXID (x))\r\n* SEARCH 1 2 (MODSEQ 5)\r\n",
		"* ESEARCH (TAG \"c2\") UID MIN 1 ALL 1:5 PARTIAL (1:5 NIL)\r\n", "* THREAD (1 (2)(3 4))\r\n",
		"* OK [COPYUID 1 1:2 3:4] x\r\n", "+ YQ==\r\n", "* VANISHED (EARLIER) 1:5,7\r\n", "* QUOTA \"\" (STORAGE 1 2)\r\n",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, light bool) {
		c := onBytes(t, "* OK hi\r\n* 3 EXISTS\r\nc1 OK done\r\n"+s)
		if _, err := c.Select("INBOX"); err != nil {
			t.Fatal(err)
		}
		c.Light = light
		for {
			if _, err := c.Next(); err != nil {
				break
			}
		}
	})
}
