package pebblestore

import (
	"errors"
	"io"
	"os"
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

func TestReadOnlyDiskIsLocked(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	fs := readOnlyFS{noLocks{vfs.Default}}
	if _, err := fs.Lock(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a lock file that is not there: %v", err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // several may read
		l, err := fs.Lock(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
}
