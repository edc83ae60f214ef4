//go:build !unix

package bench

import (
	"errors"
	"io/fs"
	"time"
)

// ownCPU is not known here.
func ownCPU() time.Duration { return 0 }

// blocks is not known here: the disk workloads need Options.DiskUsage.
func blocks(fs.FileInfo) (inode, int64, error) { return inode{}, 0, errors.ErrUnsupported }
