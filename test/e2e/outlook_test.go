//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// What Outlook says, by Microsoft's statement of what it uses of RFC 3501: LOGIN, whole headers and whole messages, no
// macros and no pieces, STORE, COPY and EXPUNGE instead of MOVE, folders made and subscribed when they are missing, and
// an item of RFC 1730 when it takes the server for an old one.
func TestOutlookSession(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	u := s.User("outlook", 0)
	s.Deliver(u, harness.Message(1), harness.Message(3), harness.Message(2))

	c := harness.Dial(t, s.IMAP)
	offers(t, c, "IMAP4rev1")
	if !harness.Dovecot() {
		c.StartTLS()
	}
	c.OK(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password))
	offers(t, c, "IMAP4rev1", "IDLE", "NAMESPACE", "ID")
	c.Expect(c.OK(`ID ("name" "Microsoft Outlook" "version" "16.0")`), `^\* ID \(`)
	c.Expect(c.OK("NAMESPACE"), `^\* NAMESPACE \(\("" "/"\)\) NIL NIL`)
	c.Expect(c.OK(`LIST "" ""`), `^\* LIST \(\\Noselect\) "/" ""$`)
	for _, r := range c.OK(`LIST "" "*"`) {
		if strings.Contains(strings.ToLower(r), `\noselect`) {
			t.Errorf("Outlook loses mail below a level that cannot be selected: %s", r)
		}
	}
	c.OK(`LSUB "" "*"`)
	outlookFolders(t, c)
	outlookReads(c)
	outlookDeletes(c)
	outlookIdles(t, s, u, c)
	c.Expect(c.OK("LOGOUT"), `^\* BYE`)
}

// outlookFolders makes the folders that Outlook wants, also one below another that is not there.
func outlookFolders(t *testing.T, c *harness.Session) {
	t.Helper()
	for _, name := range []string{"Deleted Items", "Archive/2026"} {
		c.OK(fmt.Sprintf("CREATE %q", name))
		c.OK(fmt.Sprintf("SUBSCRIBE %q", name))
		c.Expect(c.OK(fmt.Sprintf(`LIST "" %q`, name)), `^\* LIST \([^)]*\) "/" "?`+name+`"?$`)
		c.Expect(c.OK(fmt.Sprintf(`LSUB "" %q`, name)), `^\* LSUB \([^)]*\) "/" "?`+name+`"?$`)
	}
	if !harness.Dovecot() { // it lists the level above as \Noselect
		c.Expect(c.OK(`LIST "" "Archive"`), `^\* LIST \(\\HasChildren\) "/" "Archive"$`)
	}
	if _, status := c.Do(`CREATE "Deleted Items"`); !strings.HasPrefix(status, "NO [ALREADYEXISTS]") {
		t.Errorf("a folder that is there can be made: %s", status)
	}
}

func outlookReads(c *harness.Session) {
	c.Expect(c.OK(`STATUS "INBOX" (UIDNEXT UIDVALIDITY UNSEEN)`), `UIDNEXT 4`)
	c.Expect(c.OK(`SELECT "INBOX"`), `^\* 3 EXISTS$`)
	c.Expect(c.OK(`UID FETCH 1:* (UID FLAGS)`), `^\* 3 FETCH \(UID 3 FLAGS \(`)
	c.Expect(c.OK(`UID FETCH 1:3 (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER] INTERNALDATE)`),
		`^\* 2 FETCH \(UID 2 FLAGS \([^)]*\) (RFC822\.SIZE|INTERNALDATE) .*Subject: message 3\r\n.*\r\n\r\n`)
	c.Expect(c.OK(`UID FETCH 2 (UID RFC822.SIZE BODY.PEEK[])`), `^\* 2 FETCH \(UID 2 RFC822\.SIZE \d+ BODY\[\] \{\d+\}\r\n.*--=_b--\r\n`)
	if !harness.Dovecot() {
		c.Expect(c.OK(`UID FETCH 2 (UID RFC822.SIZE RFC822.peek)`), `^\* 2 FETCH \(UID 2 RFC822\.SIZE \d+ RFC822 \{\d+\}\r\n.*--=_b--\r\n`)
	}
	c.Expect(c.OK(`UID SEARCH UNSEEN`), `^\* SEARCH 1 2 3$`) // nothing of that has marked a message as read
	c.Expect(c.OK(`UID STORE 2 +FLAGS (\Seen)`), `^\* 2 FETCH .*\\Seen`)
	c.OK(`UID STORE 2 -FLAGS.SILENT (\Seen)`)
}

// outlookDeletes marks a message, shows it struck out, and purges it later; or copies it to Deleted Items first.
func outlookDeletes(c *harness.Session) {
	c.OK(`UID COPY 1 "Deleted Items"`)
	c.Expect(c.OK(`UID STORE 1 +FLAGS (\Deleted \Seen)`), `^\* 1 FETCH .*\\Deleted`)
	c.Expect(c.OK(`UID FETCH 1:* (UID FLAGS)`), `^\* 1 FETCH .*\\Deleted`)
	c.Expect(c.OK("EXPUNGE"), `^\* 1 EXPUNGE$`)
	c.Expect(c.OK(`SELECT "Deleted Items"`), `^\* 1 EXISTS$`)
	c.OK(`RENAME "Archive/2026" "Archive/last year"`)
	c.OK(`UNSUBSCRIBE "Archive/2026"`)
	c.OK(`SUBSCRIBE "Archive/last year"`)
	c.OK(`DELETE "Archive/last year"`)
	c.OK(`UNSUBSCRIBE "Archive/last year"`)
	c.OK(`SELECT "INBOX"`)
}

func outlookIdles(t *testing.T, s *harness.Server, u harness.User, c *harness.Session) {
	t.Helper()
	sent := strings.Trim(c.Expect(c.OK(`LIST "" "*"`), `^\* LIST \([^)]*\\Sent[^)]*\) "." ([^\n]*)$`)[1], `"`)
	c.Append(sent, `\Seen`, []byte(harness.Message(6)))
	c.Send("i1 IDLE")
	if line := c.Line(); !strings.HasPrefix(line, "+") {
		t.Fatalf("IDLE: %s", line)
	}
	s.Deliver(u, harness.Message(4))
	idleTells(t, c, "* 3 EXISTS")
	c.Send("DONE")
	for line := c.Line(); !strings.HasPrefix(line, "i1 OK"); line = c.Line() {
		if !strings.HasPrefix(line, "* ") {
			t.Fatalf("after DONE: %s", line)
		}
	}
	c.Expect(c.OK(`UID FETCH 4:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER] INTERNALDATE)`), `^\* 3 FETCH \(UID 4 `)
}
