//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// bigMaildir makes a Maildir of n small messages in two folders, of which every tenth has the same octets.
func bigMaildir(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Maildir")
	folders := []string{dir, filepath.Join(dir, ".Lists.Go")}
	for _, f := range folders {
		for _, d := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(f, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		id := i
		if i%10 == 0 {
			id = 0
		}
		text := fmt.Sprintf("From: a@example.net\r\nSubject: message %d\r\nMessage-ID: <%d@example.net>\r\n\r\n%s\r\n", id, id, strings.Repeat("text ", id%300))
		name := filepath.Join(folders[i%4/3], "cur", fmt.Sprintf("%d.M%d.host:2,S", 1_700_000_000+i, i))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// digests counts the messages of a Maildir by folder and content.
func digests(t *testing.T, dir string) map[string]int {
	t.Helper()
	out := make(map[string]int)
	files, err := filepath.Glob(filepath.Join(dir, "cur", "*"))
	if err == nil {
		var more []string
		more, err = filepath.Glob(filepath.Join(dir, ".*", "cur", "*"))
		files = append(files, more...)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(dir, filepath.Dir(name))
		if err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprintf("%s %x", rel, sha256.Sum256(b))]++
	}
	return out
}

// An import of 20,000 messages that is killed again and again, and the server with it, brings every message once.
func TestImportIsKilled(t *testing.T) {
	harness.OnlyMallard(t)
	const messages, kills = 20_000, 12
	dir := bigMaildir(t, messages)
	s := harness.Start(t, harness.Options{})
	u := s.User("killed", 0)
	args := []string{"import", "--config", s.Config, "--user", u.Name, "--maildir", dir}
	rng := rand.New(rand.NewPCG(7, 7))
	killed := 0
	for n := range kills {
		cmd := exec.Command(harness.Binary(t), args...)
		cmd.Dir, cmd.Env = s.Dir, harness.Environment()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(time.Duration(100+rng.IntN(500)) * time.Millisecond):
			killed++
			if n%3 == 2 { // the command fails by itself then
				s.Kill()
			} else {
				_ = cmd.Process.Kill()
			}
			<-ended
		}
		if n%3 == 2 {
			s.Kill()
			s.Run()
		}
	}
	if killed < 4 {
		t.Errorf("only %d of %d imports were interrupted", killed, kills)
	}
	mustMallard(t, s, "", args[0], "--user", u.Name, "--maildir", dir)
	s.Check()
	out := filepath.Join(t.TempDir(), "out")
	mustMallard(t, s, "", "export", "--user", u.Name, "--maildir", out)
	if want, got := digests(t, dir), digests(t, out); !maps.Equal(want, got) {
		t.Errorf("%d different messages came back, %d went in", len(got), len(want))
	}
}
