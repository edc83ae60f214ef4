// Package node puts a mail server together: from a configuration it makes the
// engine, the services, the protocols and their listeners, and runs and stops
// them in the right order.
//
// It is the composition root: the only package that knows engines and buses by
// name, and the only one where everything meets. It holds no logic of its own.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"time"

	"mallard/internal/account"
	"mallard/internal/auth"
	"mallard/internal/auth/password"
	"mallard/internal/config"
	"mallard/internal/control"
	"mallard/internal/delivery"
	"mallard/internal/draft"
	"mallard/internal/event"
	"mallard/internal/event/membus"
	"mallard/internal/httpapi"
	"mallard/internal/limit"
	"mallard/internal/limit/memlimit"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/redisrecord"
)

// Options are what a node needs besides its configuration.
type Options struct {
	Log *slog.Logger
	// Version is told to clients and in GET /health.
	Version string
	// ReadOnly opens an embedded store without changing anything; then nothing can be
	// served.
	ReadOnly bool
	// Command says that this is a command of the operator and no server: it does not wait
	// long for what it can do without.
	Command bool
}

// Node is a mail server, listening or not.
type Node struct {
	cfg     *config.Config
	o       Options
	log     *slog.Logger
	engine  engine
	cluster *cluster // nil for a node on its own
	checker control.Checker
	bus     event.Bus
	limits  limit.Limits
	traffic *limit.Batch
	certs   certs
	closers []func() error

	accounts  *account.Service
	auth      *auth.Service
	mailboxes *mailbox.Service
	receiver  *draft.Receiver
	delivery  *delivery.Service
	api       *httpapi.API

	listeners []listener
}

// engine is a storage engine.
type engine interface {
	store.Store
}

// Open opens the store and makes the services. Nothing listens yet.
func Open(ctx context.Context, cfg *config.Config, o Options) (*Node, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: cfg, o: o, log: o.Log}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) error {
	if !n.o.ReadOnly || n.cfg.Cluster() {
		if err := os.MkdirAll(n.cfg.Store.Path, 0o700); err != nil {
			return fmt.Errorf("make the directory of the store, path in [store]: %w", err)
		}
	}
	open := n.openAlone
	if n.cfg.Cluster() {
		open = n.openCluster
	}
	if err := open(ctx); err != nil {
		return err
	}
	return n.makeServices()
}

// openAlone opens the embedded engine, with a bus and counters of this process.
func (n *Node) openAlone(ctx context.Context) error {
	st, err := openEmbedded(ctx, n.cfg, n.o)
	if err != nil {
		return err
	}
	n.engine, n.checker = st, checkEmbedded(st)
	n.closers = append(n.closers, st.Close)
	n.bus = membus.New()
	n.closers = append(n.closers, n.bus.Close)
	n.limits = memlimit.New(memlimit.Options{})
	return nil
}

// newReceiver makes what takes messages in.
func newReceiver(cfg *config.Config) *draft.Receiver {
	return draft.New(draft.Options{Dir: cfg.Store.Path, MemoryMax: cfg.Store.SpoolMB << 20})
}

func (n *Node) makeServices() error {
	n.traffic = limit.NewBatch(n.limits, limit.DefaultWindow, trafficDelay, n.countFailed)
	received := limit.NewBatch(n.limits, delivery.ReceivedWindow, trafficDelay, n.countFailed)
	n.closers = append(n.closers, n.traffic.Close, received.Close)
	verifier := password.NewVerifier(password.Options{Concurrency: n.cfg.Auth.MaxHashes, Waiting: n.cfg.Auth.MaxWaiting})
	exempt, err := prefixes(n.cfg.Auth.IPExempt)
	if err != nil {
		return err
	}
	recent := time.Duration(0) // the embedded engine has accounts at hand
	if n.cluster != nil {
		recent = time.Duration(n.cfg.DBs.AccountLifetime)
	}
	n.accounts, err = account.New(account.Options{
		Store: n.engine, Hasher: verifier, Events: n.bus, EmailDomain: n.cfg.EmailDomain, Log: n.log, RecentTTL: recent,
		Settings: account.Settings{
			MaxStorage: n.cfg.MaxStorage << 20, MaxRecipients: n.cfg.MaxRecipients, MaxForwards: n.cfg.MaxForwards,
			MaxMailboxes: int64(n.cfg.MaxMailboxes), IMAPMaxConnections: int64(n.cfg.IMAP.MaxConnections),
			IMAPMaxDownload: n.cfg.IMAP.MaxDownloadMB << 20, IMAPMaxUpload: n.cfg.IMAP.MaxUploadMB << 20,
		},
	})
	if err != nil {
		return fmt.Errorf("make account service: %w", err)
	}
	appPasswords, _ := n.engine.(auth.AppPasswords) // of engines that keep them
	events, _ := n.engine.(auth.EventLog)
	n.auth, err = auth.New(auth.Options{
		Directory: n.accounts, Accounts: n.engine, Passwords: verifier, Counter: n.limits, AppPasswords: appPasswords,
		Events: events, EventQueue: n.cfg.Auth.LogQueue,
		UserFailures: offWhenZero(int64(n.cfg.Auth.UserFailures)), UserWindow: time.Duration(n.cfg.Auth.UserWindow),
		IPFailures: offWhenZero(int64(n.cfg.Auth.IPFailures)), IPWindow: time.Duration(n.cfg.Auth.IPWindow),
		IPExempt: exempt, LastLoginStep: time.Duration(n.cfg.Auth.LastLoginStep),
		CacheTTL: offWhenZero(time.Duration(n.cfg.Auth.CacheLifetime)), CacheSize: n.cfg.Auth.CacheSize, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("make authentication service: %w", err)
	}
	n.closers = append(n.closers, n.auth.Close)
	n.mailboxes = mailbox.New(mailbox.Options{
		Store: n.engine, Bus: n.bus, Log: n.log, Quota: n.quotaLimit, MaxMailboxes: n.cfg.MaxMailboxes,
		MaxNameOctets: n.cfg.MaxNamesKB << 10, Search: n.searchCache(),
		IdleCopies: offWhenZero(n.cfg.Store.MailboxCacheMB << 20), CountCopies: n.cluster != nil,
		Recents: n.recents(),
	})
	n.receiver = newReceiver(n.cfg)
	n.delivery = delivery.New(delivery.Options{Directory: n.accounts, Mailboxes: n.mailboxes, Receiver: n.receiver, Received: received, Log: n.log})
	n.api, err = n.makeAPI(n.cfg.API, n.log)
	if err != nil {
		return fmt.Errorf("make HTTP API: %w", err)
	}
	return nil
}

// recents is where nodes of a cluster remember what sessions were told of; the embedded engine does it itself.
func (n *Node) recents() store.Recents {
	if n.cluster == nil {
		return nil
	}
	return redisrecord.NewRecents(n.cluster.redis, redisrecord.RecentsOptions{})
}

// offWhenZero turns "0 is off" of the configuration into the services' "negative
// is off, 0 is the default".
func offWhenZero[T int | int64 | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		p, err := config.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("ipExempt in [auth]: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}

// API is the HTTP API as a handler, for those who call it without a listener.
func (n *Node) API() http.Handler { return n.api }

// Close stops what still runs and closes the store.
func (n *Node) Close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}
