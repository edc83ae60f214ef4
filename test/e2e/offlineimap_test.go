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

const offlineimapConfig = `[general]
accounts = test
metadata = %[5]s/meta

[Account test]
localrepository = local
remoterepository = remote

[Repository local]
type = Maildir
localfolders = %[5]s/mail
sep = /
sync_deletes = yes

[Repository remote]
type = IMAP
remotehost = %[1]s
remoteport = %[2]s
remoteuser = %[3]s
remotepass = %[4]s
ssl = no
starttls = no
auth_mechanisms = PLAIN, LOGIN
`

func TestOfflineimap(t *testing.T) {
	program := harness.Need(t, "offlineimap", "offlineimap3")
	s := harness.Start(t, harness.Options{})
	u := s.User("offline", 0)
	c := fillTree(t, s, u)
	sep := separator(c)
	dir := t.TempDir()
	mail := filepath.Join(dir, "mail")
	host, port, _ := net.SplitHostPort(s.IMAP)
	rc := fmt.Sprintf(offlineimapConfig, host, port, u.Name, u.Password, dir)
	if err := os.WriteFile(filepath.Join(dir, "rc"), []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() {
		t.Helper()
		harness.Command{Program: program, Args: []string{"-c", filepath.Join(dir, "rc"), "-o", "-u", "quiet"}, Env: []string{"HOME=" + dir}}.Must(t)
	}
	both := func() (server, local mailState) {
		local = mailState{}
		for name, messages := range maildirState(t, mail) {
			local[strings.ReplaceAll(name, "/", sep)] = messages
		}
		return serverState(t, s, u), local
	}

	run()
	server, local := both()
	equalStates(t, "after the first run", server, local)

	setMaildirFlags(t, maildirFile(t, filepath.Join(mail, "INBOX"), "message 1"), "FS")
	writeMaildir(t, filepath.Join(mail, "Archive/2024"), "1700000000.1_1.test", harness.Message(81))
	if err := os.Remove(maildirFile(t, filepath.Join(mail, "Archive"), "message 10")); err != nil {
		t.Fatal(err)
	}
	s.Deliver(u, harness.Message(82))
	run()
	server, local = both()
	equalStates(t, "after changes on both sides", server, local)
	for _, want := range []struct{ mailbox, flags, subject string }{
		{"INBOX", "FS", "message 1"}, {"INBOX", "", "message 82"}, {"Archive" + sep + "2024", "", "message 81"},
	} {
		if !holds(server[want.mailbox], want.flags, want.subject) {
			t.Errorf("the server's %s has no %q with flags %q:\n%v", want.mailbox, want.subject, want.flags, mailState{want.mailbox: server[want.mailbox]})
		}
	}
	if holds(server["Archive"], "", "message 10") {
		t.Error("a message that was deleted locally is still on the server")
	}
}
