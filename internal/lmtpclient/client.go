// Package lmtpclient hands messages to an LMTP server (RFC 2033): for the commands
// `send` and `serve --demo`, which go the way that mail goes.
//
// Where the server offers CHUNKING (RFC 3030) it gets every message octet for
// octet, whatever it holds. The package imports no other internal package.
package lmtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	// replyTimeout is the pause after which a server counts as dead.
	replyTimeout = 2 * time.Minute
)

// Client is a connection to an LMTP server. It is not safe for concurrent use.
type Client struct {
	conn *timedConn
	r    *bufio.Reader
	w    *bufio.Writer
	ext  map[string]string // extensions by keyword, with their parameters
}

// Options say how a server is reached.
type Options struct {
	// TLS, when set, is used from the first octet on.
	TLS *tls.Config
	// Proxies are the networks that the server takes for proxies: to a server that takes
	// this client for one a PROXY header is sent, which says that it speaks for itself.
	Proxies []netip.Prefix
}

// Dial connects to host:port and greets.
func Dial(ctx context.Context, addr string, o Options) (*Client, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to LMTP server: %w", err)
	}
	if err := o.introduce(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("send PROXY header to LMTP server %s: %w", addr, err), conn.Close())
	}
	if o.TLS != nil {
		tc := tls.Client(conn, o.TLS)
		hctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := tc.HandshakeContext(hctx); err != nil {
			return nil, errors.Join(fmt.Errorf("TLS with LMTP server %s: %w", addr, err), conn.Close())
		}
		conn = tc
	}
	t := &timedConn{Conn: conn}
	c := &Client{conn: t, r: bufio.NewReaderSize(t, maxReplyLine), w: bufio.NewWriterSize(t, chunkSize)}
	defer t.follow(ctx)()
	if err := c.hello(); err != nil {
		return nil, errors.Join(fmt.Errorf("greet LMTP server %s: %w", addr, err), conn.Close())
	}
	return c, nil
}

// introduce sends the PROXY header where the server waits for one.
func (o *Options) introduce(conn net.Conn) error {
	a, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok || !slices.ContainsFunc(o.Proxies, func(p netip.Prefix) bool { return p.Contains(a.AddrPort().Addr().Unmap().WithZone("")) }) {
		return nil
	}
	_, err := io.WriteString(conn, "PROXY UNKNOWN\r\n")
	return err
}

func (c *Client) hello() error {
	if err := c.expect(220); err != nil {
		return err
	}
	if err := c.send("LHLO localhost"); err != nil {
		return err
	}
	r, err := c.reply()
	if err != nil {
		return err
	}
	if r.Code != 250 {
		return r
	}
	c.ext = make(map[string]string)
	for i, line := range strings.Split(r.Text, "\n") {
		word, params, _ := strings.Cut(line, " ")
		if i > 0 {
			c.ext[strings.ToUpper(word)] = params
		}
	}
	return nil
}

func (c *Client) offers(extension string) bool {
	_, ok := c.ext[extension]
	return ok
}

// Envelope says who a message is from, who it is for and how big it is.
type Envelope struct {
	From string // "" for the null sender
	To   []string
	Size int64 // octets of the message, 0 when they are not known
}

// validate looks at the addresses before anything is said.
func (e *Envelope) validate() error {
	if e.From != "" {
		if err := validPath(e.From); err != nil {
			return fmt.Errorf("sender %q: %w", e.From, err)
		}
	}
	for _, to := range e.To {
		if err := validPath(to); err != nil {
			return fmt.Errorf("recipient %q: %w", to, err)
		}
	}
	return nil
}

// Verdict is the answer of the server for one recipient.
type Verdict struct {
	Recipient string
	Reply     Reply
}

// Accepted reports whether the recipient has got the message.
func (v Verdict) Accepted() bool { return v.Reply.Code/100 == 2 }

// RecipientError is the refusal of one recipient.
type RecipientError struct {
	Recipient string
	Err       error
}

// Error names the recipient and what the server said.
func (e *RecipientError) Error() string { return e.Recipient + ": " + e.Err.Error() }

// Unwrap returns what the server said.
func (e *RecipientError) Unwrap() error { return e.Err }

// Send hands over one message. The error joins a *RecipientError for each
// recipient that was refused; others have got the message.
func (c *Client) Send(ctx context.Context, from string, to []string, message io.Reader) error {
	verdicts, err := c.Deliver(ctx, Envelope{From: from, To: to}, message)
	if err != nil {
		return err
	}
	var refused []error
	for _, v := range verdicts {
		if !v.Accepted() {
			refused = append(refused, &RecipientError{v.Recipient, v.Reply})
		}
	}
	return errors.Join(refused...)
}

// Deliver hands over one message and returns a verdict for each recipient, in
// order. An error means that the transaction failed as a whole: then the
// connection is of no more use unless the error is a Reply.
func (c *Client) Deliver(ctx context.Context, e Envelope, message io.Reader) ([]Verdict, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := e.validate(); err != nil {
		return nil, err
	}
	defer c.conn.follow(ctx)()
	if err := c.mail(e); err != nil {
		return nil, fmt.Errorf("sender <%s>: %w", e.From, err)
	}
	verdicts := make([]Verdict, len(e.To))
	var accepted []int
	for i, to := range e.To {
		r, err := c.rcpt(to)
		if err != nil {
			return nil, fmt.Errorf("recipient <%s>: %w", to, err)
		}
		verdicts[i] = Verdict{to, r}
		if verdicts[i].Accepted() {
			accepted = append(accepted, i)
		}
	}
	if len(accepted) == 0 {
		return verdicts, c.reset()
	}
	replies, err := c.transfer(message, len(accepted))
	if err != nil {
		return nil, fmt.Errorf("send message: %w", err)
	}
	for n, i := range accepted {
		verdicts[i].Reply = replies[n]
	}
	return verdicts, nil
}

func (c *Client) mail(e Envelope) error {
	line := "MAIL FROM:<" + e.From + ">"
	if c.offers("SIZE") && e.Size > 0 {
		line += fmt.Sprintf(" SIZE=%d", e.Size)
	}
	if c.offers("8BITMIME") {
		line += " BODY=8BITMIME"
	}
	if c.offers("SMTPUTF8") && (!ascii(e.From) || !ascii(strings.Join(e.To, ""))) {
		line += " SMTPUTF8"
	}
	if err := c.send(line); err != nil {
		return err
	}
	return c.expect(250)
}

func (c *Client) rcpt(to string) (Reply, error) {
	if err := c.send("RCPT TO:<" + to + ">"); err != nil {
		return Reply{}, err
	}
	return c.reply()
}

// validPath keeps an address from adding commands or parameters.
func validPath(addr string) error {
	if addr == "" {
		return errors.New("the address is empty")
	}
	for i := range len(addr) {
		if b := addr[i]; b < ' ' || b == 0x7f || b == '<' || b == '>' {
			return fmt.Errorf("character %q is not allowed in an address", b)
		}
	}
	return nil
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 0x7e }) < 0
}

func (c *Client) reset() error {
	if err := c.send("RSET"); err != nil {
		return err
	}
	return c.expect(250)
}

// Close says goodbye and closes the connection.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	defer c.conn.follow(ctx)()
	err := c.send("QUIT")
	if err == nil {
		_, err = c.reply()
	}
	return errors.Join(err, c.conn.Close())
}
