package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the version of the layout of keys, values and files. It grows
// with every change that an older version could not read, together with an entry
// in migrations.
const formatVersion = 3

const (
	formatFile = "FORMAT"
	// newFile is there while a store is being made, until formatFile is.
	newFile     = "NEW"
	lockFile    = "LOCK"
	dbDir       = "db"
	blobDir     = "blobs"
	formatMagic = "mallard pebblestore "
)

// migration brings a store of one version to the next. The database is open, but no
// run has begun: it must not use what serves calls (accounts, content, sweeper). It
// must be able to run again after it was interrupted anywhere, and after it ended.
type migration func(ctx context.Context, s *Store) error

// migrations are the steps of upgrades by the version that they start from: version
// n+1 needs an entry n.
func migrations() map[int]migration {
	return map[int]migration{1: indexMembers, 2: tellNothing}
}

// lock is the lock on the directory.
type lock struct{ c io.Closer }

func (l *lock) release() error {
	if l.c == nil {
		return nil
	}
	c := l.c
	l.c = nil
	return c.Close()
}

// prepareDir makes and locks the directory and looks at its version. It reports
// whether the store is a new one.
func (s *Store) prepareDir() (fresh bool, err error) {
	dir := s.opt.Dir
	if !s.opt.ReadOnly {
		if err := s.makeDirs(); err != nil {
			return false, diskError("make the directory", err)
		}
	}
	s.lock.c, err = s.fs.Lock(s.fs.PathJoin(dir, lockFile))
	if err != nil {
		s.lock.c = nil
		return false, diskError("lock it, which fails when another process has it open", err)
	}
	version, err := s.readFormat()
	if err == nil {
		fresh, err = s.checkFormat(version)
	}
	if err != nil {
		return false, errors.Join(err, s.lock.release())
	}
	return fresh, nil
}

func (s *Store) makeDirs() error {
	dir := s.opt.Dir
	for _, d := range []string{dir, s.fs.PathJoin(dir, dbDir), s.fs.PathJoin(dir, blobDir)} {
		if err := s.fs.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	for _, d := range []string{dir, s.fs.PathDir(dir)} {
		if err := syncDir(s.fs, d); err != nil {
			return err
		}
	}
	return nil
}

// checkFormat refuses what this version cannot open.
func (s *Store) checkFormat(version int) (fresh bool, err error) {
	switch {
	case version > s.opt.version:
		return false, fmt.Errorf("its format is version %d, this program knows up to %d: it was written by a newer version of the program", version, s.opt.version)
	case version == 0 && s.opt.ReadOnly:
		return false, fmt.Errorf("there is no store: no file %s: %w", formatFile, fs.ErrNotExist)
	case version < s.opt.version && version > 0 && s.opt.ReadOnly:
		return false, fmt.Errorf("its format is version %d: it must be opened for writing once, to bring it to version %d", version, s.opt.version)
	case version > 0:
		return false, nil
	}
	if err := s.startNew(); err != nil {
		return false, err
	}
	return true, nil
}

// startNew prepares a new store. A directory without a version that is not empty is
// left alone, unless it is what an interrupted creation left.
func (s *Store) startNew() error {
	db, mark := s.fs.PathJoin(s.opt.Dir, dbDir), s.fs.PathJoin(s.opt.Dir, newFile)
	names, err := s.fs.List(db)
	if err != nil {
		return diskError("list the database", err)
	}
	_, err = s.fs.Stat(mark)
	if err != nil && len(names) > 0 {
		return fmt.Errorf("there is a database in %s but no file %s that tells its version", dbDir, formatFile)
	}
	if err == nil {
		if err = s.fs.RemoveAll(db); err == nil {
			err = s.fs.MkdirAll(db, 0o700)
		}
	} else {
		err = writeFile(s.fs, mark, []byte("This store is being made.\n"))
	}
	if err == nil {
		err = syncDir(s.fs, s.opt.Dir)
	}
	if err != nil {
		return diskError("make a new store", err)
	}
	return nil
}

// created ends the creation of a store.
func (s *Store) created() error {
	if err := s.writeFormat(s.opt.version); err != nil {
		return err
	}
	if err := s.fs.Remove(s.fs.PathJoin(s.opt.Dir, newFile)); err != nil {
		return diskError("make a new store", err)
	}
	return nil
}

// readFormat returns the version of the store, 0 when there is none.
func (s *Store) readFormat() (int, error) {
	text, err := readFile(s.fs, s.fs.PathJoin(s.opt.Dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, diskError("read "+formatFile, err)
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(text)), formatMagic)
	version, err := strconv.Atoi(number)
	if !ok || err != nil || version < 1 {
		return 0, fmt.Errorf("the file %s does not tell the version of a store: %.60q", formatFile, text)
	}
	return version, nil
}

func (s *Store) writeFormat(version int) error {
	if err := s.replaceFile(formatFile, []byte(formatMagic+strconv.Itoa(version)+"\n")); err != nil {
		return diskError("write "+formatFile, err)
	}
	return nil
}

// replaceFile writes a file of the directory anew: after a crash it is the old or the
// new one.
func (s *Store) replaceFile(name string, data []byte) error {
	path := s.fs.PathJoin(s.opt.Dir, name)
	err := writeFile(s.fs, path+".new", data)
	if err == nil {
		err = s.fs.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(s.fs, s.opt.Dir)
	}
	return err
}

// migrate brings an older store to the current version, step by step. The version
// is raised after each step, when all of the step is on the disk.
func (s *Store) migrate(ctx context.Context) error {
	if s.opt.ReadOnly {
		return nil
	}
	version, err := s.readFormat()
	if err != nil {
		return err
	}
	for ; version < s.opt.version; version++ {
		step := s.opt.migrations[version]
		if step == nil {
			return fmt.Errorf("its format is version %d, which this program cannot upgrade", version)
		}
		s.log.Info("upgrading the store", "dir", s.opt.Dir, "from", version, "to", version+1)
		if err := step(ctx, s); err != nil {
			return fmt.Errorf("upgrade from version %d: %w", version, err)
		}
		if err := s.syncLog(); err != nil {
			return fmt.Errorf("upgrade from version %d: %w", version, err)
		}
		if err := s.writeFormat(version + 1); err != nil {
			return err
		}
	}
	return nil
}

func readFile(fsys vfs.FS, name string) (b []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b, err = io.ReadAll(io.LimitReader(f, 1<<16))
	return b, errors.Join(err, f.Close())
}

// writeFile writes and syncs a file, but not its directory.
func writeFile(fsys vfs.FS, name string, data []byte) error {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
