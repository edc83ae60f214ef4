//go:build e2e

package proxied

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mallard/internal/testserver/freeport"
	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// securedPort is the node's port in the guide to which HAProxy speaks after it has ended TLS.
const securedPort = "1993"

// TestTLSAtHAProxy takes the files of "TLS at HAProxy" in docs/ops/cluster.md: HAProxy ends TLS, the nodes' port counts as
// secure.
func TestTLSAtHAProxy(t *testing.T) {
	servers.Need(t, "haproxy", "haproxy")
	d := startDatabases(t)
	key, cert := certificate(t)
	text := swap(t, guide(t, "toml")[0], `(?s)\[imap\]\n.*?\n\n`, guide(t, "toml")[1]+"\n")
	c := &cluster{t: t, ports: map[string]int{}}
	for i := range 2 {
		n := newNodeWith(t, fmt.Sprintf("node %d", i+1), d, key, cert, text, []string{securedPort, "143", "24", "8080"})
		n.start()
		c.nodes = append(c.nodes, n)
	}
	both := filepath.Join(t.TempDir(), "both.pem")
	var pem []byte
	for _, file := range []string{cert, key} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pem = append(pem, b...)
	}
	if err := os.WriteFile(both, pem, 0o644); err != nil { // HAProxy reads it before it becomes its user
		t.Fatal(err)
	}
	tlsFront := swap(t, guide(t, "haproxy")[1], `/etc/haproxy/mail\.example\.org\.pem`, both)
	config := balancer(t)
	config = config[:strings.Index(config, "listen imaps")]
	fronts := []struct {
		name, send string
		plain      bool // HAProxy's port is without TLS
	}{
		{"version 2 with the record about TLS", "send-proxy-v2-ssl", false},
		{"version 2", "send-proxy-v2", false},
		{"version 1", "send-proxy", false},
		{"the record says that there is no TLS", "send-proxy-v2-ssl", true},
	}
	var frontends []string
	for i, port := range freeport.Take(t, len(fronts)) {
		front := swap(t, tlsFront, `send-proxy-v2-ssl`, fronts[i].send)
		front = swap(t, front, `listen imaps`, fmt.Sprintf("listen imaps%d", i))
		front = swap(t, front, `bind 10\.0\.0\.10:993`, fmt.Sprintf("bind 127.0.0.1:%d", port))
		if fronts[i].plain {
			front = swap(t, front, ` ssl crt .*`, "")
		}
		for j, n := range c.nodes {
			front = swap(t, front, fmt.Sprintf(`10\.0\.0\.1%d:%s\b`, j+1, securedPort), n.addr(securedPort))
		}
		config += front + "\n"
		frontends = append(frontends, fmt.Sprintf("127.0.0.1:%d", port))
	}
	servers.StartHAProxy(t, config, frontends...)
	u := c.nodes[0].user("ends")
	from := afar(t)
	for i, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			conn, err := dial(from, frontends[i], "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if f.plain {
				notSecured(t, conn, u)
				return
			}
			c.secured(t, tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), u, from)
		})
	}
	t.Run("past HAProxy", func(t *testing.T) {
		conn, err := dial(from, c.nodes[0].addr(securedPort), "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		notSecured(t, conn, u)
	})
}

// afar is an address of this machine that is not loopback: from loopback the nodes take passwords without TLS too.
func afar(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	servers.Missing(t, "an IPv4 address that is not loopback")
	return ""
}

// greeted reads a greeting and returns what it offers.
func greeted(t *testing.T, conn net.Conn) (*imap, string) {
	t.Helper()
	c := &imap{conn: conn, r: bufio.NewReader(conn)}
	line, err := c.line()
	if err != nil || !strings.HasPrefix(line, "* OK [CAPABILITY ") {
		t.Fatalf("greeting %q %v", line, err)
	}
	return c, line
}

// secured: the session is as one with TLS, and what is kept of the login names the client.
func (c *cluster) secured(t *testing.T, conn net.Conn, u harness.User, from string) {
	s, offer := greeted(t, conn)
	if strings.Contains(offer, "STARTTLS") || strings.Contains(offer, "LOGINDISABLED") || !strings.Contains(offer, "AUTH=PLAIN") {
		t.Errorf("the greeting offers %q", offer)
	}
	if _, err := s.do("STARTTLS"); err == nil {
		t.Error("STARTTLS is taken")
	}
	id, err := s.do(`ID ("name" "tester")`)
	if err != nil || !strings.HasPrefix(id[0], `* ID ("name" "Mallard"`) {
		t.Errorf("ID: %q %v", id, err)
	}
	if _, err := s.do(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password)); err != nil {
		t.Fatalf("LOGIN: %v", err)
	}
	if _, err := s.do("SELECT INBOX"); err != nil {
		t.Error(err)
	}
	var log struct {
		Results []struct{ Action, Result, IP, Protocol string }
	}
	path := "/users/" + u.ID + "/authlog?filterip=" + from
	told := servers.Until(5*time.Second, func() bool {
		status, out, err := c.nodes[0].call(http.MethodGet, path, nil)
		return err == nil && status == http.StatusOK && json.Unmarshal(out, &log) == nil && len(log.Results) > 0
	})
	if !told || log.Results[0].IP != from || log.Results[0].Protocol != "IMAP" || log.Results[0].Result != "success" {
		t.Errorf("the log of logins has %+v", log)
	}
	if !c.logged("ip=" + from) {
		t.Errorf("no node knows that %s logged in", from)
	}
}

// notSecured: no password is taken.
func notSecured(t *testing.T, conn net.Conn, u harness.User) {
	t.Helper()
	s, offer := greeted(t, conn)
	if !strings.Contains(offer, "LOGINDISABLED") || strings.Contains(offer, "AUTH=") {
		t.Errorf("the greeting offers %q", offer)
	}
	if _, err := s.do(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password)); err == nil || !strings.Contains(err.Error(), "PRIVACYREQUIRED") {
		t.Errorf("LOGIN: %v", err)
	}
}
