package password

import (
	"crypto/md5"
	"strings"
)

const (
	md5CryptMaxSalt = 8
	md5CryptRounds  = 1000
)

func parseMD5Crypt(stored string) (check, error) {
	salt, want, ok := strings.Cut(stored[len("$1$"):], "$")
	if !ok || len(want) != 22 || !isCryptText(want) {
		return check{}, ErrFormat
	}
	salt = salt[:min(len(salt), md5CryptMaxSalt)]
	derive := func(password string) ([]byte, error) {
		return md5Crypt([]byte(password), []byte(salt)), nil
	}
	return check{want: []byte(want), derive: derive, stale: true}, nil
}

// md5Crypt computes the encoded digest of the scheme that FreeBSD 2 introduced for crypt(3).
func md5Crypt(password, salt []byte) []byte {
	h := md5.New()
	write(h, password, salt, password)
	b := h.Sum(nil)

	h.Reset()
	write(h, password, []byte("$1$"), salt, repeated(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write([]byte{0})
		} else {
			h.Write(password[:1])
		}
	}
	a := h.Sum(nil)
	for i := range md5CryptRounds {
		cryptRound(h, i, a, password, salt)
		a = h.Sum(a[:0])
	}

	out := make([]byte, 0, 22)
	for i := range 4 {
		out = append24(out, a[i], a[i+6], a[i+12], 4)
	}
	out = append24(out, a[4], a[10], a[5], 4)
	return append24(out, 0, 0, a[11], 2)
}

// cryptAlphabet is the base64 alphabet of crypt(3).
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// append24 appends n characters that encode the 24 bits hi, mid, lo, least significant six bits first.
func append24(dst []byte, hi, mid, lo byte, n int) []byte {
	w := uint(hi)<<16 | uint(mid)<<8 | uint(lo)
	for range n {
		dst = append(dst, cryptAlphabet[w&0x3f])
		w >>= 6
	}
	return dst
}

func isCryptText(s string) bool {
	return strings.Trim(s, cryptAlphabet) == ""
}
