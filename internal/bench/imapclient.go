package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// An imapConn is one IMAP session (RFC 3501), for one command at a time. Not safe for concurrent use.
type imapConn struct {
	conn        net.Conn
	cancel      func() bool // ends the watch on the context that would close the connection
	r           *bufio.Reader
	w           *bufio.Writer
	tag         int
	literalPlus bool
	small       bool
	exists      int // as last told
	uidNext     int
	long        []byte // a line that did not fit into the read buffer
	scratch     []byte
}

// readBuffer holds several messages of a FETCH, so that one system call brings many.
const readBuffer = 256 << 10

func dialIMAP(ctx context.Context, o *Options, at imapAt) (*imapConn, error) {
	conn, err := o.dial(ctx, "tcp", at.addr)
	if err != nil {
		return nil, fmt.Errorf("connect to IMAP: %w", err)
	}
	c := &imapConn{conn: conn, cancel: context.AfterFunc(ctx, func() { conn.Close() }), small: at.small}
	if o.TLS == TLSImplicit {
		c.conn = tls.Client(c.conn, o.tlsConfig())
	}
	c.buffers()
	if err := c.greet(o); err != nil {
		c.abort()
		return nil, err
	}
	return c, nil
}

func (c *imapConn) buffers() {
	if c.small {
		c.r, c.w = bufio.NewReaderSize(c.conn, 4096), bufio.NewWriterSize(c.conn, 512)
		return
	}
	c.r = bufio.NewReaderSize(c.conn, readBuffer)
	c.w = bufio.NewWriterSize(c.conn, 64<<10)
}

func (c *imapConn) greet(o *Options) error {
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	line, err := c.line()
	if err != nil {
		return fmt.Errorf("read the IMAP greeting: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("* OK")) {
		return fmt.Errorf("IMAP greeting is %q", line)
	}
	if o.TLS != TLSStart {
		return nil
	}
	if err := c.command("STARTTLS", nil); err != nil {
		return err
	}
	c.conn = tls.Client(c.conn, o.tlsConfig())
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	c.buffers()
	return nil
}

// open connects to a node, logs in and selects INBOX.
func openIMAP(ctx context.Context, o *Options, u user) (*imapConn, error) {
	return openIMAPAt(ctx, o, u, imapAt{addr: o.imap()})
}

// An imapAt says how a session is connected.
type imapAt struct {
	addr  string
	small bool // waits more than it reads, and has small buffers
}

func openIMAPAt(ctx context.Context, o *Options, u user, at imapAt) (*imapConn, error) {
	c, err := dialIMAP(ctx, o, at)
	if err != nil {
		return nil, err
	}
	if err := c.start(u); err != nil {
		c.abort()
		return nil, fmt.Errorf("user %s: %w", u.name, err)
	}
	return c, nil
}

func (c *imapConn) start(u user) error {
	if err := c.command("LOGIN "+quote(u.name)+" "+quote(u.password), nil); err != nil {
		return err
	}
	err := c.command("CAPABILITY", func(line []byte) error {
		c.literalPlus = c.literalPlus || bytes.Contains(line, []byte(" LITERAL+"))
		return nil
	})
	if err != nil {
		return err
	}
	return c.command("SELECT INBOX", c.untagged)
}

// untagged takes note of what SELECT, NOOP and IDLE tell.
func (c *imapConn) untagged(line []byte) error {
	if n, ok := existsCount(line); ok {
		c.exists = n
	}
	if _, rest, ok := bytes.Cut(line, []byte("[UIDNEXT ")); ok {
		digits, _, _ := bytes.Cut(rest, []byte("]"))
		c.uidNext, _ = strconv.Atoi(string(digits))
	}
	return nil
}

// existsCount recognizes "* 12 EXISTS".
func existsCount(line []byte) (int, bool) {
	rest, ok := bytes.CutPrefix(line, []byte("* "))
	if !ok {
		return 0, false
	}
	digits, ok := bytes.CutSuffix(rest, []byte(" EXISTS"))
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(string(digits))
	return n, err == nil
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// line reads one line without its end. It is valid until the next read.
func (c *imapConn) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		c.long = append(c.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) && len(c.long) < 16<<20 {
			line, err = c.r.ReadSlice('\n')
			c.long = append(c.long, line...)
		}
		line = c.long
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func (c *imapConn) send(text string) (string, error) {
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	c.tag++
	tag := "b" + strconv.Itoa(c.tag)
	c.w.WriteString(tag)
	c.w.WriteByte(' ')
	c.w.WriteString(text)
	c.w.WriteString("\r\n")
	return tag, c.w.Flush()
}

// command sends one command and waits for its OK; each untagged line without a literal goes to each, if given.
func (c *imapConn) command(text string, each func(line []byte) error) error {
	verb, _, _ := strings.Cut(text, " ")
	tag, err := c.send(text)
	if err != nil {
		return fmt.Errorf("send %s: %w", verb, err)
	}
	for {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("read the answer to %s: %w", verb, err)
		}
		if done, err := tagged(line, tag, verb); done || err != nil {
			return err
		}
		if each != nil {
			if err := each(line); err != nil {
				return err
			}
		}
	}
}

// tagged tells whether line is the end of the command, and its failure.
func tagged(line []byte, tag, verb string) (bool, error) {
	rest, ok := bytes.CutPrefix(line, []byte(tag))
	if !ok || len(rest) == 0 || rest[0] != ' ' {
		if bytes.HasPrefix(line, []byte("* BYE")) && verb != "LOGOUT" {
			return false, fmt.Errorf("%s: server says %q", verb, line)
		}
		return false, nil
	}
	if !bytes.HasPrefix(rest, []byte(" OK")) {
		return true, fmt.Errorf("%s: server says %q", verb, rest[1:])
	}
	return true, nil
}

// literalSize recognizes a line that ends in "{123}". A quoted string cannot: it ends in a quote.
func literalSize(line []byte) (int, bool) {
	if len(line) < 3 || line[len(line)-1] != '}' {
		return 0, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false
	}
	n := 0
	for _, d := range line[open+1 : len(line)-1] {
		if d < '0' || d > '9' || n > 1<<40 {
			return 0, false
		}
		n = n*10 + int(d-'0')
	}
	return n, true
}

// appendMessage appends one message of the corpus to INBOX: in one exchange with LITERAL+, else in two.
func (c *imapConn) appendMessage(corpus *Corpus, serial int) error {
	c.conn.SetDeadline(time.Now().Add(ioTimeout))
	c.tag++
	content := corpus.Content(serial)
	b := append(c.scratch[:0], 'b')
	b = strconv.AppendInt(b, int64(c.tag), 10)
	tagLen := len(b)
	b = append(b, " APPEND INBOX {"...)
	b = strconv.AppendInt(b, int64(len(content)), 10)
	if c.literalPlus {
		b = append(b, '+')
	}
	b = append(b, "}\r\n"...)
	c.scratch = b
	c.w.Write(b)
	if !c.literalPlus {
		if err := c.continuation(); err != nil {
			return err
		}
	}
	c.w.WriteString(idPrefix)
	id := corpus.id(serial)
	b = append(b, id[:]...)
	c.scratch = b
	c.w.Write(b[len(b)-idDigits:])
	c.w.WriteString(idSuffix)
	c.w.Write(content[idLine:])
	c.w.WriteString("\r\n")
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send APPEND: %w", err)
	}
	for {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("read the answer to APPEND: %w", err)
		}
		if !bytes.HasPrefix(line, b[:tagLen]) {
			c.untagged(line)
			continue
		}
		if !bytes.HasPrefix(line[tagLen:], []byte(" OK")) {
			return fmt.Errorf("APPEND: server says %q", line[tagLen:])
		}
		return nil
	}
}

func (c *imapConn) continuation() error {
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send APPEND: %w", err)
	}
	for {
		line, err := c.line()
		if err != nil {
			return fmt.Errorf("wait to send a literal: %w", err)
		}
		if bytes.HasPrefix(line, []byte("+")) {
			return nil
		}
		if !bytes.HasPrefix(line, []byte("*")) {
			return fmt.Errorf("APPEND: server says %q", line)
		}
	}
}

// close logs out; the answer is of no interest.
func (c *imapConn) close() {
	c.send("LOGOUT")
	c.abort()
}

func (c *imapConn) abort() {
	c.cancel()
	c.conn.Close()
}
