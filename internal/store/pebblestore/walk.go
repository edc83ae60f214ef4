package pebblestore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
)

// walk calls f for the hot records of a set of messages in ascending order, as the
// database is now. The record's keywords are valid during the call.
func (s *Store) walk(ctx context.Context, acct mail.AccountID, box mail.MailboxID, uids mail.UIDSet, f func(uid mail.UID, h *hot) error) error {
	prefix := boxKey(tabHot, acct, box)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return readError("read messages", err)
	}
	err = walkRanges(ctx, it, acct, box, uids, f)
	if cerr := it.Close(); err == nil && cerr != nil {
		err = readError("read messages", cerr)
	}
	return err
}

func walkRanges(ctx context.Context, it *pebble.Iterator, acct mail.AccountID, box mail.MailboxID, uids mail.UIDSet, f func(uid mail.UID, h *hot) error) error {
	var key [hotKeySize]byte
	var h hot
	n := 0
	for _, r := range uids {
		ok := it.SeekGE(appendUIDKey(key[:0], tabHot, acct, box, r.First))
		for ; ok; ok = it.Next() {
			uid := keyUID(it.Key())
			if uid > r.Last {
				break
			}
			if n++; n%256 == 0 && ctx.Err() != nil {
				return canceled(ctx)
			}
			value, err := it.ValueAndErr()
			if err != nil {
				return readError("read messages", err)
			}
			if err := h.decode(value); err != nil {
				return corrupt(fmt.Sprintf("message %d of mailbox %s of account %s", uid, box, acct), err)
			}
			if err := f(uid, &h); err != nil {
				return err
			}
		}
		if !ok {
			break
		}
	}
	if err := it.Error(); err != nil {
		return readError("read messages", err)
	}
	return nil
}

// extra reads what few messages have.
func (s *Store) extra(acct mail.AccountID, box mail.MailboxID, uid mail.UID, h *hot) (extra, error) {
	if h.bits&hotHasExtra == 0 {
		return extra{expires: noExpiry}, nil
	}
	value, err := s.get(uidKey(tabExtra, acct, box, uid))
	if err != nil {
		return extra{}, err
	}
	x, err := decodeExtra(value)
	if err != nil {
		return x, corrupt(fmt.Sprintf("metadata of message %d of mailbox %s of account %s", uid, box, acct), err)
	}
	return x, nil
}
