package migrate_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mallard/internal/draft"
	"mallard/internal/migrate"
	"mallard/internal/store/pebblestore"
)

// childEnv makes the test's program a migration: the directories of source and target.
const childEnv = "MALLARD_TEST_MIGRATE"

// runChild migrates in a process that a test kills.
func runChild() bool {
	from, to, ok := strings.Cut(os.Getenv(childEnv), "|")
	if !ok {
		return false
	}
	if err := migrateDirs(from, to); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func migrateDirs(fromDir, toDir string) error {
	ctx := context.Background()
	o := pebblestore.Options{Dir: fromDir, CacheSize: 8 << 20, MemTableSize: 4 << 20, MinFree: -1, ReadOnly: true}
	from, err := pebblestore.Open(ctx, o)
	if err != nil {
		return err
	}
	defer from.Close()
	o.Dir, o.ReadOnly = toDir, false
	to, err := pebblestore.Open(ctx, o)
	if err != nil {
		return err
	}
	defer to.Close()
	_, err = migrate.Run(ctx, migrate.Options{
		From: from, To: to, Name: "here", Receiver: draft.New(draft.Options{}), Workers: 2, Batch: 4, Window: 50,
		Problem: func(where, text string) { fmt.Fprintln(os.Stderr, where, text) },
		// A slow disk: there is time to be killed in the middle.
		Progress: func(migrate.Progress) { time.Sleep(time.Millisecond) },
	})
	return err
}

// A migration that is killed at any moment goes on when it is started again, and nothing
// of it is lost, doubled or left half.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	fromDir, toDir := t.TempDir(), t.TempDir()
	from := openPebble(t, fromDir, false)
	w := newWorld(t, from, 5)
	for range 4 {
		for _, acct := range w.accounts {
			w.live(acct)
		}
	}
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	killed, done, after := 0, false, 20*time.Millisecond
	for i := 0; i < 30 && !done; i++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+fromDir+"|"+toDir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		after += after / 4 // on a slow machine it needs longer
		err := cmd.Wait()
		kill.Stop()
		switch {
		case err == nil:
			done = true
		case strings.Contains(err.Error(), "killed"):
			killed++
		default:
			t.Fatal(err)
		}
	}
	if !done || killed < 3 {
		t.Fatalf("done: %v after %d kills", done, killed)
	}
	source, target := openPebble(t, fromDir, true), openPebble(t, toDir, false)
	defer source.Close()
	defer target.Close()
	w.s = source
	r := w.to(target)
	r.o.Final = true
	if report := r.clean(); report.Copied+report.Removed != 0 {
		t.Errorf("the last start left something to do: %+v", report)
	}
	if n := r.same(); n < 50 {
		t.Errorf("only %d messages", n)
	}
	check(t, target)
}
