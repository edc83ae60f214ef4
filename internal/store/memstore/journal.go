package memstore

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// JournalHead returns the id of the newest entry.
func (s *Store) JournalHead(ctx context.Context, acct mail.AccountID) (mail.JournalID, error) {
	if err := s.enter(ctx, "JournalHead"); err != nil {
		return mail.JournalID{}, err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil || len(a.journal) == 0 {
		return mail.JournalID{}, err
	}
	return a.journal[len(a.journal)-1].ID, nil
}

// ReadJournal returns entries after an id.
func (s *Store) ReadJournal(ctx context.Context, acct mail.AccountID, after mail.JournalID, limit int) ([]store.JournalEntry, error) {
	if err := s.enter(ctx, "ReadJournal"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return nil, err
	}
	page, _ := cut(a.journal, limit, false, func(e store.JournalEntry) bool { return compareID(e.ID, after) > 0 })
	return page, nil
}

// Limits of records.
const (
	maxRecordKey   = 256
	maxRecordValue = 1 << 20
)

// PutRecord stores or removes a value.
func (s *Store) PutRecord(ctx context.Context, kind, key string, value []byte) error {
	if err := s.enter(ctx, "PutRecord"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if key == "" || len(key) > maxRecordKey || len(value) > maxRecordValue {
		return mail.NewError(mail.CodeInvalid, "a record has a key of 1 to 256 octets and a value of at most 1 MiB")
	}
	if value == nil {
		delete(s.records[kind], key)
		return nil
	}
	if s.records[kind] == nil {
		s.records[kind] = make(map[string][]byte)
	}
	s.records[kind][key] = bytes.Clone(value)
	return nil
}

// Record returns a value.
func (s *Store) Record(ctx context.Context, kind, key string) ([]byte, error) {
	if err := s.enter(ctx, "Record"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	value, ok := s.records[kind][key]
	if !ok {
		return nil, mail.NewError(mail.CodeNotFound, "no such record")
	}
	return bytes.Clone(value), nil
}

// Records yields the records of a kind. The keys are those of the moment of the
// call.
func (s *Store) Records(ctx context.Context, kind string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if err := s.enter(ctx, "Records"); err != nil {
			return
		}
		all := maps.Clone(s.records[kind]) // values are never changed in place
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(all)) {
			value := bytes.Clone(all[key])
			more := yield(key, value)
			if s.opts.Mangle {
				mangle(value)
			}
			if !more {
				return
			}
		}
	}
}
