//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// What K-9 Mail and Thunderbird for Android say: a connection for every folder, EXAMINE to look and SELECT to change,
// sequence numbers in UID SEARCH, BODYSTRUCTURE and single parts, the first 32 KiB of large messages.
func TestK9Session(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("k9", 0)
	s.Deliver(u, harness.Message(1), harness.Message(3), harness.Message(2))

	c := harness.Dial(t, s.IMAP)
	offers(t, c, "IMAP4rev1", "SASL-IR", "AUTH=PLAIN")
	if !harness.Dovecot() {
		c.StartTLS()
		offers(t, c, "AUTH=PLAIN", "SASL-IR")
	}
	c.OK("AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+u.Name+"\x00"+u.Password)))
	offers(t, c, "ID", "IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "SPECIAL-USE", "LIST-EXTENDED")
	c.Expect(c.OK(`ID ("name" "K-9 Mail" "version" "8.0")`), `^\* ID \(`)
	c.Expect(c.OK("NAMESPACE"), `^\* NAMESPACE \(\("" "/"\)\)`)
	listed := c.OK(`LIST "" "*" RETURN (SPECIAL-USE)`)
	trash := strings.Trim(c.Expect(listed, `^\* LIST \([^)]*\\Trash[^)]*\) "." ([^\n]*)$`)[1], `"`)
	sent := strings.Trim(c.Expect(listed, `^\* LIST \([^)]*\\Sent[^)]*\) "." ([^\n]*)$`)[1], `"`)
	c.OK(`LSUB "" "*"`)

	k9Polls(c, trash)
	k9Reads(c)
	k9Changes(c, trash)
	k9Files(t, c, sent)
	k9Pushes(t, s, u)
	c.Expect(c.OK("LOGOUT"), `^\* BYE`)
}

// k9Polls looks at folders, the empty one included, where it asks for 1:* all the same.
func k9Polls(c *harness.Session, trash string) {
	c.Expect(c.OK(fmt.Sprintf("EXAMINE %q", trash)), `^\* 0 EXISTS$`)
	c.Expect(c.OK(`UID SEARCH 1:* NOT DELETED`), `^\* SEARCH ?$`)
	c.Expect(c.OK(`EXAMINE "INBOX"`), `^\* OK \[UIDNEXT 4\]`)
	c.Expect(c.OK(`UID SEARCH 1:3 NOT DELETED`), `^\* SEARCH 1 2 3$`)
	c.Expect(c.OK(`UID SEARCH 1:3 SINCE 01-Jan-2020 NOT DELETED`), `^\* SEARCH 1 2 3$`)
	c.Expect(c.OK(`UID FETCH 3,2,1 (UID FLAGS)`), `^\* 1 FETCH \(UID 1 FLAGS \(`)
}

func k9Reads(c *harness.Session) {
	listed := c.OK(`UID FETCH 3,2,1 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from content-type to cc bcc reply-to message-id references in-reply-to list-unsubscribe sender X-K9mail-Identity)])`)
	c.Expect(listed, `^\* 2 FETCH .*INTERNALDATE "[^"]+".*BODY\[HEADER\.FIELDS \([^)]*\)\] \{\d+\}\r\n.*Subject: message 3\r\n`)
	c.Expect(c.OK(`UID FETCH 2 (UID BODYSTRUCTURE)`), `^\* 2 FETCH \(UID 2 BODYSTRUCTURE \(\(`)
	c.Expect(c.OK(`UID FETCH 2 (UID BODY.PEEK[1])`), `BODY\[1\] \{\d+\}\r\nThis is message 3\.`)
	c.Expect(c.OK(`UID FETCH 2 (UID BODY.PEEK[2])`), `BODY\[2\] \{\d+\}\r\n`)
	c.Expect(c.OK(`UID FETCH 2 (UID BODY.PEEK[]<0.32768>)`), `BODY\[\]<0> \{\d+\}\r\n`)
	c.Expect(c.OK(`UID FETCH 2 (UID BODY.PEEK[])`), `BODY\[\] \{\d+\}\r\n`)
	c.Expect(c.OK(`UID SEARCH HEADER MESSAGE-ID "<m3@example.net>"`), `^\* SEARCH 2$`)
	c.Expect(c.OK(`UID SEARCH TEXT "message 3"`), `^\* SEARCH 2$`)
	c.Expect(c.OK(`UID SEARCH OR SUBJECT "message 3" OR FROM "nobody" TEXT "nowhere"`), `^\* SEARCH 2$`)
}

func k9Changes(c *harness.Session, trash string) {
	c.Expect(c.OK(`SELECT "INBOX"`), `^\* OK \[PERMANENTFLAGS \(.*\\\*\)\]`)
	c.OK(`UID STORE 2 +FLAGS.SILENT (\Seen)`)
	c.OK(`UID STORE 2 +FLAGS.SILENT ($Forwarded)`)
	c.Expect(c.OK(`UID FETCH 2 (UID FLAGS)`), `\$Forwarded`)
	c.Expect(c.OK(fmt.Sprintf("UID MOVE 1 %q", trash)), `^\* OK \[COPYUID \d+ 1 \d+\]`)
	c.OK(`UID STORE 3 +FLAGS.SILENT (\Deleted)`)
	c.Expect(c.OK(`UID EXPUNGE 3`), `^\* 2 EXPUNGE$`)
	c.OK("NOOP")
}

// k9Files stores a message, and looks for it as it does with servers that tell no APPENDUID.
func k9Files(t *testing.T, c *harness.Session, sent string) {
	t.Helper()
	if status := c.Append(sent, `\Seen`, []byte(harness.Message(6))); !strings.Contains(status, "[APPENDUID ") {
		t.Errorf("APPEND: %s", status)
	}
	c.OK(fmt.Sprintf("SELECT %q", sent))
	c.Expect(c.OK(`UID SEARCH HEADER MESSAGE-ID "<m6@example.net>"`), `^\* SEARCH 1$`)
	c.OK("CLOSE")
}

// k9Pushes idles on a connection of its own while others poll.
func k9Pushes(t *testing.T, s *harness.Server, u harness.User) {
	t.Helper()
	push := s.Login(u)
	push.OK(`SELECT "INBOX"`)
	push.Send("i1 IDLE")
	if line := push.Line(); !strings.HasPrefix(line, "+") {
		t.Fatalf("IDLE: %s", line)
	}
	s.Deliver(u, harness.Message(4))
	idleTells(t, push, "* 2 EXISTS")
	poll := s.Login(u)
	poll.OK(`SELECT "INBOX"`)
	poll.OK(`UID STORE 4 +FLAGS.SILENT (\Flagged)`)
	for line := push.Line(); !strings.Contains(line, `2 FETCH`); line = push.Line() {
		if !strings.HasPrefix(line, "* ") {
			t.Fatalf("in IDLE: %s", line)
		}
	}
	push.Send("DONE")
	for line := push.Line(); !strings.HasPrefix(line, "i1 OK"); line = push.Line() {
		if !strings.HasPrefix(line, "* ") {
			t.Fatalf("after DONE: %s", line)
		}
	}
}
