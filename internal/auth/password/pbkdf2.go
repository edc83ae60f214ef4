package password

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// The cost and the sizes of new hashes, those of WildDuck so that its nodes do not rehash ours.
const (
	iterations = 100_000
	saltSize   = 16
	keySize    = 32
)

// The sizes of a stored digest that are accepted. A shorter one would be easy to match by chance.
const (
	minKeySize = 16
	maxKeySize = 64
)

// Hash makes a new hash of a password: PBKDF2-HMAC-SHA-256 with 100,000 iterations, a random salt of 16 octets and a
// key of 32 octets, as "$pbkdf2-sha256$i=100000$<22 characters>$<43 characters>".
//
// It fails with [ErrEmpty] or [ErrTooLong]. It blocks for the time of the hash; servers use [Verifier].
func Hash(password string) (string, error) {
	if password == "" {
		return "", ErrEmpty
	}
	if len(password) > MaxLength {
		return "", ErrTooLong
	}
	var salt [saltSize]byte
	rand.Read(salt[:]) // never fails
	key, err := pbkdf2.Key(sha256.New, password, salt[:], iterations, keySize)
	if err != nil {
		return "", fmt.Errorf("derive password key: %w", err)
	}
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$pbkdf2-sha256$i=%d$%s$%s", iterations, enc.EncodeToString(salt[:]), enc.EncodeToString(key)), nil
}

// VerifyNobody does the work of [Verify] for a hash made by [Hash] and fails always. It is for user names that do not
// exist, which must take as long as those that do.
func VerifyNobody(password string) {
	if password == "" || len(password) > MaxLength {
		return
	}
	var salt [saltSize]byte
	// The error cannot happen with these sizes, and the result is of no use.
	_, _ = pbkdf2.Key(sha256.New, password, salt[:], iterations, keySize)
}

func parsePBKDF2(hash string, limits Limits) (check, error) {
	parts := strings.Split(hash[1:], "$")
	if len(parts) != 4 {
		return check{}, ErrFormat
	}
	iter, err := decimalParam(parts[1], "i=")
	if err != nil {
		return check{}, err
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[2])
	if err != nil {
		return check{}, ErrFormat
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[3])
	if err != nil || len(want) < minKeySize || len(want) > maxKeySize {
		return check{}, ErrFormat
	}
	c := check{want: want, stale: iter < iterations}
	var size int
	switch parts[0] {
	case "pbkdf2-sha1":
		size, c.stale = sha1.Size, true
		c.derive = func(p string) ([]byte, error) { return pbkdf2.Key(sha1.New, p, salt, iter, len(want)) }
	case "pbkdf2-sha256":
		size = sha256.Size
		c.derive = func(p string) ([]byte, error) { return pbkdf2.Key(sha256.New, p, salt, iter, len(want)) }
	default:
		size = sha512.Size
		c.derive = func(p string) ([]byte, error) { return pbkdf2.Key(sha512.New, p, salt, iter, len(want)) }
	}
	blocks := (len(want) + size - 1) / size
	if iter > limits.PBKDF2Iterations/blocks {
		return check{}, tooCostly("PBKDF2 iterations", iter, limits.PBKDF2Iterations/blocks)
	}
	return c, nil
}

// decimalParam reads "name=123": a positive number of at most nine digits.
func decimalParam(s, prefix string) (int, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok || len(digits) == 0 || len(digits) > 9 || strings.Trim(digits, "0123456789") != "" {
		return 0, ErrFormat
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 {
		return 0, ErrFormat
	}
	return n, nil
}
