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

// fetchmail takes all mail out of INBOX and leaves it empty.
func TestFetchmail(t *testing.T) {
	program := harness.Need(t, "fetchmail", "fetchmail")
	s := harness.Start(t, harness.Options{})
	u := s.User("fetchmail", 0)
	const count = 6
	for n := range count {
		s.Deliver(u, harness.Message(n))
	}
	dir := t.TempDir()
	host, port, _ := net.SplitHostPort(s.IMAP)
	rc := fmt.Sprintf("poll %s service %s protocol imap auth password user %q password %q sslproto '' no rewrite fetchall mda %q\n",
		host, port, u.Name, u.Password, "/bin/sh -c 'cat >>"+dir+"/out'")
	if err := os.WriteFile(filepath.Join(dir, "rc"), []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Command{Program: program, Args: []string{"-f", filepath.Join(dir, "rc"), "--nodetach", "--invisible", "-N"}, Env: []string{"HOME=" + dir, "FETCHMAILHOME=" + dir}}.Must(t)
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range count {
		_, text, _ := strings.Cut(harness.Message(n), "\r\n\r\n")
		if !strings.Contains(string(out), strings.ReplaceAll(text, "\r\n", "\n")) {
			t.Errorf("message %d is not whole in what fetchmail has read", n)
		}
	}
	if left := s.Login(u).Messages("INBOX"); len(left) != 0 {
		t.Errorf("%d messages are left", len(left))
	}
}
