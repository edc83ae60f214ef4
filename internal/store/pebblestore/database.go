package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"mallard/internal/mail"
)

// separateFrom is the size from which values live in files of their own, which
// compactions do not rewrite.
const separateFrom = 512

// blobBlockFrom is how full a block of values is at least when it is ended because the next
// value would exceed it, in percent of its size.
const blobBlockFrom = 20

// filterBits is the size of the filters that tell which keys a table does not have, in
// bits for each key.
const filterBits = 10

// openDatabase opens Pebble with the settings that mail needs. Only for a fresh store
// a database is made: where it is missing from another, making an empty one would
// hide that all mail is gone.
func (s *Store) openDatabase(fresh bool) error {
	o := s.databaseOptions()
	o.ErrorIfNotExists = !fresh
	dir := s.fs.PathJoin(s.opt.Dir, dbDir)
	names, err := s.fs.List(dir)
	if err != nil {
		o.Cache.Unref()
		return diskError("list the database", err)
	}
	db, err := pebble.Open(dir, o)
	o.Cache.Unref()
	if err != nil {
		return s.openError(err, dir)
	}
	if err := s.blobsThere(db, dir, names); err != nil {
		return errors.Join(err, db.Close())
	}
	s.compactor.release()
	s.db = db
	return nil
}

// openError says what is wrong with a database that Pebble does not open, and which file.
func (s *Store) openError(err error, dir string) error {
	switch text := err.Error(); {
	case strings.Contains(text, "unknown to the objstorage provider"):
		return damagedDatabase(fmt.Errorf("%w: a file *.sst of %s is missing: %w", errDamagedFile, dir, err))
	case strings.Contains(text, "object size mismatch"):
		return damagedDatabase(fmt.Errorf("%w: a file *.sst of %s has another size than it had: %w", errDamagedFile, dir, err))
	}
	if name := s.guard.lastRead.Load(); name != nil {
		err = fmt.Errorf("%w (the file that was read last is %s)", err, *name)
	}
	if errors.Is(err, pebble.ErrDBDoesNotExist) || errors.Is(err, pebble.ErrDBNotPristine) {
		return damagedDatabase(fmt.Errorf("%w: all of %s is missing, or a file marker.* of it", err, dir))
	}
	if pebble.IsCorruptionError(err) {
		return damagedDatabase(err)
	}
	return diskError("open the database", err)
}

// damagedDatabase is damage that keeps the database from being opened.
func damagedDatabase(err error) error {
	return mail.WrapError(mail.CodeCorrupt, "the database of the mail store is damaged",
		fmt.Errorf("open it: %w; put back what is missing or damaged, or the whole directory of the store, from a backup", err))
}

// blobsThere refuses a database from which files of values were removed: Pebble 2.1 looks
// for them only when it reads from one, and ends the process then. before is what was in the
// directory before it was opened, which makes new ones.
func (s *Store) blobsThere(db *pebble.DB, dir string, before []string) error {
	now, err := s.fs.List(dir)
	if err != nil {
		return diskError("list the database", err)
	}
	have := map[string]bool{}
	for _, name := range append(now, before...) {
		have[name] = true
	}
	var missing []string
	blobs := db.DebugCurrentVersion().BlobFiles // compactions, which change it, are not released yet
	for b := range blobs.All() {
		if name := b.Physical.FileNum.String() + ".blob"; !have[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return damagedDatabase(fmt.Errorf("%w: missing in %s: %s (without a backup, an empty file in the place of each makes the store open without the mail in it, "+
		"and `mallard check` names that)", errDamagedFile, dir, strings.Join(missing, ", ")))
}

func (s *Store) databaseOptions() *pebble.Options {
	compactions := s.opt.Compactions
	o := &pebble.Options{
		FS:                          s.guard,
		Cache:                       pebble.NewCache(s.cacheSize()),
		MemTableSize:                uint64(s.opt.MemTableSize),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       stopWritesAt,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                2000,
		BytesPerSync:                1 << 20,
		WALBytesPerSync:             1 << 20,
		WALMinSyncInterval:          func() time.Duration { return s.pace.pause(s.opt.SyncDelay) },
		FlushDelayDeleteRange:       30 * time.Second,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		CompactionConcurrencyRange:  func() (int, int) { return 1, compactions },
		ReadOnly:                    s.opt.ReadOnly,
		Logger:                      pebbleLogger{s.log, s.opt.Fatal},
		EventListener:               s.listener(),
	}
	// A table of content refers to the files of all that was written since, as hashes
	// have no order: at a small depth compactions would rewrite content all the time.
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: separateFrom, MaxBlobReferenceDepth: 200,
			RewriteMinimumAge: 5 * time.Minute, TargetGarbageRatio: 0.3,
		}
	}
	profile := compressionProfile()
	for i := range o.Levels {
		l := &o.Levels[i]
		// Blobs are written with the settings of level 0: large blocks make documents
		// of one account small. A long value has a block to itself if the one before is
		// filled to a fifth: text does not lie among attachments that cannot be compressed.
		// Tables hold small rows, which are looked up singly.
		l.BlockSize = 8 << 10
		if i == 0 {
			l.BlockSize = 32 << 10
			l.BlockSizeThreshold = blobBlockFrom
		}
		l.IndexBlockSize = 256 << 10
		l.FilterPolicy = bloom.FilterPolicy(filterBits)
		l.Compression = func() *block.CompressionProfile { return profile }
	}
	o.TargetFileSizes[0] = 4 << 20
	s.compactor = newCompactor(time.Now)
	o.Experimental.CompactionScheduler = s.compactor
	return o
}

// cacheSize is what Pebble is told: it takes the write buffers that it holds, one in
// use and one to be used again, out of the room of the cache.
func (s *Store) cacheSize() int64 { return s.opt.CacheSize + 2*s.opt.MemTableSize }

// compressionProfile compresses documents and content well and the small rows of
// tables fast: the former are written once, the latter again by each compaction.
// Pebble keeps blocks in its cache as they are uncompressed, so that what is read
// often costs nothing; values of our own that were compressed would cost each time.
// Blocks that hardly shrink, such as pictures, are kept as they are.
func compressionProfile() *block.CompressionProfile {
	p := *block.BalancedCompression
	p.Name = "Mail"
	p.DataBlocks = block.FastestCompression.DataBlocks
	p.AdaptiveReductionCutoffPercent = 0
	p.MinReductionPercent = 12
	return &p
}

// pebbleLogger passes on what Pebble says.
type pebbleLogger struct {
	l     *slog.Logger
	fatal func(string)
}

func (p pebbleLogger) Infof(format string, args ...any) {
	p.l.Debug("database", "text", fmt.Sprintf(format, args...))
}

func (p pebbleLogger) Errorf(format string, args ...any) {
	p.l.Error("database", "text", fmt.Sprintf(format, args...))
}

// Fatalf must not return. What guardFS leaves are faults of the program, where
// going on could do damage.
func (p pebbleLogger) Fatalf(format string, args ...any) {
	text, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n(1) ") // there begins a stack
	p.l.Error("the database cannot go on: the process ends; what was acknowledged is on the disk, but for flags that were changed just before", "err", text)
	p.fatal(text)
}
