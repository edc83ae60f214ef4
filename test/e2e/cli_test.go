//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// mallard runs a subcommand with the server's configuration.
func mallard(t *testing.T, s *harness.Server, stdin string, args ...string) harness.Ran {
	t.Helper()
	return harness.Command{Program: harness.Binary(t), Args: append(args, "--config", s.Config), In: stdin, Dir: s.Dir}.Run(t)
}

func mustMallard(t *testing.T, s *harness.Server, stdin string, args ...string) harness.Ran {
	t.Helper()
	r := mallard(t, s, stdin, args...)
	if r.Status != 0 {
		t.Fatalf("mallard %q ended with status %d:\n%s%s", args, r.Status, r.Out, r.Err)
	}
	return r
}

func TestUserCommands(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := harness.User{Name: "jane", Password: "first password", Address: "jane.doe@" + harness.Domain}
	mustMallard(t, s, u.Password+"\n", "user", "add", u.Name, "--address", u.Address, "--name", "Jane Doe", "--password-stdin")
	s.Deliver(u, harness.Message(1))
	if n := len(s.Login(u).Messages("INBOX")); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}

	var generated struct{ Password string }
	r := mustMallard(t, s, "", "user", "add", "joe", "--json")
	if err := json.Unmarshal([]byte(r.Out), &generated); err != nil || generated.Password == "" {
		t.Errorf("user add --json printed %q: %v", r.Out, err)
	}
	s.Login(harness.User{Name: "joe", Password: generated.Password})

	if r := mustMallard(t, s, "", "user", "list"); !strings.Contains(r.Out, "jane") || !strings.Contains(r.Out, "joe") {
		t.Errorf("user list printed %q", r.Out)
	}
	if r := mustMallard(t, s, "", "user", "show", "jane"); !strings.Contains(r.Out, u.Address) || !strings.Contains(r.Out, "Jane Doe") {
		t.Errorf("user show printed %q", r.Out)
	}
	if r := mallard(t, s, "", "user", "add", "jane", "--password", "x"); r.Status == 0 || !strings.Contains(r.Err, "jane") {
		t.Errorf("a second user jane: status %d, %q", r.Status, r.Err)
	}

	u.Password = "second password"
	mustMallard(t, s, u.Password+"\n", "user", "passwd", "jane", "--password-stdin")
	s.Login(u)
	mustMallard(t, s, "", "user", "rm", "jane", "--yes")
	c := harness.Dial(t, s.IMAP)
	if _, status := c.Do(fmt.Sprintf("LOGIN %q %q", u.Name, u.Password)); !strings.HasPrefix(status, "NO") {
		t.Errorf("a deleted user can log in: %s", status)
	}
	sender, err := harness.NewSender(s.LMTP)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if err := sender.Send("a@example.net", u.Address, harness.Message(2)); err == nil || !strings.Contains(err.Error(), "550") {
		t.Errorf("mail to a deleted user: %v", err)
	}
}

func TestSendCommand(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("send", 0)
	file := filepath.Join(s.Dir, "message.eml")
	if err := os.WriteFile(file, []byte(harness.Message(3)), 0o600); err != nil {
		t.Fatal(err)
	}
	mustMallard(t, s, "", "send", file, "--to", u.Address)
	mustMallard(t, s, "", "send", "--to", u.Address, "--subject", "made up", "--body", "text", "--count", "2")
	got := s.Login(u).Messages("INBOX")
	if len(got) != 3 || harness.Undelivered(got[0]) != harness.Message(3) || !strings.Contains(got[2], "\r\nSubject: made up") {
		t.Errorf("%d messages: %.600q", len(got), got)
	}
	if r := mallard(t, s, "", "send", "--to", "nobody@"+harness.Domain, "--subject", "x", "--body", "y"); r.Status != 1 {
		t.Errorf("a refused recipient: status %d, want 1", r.Status)
	}
}

// Mail survives a clean stop, and a port or data directory that is in use is an error that says so.
func TestStopAndStart(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("again", 0)
	s.Deliver(u, harness.Message(1), harness.Message(3))
	before := serverState(t, s, u)

	r := harness.Command{Program: harness.Binary(t), Args: []string{"serve", "--config", s.Config}, Dir: s.Dir}.Run(t)
	if r.Status == 0 || !strings.Contains(r.Err, s.Dir) {
		t.Errorf("a second server on the same data: status %d, %q", r.Status, r.Err)
	}

	s.Stop()
	s.Run()
	equalStates(t, "after a restart", before, serverState(t, s, u))

	s.Stop()
	l, err := net.Listen("tcp", s.LMTP)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r = harness.Command{Program: harness.Binary(t), Args: []string{"serve", "--config", s.Config}, Dir: s.Dir}.Run(t)
	_, port, _ := net.SplitHostPort(s.LMTP)
	if r.Status == 0 || !strings.Contains(r.Err, port) || !strings.Contains(r.Err, "[lmtp]") || !strings.Contains(r.Err, fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a port that is taken: status %d, %q", r.Status, r.Err)
	}
}

func TestConfigurationErrors(t *testing.T) {
	harness.OnlyMallard(t)
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "[imap]\nport = 1143\nprot = 1\n", ":3:"},
		{"wrong value", "[log]\nlevel = \"loud\"\n", ":2:"},
		{"wrong type", "[lmtp]\n\nport = \"x\"\n", ":3:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "mallard.toml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := harness.Command{Program: harness.Binary(t), Args: []string{"serve", "--config", file}}.Run(t)
			if r.Status == 0 || !strings.Contains(r.Err, file+tt.want) {
				t.Errorf("status %d, want an error at %s%s: %q", r.Status, file, tt.want, r.Err)
			}
		})
	}
}
