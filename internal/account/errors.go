package account

import (
	"errors"

	"mallard/internal/mail"
)

// These are in the chains of errors whose code alone does not tell cases apart
// that the HTTP API has different replies for.
var (
	// ErrUsernameTaken: another account has this username, dots aside (Exists).
	ErrUsernameTaken = errors.New("username is taken")
	// ErrAddressTaken: another row has this address, dots aside (Exists).
	ErrAddressTaken = errors.New("address is taken")
	// ErrPasswordHash: a hash that was given as password cannot be used (Invalid).
	ErrPasswordHash = errors.New("unusable password hash")
	// ErrWildcardChange: the address of a wildcard row was to be changed, or an
	// address to become a wildcard (Forbidden).
	ErrWildcardChange = errors.New("wildcard addresses cannot change")
	// ErrWildcardMain: a wildcard was to become a main address (Forbidden).
	ErrWildcardMain = errors.New("a wildcard cannot be the main address")
)

func usernameTaken() error {
	return mail.WrapError(mail.CodeExists, "This username already exists", ErrUsernameTaken)
}

func addressTaken() error {
	return mail.WrapError(mail.CodeExists, "This email address already exists", ErrAddressTaken)
}

func invalid(public string) error { return mail.NewError(mail.CodeInvalid, public) }

func noAddress() error {
	return mail.NewError(mail.CodeNotFound, "Invalid or unknown address")
}
