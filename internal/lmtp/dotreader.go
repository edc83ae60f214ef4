package lmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// dotReader reads the text of a message up to <CR><LF>.<CR><LF> and removes the
// dots that hide dots (RFC 5321, 4.5.2). Only a dot between real CRLFs ends the
// message: anything else would let one message smuggle another. All other
// octets pass as they are.
type dotReader struct {
	in        *bufio.Reader
	lineStart bool // the next octet starts a line
	ended     bool
	octets    int64 // given out
	pace      pace
}

// fail does nothing: the reply comes at the end of the message.
func (d *dotReader) fail(answer) {}

func (d *dotReader) Read(p []byte) (int, error) {
	for !d.ended {
		if d.in.Buffered() == 0 {
			if err := d.pace.check(d.octets); err != nil {
				return 0, err
			}
		}
		if d.lineStart {
			if err := d.startLine(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := d.copyLines(p)
		d.octets += int64(n)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// startLine looks at the first octets of a line: it swallows a hiding dot and
// recognises the end.
func (d *dotReader) startLine() error {
	b, err := d.peek(1)
	if err != nil {
		return err
	}
	d.lineStart = false
	if b[0] != '.' {
		return nil
	}
	if b, err = d.peek(3); err != nil {
		return err
	}
	if b[1] == '\r' && b[2] == '\n' {
		d.ended = true
		_, err = d.in.Discard(3)
		return err
	}
	_, err = d.in.Discard(1)
	return err
}

func (d *dotReader) peek(n int) ([]byte, error) {
	b, err := d.in.Peek(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// copyLines copies what is buffered, up to a CRLF that a dot follows or may
// follow.
func (d *dotReader) copyLines(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := d.peek(1); err != nil {
		return 0, err
	}
	b, err := d.in.Peek(min(d.in.Buffered(), len(p)))
	if err != nil {
		return 0, err
	}
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			n = len(b)
			// A CR at the very end may be half of a CRLF: leave it for the next
			// turn, when the LF can be seen with it.
			if n > 1 && b[n-1] == '\r' {
				n--
			} else if b[n-1] == '\r' {
				return d.copyCR(p)
			}
			break
		}
		n += i + 1
		if n < 2 || b[n-2] != '\r' {
			continue
		}
		if n == len(b) || b[n] == '.' {
			d.lineStart = true
			break
		}
	}
	copy(p, b[:n])
	_, err = d.in.Discard(n)
	return n, err
}

// copyCR copies a CR together with what tells whether it ends a line.
func (d *dotReader) copyCR(p []byte) (int, error) {
	b, err := d.peek(2)
	if err != nil {
		return 0, err
	}
	p[0] = '\r'
	n := 1
	if b[1] == '\n' && len(p) > 1 {
		p[1] = '\n'
		n, d.lineStart = 2, true
	} else if b[1] == '\n' {
		return 0, io.ErrShortBuffer
	}
	_, err = d.in.Discard(n)
	return n, err
}
