package httpapi

import (
	"context"
	"errors"
	"iter"
	"time"

	"mallard/internal/account"
	"mallard/internal/auth"
	"mallard/internal/event"
	"mallard/internal/limit"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/search"
	"mallard/internal/store"
)

// Services are the parts that the API puts on the wire. All but AuthLog are required.
type Services struct {
	Accounts  Accounts
	Mailboxes Mailboxes
	Receiver  Receiver
	Logins    Logins
	Tokens    Tokens
	// Limits has what accounts have used of their limits.
	Limits limit.Limits
	// Health reports why the server cannot work, nil when it can.
	Health func(ctx context.Context) error
	// AuthLog is the log of logins; nil where there is none.
	AuthLog AuthLog
}

// AuthLog reads the log of logins.
type AuthLog interface {
	// AuthLog returns a page of entries, the newest first. Errors: Invalid (an id).
	AuthLog(ctx context.Context, acct mail.AccountID, q mail.AuthLogQuery) (*mail.AuthLogPage, error)
	// AuthLogEntry returns an entry. Errors: NotFound.
	AuthLogEntry(ctx context.Context, acct mail.AccountID, id string) (*mail.AuthLogEntry, error)
}

// Accounts keeps users and their addresses. *account.Service is one.
type Accounts interface {
	Create(ctx context.Context, in account.NewUser) (*mail.Account, error)
	Get(ctx context.Context, id mail.AccountID) (*mail.Account, error)
	FindByName(ctx context.Context, username string) (*mail.Account, error)
	List(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error)
	Update(ctx context.Context, id mail.AccountID, in account.Changes) (*mail.Account, error)
	Delete(ctx context.Context, id mail.AccountID, keepUntil time.Time) error
	ResetPassword(ctx context.Context, id mail.AccountID, validAfter time.Time) (string, time.Time, error)
	RecountQuota(ctx context.Context, id mail.AccountID) (before, after int64, err error)
	EndSessions(ctx context.Context, id mail.AccountID, reason string) error
	Settings(ctx context.Context) (account.Settings, error)

	AddAddress(ctx context.Context, acct mail.AccountID, in account.NewAddress) (*mail.Address, error)
	AccountAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID) (*mail.Address, error)
	AccountAddresses(ctx context.Context, acct mail.AccountID) ([]*mail.Address, error)
	UpdateAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID, in account.AddressChanges) (*mail.Address, error)
	DeleteAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID) error
	ListAddresses(ctx context.Context, q store.AddressQuery) (*store.AddressPage, error)
	AddForwarded(ctx context.Context, in account.NewForwarded) (*mail.Address, error)
	Forwarded(ctx context.Context, id mail.AddressID) (*mail.Address, error)
	UpdateForwarded(ctx context.Context, id mail.AddressID, in account.ForwardedChanges) (*mail.Address, error)
	DeleteForwarded(ctx context.Context, id mail.AddressID) error
	Address(ctx context.Context, id mail.AddressID) (*mail.Address, error)
	Resolve(ctx context.Context, addr string, allowWildcard bool) (*mail.Address, error)
}

// Mailboxes is what is done with mailboxes and messages. *mailbox.Service is one.
type Mailboxes interface {
	List(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, error)
	Get(ctx context.Context, acct mail.AccountID, id mail.MailboxID) (*mail.Mailbox, error)
	Lookup(ctx context.Context, acct mail.AccountID, name string) (*mail.Mailbox, error)
	Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error)
	Create(ctx context.Context, acct mail.AccountID, in mail.Mailbox, parents bool) (*mail.Mailbox, error)
	Rename(ctx context.Context, acct mail.AccountID, id mail.MailboxID, name string, inferiors bool) error
	Update(ctx context.Context, acct mail.AccountID, id mail.MailboxID, change func(*mail.Mailbox) error) (*mail.Mailbox, error)
	Delete(ctx context.Context, acct mail.AccountID, id mail.MailboxID, keepName bool) error

	Stage(ctx context.Context, c *store.Content) (store.Staged, error)
	Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in ...store.Append) ([]store.Appended, error)
	Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error]
	Open(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uid mail.UID) (store.Body, error)
	UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error)
	Move(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*store.CopyResult, error)
	Find(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, p *search.Program) ([]mailbox.Hit, error)
	Remove(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, keep bool) (*store.ExpungeResult, error)

	Thread(ctx context.Context, acct mail.AccountID, thread mail.ThreadID) iter.Seq2[store.ThreadMember, error]

	Subscribe(ctx context.Context, acct mail.AccountID) (event.Subscription, error)
	JournalHead(ctx context.Context, acct mail.AccountID) (mail.JournalID, error)
	ReadJournal(ctx context.Context, acct mail.AccountID, after mail.JournalID, limit int) ([]store.JournalEntry, error)
}

// Logins checks who logs in. *auth.Service is one.
type Logins interface {
	Authenticate(ctx context.Context, req auth.Request) (*auth.Result, error)
	PreAuth(ctx context.Context, login, scope string) (*auth.Result, error)
	CheckPassword(ctx context.Context, acct *mail.Account, typed string) error
	// LogEvent notes what is to be in the log of logins.
	LogEvent(e mail.AuthEvent)
}

// Tokens makes and checks access tokens. *auth.Tokens is one.
type Tokens interface {
	Required() bool
	Check(ctx context.Context, token string) (*auth.Grant, error)
	Issue(ctx context.Context, acct *mail.Account) (string, error)
	Resign(ctx context.Context, token string, acct *mail.Account) error
	Revoke(ctx context.Context, token string) error
}

func (s *Services) validate() error {
	if s.Accounts == nil || s.Mailboxes == nil || s.Receiver == nil || s.Logins == nil || s.Tokens == nil || s.Limits == nil || s.Health == nil {
		return errors.New("http api: a service is missing")
	}
	return nil
}
