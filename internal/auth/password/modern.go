package password

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"
)

// bcryptSize is the length of every bcrypt hash: "$2b$", cost, "$", 22 characters of salt, 31 of digest.
const bcryptSize = 60

func parseBcrypt(hash string, limits Limits) (check, error) {
	if len(hash) != bcryptSize {
		return check{}, ErrFormat
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return check{}, fmt.Errorf("%w: bcrypt: %w", ErrFormat, err)
	}
	if cost > limits.BcryptCost {
		return check{}, tooCostly("bcrypt cost", cost, limits.BcryptCost)
	}
	// The library compares the digests itself, in constant time; its verdict is turned into an equal or unequal digest.
	matches := []byte{1}
	derive := func(password string) ([]byte, error) {
		err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
		if err == nil {
			return matches, nil
		}
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return []byte{0}, nil
		}
		return nil, fmt.Errorf("%w: bcrypt: %w", ErrFormat, err)
	}
	return check{want: matches, derive: derive, stale: true}, nil
}
