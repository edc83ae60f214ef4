package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// An inode names a file on this machine.
type inode struct{ dev, ino uint64 }

// allocated sums the blocks of all files below dir, as du does; a file with several names counts once.
func allocated(dir string) (int64, error) {
	seen := map[inode]bool{}
	var total int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				id, bytes, err := blocks(info)
				if err == nil && !seen[id] {
					seen[id] = true
					total += bytes
				}
				return err
			}
		}
		if errors.Is(err, os.ErrNotExist) { // the server works on
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("disk usage of %s: %w", dir, err)
	}
	return total, nil
}

func (s *session) diskUsage(ctx context.Context) (int64, error) {
	if s.o.DiskUsage != nil {
		return s.o.DiskUsage(ctx)
	}
	return allocated(s.o.DiskPath)
}

// settledDiskUsage waits until the server has written what it holds back.
func (s *session) settledDiskUsage(ctx context.Context) (int64, error) {
	if s.o.Settle != nil {
		if err := s.o.Settle(ctx); err != nil {
			return 0, fmt.Errorf("settle the server: %w", err)
		}
		return s.diskUsage(ctx)
	}
	const quiet, limit, step = 2 * time.Second, time.Minute, 200 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	start, since, last := time.Now(), time.Now(), int64(-1)
	for {
		now, err := s.diskUsage(ctx)
		if err != nil {
			return 0, err
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) >= quiet || time.Since(start) >= limit {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}
