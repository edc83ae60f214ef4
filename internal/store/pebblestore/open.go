package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Store is an open store. It implements store.Store.
type Store struct {
	opt   Options
	fs    vfs.FS
	guard *guardFS
	db    *pebble.DB
	log   *slog.Logger
	ids   *mail.IDGenerator
	lock  lock

	epoch    uint64          // the number of this run
	crashed  map[uint64]bool // runs that did not end with Close
	accounts *accountCache
	blobs    *blobs
	pieces   pieces
	stages   sync.Pool // of *stageMemory
	threads  threadCache
	known    knownKeys
	space    *space
	helpers  atomic.Int64 // that read ahead of Fetch calls
	degraded atomic.Pointer[frozenError]
	stuck    atomic.Pointer[frozenError] // compactions fail, see watchCompactions

	compactor *compactor
	merges    chan struct{} // the database may have to be looked at, see watchCompactions

	// directory is held by changes of names that are unique in the store.
	directory sync.Mutex
	counts    directoryCounts

	logged  atomic.Int64 // octets applied since the last flush that the store asked for
	pace    syncPace
	running atomic.Int64
	closed  atomic.Bool
	idle    chan struct{} // has a value when running became zero after closed was set

	stop   chan struct{}
	jobs   sync.WaitGroup
	soon   chan struct{} // something applied waits for the log to be synced
	told   untold
	sweeps chan struct{} // there is work for the sweeper
	sweep  sweeper

	// deletion is held by each step of the removal of an account.
	deletion sync.Mutex
}

var _ store.Store = (*Store)(nil)

// Open opens the store in o.Dir, or makes one there. It fails when another
// process has it open, when it was written by a newer version and when its disk
// cannot be trusted. The context covers the opening alone.
func Open(ctx context.Context, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("options of the store: %w", err)
	}
	s := &Store{
		opt: o, fs: o.FS, log: o.Logger,
		accounts: newAccountCache(o.CachedAccounts),
		idle:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		soon:     make(chan struct{}, 1),
		sweeps:   make(chan struct{}, 1),
		merges:   make(chan struct{}, 1),
	}
	if s.ids, err = mail.NewIDGenerator(o.Now); err != nil {
		return nil, err
	}
	s.guard = newGuardFS(o.FS, func(err error) {
		s.log.Error("the disk refused a write: no change is accepted any more; restart when the disk is well", "dir", o.Dir, "err", err)
	})
	s.space = &space{fs: o.FS, dir: o.Dir, min: o.MinFree, now: time.Now}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("open the mail store in %s: %w", o.Dir, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	fresh, err := s.prepareDir()
	if err != nil {
		return err
	}
	if err := s.openDatabase(fresh); err != nil {
		return errors.Join(err, s.lock.release())
	}
	if fresh {
		err = s.created()
	} else {
		err = s.migrate(ctx)
	}
	if err == nil {
		err = s.beginRun(fresh)
	}
	if err == nil {
		s.blobs, err = s.openBlobs(len(s.crashed) > 0)
	}
	if err != nil {
		return errors.Join(err, s.db.Close(), s.lock.release())
	}
	if err := s.guard.failure(); err != nil {
		return errors.Join(diskError("write the database", err), s.db.Close(), s.lock.release())
	}
	if !s.opt.ReadOnly {
		s.jobs.Go(s.syncLoop)
		s.jobs.Go(s.maintain)
		s.jobs.Go(s.flushStill)
		s.jobs.Go(s.learnKeys)
		s.jobs.Go(s.watchCompactions)
	}
	return nil
}

// meta is the row about runs of the store.
type meta struct {
	epoch   uint64 // the latest run
	clean   bool   // it ended with Close
	crashed []uint64
}

func (m *meta) append(b []byte) []byte {
	b = append(b, valueVersion)
	b = binary.AppendUvarint(b, m.epoch)
	if m.clean {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(m.crashed)))
	for _, e := range m.crashed {
		b = binary.AppendUvarint(b, e)
	}
	return b
}

func decodeMeta(b []byte) (m meta, err error) {
	d := decoder{b: b}
	d.version()
	m.epoch, m.clean = d.uvarint(), d.octet() == 1
	for range d.length() {
		m.crashed = append(m.crashed, d.uvarint())
	}
	return m, d.end()
}

func (s *Store) readMeta() (meta, error) {
	value, err := s.get([]byte{tabMeta})
	if err != nil || value == nil {
		return meta{clean: true}, err
	}
	m, err := decodeMeta(value)
	if err != nil {
		return m, corrupt("the record of runs", err)
	}
	return m, nil
}

// errNoRuns says that a store has rows but not the record of runs, without which
// numbers could be given out again.
var errNoRuns = errors.New("the record of runs is missing")

// knowRuns refuses a store whose record of runs is lost. Only a store whose creation
// was interrupted has none, and it has nothing else.
func (s *Store) knowRuns(fresh bool) error {
	if found, err := s.has([]byte{tabMeta}); err != nil || found || fresh {
		return err
	}
	return s.scanRange(nil, nil, func(key, _ []byte) error {
		return corrupt("the database", fmt.Errorf("%w, but there is a row in table %q", errNoRuns, key[0]))
	})
}

// beginRun gives this run its number. It is on the disk before anything else is
// written, so that a head tells which run wrote it and whether that run ended well.
func (s *Store) beginRun(fresh bool) error {
	if err := s.knowRuns(fresh); err != nil {
		return err
	}
	m, err := s.readMeta()
	if err != nil {
		return err
	}
	if err := s.lostEnd(&m); err != nil {
		return err
	}
	if !m.clean {
		m.crashed = append(m.crashed, m.epoch)
		s.log.Warn("the store was not closed", "dir", s.opt.Dir, "run", m.epoch)
	}
	s.crashed = map[uint64]bool{}
	for _, e := range m.crashed {
		s.crashed[e] = true
	}
	m.epoch++
	m.clean = false
	s.epoch = m.epoch
	if s.opt.ReadOnly {
		return nil
	}
	b := s.db.NewBatch()
	set(b, []byte{tabMeta}, m.append(nil))
	if len(m.crashed) > 0 && m.crashed[len(m.crashed)-1] == m.epoch-1 {
		set(b, orphansKey(), nil)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return diskError("begin a run", err)
	}
	if err := s.guard.failure(); err != nil {
		return diskError("begin a run", err)
	}
	return s.writeRun(runState{run: m.epoch})
}

// endRun notes that everything is on the disk, and with orphans set that there is
// content to look for.
func (s *Store) endRun(orphans bool) error {
	m, err := s.readMeta()
	if err != nil {
		return err
	}
	m.clean = true
	b := s.db.NewBatch()
	set(b, []byte{tabMeta}, m.append(nil))
	if orphans {
		set(b, orphansKey(), nil)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return diskError("end the run", err)
	}
	if err := s.guard.failure(); err != nil {
		return stoppedError(err)
	}
	return s.writeRun(runState{run: m.epoch, closed: true})
}

// Close implements store.Store. It waits for calls, iterations and bodies.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return closedError()
	}
	for s.running.Load() > 0 {
		<-s.idle
	}
	close(s.stop)
	s.jobs.Wait()
	unsaved := s.saveSuspects()
	s.writeTold()
	var err error
	if s.guard.failure() != nil {
		err = stoppedError(s.guard.failure())
	} else if !s.opt.ReadOnly {
		err = s.endRun(unsaved != nil)
	}
	close(s.guard.stop)
	if cerr := s.db.Close(); cerr != nil {
		err = errors.Join(err, diskError("close the database", cerr))
	}
	return errors.Join(err, s.blobs.close(), s.lock.release())
}

// syncSoon makes what was applied durable within FlagDelay.
func (s *Store) syncSoon() {
	select {
	case s.soon <- struct{}{}:
	default:
	}
}

func (s *Store) syncLoop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.soon:
		}
		timer.Reset(s.opt.FlagDelay)
		select {
		case <-s.stop: // Close syncs
			return
		case <-timer.C:
		}
		if err := s.syncLog(); err != nil {
			s.log.Error("sync the log", "err", err)
		}
		if !s.writeTold() { // after the flush, which it must not put off: that of the heads is the next one
			s.syncSoon()
		}
	}
}
