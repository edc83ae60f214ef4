//go:build e2e

package outage

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// What an operator does on one node is there on the other, with both up and with none.
func TestCommands(t *testing.T) {
	c := start(t, options{})
	dir := t.TempDir()
	run := func(node int, in string, args ...string) string {
		t.Helper()
		r := harness.Command{Program: harness.Binary(t), Args: append(args, "--config", c.nodes[node].Config), In: in, Dir: dir}.Run(t)
		if r.Status != 0 {
			t.Fatalf("mallard %v ended with status %d:\n%s%s", args, r.Status, r.Out, r.Err)
		}
		if r.Err != "" {
			t.Errorf("mallard %v says:\n%s", args, r.Err) // such as that mbox cannot keep a message octet for octet
		}
		return r.Out
	}
	wants := func(out string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), text) {
				t.Errorf("%q is missing in\n%s", text, out)
			}
		}
	}
	for i, state := range []string{"up", "down"} {
		t.Run(state, func(t *testing.T) {
			jane, bob := fmt.Sprint("jane", i), fmt.Sprint("bob", i)
			run(0, "secret-1\n", "user", "add", jane, "--address", jane+"@example.test", "--password-stdin")
			run(1, "secret-1\n", "user", "add", bob, "--address", bob+"@example.test", "--password-stdin")
			wants(run(1, "", "user", "list"), jane+"@example.test", bob+"@example.test")
			run(1, "secret-2\n", "user", "passwd", jane, "--password-stdin")
			if state == "up" {
				wants(run(1, "", "send", "--to", jane+"@example.test", "--body", "one line"), "delivered")
				c.nodes[0].Login(harness.User{Name: jane, Password: "secret-2"})
			} else {
				run(1, "", "import", "--user", jane, "--maildir", filepath.Join(dir, "up"))
			}
			run(0, "", "user", "set", jane, "--quota", "1M")
			wants(run(0, "", "user", "show", jane), "INBOX 1 1", "of 1.0 MiB")
			wants(run(0, "", "export", "--user", jane, "--maildir", filepath.Join(dir, state)), "1 messages exported")
			wants(run(1, "", "export", "--user", jane, "--mbox", filepath.Join(dir, state+"-mbox")), "1 messages exported")
			wants(run(1, "", "import", "--user", bob, "--maildir", filepath.Join(dir, state)), "1 messages imported")
			wants(run(0, "", "import", "--user", bob, "--mbox", filepath.Join(dir, state+"-mbox", "INBOX.mbox")), "1 messages imported")
			wants(run(1, "", "user", "show", bob), "INBOX 2 2")
			wants(run(1, "", "check"), "everything is well")
			run(0, "", "user", "rm", bob, "--yes")
			if out := run(1, "", "user", "list"); strings.Contains(out, bob) {
				t.Errorf("%s was deleted:\n%s", bob, out)
			}
		})
		if state == "up" {
			c.nodes[0].Stop()
			c.nodes[1].Stop()
		}
	}
}
