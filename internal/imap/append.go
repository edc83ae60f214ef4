package imap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// maxMultiAppend is how many messages one APPEND may hold (RFC 3502): they are
// kept until the last one has come, because they are stored together.
const maxMultiAppend = 100

// append is APPEND (RFC 3501, 6.3.11) with several messages (RFC 3502).
func (s *session) append(ctx context.Context, cmd *imapwire.Command, a *imapwire.Append) error {
	box, err := s.lookup(ctx, a.Mailbox)
	if err != nil {
		return s.tryCreate(ctx, cmd, a.Mailbox, err)
	}
	room, err := s.room(ctx)
	if err != nil {
		return err
	}
	in, done, err := s.receive(ctx, a, room)
	defer done()
	if err != nil {
		return err
	}
	out, err := s.srv.o.Mailboxes.Append(ctx, s.acct.ID, box.ID, in...)
	if err != nil {
		return s.tryCreate(ctx, cmd, a.Mailbox, err)
	}
	uids := make([]uint32, len(out))
	octets := int64(0)
	for i := range out {
		uids[i] = uint32(out[i].UID)
		octets += out[i].Size
	}
	if t := s.srv.o.Traffic; t != nil {
		t.Uploaded(ctx, s.acct.ID, octets)
	}
	return s.ok(ctx, cmd, imapwire.CodeAppendUID(uint32(out[0].UIDValidity), uids))
}

// room is how many octets the account may still store. The store has the last
// word; this spares the client, and the disk, messages that cannot be stored.
func (s *session) room(ctx context.Context) (int64, error) {
	used, allowed, err := s.srv.o.Accounts.Quota(ctx, s.acct.ID)
	if err != nil || allowed <= 0 {
		return math.MaxInt64, err
	}
	return allowed - used, nil
}

// receive reads and stages the messages of an APPEND, up to so many octets. done
// releases them and is never nil.
func (s *session) receive(ctx context.Context, a *imapwire.Append, room int64) (in []store.Append, done func(), err error) {
	var closers []io.Closer
	done = func() {
		for _, c := range closers {
			if err := c.Close(); err != nil {
				s.log().WarnContext(ctx, "release appended message", "error", err)
			}
		}
	}
	for {
		m, err := a.Next()
		if errors.Is(err, io.EOF) {
			return in, done, nil
		}
		if err != nil {
			return nil, done, err
		}
		if len(in) == maxMultiAppend {
			return nil, done, mail.NewError(mail.CodeLimit, fmt.Sprintf("at most %d messages in one APPEND", maxMultiAppend))
		}
		if room -= m.Size; room < 0 {
			return nil, done, mail.NewError(mail.CodeOverQuota, "The account has no room for this message")
		}
		one, staged, err := s.receiveOne(ctx, m)
		if err != nil {
			return nil, done, err
		}
		closers = append(closers, staged)
		in = append(in, one)
	}
}

func (s *session) receiveOne(ctx context.Context, m *imapwire.AppendMessage) (store.Append, store.Staged, error) {
	if m.Catenate {
		return store.Append{}, nil, mail.NewError(mail.CodeForbidden, "CATENATE is not supported")
	}
	if m.Size == 0 {
		return store.Append{}, nil, mail.NewError(mail.CodeInvalid, "An empty message cannot be appended")
	}
	flags, err := parseFlags(m.Flags)
	if err != nil {
		return store.Append{}, nil, err
	}
	r, err := m.Open()
	if err != nil {
		return store.Append{}, nil, err
	}
	d, err := s.srv.o.Receiver.Receive(ctx, r, s.srv.o.MaxAppend)
	if err != nil {
		return store.Append{}, nil, err
	}
	defer d.Close()
	staged, err := s.srv.o.Mailboxes.Stage(ctx, d.Content())
	if err != nil {
		return store.Append{}, nil, err
	}
	date := m.Date
	if date.IsZero() {
		date = time.Now()
	}
	info, err := s.appendInfo(time.Now())
	if err != nil {
		_ = staged.Close()
		return store.Append{}, nil, err
	}
	return store.Append{Staged: staged, Flags: flags, InternalDate: date, Info: info, Origin: s.id}, staged, nil
}

// appendInfo is what is kept about where an appended message came from.
func (s *session) appendInfo(now time.Time) (string, error) {
	host, _, err := net.SplitHostPort(s.conn.RemoteAddr().String())
	if err != nil {
		host = ""
	}
	b, err := json.Marshal(struct {
		Source    string    `json:"source"`
		From      string    `json:"from"`
		To        []string  `json:"to"`
		Origin    string    `json:"origin,omitempty"`
		TransType string    `json:"transtype"`
		Time      time.Time `json:"time"`
	}{"IMAP", "", []string{s.acct.Username}, host, "APPEND", now.UTC().Truncate(time.Millisecond)})
	if err != nil {
		return "", fmt.Errorf("encode info: %w", err)
	}
	return string(b), nil
}

// parseFlags reads flags that are to be stored. \Recent is the server's alone.
func parseFlags(names []string) (mail.Flags, error) {
	f, err := mail.ParseFlags(names)
	if err != nil {
		return f, &imapwire.Error{Kind: imapwire.Bad, Text: "Invalid flag: " + err.Error()}
	}
	return f, nil
}
