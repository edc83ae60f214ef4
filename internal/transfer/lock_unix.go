//go:build unix && !solaris && !aix

package transfer

import (
	"os"
	"syscall"
)

// lockFile takes the lock on a file, which goes away with the process.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
