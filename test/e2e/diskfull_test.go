//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// On a disk that is full deliveries are put off with 4xx, what was acknowledged stays, reading goes on, and once
// there is room again mail comes in again.
func TestDiskFull(t *testing.T) {
	harness.OnlyMallard(t)
	dir := smallDisk(t)
	s := harness.Start(t, harness.Options{Dir: dir})
	u := s.User("full", 1<<40)
	s.Deliver(u, harness.Message(1))

	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	var acked []string
	refused := ""
	for n := 3; n < 3000 && refused == ""; n += 3 {
		sender, err := harness.NewSender(s.LMTP)
		if err != nil {
			t.Fatalf("connect with a full disk: %v\n%s", err, s.Log())
		}
		if err := sender.Send("a@example.net", u.Address, harness.Message(n)); err != nil {
			refused = err.Error()
		} else {
			acked = append(acked, harness.Message(n))
		}
		sender.Close()
	}
	if !regexp.MustCompile(`^45[12] "?4\.`).MatchString(refused) {
		t.Errorf("a full disk was answered with %q, want 451 or 452", refused)
	}
	checkAcked(t, s, u, acked, "with a full disk")

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	again := harness.Message(5000)
	var last error
	if !harness.Until(30*time.Second, func() bool {
		select {
		case <-s.Done():
			s.Run() // a server that ends on a failed fsync and is started again is right, too
		default:
		}
		sender, err := harness.NewSender(s.LMTP)
		if err != nil {
			last = err
			return false
		}
		defer sender.Close()
		last = sender.Send("a@example.net", u.Address, again)
		return last == nil
	}) {
		t.Fatalf("there is room again, but: %v\n%s", last, s.Log())
	}
	checkAcked(t, s, u, append(acked, again), "with room again")
	s.Stop()
	s.Check()
}

// smallDisk mounts a disk of 160 MiB until the test ends.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		harness.Missing(t, "mounting a small disk needs root")
	}
	dir = t.TempDir()
	if r := (harness.Command{Program: "mount", Args: []string{"-t", "tmpfs", "-o", "size=160m", "mallard-e2e", dir}}).Run(t); r.Status != 0 {
		harness.Missing(t, "cannot mount a small disk: %s", r.Err)
	}
	t.Cleanup(func() { harness.Command{Program: "umount", Args: []string{"-l", dir}}.Run(t) })
	return dir
}

// On a disk that cannot be written to the server does not start, and says why; afterwards all is as it was.
func TestReadOnlyDisk(t *testing.T) {
	harness.OnlyMallard(t)
	dir := smallDisk(t)
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Dir: dir})
	u := s.User("fixed", 0)
	s.Deliver(u, harness.Message(1))
	s.Stop()
	harness.Command{Program: "mount", Args: []string{"--bind", data, data}}.Must(t)
	t.Cleanup(func() { harness.Command{Program: "umount", Args: []string{"-l", data}}.Run(t) })
	harness.Command{Program: "mount", Args: []string{"-o", "remount,ro,bind", data}}.Must(t)
	r := mallard(t, s, "", "serve")
	if r.Status != 1 || !strings.Contains(r.Err, "cannot write to its disk") || strings.Contains(r.Err, "goroutine") {
		t.Errorf("a server on a read-only disk ended with status %d: %s", r.Status, r.Err)
	}
	for _, args := range [][]string{{"check"}, {"export", "--user", u.Name, "--maildir", filepath.Join(dir, "export")}} {
		if r := mallard(t, s, "", args...); r.Status != 0 {
			t.Errorf("%s on a read-only disk: status %d: %s%s", args[0], r.Status, r.Out, r.Err)
		}
	}
	harness.Command{Program: "mount", Args: []string{"-o", "remount,rw,bind", data}}.Must(t)
	s.Run()
	s.Deliver(u, harness.Message(2))
	checkAcked(t, s, u, []string{harness.Message(2)}, "after the disk was read-only")
	s.Stop()
	s.Check()
}

func fillDisk(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for range 1000 {
		if _, err := f.Write(block); err != nil {
			return // full
		}
	}
	t.Fatal("the disk is not small")
}

// checkAcked looks for all messages that were acknowledged; there may be others that were not.
func checkAcked(t *testing.T, s *harness.Server, u harness.User, acked []string, when string) {
	t.Helper()
	have := map[string]bool{}
	for _, m := range s.Login(u).Messages("INBOX") {
		have[harness.Undelivered(m)] = true
	}
	for _, m := range append(acked, harness.Message(1)) {
		if !have[m] {
			t.Errorf("%s an acknowledged message is not there: %.200q", when, m)
		}
	}
}
