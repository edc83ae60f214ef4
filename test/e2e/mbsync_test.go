//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

const mbsyncConfig = `IMAPAccount server
Host %[1]s
Port %[2]s
User %[3]s
Pass %[4]s
SSLType None
AuthMechs *

IMAPStore far
Account server

MaildirStore near
Path %[5]s/
Inbox %[5]s/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
`

// mbsync synchronizes both ways and returns what it said.
func mbsync(t *testing.T, dir string) string {
	t.Helper()
	r := harness.Command{Program: harness.Need(t, "mbsync", "isync"), Args: []string{"-c", filepath.Join(dir, "rc"), "-V", "all"}, Env: []string{"HOME=" + dir}}.Must(t)
	return r.Out + r.Err
}

func TestMbsync(t *testing.T) {
	harness.Need(t, "mbsync", "isync")
	s := harness.Start(t, harness.Options{})
	u := s.User("mbsync", 0)
	c := fillTree(t, s, u)
	sep := separator(c)

	dir := t.TempDir()
	mail := filepath.Join(dir, "mail")
	if err := os.Mkdir(mail, 0o700); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(s.IMAP)
	rc := fmt.Sprintf(mbsyncConfig, host, port, u.Name, u.Password, mail)
	if err := os.WriteFile(filepath.Join(dir, "rc"), []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	// both reads what the server has and what the Maildir has, under the server's names.
	both := func() (server, local mailState) {
		local = mailState{}
		for name, messages := range maildirState(t, mail) {
			local[strings.ReplaceAll(name, "/", sep)] = messages
		}
		return serverState(t, s, u), local
	}

	mbsync(t, dir)
	server, local := both()
	equalStates(t, "after the first run", server, local)
	if len(server["Archive"+sep+"2024"+sep+"Q1"]) != 4 {
		t.Fatalf("the tree is not there:\n%v", server)
	}

	changeLocally(t, mail)
	c.OK(`SELECT "Archive"`)
	c.OK(`STORE 1 +FLAGS (\Answered)`)
	c.OK(`STORE 2 -FLAGS (\Seen)`)
	c.OK(`STORE 3 +FLAGS (\Deleted)`)
	c.OK(`EXPUNGE`)
	c.OK(fmt.Sprintf("CREATE %q", "Server"+sep+"New"))
	c.Append("Server"+sep+"New", `\Flagged`, []byte(harness.Message(71)))
	s.Deliver(u, harness.Message(72))

	mbsync(t, dir)
	server, local = both()
	equalStates(t, "after changes on both sides", server, local)
	for _, want := range []struct{ mailbox, flags, subject string }{
		{"INBOX", "", "message 72"}, {"INBOX", "F", "message 0"}, {"INBOX", "", "message 60"},
		{"Archive", "R", "message 10"}, {"Archive", "", "message 11"},
		{"Archive" + sep + "2024", "", "message 61"}, {"Local" + sep + "New", "", "message 62"}, {"Server" + sep + "New", "F", "message 71"},
	} {
		if !holds(server[want.mailbox], want.flags, want.subject) {
			t.Errorf("the server's %s has no %q with flags %q:\n%v", want.mailbox, want.subject, want.flags, mailState{want.mailbox: server[want.mailbox]})
		}
	}
	for mailbox, gone := range map[string]string{"Archive": "message 12", "Archive" + sep + "2024": "message 20"} {
		for _, flags := range []string{"", "S", "FS", "T", "FST"} {
			if holds(local[mailbox], flags, gone) {
				t.Errorf("%s still has %q, which was deleted on one side", mailbox, gone)
			}
		}
	}

	before := server
	mbsync(t, dir)
	server, local = both()
	equalStates(t, "after a run with nothing to do", server, local)
	equalStates(t, "before and after a run with nothing to do", server, before)
}

// changeLocally adds, flags and deletes messages in the Maildir and adds mailboxes.
func changeLocally(t *testing.T, mail string) {
	t.Helper()
	setMaildirFlags(t, maildirFile(t, filepath.Join(mail, "INBOX"), "message 0"), "F")
	setMaildirFlags(t, maildirFile(t, filepath.Join(mail, "Archive/2024"), "message 20"), "T")
	writeMaildir(t, filepath.Join(mail, "INBOX"), "1700000000.1_1.test", harness.Message(60))
	writeMaildir(t, filepath.Join(mail, "Archive/2024"), "1700000000.2_1.test", harness.Message(61))
	writeMaildir(t, filepath.Join(mail, "Local/New"), "1700000000.3_1.test", harness.Message(62))
}

func holds(messages []string, flags, subject string) bool {
	for _, m := range messages {
		if strings.HasPrefix(m, flags+" ") && strings.Contains(m, "\nSubject: "+subject+"\n") {
			return true
		}
	}
	return false
}
