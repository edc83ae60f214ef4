package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
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

// argon2Params are the parameters of a stored Argon2 hash: KiB, passes, lanes.
type argon2Params struct {
	memory, time uint32
	threads      uint8
}

func parseArgon2(hash string, limits Limits) (check, error) {
	parts := strings.Split(hash[1:], "$")
	if len(parts) == 4 || len(parts) == 5 && parts[1] == "v=16" {
		return check{}, fmt.Errorf("%w: Argon2 version 1.0", ErrUnsupported) // a hash without v= is of that version
	}
	if len(parts) != 5 || parts[1] != "v=19" {
		return check{}, ErrFormat
	}
	p, err := parseArgon2Params(parts[2], limits)
	if err != nil {
		return check{}, err
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[3])
	if err != nil {
		return check{}, ErrFormat
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(want) < minKeySize || len(want) > maxKeySize {
		return check{}, ErrFormat
	}
	key := argon2.IDKey
	if parts[0] == "argon2i" {
		key = argon2.Key
	}
	derive := func(password string) ([]byte, error) {
		return key([]byte(password), salt, p.time, p.memory, p.threads, uint32(len(want))), nil
	}
	return check{want: want, derive: derive, stale: true}, nil
}

func parseArgon2Params(s string, limits Limits) (argon2Params, error) {
	fields := strings.Split(s, ",")
	if len(fields) > 3 {
		return argon2Params{}, fmt.Errorf("%w: Argon2 with a secret or associated data", ErrUnsupported)
	}
	if len(fields) != 3 {
		return argon2Params{}, ErrFormat
	}
	var n [3]int
	for i, prefix := range []string{"m=", "t=", "p="} {
		v, err := decimalParam(fields[i], prefix)
		if err != nil {
			return argon2Params{}, err
		}
		n[i] = v
	}
	memory, passes, lanes := n[0], n[1], n[2]
	if lanes > int(limits.Argon2Threads) {
		return argon2Params{}, tooCostly("Argon2 lanes", lanes, int(limits.Argon2Threads))
	}
	if memory < 8*lanes { // RFC 9106 section 3.1
		return argon2Params{}, ErrFormat
	}
	if memory > int(limits.Argon2Memory) {
		return argon2Params{}, tooCostly("Argon2 KiB", memory, int(limits.Argon2Memory))
	}
	if work := uint64(memory) * uint64(passes); work > limits.Argon2Work {
		return argon2Params{}, tooCostly("Argon2 KiB times passes", work, limits.Argon2Work)
	}
	return argon2Params{memory: uint32(memory), time: uint32(passes), threads: uint8(lanes)}, nil
}
