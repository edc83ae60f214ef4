//go:build unix

package pebblestore

import (
	"io"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lockForReading locks a file, of which fd is open for reading, until it is closed.
func lockForReading(fd uintptr) error {
	if fd == vfs.InvalidFd {
		return nil
	}
	return syscall.FcntlFlock(fd, syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart})
}
