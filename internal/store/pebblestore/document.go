package pebblestore

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// document is what is stored of a message beside its hot record: one value, with a
// table of lengths in front, so that a reader takes only what it needs. The slices
// point into the value.
type document struct {
	prefixLen int64
	checksum  uint64 // xxHash64 of the message without its prefix
	sections  [sections][]byte
}

// The sections of a document.
const (
	secHeader = iota // prefix and root header
	secEnvelope
	secBodyStructure
	secTree
	secSummary
	secLayout
	sections
)

// size is the length of the encoded document with a prefix of n octets.
func (x *document) size(n int) int {
	size := 1 + uvarintLen(n) + 8 + n
	for i, s := range x.sections {
		length := len(s)
		if i == secHeader {
			length += n
		}
		size += uvarintLen(length) + len(s)
	}
	return size
}

func uvarintLen(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }

// append encodes the document. head is put before the header section.
func (x *document) append(b, head []byte) []byte {
	b = append(b, valueVersion)
	b = binary.AppendUvarint(b, uint64(len(head)))
	b = binary.BigEndian.AppendUint64(b, x.checksum)
	for i, s := range x.sections {
		n := len(s)
		if i == secHeader {
			n += len(head)
		}
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = append(b, head...)
	for _, s := range x.sections {
		b = append(b, s...)
	}
	return b
}

func (x *document) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	x.prefixLen = int64(d.uvarint())
	x.checksum = d.uint64()
	var lengths [sections]int
	for i := range lengths {
		lengths[i] = d.length()
	}
	for i, n := range lengths {
		x.sections[i] = d.take(n)
	}
	if err := d.end(); err != nil {
		return err
	}
	if x.prefixLen < 0 || x.prefixLen > int64(len(x.sections[secHeader])) {
		return fmt.Errorf("%w: prefix of %d octets", errValue, x.prefixLen)
	}
	return nil
}
