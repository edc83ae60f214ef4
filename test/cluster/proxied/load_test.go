//go:build e2e

package proxied

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// load is what clients do by the proxy while nodes go and come, and what they were told.
type load struct {
	c    *cluster
	user harness.User
	stop chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	stored   map[string]time.Time // acknowledged
	tried    map[string]bool      // sent, with or without an acknowledgement
	flagged  map[string]string    // a keyword that a message was acknowledged to have, by its id
	failures int
	farewell int // sessions that were told goodbye
}

func (l *load) running() bool {
	select {
	case <-l.stop:
		return false
	default:
		return true
	}
}

func (l *load) failed() {
	l.mu.Lock()
	l.failures++
	l.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
}

// store notes a message that is sent by f.
func (l *load) store(id string, f func(text string) error) error {
	l.mu.Lock()
	l.tried[id] = true
	l.mu.Unlock()
	if err := f(text(id)); err != nil {
		return err
	}
	l.mu.Lock()
	l.stored[id] = time.Now()
	l.mu.Unlock()
	return nil
}

// deliver sends messages by LMTP, and connects again when it is cut off.
func (l *load) deliver(name string) {
	for n := 0; l.running(); {
		s, err := newSender(l.c.addr("24"), "")
		for err == nil && l.running() {
			n++
			err = l.store(fmt.Sprintf("%s-%d", name, n), func(text string) error { return s.send(l.user.Address, text) })
		}
		if err != nil {
			l.failed()
		}
		if s != nil {
			s.close()
		}
	}
}

// append stores messages by IMAP.
func (l *load) append(name string) {
	for n := 0; l.running(); {
		s, err := session(l.c.addr("143"), "", l.user)
		for err == nil && l.running() {
			n++
			err = l.store(fmt.Sprintf("%s-%d", name, n), func(text string) error { return s.append("INBOX", text) })
		}
		if err != nil {
			l.failed()
		}
		if s != nil {
			s.close()
		}
	}
}

// flag gives messages keywords.
func (l *load) flag(keyword string) {
	for l.running() {
		s, err := session(l.c.addr("143"), "", l.user)
		var all []message
		if err == nil {
			all, err = s.list("INBOX")
		}
		if err == nil {
			_, err = s.do("SELECT INBOX")
		}
		for i := 0; err == nil && l.running() && i < len(all); i += 3 {
			if _, err = s.do(fmt.Sprintf("UID STORE %d +FLAGS.SILENT (%s)", all[i].uid, keyword)); err == nil {
				l.mu.Lock()
				l.flagged[all[i].id] = keyword
				l.mu.Unlock()
			}
		}
		if err != nil {
			l.failed()
		}
		if s != nil {
			s.close()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// idle waits for news, and counts how often it was told goodbye.
func (l *load) idle() {
	for l.running() {
		s, err := session(l.c.addr("143"), "", l.user)
		if err == nil {
			_, err = s.do("SELECT INBOX")
		}
		if err == nil {
			err = s.send("i IDLE")
		}
		for err == nil && l.running() {
			var line string
			if line, err = s.line(); strings.HasPrefix(line, "* BYE") {
				l.mu.Lock()
				l.farewell++
				l.mu.Unlock()
				break
			}
		}
		if err != nil {
			l.failed()
		}
		if s != nil {
			s.close()
		}
	}
}

// since counts the messages that were acknowledged after a moment.
func (l *load) since(at time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, t := range l.stored {
		if t.After(at) {
			n++
		}
	}
	return n
}

// goesOn fails the test unless messages are acknowledged again after now.
func (l *load) goesOn(t *testing.T, what string) {
	t.Helper()
	begin := time.Now()
	if !servers.Until(30*time.Second, func() bool { return l.since(begin) >= 20 }) {
		t.Fatalf("%s: only %d messages were stored within 30 s", what, l.since(begin))
	}
	t.Logf("%s: the twentieth message was stored after %s", what, time.Since(begin).Round(time.Millisecond))
}

// underLoad runs what happens to the nodes beside clients, and compares what these were told with what is there.
func (c *cluster) underLoad(t *testing.T, name string, happens func(t *testing.T, l *load)) {
	l := &load{c: c, user: c.user(name), stop: make(chan struct{}), stored: map[string]time.Time{}, tried: map[string]bool{}, flagged: map[string]string{}}
	for i := range 3 {
		l.wg.Go(func() { l.deliver(fmt.Sprintf("%s-lmtp%d", name, i)) })
	}
	for i := range 2 {
		l.wg.Go(func() { l.append(fmt.Sprintf("%s-imap%d", name, i)) })
		l.wg.Go(func() { l.flag(fmt.Sprintf("kw%d", i)) })
		l.wg.Go(l.idle)
	}
	defer func() {
		if l.running() {
			close(l.stop)
		}
		l.wg.Wait()
	}()
	l.goesOn(t, "at the beginning")
	happens(t, l)
	close(l.stop)
	l.wg.Wait()
	t.Logf("%d messages acknowledged of %d sent, %d failures, %d times goodbye", len(l.stored), len(l.tried), l.failures, l.farewell)
	l.compare(t)
}

// killEach kills one node after the other; the clients go on with the one that is left.
func (c *cluster) killEach(t *testing.T, l *load) {
	for _, n := range c.nodes {
		n.kill()
		l.goesOn(t, n.name+" killed")
		n.start()
		time.Sleep(3 * time.Second) // the proxy takes it back
		l.goesOn(t, n.name+" started again")
	}
}

// restartEach restarts one node after the other, as the guide says.
func (c *cluster) restartEach(t *testing.T, l *load) {
	for _, n := range c.nodes {
		if took := n.stop(); took > 8*time.Second {
			t.Errorf("%s took %s to stop", n.name, took)
		}
		l.goesOn(t, n.name+" stopped")
		n.start()
		time.Sleep(3 * time.Second)
		l.goesOn(t, n.name+" started again")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.farewell == 0 {
		t.Error("no session was told goodbye")
	}
}

// compare looks on both nodes for what the clients were told.
func (l *load) compare(t *testing.T) {
	t.Helper()
	var problems []string
	same := servers.Until(40*time.Second, func() bool { // UIDs of a killed writer are skipped after their lease
		problems = nil
		var first []message
		for i, n := range l.c.nodes {
			s, err := session(n.addr("143"), direct, l.user)
			if err != nil {
				problems = append(problems, err.Error())
				return false
			}
			all, err := s.list("INBOX")
			s.close()
			if err != nil {
				problems = append(problems, err.Error())
				return false
			}
			problems = append(problems, l.differences(n.name, all)...)
			if i == 0 {
				first = all
			} else if !slices.Equal(first, all) {
				problems = append(problems, fmt.Sprintf("the nodes differ: %d and %d messages%s", len(first), len(all), firstDifference(first, all)))
			}
		}
		return len(problems) == 0
	})
	if !same {
		t.Errorf("%d problems, such as:\n%s", len(problems), strings.Join(problems[:min(20, len(problems))], "\n"))
	}
	// Octets that a killed node had counted for a message that it did not store are settled when it is taken for dead.
	var out string
	well := servers.Until(3*time.Minute, func() bool {
		r := l.c.nodes[0].try("check")
		out = r.Out + r.Err
		return strings.Contains(out, "everything is well")
	})
	if !well {
		t.Errorf("check: %s", out)
	}
}

// firstDifference tells where two lists begin to differ.
func firstDifference(a, b []message) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf(": %+v and %+v", a[i], b[i])
		}
	}
	return ""
}

// differences compares the messages of a node with what was acknowledged.
func (l *load) differences(name string, all []message) (out []string) {
	seen := map[string]message{}
	last := 0
	for _, m := range all {
		if other, twice := seen[m.id]; twice {
			out = append(out, fmt.Sprintf("%s has %s twice, as UID %d and %d", name, m.id, other.uid, m.uid))
		}
		if !l.tried[m.id] {
			out = append(out, fmt.Sprintf("%s has %s, which nobody sent", name, m.id))
		}
		if m.uid <= last {
			out = append(out, fmt.Sprintf("%s has UID %d after %d", name, m.uid, last))
		}
		seen[m.id], last = m, m.uid
	}
	for id := range l.stored {
		if _, ok := seen[id]; !ok {
			out = append(out, fmt.Sprintf("%s has lost %s", name, id))
		}
	}
	for id, keyword := range l.flagged {
		if m, ok := seen[id]; ok && !strings.Contains(" "+m.flags+" ", " "+keyword+" ") {
			out = append(out, fmt.Sprintf("%s: %s has lost its keyword %s: %s", name, id, keyword, m.flags))
		}
	}
	return out
}
