package account

import (
	"context"

	"mallard/internal/mail"
)

// Recent is Get for those who can do with an account as it was up to Options.RecentTTL ago, where another process changed
// it; StorageUsed is older in any case. The account is shared: it must not be changed. Errors: NoAccount.
func (s *Service) Recent(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	if a, _ := s.recent.get(id); a != nil {
		return a, nil
	}
	return s.readAnew(ctx, id)
}

// readAnew reads an account for Recent.
func (s *Service) readAnew(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	_, version := s.recent.get(id)
	a, err := s.Get(ctx, id)
	if err == nil {
		s.recent.put(id, a, version)
	}
	return a, err
}

// recipient reads the account of a recipient. What would have its mail refused is never taken from the cache.
func (s *Service) recipient(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	if a, _ := s.recent.get(id); a != nil && !a.Disabled {
		limits, err := s.Limits(ctx, a)
		if err == nil && (limits.Quota <= 0 || a.StorageUsed < limits.Quota) {
			return a, nil
		}
	}
	return s.readAnew(ctx, id)
}
