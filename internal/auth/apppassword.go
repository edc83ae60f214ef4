package auth

import (
	"context"
	"errors"
	"slices"
	"time"

	"mallard/internal/auth/password"
	"mallard/internal/mail"
)

// AppPassword is a password that a person made for one program.
type AppPassword = mail.AppPassword

// AppPasswords keeps application passwords.
type AppPasswords interface {
	// AppPasswords returns those of the account with this selector or without one.
	AppPasswords(ctx context.Context, acct mail.AccountID, selector string) ([]AppPassword, error)
	// AppPasswordUsed records a login, with its entry in the log of logins. A new end of
	// its life is set when expires is not zero.
	AppPasswordUsed(ctx context.Context, acct mail.AccountID, id, ip, event string, at, expires time.Time) error
}

// anyService is the scope of application passwords for all services.
const anyService = "*"

// checkAppPasswords returns the application password that was typed, nil for none.
// One for other services is an error with code AuthScope, which the caller may
// forget when the text turns out to be the master password. Failures are not
// counted here: who goes on guessing ends at the primary password, which counts, and
// a program that logs in by its own password is not locked out by those guesses.
func (s *Service) checkAppPasswords(ctx context.Context, req Request, acct *mail.Account) (*AppPassword, error) {
	if s.o.AppPasswords == nil || req.Scope == ScopeMaster {
		return nil, nil
	}
	typed, ok := password.AppPassword(req.Password)
	if !ok {
		return nil, nil
	}
	list, err := s.o.AppPasswords.AppPasswords(ctx, acct.ID, password.Selector(typed))
	if err != nil {
		return nil, trouble("read application passwords", err)
	}
	now := s.o.Now()
	for i := range list {
		asp := &list[i]
		if !asp.Expires.IsZero() && !now.Before(asp.Expires) {
			continue
		}
		ok, err := s.matches(ctx, acct, asp, typed)
		switch {
		case err != nil:
			return nil, err
		case !ok:
		case slices.Contains(asp.Scopes, anyService) || slices.Contains(asp.Scopes, req.Scope):
			return asp, nil
		default:
			return nil, scopeInvalid()
		}
	}
	return nil, nil
}

// matches compares with one application password, through the cache.
func (s *Service) matches(ctx context.Context, acct *mail.Account, asp *AppPassword, typed string) (bool, error) {
	key := s.cache.keyOf("asp", string(acct.ID[:]), asp.Hash, typed)
	if s.cache.get(key) != "" {
		return true, nil
	}
	source, err := s.cache.do(ctx, key, func() (Source, error) {
		ok, _, err := s.o.Passwords.Verify(ctx, asp.Hash, typed)
		if errors.Is(err, password.ErrFormat) || errors.Is(err, password.ErrUnsupported) || errors.Is(err, password.ErrCost) {
			s.o.Log.Warn("an application password has an unusable hash", "account", acct.ID, "asp", asp.ID, "error", err)
			return "", nil
		}
		if !ok || err != nil {
			return "", err
		}
		return SourceASP, nil
	})
	if err != nil {
		return false, trouble("check application password", err)
	}
	return source != "", nil
}

// usedAppPassword records a login. The login stands whatever becomes of that.
func (s *Service) usedAppPassword(ctx context.Context, req Request, asp *AppPassword, now time.Time, event string) {
	var expires time.Time
	if asp.TTL > 0 {
		expires = now.Add(asp.TTL)
	}
	if err := s.o.AppPasswords.AppPasswordUsed(ctx, asp.Account, asp.ID, ipText(req), event, now, expires); err != nil {
		s.o.Log.Warn("cannot record the use of an application password", "account", asp.Account, "asp", asp.ID, "error", err)
	}
}
