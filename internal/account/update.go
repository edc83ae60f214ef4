package account

import (
	"context"
	"time"

	"mallard/internal/mail"
)

// AuthenticationRequired is what sessions are told whose credentials no longer hold.
const AuthenticationRequired = "Authentication required"

// Changes is the input of Update. What is nil stays.
type Changes struct {
	Profile
	// Password replaces the master password and ends a temporary one. Whether
	// the caller knows the existing password is for package auth to check.
	Password *Password
	// Disabled: no login and no mail. Suspended: no login, mail is accepted.
	// Setting either ends the sessions of the account.
	Disabled  *bool
	Suspended *bool
	// Disable2FA removes every second factor.
	Disable2FA bool
}

// Update changes an account. A new password and suspension make the account's
// access tokens invalid (AuthVersion grows) and end its sessions. Retention does
// not touch mailboxes that exist. Errors: NoAccount, Invalid (with ErrPasswordHash
// in the chain when it is about a hash), Limit.
func (s *Service) Update(ctx context.Context, id mail.AccountID, in Changes) (*mail.Account, error) {
	if err := in.normalize(); err != nil {
		return nil, err
	}
	var hash string
	if in.Password != nil {
		// Hashing is slow and must not happen inside the store's change, so
		// whether there is such an account at all is looked up first.
		if _, err := s.Get(ctx, id); err != nil {
			return nil, err
		}
		var err error
		if hash, err = s.hashPassword(ctx, *in.Password); err != nil {
			return nil, err
		}
	}
	now := s.now().UTC()
	a, err := s.store.UpdateAccount(ctx, id, func(a *mail.Account) error {
		if err := in.apply(s, a); err != nil {
			return err
		}
		in.applyAccess(a, hash, now)
		return nil
	})
	s.recent.forget(id) // also when it is not known whether it was done
	if err != nil {
		return nil, unknownAccount("update account", err)
	}
	if in.Password != nil || isTrue(in.Suspended) || isTrue(in.Disabled) {
		s.endSessions(ctx, id, AuthenticationRequired)
	}
	return a, nil
}

// applyAccess changes who can log in.
func (c *Changes) applyAccess(a *mail.Account, hash string, now time.Time) {
	if c.Password != nil {
		a.Password, a.TempPassword, a.RequirePasswordChange = hash, nil, false
		a.PasswordChange = now
		a.AuthVersion++
	}
	set(&a.Disabled, c.Disabled)
	set(&a.Suspended, c.Suspended)
	if isTrue(c.Suspended) {
		a.AuthVersion++
	}
	if c.Disable2FA {
		a.Enabled2FA = nil
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

// ResetPassword gives the account a temporary password, which is returned and not
// kept. It works for TempPasswordLife, not before validAfter (zero: at once), and
// only with scope master; the old password keeps working. Errors: NoAccount.
func (s *Service) ResetPassword(ctx context.Context, id mail.AccountID, validAfter time.Time) (string, time.Time, error) {
	if _, err := s.Get(ctx, id); err != nil {
		return "", time.Time{}, err
	}
	password := newTempPassword()
	hash, err := s.hashPassword(ctx, Password{Text: password})
	if err != nil {
		return "", time.Time{}, err
	}
	now := s.now().UTC()
	if validAfter.IsZero() {
		validAfter = now
	}
	_, err = s.store.UpdateAccount(ctx, id, func(a *mail.Account) error {
		a.TempPassword = &mail.TempPassword{Hash: hash, ValidAfter: validAfter, Created: now}
		return nil
	})
	if err != nil {
		return "", time.Time{}, unknownAccount("reset password", err)
	}
	return password, validAfter, nil
}
