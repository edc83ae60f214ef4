//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

func TestCurl(t *testing.T) {
	curl := harness.Need(t, "curl", "curl")
	s := harness.Start(t, harness.Options{})
	u := s.User("curl", 0)
	s.Deliver(u, harness.Message(1), harness.Message(3))
	run := func(args ...string) string {
		t.Helper()
		return harness.Command{Program: curl, Args: append([]string{"--silent", "--show-error", "--insecure", "--user", u.Name + ":" + u.Password}, args...)}.Must(t).Out
	}
	base := "imap://" + s.IMAP

	if out := run(base + "/"); !strings.Contains(out, "INBOX") {
		t.Errorf("LIST: %q", out)
	}
	if out := run(base+"/", "--request", "STATUS INBOX (MESSAGES)"); !strings.Contains(out, "(MESSAGES 2)") {
		t.Errorf("STATUS: %q", out)
	}
	if out := run(base + "/INBOX?ALL"); strings.TrimSpace(out) != "* SEARCH 1 2" {
		t.Errorf("SEARCH: %q", out)
	}
	for uid, n := range map[string]int{"1": 1, "2": 3} {
		if out := run(base + "/INBOX;UID=" + uid); harness.Undelivered(out) != harness.Message(n) {
			t.Errorf("message %d came back as\n%.1000q", n, out)
		}
	}
	if out := run(base + "/INBOX;UID=2;SECTION=1"); !strings.HasPrefix(out, "This is message 3.\r\n.leading dot\r\n") {
		t.Errorf("section 1: %.200q", out)
	}

	file := filepath.Join(t.TempDir(), "up.eml")
	if err := os.WriteFile(file, []byte(harness.Message(9)), 0o600); err != nil {
		t.Fatal(err)
	}
	run("--upload-file", file, base+"/INBOX")
	if out := run(base + "/INBOX;UID=3"); out != harness.Message(9) {
		t.Errorf("what was appended came back as\n%.1000q", out)
	}
	run("--request", "STORE 3 +Flags \\Deleted", base+"/INBOX")
	run("--request", "EXPUNGE", base+"/INBOX")
	if out := run(base+"/", "--request", "STATUS INBOX (MESSAGES)"); !strings.Contains(out, "(MESSAGES 2)") {
		t.Errorf("STATUS after EXPUNGE: %q", out)
	}
	if harness.Dovecot() {
		return
	}
	if out := run("--ssl-reqd", base+"/INBOX;UID=1"); harness.Undelivered(out) != harness.Message(1) {
		t.Errorf("after STARTTLS: %.500q", out)
	}
	if out := run("imaps://" + s.IMAPS + "/INBOX;UID=1"); harness.Undelivered(out) != harness.Message(1) {
		t.Errorf("over TLS: %.500q", out)
	}
}

func TestCurlWrongPassword(t *testing.T) {
	curl := harness.Need(t, "curl", "curl")
	s := harness.Start(t, harness.Options{})
	u := s.User("curl", 0)
	r := harness.Command{Program: curl, Args: []string{"--silent", "--show-error", "--user", u.Name + ":wrong", "imap://" + s.IMAP + "/"}}.Run(t)
	const loginDenied = 67 // CURLE_LOGIN_DENIED
	if r.Status != loginDenied {
		t.Errorf("curl ended with %d, want %d: %s", r.Status, loginDenied, r.Err)
	}
}
