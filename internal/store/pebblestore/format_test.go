package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"mallard/internal/store"
	"mallard/internal/store/storetest"
)

// upgradeKey is where a migration of these tests notes its work.
func upgradeKey(from int) []byte { return recordKey("upgrade", fmt.Sprint(from)) }

func upgradeRow(from, i int) []byte { return recordKey("upgrade", fmt.Sprint(from, " ", i)) }

// testMigrations lead from version 1 to version to. Each adds to a row for every
// account, in several batches, and can run again.
func testMigrations(to int) map[int]migration {
	steps := map[int]migration{}
	for from := 1; from < to; from++ {
		steps[from] = func(_ context.Context, s *Store) error {
			if from > 1 {
				if done, err := s.has(upgradeKey(from - 1)); err != nil || !done {
					return fmt.Errorf("step %d comes before step %d has ended: %w", from, from-1, err)
				}
			}
			for i := range 3 {
				if err := s.db.Set(upgradeRow(from, i), []byte("new"), pebble.NoSync); err != nil {
					return err
				}
			}
			return s.db.Set(upgradeKey(from), nil, pebble.NoSync)
		}
	}
	return steps
}

// upgradedTo fails unless the store is whole and every step of an upgrade was done.
func (r *rig) upgradedTo(version int) error {
	for from := 1; from < version; from++ {
		for _, key := range [][]byte{upgradeKey(from), upgradeRow(from, 2)} {
			if done, err := r.s.has(key); err != nil || !done {
				return fmt.Errorf("step %d was not done: %x is missing (%w)", from, key, err)
			}
		}
	}
	if v, err := r.s.readFormat(); err != nil || v != version {
		return fmt.Errorf("the format is version %d, want %d (%w)", v, version, err)
	}
	b, err := r.s.Open(r.ctx, r.acct, r.inbox, 1)
	if err != nil {
		return err
	}
	return b.Close()
}

// upgradable is a closed store of version 1 with a message.
func upgradable(t *testing.T) (*rig, *vfs.MemFS) { return closedStore(t, 1) }

// closedStore is a closed store of a version with a message.
func closedStore(t *testing.T, version int) (*rig, *vfs.MemFS) {
	mem := vfs.NewCrashableMem()
	r := &rig{TB: t, ctx: context.Background(), fs: mem}
	o := options(mem)
	o.version = version
	s, err := Open(r.ctx, o)
	r.must(err)
	r.s = s
	r.createAccount("user")
	r.append(r.inbox, newMessage("old", "text", randomBytes(200<<10, 1)), "")
	r.close()
	return r, mem
}

func TestUpgradeStepByStep(t *testing.T) {
	r, mem := upgradable(t)
	for version := 1; version <= 4; version += 3 {
		o := options(mem)
		o.version, o.migrations = version, testMigrations(version)
		s, err := Open(r.ctx, o)
		r.must(err)
		r.s = s
		r.must(r.upgradedTo(version))
		r.close()
	}
	// It is of version 4 now: this program does not know that.
	for _, readOnly := range []bool{false, true} {
		o := options(mem)
		o.ReadOnly = readOnly
		_, err := Open(r.ctx, o)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("its format is version 4, this program knows up to %d: it was written by a newer version", formatVersion)) {
			t.Errorf("a newer store, read only %v: %v", readOnly, err)
		}
	}
}

// The power is cut before each operation on the disk of an upgrade; the next start
// goes on, also when it is interrupted again.
func TestUpgradeInterruptedAnywhere(t *testing.T) {
	const version = 3
	r, mem := upgradable(t)
	var cut func(base *vfs.MemFS, depth int)
	crashes := 0
	cut = func(base *vfs.MemFS, depth int) {
		d := &memDisk{mem: base}
		var clones []*vfs.MemFS
		n := 0
		var mu sync.Mutex // the database writes from several goroutines
		hook := func(op storetest.FileOp) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; (op.Write || op.Sync) && (depth == 0 || n%19 == 0) {
				clones = append(clones, crashed(base, []int{0, 50, 100}[n%3], uint64(n)))
			}
			return nil
		}
		d.hook.Store(&hook)
		o := options(errorfs.Wrap(base, d))
		o.version, o.migrations, o.SweepInterval = version, testMigrations(version), 1<<40
		s, err := Open(r.ctx, o)
		d.hook.Store(nil)
		if err != nil {
			t.Fatalf("crash %d: %v", crashes, err)
		}
		up := &rig{TB: t, ctx: r.ctx, fs: base, s: s, acct: r.acct, inbox: r.inbox}
		if err := up.upgradedTo(version); err != nil {
			t.Fatalf("crash %d: %v", crashes, err)
		}
		if depth > 0 {
			if p := up.check(); len(p) > 0 {
				t.Fatalf("crash %d: %q", crashes, p)
			}
		}
		up.close()
		for _, c := range clones {
			crashes++
			if depth < 2 {
				cut(c, depth+1)
			}
		}
	}
	cut(mem, 0)
	if crashes < 30 {
		t.Errorf("only %d crashes", crashes)
	}
	t.Logf("%d crashes", crashes)
}

// A step that fails ends the opening, says which it was, and leaves the version.
func TestUpgradeFails(t *testing.T) {
	broken := errors.New("broken")
	r, mem := upgradable(t)
	o := options(mem)
	o.version, o.migrations = 3, testMigrations(3)
	o.migrations[2] = func(context.Context, *Store) error { return broken }
	_, err := Open(r.ctx, o)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "upgrade from version 2") {
		t.Errorf("a step that fails: %v", err)
	}
	delete(o.migrations, 2)
	if _, err := Open(r.ctx, o); err == nil || !strings.Contains(err.Error(), "its format is version 2, which this program cannot upgrade") {
		t.Errorf("a step that is missing: %v", err)
	}
	o.ReadOnly = true
	if _, err := Open(r.ctx, o); err == nil || !strings.Contains(err.Error(), "its format is version 2: it must be opened for writing once, to bring it to version 3") {
		t.Errorf("read only: %v", err)
	}
	o.ReadOnly, o.migrations = false, testMigrations(3)
	if r.s, err = Open(r.ctx, o); err != nil {
		t.Fatal(err)
	}
	r.must(r.upgradedTo(3))
}

// A version is not raised when the disk refused what the step wrote.
func TestUpgradeOnABrokenDisk(t *testing.T) {
	r, mem := upgradable(t)
	d := &memDisk{mem: mem}
	o := options(errorfs.Wrap(mem, d))
	o.version, o.migrations = 2, testMigrations(2)
	step := o.migrations[1]
	o.migrations[1] = func(ctx context.Context, s *Store) error {
		hook := func(op storetest.FileOp) error {
			if op.Sync && strings.Contains(op.Name, ".log") {
				return syscall.EIO
			}
			return nil
		}
		d.hook.Store(&hook)
		return step(ctx, s)
	}
	_, err := Open(r.ctx, o)
	d.hook.Store(nil)
	if !errors.Is(err, syscall.EIO) || !errors.Is(err, store.ErrClosed) {
		t.Errorf("opening: %v", err)
	}
	o = options(mem)
	o.version, o.migrations = 2, testMigrations(2)
	if r.s, err = Open(r.ctx, o); err != nil {
		t.Fatal(err)
	}
	r.must(r.upgradedTo(2))
}

// rawDatabase opens the database of a closed store.
func rawDatabase(fs vfs.FS, f func(*pebble.DB) error) error {
	db, err := pebble.Open("/mail/db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatValueSeparation, Logger: pebbleLogger{slog.New(slog.DiscardHandler), nil}})
	if err != nil {
		return err
	}
	return errors.Join(f(db), db.Close())
}

// What is not a store, or not a whole one, is refused with a reason and left alone.
func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		damage     func(r *rig, fs vfs.FS) error
	}{
		{"no database", "database", func(_ *rig, fs vfs.FS) error { return fs.RemoveAll("/mail/db") }},
		{"no format", "no file FORMAT", func(_ *rig, fs vfs.FS) error { return fs.Remove("/mail/FORMAT") }},
		{"format of another", "does not tell the version", func(_ *rig, fs vfs.FS) error {
			return writeFile(fs, "/mail/FORMAT", []byte("another program 1\n"))
		}},
		{"format zero", "does not tell the version", func(_ *rig, fs vfs.FS) error {
			return writeFile(fs, "/mail/FORMAT", []byte(formatMagic+"0\n"))
		}},
		{"no record of runs", errNoRuns.Error(), func(r *rig, _ vfs.FS) error {
			return rawDatabase(r.fs, func(db *pebble.DB) error { return db.Delete([]byte{tabMeta}, pebble.Sync) })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, mem := closedStore(t, formatVersion)
			r.must(tt.damage(r, mem))
			for _, readOnly := range []bool{true, false} {
				o := options(mem)
				o.ReadOnly = readOnly
				_, err := Open(r.ctx, o)
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "/mail") {
					t.Errorf("read only %v: %v", readOnly, err)
				}
			}
		})
	}
	o := options(vfs.NewMem())
	o.ReadOnly = true
	if _, err := Open(context.Background(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}
