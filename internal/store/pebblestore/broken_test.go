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

	"github.com/cockroachdb/pebble/v2"
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

// within waits for f.
func within(limit time.Duration, f func() bool) bool {
	for end := time.Now().Add(limit); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
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

// layer makes a table that overlaps with all others.
func (r *rig) layer() {
	r.Helper()
	r.must(errors.Join(r.s.db.Set([]byte{'!'}, nil, nil), r.s.db.Set([]byte{'~'}, nil, nil), r.s.db.Flush()))
}

// Compactions that meet a damaged table are not repeated without a pause, and neither they nor
// their stacks fill the log.
func TestCompactionsThatFail(t *testing.T) {
	var log countingLog
	o := options(vfs.NewMem())
	o.SweepInterval, o.Logger = time.Hour, slog.New(slog.NewTextHandler(&log, nil))
	s, err := Open(t.Context(), o)
	r := &rig{TB: t, ctx: t.Context(), fs: o.FS, s: s}
	r.must(err)
	// The store reads when it is opened, and what was read is in memory when the tables are damaged. Nobody reads these rows:
	// who compacts them meets the damage.
	for i := range 100 {
		r.must(s.db.Set(fmt.Appendf(nil, "~%d", i), randomBytes(separateFrom-100, uint64(i)), nil))
	}
	r.layer()
	r.must(s.db.Compact(r.ctx, []byte{0}, []byte{0xff}, false)) // down, where each compaction meets it
	r.close()
	s, err = Open(t.Context(), o)
	r.must(err)
	r.s = s
	for _, path := range filesOf(t, o.FS, ".sst") {
		f, err := o.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		r.must(err)
		info, err := f.Stat()
		r.must(err)
		_, err = f.WriteAt(make([]byte, info.Size()), 0)
		r.must(errors.Join(err, f.Close()))
	}
	for range 20 {
		r.layer()
	}
	// That the last one has not failed says nothing: Pebble leaves tables alone for minutes that were damaged, and then
	// merges the newest level within itself.
	if !within(20*time.Second, func() bool { return s.db.Metrics().Compact.FailedCount > 0 }) {
		t.Fatal("no compaction has failed")
	}
	before := s.db.Metrics().Compact.Count
	time.Sleep(300 * time.Millisecond) // so long nothing much happens
	if n := s.db.Metrics().Compact.Count - before; n > 10 {
		t.Errorf("%d compactions in a moment", n)
	}
	_ = s.Close()
	if n := log.lines.Load(); n > 20 || strings.Contains(log.String(), "stack trace") {
		t.Errorf("%d lines in the log:\n%.2000s", n, log.String())
	}
}

// A compaction that another change of the tables has overtaken is neither a failure nor a success.
func TestCancelledCompaction(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	l := r.s.listener()
	cancelled := fmt.Errorf("blob file 000005: %w", pebble.ErrCancelledCompaction)
	ends := map[string]func(error){
		"compaction":                  func(err error) { l.CompactionEnd(pebble.CompactionInfo{Err: err}) },
		"rewrite of a file of values": func(err error) { l.BlobFileRewriteEnd(pebble.BlobFileRewriteInfo{Err: err}) },
	}
	for name, end := range ends {
		r.s.compactor.ended(nil)
		if end(cancelled); r.s.compactor.failing() {
			t.Errorf("a %s that was cancelled counts as a failure", name)
		}
		end(errors.New("broken"))
		if end(cancelled); !r.s.compactor.failing() {
			t.Errorf("a %s that was cancelled counts as a success", name)
		}
	}
	r.s.compactor.ended(nil)
}

// While compactions fail changes are refused before the database makes writers wait for one,
// and are accepted when one has succeeded.
func TestWritersDoNotWaitForCompactions(t *testing.T) {
	r := newRig(t, vfs.NewMem())
	c := r.s.compactor
	pause := func(failures int, resume time.Time) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failures, c.resume = failures, resume
	}
	pause(1, time.Now().Add(time.Hour))
	for r.s.db.Metrics().Levels[0].Sublevels < stopWritesAt*3/4 {
		r.layer()
	}
	if !within(20*time.Second, func() bool { return r.s.writable(false) != nil }) {
		t.Fatal("changes are accepted until the database makes them wait")
	}
	if err := r.s.writable(false); mail.CodeOf(err) != mail.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "merge") {
		t.Errorf("changes are refused with %v", err)
	}
	pause(0, time.Time{})
	c.look()
	if !within(20*time.Second, func() bool { return r.s.writable(false) == nil }) {
		t.Error("changes are not accepted again")
	}
	r.append(r.inbox, newMessage("again", "text"), "")
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
