//go:build e2e

package harness

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Session is a raw IMAP connection: what is sent and what comes back is text, as in a transcript.
type Session struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	tag  int
}

const sessionTime = 30 * time.Second

// Dial connects and reads the greeting.
func Dial(t testing.TB, addr string) *Session {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &Session{t: t, conn: conn, r: bufio.NewReader(conn)}
	if greeting := s.Line(); !strings.HasPrefix(greeting, "* OK") {
		t.Fatalf("greeting is %q", greeting)
	}
	return s
}

// Login connects to the server's port without TLS and logs in.
func (s *Server) Login(u User) *Session {
	s.t.Helper()
	c := Dial(s.t, s.IMAP)
	c.OK(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password))
	return c
}

// StartTLS goes on with TLS.
func (s *Session) StartTLS() {
	s.t.Helper()
	s.OK("STARTTLS")
	s.conn = tls.Client(s.conn, &tls.Config{InsecureSkipVerify: true}) // the server's own self-signed certificate
	s.r = bufio.NewReader(s.conn)
}

var literalEnd = regexp.MustCompile(`\{(\d+)\}\r\n$`)

// Line reads one response, its literals included, without the last CRLF.
func (s *Session) Line() string {
	s.t.Helper()
	s.conn.SetDeadline(time.Now().Add(sessionTime))
	var b bytes.Buffer
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatalf("read from the server: %v (after %q)", err, b.String()+line)
		}
		b.WriteString(line)
		m := literalEnd.FindStringSubmatch(line)
		if m == nil {
			return strings.TrimSuffix(b.String(), "\r\n")
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		if _, err := io.CopyN(&b, s.r, n); err != nil {
			s.t.Fatalf("read a literal of %d octets: %v", n, err)
		}
	}
}

// Send writes a line as it is.
func (s *Session) Send(line string) {
	s.t.Helper()
	s.conn.SetDeadline(time.Now().Add(sessionTime))
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		s.t.Fatalf("send %q: %v", line, err)
	}
}

// Do sends a command under a new tag and returns the untagged responses and the tagged one without its tag.
func (s *Session) Do(command string) (untagged []string, status string) {
	s.t.Helper()
	s.tag++
	tag := "t" + strconv.Itoa(s.tag)
	s.Send(tag + " " + command)
	for {
		line := s.Line()
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			return untagged, rest
		}
		untagged = append(untagged, line)
	}
}

// OK is Do for a command that must succeed.
func (s *Session) OK(command string) []string {
	s.t.Helper()
	untagged, status := s.Do(command)
	if !strings.HasPrefix(status, "OK") {
		s.t.Fatalf("%.200q: %s\n%s", command, status, strings.Join(untagged, "\n"))
	}
	return untagged
}

// Expect checks that some response matches a pattern, and returns its groups.
func (s *Session) Expect(responses []string, pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile("(?s)" + pattern)
	for _, r := range responses {
		if m := re.FindStringSubmatch(r); m != nil {
			return m
		}
	}
	s.t.Fatalf("no response matches %s among\n%s", pattern, strings.Join(responses, "\n"))
	return nil
}

// Append stores a message with a synchronizing literal and returns the tagged response.
func (s *Session) Append(mailbox, flags string, message []byte) string {
	s.t.Helper()
	s.tag++
	tag := "t" + strconv.Itoa(s.tag)
	if flags != "" {
		flags = "(" + flags + ") "
	}
	s.Send(fmt.Sprintf("%s APPEND %q %s{%d}", tag, mailbox, flags, len(message)))
	if line := s.Line(); !strings.HasPrefix(line, "+") {
		s.t.Fatalf("APPEND: %s", line)
	}
	s.Send(string(message))
	for {
		if rest, ok := strings.CutPrefix(s.Line(), tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				s.t.Fatalf("APPEND: %s", rest)
			}
			return rest
		}
	}
}

var bodyStart = regexp.MustCompile(`BODY\[\] \{(\d+)\}\r\n`)

// Messages fetches all messages of a mailbox.
func (s *Session) Messages(mailbox string) []string {
	s.t.Helper()
	s.OK(fmt.Sprintf("EXAMINE %q", mailbox))
	var all []string
	for _, r := range s.OK("UID FETCH 1:* (UID BODY.PEEK[])") {
		m := bodyStart.FindStringSubmatchIndex(r)
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(r[m[2]:m[3]])
		all = append(all, r[m[1]:m[1]+n])
	}
	return all
}

// Mailboxes lists the names of all mailboxes that can be selected.
func (s *Session) Mailboxes() []string {
	s.t.Helper()
	var names []string
	for _, r := range s.OK(`LIST "" "*"`) {
		m := regexp.MustCompile(`^\* LIST \(([^)]*)\) (?:"."|NIL) (.*)$`).FindStringSubmatch(r)
		if m == nil || strings.Contains(strings.ToLower(m[1]), `\noselect`) || strings.Contains(strings.ToLower(m[1]), `\nonexistent`) {
			continue
		}
		names = append(names, strings.Trim(m[2], `"`))
	}
	return names
}

// Undelivered gives back what was sent: without the fields that deliveries put before a message.
func Undelivered(message string) string {
	for {
		name, _, _ := strings.Cut(message, ":")
		switch strings.ToLower(name) {
		case "return-path", "delivered-to", "received":
			message = afterField(message)
		default:
			return message
		}
	}
}

func afterField(message string) string {
	for {
		_, rest, ok := strings.Cut(message, "\n")
		if !ok {
			return ""
		}
		if rest == "" || rest[0] != ' ' && rest[0] != '\t' {
			return rest
		}
		message = rest
	}
}
