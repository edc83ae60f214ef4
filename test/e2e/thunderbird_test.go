//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// What Thunderbird says from the first connection to the last: the commands in its order and spelling, STARTTLS
// included, with the answers checked that it depends on.
func TestThunderbirdSession(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("thunderbird", 0)
	s.Deliver(u, harness.Message(1), harness.Message(3), harness.Message(2))

	c := harness.Dial(t, s.IMAP)
	offers(t, c, "IMAP4rev1", "ID", "SASL-IR", "LITERAL+", "AUTH=PLAIN")
	if !harness.Dovecot() {
		offers(t, c, "STARTTLS")
		c.StartTLS()
		offers(t, c, "AUTH=PLAIN")
	}
	c.OK("authenticate PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+u.Name+"\x00"+u.Password)))
	offers(t, c, "IMAP4rev1", "IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "UNSELECT", "ID", "ENABLE", "SPECIAL-USE", "CHILDREN", "LITERAL+")
	c.Expect(c.OK(`ID ("name" "Thunderbird" "version" "115.0")`), `^\* ID `)
	c.Expect(c.OK("NAMESPACE"), `^\* NAMESPACE \(\("" "(.)"\)\) NIL NIL`)
	special := c.OK(`list (special-use) "" "*"`)
	for _, use := range []string{`\\Sent`, `\\Trash`, `\\Drafts`, `\\Junk`} {
		c.Expect(special, use)
	}
	trash := strings.Trim(c.Expect(special, `^\* LIST \([^)]*\\Trash[^)]*\) "." ([^\n]*)$`)[1], `"`)
	sent := strings.Trim(c.Expect(special, `^\* LIST \([^)]*\\Sent[^)]*\) "." ([^\n]*)$`)[1], `"`)
	c.OK(`lsub "" "*"`)
	c.OK(`list "" "INBOX"`)

	thunderbirdReads(c)
	thunderbirdChanges(c, trash)
	thunderbirdIdles(t, s, u, c)
	thunderbirdFiles(t, c, sent)
	c.OK("close")
	c.Expect(c.OK("logout"), `^\* BYE`)
}

// offers asks for the capabilities and checks that some are among them.
func offers(t *testing.T, c *harness.Session, names ...string) {
	t.Helper()
	capabilities := c.Expect(c.OK("capability"), `^\* CAPABILITY (.*)$`)[1]
	for _, name := range names {
		if !strings.Contains(" "+capabilities+" ", " "+name+" ") {
			t.Errorf("no %s among the capabilities %s", name, capabilities)
		}
	}
}

func thunderbirdReads(c *harness.Session) {
	selected := c.OK(`select "INBOX"`)
	c.Expect(selected, `^\* 3 EXISTS$`)
	c.Expect(selected, `^\* OK \[UIDVALIDITY \d+\]`)
	c.Expect(selected, `^\* OK \[UIDNEXT 4\]`)
	c.Expect(selected, `^\* FLAGS \(.*\\Seen.*\)$`)
	c.Expect(selected, `^\* OK \[PERMANENTFLAGS \(.*\\\*\)\]`)
	c.Expect(c.OK(`UID fetch 1:* (FLAGS)`), `^\* 3 FETCH \(.*UID 3`)
	listed := c.OK(`UID fetch 1:3 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])`)
	c.Expect(listed, `^\* 2 FETCH \(.*BODY\[HEADER\.FIELDS \(FROM TO|^\* 2 FETCH \(.*BODY\[HEADER\.FIELDS \(From To`)
	c.Expect(listed, `^\* 2 FETCH .*Subject: message 3\r\n.*Message-ID: <m3@example\.net>\r\n`)
	c.Expect(c.OK(`UID fetch 2 (UID RFC822.SIZE BODY.PEEK[])`), `^\* 2 FETCH \(.*BODY\[\] \{\d+\}\r\n.*Subject: message 3\r\n.*--=_b--\r\n`)
	c.Expect(c.OK(`UID fetch 2 (BODYSTRUCTURE)`), `BODYSTRUCTURE \(\("TEXT" "PLAIN"|BODYSTRUCTURE \(\("text" "plain"`)
	c.Expect(c.OK(`UID fetch 2 (BODY.PEEK[HEADER] BODY.PEEK[1.MIME] BODY.PEEK[1] BODY.PEEK[2.MIME])`), `BODY\[1\] \{\d+\}\r\nThis is message 3\.`)
}

func thunderbirdChanges(c *harness.Session, trash string) {
	c.Expect(c.OK(`uid store 2 +Flags (\Seen)`), `^\* 2 FETCH \(.*\\Seen`)
	c.Expect(c.OK(`uid store 1 +Flags ($Label1 \Flagged)`), `^\* 1 FETCH \(.*\$Label1`)
	c.OK(`uid store 1 -Flags ($Label1)`)
	moved := c.OK(fmt.Sprintf(`uid move 1 %q`, trash))
	c.Expect(moved, `^\* OK \[COPYUID \d+ 1 \d+\]`)
	c.Expect(moved, `^\* 1 EXPUNGE$`)
	c.OK(`uid store 3 +Flags (\Deleted)`)
	c.Expect(c.OK(`uid expunge 3`), `^\* 2 EXPUNGE$`)
	c.Expect(c.OK(fmt.Sprintf(`STATUS %q (UIDNEXT MESSAGES UNSEEN RECENT)`, trash)), `MESSAGES 1`)
}

func thunderbirdIdles(t *testing.T, s *harness.Server, u harness.User, c *harness.Session) {
	c.Send("i1 IDLE")
	if line := c.Line(); !strings.HasPrefix(line, "+") {
		t.Fatalf("IDLE: %s", line)
	}
	s.Deliver(u, harness.Message(4))
	for line := c.Line(); line != "* 2 EXISTS"; line = c.Line() {
		if !strings.HasPrefix(line, "* ") {
			t.Fatalf("in IDLE: %s", line)
		}
	}
	c.Send("DONE")
	for line := c.Line(); !strings.HasPrefix(line, "i1 OK"); line = c.Line() {
		if !strings.HasPrefix(line, "* ") {
			t.Fatalf("after DONE: %s", line)
		}
	}
	c.Expect(c.OK(`UID fetch 4:* (FLAGS)`), `^\* 2 FETCH \(.*UID 4`)
}

func thunderbirdFiles(t *testing.T, c *harness.Session, sent string) {
	if status := c.Append(sent, `\Seen`, []byte(harness.Message(6))); !strings.Contains(status, "[APPENDUID ") {
		t.Errorf("APPEND: %s", status)
	}
	c.OK(`create "Projects"`)
	c.OK(`subscribe "Projects"`)
	c.Expect(c.OK(`lsub "" "Projects"`), `^\* LSUB `)
	c.OK(`uid copy 2 "Projects"`)
	c.OK(`rename "Projects" "Work"`)
	c.Do(`unsubscribe "Projects"`) // OK or NO: RFC 3501 section 6.3.7 allows both for a name that is not subscribed any more
	c.Expect(c.OK(`list "" "*"`), `"?Work"?$`)
	c.Expect(c.OK(`select "Work"`), `^\* 1 EXISTS$`)
	c.Expect(c.OK(`UID SEARCH UNDELETED SUBJECT "message 3"`), `^\* SEARCH 1$`)
	c.Expect(c.OK(`UID SEARCH UNDELETED BODY "nowhere in it"`), `^\* SEARCH ?$`)
	c.OK("unselect")
	c.OK(`delete "Work"`)
	if _, status := c.Do(`select "Work"`); !strings.HasPrefix(status, "NO") {
		t.Errorf("a deleted mailbox can be selected: %s", status)
	}
	c.OK(`select "INBOX"`)
}
