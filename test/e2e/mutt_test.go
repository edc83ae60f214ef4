//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

const muttConfig = `set folder = "imap://%[1]s/"
set spoolfile = "imap://%[1]s/INBOX"
set imap_user = "%[2]s"
set imap_pass = "%[3]s"
set ssl_starttls = no
set ssl_force_tls = no
set imap_idle = yes
set timeout = 1
set mail_check = 1
set header_cache = "%[4]s/cache"
set from = "me@example.net"
set copy = no
set confirmcreate = no
set confirmappend = no
set delete = yes
set quit = yes
set mark_old = no
set beep = no
set wait_key = no
set auto_tag = no
`

// Everything is copied to a local mbox, the first message flagged, the second deleted, the third moved to another
// mailbox, and the first copied there.
const muttKeys = `<tag-pattern>~A<enter><tag-prefix><copy-message>%[1]s/mbox<enter><untag-pattern>~A<enter>` +
	`1<enter><flag-message>2<enter><delete-message>3<enter><save-message>=Moved<enter>` +
	`1<enter><copy-message>=Moved<enter><sync-mailbox><quit>`

func TestMutt(t *testing.T)    { mutt(t, "mutt") }
func TestNeomutt(t *testing.T) { mutt(t, "neomutt") }

func mutt(t *testing.T, name string) {
	program := harness.Need(t, name, name)
	script := harness.Need(t, "script", "bsdutils") // gives it a terminal
	s := harness.Start(t, harness.Options{})
	u := s.User("mutt", 0)
	const count = 5
	for n := range count {
		s.Deliver(u, harness.Message(n))
	}
	s.Login(u).OK(`CREATE "Moved"`)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rc"), fmt.Appendf(nil, muttConfig, s.IMAP, u.Name, u.Password, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "push"), fmt.Appendf(nil, "push '"+muttKeys+"'\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf("%s -n -F %s/rc -e 'source %s/push'", program, dir, dir)
	r := harness.Command{
		Program: script, Args: []string{"-qec", command, "/dev/null"}, Dir: dir,
		Env: []string{"TERM=xterm", "HOME=" + dir, "LC_ALL=C.UTF-8", "LINES=40", "COLUMNS=120"},
	}.Run(t)

	mbox, err := os.ReadFile(filepath.Join(dir, "mbox"))
	if err != nil {
		t.Fatalf("%s copied nothing: %v\nstatus %d\n%s", name, err, r.Status, r.Out)
	}
	for n := range count {
		_, text, _ := strings.Cut(harness.Message(n), "\r\n\r\n")
		if !strings.Contains(string(mbox), strings.ReplaceAll(text, "\r\n", "\n")) {
			t.Errorf("message %d is not whole in what %s has read", n, name)
		}
	}
	state := serverState(t, s, u)
	if got := state["INBOX"]; len(got) != count-2 || !holds(got, "FS", "message 0") && !holds(got, "F", "message 0") {
		t.Errorf("INBOX is not as %s left it:\n%v", name, mailState{"INBOX": got})
	}
	if got := state["Moved"]; len(got) != 2 {
		t.Errorf("Moved is not as %s left it:\n%v", name, mailState{"Moved": got})
	}
}
