package password

import (
	"crypto/subtle"
	"strings"
)

// A check is a parsed stored hash: want is the stored digest, derive computes the digest of a password in the same
// representation, stale says that the format or cost is no longer what [Hash] makes.
type check struct {
	want   []byte
	derive func(password string) ([]byte, error)
	stale  bool
}

// Verify checks a password against a stored hash under [DefaultLimits].
//
// ok says that the password matches. rehash is true only together with ok, and says that the stored hash is of an older
// kind than [Hash] makes and should be replaced. err is [ErrFormat], [ErrUnsupported] or [ErrCost] (test with
// errors.Is) when the stored hash cannot be checked; the password is then to be treated as wrong. An empty password and
// one longer than [MaxLength] match nothing.
//
// The digest is compared in constant time. Verify blocks for the time of the hash and cannot be interrupted; servers use
// [Verifier].
func Verify(hash, password string) (ok, rehash bool, err error) {
	return verify(hash, password, DefaultLimits())
}

// Validate says whether hash is in a format that [Verify] can check at a cost within [DefaultLimits]. It does not
// compute the hash. Use it before an imported hash is stored.
func Validate(hash string) error {
	_, err := parse(hash, DefaultLimits())
	return err
}

func verify(hash, password string, limits Limits) (ok, rehash bool, err error) {
	c, err := parse(hash, limits)
	if err != nil {
		return false, false, err
	}
	if password == "" || len(password) > MaxLength {
		return false, false, nil
	}
	got, err := c.derive(password)
	if err != nil {
		return false, false, err
	}
	if subtle.ConstantTimeCompare(got, c.want) != 1 {
		return false, false, nil
	}
	return true, c.stale, nil
}

// maxHash is the longest stored hash in octets that is looked at.
const maxHash = 1024

func parse(hash string, limits Limits) (check, error) {
	if len(hash) > maxHash {
		return check{}, ErrFormat
	}
	if !strings.HasPrefix(hash, "$") {
		return parseDES(hash)
	}
	scheme, _, found := strings.Cut(hash[1:], "$")
	if !found {
		return check{}, ErrFormat
	}
	switch scheme {
	case "pbkdf2-sha1", "pbkdf2-sha256", "pbkdf2-sha512":
		return parsePBKDF2(hash, limits)
	case "2a", "2b", "2y":
		return parseBcrypt(hash, limits)
	case "argon2d", "argon2i", "argon2id":
		return parseArgon2(hash, limits)
	case "1":
		return parseMD5Crypt(hash)
	case "5", "6":
		return parseSHACrypt(hash, limits)
	}
	return check{}, ErrFormat
}
