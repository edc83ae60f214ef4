//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// A mailState is what two sides of a synchronization must agree on: for each mailbox its messages, each as
// "flags content" with line ends as in a Maildir.
type mailState map[string][]string

func (m mailState) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(mapsKeys(m)) {
		fmt.Fprintf(&b, "%s:\n", name)
		for _, msg := range m[name] {
			fmt.Fprintf(&b, "  %.160q (%d octets)\n", msg, len(msg))
		}
	}
	return b.String()
}

func mapsKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Sync programs mark what they have uploaded.
var syncMark = regexp.MustCompile(`(?mi)^(X-TUID|X-OfflineIMAP): [^\n]*\n`)

func entry(flags, content string) string {
	content = strings.ReplaceAll(content, "\r\n", "\n")
	return flags + " " + syncMark.ReplaceAllString(content, "")
}

var maildirFlags = map[string]string{`\Seen`: "S", `\Answered`: "R", `\Flagged`: "F", `\Draft`: "D", `\Deleted`: "T"}

// serverState reads all mailboxes by IMAP.
func serverState(t *testing.T, s *harness.Server, u harness.User) mailState {
	t.Helper()
	c := s.Login(u)
	state := mailState{}
	for _, name := range c.Mailboxes() {
		c.OK(fmt.Sprintf("EXAMINE %q", name))
		state[name] = []string{}
		for _, r := range c.OK("UID FETCH 1:* (FLAGS BODY.PEEK[])") {
			m := regexp.MustCompile(`FLAGS \(([^)]*)\)`).FindStringSubmatch(r)
			body := regexp.MustCompile(`BODY\[\] \{(\d+)\}\r\n`).FindStringSubmatchIndex(r)
			if m == nil || body == nil {
				continue
			}
			var size int
			fmt.Sscan(r[body[2]:body[3]], &size)
			var flags []string
			for _, f := range strings.Fields(m[1]) {
				if letter, ok := maildirFlags[f]; ok {
					flags = append(flags, letter)
				}
			}
			slices.Sort(flags)
			state[name] = append(state[name], entry(strings.Join(flags, ""), r[body[1]:body[1]+size]))
		}
		slices.Sort(state[name])
	}
	return state
}

// maildirState reads a tree of Maildirs; a mailbox is named by its path below dir.
func maildirState(t *testing.T, dir string) mailState {
	t.Helper()
	state := mailState{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() != "cur" {
			return err
		}
		box := filepath.Dir(path)
		name, err := filepath.Rel(dir, box)
		if err != nil {
			return err
		}
		state[name] = []string{}
		for _, sub := range []string{"cur", "new"} {
			files, err := os.ReadDir(filepath.Join(box, sub))
			if err != nil {
				return err
			}
			for _, f := range files {
				content, err := os.ReadFile(filepath.Join(box, sub, f.Name()))
				if err != nil {
					return err
				}
				_, flags, _ := strings.Cut(f.Name(), ":2,")
				state[name] = append(state[name], entry(flags, string(content)))
			}
		}
		slices.Sort(state[name])
		return filepath.SkipDir
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// equalStates compares two sides. INBOX is compared as one of the others; names of no messages on one side only are not
// looked at when onlyMailboxesOf is given.
func equalStates(t *testing.T, when string, server, local mailState) {
	t.Helper()
	for name := range server {
		if !slices.Equal(server[name], local[name]) {
			t.Errorf("%s, %s differs:\nserver: %v\nlocal: %v", when, name, mailState{name: server[name]}, mailState{name: local[name]})
		}
	}
	for name := range local {
		if _, ok := server[name]; !ok {
			t.Errorf("%s, the server has no mailbox %q", when, name)
		}
	}
}

// maildirFile finds the file of the message with a subject.
func maildirFile(t *testing.T, box, subject string) string {
	t.Helper()
	for _, sub := range []string{"cur", "new"} {
		files, _ := os.ReadDir(filepath.Join(box, sub))
		for _, f := range files {
			path := filepath.Join(box, sub, f.Name())
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), "Subject: "+subject+"\n") {
				return path
			}
		}
	}
	t.Fatalf("no message %q in %s", subject, box)
	return ""
}

// setMaildirFlags renames a message's file as a mail program does.
func setMaildirFlags(t *testing.T, path, flags string) {
	t.Helper()
	name, _, _ := strings.Cut(filepath.Base(path), ":2,")
	to := filepath.Join(filepath.Dir(filepath.Dir(path)), "cur", name+":2,"+flags)
	if err := os.Rename(path, to); err != nil {
		t.Fatal(err)
	}
}

// writeMaildir puts a new message into a Maildir, which is made if it is not there.
func writeMaildir(t *testing.T, box, name, content string) {
	t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(box, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(box, "new", name), []byte(strings.ReplaceAll(content, "\r\n", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fillTree makes a tree of mailboxes with mail and flags on the server.
func fillTree(t *testing.T, s *harness.Server, u harness.User) *harness.Session {
	t.Helper()
	s.Deliver(u, harness.Message(0), harness.Message(1), harness.Message(2))
	c := s.Login(u)
	sep := separator(c)
	for i, name := range []string{"Archive", "Archive" + sep + "2024", "Archive" + sep + "2024" + sep + "Q1", "Gr&APwA3w-e und &U,BTFw-"} {
		c.OK(fmt.Sprintf("CREATE %q", name))
		for n := range 4 {
			c.Append(name, []string{"", `\Seen`, `\Flagged \Seen`, `\Answered \Draft`}[n], []byte(harness.Message(10*(i+1)+n)))
		}
	}
	return c
}

// separator asks for the hierarchy separator.
func separator(c *harness.Session) string {
	return c.Expect(c.OK(`LIST "" ""`), `^\* LIST \([^)]*\) "(.)"`)[1]
}
