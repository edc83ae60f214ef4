//go:build unix

package pebblestore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// noLocks is a disk that is read-only.
type noLocks struct{ vfs.FS }

func (noLocks) Lock(name string) (io.Closer, error) {
	return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EROFS}
}

// readOnlyDisk is what a store that only reads locks its files on.
var readOnlyDisk = readOnlyFS{noLocks{vfs.Default}}

// lockKind, in the environment, makes the test binary another process that takes a lock, one
// to write or to read; lockName says of which file.
const (
	lockKind, lockName = "MALLARD_TEST_LOCK_KIND", "MALLARD_TEST_LOCK_NAME"
	toRead, toWrite    = "read", "write"
)

// lockHere takes a lock, says on the standard output whether it got it, and keeps it until the
// standard input ends.
func lockHere(t *testing.T, kind, name string) {
	fs := vfs.FS(readOnlyDisk)
	if kind == toWrite {
		fs = vfs.Default
	}
	l, err := fs.Lock(name)
	if err != nil {
		fmt.Fprintln(os.Stdout, "refused:", err)
		return
	}
	fmt.Fprintln(os.Stdout, "locked")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// lockElsewhere has another process take a lock and reports whether it has it. It gives the
// lock back when it is released.
func lockElsewhere(t *testing.T, kind, name string) (locked bool, release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestReadOnlyDiskIsLocked$")
	cmd.Env = append(os.Environ(), lockKind+"="+kind, lockName+"="+name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	answer, err := lines.ReadString('\n')
	if err != nil {
		t.Errorf("the other process says %q: %v", answer, err)
	}
	return answer == "locked\n", func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, lines)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
	}
}

// Locks of a process never keep it from taking them again, so the other one is a process.
func TestReadOnlyDiskIsLocked(t *testing.T) {
	if kind := os.Getenv(lockKind); kind != "" {
		lockHere(t, kind, os.Getenv(lockName))
		return
	}
	name := filepath.Join(t.TempDir(), "LOCK")
	if _, err := readOnlyDisk.Lock(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a lock file that is not there: %v", err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	locked, release := lockElsewhere(t, toWrite, name)
	if !locked {
		t.Error("a store cannot be opened for writing")
	}
	if l, err := readOnlyDisk.Lock(name); err == nil {
		_ = l.Close()
		t.Error("a store is read while another process writes")
	}
	release()

	l, err := readOnlyDisk.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]bool{toRead: true, toWrite: false} { // several may read
		locked, release := lockElsewhere(t, kind, name)
		if release(); locked != want {
			t.Errorf("while a store is read another process can lock it to %s: %v", kind, locked)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if locked, release = lockElsewhere(t, toWrite, name); !locked {
		t.Error("the lock outlives the store that was read")
	}
	release()
}
