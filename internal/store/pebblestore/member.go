package pebblestore

import (
	"context"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// memberStep is how many messages of a conversation are read at a time: no iterator
// is open while they are given out.
const memberStep = 1024

// Thread implements store.Messages.
func (s *Store) Thread(ctx context.Context, acct mail.AccountID, thread mail.ThreadID) iter.Seq2[store.ThreadMember, error] {
	return func(yield func(store.ThreadMember, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(store.ThreadMember{}, err)
			return
		}
		defer s.leave()
		a, err := s.account(ctx, acct)
		if err != nil {
			yield(store.ThreadMember{}, err)
			return
		}
		defer s.accounts.release(a)
		prefix := memberPrefix(acct, thread)
		for from, end := prefix, after(prefix); from != nil; {
			var members []store.ThreadMember
			if members, from, err = s.readMembers(ctx, from, end); err != nil {
				yield(store.ThreadMember{}, err)
				return
			}
			boxes := a.set.Load().byID
			for _, m := range members {
				if boxes[m.Mailbox] == nil {
					continue // deleted; its rows go in the background
				}
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}

// readMembers reads some rows of a conversation and returns the key to go on from,
// nil at the end.
func (s *Store) readMembers(ctx context.Context, from, end []byte) (out []store.ThreadMember, next []byte, err error) {
	if ctx.Err() != nil {
		return nil, nil, canceled(ctx)
	}
	err = s.scanRange(from, end, func(key, _ []byte) error {
		if len(out) == memberStep {
			next = append([]byte(nil), key...)
			return errStop
		}
		if _, box, uid, ok := memberOf(key); ok {
			out = append(out, store.ThreadMember{Mailbox: box, UID: uid})
		}
		return nil
	})
	return out, next, err
}

// indexMembers is the upgrade to version 2: it makes the index by conversation. It
// writes the same rows each time.
func indexMembers(ctx context.Context, s *Store) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	const flushAt = 1 << 20
	err := s.scan([]byte{tabOwned}, func(key, value []byte) error {
		if len(key) != hotKeySize || key[1+idSize] != tabHot {
			return nil
		}
		var h hot
		if h.decode(value) != nil {
			return nil // damage is for Check to find
		}
		acct, box := mail.AccountID(key[1:1+idSize]), mail.MailboxID(key[ownedSize:boxKeySize])
		set(b, appendMemberKey(nil, acct, h.thread, box, keyUID(key)), nil)
		if b.Len() < flushAt {
			return nil
		}
		if ctx.Err() != nil {
			return canceled(ctx)
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
		b.Reset()
		return nil
	})
	if err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}
