package pebblestore

import "fmt"

// Texts and content are values that begin with an octet for their encoding, which is
// always that of plain octets: compressing them is left to the database, see
// compressionProfile.
const encodingPlain = 0

func appendPlain(b, data []byte) []byte { return append(append(b, encodingPlain), data...) }

// plainValue returns the octets of a value, which must be n; they point into it.
func plainValue(value []byte, n int64) ([]byte, error) {
	if len(value) == 0 || value[0] != encodingPlain {
		return nil, fmt.Errorf("%w: unknown encoding", errValue)
	}
	if int64(len(value)-1) != n {
		return nil, fmt.Errorf("%w: content has %d octets, not %d", errValue, len(value)-1, n)
	}
	return value[1:], nil
}
