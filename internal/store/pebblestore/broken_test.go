package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
)

// filesOf returns the paths of the database's files with an ending.
func filesOf(t *testing.T, fs vfs.FS, ending string) (paths []string) {
	t.Helper()
	names, err := fs.List("/mail/db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ending) {
			paths = append(paths, fs.PathJoin("/mail/db", name))
		}
	}
	if len(paths) == 0 {
		t.Fatalf("there are no files *%s", ending)
	}
	return paths
}

// A file of values that is missing is named, also where another one is in its place that
// nothing refers to; with an empty file in its place the store opens without what was in it.
func TestMissingBlobIsNamed(t *testing.T) {
	mem, _ := onDisk(t)
	path := filesOf(t, mem, ".blob")[0]
	disk := crashed(mem, 100, 1)
	if err := errors.Join(disk.Remove(path), writeFile(disk, "/mail/db/000001.blob", []byte("left over"))); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), options(disk))
	if mail.CodeOf(err) != mail.CodeCorrupt || !strings.Contains(fmt.Sprint(err), disk.PathBase(path)) || !strings.Contains(fmt.Sprint(err), "from a backup") {
		t.Fatalf("a missing file %s: %v", path, err)
	}
	if err := writeFile(disk, path, nil); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), options(disk))
	if err != nil {
		t.Fatalf("with an empty file in its place: %v", err)
	}
	r := &rig{TB: t, ctx: t.Context(), fs: disk, s: s}
	defer r.close()
	if problems := r.check(); !strings.Contains(strings.Join(problems, "\n"), disk.PathBase(path)) {
		t.Errorf("the check does not name %s: %q", path, problems)
	}
}

// Tables that are cut while the store is open, whether they were read before or not: readers
// are told of damage with the name of the file, and the check goes on to its end.
func TestTablesCutUnderneath(t *testing.T) {
	mem, _ := onDisk(t)
	s, err := Open(t.Context(), options(mem))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, ctx: t.Context(), fs: mem, s: s}
	for _, path := range filesOf(t, mem, ".sst") {
		f, err := s.guard.Open(path)
		r.must(err)
		_, err = f.ReadAt(make([]byte, 100), 1<<20)
		if !isDamage(err) || !strings.Contains(fmt.Sprint(err), path) {
			t.Errorf("a file that was open and is too short: %v", err)
		}
		r.must(f.Close())
		r.must(cutFile(mem, path, 100))
	}
	if problems := r.check(); !strings.Contains(strings.Join(problems, "\n"), ".sst") {
		t.Errorf("the check says %q", problems)
	}
	_ = s.Close() // it may say that it is damaged
}

// A log that is gone when Pebble wants to use it again stops the store and not the process.
func TestLogRemovedUnderneath(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	fill := func() (err error) {
		for i := 0; i < 40 && err == nil; i++ {
			_, err = r.tryAppend(r.inbox, newMessage("one", "x", randomBytes(60<<10, uint64(i))), "")
			if err == nil && i%10 == 9 {
				_, err = r.s.db.AsyncFlush() // to wait for it would be for ever when the store has stopped
			}
		}
		return err
	}
	r.must(fill())
	for _, path := range filesOf(t, r.fs, ".log") {
		r.must(r.fs.Remove(path))
	}
	if err := fill(); mail.CodeOf(err) != mail.CodeUnavailable {
		t.Errorf("after the logs were removed: %v", err)
	}
	if err := r.s.Close(); err == nil {
		t.Error("the store closes as if all were well")
	}
	r.s = nil
}

// countingLog counts the lines with a text.
type countingLog struct {
	bytes.Buffer
	lines atomic.Int64
}

func (c *countingLog) Write(p []byte) (int, error) {
	c.lines.Add(1)
	return c.Buffer.Write(p)
}

// A table that is damaged makes every compaction fail. They are not repeated without a pause, the
// log does not fill, and when the database would make writers wait changes are refused.
func TestCompactionsThatFail(t *testing.T) {
	var log countingLog
	o := options(vfs.NewMem())
	o.SweepInterval = time.Hour
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), fs: o.FS, s: s}
	r.must(err)
	layer := func() error { // a table that overlaps with all others
		return errors.Join(s.db.Set([]byte{'!'}, nil, nil), s.db.Set([]byte{'~'}, nil, nil), s.db.Flush())
	}
	r.must(errors.Join(layer(), layer()))
	r.close()
	s, err = Open(t.Context(), o)
	r.must(err)
	log.lines.Store(0)
	for _, path := range filesOf(t, o.FS, ".sst") {
		f, err := o.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		r.must(err)
		_, err = f.WriteAt(make([]byte, 200), 0)
		r.must(errors.Join(err, f.Close()))
	}
	refused := make(chan error, 1)
	go func() {
		for range 3 * stopWritesAt {
			if err := s.writable(true); err != nil {
				refused <- err
				return
			}
			if err := layer(); err != nil {
				refused <- err
				return
			}
		}
		refused <- nil
	}()
	select {
	case err := <-refused:
		if mail.CodeOf(err) != mail.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "merge") {
			t.Errorf("changes beside compactions that fail: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a writer waits for compactions that fail")
	}
	if n := log.lines.Load(); n > 20 {
		t.Errorf("%d lines in the log:\n%.2000s", n, log.String())
	}
	if strings.Contains(log.String(), "stack trace") {
		t.Errorf("stacks in the log:\n%.2000s", log.String())
	}
	_ = s.Close()
}

// When the database says that it cannot go on, the process is ended in order, without a stack.
func TestFatal(t *testing.T) {
	var log bytes.Buffer
	got := ""
	l := pebbleLogger{slog.New(slog.NewTextHandler(&log, nil)), func(text string) { got = text }}
	l.Fatalf("%+v", errors.New("no log\n(1) attached stack trace\n  | main"))
	if got != "no log" || strings.Contains(log.String(), "attached stack") || !strings.Contains(log.String(), "no log") {
		t.Errorf("%q, log %q", got, log.String())
	}
}
