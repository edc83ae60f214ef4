package control

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A frame is a message on its way: JSON about it, its octets in chunks, and JSON
// behind it. Each piece has its length in 4 octets, most significant first, in
// front; a chunk of length 0 ends the octets. The sizes of messages need not be
// known before they are sent.

const (
	maxMeta  = 1 << 20
	maxChunk = 256 << 10
)

// errFrame is returned for what is no frame.
var errFrame = errors.New("the stream of messages is malformed")

// FrameWriter writes frames. It is not safe for concurrent use.
type FrameWriter struct {
	w   *bufio.Writer
	err error
}

// NewFrameWriter returns a writer; Flush must be called at the end.
func NewFrameWriter(w io.Writer) *FrameWriter {
	return &FrameWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

// Begin starts a frame.
func (f *FrameWriter) Begin(meta any) error { return f.json(meta) }

// Write adds octets.
func (f *FrameWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 && f.err == nil {
		part := p[:min(len(p), maxChunk)]
		f.piece(part)
		n, p = n+len(part), p[len(part):]
	}
	return n, f.err
}

// End ends the frame.
func (f *FrameWriter) End(trailer any) error {
	f.piece(nil)
	return f.json(trailer)
}

// Flush sends what is buffered.
func (f *FrameWriter) Flush() error {
	if f.err == nil {
		f.err = f.w.Flush()
	}
	return f.err
}

func (f *FrameWriter) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	f.piece(b)
	return f.err
}

func (f *FrameWriter) piece(p []byte) {
	if f.err != nil {
		return
	}
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(p)))
	if _, f.err = f.w.Write(size[:]); f.err == nil {
		_, f.err = f.w.Write(p)
	}
}

// FrameReader reads frames. It is not safe for concurrent use.
type FrameReader struct {
	r      *bufio.Reader
	inside bool // a frame was begun and its trailer was not read
	left   int  // octets of the current chunk
	ended  bool // the chunk of length 0 was read
}

// NewFrameReader returns a reader.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Next starts the next frame, skipping what was not read of the last one. It
// returns io.EOF behind the last frame.
func (f *FrameReader) Next(meta any) error {
	if f.inside {
		if err := f.End(nil); err != nil {
			return err
		}
	}
	if _, err := f.r.Peek(1); err != nil {
		return err // io.EOF here is the end
	}
	if err := f.json(meta); err != nil {
		return err
	}
	f.inside, f.left, f.ended = true, 0, false
	return nil
}

// Read reads octets of the message; io.EOF is its end.
func (f *FrameReader) Read(p []byte) (int, error) {
	if !f.inside || f.ended {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if f.left == 0 {
		n, err := f.size(maxChunk)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			f.ended = true
			return 0, io.EOF
		}
		f.left = n
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, whole(err)
}

// End skips what was not read of the message and reads what stands behind it;
// nil discards it.
func (f *FrameReader) End(trailer any) error {
	if _, err := io.Copy(io.Discard, f); err != nil {
		return err
	}
	f.inside = false
	return f.json(trailer)
}

func (f *FrameReader) json(v any) error {
	n, err := f.size(maxMeta)
	if err != nil {
		return err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(f.r, b); err != nil {
		return whole(err)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return nil
}

func (f *FrameReader) size(limit uint32) (int, error) {
	var b [4]byte
	if _, err := io.ReadFull(f.r, b[:]); err != nil {
		return 0, whole(err)
	}
	n := binary.BigEndian.Uint32(b[:])
	if n > limit {
		return 0, fmt.Errorf("%w: a piece of %d octets", errFrame, n)
	}
	return int(n), nil
}

// whole turns an end in the middle of a frame into an error.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
