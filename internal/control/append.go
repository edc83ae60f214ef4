package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// pending is a message of an append: staged, or why not.
type pending struct {
	in  store.Append
	err error
}

// batch is what is appended in one step.
type batch struct {
	items []*pending
	size  int64
}

func (b *batch) close() {
	for _, p := range b.items {
		if p.in.Staged != nil {
			_ = p.in.Staged.Close() // nothing is lost with it
		}
	}
}

// append stores a stream of messages at the end of a mailbox, in one step. A
// message that cannot be taken does not keep the others from being stored.
func (s *Server) append(w http.ResponseWriter, r *http.Request) {
	s.appends.RLock()
	defer s.appends.RUnlock()
	acct, box, err := target(r)
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	b, err := s.receive(r.Context(), NewFrameReader(r.Body))
	defer b.close()
	if err != nil {
		s.reply(w, r, nil, err)
		return
	}
	results := make([]AppendResult, len(b.items))
	err = s.store(r.Context(), acct, box, b.items, results)
	s.reply(w, r, AppendReply{Results: results}, err)
}

// receive reads and stages all messages; the result is to be closed also with an
// error. Staging runs beside the reading of the next messages.
func (s *Server) receive(ctx context.Context, frames *FrameReader) (*batch, error) {
	b := &batch{}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0) + 1)
	err := s.receiveAll(ctx, frames, b, &g)
	_ = g.Wait() // errors are in the items
	return b, err
}

func (s *Server) receiveAll(ctx context.Context, frames *FrameReader, b *batch, g *errgroup.Group) error {
	for {
		var meta AppendMeta
		err := frames.Next(&meta)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if len(b.items) == MaxBatch || b.size > MaxBatchBytes {
			return mail.NewError(mail.CodeLimit, fmt.Sprintf("At most %d messages and %d octets in one call", MaxBatch, MaxBatchBytes))
		}
		p := &pending{in: store.Append{InternalDate: meta.Date}}
		b.items = append(b.items, p)
		if p.in.Flags, p.err = mail.ParseFlags(meta.Flags); p.err != nil {
			p.err = mail.WrapError(mail.CodeInvalid, "Flags are not valid", p.err)
			continue
		}
		if err := s.receiveOne(ctx, frames, b, p, g); err != nil {
			return err
		}
	}
}

func (s *Server) receiveOne(ctx context.Context, frames *FrameReader, b *batch, p *pending, g *errgroup.Group) error {
	d, err := s.o.Receiver.Receive(ctx, frames, s.o.MaxMessage)
	switch {
	case err != nil && mail.CodeOf(err) == mail.CodeTooBig:
		p.err = err
		return nil
	case err != nil:
		return fmt.Errorf("read message: %w", err)
	case d.Size() == 0:
		p.err = mail.NewError(mail.CodeInvalid, "The message is empty")
		return d.Close()
	}
	b.size += d.Size()
	g.Go(func() error {
		defer d.Close()
		p.in.Staged, p.err = s.o.Mailboxes.Stage(ctx, d.Content())
		return nil
	})
	return nil
}

// store appends what was staged. When the account has no room for all, the first
// ones are stored one by one while there is room.
func (s *Server) store(ctx context.Context, acct mail.AccountID, box mail.MailboxID, items []*pending, results []AppendResult) error {
	now := time.Now()
	info := fmt.Sprintf(`{"source":"IMPORT","time":%q}`, now.UTC().Format(time.RFC3339))
	var in []store.Append
	var index []int
	for i, p := range items {
		if p.err != nil {
			results[i] = failed(p.err)
			continue
		}
		if p.in.InternalDate.IsZero() {
			p.in.InternalDate = now
		}
		p.in.Info = info
		in, index = append(in, p.in), append(index, i)
	}
	if len(in) == 0 {
		return nil
	}
	out, err := s.o.Mailboxes.Append(ctx, acct, box, in...)
	if err != nil && mail.CodeOf(err) == mail.CodeOverQuota && len(in) > 1 {
		s.storeSingly(ctx, acct, box, in, index, results)
		return nil
	}
	if err != nil && mail.CodeOf(err) != mail.CodeOverQuota {
		return fmt.Errorf("append: %w", err)
	}
	for n, i := range index {
		if err != nil {
			results[i] = failed(err)
			continue
		}
		results[i] = AppendResult{UID: out[n].UID}
	}
	return nil
}

func (s *Server) storeSingly(ctx context.Context, acct mail.AccountID, box mail.MailboxID, in []store.Append, index []int, results []AppendResult) {
	var full error
	for n, i := range index {
		if full != nil {
			results[i] = failed(full)
			continue
		}
		out, err := s.o.Mailboxes.Append(ctx, acct, box, in[n])
		if err != nil {
			full = err
			results[i] = failed(err)
			continue
		}
		results[i] = AppendResult{UID: out[0].UID}
	}
}

func failed(err error) AppendResult {
	return AppendResult{Code: mail.CodeOf(err).String(), Error: publicText(err)}
}
