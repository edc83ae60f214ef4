package search

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// The form of a signature: an octet that says version 1, an octet with the binary logarithm of the size of the bitmap in
// octets (6 to 16), then the bitmap. The bit of a trigram is the low bits of its hash, bit k of the bitmap being bit k%8
// of octet k/8; a bitmap of half the size is the two halves of the whole or-ed together.
const (
	signatureVersion = 1
	signatureHeader  = 2
	minBitmapLog     = 6  // 64 octets
	maxBitmapLog     = 16 // 64 KiB
)

// A Signature says which trigrams (three octets in a row) of a folded text there may be. It is a Bloom filter with one
// hash function. A Signature that is empty, damaged or of another version says that there may be any.
type Signature []byte

// MayContain reports whether the text may contain the needle. False is certain. The needle must be folded; about one
// shorter than three octets a signature knows nothing. To ask many signatures use a [Probe].
func (s Signature) MayContain(needle []byte) bool {
	bitmap := s.bitmap()
	if bitmap == nil {
		return true
	}
	for i := 0; i+3 <= len(needle); i++ {
		if !testBit(bitmap, trigramHash(needle[i], needle[i+1], needle[i+2])) {
			return false
		}
	}
	return true
}

// Valid reports whether the signature is of a known form. Any other knows nothing.
func (s Signature) Valid() bool { return s.bitmap() != nil }

// bitmap returns the bitmap of a signature of a known form, or nil.
func (s Signature) bitmap() []byte {
	if len(s) < signatureHeader || s[0] != signatureVersion || s[1] < minBitmapLog || s[1] > maxBitmapLog ||
		len(s) != signatureHeader+1<<s[1] {
		return nil
	}
	return s[signatureHeader:]
}

// A Probe asks whether texts may contain all of some needles, from their signatures. It is immutable.
type Probe struct {
	hashes []uint32
}

// NewProbe returns a Probe for folded needles. Needles shorter than three octets do not count.
func NewProbe(needles ...[]byte) *Probe {
	p := &Probe{}
	seen := make(map[uint32]bool)
	for _, n := range needles {
		for i := 0; i+3 <= len(n); i++ {
			if h := trigramHash(n[i], n[i+1], n[i+2]); !seen[h] {
				seen[h] = true
				p.hashes = append(p.hashes, h)
			}
		}
	}
	return p
}

// Any reports whether the Probe matches every signature, because no needle is long enough.
func (p *Probe) Any() bool { return len(p.hashes) == 0 }

// MayMatch reports whether the text of the signature may contain all needles. False is certain.
func (p *Probe) MayMatch(s Signature) bool {
	bitmap := s.bitmap()
	if bitmap == nil {
		return true
	}
	for _, h := range p.hashes {
		if !testBit(bitmap, h) {
			return false
		}
	}
	return true
}

func testBit(bitmap []byte, hash uint32) bool {
	h := int(hash) & (len(bitmap)*8 - 1)
	return bitmap[h>>3]>>(h&7)&1 != 0
}

// trigramHash returns as many bits as the largest bitmap needs; each smaller bitmap uses the low ones.
func trigramHash(a, b, c byte) uint32 {
	return hashTrigram(uint32(a)<<16 | uint32(b)<<8 | uint32(c))
}

func hashTrigram(t uint32) uint32 {
	return t * 0x9e3779b1 >> (32 - maxBitmapLog - 3)
}

const (
	largeWords = 1 << (maxBitmapLog - 3) // of 64 bits
	smallWords = largeWords / 8
	smallText  = 16 << 10 // a text up to this size uses a small bitmap
)

// A SignatureBuilder makes the [Signature] of a folded text. The zero value is ready for use. It keeps up to 90 KiB of
// memory; use one for many texts. It must not be used concurrently.
type SignatureBuilder struct {
	last   uint32 // the two octets before, once there are two
	have   int    // how many octets came, up to 2
	text   []byte // the text so far, while it is small and there is no bitmap
	bitmap []uint64
}

// Write takes the next piece of the text. The pieces may be cut anywhere. It always takes all of it.
func (b *SignatureBuilder) Write(p []byte) (int, error) {
	if len(b.bitmap) == 0 {
		if len(b.text)+len(p) <= smallText {
			b.text = append(b.text, p...)
			return len(p), nil
		}
		b.start(largeWords)
		b.add(b.text)
	}
	b.add(p)
	return len(p), nil
}

// start makes an empty bitmap.
func (b *SignatureBuilder) start(words int) {
	if cap(b.bitmap) < words {
		b.bitmap = make([]uint64, words)
		return
	}
	b.bitmap = b.bitmap[:words]
	clear(b.bitmap)
}

// add sets the bits of the trigrams that end in p.
func (b *SignatureBuilder) add(p []byte) {
	for b.have < 2 && len(p) > 0 {
		b.last = b.last<<8 | uint32(p[0])
		b.have++
		p = p[1:]
	}
	last, bitmap, mask := b.last, b.bitmap, uint32(len(b.bitmap)*64-1)
	for _, c := range p {
		last = last<<8 | uint32(c)
		h := hashTrigram(last&0xffffff) & mask
		bitmap[h>>6] |= 1 << (h & 63)
	}
	b.last = last
}

// Finish returns the signature of the text and makes the builder ready for another one. The result belongs to the
// caller.
func (b *SignatureBuilder) Finish() Signature {
	if len(b.bitmap) == 0 {
		b.start(smallWords)
		b.add(b.text)
	}
	bitmap := shrink(b.bitmap)
	size := len(bitmap) * 8
	sig := make(Signature, signatureHeader, signatureHeader+size)
	sig[0], sig[1] = signatureVersion, byte(bits.TrailingZeros(uint(size)))
	for _, w := range bitmap {
		sig = binary.LittleEndian.AppendUint64(sig, w)
	}
	b.text, b.bitmap, b.last, b.have = b.text[:0], b.bitmap[:0], 0, 0
	return sig
}

// bitsPerTrigram is the fewest bits that a bitmap (but the largest) has for each distinct trigram. Sizes being powers of
// two it has up to twice as many: 2.7 on geometric average.
const bitsPerTrigram = 1.9

// shrink halves the bitmap as often as bitsPerTrigram allows.
func shrink(bitmap []uint64) []uint64 {
	wanted := int(bitsPerTrigram * distinct(bitmap))
	for len(bitmap) > 1<<(minBitmapLog-3) && len(bitmap)*64/2 >= wanted {
		half := len(bitmap) / 2
		low, high := bitmap[:half], bitmap[half:]
		for i, w := range high {
			low[i] |= w
		}
		bitmap = low
	}
	return bitmap
}

// distinct estimates how many trigrams were put into a bitmap from how many bits are set.
func distinct(bitmap []uint64) float64 {
	set := 0
	for _, w := range bitmap {
		set += bits.OnesCount64(w)
	}
	size := float64(len(bitmap) * 64)
	free := max(size-float64(set), 1)
	return size * math.Log(size/free)
}

// With returns the signature of the text together with another folded text, as if both had been written one after the
// other with something in between. The engine uses it for header lines that a message gets on delivery. s is not
// changed; a signature of unknown form is returned as it is.
func (s Signature) With(text []byte) Signature {
	if s.bitmap() == nil {
		return s
	}
	out := append(make(Signature, 0, len(s)), s...)
	bitmap := out.bitmap()
	mask := uint32(len(bitmap)*8 - 1)
	for i := 0; i+3 <= len(text); i++ {
		h := trigramHash(text[i], text[i+1], text[i+2]) & mask
		bitmap[h>>3] |= 1 << (h & 7)
	}
	return out
}
