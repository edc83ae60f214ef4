package lmtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// chunkSize is the size of a chunk in octets.
const chunkSize = 256 << 10

// transfer sends the message and reads a reply for each of n recipients.
func (c *Client) transfer(message io.Reader, n int) ([]Reply, error) {
	if c.offers("CHUNKING") {
		return c.chunks(message, n)
	}
	if err := c.send("DATA"); err != nil {
		return nil, err
	}
	r, err := c.reply()
	if err != nil {
		return nil, err
	}
	if r.Code != 354 {
		return same(r, n), c.reset()
	}
	if err := writeDotted(c.w, message); err != nil {
		return nil, err
	}
	return c.replies(n)
}

func (c *Client) replies(n int) ([]Reply, error) {
	out := make([]Reply, n)
	for i := range out {
		var err error
		if out[i], err = c.reply(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// same is one answer for all recipients.
func same(r Reply, n int) []Reply {
	out := make([]Reply, n)
	for i := range out {
		out[i] = r
	}
	return out
}

// chunks sends the message with BDAT (RFC 3030): octet for octet.
func (c *Client) chunks(message io.Reader, n int) ([]Reply, error) {
	buf := make([]byte, chunkSize)
	for {
		size, last, err := fill(message, buf)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		word := ""
		if last {
			word = " LAST"
		}
		_, _ = fmt.Fprintf(c.w, "BDAT %d%s\r\n", size, word)
		_, _ = c.w.Write(buf[:size])
		if err := c.w.Flush(); err != nil {
			return nil, err
		}
		if last {
			return c.replies(n)
		}
		r, err := c.reply()
		if err != nil {
			return nil, err
		}
		if r.Code != 250 {
			return same(r, n), c.reset()
		}
	}
}

// fill reads until buf is full or the message is at its end. Unlike io.ReadFull it
// tells the end from a source that was cut off: half a message must not be sent
// as a whole one.
func fill(message io.Reader, buf []byte) (size int, last bool, err error) {
	for size < len(buf) {
		n, err := message.Read(buf[size:])
		size += n
		if err == io.EOF {
			return size, true, nil
		}
		if err != nil {
			return size, false, err
		}
	}
	return size, false, nil
}

// writeDotted writes a message as DATA wants it (RFC 5321, 4.5.2): a dot that
// begins a line is doubled, and a line with a dot is the end. Other octets stay as
// they are, but a message that does not end with CRLF gets one, without which the
// end could not be seen.
func writeDotted(w *bufio.Writer, message io.Reader) error {
	r := bufio.NewReaderSize(message, 64<<10)
	lineStart, cr := true, false
	for {
		part, err := r.ReadSlice('\n')
		if len(part) > 0 {
			if lineStart && part[0] == '.' {
				_ = w.WriteByte('.') // bufio.Writer keeps the first error
			}
			_, _ = w.Write(part)
			lineStart = bytes.HasSuffix(part, []byte("\r\n")) || cr && len(part) == 1 && part[0] == '\n'
			cr = part[len(part)-1] == '\r'
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("read message: %w", err)
		}
	}
	if !lineStart {
		_, _ = w.WriteString("\r\n")
	}
	_, _ = w.WriteString(".\r\n")
	return w.Flush()
}
