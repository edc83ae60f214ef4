package password

import "fmt"

// MaxLength is the longest password in octets. It is above the 256 characters that the API allows, in any script, and
// bounds formats whose cost grows with the length of the password.
const MaxLength = 1024

// Limits bounds what a stored hash may cost to check. A hash beyond a limit is refused with [ErrCost] before any work is
// done. The zero value of a field means its default (see [DefaultLimits]).
type Limits struct {
	PBKDF2Iterations int    // iterations times the number of output blocks
	BcryptCost       int    // log2 of the rounds; a step doubles the time
	CryptRounds      int    // rounds of SHA-256 and SHA-512 crypt
	Argon2Memory     uint32 // KiB for one check
	Argon2Work       uint64 // KiB times passes
	Argon2Threads    uint8  // lanes
}

// DefaultLimits returns the limits in force when none are set: each lets a hash take a few seconds of one CPU at most,
// and 256 MiB of memory, which is above what the tools that make such hashes use by default.
func DefaultLimits() Limits {
	return Limits{
		PBKDF2Iterations: 5_000_000,
		BcryptCost:       15,
		CryptRounds:      2_000_000,
		Argon2Memory:     256 << 10,
		Argon2Work:       1 << 20,
		Argon2Threads:    32,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.PBKDF2Iterations = orDefault(l.PBKDF2Iterations, d.PBKDF2Iterations)
	l.BcryptCost = orDefault(l.BcryptCost, d.BcryptCost)
	l.CryptRounds = orDefault(l.CryptRounds, d.CryptRounds)
	l.Argon2Memory = orDefault(l.Argon2Memory, d.Argon2Memory)
	l.Argon2Work = orDefault(l.Argon2Work, d.Argon2Work)
	l.Argon2Threads = orDefault(l.Argon2Threads, d.Argon2Threads)
	return l
}

func orDefault[T int | uint8 | uint32 | uint64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func tooCostly[T int | uint8 | uint32 | uint64](what string, got, limit T) error {
	return fmt.Errorf("%w: %s %d, limit %d", ErrCost, what, got, limit)
}
