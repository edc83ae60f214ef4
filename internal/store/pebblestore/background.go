package pebblestore

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// listener hears what Pebble does in the background. Pebble ends the process on
// damaged data unless somebody listens; here damage is logged and the reader that
// met it gets the error.
func (s *Store) listener() *pebble.EventListener {
	w := &background{s: s}
	return &pebble.EventListener{
		BackgroundError: w.failed,
		DataCorruption:  w.damaged,
		FlushEnd:        func(i pebble.FlushInfo) { w.flushed(i.Err) },
		CompactionEnd:   func(i pebble.CompactionInfo) { w.compacted(i.Err) },
		BlobFileRewriteEnd: func(i pebble.BlobFileRewriteInfo) {
			if i.Err != nil {
				w.compacted(i.Err)
			}
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			s.log.Warn("the database makes writers wait", "reason", i.Reason)
		},
	}
}

// background judges the work that Pebble does in the background. Flushes that fail
// are repeated; until one succeeds changes are refused, because they would wait for
// room in memory without end. Compactions that fail hold up nothing at first, unless
// the disk is full; see watchCompactions.
type background struct {
	s     *Store
	mu    sync.Mutex
	flush error // of the last flush; some errors are no failures, those are not repeated by failed
	told  seldom
}

func (w *background) flushed(err error) {
	w.mu.Lock()
	w.flush = err
	w.mu.Unlock()
	w.ended(err)
}

// compacted is called with the outcome of a compaction. One that was overtaken by another change
// of the tables says nothing about them.
func (w *background) compacted(err error) {
	if errors.Is(err, pebble.ErrCancelledCompaction) {
		w.s.lookAtCompactions()
		return
	}
	w.s.compactor.ended(err)
	w.ended(err)
}

func (w *background) ended(err error) {
	if err == nil {
		w.s.degraded.Store(nil)
	}
	w.s.lookAtCompactions()
}

// failed is called with the errors that Pebble counts as failures.
func (w *background) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if (w.flush != nil && errors.Is(err, w.flush)) || diskCode(err) == mail.CodeNoSpace {
		w.s.degraded.Store(&frozenError{err})
	}
	if text := err.Error(); w.told.allow(text) {
		w.s.log.Error("database background error", "err", text) // with "%+v" these errors print a stack
	}
}

// damaged is called each time that damage is met.
func (w *background) damaged(i pebble.DataCorruptionInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told.allow(i.Path) {
		w.s.log.Error("a file of the database is damaged: put it back from a backup, with the store as it was then; `mallard check` names the mail in it",
			"path", i.Path, "err", i.Details.Error())
	}
}

// seldom is when something was logged that can happen very often.
type seldom map[string]time.Time

const (
	seldomPause = time.Minute
	seldomKeys  = 200
)

// allow reports whether it is time to log again.
func (l *seldom) allow(key string) bool {
	now := time.Now()
	if last, ok := (*l)[key]; ok && now.Sub(last) < seldomPause {
		return false
	}
	if *l == nil || len(*l) >= seldomKeys {
		*l = seldom{}
	}
	(*l)[key] = now
	return true
}

// stopWritesAt is how many layers of tables the newest level can have before Pebble makes
// writers wait until it was compacted.
const stopWritesAt = 40

// lookAtCompactions wakes watchCompactions, when there is something to see.
func (s *Store) lookAtCompactions() {
	if !s.compactor.failing() && s.stuck.Load() == nil {
		return
	}
	select {
	case s.merges <- struct{}{}:
	default:
	}
}

// watchCompactions refuses changes when compactions fail and Pebble would soon make writers
// wait for one, which could be for ever: a table that is damaged stays so.
func (s *Store) watchCompactions() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.merges:
		}
		layers := s.db.Metrics().Levels[0].Sublevels
		switch failing := s.compactor.failing(); {
		case failing && layers >= stopWritesAt*3/4:
			err := fmt.Errorf("compactions fail, and %d layers of tables wait for one", layers)
			if s.stuck.Swap(&frozenError{err}) == nil {
				s.log.Error("the database cannot merge its tables: no change is accepted any more; "+
					"stop the server and put the store back from a backup", "dir", s.opt.Dir, "err", err)
			}
		case !failing || layers < stopWritesAt/2:
			if s.stuck.Swap(nil) != nil {
				s.log.Info("the database merges its tables again: changes are accepted", "dir", s.opt.Dir)
			}
		}
	}
}
