package transfer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// content gives the octets of a file with one message as they go over the wire:
// decompressed where a server keeps mail compressed, with CRLF line ends unless
// the file is verbatim.
func content(f io.ReadCloser, verbatim bool) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(f, 32<<10)
	r, done, err := decompress(b)
	if err == nil && !verbatim {
		r, err = AutoCRLF(r)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read message: %w", err), f.Close())
	}
	return &opened{r, func() error { done(); return f.Close() }}, nil
}

type opened struct {
	io.Reader
	close func() error
}

// Close closes the file.
func (o *opened) Close() error { return o.close() }

// decompress looks at the first octets: no message begins like a compressed file.
func decompress(b *bufio.Reader) (r io.Reader, done func(), err error) {
	start, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	nothing := func() {}
	switch {
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b, 8}):
		r, err = gzip.NewReader(b)
		return r, nothing, err
	case bytes.HasPrefix(start, []byte("BZh")):
		return bzip2.NewReader(b), nothing, nil
	case bytes.HasPrefix(start, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return nil, nothing, err
		}
		return z, z.Close, nil
	}
	return b, nothing, nil
}
