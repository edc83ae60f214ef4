package argon2full

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/blake2b"
)

// A Type says which blocks are read while memory is filled (RFC 9106 section 3.4); its value is y of section 3.2.
type Type uint32

// The types of Argon2.
const (
	D  Type = 0 // which block is read depends on the password
	I  Type = 1 // it does not
	ID Type = 2 // it does not in the first half of the first pass
)

// The versions of Argon2. In 1.0 later passes replace a block, in 1.3 they are added to it.
const (
	Version10 uint32 = 0x10
	Version13 uint32 = 0x13
)

// Params says what is computed, besides the password and the salt.
type Params struct {
	Type    Type
	Version uint32
	Passes  uint32 // at least 1
	Memory  uint32 // KiB, at least 8 for each lane
	Lanes   uint8  // at least 1
	Secret  []byte // K of RFC 9106 section 3.1; usually none
	Data    []byte // X, the associated data; usually none
}

// ErrParams says that Argon2 is not defined for the given parameters (RFC 9106 section 3.1).
var ErrParams = errors.New("argon2 is not defined for these parameters")

// MinSize is the size of the shortest key in octets.
const MinSize = 4

// slices is the number of parts of a lane, SL in RFC 9106: other lanes are read only where they are done with a part.
const slices = 4

// Key returns a key of size octets for a password. It takes Memory KiB of memory and time in proportion to Memory times
// Passes, on one CPU, and cannot be interrupted. It fails with [ErrParams] alone.
func Key(p Params, password, salt []byte, size uint32) ([]byte, error) {
	if err := p.check(size); err != nil {
		return nil, err
	}
	seed := p.seed(password, salt, size)
	f := newFill(p)
	f.start(seed)
	f.run()
	last := f.last()
	return variableHash(last.octets(), int(size)), nil
}

func (p Params) check(size uint32) error {
	switch {
	case p.Type > ID:
		return fmt.Errorf("%w: type %d", ErrParams, p.Type)
	case p.Version != Version10 && p.Version != Version13:
		return fmt.Errorf("%w: version %#x", ErrParams, p.Version)
	case p.Passes == 0 || p.Lanes == 0 || size < MinSize:
		return fmt.Errorf("%w: %d passes, %d lanes, %d octets", ErrParams, p.Passes, p.Lanes, size)
	case p.Memory < 8*uint32(p.Lanes):
		return fmt.Errorf("%w: %d KiB for %d lanes", ErrParams, p.Memory, p.Lanes)
	}
	return nil
}

// seed is H0 of RFC 9106 section 3.2: a digest of everything that goes in.
func (p Params) seed(password, salt []byte, size uint32) []byte {
	var b []byte
	for _, n := range []uint32{uint32(p.Lanes), size, p.Memory, p.Passes, p.Version, uint32(p.Type)} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	for _, s := range [][]byte{password, salt, p.Secret, p.Data} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	h := blake2b.Sum512(b)
	return h[:]
}

// variableHash is H' of RFC 9106 section 3.3: a BLAKE2b of any size. What is longer than one digest is a chain of
// digests of which the first halves are given out.
func variableHash(in []byte, size int) []byte {
	v := digest(binary.LittleEndian.AppendUint32(nil, uint32(size)), in, min(size, blake2b.Size))
	if size <= blake2b.Size {
		return v
	}
	out := make([]byte, 0, size)
	for {
		out = append(out, v[:blake2b.Size/2]...)
		left := size - len(out)
		v = digest(nil, v, min(left, blake2b.Size))
		if left <= blake2b.Size {
			return append(out, v...)
		}
	}
}

// digest is the BLAKE2b of size octets, 1 to 64, of two strings.
func digest(prefix, in []byte, size int) []byte {
	h, err := blake2b.New(size, nil)
	if err != nil {
		panic(err) // only for a size or a key out of bounds
	}
	h.Write(prefix)
	h.Write(in)
	return h.Sum(nil)
}
