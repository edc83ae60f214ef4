//go:build e2e

package proxied

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mallard/test/e2e/harness"
)

// clientTime bounds one exchange of a client.
const clientTime = 20 * time.Second

// direct is the header with which a client reaches a node without the proxy: the node takes everything from this machine
// for the proxy's.
const direct = "PROXY UNKNOWN\r\n"

// dial connects from an address of this machine, "" for any, and says a header.
func dial(from, addr, header string) (net.Conn, error) {
	d := net.Dialer{Timeout: clientTime}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, header); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// imap is a client that returns errors: servers are killed while it works.
type imap struct {
	conn net.Conn
	r    *bufio.Reader
	tag  int
}

// login connects and logs in.
func login(conn net.Conn, u harness.User) (*imap, error) {
	c := &imap{conn: conn, r: bufio.NewReader(conn)}
	line, err := c.line()
	if err == nil && !strings.HasPrefix(line, "* OK") {
		err = fmt.Errorf("greeting %q", line)
	}
	if err == nil {
		_, err = c.do(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password))
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// session connects to an IMAP port without TLS and logs in.
func session(addr, header string, u harness.User) (*imap, error) {
	conn, err := dial("", addr, header)
	if err != nil {
		return nil, err
	}
	return login(conn, u)
}

// secureSession is session for the port with TLS.
func secureSession(from, addr string, u harness.User) (*imap, error) {
	conn, err := dial(from, addr, "")
	if err != nil {
		return nil, err
	}
	return login(tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), u)
}

func (c *imap) close() { _ = c.conn.Close() }

var literal = regexp.MustCompile(`\{(\d+)\}\r\n$`)

// line reads one response with its literals, without the last CRLF.
func (c *imap) line() (string, error) {
	_ = c.conn.SetDeadline(time.Now().Add(clientTime))
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		b.WriteString(line)
		m := literal.FindStringSubmatch(line)
		if m == nil {
			return strings.TrimSuffix(b.String(), "\r\n"), nil
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		if _, err := io.CopyN(&b, c.r, n); err != nil {
			return "", err
		}
	}
}

func (c *imap) send(text string) error {
	_ = c.conn.SetDeadline(time.Now().Add(clientTime))
	_, err := io.WriteString(c.conn, text+"\r\n")
	return err
}

// do sends a command and returns the untagged responses. An answer other than OK is an error.
func (c *imap) do(command string) ([]string, error) {
	c.tag++
	tag := "t" + strconv.Itoa(c.tag)
	if err := c.send(tag + " " + command); err != nil {
		return nil, err
	}
	return c.answers(tag)
}

func (c *imap) answers(tag string) (untagged []string, err error) {
	for {
		line, err := c.line()
		if err != nil {
			return untagged, err
		}
		rest, ok := strings.CutPrefix(line, tag+" ")
		switch {
		case !ok:
			untagged = append(untagged, line)
		case strings.HasPrefix(rest, "OK"):
			return append(untagged, rest), nil
		default:
			return untagged, fmt.Errorf("answer %q", rest)
		}
	}
}

// append stores a message.
func (c *imap) append(mailbox, message string) error {
	c.tag++
	tag := "t" + strconv.Itoa(c.tag)
	if err := c.send(fmt.Sprintf("%s APPEND %q {%d}", tag, mailbox, len(message))); err != nil {
		return err
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "+") {
		return fmt.Errorf("answer %q", line)
	}
	if err := c.send(message); err != nil {
		return err
	}
	_, err = c.answers(tag)
	return err
}

// message is what a client knows of a message.
type message struct {
	uid   int
	flags string
	id    string // of its subject
}

var (
	uidOf     = regexp.MustCompile(`\bUID (\d+)`)
	flagsOf   = regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	subjectOf = regexp.MustCompile(`(?i)Subject: (\S+)`)
)

// list reads all messages of a mailbox.
func (c *imap) list(mailbox string) ([]message, error) {
	if _, err := c.do(fmt.Sprintf("EXAMINE %q", mailbox)); err != nil {
		return nil, err
	}
	lines, err := c.do("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
	if err != nil {
		return nil, err
	}
	var out []message
	for _, l := range lines {
		uid, subject := uidOf.FindStringSubmatch(l), subjectOf.FindStringSubmatch(l)
		if !strings.Contains(l, " FETCH ") || uid == nil || subject == nil {
			continue
		}
		m := message{id: subject[1]}
		m.uid, _ = strconv.Atoi(uid[1])
		if f := flagsOf.FindStringSubmatch(l); f != nil { // \Recent is a session's own
			m.flags = strings.TrimSpace(strings.ReplaceAll(f[1], `\Recent`, ""))
		}
		out = append(out, m)
	}
	return out, nil
}

// sender is an LMTP client that returns errors.
type sender struct {
	conn net.Conn
	text *textproto.Conn
}

func newSender(addr, header string) (*sender, error) {
	conn, err := dial("", addr, header)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(clientTime))
	s := &sender{conn, textproto.NewConn(conn)}
	if _, _, err = s.text.ReadResponse(220); err == nil {
		err = s.say(250, "LHLO sender.example.net")
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sender) close() { _ = s.conn.Close() }

func (s *sender) say(code int, line string) error {
	if err := s.text.PrintfLine("%s", line); err != nil {
		return err
	}
	_, _, err := s.text.ReadResponse(code)
	return err
}

// send delivers a message and returns nil only when that was acknowledged.
func (s *sender) send(to, message string) error {
	_ = s.conn.SetDeadline(time.Now().Add(clientTime))
	for _, step := range []struct {
		code int
		line string
	}{{250, "MAIL FROM:<sender@example.net>"}, {250, "RCPT TO:<" + to + ">"}, {354, "DATA"}} {
		if err := s.say(step.code, step.line); err != nil {
			return err
		}
	}
	return s.say(250, message+"\r\n.")
}

// text is a message with an id of its own.
func text(id string) string {
	return "From: sender@example.net\r\nSubject: " + id + "\r\nMessage-ID: <" + id + "@example.net>\r\n\r\nThe message " + id + ".\r\n" +
		strings.Repeat("Some lines of text that make it as long as most are.\r\n", 40)
}
