package memstore

import (
	"context"
	"iter"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Thread looks at every message.
func (s *Store) Thread(ctx context.Context, acct mail.AccountID, thread mail.ThreadID) iter.Seq2[store.ThreadMember, error] {
	return func(yield func(store.ThreadMember, error) bool) {
		members, err := s.members(ctx, acct, thread)
		if err != nil {
			yield(store.ThreadMember{}, err)
			return
		}
		for _, m := range members {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func (s *Store) members(ctx context.Context, acct mail.AccountID, thread mail.ThreadID) (out []store.ThreadMember, err error) {
	if err := s.enter(ctx, "Thread"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return nil, err
	}
	for _, b := range a.boxes {
		for _, m := range b.msgs {
			if m.threadID == thread {
				out = append(out, store.ThreadMember{Mailbox: b.row.ID, UID: m.uid})
			}
		}
	}
	return out, nil
}
