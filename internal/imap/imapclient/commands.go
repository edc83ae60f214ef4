package imapclient

import (
	"fmt"
	"io"
	"strings"
	"time"

	"mallard/internal/imap/imapwire"
)

// Quote returns s as a string for a command: quoted where possible, else as a
// synchronising literal.
func Quote(s string) string { return string(imapwire.AppendString(nil, s, true)) }

// Mailbox returns a mailbox name for a command.
func (c *Client) Mailbox(name string) string {
	return string(imapwire.AppendMailbox(nil, name, c.lex.utf8))
}

// Login logs in.
func (c *Client) Login(user, password string) error {
	_, err := c.Must("LOGIN %s %s", Quote(user), Quote(password))
	return err
}

// Logout says good-bye, which the server has to answer with BYE and OK, and
// closes the connection.
func (c *Client) Logout() error {
	defer c.Close()
	res, err := c.Must("LOGOUT")
	if err != nil {
		return err
	}
	if len(res.Find("BYE")) != 1 && !c.Light {
		return c.fail(&ProtocolError{What: "LOGOUT without BYE"})
	}
	return nil
}

// Enable switches capabilities on and returns those that the server confirms.
func (c *Client) Enable(caps ...string) ([]string, error) {
	res, err := c.Must("ENABLE %s", strings.Join(caps, " "))
	if err != nil {
		return nil, err
	}
	var on []string
	for _, r := range res.Find("ENABLED") {
		on = append(on, r.Atoms...)
	}
	for _, name := range on {
		if strings.EqualFold(name, "UTF8=ACCEPT") {
			c.lex.utf8 = true
		}
	}
	return on, nil
}

// Select opens a mailbox.
func (c *Client) Select(mailbox string) (*Result, error) {
	return c.Must("SELECT %s", c.Mailbox(mailbox))
}

// Examine opens a mailbox to read only.
func (c *Client) Examine(mailbox string) (*Result, error) {
	return c.Must("EXAMINE %s", c.Mailbox(mailbox))
}

// AppendOptions are the optional arguments of APPEND.
type AppendOptions struct {
	// Flags are sent unless nil.
	Flags []string
	// Date is sent unless zero.
	Date time.Time
	// NonSync sends the message without waiting (LITERAL+).
	NonSync bool
}

// Append sends a message of size octets. The result's Err is not looked at.
func (c *Client) Append(mailbox string, size int64, msg io.Reader, opt AppendOptions) (*Result, error) {
	line := []byte("APPEND " + c.Mailbox(mailbox))
	if opt.Flags != nil {
		line = imapwire.AppendFlags(append(line, ' '), opt.Flags)
	}
	if !opt.Date.IsZero() {
		line = imapwire.AppendDateTime(append(line, ' '), opt.Date)
	}
	plus := ""
	if opt.NonSync {
		plus = "+"
	}
	c.tagCount++
	tag := fmt.Sprintf("c%d", c.tagCount)
	c.state.sent(tag, "APPEND")
	if err := c.write(fmt.Sprintf("%s %s {%d%s}\r\n", tag, line, size, plus)); err != nil {
		return nil, err
	}
	if !opt.NonSync {
		res, err := c.await(tag, "+", nil)
		if err != nil || res.Tag != "+" {
			return res, err
		}
		c.state.before = append(c.state.before, res.Untagged...)
	}
	if err := c.sendBody(size, msg); err != nil {
		return nil, err
	}
	return c.await(tag, "", nil)
}

// sendBody sends a literal and the end of the line.
func (c *Client) sendBody(size int64, msg io.Reader) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return c.fail(err)
	}
	n, err := io.Copy(c.bw, io.LimitReader(msg, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return c.fail(fmt.Errorf("imapclient: send message: %w", err))
	}
	return c.write("\r\n")
}

// Idling is an IDLE command in progress.
type Idling struct {
	c   *Client
	tag string
	// Before are the responses that came before IDLE began.
	Before []*Response
}

// Idle starts IDLE.
func (c *Client) Idle() (*Idling, error) {
	tag, err := c.Send("IDLE")
	if err != nil {
		return nil, err
	}
	res, err := c.await(tag, "+", nil)
	if err != nil {
		return nil, err
	}
	if res.Tag != "+" {
		return nil, res.Err()
	}
	return &Idling{c: c, tag: tag, Before: res.Untagged}, nil
}

// Wait returns the next response, or nil when none comes in time.
func (i *Idling) Wait(timeout time.Duration) (*Response, error) {
	r, err := i.c.Wait(timeout)
	if err == nil && r != nil && r.Tag != "*" {
		return nil, i.c.fail(&ProtocolError{What: "response with tag " + r.Tag + " during IDLE"})
	}
	return r, err
}

// Done ends IDLE.
func (i *Idling) Done() (*Result, error) {
	if err := i.c.Write("DONE\r\n"); err != nil {
		return nil, err
	}
	return i.c.await(i.tag, "", nil)
}
