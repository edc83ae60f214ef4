package migrate

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Verify compares everything that the source holds with the target: every field of every
// row and the octets of every message. What differs is told by Options.Problem and
// counted. Both ends must be at rest: what changes meanwhile is told as a difference.
func Verify(ctx context.Context, o Options) (*Report, error) {
	p := newPass(o)
	begin := time.Now()
	for _, step := range []func(context.Context) error{p.verifyLeft, p.verifyAddresses, p.verifyAliases, p.verifyRecords, p.verifyAccounts} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return p.report(begin), nil
}

// verifyLeft looks for accounts that the source no longer has.
func (p *pass) verifyLeft(ctx context.Context) error {
	for _, name := range p.ledger.names(ctx, itemAccount) {
		var id mail.AccountID
		if err := id.UnmarshalText([]byte(name)); err != nil {
			return fmt.Errorf("read the ledger of the target: %w", err)
		}
		_, err := p.From.Account(ctx, id)
		if missing(err) {
			p.problem("account "+name, "it is gone from the source and still in the target")
		} else if err != nil {
			return fmt.Errorf("look for account %s: %w", id, err)
		}
	}
	return nil
}

// compare tells how a row of the target differs; err is that of reading it.
func (p *pass) compare(where string, from, to any, err error) error {
	switch {
	case missing(err):
		p.problem(where, "it is missing in the target")
	case err != nil:
		return fmt.Errorf("read %s in the target: %w", where, err)
	default:
		if d := differences(from, to); len(d) > 0 {
			p.problem(where, "these differ: %s", strings.Join(d, ", "))
		}
	}
	return nil
}

func (p *pass) verifyAddresses(ctx context.Context) error {
	p.progress("addresses")
	return eachAddress(ctx, p.From, store.AddressQuery{}, func(a *mail.Address) error {
		b, err := p.To.Address(ctx, a.ID)
		return p.compare("address "+a.Address, a, b, err)
	})
}

func (p *pass) verifyAliases(ctx context.Context) error {
	from, err := p.From.DomainAliases(ctx)
	if err != nil {
		return fmt.Errorf("list the domain aliases of the source: %w", err)
	}
	for alias, domain := range from {
		to, err := p.To.DomainAlias(ctx, alias)
		if err != nil {
			return fmt.Errorf("look for domain alias %s in the target: %w", alias, err)
		}
		if to != domain {
			p.problem("domain alias "+alias, "it stands for %q, in the target for %q", domain, to)
		}
	}
	return nil
}

func (p *pass) verifyRecords(ctx context.Context) error {
	p.progress("tokens and settings")
	return p.From.EachRecord(ctx, func(kind, key string, value []byte) error {
		if kind == kindLedger {
			return nil
		}
		to, err := p.To.Record(ctx, kind, key)
		if err != nil && !missing(err) {
			return fmt.Errorf("read a record of kind %s in the target: %w", kind, err)
		}
		if err != nil || string(to) != string(value) {
			p.problem(fmt.Sprintf("record %q of kind %s", key, kind), "it is missing in the target or another one")
		}
		return nil
	})
}

func (p *pass) verifyAccounts(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.Workers)
	err := p.eachAccount(gctx, func(a *mail.Account) error {
		if gctx.Err() != nil {
			return gctx.Err()
		}
		g.Go(func() error {
			if err := p.verifyAccount(gctx, a); err != nil {
				return fmt.Errorf("account %s: %w", a.Username, err)
			}
			p.counts.accounts.Add(1)
			p.progress("mail")
			return nil
		})
		return nil
	})
	if gerr := g.Wait(); gerr != nil {
		return gerr
	}
	return err
}

func (p *pass) verifyAccount(ctx context.Context, a *mail.Account) error {
	where := "account " + a.Username
	b, err := p.To.Account(ctx, a.ID)
	if missing(err) {
		p.problem(where, "it is missing in the target")
		return nil
	}
	if err != nil {
		return fmt.Errorf("read it in the target: %w", err)
	}
	x, y := *a, *b
	x.StorageUsed, y.StorageUsed = 0, 0
	if err := p.compare(where, x, y, nil); err != nil {
		return err
	}
	from, err := list(ctx, p.From, a.ID)
	if err != nil {
		return fmt.Errorf("list the mailboxes of the source: %w", err)
	}
	to, err := list(ctx, p.To, a.ID)
	if err != nil {
		return fmt.Errorf("list the mailboxes of the target: %w", err)
	}
	byID := make(map[mail.MailboxID]*counted, len(to))
	for _, m := range to {
		byID[m.ID] = m
	}
	for _, m := range from {
		where := fmt.Sprintf("mailbox %s of %s", m.Path, a.Username)
		other := byID[m.ID]
		if other == nil {
			p.problem(where, "it is missing in the target")
			continue
		}
		delete(byID, m.ID)
		if err := p.compare(where, comparable(m), comparable(other), nil); err != nil {
			return err
		}
		if err := p.verifyMessages(ctx, a.ID, &m.Mailbox, where); err != nil {
			return fmt.Errorf("mailbox %s: %w", m.Path, err)
		}
		p.counts.mailboxes.Add(1)
	}
	for _, m := range byID {
		p.problem(fmt.Sprintf("mailbox %s of %s", m.Path, a.Username), "it is in the target alone")
	}
	return p.verifySubscriptions(ctx, a)
}

// verifySubscriptions compares the names that are subscribed without a mailbox.
func (p *pass) verifySubscriptions(ctx context.Context, a *mail.Account) error {
	_, from, err := p.From.Subscriptions(ctx, a.ID)
	if err != nil {
		return fmt.Errorf("list the subscriptions of the source: %w", err)
	}
	_, to, err := p.To.Subscriptions(ctx, a.ID)
	if err != nil {
		return fmt.Errorf("list the subscriptions of the target: %w", err)
	}
	for _, name := range from {
		if !slices.Contains(to, name) {
			p.problem(fmt.Sprintf("subscription %s of %s", name, a.Username), "it is missing in the target")
		}
	}
	for _, name := range to {
		if !slices.Contains(from, name) {
			p.problem(fmt.Sprintf("subscription %s of %s", name, a.Username), "it is in the target alone")
		}
	}
	return nil
}

// print is everything about a message that is compared.
type print struct {
	uid  mail.UID
	size int64
	row  map[string]any
	text map[string]string // verbatim
	sum  [sha256.Size]byte // of the octets
	err  error             // why it could not be read
}

// verifyMessages compares the messages of a mailbox, a window at a time.
func (p *pass) verifyMessages(ctx context.Context, acct mail.AccountID, b *mail.Mailbox, where string) error {
	const all = store.FieldEnvelope | store.FieldBodyStructure | store.FieldTree | store.FieldSummary | store.FieldHeader | store.FieldMeta | store.FieldBody
	window := min(p.Window, 100) // these are read whole
	for first := mail.UID(1); ; {
		from, err := p.prints(ctx, p.From, acct, b.ID, first, 1<<32-1, window, all)
		if err != nil {
			return err
		}
		last := mail.UID(1<<32 - 1)
		if len(from) == window {
			last = from[len(from)-1].uid
		}
		to, err := p.prints(ctx, p.To, acct, b.ID, first, last, 0, all)
		if err != nil {
			return err
		}
		p.match(from, to, where)
		p.progress("mail")
		if len(from) < window || last == 1<<32-1 {
			return nil
		}
		first = last + 1
	}
}

// match compares two lists of messages.
func (p *pass) match(from, to []print, where string) {
	i := 0
	for _, f := range from {
		for ; i < len(to) && to[i].uid < f.uid; i++ {
			p.problem(fmt.Sprintf("message %d of %s", to[i].uid, where), "it is in the target alone")
		}
		message := fmt.Sprintf("message %d of %s", f.uid, where)
		if i == len(to) || to[i].uid != f.uid {
			if f.err != nil && p.SkipDamaged {
				p.counts.skipped.Add(1)
				continue
			}
			p.problem(message, "it is missing in the target")
			continue
		}
		p.matchOne(message, &f, &to[i])
		i++
	}
	for ; i < len(to); i++ {
		p.problem(fmt.Sprintf("message %d of %s", to[i].uid, where), "it is in the target alone")
	}
}

func (p *pass) matchOne(where string, f, t *print) {
	if f.err != nil || t.err != nil {
		p.problem(where, "it cannot be read: in the source %v, in the target %v", f.err, t.err)
		return
	}
	p.counts.compared.Add(1)
	p.counts.bytes.Add(f.size)
	differ := differences(f.row, t.row)
	for _, name := range slices.Sorted(maps.Keys(f.text)) {
		if f.text[name] != t.text[name] {
			differ = append(differ, name)
		}
	}
	if f.sum != t.sum {
		differ = append(differ, "octets")
	}
	if len(differ) > 0 {
		p.problem(where, "these differ: %s", strings.Join(differ, ", "))
	}
}

// prints reads messages and the checksums of their octets.
func (p *pass) prints(ctx context.Context, s store.Store, acct mail.AccountID, box mail.MailboxID, first, last mail.UID, limit int, fields store.Fields) ([]print, error) {
	var out []print
	q := store.FetchQuery{UIDs: mail.UIDSet{{First: first, Last: last}}, Fields: fields, Limit: limit}
	for row, err := range s.Fetch(ctx, acct, box, q) {
		if err != nil && row != nil && mail.CodeOf(err) == mail.CodeCorrupt {
			out = append(out, print{uid: row.UID, err: err})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		x := print{uid: row.UID, size: row.Size, row: map[string]any{
			"mod-sequence": row.ModSeq, "flags": row.Flags.List(), "internal date": row.InternalDate, "size": row.Size,
			"id": row.ID, "email id": row.EmailID, "thread id": row.ThreadID, "saved date": row.SavedDate, "expiry": row.Expires,
			"junk": row.Junk, "prefix": row.PrefixLen,
		}, text: map[string]string{
			"metadata": row.MetaData, "info": row.Info, "envelope": string(row.Envelope), "body structure": string(row.BodyStructure),
			"tree": string(row.Tree), "summary": string(row.Summary), "header": string(row.Header),
		}}
		x.sum, x.err = checksum(row)
		if x.err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		out = append(out, x)
	}
	return out, nil
}

func checksum(row *store.Row) (sum [sha256.Size]byte, err error) {
	body, err := row.Open()
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	err = body.WriteRange(h, 0, body.Size())
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	return [sha256.Size]byte(h.Sum(nil)), err
}
