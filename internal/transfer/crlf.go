package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Messages travel with CRLF line ends, but most programs that keep mail in files
// leave out the CR. Such a message gets it back when it is read, as every server
// does that serves it from there.

// BareLF reports whether the first line of a text ends with LF alone.
func BareLF(start []byte) bool {
	i := bytes.IndexByte(start, '\n')
	return i == 0 || i > 0 && start[i-1] != '\r'
}

// CRLFReader returns r with CRLF in place of every LF that has no CR before it.
func CRLFReader(r io.Reader) io.Reader {
	return &crlfReader{r: bufio.NewReaderSize(r, 32<<10)}
}

// AutoCRLF returns r unchanged when its first line ends with CRLF or never ends,
// and as CRLFReader does when it ends with LF. Only the first 64 KiB are looked at.
func AutoCRLF(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	start, err := b.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if BareLF(start) {
		return CRLFReader(b), nil
	}
	return b, nil
}

type crlfReader struct {
	r    *bufio.Reader
	rest []byte // of the line, valid until the next read
	lf   bool   // CR was given out, its LF was not
	cr   bool   // the last octet was a CR
}

// Read reads octets with CRLF line ends.
func (c *crlfReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.lf {
		p[0], c.lf = '\n', false
		return 1, nil
	}
	if len(c.rest) == 0 {
		line, err := c.r.ReadSlice('\n')
		if len(line) == 0 {
			return 0, err
		}
		c.rest = line
	}
	return c.give(p), nil
}

// give copies what fits of the line.
func (c *crlfReader) give(p []byte) int {
	if c.rest[0] == '\n' && !c.cr {
		c.rest, c.cr = nil, false
		p[0] = '\r'
		if len(p) == 1 {
			c.lf = true
			return 1
		}
		p[1] = '\n'
		return 2
	}
	// A LF is the last octet of rest, if there is one: it waits for its turn.
	n := len(c.rest)
	if n > 1 && c.rest[n-1] == '\n' && c.rest[n-2] != '\r' {
		n--
	}
	n = copy(p, c.rest[:n])
	c.cr = c.rest[n-1] == '\r'
	c.rest = c.rest[n:]
	return n
}

// lfWriter writes LF in place of CRLF; other octets pass.
type lfWriter struct {
	w  io.Writer
	cr bool // a CR waits for what follows it
}

// Write writes p.
func (l *lfWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.cr {
			l.cr = false
			if p[0] != '\n' {
				if _, err := l.w.Write([]byte{'\r'}); err != nil {
					return 0, err
				}
			}
		}
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			i = len(p)
		}
		if _, err := l.w.Write(p[:i]); err != nil {
			return 0, err
		}
		if i < len(p) {
			l.cr = true
			i++
		}
		p = p[i:]
	}
	return n, nil
}

// Close writes a CR that nothing followed.
func (l *lfWriter) Close() error {
	if !l.cr {
		return nil
	}
	l.cr = false
	_, err := l.w.Write([]byte{'\r'})
	return err
}
