//go:build e2e

package proxied

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"mallard/test/servers"
)

// recentMessages: a message is recent in one session of all nodes, and still so when nobody was told of it before the node
// ended.
func (c *cluster) recentMessages(t *testing.T) {
	u := c.user("recent")
	a, b := c.nodes[0], c.nodes[1]
	deliver := func(n *node, ids ...string) {
		t.Helper()
		d, err := newSender(n.addr("24"), direct)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		for _, id := range ids {
			if err := d.send(u.Address, text(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	open := func(n *node) *imap {
		t.Helper()
		s, err := session(n.addr("143"), direct, u)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		return s
	}
	// found is the number in the answer to a command, -1 when there is none.
	found := func(s *imap, command, pattern string) (number int) {
		t.Helper()
		lines, err := s.do(command)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		number = -1
		for _, l := range lines {
			if m := regexp.MustCompile(pattern).FindStringSubmatch(l); m != nil {
				_, _ = fmt.Sscan(m[1], &number)
			}
		}
		return number
	}
	want := func(what string, s *imap, command string, want int) {
		t.Helper()
		pattern := `^\* (\d+) RECENT$`
		if command[:4] == "STAT" {
			pattern = `RECENT (\d+)`
		}
		if got := found(s, command, pattern); got != want {
			t.Errorf("%s, %s: %d recent messages, want %d", what, command, got, want)
		}
	}

	deliver(a, "recent-1", "recent-2")
	first, second := open(a), open(b)
	want("node 2", second, "STATUS INBOX (RECENT)", 2)
	want("node 2", second, "EXAMINE INBOX", 2)
	want("node 1", first, "SELECT INBOX", 2)
	want("node 2 after node 1", second, "SELECT INBOX", 0)

	// Both have it selected when more comes: one of them has each message.
	deliver(b, "recent-3", "recent-4", "recent-5")
	recents := map[*imap]int{first: 2, second: 0}
	for _, s := range []*imap{first, second} {
		seen := 0
		if !servers.Until(10*time.Second, func() bool {
			lines, err := s.do("NOOP")
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range lines {
				if m := regexp.MustCompile(`^\* (\d+) (EXISTS|RECENT)$`).FindStringSubmatch(l); m != nil && m[2] == "EXISTS" {
					_, _ = fmt.Sscan(m[1], &seen)
				} else if m != nil {
					n := 0
					_, _ = fmt.Sscan(m[1], &n)
					recents[s] = n
				}
			}
			return seen == 5
		}) {
			t.Fatalf("a session was told of %d messages", seen)
		}
	}
	if recents[first]+recents[second] != 5 {
		t.Errorf("of 5 messages %d and %d are recent in two sessions", recents[first], recents[second])
	}
	want("a third session", open(a), "SELECT INBOX", 0)

	deliver(a, "recent-6")
	first.close()
	second.close()
	for _, n := range c.nodes {
		n.stop()
		n.start()
	}
	want("node 2 after a restart", open(b), "STATUS INBOX (RECENT)", 1)
	want("node 2 after a restart", open(b), "SELECT INBOX", 1)
	want("node 1 after a restart", open(a), "SELECT INBOX", 0)
}
