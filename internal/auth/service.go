package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"mallard/internal/auth/password"
	"mallard/internal/limit"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// ScopeMaster is the scope of the HTTP API. Other scopes are the names of services:
// imap, pop3, smtp.
const ScopeMaster = "master"

// Directory finds accounts by what people log in with.
type Directory interface {
	// FindLogin returns the account for a username or an address. Errors: NoAccount.
	FindLogin(ctx context.Context, login string) (*mail.Account, error)
}

// Accounts is the part of the storage contract that logins need.
type Accounts interface {
	Account(ctx context.Context, id mail.AccountID) (*mail.Account, error)
	UpdateAccount(ctx context.Context, id mail.AccountID, change func(*mail.Account) error) (*mail.Account, error)
}

var _ Accounts = store.Accounts(nil)

// Passwords makes and checks hashes, a bounded number at a time.
// *password.Verifier is one.
type Passwords interface {
	Hash(ctx context.Context, password string) (string, error)
	Verify(ctx context.Context, hash, password string) (ok, rehash bool, err error)
	VerifyNobody(ctx context.Context, password string) error
}

var _ Passwords = (*password.Verifier)(nil)

// Options are the parts and settings of a Service. The first four are required.
// A zero number means its default, a negative one turns the thing off.
type Options struct {
	Directory Directory
	Accounts  Accounts
	Passwords Passwords
	Counter   limit.Counter
	// Fallback counts while Counter cannot be reached, for example in this process
	// what a shared service counts otherwise; with nil logins are then refused.
	Fallback limit.Counter
	// AppPasswords are the application passwords of accounts; nil for none.
	AppPasswords AppPasswords
	// Events is the log of logins; nil for none. It is written in the background, and
	// with it the last login of the account and the last use of an application password.
	Events EventLog
	// EventQueue is how many events may wait to be written; more are lost. Default
	// 10,000, about 4 MiB.
	EventQueue int

	// UserFailures failed logins for one user within UserWindow are too many: all
	// are refused until the window ends. Default 12 in 120 s.
	UserFailures int64
	UserWindow   time.Duration
	// IPFailures is the same for one IP address (IPv6: one /64). Default 300 in
	// 300 s.
	IPFailures int64
	IPWindow   time.Duration
	// IPExempt are not counted by IP, for web mail servers and other proxies of
	// logins. Loopback addresses never are.
	IPExempt []netip.Prefix

	// CacheTTL is how long the success of a check is remembered, see cache.
	// Default 60 s.
	CacheTTL time.Duration
	// CacheSize is the greatest number of remembered successes; default 20,000,
	// about 2 MiB.
	CacheSize int
	// LastLoginStep is how much older than now an account's last login must be to
	// be written again, when it came from the same address; default 60 s. Mail
	// clients log in many times a minute, and each write costs a disk flush.
	LastLoginStep time.Duration

	Now func() time.Time // nil for the system clock
	Log *slog.Logger     // nil for none
}

// Defaults of Options.
const (
	DefaultUserFailures  = 12
	DefaultUserWindow    = 120 * time.Second
	DefaultIPFailures    = 300
	DefaultIPWindow      = 300 * time.Second
	DefaultCacheTTL      = 60 * time.Second
	DefaultCacheSize     = 20_000
	DefaultLastLoginStep = 60 * time.Second
)

// tempPasswordLife is how long after it was made a temporary password works.
const tempPasswordLife = 24 * time.Hour

// Service checks logins. It is safe for concurrent use.
type Service struct {
	o       Options
	cache   *cache
	pending pending
	events  *eventWriter // nil without a log
}

// New returns a service, which is to be closed when it has a log of logins.
func New(o Options) (*Service, error) {
	if o.Directory == nil || o.Accounts == nil || o.Passwords == nil || o.Counter == nil {
		return nil, errors.New("auth service: directory, accounts, passwords and counter are required")
	}
	orDefault(&o.UserFailures, DefaultUserFailures)
	orDefault(&o.UserWindow, DefaultUserWindow)
	orDefault(&o.IPFailures, DefaultIPFailures)
	orDefault(&o.IPWindow, DefaultIPWindow)
	orDefault(&o.CacheTTL, DefaultCacheTTL)
	orDefault(&o.CacheSize, DefaultCacheSize)
	orDefault(&o.LastLoginStep, DefaultLastLoginStep)
	orDefault(&o.EventQueue, DefaultEventQueue)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		o: o, cache: newCache(o.CacheSize, o.CacheTTL, o.Now), pending: pending{n: make(map[string]int64)},
	}
	if o.Events != nil {
		s.events = newEventWriter(o.Events, max(o.EventQueue, 1), o.Log.Warn)
	}
	return s, nil
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}
