package memstore

import (
	"context"

	"mallard/internal/mail"
	"mallard/internal/store"
)

var _ store.Recents = (*Store)(nil)

// TakeRecent notes up to where sessions were told of messages.
func (s *Store) TakeRecent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, upTo mail.UID) (mail.UID, error) {
	if err := s.enter(ctx, "TakeRecent"); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return 0, err
	}
	told := b.told
	b.told = max(told, min(upTo, b.row.UIDNext-1))
	return told, nil
}
