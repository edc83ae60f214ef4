package argon2full

import (
	"encoding/binary"
	"math/bits"
)

// blockSize is the size of a block of memory in octets.
const blockSize = 1024

// A block is the unit of memory: 128 words, seen as 8 rows of 8 registers of two words each.
type block [blockSize / 8]uint64

func (b *block) set(octets []byte) {
	for i := range b {
		b[i] = binary.LittleEndian.Uint64(octets[8*i:])
	}
}

func (b *block) octets() []byte {
	out := make([]byte, 0, blockSize)
	for _, w := range b {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return out
}

func (b *block) add(other *block) {
	for i, w := range other {
		b[i] ^= w
	}
}

// compress is G of RFC 9106 section 3.5: out becomes G(x, y), or the sum of that and what it was. out may be x or y.
func compress(out, x, y *block, add bool) {
	var r, z block
	for i := range r {
		r[i] = x[i] ^ y[i]
	}
	z = r
	for i := 0; i < len(z); i += 16 {
		permute((*[16]uint64)(z[i : i+16]))
	}
	var v [16]uint64
	for i := 0; i < 16; i += 2 {
		for j := range 8 {
			v[2*j], v[2*j+1] = z[16*j+i], z[16*j+i+1]
		}
		permute(&v)
		for j := range 8 {
			z[16*j+i], z[16*j+i+1] = v[2*j], v[2*j+1]
		}
	}
	if add {
		r.add(out)
	}
	for i := range out {
		out[i] = r[i] ^ z[i]
	}
}

// permute is P of RFC 9106 section 3.6: the round of BLAKE2b on a matrix of 4 by 4 words, columns and then diagonals.
func permute(v *[16]uint64) {
	v0, v1, v2, v3 := v[0], v[1], v[2], v[3]
	v4, v5, v6, v7 := v[4], v[5], v[6], v[7]
	v8, v9, v10, v11 := v[8], v[9], v[10], v[11]
	v12, v13, v14, v15 := v[12], v[13], v[14], v[15]

	v0, v4, v8, v12 = quarter(v0, v4, v8, v12)
	v1, v5, v9, v13 = quarter(v1, v5, v9, v13)
	v2, v6, v10, v14 = quarter(v2, v6, v10, v14)
	v3, v7, v11, v15 = quarter(v3, v7, v11, v15)

	v0, v5, v10, v15 = quarter(v0, v5, v10, v15)
	v1, v6, v11, v12 = quarter(v1, v6, v11, v12)
	v2, v7, v8, v13 = quarter(v2, v7, v8, v13)
	v3, v4, v9, v14 = quarter(v3, v4, v9, v14)

	v[0], v[1], v[2], v[3] = v0, v1, v2, v3
	v[4], v[5], v[6], v[7] = v4, v5, v6, v7
	v[8], v[9], v[10], v[11] = v8, v9, v10, v11
	v[12], v[13], v[14], v[15] = v12, v13, v14, v15
}

// quarter is GB of RFC 9106 section 3.6.
func quarter(a, b, c, d uint64) (uint64, uint64, uint64, uint64) {
	a = mix(a, b)
	d = bits.RotateLeft64(d^a, -32)
	c = mix(c, d)
	b = bits.RotateLeft64(b^c, -24)
	a = mix(a, b)
	d = bits.RotateLeft64(d^a, -16)
	c = mix(c, d)
	b = bits.RotateLeft64(b^c, -63)
	return a, b, c, d
}

// mix is the addition of BLAKE2b made harder: plus twice the product of the low halves.
func mix(a, b uint64) uint64 { return a + b + 2*uint64(uint32(a))*uint64(uint32(b)) }
