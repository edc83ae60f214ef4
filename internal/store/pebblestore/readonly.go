package pebblestore

import (
	"errors"
	"io"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// readOnlyFS is for stores that are open for reading only. It locks files also on a disk
// that takes no writes, such as a snapshot or one that the kernel no longer trusts.
type readOnlyFS struct{ vfs.FS }

// Unwrap returns the file system below.
func (r readOnlyFS) Unwrap() vfs.FS { return r.FS }

// Lock locks a file against those who write. vfs.FS.Lock makes the file, which a disk
// that is read-only refuses; it must be there then, and a lock for reading is taken,
// which fails like the other when a process has the store open through another mount.
func (r readOnlyFS) Lock(name string) (io.Closer, error) {
	c, err := r.FS.Lock(name)
	if !errors.Is(err, syscall.EROFS) {
		return c, err
	}
	f, err := r.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if err := lockForReading(f.Fd()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
