package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"mallard/internal/auth/password"
	"mallard/internal/mail"
)

// Source says which password a login was made with.
type Source string

// The sources.
const (
	SourceMaster    Source = "master"
	SourceTemporary Source = "temporary"
	SourceASP       Source = "asp" // application password
)

// Request is a login.
type Request struct {
	Username string // username or address
	Password string
	Scope    string // ScopeMaster or the name of a service
	Protocol string // for logs: IMAP, POP3, API
	IP       netip.Addr
	Session  string // for logs
	AppID    string // for the log of logins: the application, of a login to the API
}

// Result is a login that succeeded.
type Result struct {
	Account *mail.Account
	Scope   string
	Source  Source
	// Require2FA are the second factors of which one is still needed, nil for
	// none. Only scope master can be asked for one.
	Require2FA []string
	// RequirePasswordChange asks the person to set a new password.
	RequirePasswordChange bool
	// AppPassword is set when Source is SourceASP.
	AppPassword *AppPassword
}

// Authenticate checks a login, in this order: the limit of failures of the IP
// address; the account; with another scope than master its application passwords;
// the limit of failures of the user; the temporary and the master password; whether
// the account may log in; whether it may use the service; second factors. What
// would tell that an account exists is thus said only to those who know a password
// of it. For an unknown user it takes the time of a check.
//
// Errors: AuthFailed, AuthScope, RateLimited, Unavailable; see ErrUnknown and the
// errors beside it, and AccountOf.
func (s *Service) Authenticate(ctx context.Context, req Request) (*Result, error) {
	ip := s.ipKey(req.IP)
	res, err := s.authenticate(ctx, req, ip)
	if err != nil && mail.CodeOf(err) == mail.CodeAuthFailed && !errors.Is(err, ErrTempNotYetValid) {
		s.failedIP(ctx, ip)
	}
	s.logOutcome(ctx, req, res, err)
	s.logLogin(ctx, req, res, err)
	return res, err
}

func (s *Service) authenticate(ctx context.Context, req Request, ip string) (*Result, error) {
	if req.Password == "" || len(req.Password) > password.MaxLength {
		return nil, authFailed(errors.New("no usable password"))
	}
	if err := s.checkIP(ctx, ip); err != nil {
		return nil, err
	}
	acct, err := s.o.Directory.FindLogin(ctx, req.Username)
	if mail.CodeOf(err) == mail.CodeNoAccount {
		return nil, s.nobody(ctx, req)
	}
	if err != nil {
		return nil, trouble("find the account of a login", err)
	}
	res, err := s.login(ctx, req, acct)
	if err != nil {
		return nil, &failure{account: acct.ID, err: err}
	}
	return res, nil
}

// nobody refuses a login of an unknown user as one of a known user with a wrong
// password would be.
func (s *Service) nobody(ctx context.Context, req Request) error {
	key := nobodyKey(req.Username)
	_, err := s.guess(ctx, key, s.cache.keyOf("nobody", key, req.Password), func() (Source, error) {
		return "", s.o.Passwords.VerifyNobody(ctx, req.Password)
	})
	if err != nil {
		return err
	}
	return authFailed(ErrUnknown)
}

// login checks a login of a known account.
func (s *Service) login(ctx context.Context, req Request, acct *mail.Account) (*Result, error) {
	asp, aspErr := s.checkAppPasswords(ctx, req, acct)
	if aspErr != nil && mail.CodeOf(aspErr) != mail.CodeAuthScope {
		return nil, aspErr
	}
	source := SourceASP
	if asp == nil {
		var err error
		source, err = s.checkPrimary(ctx, acct, req.Password)
		switch {
		case err != nil:
			return nil, err
		case source == "" && aspErr != nil:
			return nil, aspErr
		case source == "":
			return nil, authFailed(nil)
		}
	}
	if err := s.admit(ctx, req, acct, source); err != nil {
		return nil, err
	}
	res := &Result{Account: acct, Scope: req.Scope, Source: source, AppPassword: asp}
	if asp != nil {
		return res, nil
	}
	if source == SourceMaster && req.Scope == ScopeMaster && len(acct.Enabled2FA) > 0 {
		res.Require2FA = slices.Clone(acct.Enabled2FA)
	}
	res.RequirePasswordChange = source == SourceTemporary || acct.RequirePasswordChange
	s.reset(ctx, userKey(acct.ID))
	return res, nil
}

// admit decides whether an account whose password was right may log in.
func (s *Service) admit(ctx context.Context, req Request, acct *mail.Account, source Source) error {
	switch {
	case acct.Disabled || acct.Suspended:
		s.failed(ctx, userKey(acct.ID)) // as a wrong password
		if !acct.Disabled {
			return authFailed(errSuspended)
		}
		return authFailed(ErrDisabled)
	case slices.Contains(acct.DisabledScopes, req.Scope):
		return scopeDisabled()
	case source == SourceASP:
		return nil
	case req.Scope != ScopeMaster && (source == SourceTemporary || len(acct.Enabled2FA) > 0):
		return scopeInvalid()
	case source == SourceTemporary && s.o.Now().Before(acct.TempPassword.ValidAfter):
		return mail.WrapError(mail.CodeAuthFailed, "Temporary password is not yet valid", ErrTempNotYetValid)
	}
	return nil
}

// checkPrimary tries the temporary and the master password. The source is "" when
// neither is right.
func (s *Service) checkPrimary(ctx context.Context, acct *mail.Account, typed string) (Source, error) {
	temp := ""
	if t := acct.TempPassword; t != nil && s.o.Now().Before(t.Created.Add(tempPasswordLife)) {
		temp = t.Hash
	}
	key := s.cache.keyOf("primary", string(acct.ID[:]), acct.Password, temp, typed)
	return s.guess(ctx, userKey(acct.ID), key, func() (Source, error) {
		if temp != "" {
			ok, _, err := s.verify(ctx, acct.ID, temp, typed)
			if ok || err != nil {
				return SourceTemporary, err
			}
		}
		if acct.Password == "" {
			return "", s.o.Passwords.VerifyNobody(ctx, typed)
		}
		ok, rehash, err := s.verify(ctx, acct.ID, acct.Password, typed)
		if !ok || err != nil {
			return "", err
		}
		if rehash {
			s.rehash(ctx, acct, typed)
		}
		return SourceMaster, nil
	})
}

// guess answers from the cache or by f, within the limit of failures of a user.
func (s *Service) guess(ctx context.Context, counter string, key cacheKey, f func() (Source, error)) (Source, error) {
	if source := s.cache.get(key); source != "" {
		return source, s.locked(ctx, counter)
	}
	source, err := s.cache.do(ctx, key, func() (source Source, err error) {
		end, err := s.begin(ctx, counter)
		if err != nil {
			return "", err
		}
		defer func() { end(source == "" && err == nil) }()
		return f()
	})
	if err != nil {
		return "", trouble("check password", err)
	}
	return source, nil
}

// verify compares a password with a stored hash. A hash that cannot be used fits no
// password; that somebody should know is all that it does.
func (s *Service) verify(ctx context.Context, id mail.AccountID, hash, typed string) (ok, rehash bool, err error) {
	ok, rehash, err = s.o.Passwords.Verify(ctx, hash, typed)
	if errors.Is(err, password.ErrFormat) || errors.Is(err, password.ErrUnsupported) || errors.Is(err, password.ErrCost) {
		s.o.Log.Warn("an account has an unusable password hash", "account", id, "error", err)
		return false, false, s.o.Passwords.VerifyNobody(ctx, typed)
	}
	return ok, rehash, err
}

// rehash replaces a hash of an old kind. A login does not fail for it.
func (s *Service) rehash(ctx context.Context, acct *mail.Account, typed string) {
	hash, err := s.o.Passwords.Hash(ctx, typed)
	if err == nil {
		_, err = s.o.Accounts.UpdateAccount(ctx, acct.ID, func(a *mail.Account) error {
			if a.Password == acct.Password { // not changed meanwhile
				a.Password = hash
			}
			return nil
		})
	}
	if err != nil {
		s.o.Log.Warn("cannot renew a password hash", "account", acct.ID, "error", err)
	}
}

// isRecent reports whether a login need not be stored because the last one is no older
// than Options.LastLoginStep.
func (s *Service) isRecent(last mail.LastLogin, ip string, now time.Time) bool {
	return s.o.LastLoginStep > 0 && last.IP == ip && now.Sub(last.Time) < s.o.LastLoginStep && !now.Before(last.Time)
}

// noteLogin stores the time and place of a login with a primary password.
func (s *Service) noteLogin(ctx context.Context, id mail.AccountID, login mail.LastLogin) {
	_, err := s.o.Accounts.UpdateAccount(ctx, id, func(a *mail.Account) error {
		if a.LastLogin.Time.Before(login.Time) && !s.isRecent(a.LastLogin, login.IP, login.Time) {
			a.LastLogin = login
		}
		return nil
	})
	if err != nil {
		s.o.Log.Warn("cannot store the last login", "account", id, "error", err)
	}
}

// CheckPassword reports whether typed is the master password of the account, as a
// change of password may ask for; an account without one has nothing to check. It
// counts as a login for the limit of failures. Errors: AuthFailed, RateLimited,
// Unavailable.
func (s *Service) CheckPassword(ctx context.Context, acct *mail.Account, typed string) error {
	if acct.Password == "" {
		return nil
	}
	if typed == "" || len(typed) > password.MaxLength {
		return authFailed(errors.New("no usable password"))
	}
	key := s.cache.keyOf("master", string(acct.ID[:]), acct.Password, typed)
	source, err := s.guess(ctx, userKey(acct.ID), key, func() (Source, error) {
		ok, _, err := s.verify(ctx, acct.ID, acct.Password, typed)
		if !ok || err != nil {
			return "", err
		}
		return SourceMaster, nil
	})
	if err == nil && source == "" {
		err = authFailed(nil)
	}
	return err
}

// PreAuth says who would log in with this name and whether a second factor would
// be asked for, without a password: for trusted callers only. Errors: AuthFailed,
// AuthScope.
func (s *Service) PreAuth(ctx context.Context, login, scope string) (*Result, error) {
	acct, err := s.o.Directory.FindLogin(ctx, login)
	switch {
	case mail.CodeOf(err) == mail.CodeNoAccount:
		return nil, authFailed(ErrUnknown)
	case err != nil:
		return nil, trouble("find the account of a login", err)
	case acct.Disabled || acct.Suspended:
		return nil, &failure{account: acct.ID, err: authFailed(ErrDisabled)}
	case slices.Contains(acct.DisabledScopes, scope):
		return nil, &failure{account: acct.ID, err: scopeDisabled()}
	}
	res := &Result{Account: acct, Scope: scope}
	if scope == ScopeMaster && len(acct.Enabled2FA) > 0 {
		res.Require2FA = slices.Clone(acct.Enabled2FA)
	}
	return res, nil
}

// logOutcome writes one line for each login. The login name is not in it: of an
// unknown user it may be a password in the wrong field, and a known one has an id.
func (s *Service) logOutcome(ctx context.Context, req Request, res *Result, err error) {
	attrs := []slog.Attr{slog.String("protocol", req.Protocol), slog.String("scope", req.Scope), slog.String("session", req.Session)}
	if req.IP.IsValid() {
		attrs = append(attrs, slog.String("ip", req.IP.String()))
	}
	if err == nil {
		attrs = append(attrs, slog.String("account", res.Account.ID.String()), slog.String("source", string(res.Source)))
		s.o.Log.LogAttrs(ctx, slog.LevelInfo, "login", attrs...)
		return
	}
	if id := AccountOf(err); !id.IsZero() {
		attrs = append(attrs, slog.String("account", id.String()))
	}
	level := slog.LevelInfo
	if mail.CodeOf(err) == mail.CodeUnavailable || mail.CodeOf(err) == mail.CodeInternal {
		level = slog.LevelWarn
	}
	attrs = append(attrs, slog.String("code", mail.CodeOf(err).String()), slog.String("error", err.Error()))
	s.o.Log.LogAttrs(ctx, level, "login refused", attrs...)
}
