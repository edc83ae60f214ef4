// Package mailbox is what the mail store does with mailboxes and messages,
// free of any protocol: names and hierarchy, append, copy, move, flags, expunge,
// search, and views, which are mailboxes as a session sees them.
//
// Every change goes through Service, so that those who watch the account are
// told about it. The package knows the storage contract and the event contract;
// it must not import an engine, a bus, or a protocol.
package mailbox

import (
	"context"
	"log/slog"

	"mallard/internal/event"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// Store is the part of the storage contract that mailboxes need.
type Store interface {
	store.Mailboxes
	store.Messages
	store.Journal
}

// Options configures a Service.
type Options struct {
	Store Store
	Bus   event.Bus
	Log   *slog.Logger
	// MaxMailboxes limits the mailboxes of an account; 0 means 1500.
	MaxMailboxes int
	// MaxNameOctets limits the octets of the names of an account that are subscribed without a
	// mailbox; 0 means 16 KiB.
	MaxNameOctets int
	// IdleCopies is how much memory, in octets, the copies of mailboxes may take that
	// no session has selected any more; 0 means DefaultIdleCopies, a negative one that
	// none is kept.
	IdleCopies int
	// CountCopies says that the engine counts the messages of a mailbox one by one, so
	// that it is better done from a copy of the mailbox.
	CountCopies bool
	// Quota returns the limit of an account in octets, 0 for none. It is asked
	// before each append and copy.
	Quota func(ctx context.Context, acct mail.AccountID) (int64, error)
	// Recents remembers which messages sessions were told of; nil for Store where that
	// does, else for the memory of this process.
	Recents store.Recents
	// Search bounds what is kept in memory for searches.
	Search SearchCache
}

// Service offers the operations on mailboxes and messages. It is safe for
// concurrent use.
type Service struct {
	store         Store
	bus           event.Bus
	log           *slog.Logger
	maxMailboxes  int
	maxNameOctets int
	quota         func(ctx context.Context, acct mail.AccountID) (int64, error)
	views         viewTable
	recents       store.Recents
	cache         *searchCache // nil for none
	countCopies   bool
}

// DefaultMaxMailboxes is the limit of mailboxes of one account.
const DefaultMaxMailboxes = 1500

// DefaultMaxNameOctets is the limit, in octets, of names of one account that are subscribed
// without a mailbox.
const DefaultMaxNameOctets = 16 << 10

// New returns a service.
func New(o Options) *Service {
	s := &Service{
		store: o.Store, recents: recentsOf(&o), bus: o.Bus, log: o.Log,
		maxMailboxes: o.MaxMailboxes, maxNameOctets: o.MaxNameOctets, quota: o.Quota, cache: newSearchCache(o.Search),
	}
	if s.maxMailboxes == 0 {
		s.maxMailboxes = DefaultMaxMailboxes
	}
	if s.maxNameOctets == 0 {
		s.maxNameOctets = DefaultMaxNameOctets
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.quota == nil {
		s.quota = func(context.Context, mail.AccountID) (int64, error) { return 0, nil }
	}
	s.views.init()
	if o.IdleCopies != 0 {
		s.views.limits.idleOctets = max(o.IdleCopies, 0)
	}
	s.countCopies = o.CountCopies
	return s
}

// Subscribe starts to collect the events of an account.
func (s *Service) Subscribe(ctx context.Context, acct mail.AccountID) (event.Subscription, error) {
	return s.bus.Subscribe(ctx, acct)
}

// publish tells the sessions of the account. The change has been made whatever
// happens here, so a failure is logged and the sessions find out by themselves.
func (s *Service) publish(ctx context.Context, e event.Event) {
	if err := s.bus.Publish(context.WithoutCancel(ctx), e); err != nil {
		s.log.WarnContext(ctx, "publish event", "account", e.Account, "mailbox", e.Mailbox, "error", err)
	}
}

func (s *Service) changed(ctx context.Context, acct mail.AccountID, boxes ...mail.MailboxID) {
	for _, b := range boxes {
		s.publish(ctx, event.Event{Account: acct, Kind: event.Changed, Mailbox: b})
	}
}

// Logout ends all sessions of an account, telling them why.
func (s *Service) Logout(ctx context.Context, acct mail.AccountID, reason string) {
	s.publish(ctx, event.Event{Account: acct, Kind: event.Logout, Reason: reason})
}

// JournalHead returns the id of the newest journal entry of the account.
func (s *Service) JournalHead(ctx context.Context, acct mail.AccountID) (mail.JournalID, error) {
	return s.store.JournalHead(ctx, acct)
}

// ReadJournal returns at most limit entries after the given id.
func (s *Service) ReadJournal(ctx context.Context, acct mail.AccountID, after mail.JournalID, limit int) ([]store.JournalEntry, error) {
	return s.store.ReadJournal(ctx, acct, after, limit)
}
