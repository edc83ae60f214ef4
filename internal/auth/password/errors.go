package password

import "errors"

var (
	// ErrFormat says that a stored hash is in no known format, or is damaged. No password can match it.
	ErrFormat = errors.New("password hash has an unknown or damaged format")
	// ErrUnsupported says that a stored hash is in a known format that this package cannot compute (Argon2
	// with a secret, which is not in the hash).
	ErrUnsupported = errors.New("password hash has an unsupported format")
	// ErrCost says that checking a stored hash would cost more than [Limits] allows.
	ErrCost = errors.New("password hash is too costly to check")
	// ErrEmpty says that an empty password was to be hashed.
	ErrEmpty = errors.New("password is empty")
	// ErrTooLong says that a password has more than [MaxLength] octets.
	ErrTooLong = errors.New("password is too long")
	// ErrBusy says that too many callers are waiting for a [Verifier]. The client may try again later.
	ErrBusy = errors.New("too many password checks are waiting")
)
