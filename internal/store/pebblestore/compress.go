package pebblestore

import (
	"fmt"

	"github.com/klauspost/compress/s2"
)

// The codecs of texts and content in the database. The codec is the first octet of
// the value.
const (
	codecNone = 0
	codecS2   = 1
)

// compressFrom is the size from which compression is tried.
const compressFrom = 128

// appendCompressed appends data as a value: the codec, then the octets in whichever
// form is smaller. A gain of less than an eighth is not worth the work of reading.
func appendCompressed(b, data []byte) []byte {
	start := len(b)
	if len(data) >= compressFrom {
		need := s2.MaxEncodedLen(len(data))
		b = append(b, codecS2)
		if cap(b)-len(b) < need {
			b = append(make([]byte, 0, len(b)+need), b...)
		}
		out := s2.Encode(b[len(b):len(b)+need], data)
		if len(out) < len(data)-len(data)/8 {
			return b[:len(b)+len(out)]
		}
	}
	return append(append(b[:start], codecNone), data...)
}

// decompress returns the octets of a value that must have n of them. They are in
// buf when that is large enough, or in the value itself.
func decompress(value []byte, n int64, buf []byte) ([]byte, error) {
	if len(value) == 0 {
		return nil, errValue
	}
	data := value[1:]
	switch value[0] {
	case codecNone:
	case codecS2:
		size, err := s2.DecodedLen(data)
		if err != nil || int64(size) != n {
			return nil, fmt.Errorf("%w: compressed content has %d octets, not %d", errValue, size, n)
		}
		if data, err = s2.Decode(buf[:cap(buf)], data); err != nil {
			return nil, fmt.Errorf("%w: %w", errValue, err)
		}
	default:
		return nil, fmt.Errorf("%w: codec %d", errValue, value[0])
	}
	if int64(len(data)) != n {
		return nil, fmt.Errorf("%w: content has %d octets, not %d", errValue, len(data), n)
	}
	return data, nil
}
