package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"mallard/internal/store"
	"mallard/internal/store/storetest"
)

// memDisk is a disk in memory that can crash and fail.
type memDisk struct {
	mem  *vfs.MemFS
	hook atomic.Pointer[func(storetest.FileOp) error]
}

func (d *memDisk) MaybeError(op errorfs.Op) error {
	hook := d.hook.Load()
	if hook == nil {
		return nil
	}
	sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	return (*hook)(storetest.FileOp{
		Write: op.Kind.ReadOrWrite() == errorfs.OpIsWrite, Sync: sync, Name: fmt.Sprintf("%s(%s)", kindName(op.Kind), op.Path),
	})
}

func (d *memDisk) String() string { return "memDisk" }

func kindName(k errorfs.OpKind) string {
	names := map[errorfs.OpKind]string{
		errorfs.OpCreate: "create", errorfs.OpRemove: "remove", errorfs.OpRename: "rename", errorfs.OpOpen: "open",
		errorfs.OpOpenDir: "opendir", errorfs.OpFileWrite: "write", errorfs.OpFileSync: "sync", errorfs.OpFileSyncData: "syncdata",
		errorfs.OpFileSyncTo: "syncto", errorfs.OpFileClose: "close", errorfs.OpMkdirAll: "mkdir", errorfs.OpReuseForWrite: "reuse",
		errorfs.OpFileReadAt: "readat", errorfs.OpFileRead: "read", errorfs.OpStat: "stat", errorfs.OpList: "list", errorfs.OpLock: "lock",
		errorfs.OpFileStat: "filestat", errorfs.OpFilePreallocate: "preallocate", errorfs.OpLink: "link",
	}
	if n, ok := names[k]; ok {
		return n
	}
	return fmt.Sprint(int(k))
}

func newMemDisk(mem *vfs.MemFS) *storetest.Disk {
	d := &memDisk{mem: mem}
	fs := errorfs.Wrap(mem, d)
	return &storetest.Disk{
		Open: func() (store.Store, error) {
			o := options(fs)
			o.Logger = slog.New(slog.DiscardHandler)
			s, err := Open(context.Background(), o)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Crash: func(percent int, seed uint64) *storetest.Disk {
			return newMemDisk(crashed(mem, percent, seed))
		},
		Intercept: func(hook func(storetest.FileOp) error) {
			if hook == nil {
				d.hook.Store(nil)
				return
			}
			d.hook.Store(&hook)
		},
	}
}

// crashed is the disk as a power cut may leave it now. MemFS takes back every removal
// whose directory was not synced; a real disk may have done it already. It keeps the
// order of the changes of a directory: no removal without what was made before it.
func crashed(mem *vfs.MemFS, percent int, seed uint64) *vfs.MemFS {
	rng := rand.New(rand.NewPCG(seed, uint64(percent)))
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	removeGone(mem, clone, "/", func() bool { return rng.IntN(100) < percent })
	return clone
}

func removeGone(mem, clone *vfs.MemFS, dir string, coin func() bool) {
	names, err := clone.List(dir)
	if err != nil {
		return // a file
	}
	now, _ := mem.List(dir)
	whole := !slices.ContainsFunc(now, func(name string) bool { return !slices.Contains(names, name) })
	if whole = whole && coin(); !whole {
		now = names
	}
	for _, name := range names {
		path := clone.PathJoin(dir, name)
		removeGone(mem, clone, path, coin)
		if !slices.Contains(now, name) {
			_ = clone.Remove(path) // a directory that is not empty stays
		}
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Engine{
		Name:     "pebble",
		New:      func(testing.TB) *storetest.Disk { return newMemDisk(vfs.NewCrashableMem()) },
		Maintain: maintain,
		Check: func(ctx context.Context, s store.Store) error {
			var problems []error
			_, err := s.(*Store).Check(ctx, CheckOptions{Problem: func(where, text string) {
				problems = append(problems, fmt.Errorf("%s: %s", where, text))
			}})
			return errors.Join(append(problems, err)...)
		},
	})
}
