package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"mallard/internal/draft"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// brief is what tells whether a message is the same at both ends.
type brief struct {
	uid    mail.UID
	modSeq mail.ModSeq
	id     mail.MessageID
	email  mail.EmailID
	flags  mail.Flags
}

// briefs reads at most limit messages of a range of UIDs.
func briefs(ctx context.Context, s store.Store, acct mail.AccountID, box mail.MailboxID, first, last mail.UID, limit int) ([]brief, error) {
	var out []brief
	if first > last {
		return nil, nil
	}
	q := store.FetchQuery{UIDs: mail.UIDSet{{First: first, Last: last}}, Limit: limit}
	for row, err := range s.Fetch(ctx, acct, box, q) {
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		out = append(out, brief{row.UID, row.ModSeq, row.ID, row.EmailID, row.Flags})
	}
	return out, nil
}

// messages makes the messages of the target those of the source, a window at a time, so
// that a mailbox may have any size.
func (c *copier) messages(ctx context.Context) error {
	for first := mail.UID(1); ; {
		from, err := briefs(ctx, c.From, c.acct, c.box.ID, first, c.box.UIDNext-1, c.Window)
		if err != nil {
			return err
		}
		last := mail.UID(1<<32 - 1)
		if len(from) == c.Window {
			last = from[len(from)-1].uid
		}
		var to []brief
		if c.old != nil {
			if to, err = briefs(ctx, c.To, c.acct, c.box.ID, first, last, 0); err != nil {
				return err
			}
		}
		if err := c.window(ctx, from, to); err != nil {
			return err
		}
		if len(from) < c.Window {
			return nil
		}
		first = last + 1
	}
}

// window compares the messages of a range of UIDs and does what is to be done.
func (c *copier) window(ctx context.Context, from, to []brief) error {
	var whole, changed, gone []mail.UID
	i := 0
	for _, f := range from {
		for ; i < len(to) && to[i].uid < f.uid; i++ {
			gone = append(gone, to[i].uid)
		}
		switch {
		case i == len(to) || to[i].uid > f.uid:
			whole = append(whole, f.uid)
			continue
		case to[i].id != f.id || to[i].email != f.email:
			whole = append(whole, f.uid)
		case to[i] != f:
			changed = append(changed, f.uid)
		}
		i++
	}
	for ; i < len(to); i++ {
		gone = append(gone, to[i].uid)
	}
	if len(gone) > 0 {
		if err := c.To.RemoveRestored(ctx, c.acct, c.box.ID, mail.UIDSetOf(gone...)); err != nil {
			return fmt.Errorf("remove messages that are gone: %w", err)
		}
		c.counts.removed.Add(int64(len(gone)))
	}
	if err := c.transfer(ctx, changed, false); err != nil {
		return err
	}
	return c.transfer(ctx, whole, true)
}

// transfer restores messages, with their content or without.
func (c *copier) transfer(ctx context.Context, uids []mail.UID, content bool) (err error) {
	if len(uids) == 0 {
		return nil
	}
	defer func() { err = errors.Join(err, c.release()) }()
	q := store.FetchQuery{UIDs: mail.UIDSetOf(uids...), Fields: store.FieldMeta}
	if content {
		q.Fields |= store.FieldBody
	}
	for row, err := range c.From.Fetch(ctx, c.acct, c.box.ID, q) {
		if err != nil && row != nil && mail.CodeOf(err) == mail.CodeCorrupt {
			if err := c.damaged(row.UID, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if err := c.add(ctx, row, content); err != nil {
			return err
		}
		if len(c.batch) >= c.Batch || c.batchBytes >= c.BatchBytes {
			if err := c.flush(ctx, content); err != nil {
				return err
			}
		}
	}
	return c.flush(ctx, content)
}

// damaged tells of a message that cannot be read.
func (c *copier) damaged(uid mail.UID, err error) error {
	if c.SkipDamaged {
		c.counts.skipped.Add(1)
		return nil
	}
	c.problem(fmt.Sprintf("message %d of %s", uid, c.where), "it cannot be read: %v", err)
	return nil
}

// add puts a message into the batch.
func (c *copier) add(ctx context.Context, row *store.Row, content bool) error {
	m := store.Restored{
		UID: row.UID, ModSeq: row.ModSeq, ID: row.ID, EmailID: row.EmailID, ThreadID: row.ThreadID, Flags: row.Flags,
		InternalDate: row.InternalDate, SavedDate: row.SavedDate, Expires: row.Expires,
		MetaData: row.MetaData, Info: row.Info, Junk: row.Junk,
	}
	if !content {
		c.batch = append(c.batch, m)
		return nil
	}
	d, prefix, err := c.receive(ctx, row)
	if err != nil {
		if ctx.Err() != nil || mail.CodeOf(err) == mail.CodeUnavailable || mail.CodeOf(err) == mail.CodeNoSpace {
			return fmt.Errorf("read message %d: %w", row.UID, err)
		}
		return c.damaged(row.UID, err)
	}
	staged, err := c.To.Stage(ctx, d.Content())
	if cerr := d.Close(); err == nil && cerr != nil {
		err = errors.Join(cerr, staged.Close())
	}
	if err != nil {
		return fmt.Errorf("stage message %d: %w", row.UID, err)
	}
	m.Prefix, m.Staged = prefix, staged
	c.batch, c.batchBytes = append(c.batch, m), c.batchBytes+row.Size
	return nil
}

// receive reads a message and parses what is behind its prefix.
func (c *copier) receive(ctx context.Context, row *store.Row) (d *draft.Draft, prefix []byte, err error) {
	body, err := row.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if cerr := body.Close(); err == nil && cerr != nil {
			err = errors.Join(cerr, d.Close())
		}
	}()
	var head bytes.Buffer
	if err := body.WriteRange(&head, 0, row.PrefixLen); err != nil {
		return nil, nil, err
	}
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := body.WriteRange(w, row.PrefixLen, body.Size()-row.PrefixLen)
		w.CloseWithError(err) // nil is the end
		wrote <- err
	}()
	d, err = c.Receiver.Receive(ctx, r, 0)
	_ = r.Close() // ends the writing when not everything was read
	if werr := <-wrote; err == nil && werr != nil {
		err = errors.Join(werr, d.Close())
	}
	if err != nil {
		return nil, nil, err
	}
	return d, head.Bytes(), nil
}

// flush stores the batch.
func (c *copier) flush(ctx context.Context, content bool) error {
	if len(c.batch) == 0 {
		return nil
	}
	if err := c.To.RestoreMessages(ctx, c.acct, c.box.ID, c.batch); err != nil {
		return fmt.Errorf("restore messages: %w", err)
	}
	if content {
		c.counts.copied.Add(int64(len(c.batch)))
		c.counts.bytes.Add(c.batchBytes)
	} else {
		c.counts.updated.Add(int64(len(c.batch)))
	}
	c.progress("mail")
	return c.release()
}

// release ends the batch, whether it was stored or not.
func (c *copier) release() error {
	var errs []error
	for _, m := range c.batch {
		if m.Staged != nil {
			errs = append(errs, m.Staged.Close())
		}
	}
	c.batch, c.batchBytes = c.batch[:0], 0
	return errors.Join(errs...)
}
