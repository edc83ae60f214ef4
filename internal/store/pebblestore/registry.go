package pebblestore

import (
	"context"
	"iter"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// put stores one row durably; a nil value removes it.
func (s *Store) put(ctx context.Context, key, value []byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.writable(len(value) > 0); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if value == nil {
		del(b, key)
	} else {
		set(b, key, value)
	}
	if err := s.apply(b, pebble.Sync); err != nil {
		return err
	}
	return s.wait(b)
}

// PutRecord implements store.Registry.
func (s *Store) PutRecord(ctx context.Context, kind, key string, value []byte) error {
	if kind == "" || key == "" || len(kind) > maxKey || len(key) > maxKey || len(value) > maxRecord || strings.Contains(kind, "\x00") {
		return mail.NewError(mail.CodeInvalid, "a record has a key of 1 to 256 octets and a value of at most 1 MiB")
	}
	return s.put(ctx, recordKey(kind, key), value)
}

// Record implements store.Registry.
func (s *Store) Record(ctx context.Context, kind, key string) ([]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	value, err := s.get(recordKey(kind, key))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, mail.NewError(mail.CodeNotFound, "the record does not exist")
	}
	return value, nil
}

// Records implements store.Registry. An iteration that fails ends early; the reason
// is logged, since the contract has no place for it.
func (s *Store) Records(ctx context.Context, kind string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if err := s.enter(ctx); err != nil {
			return
		}
		defer s.leave()
		prefix := recordKey(kind, "")
		err := s.scan(prefix, func(key, value []byte) error {
			if ctx.Err() != nil || !yield(string(key[len(prefix):]), value) {
				return errStop
			}
			return nil
		})
		if err != nil {
			s.log.Error("read records", "kind", kind, "err", err)
		}
	}
}
