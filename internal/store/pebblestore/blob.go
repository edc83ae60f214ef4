package pebblestore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	gohash "hash"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// blobFileFrom is the size from which content is a file and not a value of the
// database. It is part of the format: the size alone tells where content is.
const blobFileFrom = 128<<10 + 1

// tempPrefix begins the names of files that are being written.
const tempPrefix = "tmp-"

// blobs keeps content by its hash: who is about to use it, and large content in
// files. See sweep.go for how content ends.
type blobs struct {
	fs      vfs.FS
	dir     string
	temp    atomic.Uint64 // number of the next temporary file
	stripes [64]stripe
	readers readers
}

// stripe guards content whose hash falls on it.
type stripe struct {
	// file is held while a file is given its name or removed; it is taken before mu.
	file   sync.Mutex
	synced map[string]bool // subdirectories whose names are on the disk
	mu     sync.Mutex
	// pins counts the staged messages that use content. While it is not zero
	// content is not removed, and what was found or written stays there.
	pins map[hash]int
}

func (b *blobs) stripe(h hash) *stripe { return &b.stripes[h[0]%byte(len(b.stripes))] }

// openBlobs prepares the directory. After a crash it makes sure that the names of
// files found there are on the disk, since new messages may come to rely on them,
// and removes what was being written.
func (s *Store) openBlobs(crashed bool) (*blobs, error) {
	b := &blobs{fs: s.fs, dir: s.fs.PathJoin(s.opt.Dir, blobDir)}
	for i := range b.stripes {
		b.stripes[i].pins = map[hash]int{}
		b.stripes[i].synced = map[string]bool{}
	}
	b.readers.init()
	if !crashed || s.opt.ReadOnly {
		return b, nil
	}
	names, err := b.fs.List(b.dir)
	if err != nil {
		return nil, diskError("list large content", err)
	}
	for _, name := range names {
		path := b.fs.PathJoin(b.dir, name)
		if strings.HasPrefix(name, tempPrefix) {
			err = b.fs.Remove(path)
		} else {
			err = syncDir(b.fs, path)
		}
		if err != nil {
			return nil, diskError("recover large content", err)
		}
	}
	if err := syncDir(b.fs, b.dir); err != nil {
		return nil, diskError("recover large content", err)
	}
	return b, nil
}

func (b *blobs) close() error { return nil }

// pin keeps content from being removed until unpin.
func (b *blobs) pin(h hash) {
	s := b.stripe(h)
	s.mu.Lock()
	s.pins[h]++
	s.mu.Unlock()
}

func (b *blobs) unpin(h hash) {
	s := b.stripe(h)
	s.mu.Lock()
	if s.pins[h]--; s.pins[h] == 0 {
		delete(s.pins, h)
	}
	s.mu.Unlock()
}

func (b *blobs) subdir(h hash) string { return b.fs.PathJoin(b.dir, hex.EncodeToString(h[:1])) }

func (b *blobs) path(h hash) string {
	return b.fs.PathJoin(b.subdir(h), hex.EncodeToString(h[1:]))
}

// exists reports whether there is a file for content, of the right size.
func (b *blobs) exists(h hash, size int64) (bool, error) {
	info, err := b.fs.Stat(b.path(h))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.Size() == size, nil
}

// blobWriter collects content whose size is not known: in memory up to the size
// that the database keeps, then in a temporary file.
type blobWriter struct {
	b    *blobs
	sum  gohash.Hash
	mem  []byte
	buf  *[]byte // whose memory mem has, and gives back
	size int64
	file vfs.File
	name string
}

// newWriter makes a writer for content of about size octets. What it collects in memory
// is in buf, so that there is one writer for a buffer at a time, and that its content is
// valid until the next one.
func (b *blobs) newWriter(size int64, buf *[]byte) *blobWriter {
	w := &blobWriter{b: b, sum: sha256.New(), buf: buf}
	if size < blobFileFrom {
		w.mem = slices.Grow((*buf)[:0], int(size)+1)
	}
	return w
}

// giveBack returns the memory of the writer to its buffer.
func (w *blobWriter) giveBack() {
	if cap(w.mem) > cap(*w.buf) {
		*w.buf = w.mem[:0]
	}
	w.mem = nil
}

// Write adds content.
func (w *blobWriter) Write(p []byte) (int, error) {
	w.sum.Write(p)
	w.size += int64(len(p))
	if w.file == nil {
		if w.size < blobFileFrom {
			w.mem = append(w.mem, p...)
			return len(p), nil
		}
		if err := w.spill(); err != nil {
			return 0, err
		}
	}
	if err := w.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// write passes a copy on when needed: a vfs.File may modify what it is given.
func (w *blobWriter) write(p []byte) error {
	if _, err := w.file.Write(p); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	return nil
}

func (w *blobWriter) spill() error {
	w.name = w.b.fs.PathJoin(w.b.dir, fmt.Sprintf("%s%d", tempPrefix, w.b.temp.Add(1)))
	f, err := w.b.fs.Create(w.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", w.name, err)
	}
	w.file = f
	err = w.write(w.mem)
	w.giveBack()
	return err
}

// discard drops what was written.
func (w *blobWriter) discard() {
	w.giveBack()
	if w.file == nil {
		return
	}
	// The file is not referenced; what cannot be removed now is at the next start.
	_ = w.file.Close()
	_ = w.b.fs.Remove(w.name)
	w.file = nil
}

// finish ends content and pins it. Content in a file is on the disk under its name
// when finish returns; content in memory is returned for the database, and is valid
// until the next writer has the buffer.
func (w *blobWriter) finish() (h hash, mem []byte, err error) {
	w.sum.Sum(h[:0])
	w.b.pin(h)
	if w.file == nil {
		mem = w.mem
		w.giveBack()
		return h, mem, nil
	}
	if err := w.install(h); err != nil {
		w.discard()
		w.b.unpin(h)
		return h, nil, err
	}
	return h, nil, nil
}

// install gives the temporary file its name, unless there is such a file already.
// The stripe is held until the name is on the disk, so that nobody else takes a
// file for safe that is not.
func (w *blobWriter) install(h hash) error {
	b := w.b
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.name, err)
	}
	s := b.stripe(h)
	s.file.Lock()
	defer s.file.Unlock()
	if ok, err := b.exists(h, w.size); err != nil || ok {
		w.discard()
		return err
	}
	if err := b.syncedSubdir(s, b.subdir(h)); err != nil {
		return err
	}
	err := w.file.Close()
	w.file = nil
	if err == nil {
		err = b.fs.Rename(w.name, b.path(h))
	}
	if err == nil {
		if err = syncDir(b.fs, b.subdir(h)); err != nil {
			// Nobody may find a file whose name a crash could take away.
			_ = b.fs.Remove(b.path(h))
		}
	}
	if err != nil {
		_ = b.fs.Remove(w.name)
		return fmt.Errorf("write %s: %w", b.path(h), err)
	}
	return nil
}

// syncedSubdir makes a subdirectory whose name is on the disk. s.file is held.
func (b *blobs) syncedSubdir(s *stripe, sub string) error {
	if s.synced[sub] {
		return nil
	}
	err := b.fs.MkdirAll(sub, 0o700)
	if err == nil {
		err = syncDir(b.fs, b.dir)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", sub, err)
	}
	s.synced[sub] = true
	return nil
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// each calls f for every file of content with its hash and path.
func (b *blobs) each(f func(h hash, path string) error) error {
	subs, err := b.fs.List(b.dir)
	if err != nil {
		return diskError("list large content", err)
	}
	for _, sub := range subs {
		if len(sub) != 2 {
			continue
		}
		names, err := b.fs.List(b.fs.PathJoin(b.dir, sub))
		if err != nil {
			return diskError("list large content", err)
		}
		for _, name := range names {
			var h hash
			raw, err := hex.DecodeString(sub + name)
			if err != nil || len(raw) != len(h) {
				continue
			}
			if err := f(hash(raw), b.fs.PathJoin(b.dir, sub, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
