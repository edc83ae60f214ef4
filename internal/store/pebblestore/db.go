package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// enter begins a call, leave ends it. Close waits for all that have entered.
func (s *Store) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	s.running.Add(1)
	if s.closed.Load() {
		s.leave()
		return closedError()
	}
	return nil
}

func (s *Store) leave() {
	if s.running.Add(-1) == 0 && s.closed.Load() {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

func closedError() error {
	return mail.WrapError(mail.CodeUnavailable, "the mail store is shutting down", store.ErrClosed)
}

func canceled(ctx context.Context) error {
	return mail.WrapError(mail.CodeCanceled, "the request was cancelled", context.Cause(ctx))
}

// readError gives an error of a read its code: damage is told from other trouble.
func readError(doing string, err error) error {
	if isDamage(err) {
		return corrupt(doing, err)
	}
	return diskError(doing, err)
}

func isDamage(err error) bool { return pebble.IsCorruptionError(err) || errors.Is(err, errDamagedFile) }

// get returns a copy of a value, nil when there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, readError("read a record", err)
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, closer.Close()
}

// has reports whether there is a value.
func (s *Store) has(key []byte) (bool, error) {
	_, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, readError("read a record", err)
	}
	return true, closer.Close()
}

// errStop ends a scan without an error.
var errStop = errors.New("stop")

// scan calls f for every row whose key has the prefix. Key and value are valid
// during the call. The error errStop of f ends the scan.
func (s *Store) scan(prefix []byte, f func(key, value []byte) error) error {
	return s.scanRange(prefix, after(prefix), f)
}

func (s *Store) scanRange(lower, upper []byte, f func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return readError("open an iterator", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), v)
		}
		if err != nil {
			cerr := it.Close()
			if errors.Is(err, errStop) {
				return cerr
			}
			return err
		}
	}
	if err := it.Close(); err != nil {
		return readError("scan", err)
	}
	return nil
}

// writable reports why changes are refused now. Changes that take much room (a
// message) are refused before the others.
func (s *Store) writable(room bool) error {
	if s.opt.ReadOnly {
		return mail.NewError(mail.CodeForbidden, "the store is open for reading only")
	}
	if err := s.guard.failure(); err != nil {
		return stoppedError(err)
	}
	if d := s.degraded.Load(); d != nil {
		return diskError("the database cannot write its tables", d.err)
	}
	if d := s.stuck.Load(); d != nil {
		return diskError("the database cannot merge its tables", d.err)
	}
	return s.space.check(room)
}

// apply hands a batch to the database. When it returns nil the batch is visible;
// durable it is after wait.
func (s *Store) apply(b *pebble.Batch, o *pebble.WriteOptions) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the database failed: %v", p)
			s.guard.freeze(err)
			err = unknownError(err)
		}
	}()
	size := b.Len() // the batch may be used again as soon as it is applied
	if o.Sync {
		s.pace.changes.Add(1)
		err = s.db.ApplyNoSyncWait(b, o)
	} else {
		err = s.db.Apply(b, o)
	}
	if err != nil {
		return diskError("apply a change", err)
	}
	s.logged.Add(int64(size))
	return nil
}

// wait returns when an applied batch is on the disk. An error leaves the outcome
// open: the store has stopped then.
func (s *Store) wait(b *pebble.Batch) error {
	err := b.SyncWait()
	if err != nil {
		s.guard.freeze(err)
	}
	if err := s.guard.failure(); err != nil {
		return unknownError(err)
	}
	return nil
}

// syncLog makes everything durable that was applied before the call.
func (s *Store) syncLog() error {
	if s.opt.ReadOnly {
		return nil
	}
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		s.guard.freeze(err)
	}
	if err := s.guard.failure(); err != nil {
		return stoppedError(err)
	}
	return nil
}

// set adds a row to a batch. Batches in memory fail only by misuse.
func set(b *pebble.Batch, key, value []byte) {
	if err := b.Set(key, value, nil); err != nil {
		panic(fmt.Sprintf("add to a batch: %v", err))
	}
}

func del(b *pebble.Batch, key []byte) {
	if err := b.Delete(key, nil); err != nil {
		panic(fmt.Sprintf("add to a batch: %v", err))
	}
}

func isNotFound(err error) bool { return errors.Is(err, pebble.ErrNotFound) }
