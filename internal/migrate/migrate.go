// Package migrate moves what one storage engine holds to another one, with ids, UIDs,
// UIDVALIDITY, mod-sequences, flags, dates, passwords and octets as they are.
//
// A migration is a number of passes. Each makes the target what the source is at that
// time: it compares, copies what is missing or has changed and removes what is gone. So
// it goes on after any interruption, it can run while the source is served, and the last
// pass, when nothing changes the source any more, is short. The target is not served
// until then.
//
// What the target holds besides is left alone: a ledger in the registry of the target
// says what came from the source, and only that is changed or removed.
//
// The journal is not copied: it is kept for some hours only, and its ids are each
// engine's own. Nor is the mail of accounts that were deleted and are kept for a time.
//
// The package knows no engine. It imports the contract, draft, address and mail.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"mallard/internal/draft"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// Engine is a store that can be moved from and to.
type Engine interface {
	store.Store
	store.Migration
}

// Options are the two ends and the limits of a migration.
type Options struct {
	From, To Engine
	// FromRecents and ToRecents know of which messages sessions were told; nil for the engine, where it does. Without both
	// of them the messages of the target are recent.
	FromRecents, ToRecents store.Recents
	// Name tells this source from others, such as the host and directory of a store.
	Name string
	// Receiver parses the messages.
	Receiver *draft.Receiver
	// Workers is how many accounts are copied at the same time. Default 4.
	Workers int
	// Batch and BatchBytes bound the messages of one change, in number and octets.
	// Defaults 200 and 16 MiB; a single message may be greater.
	Batch      int
	BatchBytes int64
	// Window is how many messages of a mailbox are compared at a time. Default 2000.
	Window int
	// Final says that nothing changes the source any more. A final pass without problems
	// ends the migration: nothing is copied from this source again.
	Final bool
	// SkipDamaged leaves out messages that the source cannot read; otherwise they are
	// problems, and a migration does not end with one.
	SkipDamaged bool
	// Overwrite replaces settings, tokens and domain aliases of the target that do not come
	// from the source and differ; otherwise they are problems.
	Overwrite bool
	// Progress and Problem are called as it goes, one at a time; nil for none.
	Progress func(Progress)
	Problem  func(where, text string)
	Now      func() time.Time
}

// Defaults of Options.
const (
	DefaultWorkers    = 4
	DefaultBatch      = 200
	DefaultBatchBytes = 16 << 20
	DefaultWindow     = 2000
)

// Progress says how far a pass is.
type Progress struct {
	Stage    string `json:"stage"`
	Accounts int64  `json:"accounts"` // done
	Total    int64  `json:"total"`    // of how many
	Messages int64  `json:"messages"` // copied or compared
	Bytes    int64  `json:"bytes"`    // octets of messages copied or compared
}

// Report sums up a pass.
type Report struct {
	Accounts  int64         `json:"accounts"`
	Mailboxes int64         `json:"mailboxes"`
	Unchanged int64         `json:"unchanged"` // mailboxes in which there was nothing to do
	Copied    int64         `json:"copied"`    // messages with their content
	Updated   int64         `json:"updated"`   // messages of which flags or metadata changed
	Removed   int64         `json:"removed"`   // messages that are gone from the source
	Compared  int64         `json:"compared"`  // messages compared octet for octet, by Verify
	Skipped   int64         `json:"skipped"`   // damaged messages that were left out
	Bytes     int64         `json:"bytes"`
	Problems  int64         `json:"problems"`
	Finished  bool          `json:"finished"`
	Took      time.Duration `json:"-"`
}

// ErrFinished is returned for a source whose migration has ended.
var ErrFinished = errors.New("the migration from this source has ended: the target has taken over")

// counters are a Report while it is made.
type counters struct {
	accounts, mailboxes, unchanged, copied, updated, removed, compared, skipped, bytes, problems atomic.Int64
}

// pass is one run over everything.
type pass struct {
	Options
	ledger *ledger
	counts counters
	total  atomic.Int64
	mu     sync.Mutex // of the callbacks
}

func newPass(o Options) *pass {
	if r, ok := o.From.(store.Recents); ok && o.FromRecents == nil {
		o.FromRecents = r
	}
	if r, ok := o.To.(store.Recents); ok && o.ToRecents == nil {
		o.ToRecents = r
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.Batch <= 0 {
		o.Batch = DefaultBatch
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = DefaultBatchBytes
	}
	if o.Window <= 0 {
		o.Window = DefaultWindow
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &pass{Options: o, ledger: &ledger{to: o.To, name: o.Name}}
}

// Run makes one pass. Problems with single things are told by Options.Problem and
// counted; the error says why it could not go on.
func Run(ctx context.Context, o Options) (*Report, error) {
	p := newPass(o)
	begin := time.Now()
	if err := p.ledger.open(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{p.removeGone, p.accounts, p.removeAddresses, p.addresses, p.aliases, p.records, p.mail} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r := p.report(begin)
	if !o.Final || r.Problems > 0 {
		return r, nil
	}
	if err := p.ledger.close(ctx, p.Now()); err != nil {
		return nil, err
	}
	r.Finished = true
	return r, nil
}

func (p *pass) report(begin time.Time) *Report {
	c := &p.counts
	return &Report{
		Accounts: c.accounts.Load(), Mailboxes: c.mailboxes.Load(), Unchanged: c.unchanged.Load(), Copied: c.copied.Load(),
		Updated: c.updated.Load(), Removed: c.removed.Load(), Compared: c.compared.Load(), Skipped: c.skipped.Load(),
		Bytes: c.bytes.Load(), Problems: c.problems.Load(), Took: time.Since(begin),
	}
}

// problem tells what is wrong with one thing.
func (p *pass) problem(where, format string, args ...any) {
	p.counts.problems.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Problem != nil {
		p.Problem(where, fmt.Sprintf(format, args...))
	}
}

func (p *pass) progress(stage string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Progress != nil {
		p.Progress(Progress{
			Stage: stage, Accounts: p.counts.accounts.Load(), Total: p.total.Load(),
			Messages: p.counts.copied.Load() + p.counts.updated.Load() + p.counts.compared.Load(), Bytes: p.counts.bytes.Load(),
		})
	}
}

// accountPage is how many accounts are listed at a time.
const accountPage = 1000

// eachAccount calls f for the accounts of the source, which may come and go meanwhile.
func (p *pass) eachAccount(ctx context.Context, f func(*mail.Account) error) error {
	q := store.AccountQuery{Limit: accountPage}
	for {
		page, err := p.From.ListAccounts(ctx, q)
		if err != nil {
			return fmt.Errorf("list the accounts of the source: %w", err)
		}
		p.total.Store(page.Total)
		for _, a := range page.Accounts {
			if err := f(a); err != nil {
				return err
			}
			q.After = a.ID
		}
		if !page.More || len(page.Accounts) == 0 {
			return nil
		}
	}
}

// eachAddress calls f for the address rows of a query.
func eachAddress(ctx context.Context, s store.Store, q store.AddressQuery, f func(*mail.Address) error) error {
	q.Limit = accountPage
	for {
		page, err := s.ListAddresses(ctx, q)
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range page.Addresses {
			if err := f(a); err != nil {
				return err
			}
			q.After = a.View
		}
		if !page.More || len(page.Addresses) == 0 {
			return nil
		}
	}
}

// missing reports whether an error says that something is not there.
func missing(err error) bool {
	if err == nil {
		return false
	}
	switch mail.CodeOf(err) {
	case mail.CodeNoAccount, mail.CodeNoMailbox, mail.CodeNotFound:
		return true
	}
	return false
}

// refused reports whether an error is about one thing alone, so that the others can go on.
func refused(err error) bool {
	if err == nil {
		return false
	}
	switch mail.CodeOf(err) {
	case mail.CodeExists, mail.CodeInvalid, mail.CodeLimit, mail.CodeForbidden, mail.CodeTooBig, mail.CodeCorrupt:
		return true
	}
	return false
}
