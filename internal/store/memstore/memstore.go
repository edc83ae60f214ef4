// Package memstore is the storage contract in its simplest form: one lock, maps
// and slices, nothing kept when it is closed.
//
// It is the model that package storetest compares the other engines with, and the
// engine that tests of the layers above run on: it can overwrite what it handed
// out (Options.Mangle), fail at will (Options.Fault) and forget what was expunged
// (Options.Tombstones). It is no place to keep mail.
//
// It imports packages store and mail only. Nothing but tests and package node
// imports it.
package memstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Options changes how a Store behaves. The zero value is a plain store.
type Options struct {
	// Now is the clock; nil for the system's.
	Now func() time.Time
	// Mangle overwrites every buffer and row that was handed out as soon as the
	// contract says that it is no longer valid, so that a user that keeps one
	// fails at once. It also calls the function of an update an extra time on a
	// copy that is thrown away, which the contract allows as well.
	Mangle bool
	// Tombstones is how many expunged UIDs of a mailbox are remembered; 0 for all.
	// When more are asked for, Changes answers with a whole mailbox.
	Tombstones int
	// Fault is called at the start of every operation, before anything happens
	// and without a lock; an error that it returns is the operation's result. It
	// may also block. op is the name of the method of store.Store; besides there
	// are "FetchRow" before each row, "RowOpen", and "WriteRange" of a Body.
	Fault func(op string) error
}

// Store is an in-memory engine. Make one with New.
type Store struct {
	opts Options
	gen  *mail.IDGenerator

	mu        sync.Mutex
	closed    bool
	accounts  map[mail.AccountID]*account
	names     map[string]*account // by view of the username
	addresses map[mail.AddressID]*mail.Address
	views     map[string]mail.AddressID
	aliases   map[string]string
	records   map[string]map[string][]byte
}

var _ store.Store = (*Store)(nil)

// New returns an empty store. It panics when the system has no randomness.
func New(opts Options) *Store {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	gen, err := mail.NewIDGenerator(opts.Now)
	if err != nil {
		panic(fmt.Sprintf("memstore: %v", err))
	}
	return &Store{
		opts:      opts,
		gen:       gen,
		accounts:  make(map[mail.AccountID]*account),
		names:     make(map[string]*account),
		addresses: make(map[mail.AddressID]*mail.Address),
		views:     make(map[string]mail.AddressID),
		aliases:   make(map[string]string),
		records:   make(map[string]map[string][]byte),
	}
}

// Close ends the store; its content is lost.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// enter starts an operation and leaves the store locked when it succeeds.
func (s *Store) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return mail.WrapError(mail.CodeCanceled, "canceled", err)
	}
	if err := s.fault(op); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return mail.WrapError(mail.CodeUnavailable, "the mail store is not available", store.ErrClosed)
	}
	return nil
}

func (s *Store) fault(op string) error {
	if s.opts.Fault == nil {
		return nil
	}
	return s.opts.Fault(op)
}

// now is the time as the store keeps it: UTC, whole seconds.
func (s *Store) now() time.Time { return seconds(s.opts.Now()) }

// seconds cuts a time to what the contract promises to keep, so that nobody
// comes to rely on more. A zero time stays zero.
func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// account returns an account; the store is locked.
func (s *Store) account(id mail.AccountID) (*account, error) {
	a, ok := s.accounts[id]
	if !ok {
		return nil, mail.NewError(mail.CodeNoAccount, "no such account")
	}
	return a, nil
}

// mailbox returns a mailbox and its account; the store is locked. A missing
// account has no mailboxes.
func (s *Store) mailbox(acct mail.AccountID, id mail.MailboxID) (*account, *mailbox, error) {
	if a, ok := s.accounts[acct]; ok {
		if b, ok := a.boxes[id]; ok {
			return a, b, nil
		}
	}
	return nil, nil, noMailbox("no such mailbox")
}

func noMailbox(public string) error { return mail.NewError(mail.CodeNoMailbox, public) }

// mangle overwrites buffers that are no longer valid.
func mangle(buffers ...[]byte) {
	for _, b := range buffers {
		for i := range b {
			b[i] = 0xdb
		}
	}
}
