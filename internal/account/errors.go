package account

import (
	"errors"
	"fmt"

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

const (
	textNoAccount = "This user does not exist"
	textNoAddress = "Invalid or unknown address"
)

func noAccount() error { return mail.NewError(mail.CodeNoAccount, textNoAccount) }

func noAddress() error { return mail.NewError(mail.CodeNotFound, textNoAddress) }

// unknownAccount adds what was being done to an error of the store. That there is
// no such account has one text, whatever the engine says.
func unknownAccount(doing string, err error) error {
	if mail.CodeOf(err) == mail.CodeNoAccount {
		return mail.WrapError(mail.CodeNoAccount, textNoAccount, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// unknownAddress is unknownAccount for address rows.
func unknownAddress(doing string, err error) error {
	if mail.CodeOf(err) == mail.CodeNotFound {
		return mail.WrapError(mail.CodeNotFound, textNoAddress, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
