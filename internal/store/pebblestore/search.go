package pebblestore

import (
	"context"
	"iter"

	"mallard/internal/mail"
)

// MayContain implements store.Messages.
func (s *Store) MayContain(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, needles [][]byte) iter.Seq2[mail.UID, error] {
	return func(yield func(mail.UID, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(0, err)
			return
		}
		defer s.leave()
		a, err := s.account(ctx, acct)
		if err != nil {
			yield(0, err)
			return
		}
		defer s.accounts.release(a)
		if a.set.Load().byID[mbox] == nil {
			yield(0, noMailbox())
			return
		}
		err = s.walk(ctx, acct, mbox, uids, func(uid mail.UID, _ *hot) error {
			if !yield(uid, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && err != errStop {
			yield(0, err)
		}
	}
}
