//go:build e2e

package proxied

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// TestTwoNodes takes the configuration files of docs/ops/cluster.md as they stand and does with two nodes behind HAProxy
// what can happen to them.
func TestTwoNodes(t *testing.T) {
	c := startCluster(t)
	t.Run("addresses", c.addresses)
	t.Run("same state", c.sameState)
	t.Run("commands", c.commands)
	t.Run("notification", c.notification)
	t.Run("recent messages", c.recentMessages)
	t.Run("node killed", func(t *testing.T) { c.underLoad(t, "killed", c.killEach) })
	t.Run("rolling restart", func(t *testing.T) { c.underLoad(t, "restart", c.restartEach) })
}

// addresses: behind the proxy, by both versions of the header and with TLS on top, the nodes know their clients.
func (c *cluster) addresses(t *testing.T) {
	u := c.user("addresses")
	s, err := secureSession("127.0.0.5", c.addr("993"), u)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if !c.logged("ip=127.0.0.5") {
		t.Errorf("no node knows that 127.0.0.5 logged in by IMAPS")
	}
	conn, err := dial("127.0.0.6", c.addr("143"), "")
	if err != nil {
		t.Fatal(err)
	}
	wrong := u
	wrong.Password = "wrong"
	if _, err := login(conn, wrong); err == nil {
		t.Fatal("a wrong password is good")
	}
	if !c.logged("ip=127.0.0.6") {
		t.Errorf("no node knows that 127.0.0.6 failed to log in by IMAP")
	}
	d, err := newSender(c.addr("24"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.send(u.Address, text("addresses-1")); err != nil {
		t.Fatal(err)
	}
	// Who speaks to a node past the proxy, without its header, is told so.
	plain, err := dial("", c.nodes[0].addr("143"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := login(plain, u); err == nil || !strings.Contains(err.Error(), "Invalid PROXY header") {
		t.Errorf("without a header: %v", err)
	}
}

// logged reports whether a node's log has a text, now or soon.
func (c *cluster) logged(text string) bool {
	return servers.Until(5*time.Second, func() bool {
		return slices.ContainsFunc(c.nodes, func(n *node) bool { return strings.Contains(n.text(), text) })
	})
}

// sameState: what is done on one node is at once so on the other.
func (c *cluster) sameState(t *testing.T) {
	u := c.user("same")
	for i := range 6 {
		from, to := c.nodes[i%2], c.nodes[(i+1)%2]
		id := fmt.Sprintf("same-%d", i)
		d, err := newSender(from.addr("24"), direct)
		if err == nil {
			err = d.send(u.Address, text(id))
			d.close()
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := session(to.addr("143"), direct, u)
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.list("INBOX")
		if err != nil || len(all) != i+1 || all[i].id != id || all[i].uid != i+1 {
			t.Fatalf("%s shows %v (%v) after %s took %s", to.name, all, err, from.name, id)
		}
		if _, err = s.do("SELECT INBOX"); err == nil {
			_, err = s.do(fmt.Sprintf(`UID STORE %d +FLAGS (\Seen kw%d)`, i+1, i))
		}
		s.close()
		if err != nil {
			t.Fatal(err)
		}
		back, err := session(from.addr("143"), direct, u)
		if err != nil {
			t.Fatal(err)
		}
		all, err = back.list("INBOX")
		back.close()
		if err != nil || !strings.Contains(all[i].flags, fmt.Sprintf("kw%d", i)) || !strings.Contains(all[i].flags, `\Seen`) {
			t.Fatalf("%s shows %v (%v)", from.name, all, err)
		}
	}
}

// commands: the operator's commands work with the running server and without one.
func (c *cluster) commands(t *testing.T) {
	a, b := c.nodes[0], c.nodes[1]
	a.run("user", "add", "operator", "--address", "operator@"+harness.Domain, "--password", harness.Password)
	if out := b.run("user", "show", "operator"); !strings.Contains(out, "operator@"+harness.Domain) {
		t.Errorf("the other node shows %s", out)
	}
	if took := b.stop(); took > 8*time.Second {
		t.Errorf("stopping took %s", took)
	}
	for _, n := range []*node{a, b} { // one runs, the other does not
		u := "operator@" + harness.Domain
		if out := n.run("user", "list", "--query", "operator"); !strings.Contains(out, u) {
			t.Errorf("%s lists %s", n.name, out)
		}
		n.run("user", "set", "operator", "--name", "Operator of "+n.name)
		n.run("export", "--user", u, "--maildir", t.TempDir())
		if out := n.run("check"); !strings.Contains(out, "everything is well") {
			t.Errorf("%s checks %s", n.name, out)
		}
		if out := n.run("config", "print"); strings.Contains(out, redisPassword) || strings.Contains(out, apiToken) {
			t.Errorf("%s prints secrets:\n%s", n.name, out)
		}
	}
	a.run("send", "--to", "operator@"+harness.Domain, "--subject", "commands-1")
	b.start()
	s, err := session(b.addr("143"), direct, harness.User{Name: "operator", Password: harness.Password})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if all, err := s.list("INBOX"); err != nil || len(all) != 1 || all[0].id != "commands-1" {
		t.Errorf("messages %v (%v)", all, err)
	}
	if status, out, err := b.call(http.MethodGet, "/health", nil); err != nil || status != http.StatusOK {
		t.Errorf("health %d %s %v", status, out, err)
	}
}

// notification measures how long it takes until a session that idles on one node is told of a delivery on the other.
func (c *cluster) notification(t *testing.T) {
	const rounds = 40
	u := c.user("idle")
	s, err := session(c.nodes[1].addr("143"), direct, u)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.do("SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	if err := s.send("i IDLE"); err != nil {
		t.Fatal(err)
	}
	if line, err := s.line(); err != nil || !strings.HasPrefix(line, "+") {
		t.Fatalf("IDLE: %q %v", line, err)
	}
	d, err := newSender(c.nodes[0].addr("24"), direct)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	var took []time.Duration
	for i := range rounds {
		time.Sleep(20 * time.Millisecond)
		if err := d.send(u.Address, text(fmt.Sprintf("idle-%d", i))); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for want := fmt.Sprintf("* %d EXISTS", i+1); ; {
			line, err := s.line()
			if err != nil {
				t.Fatalf("waiting for %q: %v", want, err)
			}
			if line == want {
				break
			}
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	p50, p95 := took[rounds/2], took[rounds*95/100]
	t.Logf("from the acknowledgement on node 1 to EXISTS on node 2: p50 %s, p95 %s, max %s", p50, p95, took[rounds-1])
	if p50 > 100*time.Millisecond {
		t.Errorf("p50 is %s", p50)
	}
}
