package imapclient

import (
	"bufio"
	"compress/flate"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const readBuffer = 256 << 10

// Client is a connection to a server. It is used by one goroutine at a time.
// After a [ProtocolError] or an I/O error it cannot be used any more.
type Client struct {
	// Timeout bounds the wait for each response, and each write.
	Timeout time.Duration
	// Light leaves out ENVELOPE and BODYSTRUCTURE values, after checking
	// their syntax, and uses one Response again and again.
	Light bool
	// OnLiteral, when set, gets the message text of FETCH responses that the
	// server sent as literals. What it does not read is skipped; the Literal
	// must not be kept.
	OnLiteral func(*Response, *Literal) error
	// Greeting is the server's first response.
	Greeting *Response

	conn     net.Conn
	lex      lexer
	bw       *bufio.Writer
	flush    func() error
	names    map[string]string
	lit      Literal
	reused   Response
	tagCount int
	state    tracker
	broken   error
}

// New returns a client on a connection; the greeting is read.
func New(conn net.Conn) (*Client, error) {
	c := &Client{Timeout: time.Minute, conn: conn, names: map[string]string{}}
	c.lex.br = bufio.NewReaderSize(conn, readBuffer)
	c.bw = bufio.NewWriterSize(conn, 64<<10)
	c.flush = c.bw.Flush
	r, err := c.Next()
	if err != nil {
		return nil, err
	}
	if r.Tag != "*" || r.Name != "OK" && r.Name != "PREAUTH" && r.Name != "BYE" {
		return nil, c.fail(&ProtocolError{What: "greeting is " + r.Tag + " " + r.Name})
	}
	if r.Name == "BYE" {
		return nil, c.fail(fmt.Errorf("imapclient: greeting is BYE: %s", r.Text))
	}
	greeting := *r
	c.Greeting = &greeting
	return c, nil
}

// Dial connects in plain text.
func Dial(ctx context.Context, addr string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("imapclient: dial: %w", err)
	}
	return newOrClose(conn)
}

// DialTLS connects with TLS from the start.
func DialTLS(ctx context.Context, addr string, cfg *tls.Config) (*Client, error) {
	d := tls.Dialer{Config: cfg}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("imapclient: dial: %w", err)
	}
	return newOrClose(conn)
}

func newOrClose(conn net.Conn) (*Client, error) {
	c, err := New(conn)
	if err != nil {
		conn.Close()
	}
	return c, err
}

// Conn returns the connection.
func (c *Client) Conn() net.Conn { return c.conn }

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// SetUTF8 tells whether UTF8=ACCEPT is on. Enable does so by itself.
func (c *Client) SetUTF8(on bool) { c.lex.utf8 = on }

// Messages is the number of messages of the selected mailbox, as told.
func (c *Client) Messages() uint32 { return c.state.messages }

// fail makes the client unusable.
func (c *Client) fail(err error) error {
	if c.broken == nil {
		c.broken = err
	}
	return c.broken
}

// newResponse returns an empty response; with Light always the same one.
func (c *Client) newResponse() *Response {
	if !c.Light {
		return &Response{Fetch: newFetch()}
	}
	r, f := &c.reused, c.reused.Fetch
	if f == nil {
		f = newFetch()
	}
	clear(f.Sections)
	clear(f.BinarySizes)
	*f = Fetch{Items: f.Items[:0], Sections: f.Sections, BinarySizes: f.BinarySizes}
	*r = Response{Fetch: f}
	return r
}

func newFetch() *Fetch {
	return &Fetch{Sections: map[string]Section{}, BinarySizes: map[string]uint64{}}
}

// Next reads the next response, whatever it is.
func (c *Client) Next() (*Response, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return nil, c.fail(err)
	}
	c.lex.err, c.lex.depth = nil, 0
	c.lex.next()
	r := c.response()
	if c.lex.err != nil {
		return nil, c.fail(c.lex.err)
	}
	if r.Name != "FETCH" && !c.Light {
		r.Fetch = nil
	}
	return r, nil
}

// Wait reads the next response if one comes before the time is over, else it
// returns nil.
func (c *Client) Wait(timeout time.Duration) (*Response, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, c.fail(err)
	}
	if _, err := c.lex.br.Peek(1); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		}
		return nil, c.fail(err)
	}
	return c.Next()
}

// Result is what came of a command.
type Result struct {
	// Response is the tagged response.
	*Response
	// Untagged are the responses before it; with Light there are none.
	Untagged []*Response
}

// Err returns an error unless the command was answered with OK.
func (r *Result) Err() error {
	if r.Name == "OK" {
		return nil
	}
	return &StatusError{Response: r.Response}
}

// Find returns the untagged responses of a name.
func (r *Result) Find(name string) []*Response {
	var out []*Response
	for _, u := range r.Untagged {
		if u.Name == name {
			out = append(out, u)
		}
	}
	return out
}

// FindCode returns the first response code of a name, tagged or not, or nil.
func (r *Result) FindCode(name string) *Code {
	for _, u := range append(r.Untagged, r.Response) {
		if u.Code != nil && u.Code.Name == name {
			return u.Code
		}
	}
	return nil
}

// StatusError is a command that was answered with NO or BAD.
type StatusError struct{ Response *Response }

// Error implements error.
func (e *StatusError) Error() string {
	if c := e.Response.Code; c != nil {
		return fmt.Sprintf("imapclient: %s [%s %s] %s", e.Response.Name, c.Name, c.Args, e.Response.Text)
	}
	return fmt.Sprintf("imapclient: %s %s", e.Response.Name, e.Response.Text)
}

// Cmd sends a command without its tag and reads until it is answered. Text
// that has literals, "{n}" CRLF and the octets, is sent in steps when the
// literals are synchronising. The result's Err is not looked at.
func (c *Client) Cmd(format string, args ...any) (*Result, error) {
	return c.Do(fmt.Sprintf(format, args...), nil)
}

// Must is Cmd that takes NO and BAD for errors.
func (c *Client) Must(format string, args ...any) (*Result, error) {
	res, err := c.Cmd(format, args...)
	if err == nil {
		err = res.Err()
	}
	if err != nil {
		return res, fmt.Errorf("%.60s: %w", fmt.Sprintf(format, args...), err)
	}
	return res, nil
}

// Do is Cmd with a function that gets each untagged response instead of the
// result. With Light the response is valid during the call alone.
func (c *Client) Do(text string, each func(*Response) error) (*Result, error) {
	tag, err := c.Send(text)
	if err != nil {
		return nil, err
	}
	return c.await(tag, "", each)
}

// Send sends a command and does not wait for its answer, for pipelining. Text
// with synchronising literals cannot be sent so.
func (c *Client) Send(text string) (tag string, err error) {
	c.tagCount++
	tag = fmt.Sprintf("c%d", c.tagCount)
	head, _, _ := strings.Cut(text, "\r\n")
	c.state.sent(tag, head)
	if err := c.write(tag + " "); err != nil {
		return tag, err
	}
	answered, err := c.sendParts(tag, text)
	if err != nil || answered {
		return tag, err
	}
	return tag, c.Write("\r\n")
}

// sendParts sends text and waits where a synchronising literal begins. It
// reports true when the server has answered instead: the answer is kept for
// await.
func (c *Client) sendParts(tag, text string) (answered bool, err error) {
	for {
		i := syncLiteral(text)
		if i < 0 {
			return false, c.write(text)
		}
		if err := c.Write(text[:i]); err != nil {
			return false, err
		}
		text = text[i:]
		res, err := c.await(tag, "+", nil)
		if err != nil {
			return false, err
		}
		if res.Tag != "+" {
			c.state.early = res
			return true, nil
		}
		c.state.before = append(c.state.before, res.Untagged...)
	}
}

// syncLiteral returns the offset behind the first "{n}" CRLF, or -1.
func syncLiteral(text string) int {
	from := 0
	for {
		i := strings.Index(text[from:], "}\r\n")
		if i < 0 {
			return -1
		}
		i += from
		open := strings.LastIndexByte(text[:i], '{')
		if open >= 0 && i > open+1 && strings.Trim(text[open+1:i], "0123456789") == "" {
			return i + 3
		}
		from = i + 3
	}
}

// Answer reads until the command with the tag is answered.
func (c *Client) Answer(tag string) (*Result, error) { return c.await(tag, "", nil) }

// await reads until the tagged response of a command, or a continuation when
// other is "+".
func (c *Client) await(tag, other string, each func(*Response) error) (*Result, error) {
	if early := c.state.early; early != nil {
		c.state.early = nil
		return early, nil
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	res := &Result{}
	for {
		r, err := c.Next()
		if err != nil {
			return res, err
		}
		switch {
		case r.Tag == tag || r.Tag == other && other != "":
			last := *r
			res.Response = &last
			if r.Tag == tag {
				c.state.answered(r)
				res.Untagged = append(c.state.before, res.Untagged...)
				c.state.before = nil
			}
			return res, nil
		case r.Tag != "*":
			return res, c.fail(&ProtocolError{What: "unexpected response with tag " + r.Tag})
		case each != nil:
			if err := each(r); err != nil {
				return res, c.fail(err)
			}
		case !c.Light:
			res.Untagged = append(res.Untagged, r)
		}
	}
}

// Write sends octets as they are.
func (c *Client) Write(text string) error {
	if err := c.write(text); err != nil {
		return err
	}
	return c.Flush()
}

func (c *Client) write(text string) error {
	if c.broken != nil {
		return c.broken
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return c.fail(err)
	}
	if _, err := c.bw.WriteString(text); err != nil {
		return c.fail(err)
	}
	return nil
}

// Flush sends what is buffered.
func (c *Client) Flush() error {
	if c.broken != nil {
		return c.broken
	}
	if err := c.flush(); err != nil {
		return c.fail(err)
	}
	return nil
}

// StartTLS upgrades the connection.
func (c *Client) StartTLS(cfg *tls.Config) error {
	if _, err := c.Must("STARTTLS"); err != nil {
		return err
	}
	if n := c.lex.br.Buffered(); n > 0 {
		return c.fail(&ProtocolError{What: fmt.Sprintf("%d bytes behind the answer to STARTTLS", n)})
	}
	conn := tls.Client(c.conn, cfg)
	conn.SetDeadline(time.Now().Add(c.Timeout))
	if err := conn.Handshake(); err != nil {
		return c.fail(fmt.Errorf("imapclient: STARTTLS: %w", err))
	}
	conn.SetDeadline(time.Time{})
	c.conn = conn
	c.lex.br.Reset(conn)
	c.bw.Reset(conn)
	return nil
}

// Compress switches on COMPRESS=DEFLATE (RFC 4978).
func (c *Client) Compress() error {
	if _, err := c.Must("COMPRESS DEFLATE"); err != nil {
		return err
	}
	if n := c.lex.br.Buffered(); n > 0 {
		return c.fail(&ProtocolError{What: fmt.Sprintf("%d bytes behind the answer to COMPRESS", n)})
	}
	w, err := flate.NewWriter(c.conn, flate.DefaultCompression)
	if err != nil {
		return c.fail(err)
	}
	c.bw.Reset(w)
	c.flush = func() error {
		if err := c.bw.Flush(); err != nil {
			return err
		}
		return w.Flush()
	}
	c.lex.br.Reset(io.Reader(flate.NewReader(bufio.NewReader(c.conn))))
	return nil
}
