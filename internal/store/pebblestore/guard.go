package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// guardFS stands between Pebble and the disk. Pebble ends the process when it
// cannot write its log or its manifest. That is right in so far as nothing may be
// trusted afterwards, but it would take the connections and the reason along. So
// the guard freezes the disk instead, at the first such error:
//
//   - the error is kept, and every change that waits for the disk or comes later
//     fails with it (see Store.commit);
//   - from then on nothing on the disk is written, renamed or removed: what the
//     next start finds is what a crash at that moment would have left;
//   - Pebble is told that its writes succeeded, so that it neither panics nor
//     holds locks for ever and goes on to answer reads.
//
// Failures to write tables (flush, compaction) are no reason to freeze: Pebble
// tries again, and Store.degraded refuses changes meanwhile.
type guardFS struct {
	vfs.FS
	frozen atomic.Pointer[frozenError]
	// lastRead is the path of the file that was opened for reading last: Pebble does not
	// say which file was damaged when it cannot open a database.
	lastRead atomic.Pointer[string]
	onFail   func(error)
	stop     chan struct{} // closed when the store is closed
}

type frozenError struct{ err error }

// throttle is how long a frozen guard makes Pebble wait before it refuses a table,
// because Pebble repeats a failed flush at once and for ever.
const throttle = 250 * time.Millisecond

func newGuardFS(inner vfs.FS, onFail func(error)) *guardFS {
	return &guardFS{FS: inner, onFail: onFail, stop: make(chan struct{})}
}

// Unwrap returns the guarded file system.
func (g *guardFS) Unwrap() vfs.FS { return g.FS }

// freeze stops all writing because of err. Only the first error counts.
func (g *guardFS) freeze(err error) {
	if g.frozen.CompareAndSwap(nil, &frozenError{err}) {
		g.onFail(err)
	}
}

// failure returns why the disk is frozen, nil when it is not.
func (g *guardFS) failure() error {
	if f := g.frozen.Load(); f != nil {
		return f.err
	}
	return nil
}

// errDamagedFile is in the chain of errors about files of the database that are missing
// or that cannot be read at all.
var errDamagedFile = errors.New("a file of the database is damaged")

// Open opens a file for reading. Pebble 2.1 ends the process when a table or a blob file
// is missing or when the end of a blob file is damaged; an error that it does not
// recognise as such reaches the reader.
func (g *guardFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	g.lastRead.Store(&name)
	f, err := g.FS.Open(name, opts...)
	isBlob := strings.HasSuffix(name, ".blob")
	if isGone(err) && (isBlob || strings.HasSuffix(name, ".sst")) {
		return nil, fmt.Errorf("%w: %s is missing", errDamagedFile, name)
	}
	if err != nil || !isBlob && !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	if isBlob {
		if err := blobEnd(f); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %s: %v", errDamagedFile, name, err), f.Close())
		}
	}
	return tableFile{f, name}, nil
}

// tableFile is a table or a file of values that is read. Pebble knows how long it is, so that
// an end before what is asked for is damage.
type tableFile struct {
	vfs.File
	name string
}

func (f tableFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if n < len(p) && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		err = fmt.Errorf("%w: %s is cut: %d of %d octets at %d", errDamagedFile, f.name, n, len(p), off)
	}
	return n, err
}

// blobEnd returns what is wrong with the end of a blob file; trouble with reading it is
// left to Pebble.
func blobEnd(f vfs.File) error {
	in, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil
	}
	_, err = blob.NewFileReader(context.Background(), in, blob.FileReaderOptions{})
	if pebble.IsCorruptionError(err) {
		return err
	}
	return nil
}

// critical reports whether Pebble could not go on when writing the file fails.
func (g *guardFS) critical(name string) bool {
	base := g.PathBase(name)
	return strings.HasSuffix(base, ".log") || strings.HasPrefix(base, "MANIFEST-") || strings.HasPrefix(base, "marker.")
}

// open runs one call that opens a file for writing.
func (g *guardFS) open(op, name string, call func() (vfs.File, error)) (vfs.File, error) {
	critical := g.critical(name)
	if err := g.failure(); err != nil {
		if critical {
			return nullFile{}, nil
		}
		select {
		case <-time.After(throttle):
		case <-g.stop:
		}
		return nil, fmt.Errorf("%s %s: the disk is frozen: %w", op, name, err)
	}
	f, err := call()
	if err == nil {
		return g.wrap(f, name, critical), nil
	}
	if !critical {
		return nil, err
	}
	g.freeze(fmt.Errorf("%s %s: %w", op, name, err))
	return nullFile{}, nil
}

// Create makes a file. A marker names the manifest in force: the manifest's own name
// must be on the disk before that of the marker.
func (g *guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(g.PathBase(name), "marker.") && g.failure() == nil {
		if err := syncDir(g.FS, g.PathDir(name)); err != nil {
			g.freeze(fmt.Errorf("sync %s: %w", g.PathDir(name), err))
		}
	}
	return g.open("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

// wrap makes the guarded file. A log that is used again has room already.
func (g *guardFS) wrap(f vfs.File, name string, critical bool) *guardFile {
	w := &guardFile{File: f, g: g, name: name, critical: critical, log: strings.HasSuffix(name, ".log")}
	if w.log {
		if info, err := f.Stat(); err == nil {
			w.room = info.Size()
		}
	}
	return w
}

func (g *guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.open("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, opts...) })
}

func (g *guardFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open("reuse", newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, c) })
}

// OpenDir opens a directory for syncing. Pebble syncs the directory when it makes
// a log and panics when that fails, so directories are critical.
func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err == nil {
		return &guardFile{File: f, g: g, name: name, critical: true}, nil
	}
	g.freeze(fmt.Errorf("open directory %s: %w", name, err))
	return nullFile{}, nil
}

// change runs a call that changes names. In a frozen state it does nothing.
func (g *guardFS) change(op, name string, call func() error) error {
	if g.failure() != nil {
		return nil
	}
	err := call()
	if err == nil || !g.critical(name) || op == "remove" {
		return err
	}
	g.freeze(fmt.Errorf("%s %s: %w", op, name, err))
	return nil
}

func (g *guardFS) Remove(name string) error {
	return g.change("remove", name, func() error { return g.FS.Remove(name) })
}

func (g *guardFS) RemoveAll(name string) error {
	return g.change("remove", name, func() error { return g.FS.RemoveAll(name) })
}

func (g *guardFS) Rename(oldname, newname string) error {
	return g.change("rename", newname, func() error { return g.FS.Rename(oldname, newname) })
}

func (g *guardFS) Link(oldname, newname string) error {
	return g.change("link", newname, func() error { return g.FS.Link(oldname, newname) })
}

// guardFile is a file opened through the guard.
type guardFile struct {
	vfs.File
	g        *guardFS
	name     string
	critical bool
	log      bool
	// Of a log: how far it was written, and how far it has room.
	written, room int64
}

// logStep is how much room a log gets at a time. Pebble would give it the size of a
// write buffer at once, and that for each of the few logs that it keeps.
const logStep = 2 << 20

// run does one operation on the file, or pretends to.
func (f *guardFile) run(op string, call func() error) error {
	if err := f.g.failure(); err != nil {
		if f.critical {
			return nil
		}
		return fmt.Errorf("%s %s: the disk is frozen: %w", op, f.name, err)
	}
	err := call()
	if err == nil || !f.critical {
		return err
	}
	f.g.freeze(fmt.Errorf("%s %s: %w", op, f.name, err))
	return nil
}

func (f *guardFile) Write(p []byte) (int, error) {
	return len(p), f.run("write", func() error {
		if f.log {
			f.makeRoom(int64(len(p)))
		}
		n, err := f.File.Write(p)
		if err == nil && n < len(p) {
			return io.ErrShortWrite
		}
		return err
	})
}

func (f *guardFile) WriteAt(p []byte, off int64) (int, error) {
	return len(p), f.run("write", func() error {
		n, err := f.File.WriteAt(p, off)
		if err == nil && n < len(p) {
			return io.ErrShortWrite
		}
		return err
	})
}

// makeRoom allocates room for a log ahead of writing, which makes syncing cheaper. It
// need not succeed.
func (f *guardFile) makeRoom(n int64) {
	f.written += n
	if f.written > f.room {
		step := max(logStep, f.written-f.room)
		_ = f.File.Preallocate(f.room, step)
		f.room += step
	}
}

// Preallocate leaves logs to makeRoom.
func (f *guardFile) Preallocate(off, n int64) error {
	if f.log {
		return nil
	}
	return f.run("preallocate", func() error { return f.File.Preallocate(off, n) })
}

func (f *guardFile) Sync() error     { return f.run("sync", f.File.Sync) }
func (f *guardFile) SyncData() error { return f.run("sync", f.File.SyncData) }

func (f *guardFile) SyncTo(n int64) (full bool, err error) {
	err = f.run("sync", func() error {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}

// Close always closes the file itself, frozen or not.
func (f *guardFile) Close() error {
	err := f.File.Close()
	if err == nil || !f.critical {
		return err
	}
	f.g.freeze(fmt.Errorf("close %s: %w", f.name, err))
	return nil
}

// nullFile takes everything and keeps nothing. It stands for a log or manifest
// that could not be made.
type nullFile struct{}

func (nullFile) Close() error                           { return nil }
func (nullFile) Read([]byte) (int, error)               { return 0, io.EOF }
func (nullFile) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nullFile) Write(p []byte) (int, error)            { return len(p), nil }
func (nullFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nullFile) Preallocate(_, _ int64) error           { return nil }
func (nullFile) Stat() (vfs.FileInfo, error)            { return nullInfo{}, nil }
func (nullFile) Sync() error                            { return nil }
func (nullFile) SyncTo(int64) (bool, error)             { return true, nil }
func (nullFile) SyncData() error                        { return nil }
func (nullFile) Prefetch(int64, int64) error            { return nil }
func (nullFile) Fd() uintptr                            { return vfs.InvalidFd }

// nullInfo tells of an empty file. Pebble asks for the size of a log that it uses again, and
// panics when that fails.
type nullInfo struct{}

func (nullInfo) Name() string           { return "" }
func (nullInfo) Size() int64            { return 0 }
func (nullInfo) Mode() fs.FileMode      { return 0o600 }
func (nullInfo) ModTime() time.Time     { return time.Time{} }
func (nullInfo) IsDir() bool            { return false }
func (nullInfo) Sys() any               { return nil }
func (nullInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// diskCode tells a disk without room or without permission to write from other
// trouble.
func diskCode(err error) mail.Code {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, os.ErrPermission) {
		return mail.CodeNoSpace
	}
	return mail.CodeUnavailable
}

// diskError wraps trouble with the disk.
func diskError(doing string, err error) error {
	code := diskCode(err)
	public := "the mail store is not available"
	switch {
	case errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrPermission):
		public = "the mail store cannot write to its disk"
	case code == mail.CodeNoSpace:
		public = "there is no space left for mail"
	}
	return mail.WrapError(code, public, fmt.Errorf("%s: %w", doing, err))
}

// stoppedError is the answer to changes after the disk refused a write.
func stoppedError(cause error) error {
	return diskError("the store has stopped", fmt.Errorf("%w: %w", store.ErrClosed, cause))
}

// unknownError is the answer to a change that was under way when the disk refused
// a write.
func unknownError(cause error) error {
	return mail.WrapError(mail.CodeUnavailable, "the mail store is not available",
		fmt.Errorf("%w: %w: %w", store.ErrOutcomeUnknown, store.ErrClosed, cause))
}
