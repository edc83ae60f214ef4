//go:build unix

package bench

import (
	"errors"
	"io/fs"
	"syscall"
	"time"
)

// ownCPU is the time that this process has used.
func ownCPU() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// blocks gives the disk space that a file takes.
func blocks(info fs.FileInfo) (inode, int64, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, 0, errors.ErrUnsupported
	}
	return inode{uint64(st.Dev), uint64(st.Ino)}, int64(st.Blocks) * 512, nil
}
