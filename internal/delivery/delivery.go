// Package delivery takes one message to its recipients: it finds out who an
// address belongs to, takes the message in once, and stores it for each
// recipient, each with a verdict of its own.
//
// LMTP uses it, later also submission and inbound SMTP. It is free of any
// protocol and knows no storage engine.
package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mallard/internal/account"
	"mallard/internal/draft"
	"mallard/internal/limit"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// Directory answers who an address belongs to; *account.Service is one.
type Directory interface {
	// ResolveRecipient returns the account of an address. Errors: NotFound.
	ResolveRecipient(ctx context.Context, address string, allowWildcard bool) (account.Resolved, error)
	// Limits returns the limits that hold for an account.
	Limits(ctx context.Context, acct *mail.Account) (account.Limits, error)
}

// Mailboxes is what delivery needs of the mailbox service.
type Mailboxes interface {
	Stage(ctx context.Context, c *store.Content) (store.Staged, error)
	Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in ...store.Append) ([]store.Appended, error)
	Lookup(ctx context.Context, acct mail.AccountID, name string) (*mail.Mailbox, error)
}

// Options configures a Service.
type Options struct {
	Directory Directory
	Mailboxes Mailboxes
	Receiver  *draft.Receiver
	Log       *slog.Logger
	// Received counts the messages that an account received in ReceivedWindow; nil
	// counts nothing.
	Received *limit.Batch
	// Parallel is how many recipients of one message are stored at the same
	// time, so that they share a disk flush. Default 16.
	Parallel int
}

// ReceivedWindow is the window of the count of received messages.
const ReceivedWindow = time.Minute

// DefaultParallel is the default of Options.Parallel.
const DefaultParallel = 16

// Service delivers messages. It is safe for concurrent use.
type Service struct {
	o       Options
	inboxes inboxCache
}

// New returns a service.
func New(o Options) *Service {
	if o.Parallel <= 0 {
		o.Parallel = DefaultParallel
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{o: o}
}

// Sender is the reverse path of a message.
type Sender struct {
	Address string // "" for the null sender
	UTF8    bool   // the client asked for SMTPUTF8
}

// Recipient is an address that was resolved.
type Recipient struct {
	Address string // as the client gave it
	Account mail.AccountID
}

// Envelope is what is known about a message besides its content.
type Envelope struct {
	Sender     Sender
	Recipients []*Recipient
	Client     string // name that the client gave itself
	Remote     net.Addr
	RemoteName string // host name of Remote, "" when it is not known
	Protocol   string
	Secure     bool
}

// Verdict is the outcome for one recipient.
type Verdict struct {
	ID  mail.MessageID
	Err error
}

// Resolve finds the owner of an address. An account that is over its quota is
// refused at once, before the message is sent. Errors: NotFound, OverQuota,
// Disabled.
func (s *Service) Resolve(ctx context.Context, address string) (*Recipient, error) {
	found, err := s.o.Directory.ResolveRecipient(ctx, address, true)
	if err != nil {
		return nil, err
	}
	acct := found.Account
	if acct == nil {
		return nil, mail.NewError(mail.CodeNotFound, "This address has no mailbox here")
	}
	if acct.Disabled {
		return nil, mail.NewError(mail.CodeDisabled, "This account is disabled")
	}
	limits, err := s.o.Directory.Limits(ctx, acct)
	if err != nil {
		return nil, err
	}
	if limits.Quota > 0 && acct.StorageUsed >= limits.Quota {
		return nil, mail.NewError(mail.CodeOverQuota, "The mailbox of the recipient is full")
	}
	return &Recipient{Address: address, Account: acct.ID}, nil
}

// Receive reads a message to its end. Errors: TooBig, NoSpace.
func (s *Service) Receive(ctx context.Context, r io.Reader, maxSize int64) (*draft.Draft, error) {
	return s.o.Receiver.Receive(ctx, r, maxSize)
}

// Deliver stores the message for each recipient and returns one verdict for
// each, in order. A verdict without an error means that the message is durable.
func (s *Service) Deliver(ctx context.Context, env Envelope, d *draft.Draft) []Verdict {
	verdicts := make([]Verdict, len(env.Recipients))
	content := d.Content()
	content.Recipients = len(env.Recipients)
	staged, err := s.o.Mailboxes.Stage(ctx, content)
	if err != nil {
		for i := range verdicts {
			verdicts[i].Err = fmt.Errorf("stage message: %w", err)
		}
		return verdicts
	}
	defer func() { _ = staged.Close() }()
	now, trace := time.Now(), lastReceived(content.Header)
	if len(env.Recipients) == 1 {
		verdicts[0] = s.deliverOne(ctx, &env, env.Recipients[0], staged, trace, now)
		return verdicts
	}
	var g errgroup.Group
	g.SetLimit(s.o.Parallel)
	for i, r := range env.Recipients {
		g.Go(func() error {
			verdicts[i] = s.deliverOne(ctx, &env, r, staged, trace, now)
			return nil
		})
	}
	_ = g.Wait() // the verdicts hold the errors
	return verdicts
}

func (s *Service) deliverOne(ctx context.Context, env *Envelope, r *Recipient, staged store.Staged, trace received, now time.Time) Verdict {
	in := store.Append{
		Staged: staged, InternalDate: now,
		Prefix: prefix(r.Address, env.Sender.Address),
		Info:   info(env, r, trace, now),
	}
	box, cached, err := s.inbox(ctx, r.Account)
	if err != nil {
		return Verdict{Err: err}
	}
	out, err := s.o.Mailboxes.Append(ctx, r.Account, box, in)
	if cached && mail.CodeOf(err) == mail.CodeNoMailbox && err != nil {
		s.inboxes.forget(r.Account)
		if box, _, err = s.inbox(ctx, r.Account); err == nil {
			out, err = s.o.Mailboxes.Append(ctx, r.Account, box, in)
		}
	}
	if err != nil {
		return Verdict{Err: err}
	}
	if s.o.Received != nil {
		s.o.Received.Add(limit.Received(r.Account.String()), 1)
	}
	return Verdict{ID: out[0].ID}
}

// prefix makes the trace header of final delivery (RFC 5321, 4.4). Of the
// recipient the domain is in lower case, the local part as the client gave it.
// The addresses hold no control characters: the protocols refuse them.
func prefix(recipient, sender string) []byte {
	at := strings.LastIndexByte(recipient, '@') + 1
	recipient = recipient[:at] + strings.ToLower(recipient[at:])
	b := make([]byte, 0, len("Delivered-To: \r\nReturn-Path: <>\r\n")+len(recipient)+len(sender))
	b = append(b, "Delivered-To: "...)
	b = append(b, recipient...)
	b = append(b, "\r\nReturn-Path: <"...)
	b = append(b, sender...)
	return append(b, ">\r\n"...)
}

// messageInfo is kept with a message and tells where it came from.
type messageInfo struct {
	Source     string    `json:"source"`
	From       string    `json:"from"`
	To         []string  `json:"to"`
	Origin     string    `json:"origin,omitempty"`
	OriginHost string    `json:"originhost,omitempty"`
	TransHost  string    `json:"transhost,omitempty"`
	TransType  string    `json:"transtype,omitempty"`
	Time       time.Time `json:"time"`
	QueueID    string    `json:"queueId,omitempty"`
}

func info(env *Envelope, r *Recipient, trace received, now time.Time) string {
	host := ""
	if env.Remote != nil {
		host, _, _ = net.SplitHostPort(env.Remote.String())
	}
	b, err := json.Marshal(messageInfo{
		Source: "MX", From: env.Sender.Address, To: []string{r.Address}, Origin: cmp.Or(trace.from, host), OriginHost: env.RemoteName,
		TransHost: env.Client, TransType: cmp.Or(trace.with, env.Protocol), QueueID: trace.id, Time: now.UTC().Truncate(time.Millisecond),
	})
	if err != nil {
		return "" // strings and a time always encode
	}
	return string(b)
}

// inboxCache remembers the INBOX of each account, which exists as long as the
// account and keeps its id.
type inboxCache struct {
	mu sync.Mutex
	m  map[mail.AccountID]mail.MailboxID
}

// maxInboxes bounds the cache; an entry takes about 50 octets.
const maxInboxes = 1 << 17

func (s *Service) inbox(ctx context.Context, acct mail.AccountID) (id mail.MailboxID, cached bool, err error) {
	s.inboxes.mu.Lock()
	id, cached = s.inboxes.m[acct]
	s.inboxes.mu.Unlock()
	if cached {
		return id, true, nil
	}
	box, err := s.o.Mailboxes.Lookup(ctx, acct, mail.Inbox)
	if err != nil {
		return id, false, err
	}
	s.inboxes.mu.Lock()
	defer s.inboxes.mu.Unlock()
	if s.inboxes.m == nil || len(s.inboxes.m) >= maxInboxes {
		s.inboxes.m = make(map[mail.AccountID]mail.MailboxID)
	}
	s.inboxes.m[acct] = box.ID
	return box.ID, false, nil
}

func (c *inboxCache) forget(acct mail.AccountID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, acct)
}
