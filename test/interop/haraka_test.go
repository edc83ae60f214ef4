//go:build e2e

package interop

import (
	"fmt"
	"net/smtp"
	"regexp"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// haraka: mail comes in as in production, from an MX by LMTP.
func (e *env) haraka(t *testing.T) {
	u := e.wildduck.user(t, nil)
	h := servers.StartHaraka(t, servers.HarakaOptions{LMTP: e.mallard.lmtp, Domains: []string{"interop.test"}})
	samples := delivered()
	for _, s := range samples {
		submit(t, h, s.text, u.address)
	}
	c := e.compare(t, u)
	c.by = e.mallard
	arrived(t, c.mallard, len(samples))
	arrived(t, c.wildduck, len(samples))
	c.mallard.OK("EXAMINE INBOX") // whatever the sessions were told until now
	c.wildduck.OK("EXAMINE INBOX")
	found := map[string]int{} // UIDs by subject: they come in any order
	for uid, m := range fetchAll(t, c.mallard, "1:*", "ENVELOPE") {
		found[m["ENVELOPE"].list[1].text] = uid
	}
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			uid := found[s.name]
			if uid == 0 {
				uid = found[""] // the one without header
			}
			got := fetch(t, c.mallard, uid, "BODY.PEEK[]")["BODY[]"].text
			// Haraka gives a message what it does not have, and writes octets of a header that are not UTF-8 otherwise.
			kept := s.exact && s.name != "no message id" && s.name != "raw 8bit header"
			if kept && harness.Undelivered(got) != s.text {
				t.Errorf("not what was sent:\n%q\n%q", clip(harness.Undelivered(got)), clip(s.text))
			}
			if !strings.Contains(got, "Received: from ") {
				t.Errorf("no trace of the way in %q", clip(got))
			}
			c.read(t, uid, sample{name: s.name, text: harness.Undelivered(got), exact: s.exact})
		})
	}
	t.Run("two recipients", func(t *testing.T) { e.harakaTwo(t, h) })
	t.Run("refused", func(t *testing.T) { e.harakaRefused(t, h) })
}

// submit gives a message to Haraka as another MX does.
func submit(t *testing.T, h *servers.Haraka, message string, to ...string) {
	t.Helper()
	if err := smtp.SendMail(h.SMTP, nil, "sender@example.net", to, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

// arrived waits until a selected mailbox has that many messages.
func arrived(t *testing.T, s *harness.Session, want int) {
	t.Helper()
	n := 0
	if !harness.Until(30*time.Second, func() bool { s.OK("NOOP"); n = len(uids(t, s)); return n >= want }) || n != want {
		t.Fatalf("%d messages, want %d", n, want)
	}
}

func (e *env) harakaTwo(t *testing.T, h *servers.Haraka) {
	a, b := e.mallard.user(t, nil), e.wildduck.user(t, nil)
	submit(t, h, simple("to two"), a.address, b.address)
	for _, u := range []user{a, b} {
		s := e.wildduck.login(t, u)
		s.OK("SELECT INBOX")
		arrived(t, s, 1)
		s.OK("SELECT INBOX") // whatever the session was told until now
		if got := fetch(t, s, 1, "BODY.PEEK[HEADER.FIELDS (Delivered-To)]"); !strings.Contains(fmt.Sprint(got), u.address) {
			t.Errorf("%v", got)
		}
	}
}

// harakaRefused: what can never be delivered is refused for good and not tried again.
func (e *env) harakaRefused(t *testing.T, h *servers.Haraka) {
	gone := "nobody@interop.test"
	submit(t, h, simple("refused"), gone)
	refused := regexp.MustCompile(`(?i)(bounc|reject|fail|error).*(550|5\.1\.1)|(550|5\.1\.1).*(bounc|reject|fail|error)`)
	if !harness.Until(20*time.Second, func() bool { return refused.MatchString(h.Log()) }) {
		t.Errorf("no refusal in Haraka's log:\n%s", h.Log())
	}
}
