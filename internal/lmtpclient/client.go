// Package lmtpclient hands messages to an LMTP server: for the commands `send`
// and `serve --demo`, which go the way that mail goes.
//
// It wraps a library and imports no other internal package.
package lmtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-smtp"
)

const timeout = 2 * time.Minute

// Client is a connection to an LMTP server. It is not safe for concurrent use.
type Client struct{ c *smtp.Client }

// Dial connects to host:port.
func Dial(ctx context.Context, addr string) (*Client, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to LMTP server: %w", err)
	}
	c := smtp.NewClientLMTP(conn)
	c.CommandTimeout, c.SubmissionTimeout = timeout, timeout
	if err := c.Hello("localhost"); err != nil {
		return nil, errors.Join(fmt.Errorf("greet LMTP server %s: %w", addr, err), c.Close())
	}
	return &Client{c}, nil
}

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
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.c.Mail(from, nil); err != nil {
		return fmt.Errorf("sender %s: %w", from, err)
	}
	var refused []error
	accepted := 0
	for _, r := range to {
		if err := c.c.Rcpt(r, nil); err != nil {
			refused = append(refused, &RecipientError{r, err})
			continue
		}
		accepted++
	}
	if accepted == 0 {
		return errors.Join(append(refused, c.c.Reset())...)
	}
	if err := c.data(message, &refused); err != nil {
		return err
	}
	return errors.Join(refused...)
}

func (c *Client) data(message io.Reader, refused *[]error) error {
	w, err := c.c.Data()
	if err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	if _, err := io.Copy(w, message); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	_, err = w.CloseWithLMTPResponse()
	var perRecipient smtp.LMTPDataError
	if errors.As(err, &perRecipient) {
		for r, e := range perRecipient {
			*refused = append(*refused, &RecipientError{r, e})
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// Close says goodbye.
func (c *Client) Close() error { return c.c.Quit() }
