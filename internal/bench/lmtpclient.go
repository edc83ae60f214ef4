package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// ioTimeout bounds one exchange with the server, so that a server that hangs ends the run with an error.
const ioTimeout = 2 * time.Minute

// An lmtpConn is one LMTP connection (RFC 2033). Not safe for concurrent use.
type lmtpConn struct {
	conn       net.Conn
	cancel     func() bool // ends the watch on the context that would close the connection
	r          *bufio.Reader
	w          *bufio.Writer
	pipelining bool
	chunking   bool
	eightBit   bool
	size       bool
	digits     []byte
	deadlineAt time.Time
}

func dialLMTP(ctx context.Context, o *Options, addr string) (*lmtpConn, error) {
	conn, err := o.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to LMTP: %w", err)
	}
	c := &lmtpConn{conn: conn, cancel: context.AfterFunc(ctx, func() { conn.Close() }), r: bufio.NewReaderSize(conn, 4096), w: bufio.NewWriterSize(conn, 64<<10)}
	if err := c.hello(); err != nil {
		c.abort()
		return nil, err
	}
	return c, nil
}

func (c *lmtpConn) hello() error {
	c.extendDeadline()
	if err := c.expect(220, "greeting"); err != nil {
		return err
	}
	c.w.WriteString("LHLO bench.example.net\r\n")
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send LHLO: %w", err)
	}
	for {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("read the answer to LHLO: %w", err)
		}
		if len(line) < 4 || string(line[:3]) != "250" {
			return fmt.Errorf("LHLO: server says %q", line)
		}
		switch keyword, _, _ := bytes.Cut(line[4:], []byte(" ")); string(bytes.ToUpper(keyword)) {
		case "PIPELINING":
			c.pipelining = true
		case "CHUNKING":
			c.chunking = true
		case "8BITMIME":
			c.eightBit = true
		case "SIZE":
			c.size = true
		}
		if line[3] == ' ' {
			return nil
		}
	}
}

// extendDeadline costs a system call, so it is made once a second at most.
func (c *lmtpConn) extendDeadline() {
	if now := time.Now(); now.After(c.deadlineAt) {
		c.conn.SetDeadline(now.Add(ioTimeout))
		c.deadlineAt = now.Add(time.Second)
	}
}

// line reads one line without its end. It is valid until the next read.
func (c *lmtpConn) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// expect reads one answer, of any number of lines.
func (c *lmtpConn) expect(code int, to string) error {
	for {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("read the answer to %s: %w", to, err)
		}
		if len(line) < 3 {
			return fmt.Errorf("%s: server says %q", to, line)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if n, err := strconv.Atoi(string(line[:3])); err != nil || n != code {
			return fmt.Errorf("%s: server says %q", to, line)
		}
		return nil
	}
}

func (c *lmtpConn) step(code int, to string) error {
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send %s: %w", to, err)
	}
	return c.expect(code, to)
}

// deliver sends one message of the corpus to the recipients and returns nil when the server has acknowledged it
// for every one. With PIPELINING and CHUNKING all of it is one exchange (RFC 3030, 4.2), with
// PIPELINING alone it is two: the envelope and the message (RFC 2920).
func (c *lmtpConn) deliver(corpus *Corpus, serial int, recipients []string) error {
	c.extendDeadline()
	content := corpus.wire(serial)
	chunk := c.pipelining && c.chunking
	if chunk {
		content = corpus.Content(serial)[idLine:]
	}
	size := idLine + len(content)
	c.envelope(recipients, size)
	if chunk {
		c.w.WriteString("BDAT ")
		c.digits = strconv.AppendInt(c.digits[:0], int64(size), 10)
		c.w.Write(c.digits)
		c.w.WriteString(" LAST\r\n")
	} else if err := c.data(recipients); err != nil {
		return err
	}
	c.w.WriteString(idPrefix)
	id := corpus.id(serial)
	c.digits = append(c.digits[:0], id[:]...)
	c.w.Write(c.digits)
	c.w.WriteString(idSuffix)
	c.w.Write(content)
	if !chunk {
		c.w.WriteString(".\r\n")
	}
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	if chunk {
		if err := c.accepted(recipients); err != nil {
			return err
		}
	}
	for range recipients {
		if err := c.expect(250, "the end of a message"); err != nil {
			return err
		}
	}
	return nil
}

// envelope writes MAIL and RCPT; without PIPELINING data sends them.
func (c *lmtpConn) envelope(recipients []string, size int) {
	c.w.WriteString("MAIL FROM:<sender@example.net>")
	if c.size {
		c.w.WriteString(" SIZE=")
		c.digits = strconv.AppendInt(c.digits[:0], int64(size), 10)
		c.w.Write(c.digits)
	}
	if c.eightBit {
		c.w.WriteString(" BODY=8BITMIME")
	}
	c.w.WriteString("\r\n")
	if !c.pipelining {
		return
	}
	for _, rcpt := range recipients {
		c.rcpt(rcpt)
	}
}

func (c *lmtpConn) rcpt(address string) {
	c.w.WriteString("RCPT TO:<")
	c.w.WriteString(address)
	c.w.WriteString(">\r\n")
}

// data says DATA and waits until the server has accepted the envelope.
func (c *lmtpConn) data(recipients []string) error {
	if !c.pipelining {
		if err := c.step(250, "MAIL"); err != nil {
			return err
		}
		for _, rcpt := range recipients {
			c.rcpt(rcpt)
			if err := c.step(250, "RCPT"); err != nil {
				return err
			}
		}
		c.w.WriteString("DATA\r\n")
		return c.step(354, "DATA")
	}
	c.w.WriteString("DATA\r\n")
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send MAIL: %w", err)
	}
	if err := c.accepted(recipients); err != nil {
		return err
	}
	return c.expect(354, "DATA")
}

// accepted reads the answers to MAIL and RCPT.
func (c *lmtpConn) accepted(recipients []string) error {
	if err := c.expect(250, "MAIL"); err != nil {
		return err
	}
	for range recipients {
		if err := c.expect(250, "RCPT"); err != nil {
			return err
		}
	}
	return nil
}

// close says good-bye; the answer is of no interest.
func (c *lmtpConn) close() {
	c.w.WriteString("QUIT\r\n")
	c.w.Flush()
	c.abort()
}

func (c *lmtpConn) abort() {
	c.cancel()
	c.conn.Close()
}
