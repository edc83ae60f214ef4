package auth

import (
	"context"
	"errors"
	"fmt"

	"mallard/internal/mail"
)

// These are in the chains of errors of Authenticate whose code alone does not say
// what a log or the HTTP API has to tell apart. A client must not be told about the
// first two.
var (
	// ErrUnknown: there is no such account (AuthFailed).
	ErrUnknown = errors.New("unknown user")
	// ErrDisabled: the account is disabled or suspended (AuthFailed).
	ErrDisabled = errors.New("account is disabled")
	// ErrTempNotYetValid: the temporary password is right, too early (AuthFailed).
	ErrTempNotYetValid = errors.New("temporary password is not valid yet")
)

// For the log of logins alone.
var (
	errSuspended     = fmt.Errorf("%w: it is suspended", ErrDisabled)
	errScopeDisabled = errors.New("the service is disabled for the account")
)

// failure is a refused login of a known account.
type failure struct {
	account mail.AccountID
	err     error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// AccountOf returns the account that a refused login was for, zero when it is not
// known. It is for logs and trusted callers: a client must not learn from it that
// the account exists.
func AccountOf(err error) mail.AccountID {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.account
	}
	return mail.AccountID{}
}

const (
	textFailed      = "Authentication failed"
	textRateLimited = "Authentication was rate limited"
)

func authFailed(cause error) error { return mail.WrapError(mail.CodeAuthFailed, textFailed, cause) }

func rateLimited(cause string) error {
	return mail.WrapError(mail.CodeRateLimited, textRateLimited, errors.New(cause))
}

func scopeDisabled() error {
	return mail.WrapError(mail.CodeAuthScope, "Access to requested service disabled", errScopeDisabled)
}

func scopeInvalid() error {
	return mail.NewError(mail.CodeAuthScope, "Authentication failed. Invalid scope")
}

// trouble is an error that says nothing about the credentials. Errors that have a
// code of their own keep it.
func trouble(doing string, err error) error {
	if _, ok := errors.AsType[*mail.Error](err); ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(err, context.Canceled) {
		return mail.WrapError(mail.CodeCanceled, "canceled", fmt.Errorf("%s: %w", doing, err))
	}
	return mail.WrapError(mail.CodeUnavailable, "Authentication is not available now", fmt.Errorf("%s: %w", doing, err))
}
