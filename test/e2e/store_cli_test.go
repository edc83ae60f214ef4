//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// A mailbox tree goes out as Maildir and as mbox and comes into another account unchanged.
func TestExportAndImport(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("export", 0)
	fillTree(t, s, u)
	before := serverState(t, s, u)
	for _, format := range []string{"maildir", "mbox"} {
		t.Run(format, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			mustMallard(t, s, "", "export", "--user", u.Name, "--"+format, dir)
			to := s.User("import-"+format, 0)
			mustMallard(t, s, "", "import", "--user", to.Name, "--"+format, dir)
			sameMessages(t, before, serverState(t, s, to))
			mustMallard(t, s, "", "import", "--user", to.Name, "--"+format, dir) // resumes: nothing comes twice
			sameMessages(t, before, serverState(t, s, to))
		})
	}
	s.Check()
}

// sameMessages compares the mail of two accounts, by content, without flags.
func sameMessages(t *testing.T, want, got mailState) {
	t.Helper()
	contents := func(messages []string) []string {
		var all []string
		for _, m := range messages {
			_, content, _ := strings.Cut(m, " ")
			all = append(all, content)
		}
		slices.Sort(all)
		return all
	}
	for name := range want {
		if !slices.Equal(contents(want[name]), contents(got[name])) {
			t.Errorf("%s differs:\nwant %v\ngot %v", name, mailState{name: want[name]}, mailState{name: got[name]})
		}
	}
}

// The check is not content with a store in which one octet has changed.
func TestCheckFindsDamage(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("damage", 0)
	for n := range 30 {
		s.Deliver(u, harness.Message(n))
	}
	s.Check() // while the server runs
	s.Stop()
	s.Check()
	damaged := 0
	err := filepath.WalkDir(filepath.Join(s.Dir, "data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || damaged > 0 {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() < 30_000 {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 0x40
		damaged++
		t.Logf("an octet changed in the middle of %s (%d octets)", path, len(b))
		return os.WriteFile(path, b, info.Mode())
	})
	if err != nil || damaged == 0 {
		t.Fatalf("nothing to damage: %v", err)
	}
	if r := mallard(t, s, "", "check"); r.Status == 0 {
		t.Errorf("mallard check found nothing:\n%s%s", r.Out, r.Err)
	}
}

// Without a file of its database the store is not opened: the error names the file and what to do.
func TestMissingFileOfTheDatabase(t *testing.T) {
	harness.OnlyMallard(t)
	s := harness.Start(t, harness.Options{})
	u := s.User("missing", 0)
	for n := range 30 {
		s.Deliver(u, harness.Message(n))
	}
	s.Stop()
	s.Run() // what was in the log is in tables now
	s.Stop()
	for _, kind := range []string{"*.sst", "*.blob"} {
		files, err := filepath.Glob(filepath.Join(s.Dir, "data", "db", kind))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s: %v", kind, err)
		}
		if err := os.Rename(files[0], files[0]+".away"); err != nil {
			t.Fatal(err)
		}
		number := strings.TrimSuffix(filepath.Base(files[0]), kind[1:])
		for _, command := range []string{"check", "serve"} {
			r := mallard(t, s, "", command)
			if r.Status != 1 || !strings.Contains(r.Err, number) || !strings.Contains(r.Err, "from a backup") || strings.Contains(r.Err, "goroutine") {
				t.Errorf("%s without %s ended with status %d: %s", command, files[0], r.Status, r.Err)
			}
		}
		if err := os.Rename(files[0]+".away", files[0]); err != nil {
			t.Fatal(err)
		}
	}
	s.Check()
}

// The demonstration is one command on a machine with nothing but the binary; ports come from the environment here.
func TestDemo(t *testing.T) {
	harness.OnlyMallard(t)
	d := harness.StartDemo(t)
	harness.Until(20*time.Second, func() bool { return strings.Contains(d.Log(), "curl ") })
	out := d.Log()
	for _, want := range []string{"curl", d.IMAP[strings.IndexByte(d.IMAP, ':'):]} {
		if !strings.Contains(out, want) {
			t.Errorf("the demonstration does not say %q:\n%s", want, out)
		}
	}
	command := ""
	for line := range strings.Lines(out) {
		if l := strings.TrimSpace(line); strings.HasPrefix(l, "curl ") {
			command = l
			break
		}
	}
	harness.Need(t, "curl", "curl")
	r := harness.Command{Program: "sh", Args: []string{"-c", command}}.Run(t)
	if r.Status != 0 || r.Out == "" {
		t.Errorf("the printed command %q ended with status %d: %s%s", command, r.Status, r.Out, r.Err)
	}
	d.Stop()
	if _, err := os.Stat(filepath.Join(d.Dir, "mallard-data")); err != nil {
		t.Errorf("no data where it was promised: %v", err)
	}
}
