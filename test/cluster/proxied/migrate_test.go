//go:build e2e

package proxied

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// TestMigrate moves a server's mail to a cluster while it serves, and back, as docs/cli.md says: clients find what they
// know, byte for byte, with the same UIDs.
func TestMigrate(t *testing.T) {
	old := harness.Start(t, harness.Options{})
	u := old.User("mover", 0)
	for i := range 20 {
		old.Deliver(u, text(fmt.Sprintf("before-%d", i)))
	}
	s := old.Login(u)
	s.OK("SELECT INBOX")
	s.OK(`UID STORE 2:5 +FLAGS (\Flagged Work)`)
	s.OK(`UID STORE 7 +FLAGS (\Deleted)`)
	s.OK("EXPUNGE")
	s.OK("CREATE Archive/2026")
	s.OK("UID COPY 1:3 Archive/2026")

	d := databases{mongo: servers.SharedMongo(t) + fmt.Sprintf("moved_%d", os.Getpid()), sentinels: servers.StartSentinel(t, redisPassword).Addrs}
	key, cert := certificate(t)
	n := newNode(t, "node", d, key, cert)
	n.storeIn(filepath.Join(old.Dir, "data"))
	first := n.run("migrate", "--from", "embedded", "--to", "mongo")
	if !strings.Contains(first, "22 messages copied") || !strings.Contains(first, "the server goes on") {
		t.Fatalf("beside the server: %s", first)
	}
	if r := n.try("migrate", "--from", "embedded", "--to", "mongo", "--finish"); r.Status != 1 || !strings.Contains(r.Err, "stop it first") {
		t.Fatalf("the end beside a server: %d %s", r.Status, r.Err)
	}
	old.Deliver(u, text("meanwhile"))
	s.OK(`UID STORE 3 -FLAGS (Work)`)
	want := view(t, s)
	old.Stop()
	last := n.run("migrate", "--from", "embedded", "--to", "mongo", "--finish", "--verify")
	if !strings.Contains(last, "1 messages copied") || !strings.Contains(last, "23 messages compared") || !strings.Contains(last, "the migration is ended") {
		t.Fatalf("the last pass: %s", last)
	}
	if r := n.try("migrate", "--from", "embedded", "--to", "mongo"); r.Status != 1 || !strings.Contains(r.Err, "has ended") {
		t.Fatalf("after the end: %d %s", r.Status, r.Err)
	}

	n.start()
	conn, err := session(n.addr("143"), direct, u)
	if err != nil {
		t.Fatal(err)
	}
	all, err := conn.list("INBOX")
	if err != nil || len(all) != 20 || all[19].id != "meanwhile" || all[19].uid != 21 {
		t.Errorf("on the node: %v (%v)", all, err)
	}
	sent, err := newSender(n.addr("24"), direct)
	if err == nil {
		err = sent.send(u.Address, text("after"))
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.close()
	sent.close()
	n.stop()

	// And back, into a new directory.
	n.storeIn(filepath.Join(n.dir, "back"))
	back := n.run("migrate", "--from", "mongo", "--to", "embedded", "--finish", "--verify")
	if !strings.Contains(back, "24 messages compared") || !strings.Contains(back, "the migration is ended") {
		t.Fatalf("back: %s", back)
	}
	if err := os.Rename(filepath.Join(old.Dir, "data"), filepath.Join(old.Dir, "data.old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(n.dir, "back"), filepath.Join(old.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	old.Run()
	old.Check()
	got := view(t, old.Login(u))
	got = slices.DeleteFunc(got, func(l string) bool { return strings.Contains(l, "Subject: after") })
	if len(got) != len(want) {
		t.Errorf("after there and back there are %d lines, before %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("after there and back:\n%.400s\nbefore:\n%.400s", got[i], want[i])
		}
	}
}

// storeIn sets the directory of [store].
func (n *node) storeIn(dir string) {
	n.t.Helper()
	b, err := os.ReadFile(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	b = regexp.MustCompile(`(?m)^path = .*$`).ReplaceAllLiteral(b, fmt.Appendf(nil, "path = %q", dir))
	if err := os.WriteFile(n.config, b, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// try runs a command of the operator that may fail.
func (n *node) try(args ...string) harness.Ran {
	n.t.Helper()
	return harness.Command{Program: harness.Binary(n.t), Args: append([]string{"--config", n.config}, args...), Dir: n.dir}.Run(n.t)
}

// recent is a flag that is a session's own.
var recent = regexp.MustCompile(` ?\\Recent\b`)

// view is all that a client knows of its mailboxes: UIDVALIDITY, and of every message UID, mod-sequence, flags, date and
// octets.
func view(t *testing.T, s *harness.Session) []string {
	t.Helper()
	var out []string
	for _, box := range []string{"INBOX", "Archive/2026"} {
		for _, l := range s.OK(fmt.Sprintf("EXAMINE %q (CONDSTORE)", box)) {
			if strings.Contains(l, "UIDVALIDITY") {
				out = append(out, box+" "+l)
			}
		}
		for _, l := range s.OK("UID FETCH 1:* (UID MODSEQ FLAGS INTERNALDATE EMAILID THREADID BODY.PEEK[])") {
			if strings.Contains(l, " FETCH ") {
				out = append(out, recent.ReplaceAllString(l, ""))
			}
		}
	}
	return out
}
