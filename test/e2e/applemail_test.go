//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// What Mail of macOS and iOS says, as it is seen in logs: it knows CONDSTORE, asks for the root of the hierarchy, reads
// parts in pieces of 384 KiB, idles, and must not be told EXISTS for what is only gone.
func TestAppleMailSession(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("applemail", 0)
	s.Deliver(u, harness.Message(1), harness.Message(3), harness.Message(2))

	c := harness.Dial(t, s.IMAP)
	c.OK("CAPABILITY")
	if !harness.Dovecot() {
		c.StartTLS()
	}
	offers(t, c, "IMAP4rev1", "SASL-IR", "AUTH=PLAIN")
	c.OK("AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+u.Name+"\x00"+u.Password)))
	offers(t, c, "ID", "IDLE", "UIDPLUS", "MOVE", "CONDSTORE", "UNSELECT", "SPECIAL-USE", "ENABLE")
	c.Expect(c.OK(`ID ("name" "Mac OS X Mail" "version" "16.0 (3826.400.131.1.6)" "os" "Mac OS X" "os-version" "15.4 (24E248)" "vendor" "Apple Inc.")`), `^\* ID \(`)
	c.Expect(c.OK("ENABLE CONDSTORE"), `^\* ENABLED CONDSTORE$`)
	c.Expect(c.OK("NAMESPACE"), `^\* NAMESPACE \(\("" "(.)"\)\)`)
	c.Expect(c.OK(`LIST "" ""`), `^\* LIST \(\\Noselect\) "." ""$`)
	listed := c.OK(`LIST "" "*"`)
	trash := strings.Trim(c.Expect(listed, `^\* LIST \([^)]*\\Trash[^)]*\) "." ([^\n]*)$`)[1], `"`)
	sent := strings.Trim(c.Expect(listed, `^\* LIST \([^)]*\\Sent[^)]*\) "." ([^\n]*)$`)[1], `"`)
	c.OK(`LSUB "" "*"`)
	c.Expect(c.OK(`STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)`), `MESSAGES 3 .*UNSEEN 3`)

	selected := c.OK(`SELECT INBOX (CONDSTORE)`)
	c.Expect(selected, `^\* OK \[HIGHESTMODSEQ \d+\]`)
	c.Expect(c.OK(`FETCH 1:* (FLAGS UID)`), `^\* 3 FETCH \(FLAGS \([^)]*\) UID 3`)
	appleMailReads(c)
	appleMailChanges(c, trash)
	appleMailIdles(t, s, u, c)
	if status := c.Append(sent, `\Seen $NotJunk NotJunk`, []byte(harness.Message(6))); !strings.Contains(status, "[APPENDUID ") {
		t.Errorf("APPEND: %s", status)
	}
	c.OK("UNSELECT")
	c.Expect(c.OK(fmt.Sprintf("SELECT %q (CONDSTORE)", sent)), `^\* FLAGS \(.*\$NotJunk`)
	c.OK("CLOSE")
	c.Expect(c.OK("LOGOUT"), `^\* BYE`)
}

func appleMailReads(c *harness.Session) {
	listed := c.OK(`UID FETCH 1:3 (INTERNALDATE UID RFC822.SIZE FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (date subject from to cc message-id in-reply-to references content-type x-priority x-uniform-type-identifier x-universally-unique-identifier list-id list-unsubscribe bimi-indicator)])`)
	c.Expect(listed, `^\* 2 FETCH .*INTERNALDATE "[^"]+".*MODSEQ \(\d+\)|^\* 2 FETCH .*MODSEQ \(\d+\).*INTERNALDATE "[^"]+"`)
	c.Expect(listed, `^\* 2 FETCH .*Subject: message 3\r\n`)
	c.Expect(c.OK(`UID FETCH 2 (BODYSTRUCTURE BODY.PEEK[HEADER])`), `BODYSTRUCTURE \(\(.*BODY\[HEADER\] \{\d+\}\r\n|BODY\[HEADER\] \{\d+\}\r\n.*BODYSTRUCTURE \(\(`)
	// What begins at octet 0 is told as a part even when it is everything (RFC 3501 section 6.4.5).
	c.Expect(c.OK(`UID FETCH 2 (UID BODY.PEEK[1]<0.393216>)`), `^\* 2 FETCH \(UID 2 BODY\[1\]<0> \{\d+\}\r\nThis is message 3\.`)
	c.Expect(c.OK(`UID FETCH 2 BODY.PEEK[]<0.393216>`), `^\* 2 FETCH .*BODY\[\]<0> \{\d+\}\r\n`)
	c.Expect(c.OK(`UID FETCH 2 BODY.PEEK[]<393216.393216>`), `^\* 2 FETCH .*BODY\[\]<393216> (""|\{0\}\r\n|NIL)`)
	c.Expect(c.OK(`UID FETCH 2 (BODY.PEEK[2.MIME] BODY.PEEK[2])`), `BODY\[2\.MIME\] \{\d+\}\r\n`)
	c.Expect(c.OK(`UID SEARCH NOT DELETED SINCE 1-Jan-2020`), `^\* SEARCH 1 2 3$`)
	c.Expect(c.OK(`UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)`), `^\* 3 FETCH .*MODSEQ \(\d+\)`)
}

func appleMailChanges(c *harness.Session, trash string) {
	c.Expect(c.OK(`UID STORE 2 +FLAGS.SILENT (\Seen)`), `^\* 2 FETCH .*MODSEQ \(\d+\)`)
	c.Expect(c.OK(`UID STORE 2 +FLAGS ($Forwarded JunkRecorded)`), `^\* 2 FETCH .*JunkRecorded`)
	moved := c.OK(fmt.Sprintf(`UID MOVE 1 %q`, trash))
	c.Expect(moved, `^\* OK \[COPYUID \d+ 1 \d+\]`)
	c.Expect(moved, `^\* 1 EXPUNGE$`)
	c.OK(fmt.Sprintf(`UID COPY 2 %q`, trash))
	c.OK(`UID STORE 2 +FLAGS.SILENT (\Deleted)`)
	c.Expect(c.OK(`UID EXPUNGE 2`), `^\* 1 EXPUNGE$`)
	c.OK("CHECK")
	c.OK("NOOP")
}

// appleMailIdles has a message come and go while the client idles: EXISTS for the one, EXPUNGE alone for the other.
func appleMailIdles(t *testing.T, s *harness.Server, u harness.User, c *harness.Session) {
	t.Helper()
	other := s.Login(u)
	other.OK("SELECT INBOX")
	c.Send("i1 IDLE")
	if line := c.Line(); !strings.HasPrefix(line, "+") {
		t.Fatalf("IDLE: %s", line)
	}
	s.Deliver(u, harness.Message(4))
	idleTells(t, c, "* 2 EXISTS")
	other.OK(`UID STORE 3:4 +FLAGS.SILENT (\Deleted)`)
	other.OK("EXPUNGE")
	for _, line := range idleTells(t, c, "* 1 EXPUNGE") {
		if strings.HasSuffix(line, "EXISTS") {
			t.Errorf("told %q when messages were only removed", line)
		}
	}
	c.Send("DONE")
	for line := c.Line(); !strings.HasPrefix(line, "i1 OK"); line = c.Line() {
		if !strings.HasPrefix(line, "* ") || strings.HasSuffix(line, "EXISTS") {
			t.Fatalf("after DONE: %s", line)
		}
	}
}

// idleTells reads what an idling client is told up to a line, and returns it.
func idleTells(t *testing.T, c *harness.Session, last string) []string {
	t.Helper()
	var all []string
	for {
		line := c.Line()
		all = append(all, line)
		if line == last {
			return all
		}
		if !strings.HasPrefix(line, "* ") {
			t.Fatalf("in IDLE: %s", line)
		}
	}
}
