//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// wantRecent checks how many messages are recent in what SELECT, EXAMINE or STATUS said.
func wantRecent(t *testing.T, c *harness.Session, command, want string) {
	t.Helper()
	pattern := `^\* (\d+) RECENT$`
	if strings.HasPrefix(command, "STATUS") {
		pattern = `RECENT (\d+)`
	}
	if got := c.Expect(c.OK(command), pattern)[1]; got != want {
		t.Errorf("%s: %s messages are recent, want %s", command, got, want)
	}
}

// Messages that came before the server ended are recent in the first session after it, and
// those that a session was told of are not.
func TestRecentAfterStart(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("recent", 0)
	s.Deliver(u, harness.Message(1), harness.Message(2))
	s.Stop()
	s.Run()

	c := s.Login(u)
	wantRecent(t, c, `STATUS "INBOX" (RECENT)`, "2")
	wantRecent(t, c, `EXAMINE "INBOX"`, "2")
	c = s.Login(u)
	wantRecent(t, c, `SELECT "INBOX"`, "2")
	wantRecent(t, s.Login(u), `SELECT "INBOX"`, "0")
	c.OK(`CREATE "Copies"`)
	c.OK(`COPY 1:2 "Copies"`)
	s.Stop() // nothing has changed INBOX since it was selected
	s.Run()

	c = s.Login(u)
	wantRecent(t, c, `STATUS "INBOX" (RECENT)`, "0")
	wantRecent(t, c, `SELECT "INBOX"`, "0")
	wantRecent(t, c, `SELECT "Copies"`, "2")
	s.Deliver(u, harness.Message(3))
	s.Kill()
	s.Run()

	// A change of the mailbox takes along what was told before it.
	c = s.Login(u)
	wantRecent(t, c, `SELECT "INBOX"`, "1")
	if found := c.Expect(c.OK(`SEARCH NEW`), `^\* SEARCH(.*)$`)[1]; found != " 3" {
		t.Errorf("SEARCH NEW found %q", found)
	}
	if found := c.Expect(c.OK(`SEARCH OLD`), `^\* SEARCH(.*)$`)[1]; found != " 1 2" {
		t.Errorf("SEARCH OLD found %q", found)
	}
	s.Stop()
	s.Check()
}
