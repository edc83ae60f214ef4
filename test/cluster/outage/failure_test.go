//go:build e2e

package outage

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// Without Redis mail flows, and sessions on the other node are told all the same, if later. When it is back all is as
// before, without a restart, and no session has missed anything.
func TestRedisGone(t *testing.T) {
	for _, tt := range []struct {
		name       string
		gone, back func(*servers.Redis)
	}{
		{"killed", (*servers.Redis).Kill, (*servers.Redis).Run},
		{"hangs", (*servers.Redis).Pause, (*servers.Redis).Resume},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, options{})
			u := c.user()
			followers := []*follower{follow(c.nodes[0], u), follow(c.nodes[1], u)}
			streams := []*stream{openStream(t, c.nodes[0], u), openStream(t, c.nodes[1], u)}
			idle := c.nodes[1].Login(u)
			idle.OK("SELECT INBOX")
			idle.Send("i IDLE")
			for !strings.HasPrefix(idle.Line(), "+") {
			}
			l := startLoad(t, u, []string{c.nodes[0].LMTP, c.nodes[1].LMTP}, []string{c.nodes[0].IMAP, c.nodes[1].IMAP})
			l.waitFor(10)
			tt.gone(c.redis)
			l.waitFor(20)
			c.nodes[1].Login(u) // logins count in Redis
			if !harness.Until(10*time.Second, func() bool { return strings.Contains(health(c.nodes[1]), "Redis is down") }) {
				t.Errorf("health is %s", health(c.nodes[1]))
			}
			mark := 0
			for mark == 0 { // what IDLE is told while Redis is gone
				fmt.Sscanf(idle.Line(), "* %d EXISTS", &mark)
			}
			for i, s := range streams { // neither waits for its look of each minute
				s.tells(t, fmt.Sprintf("the event stream of node %d", i), s.count(), 20*time.Second)
			}
			tt.back(c.redis)
			l.waitFor(20)
			l.end(c.nodes[0])
			list := c.truth(u)
			for i, f := range followers {
				f.sees(t, fmt.Sprintf("the session on node %d", i), func() []int { return c.inbox(u).uids })
			}
			for i, s := range streams {
				s.sees(t, fmt.Sprintf("the event stream of node %d", i), list)
			}
			exist := mark
			for exist < len(list) {
				fmt.Sscanf(idle.Line(), "* %d EXISTS", &exist)
			}
			c.tellsAtOnce(t, u)
		})
	}
}

// tellsAtOnce checks that notifications between the nodes are fast again.
func (c *cluster) tellsAtOnce(t *testing.T, u harness.User) {
	t.Helper()
	s := c.nodes[1].Login(u)
	s.OK("SELECT INBOX")
	s.Send("i IDLE")
	for !strings.HasPrefix(s.Line(), "+") {
	}
	took := time.Duration(0)
	for i := range 10 { // connections take their time to come back
		c.nodes[0].Deliver(u, message(fmt.Sprintf("after-%d", i)))
		begin := time.Now()
		for !strings.Contains(s.Line(), "EXISTS") {
		}
		if took = time.Since(begin); took < 500*time.Millisecond {
			return
		}
		time.Sleep(time.Second)
	}
	t.Errorf("the other node is told after %s", took)
}

// A MongoDB that hangs or is killed gives temporary errors, for as long as it is away; nothing is lost or stored twice.
func TestMongoGone(t *testing.T) {
	c := start(t, options{ownMongo: true})
	u := c.user()
	followers := []*follower{follow(c.nodes[0], u), follow(c.nodes[1], u)}
	l := startLoad(t, u, []string{c.nodes[0].LMTP, c.nodes[1].LMTP}, []string{c.nodes[0].IMAP, c.nodes[1].IMAP})
	l.waitFor(10)
	for _, step := range []struct {
		name       string
		gone, back func()
	}{
		{"hangs", c.mongo.Pause, c.mongo.Resume},
		{"killed", c.mongo.Kill, c.mongo.Run},
		{"stopped", c.mongo.Stop, c.mongo.Run},
	} {
		step.gone()
		if !harness.Until(30*time.Second, func() bool { return strings.Contains(health(c.nodes[0]), "DB is down") }) {
			t.Errorf("%s: health is %s", step.name, health(c.nodes[0]))
		}
		temporary(t, c.nodes[0], u)
		step.back()
		l.waitFor(20)
		if !harness.Until(10*time.Second, func() bool { return strings.HasPrefix(health(c.nodes[0]), "200 ") }) {
			t.Errorf("after %s: health is %s", step.name, health(c.nodes[0]))
		}
	}
	l.end(c.nodes[0])
	c.truth(u)
	for i, f := range followers {
		f.sees(t, fmt.Sprintf("the session on node %d", i), func() []int { return c.inbox(u).uids })
	}
	// What was being stored when MongoDB was killed is counted until the nodes have counted anew.
	c.nodes[0].CheckWithin(2 * time.Minute)
}

// health is the status and the answer of GET /health.
func health(n *harness.Server) string {
	resp, err := http.Get(n.API + "/health")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b := make([]byte, 1000)
	k, _ := resp.Body.Read(b)
	return fmt.Sprintf("%d %s", resp.StatusCode, b[:k])
}

// temporary: a client is told to come again, and soon.
func temporary(t *testing.T, n *harness.Server, u harness.User) {
	t.Helper()
	begin := time.Now()
	s, err := harness.NewSender(n.LMTP)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	if err := s.Send("sender@example.net", u.Address, message("temporary")); err == nil || !strings.Contains(err.Error(), ": 4") && !strings.HasPrefix(err.Error(), "4") {
		t.Errorf("LMTP: %v, want a temporary error", err)
	}
	_, status := harness.Dial(t, n.IMAP).Do(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password))
	if !strings.HasPrefix(status, "NO [UNAVAILABLE]") {
		t.Errorf("LOGIN: %s", status)
	}
	if took := time.Since(begin); took > 10*timeout {
		t.Errorf("the answers took %s", took)
	}
}

// A node that is started before its databases waits for them.
func TestStartBeforeDatabases(t *testing.T) {
	c := start(t, options{ownMongo: true})
	u := c.user()
	c.nodes[0].Stop()
	c.mongo.Stop()
	c.redis.Stop()
	time.AfterFunc(3*time.Second, func() { c.redis.Run(); c.mongo.Run() })
	begin := time.Now()
	c.nodes[0].Run()
	if took := time.Since(begin); took < 2*time.Second {
		t.Errorf("it was ready after %s, before its databases", took)
	}
	if log := c.nodes[0].Log(); !strings.Contains(log, "waiting for the database") {
		t.Errorf("the log does not say what it waits for:\n%s", log)
	}
	c.nodes[0].Deliver(u, message("works"))
	c.truth(u)
}

// Another Redis takes over: Sentinels tell which, and the nodes follow.
func TestSentinel(t *testing.T) {
	var s *servers.Sentinel
	c := start(t, options{redis: func(t *testing.T) string {
		s = servers.StartSentinel(t, "sentinel-secret")
		var list []string
		for _, addr := range s.Addrs {
			host, port, _ := strings.Cut(addr, ":")
			list = append(list, fmt.Sprintf("{host = %q, port = %s}", host, port))
		}
		return fmt.Sprintf("{name = %q, password = %q, db = 3, sentinels = [%s]}", servers.MasterName, s.Password, strings.Join(list, ", "))
	}})
	u := c.user()
	c.tellsAtOnce(t, u)
	l := startLoad(t, u, []string{c.nodes[0].LMTP, c.nodes[1].LMTP}, nil)
	l.waitFor(5)
	t.Logf("failover took %s", s.Failover())
	l.waitFor(20)
	close(l.stop)
	l.work.Wait()
	c.tellsAtOnce(t, u)
	c.truth(u)
}
