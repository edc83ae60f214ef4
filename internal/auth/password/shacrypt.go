package password

import (
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strconv"
	"strings"
)

// SHA-256 and SHA-512 crypt, from the public specification by Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512".
const (
	shaCryptRounds    = 5000 // when the hash names none
	shaCryptMinRounds = 1000 // a smaller number means this one
	shaCryptMaxRounds = 999_999_999
	shaCryptMaxSalt   = 16
)

func parseSHACrypt(stored string, limits Limits) (check, error) {
	newHash, encode, size := sha256.New, encodeSHA256Crypt, 43
	if stored[1] == '6' {
		newHash, encode, size = sha512.New, encodeSHA512Crypt, 86
	}
	rest := stored[len("$5$"):]
	rounds := shaCryptRounds
	if param, tail, ok := strings.Cut(rest, "$"); ok && strings.HasPrefix(param, "rounds=") {
		n, err := strconv.ParseUint(strings.TrimPrefix(param, "rounds="), 10, 32)
		if err != nil {
			return check{}, ErrFormat
		}
		rounds = int(min(max(n, shaCryptMinRounds), shaCryptMaxRounds))
		rest = tail
	}
	salt, want, ok := strings.Cut(rest, "$")
	if !ok || len(want) != size || !isCryptText(want) {
		return check{}, ErrFormat
	}
	if rounds > limits.CryptRounds {
		return check{}, tooCostly("crypt rounds", rounds, limits.CryptRounds)
	}
	salt = salt[:min(len(salt), shaCryptMaxSalt)]
	derive := func(password string) ([]byte, error) {
		return encode(shaCrypt(newHash, []byte(password), []byte(salt), rounds)), nil
	}
	return check{want: []byte(want), derive: derive, stale: true}, nil
}

// shaCrypt computes the digest; the names A, B, P and S are those of the specification.
func shaCrypt(newHash func() hash.Hash, password, salt []byte, rounds int) []byte {
	h := newHash()
	write(h, password, salt, password)
	b := h.Sum(nil)

	h.Reset()
	write(h, password, salt, repeated(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)

	h.Reset()
	for range len(password) {
		h.Write(password)
	}
	p := repeated(h.Sum(nil), len(password))

	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	s := repeated(h.Sum(nil), len(salt))

	for i := range rounds {
		cryptRound(h, i, a, p, s)
		a = h.Sum(a[:0])
	}
	return a
}

// cryptRound is one round of MD5 crypt and SHA crypt, which differ only in what p and s are.
func cryptRound(h hash.Hash, i int, a, p, s []byte) {
	h.Reset()
	first, last := a, p
	if i&1 != 0 {
		first, last = p, a
	}
	h.Write(first)
	if i%3 != 0 {
		h.Write(s)
	}
	if i%7 != 0 {
		h.Write(p)
	}
	h.Write(last)
}

func write(h hash.Hash, parts ...[]byte) {
	for _, p := range parts {
		h.Write(p)
	}
}

// repeated returns n octets of b over and over.
func repeated(b []byte, n int) []byte {
	out := make([]byte, 0, n+len(b))
	for len(out) < n {
		out = append(out, b...)
	}
	return out[:n]
}

// encodeSHA256Crypt encodes the digest in the order of the specification: triples whose indexes go round by ten.
func encodeSHA256Crypt(d []byte) []byte {
	out := make([]byte, 0, 43)
	x, y, z := 0, 10, 20
	for range 10 {
		out = append24(out, d[x], d[y], d[z], 4)
		x, y, z = z+1, x+1, y+1
	}
	return append24(out, 0, d[31], d[30], 3)
}

// encodeSHA512Crypt is the same for the longer digest: triples whose indexes go round by twenty-one.
func encodeSHA512Crypt(d []byte) []byte {
	out := make([]byte, 0, 86)
	x, y, z := 0, 21, 42
	for range 21 {
		out = append24(out, d[x], d[y], d[z], 4)
		x, y, z = y+1, z+1, x+1
	}
	return append24(out, 0, 0, d[63], 2)
}
