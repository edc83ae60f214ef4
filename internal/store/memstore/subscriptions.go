package memstore

import (
	"context"
	"maps"
	"slices"

	"mallard/internal/mail"
)

// Subscribe makes a path subscribed, or not.
func (s *Store) Subscribe(ctx context.Context, acct mail.AccountID, path string, on bool, nameOctets int) error {
	if err := s.enter(ctx, "Subscribe"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return err
	}
	if b := a.byPath(path); b != nil {
		b.row.Subscribed = on
		return nil
	}
	if !on {
		delete(a.names, path)
		return nil
	}
	if !a.names[path] && !a.hasRoom(path, nameOctets) {
		return mail.NewError(mail.CodeLimit, "too many names without a mailbox are subscribed")
	}
	a.names[path] = true
	return nil
}

// hasRoom reports whether a path may be subscribed without a mailbox, when all such paths
// have at most limit octets.
func (a *account) hasRoom(path string, limit int) bool {
	used := len(path)
	for p := range a.names {
		used += len(p)
	}
	return used <= limit
}

// Subscriptions returns the mailboxes, and the paths that are subscribed without one.
func (s *Store) Subscriptions(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, []string, error) {
	if err := s.enter(ctx, "Subscriptions"); err != nil {
		return nil, nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return nil, nil, err
	}
	return a.sorted(), slices.Sorted(maps.Keys(a.names)), nil
}
