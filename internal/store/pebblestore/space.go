package pebblestore

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space watches how much of the disk is free, so that the store refuses mail
// while it still can write what it has promised.
type space struct {
	fs   vfs.FS
	dir  string
	min  int64 // negative: never look
	now  func() time.Time
	next atomic.Int64 // when to look again, Unix nanoseconds
	free atomic.Uint64
	seen atomic.Bool // free is known
}

// spaceInterval is how long one look is good for.
const spaceInterval = time.Second

// check returns an error when too little is free for a change; room is set for
// changes that take much.
func (s *space) check(room bool) error {
	if s.min < 0 {
		return nil
	}
	now := s.now().UnixNano()
	if next := s.next.Load(); now >= next && s.next.CompareAndSwap(next, now+int64(spaceInterval)) {
		usage, err := s.fs.GetDiskUsage(s.dir)
		s.seen.Store(err == nil)
		s.free.Store(usage.AvailBytes)
	}
	need := uint64(s.min)
	if !room {
		need /= 4
	}
	if free := s.free.Load(); s.seen.Load() && free < need {
		return diskError(fmt.Sprintf("%d octets are free on the disk of %s, %d are kept", free, s.dir, need), syscall.ENOSPC)
	}
	return nil
}
