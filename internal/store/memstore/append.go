package memstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// staged is a content on its way into mailboxes.
type staged struct {
	content *content
	closed  atomic.Bool
}

// Close ends the use of the content for further messages.
func (st *staged) Close() error {
	st.closed.Store(true)
	return nil
}

// Stage takes a copy of the content.
func (s *Store) Stage(ctx context.Context, c *store.Content) (store.Staged, error) {
	if err := s.enter(ctx, "Stage"); err != nil {
		return nil, err
	}
	s.mu.Unlock() // the source may be slow, and nothing of the store is needed
	data := make([]byte, c.Size)
	n, err := c.Source.ReadAt(data, 0)
	if int64(n) < c.Size {
		if err == nil || errors.Is(err, io.EOF) {
			err = mail.WrapError(mail.CodeInvalid, "the message is incomplete", io.ErrUnexpectedEOF)
		}
		return nil, fmt.Errorf("read content: %w", err)
	}
	references := make([]string, len(c.References))
	for i, r := range c.References {
		references[i] = strings.Clone(r)
	}
	return &staged{content: &content{
		data:          data,
		header:        bytes.Clone(c.Header),
		envelope:      bytes.Clone(c.Envelope),
		bodyStructure: bytes.Clone(c.BodyStructure),
		tree:          bytes.Clone(c.Tree),
		summary:       bytes.Clone(c.Summary),
		references:    references,
		subject:       strings.Clone(c.Subject),
	}}, nil
}

// Append stores messages at the end of a mailbox.
func (s *Store) Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in []store.Append) ([]store.Appended, error) {
	if err := s.enter(ctx, "Append"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(acct)
	if err != nil {
		return nil, err
	}
	_, b, err := s.mailbox(acct, mbox)
	if err != nil {
		return nil, err
	}
	msgs, err := s.checkAppend(a, in)
	if err != nil || len(msgs) == 0 {
		return nil, err
	}
	ms := a.next()
	out := make([]store.Appended, len(in))
	for i, m := range msgs {
		if m.expires.IsZero() && b.row.Retention > 0 {
			m.expires = s.now().Add(b.row.Retention)
		}
		m.threadID = a.thread(m.content, func() mail.ThreadID { return mail.NewID[mail.ThreadID](s.gen) })
		b.add(m, ms)
		s.logMessage(a, b, m, store.JournalEntry{Command: store.JournalExists, Origin: in[i].Origin})
		out[i] = store.Appended{
			UID: m.uid, UIDValidity: b.row.UIDValidity, ModSeq: ms,
			ID: m.id, EmailID: m.emailID, ThreadID: m.threadID, Size: m.size(),
		}
	}
	return out, nil
}

// checkAppend makes the messages of an append, if all of them can be stored.
func (s *Store) checkAppend(a *account, in []store.Append) ([]*message, error) {
	var msgs []*message
	used := a.used()
	for _, ap := range in {
		st, ok := ap.Staged.(*staged)
		if !ok || st.closed.Load() {
			return nil, mail.NewError(mail.CodeInvalid, "the message is not staged")
		}
		m := &message{
			flags:    ap.Flags,
			date:     seconds(ap.InternalDate),
			saved:    s.now(),
			expires:  seconds(ap.Expires),
			metaData: ap.MetaData,
			info:     ap.Info,
			id:       mail.NewID[mail.MessageID](s.gen),
			emailID:  mail.NewID[mail.EmailID](s.gen),
			prefix:   slices.Clone(ap.Prefix),
			content:  st.content,
		}
		used += m.size()
		if ap.Quota > 0 && used > ap.Quota {
			return nil, overQuota()
		}
		msgs = append(msgs, m)
	}
	return msgs, nil
}

func overQuota() error { return mail.NewError(mail.CodeOverQuota, "the account is over its quota") }
