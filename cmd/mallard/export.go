package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mallard/internal/control"
	"mallard/internal/mail"
	"mallard/internal/transfer"
)

type exportCmd struct {
	User    string `required:"" placeholder:"NAME" help:"Whose mail it is: user name or address."`
	Maildir string `xor:"target" required:"" placeholder:"DIR" help:"Write a Maildir with a folder for each mailbox."`
	Mbox    string `xor:"target" required:"" placeholder:"DIR" help:"Write an mbox file for each mailbox below this directory."`
	Layout  string `enum:"maildir++,fs" default:"maildir++" help:"Where the folders of a Maildir are: ${enum}."`
	Mailbox string `placeholder:"M" help:"Only this mailbox."`
	JSON    bool   `name:"json" help:"Print JSON."`
	progressFlag
}

// Help is shown by --help.
func (exportCmd) Help() string {
	return `Examples:
  mallard export --user jane --maildir /backup/jane
  mallard export --user jane@example.org --mbox /backup/jane --mailbox INBOX

Flags, keywords and dates go along. A Maildir gets every message octet for octet;
given again, the command adds what is new. Existing files are never overwritten:
an mbox file that is there is an error. Messages that are damaged in the store are
reported and left out, and the exit status is 1.`
}

// exportCount sums up an export.
type exportCount struct {
	Mailboxes int   `json:"mailboxes"`
	Messages  int   `json:"messages"`
	Bytes     int64 `json:"bytes"`
	Already   int   `json:"already"` // by an earlier run
	Failed    int   `json:"failed"`
}

// messageSource reads the messages of a mailbox, one after the other.
type messageSource interface {
	Messages(ctx context.Context, user mail.AccountID, box mail.MailboxID, f func(m *control.ExportMeta, content func(io.Writer) error) error) error
}

// exporter is one export.
type exporter struct {
	s     messageSource
	user  *control.User
	w     transfer.Writer
	p     *progress
	count exportCount
	total int // messages
}

// Run exports.
func (e exportCmd) Run(ctx context.Context, c *cli) error {
	return c.with(ctx, readStore, func(s *session) error {
		user, err := s.find(ctx, e.User)
		if err != nil {
			return err
		}
		boxes, err := e.mailboxes(ctx, s, user)
		if err != nil {
			return err
		}
		w, err := e.writer()
		if err != nil {
			return err
		}
		x := &exporter{s: s, user: user, w: w, p: e.open()}
		err = x.run(ctx, boxes)
		x.p.clear()
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		return e.report(x.count, err)
	})
}

func (e *exportCmd) writer() (transfer.Writer, error) {
	if e.Maildir != "" {
		return transfer.CreateMaildir(e.Maildir, transfer.Layout(e.Layout))
	}
	return transfer.CreateMbox(e.Mbox)
}

// mailboxes are those to export.
func (e *exportCmd) mailboxes(ctx context.Context, s *session, user *control.User) ([]control.Mailbox, error) {
	boxes, err := s.Mailboxes(ctx, user.ID)
	if err != nil {
		return nil, fmt.Errorf("list mailboxes: %w", err)
	}
	if e.Mailbox == "" {
		return boxes, nil
	}
	name, err := mail.CanonicalName(e.Mailbox)
	if err != nil {
		return nil, usageError{fmt.Errorf("--mailbox %q: %w", e.Mailbox, err)}
	}
	for _, b := range boxes {
		if b.Path == name {
			return []control.Mailbox{b}, nil
		}
	}
	return nil, fmt.Errorf("%s has no mailbox %q; `mallard user show %s` lists all", e.User, e.Mailbox, e.User)
}

func (e *exportCmd) report(n exportCount, err error) error {
	if e.JSON {
		err = errors.Join(err, printJSON(n))
	} else {
		fmt.Printf("%d messages exported from %d mailboxes (%s), %d were there already, %d failed\n",
			n.Messages, n.Mailboxes, bytesText(n.Bytes), n.Already, n.Failed)
	}
	if err == nil && n.Failed > 0 {
		err = fmt.Errorf("%d messages or mailboxes were not exported", n.Failed)
	}
	return err
}

func (x *exporter) run(ctx context.Context, boxes []control.Mailbox) error {
	for _, b := range boxes {
		x.total += int(b.Messages)
	}
	for _, b := range boxes {
		f, err := x.w.Folder(b.Path)
		if err != nil {
			x.failed(b.Path, err)
			continue
		}
		if err := x.mailbox(ctx, f, &b); err != nil {
			return fmt.Errorf("export mailbox %s: %w", b.Path, err)
		}
		x.count.Mailboxes++
	}
	return nil
}

// mailbox exports one mailbox. One that could not be read or written to its end is not completed.
func (x *exporter) mailbox(ctx context.Context, f transfer.FolderWriter, b *control.Mailbox) error {
	err := x.s.Messages(ctx, x.user.ID, b.ID, func(m *control.ExportMeta, content func(io.Writer) error) error {
		return x.message(ctx, f, b, m, content)
	})
	if err == nil {
		return f.Close()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // and not what that did to the connection
	}
	return errors.Join(err, f.Discard())
}

func (x *exporter) failed(where string, err error) {
	x.count.Failed++
	x.p.problem(where, err.Error())
}

// diskError is an error of the destination, which ends the export: what is wrong
// with the disk is wrong for all messages.
type diskError struct{ error }

func (e diskError) Unwrap() error { return e.error }

// diskWriter marks errors of writing.
type diskWriter struct{ w io.Writer }

func (d diskWriter) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		err = diskError{err}
	}
	return n, err
}

// message exports one message.
func (x *exporter) message(ctx context.Context, f transfer.FolderWriter, b *control.Mailbox, m *control.ExportMeta, content func(io.Writer) error) error {
	where := fmt.Sprintf("%s, message with UID %d", b.Path, m.UID)
	if m.Error != "" {
		x.failed(where, errors.New(m.Error))
		return nil
	}
	flags, err := mail.ParseFlags(m.Flags)
	if err != nil {
		x.p.problem(where, err.Error())
	}
	damaged := false
	err = f.Add(transfer.Outgoing{ID: fmt.Sprintf("U%d-%s", m.UID, b.ID), Flags: flags, Date: m.Date}, func(w io.Writer) error {
		err := content(diskWriter{w})
		_, disk := errors.AsType[diskError](err)
		damaged = err != nil && !disk
		return err
	})
	var odd *transfer.Warning
	switch {
	case damaged && ctx.Err() != nil:
		return err
	case damaged:
		x.failed(where, err)
		return nil
	case errors.Is(err, transfer.ErrExists):
		x.count.Already++
		return nil
	case errors.As(err, &odd):
		x.p.problem(where, odd.Text)
	case err != nil:
		return err
	}
	x.count.Messages++
	x.count.Bytes += m.Size
	x.p.show(func() string {
		done := x.count.Messages + x.count.Already + x.count.Failed
		return fmt.Sprintf("%s: %d of %d messages, %s, %s", plain(b.Path), done, x.total, bytesText(x.count.Bytes),
			x.p.rate(x.count.Messages, x.count.Bytes, x.total-done))
	})
	return nil
}
