package password

import (
	"math/bits"
	"strings"
)

// Traditional crypt(3): DES (FIPS 46-3) of a zero block, 25 times over, under the low seven bits of the first eight
// octets of the password, with twelve bits of salt that swap bits of the expansion E. crypto/des cannot be used because
// its E is fixed.

func parseDES(stored string) (check, error) {
	if len(stored) != 13 || !isCryptText(stored) {
		return check{}, ErrFormat
	}
	salt := uint32(strings.IndexByte(cryptAlphabet, stored[0])) | uint32(strings.IndexByte(cryptAlphabet, stored[1]))<<6
	derive := func(password string) ([]byte, error) {
		return desCrypt(password, salt), nil
	}
	return check{want: []byte(stored[2:]), derive: derive, stale: true}, nil
}

func desCrypt(password string, salt uint32) []byte {
	var key uint64
	for i := range 8 {
		key <<= 8
		if i < len(password) {
			key |= uint64(password[i]&0x7f) << 1
		}
	}
	subkeys := desSubkeys(key)
	swap := bits.Reverse32(salt) >> 8 // bit i of the salt counts from the left of the 24-bit half

	var l, r uint32 // IP of a zero block is zero, and IP cancels FP between the 25 encryptions
	for range 25 {
		for _, k := range subkeys {
			l, r = r, l^desF(r, k, swap)
		}
		l, r = r, l
	}
	block := permute(uint64(l)<<32|uint64(r), 64, desFP[:])

	out := make([]byte, 0, 11)
	for shift := 58; shift >= 4; shift -= 6 {
		out = append(out, cryptAlphabet[block>>shift&0x3f])
	}
	return append(out, cryptAlphabet[block<<2&0x3f])
}

// desF is the cipher function with the salted expansion.
func desF(r uint32, subkey uint64, swap uint32) uint32 {
	var e uint64
	for i := range 8 { // E takes four bits and their neighbours, round the ring
		e = e<<6 | uint64(bits.RotateLeft32(r, 5+4*i)&0x3f)
	}
	left, right := uint32(e>>24), uint32(e&0xffffff)
	t := (left ^ right) & swap
	e = (uint64(left^t)<<24 | uint64(right^t)) ^ subkey

	var s uint64
	for i := range 8 {
		v := e >> (42 - 6*i) & 0x3f
		row, column := v>>4&2|v&1, v>>1&0xf
		s = s<<4 | uint64(desS[i][row*16+column])
	}
	return uint32(permute(s, 32, desP[:]))
}

func desSubkeys(key uint64) [16]uint64 {
	cd := permute(key, 64, desPC1[:])
	c, d := uint32(cd>>28), uint32(cd&0xfffffff)
	var keys [16]uint64
	for i := range keys {
		n := 2
		if i == 0 || i == 1 || i == 8 || i == 15 {
			n = 1
		}
		c = (c<<n | c>>(28-n)) & 0xfffffff
		d = (d<<n | d>>(28-n)) & 0xfffffff
		keys[i] = permute(uint64(c)<<28|uint64(d), 56, desPC2[:])
	}
	return keys
}

// permute selects bits of a value of the given width by a table in the numbering of FIPS 46-3: bit 1 is the leftmost.
func permute(v uint64, width int, table []uint8) uint64 {
	var out uint64
	for _, bit := range table {
		out = out<<1 | v>>(width-int(bit))&1
	}
	return out
}
