package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"mallard/internal/mail"
)

func boxesPath(user mail.AccountID) string { return "/_control/users/" + user.String() + "/mailboxes" }

// Mailboxes lists the mailboxes of a user, hidden ones included.
func (c *Client) Mailboxes(ctx context.Context, user mail.AccountID) ([]Mailbox, error) {
	var out []Mailbox
	err := c.Call(ctx, http.MethodGet, boxesPath(user), nil, &out)
	return out, err
}

// Mailbox finds a mailbox or makes it.
func (c *Client) Mailbox(ctx context.Context, user mail.AccountID, path string) (*Mailbox, error) {
	var out Mailbox
	if err := c.Call(ctx, http.MethodPost, boxesPath(user), MailboxRequest{path}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// AppendMessage is a message of Append.
type AppendMessage struct {
	AppendMeta
	Open func() (io.ReadCloser, error)
}

// SourceError says that a message of an Append could not be read, and that nothing
// was stored for that.
type SourceError struct {
	Index int
	Err   error
}

// Error returns why.
func (e *SourceError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *SourceError) Unwrap() error { return e.Err }

// Append stores messages at the end of a mailbox, in one step. The error is a
// *SourceError when a message could not be read.
func (c *Client) Append(ctx context.Context, user mail.AccountID, box mail.MailboxID, messages []AppendMessage) ([]AppendResult, error) {
	pr, pw := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := writeMessages(pw, messages)
		pw.CloseWithError(err) // nil is the end
		wrote <- err
	}()
	r, err := c.open(ctx, http.MethodPost, boxesPath(user)+"/"+box.String()+"/append", pr)
	_ = pr.Close() // ends the writing when the server did not read everything
	werr := <-wrote
	if source, ok := errors.AsType[*SourceError](werr); ok {
		if err == nil {
			_ = r.Close()
		}
		return nil, source
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out AppendReply
	if err := json.NewDecoder(r).Decode(&out); err != nil {
		return nil, fmt.Errorf("read the answer of the server: %w", err)
	}
	if len(out.Results) != len(messages) {
		return nil, fmt.Errorf("the server answered for %d messages instead of %d", len(out.Results), len(messages))
	}
	return out.Results, nil
}

func writeMessages(w io.Writer, messages []AppendMessage) error {
	f := NewFrameWriter(w)
	for i, m := range messages {
		if err := f.Begin(m.AppendMeta); err != nil {
			return err
		}
		if err := copyMessage(f, m.Open); err != nil {
			if f.err != nil {
				return f.err
			}
			return &SourceError{i, err}
		}
		if err := f.End(struct{}{}); err != nil {
			return err
		}
	}
	return f.Flush()
}

func copyMessage(w io.Writer, open func() (io.ReadCloser, error)) error {
	r, err := open()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, r.Close())
}

// Digests calls f with a digest of each message from a UID on.
func (c *Client) Digests(ctx context.Context, user mail.AccountID, box mail.MailboxID, from mail.UID, f func(Digest) error) error {
	r, err := c.open(ctx, http.MethodGet, fmt.Sprintf("%s/%s/digests?from=%d", boxesPath(user), box, from), nil)
	if err != nil {
		return err
	}
	defer r.Close()
	dec := json.NewDecoder(r)
	for {
		var d Digest
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(d)
		}
		if err != nil {
			return err
		}
	}
}

// Messages calls f with each message of a mailbox. content copies its octets and
// fails when the message is damaged; it can be left out.
func (c *Client) Messages(ctx context.Context, user mail.AccountID, box mail.MailboxID, f func(m *ExportMeta, content func(io.Writer) error) error) error {
	r, err := c.open(ctx, http.MethodGet, boxesPath(user)+"/"+box.String()+"/messages", nil)
	if err != nil {
		return err
	}
	defer r.Close()
	frames := NewFrameReader(r)
	for {
		var m ExportMeta
		err := frames.Next(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(&m, func(w io.Writer) error { return readContent(w, frames) })
		}
		if err != nil {
			return err
		}
	}
}

func readContent(w io.Writer, frames *FrameReader) error {
	if _, err := io.Copy(w, frames); err != nil {
		return err
	}
	var end ExportEnd
	if err := frames.End(&end); err != nil {
		return err
	}
	if end.Error != "" {
		return errors.New(end.Error)
	}
	return nil
}
