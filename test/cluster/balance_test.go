//go:build e2e

package cluster

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// Behind HAProxy the nodes know whose a connection is, and believe nobody else.
func TestBalancer(t *testing.T) {
	c := start(t, options{})
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(version, func(t *testing.T) {
			imap, lmtp := c.balanced(version)
			u := c.user()
			seen := map[string]bool{}
			for i := range 4 {
				conn := from(t, fmt.Sprintf("127.0.0.%d", 20+i), imap)
				r := bufio.NewReader(conn)
				greeting, err := r.ReadString('\n')
				if err != nil || !strings.HasPrefix(greeting, "* OK") {
					t.Fatalf("greeting %q, %v", greeting, err)
				}
				fmt.Fprintf(conn, "a LOGIN %s %s\r\n", u.Name, u.Password)
				if line := until(r, "a "); !strings.HasPrefix(line, "a OK") {
					t.Fatalf("LOGIN: %q", line)
				}
				var answer struct {
					LastLogin struct{ IP string } `json:"lastLogin"`
				}
				c.nodes[i%2].Call(http.MethodGet, "/users/"+u.ID, nil, &answer)
				seen[answer.LastLogin.IP] = true
			}
			if !seen["127.0.0.20"] || seen["127.0.0.1"] || seen[balancer] {
				t.Errorf("logins came from %v", seen)
			}
			if s, err := harness.NewSender(lmtp); err != nil {
				t.Error(err)
			} else {
				if err := s.Send("sender@example.net", u.Address, message(version)); err != nil {
					t.Error(err)
				}
				s.Close()
			}
		})
	}
	t.Run("not the balancer", func(t *testing.T) {
		for _, header := range []string{"PROXY TCP4 192.0.2.7 192.0.2.8 1000 143\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x08\x03\xe8\x00\x8f"} {
			conn := from(t, "127.0.0.1", c.nodes[0].IMAP)
			r := bufio.NewReader(conn)
			greeting, err := r.ReadString('\n') // comes without a header, which the balancer's connection does not get
			if err != nil || !strings.HasPrefix(greeting, "* OK") {
				t.Fatalf("greeting %q, %v", greeting, err)
			}
			io.WriteString(conn, header+"\r\nb NOOP\r\n")
			if line := until(r, "* BAD", "b ", "* BYE", "PROXY "); strings.HasPrefix(line, "b OK") {
				t.Errorf("%q is taken for nothing: %q", header, line)
			}
		}
	})
	t.Run("the balancer without a header", func(t *testing.T) {
		conn := from(t, balancer, c.nodes[0].IMAP)
		io.WriteString(conn, "a CAPABILITY\r\n")
		if b, err := io.ReadAll(conn); strings.Contains(string(b), "* CAPABILITY") {
			t.Errorf("it is served: %q, %v", b, err)
		}
	})
}

// until reads lines up to one with one of the prefixes; empty when the connection ends.
func until(r *bufio.Reader, prefixes ...string) string {
	for {
		line, err := r.ReadString('\n')
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				return strings.TrimSpace(line)
			}
		}
		if err != nil {
			return ""
		}
	}
}

// What is done on one node is known to the other at once.
func TestTwoNodes(t *testing.T) {
	c := start(t, options{})
	u := c.user()
	s := c.nodes[1].Login(u)
	s.OK("SELECT INBOX")
	s.Send("i IDLE")
	for !strings.HasPrefix(s.Line(), "+") {
	}
	told := func(what, pattern string, act func()) {
		t.Helper()
		act()
		begin := time.Now()
		for !strings.Contains(s.Line(), pattern) {
		}
		took := time.Since(begin)
		t.Logf("%s: told after %s", what, took.Round(time.Millisecond))
		if took > time.Second {
			t.Errorf("%s is told after %s", what, took)
		}
	}
	a := c.nodes[0].Login(u)
	told("delivery", "* 1 EXISTS", func() { c.nodes[0].Deliver(u, message("first")) })
	told("APPEND", "* 2 EXISTS", func() { a.Append("INBOX", "", []byte(message("second"))) })
	a.OK("SELECT INBOX")
	told("flags", `\Flagged`, func() { a.OK(`STORE 1 +FLAGS (\Flagged)`) })
	told("move", "* 1 EXPUNGE", func() { a.OK(`MOVE 1 Trash`) })
	told("expunge", "* 1 EXPUNGE", func() { a.OK(`STORE 1 +FLAGS.SILENT (\Deleted)`); a.OK("EXPUNGE") })
	c.truth(u)
	for _, n := range c.nodes {
		n.Check()
	}
}
