package account

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"mallard/internal/address"
	"mallard/internal/event"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// Store is the part of the storage contract that accounts need.
type Store interface {
	store.Accounts
	store.Addresses
	store.Registry
}

// Hasher makes and checks the form of password hashes. Hashing takes tens of
// milliseconds by design.
type Hasher interface {
	// Hash returns the hash of a password.
	Hash(ctx context.Context, password string) (string, error)
	// Validate reports why a hash made elsewhere cannot be used.
	Validate(hash string) error
}

// Publisher hands out events. The event bus is one.
type Publisher interface {
	Publish(ctx context.Context, e event.Event) error
}

// Options are the parts and settings of a Service. Store and Hasher are required.
type Options struct {
	Store  Store
	Hasher Hasher
	// Events gets the end of sessions, and Changed for limits that sessions
	// keep; nil for none.
	Events Publisher
	// EmailDomain is where accounts without an address of their own get one; ""
	// for the name of the host.
	EmailDomain string
	// Settings are in force where no run-time setting is stored. A zero field
	// means the value of DefaultSettings.
	Settings Settings
	// CacheTTL bounds how long addresses and settings that another process
	// changed may be seen in their old form; 0 means DefaultCacheTTL, negative
	// turns the caches off.
	CacheTTL time.Duration
	// CacheSize is the greatest number of addresses in the cache; 0 means
	// DefaultCacheSize.
	CacheSize int
	// RecentTTL bounds how long deliveries may see the limits of an account and whether it is disabled as they were before
	// another process changed them; 0 reads them each time.
	RecentTTL time.Duration
	// Now is the clock; nil for that of the system.
	Now func() time.Time
	Log *slog.Logger // nil for none
}

// Defaults of Options.
const (
	DefaultCacheTTL  = 5 * time.Second
	DefaultCacheSize = 10_000
)

// Service keeps accounts and addresses. It is safe for concurrent use.
type Service struct {
	store  Store
	hasher Hasher
	events Publisher
	domain string
	base   Settings
	now    func() time.Time
	log    *slog.Logger
	ids    *mail.IDGenerator
	// resolved are rows of addresses that were found. It is emptied whenever this process
	// changes any address: changes are rare next to deliveries, and there is then no
	// rule to get wrong about which entries a wildcard or an alias concerns.
	resolved *cache[resolveKey, mail.Address]
	settings settingsCache
	// recent are accounts for deliveries: one takes two looks at the account, and the next
	// one follows soon.
	recent *cache[mail.AccountID, mail.Account]
}

// New returns a service.
func New(o Options) (*Service, error) {
	if o.Store == nil || o.Hasher == nil {
		return nil, fmt.Errorf("account service: store and hasher are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CacheTTL == 0 {
		o.CacheTTL = DefaultCacheTTL
	}
	if o.CacheSize <= 0 {
		o.CacheSize = DefaultCacheSize
	}
	if o.EmailDomain == "" {
		o.EmailDomain = hostDomain()
	}
	ids, err := mail.NewIDGenerator(o.Now)
	if err != nil {
		return nil, fmt.Errorf("account service: %w", err)
	}
	return &Service{
		store: o.Store, hasher: o.Hasher, events: o.Events,
		domain: address.NormalizeDomain(o.EmailDomain), base: o.Settings.withDefaults(),
		now: o.Now, log: o.Log, ids: ids,
		resolved: newCache[resolveKey, mail.Address](o.CacheSize, o.CacheTTL, o.Now),
		settings: settingsCache{ttl: o.CacheTTL},
		recent:   newCache[mail.AccountID, mail.Account](o.CacheSize, o.RecentTTL, o.Now),
	}, nil
}

// hostDomain is the name of the host where that is a domain, else localhost.
func hostDomain() string {
	name, err := os.Hostname()
	if err != nil || !address.ValidDomain(name) {
		return "localhost"
	}
	return name
}

// Get returns an account. Errors: NoAccount.
func (s *Service) Get(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	a, err := s.store.Account(ctx, id)
	if err != nil {
		return nil, unknownAccount("get account", err)
	}
	return a, nil
}

// FindByName returns the account with this username; case and dots do not
// matter. Errors: NoAccount.
func (s *Service) FindByName(ctx context.Context, username string) (*mail.Account, error) {
	a, err := s.store.AccountByName(ctx, address.View(address.NormalizeLocal(username)))
	if err != nil {
		return nil, unknownAccount("find account by name", err)
	}
	return a, nil
}

// FindLogin returns the account that a person means who logs in with this name: a
// username, or an address (label, dots, case and domain alias as in delivery, but
// no wildcards). An address that is somebody's address row wins over a username of
// the same text; the address of a forwarder is nobody's login. Errors: NoAccount.
func (s *Service) FindLogin(ctx context.Context, login string) (*mail.Account, error) {
	name := address.NormalizeLocal(login)
	local, _ := address.Split(name)
	if len(login) > maxLogin || address.IsWildcard(name) {
		return nil, noAccount()
	}
	if local == "" {
		return s.FindByName(ctx, name)
	}
	row, err := s.lookup(ctx, name, false)
	switch {
	case err == nil && row.Account.IsZero():
		return nil, noAccount()
	case err == nil:
		return s.Get(ctx, row.Account)
	case mail.CodeOf(err) != mail.CodeNotFound:
		return nil, fmt.Errorf("find account by login: %w", err)
	}
	return s.FindByName(ctx, address.Normalize(name, address.RemoveLabel, address.RemoveDots))
}

// maxLogin bounds login names in octets: no username and no address is longer.
const maxLogin = 1024

// List returns accounts; see store.AccountQuery. Contains and Tags may be in any
// case.
func (s *Service) List(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error) {
	q.Contains = address.NormalizeLocal(q.Contains)
	q.Tags = lowerAll(q.Tags)
	page, err := s.store.ListAccounts(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return page, nil
}

// Delete removes an account with everything in it and ends its sessions. Its mail is
// kept until keepUntil, unless that is zero; deleting again changes the time. Errors:
// NoAccount.
func (s *Service) Delete(ctx context.Context, id mail.AccountID, keepUntil time.Time) error {
	err := s.store.DeleteAccount(ctx, id, keepUntil)
	s.resolved.clear()
	s.recent.forget(id)
	if err != nil {
		return unknownAccount("delete account", err)
	}
	s.endSessions(ctx, id, "The account was deleted")
	return nil
}

// RecountQuota makes the account's counters those of its messages and returns the
// storage used before and after, in octets. Errors: NoAccount.
func (s *Service) RecountQuota(ctx context.Context, id mail.AccountID) (before, after int64, err error) {
	before, after, err = s.store.RecountQuota(ctx, id)
	s.recent.forget(id)
	if err != nil {
		return 0, 0, unknownAccount("recount quota", err)
	}
	return before, after, nil
}

// DefaultLogoutReason is what sessions are told that an administrator ends.
const DefaultLogoutReason = "Logout requested from API"

// EndSessions ends all sessions of the account, telling them reason ("" for
// DefaultLogoutReason). Errors: NoAccount.
func (s *Service) EndSessions(ctx context.Context, id mail.AccountID, reason string) error {
	if _, err := s.Get(ctx, id); err != nil {
		return err
	}
	if reason == "" {
		reason = DefaultLogoutReason
	}
	s.endSessions(ctx, id, reason)
	return nil
}

// endSessions publishes the end of an account's sessions. The change that asked
// for it is done; a bus that fails is only logged.
func (s *Service) endSessions(ctx context.Context, id mail.AccountID, reason string) {
	if s.events == nil {
		return
	}
	e := event.Event{Account: id, Kind: event.Logout, Reason: reason}
	if err := s.events.Publish(context.WithoutCancel(ctx), e); err != nil {
		s.log.Warn("cannot tell sessions to end", "account", id, "error", err)
	}
}

// settingsCache keeps the settings in force for a short time.
type settingsCache struct {
	ttl time.Duration

	mu      sync.Mutex
	value   Settings
	expires time.Time
	changes int // made in this process; a value read before one is not kept
}
