package memstore

import (
	"fmt"
	"io"
	"sync/atomic"

	"mallard/internal/mail"
)

// chunk is how much of a body is handed to a writer at a time.
const chunk = 32 << 10

// body is the content of a message; the octets never change.
type body struct {
	store        *Store
	prefix, data []byte
	closed       atomic.Bool
	ended        *atomic.Bool // set when the row that it came from has ended; may be nil
}

func errRowEnded() error {
	return mail.NewError(mail.CodeInvalid, "the content was closed or its row has ended")
}

// Size is the number of octets.
func (b *body) Size() int64 { return int64(len(b.prefix)) + int64(len(b.data)) }

// Close ends the use of the body.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// WriteRange writes n octets from offset off.
func (b *body) WriteRange(w io.Writer, off, n int64) error {
	if err := b.store.fault("WriteRange"); err != nil {
		return err
	}
	if b.closed.Load() || b.ended != nil && b.ended.Load() {
		return errRowEnded()
	}
	if off < 0 || n < 0 || off > b.Size() || n > b.Size()-off {
		return mail.NewError(mail.CodeInvalid, fmt.Sprintf("octets %d to %d of %d", off, off+n, b.Size()))
	}
	var buf [chunk]byte
	for n > 0 {
		k := b.fill(buf[:min(n, chunk)], off)
		_, err := w.Write(buf[:k])
		if b.store.opts.Mangle {
			mangle(buf[:k])
		}
		if err != nil {
			return fmt.Errorf("write content: %w", err)
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

// fill copies octets from an offset on; a chunk ends where the prefix ends.
func (b *body) fill(buf []byte, off int64) int {
	if p := int64(len(b.prefix)); off >= p {
		return copy(buf, b.data[off-p:])
	}
	return copy(buf, b.prefix[off:])
}
