package migrate

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"mallard/internal/address"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// removeGone removes from the target what came from the source and is there no more.
func (p *pass) removeGone(ctx context.Context) error {
	p.progress("looking for what is gone")
	for _, name := range p.ledger.names(ctx, itemAccount) {
		var id mail.AccountID
		if err := id.UnmarshalText([]byte(name)); err != nil {
			return fmt.Errorf("read the ledger of the target: %w", err)
		}
		if _, err := p.From.Account(ctx, id); !missing(err) {
			if err != nil {
				return fmt.Errorf("look for account %s: %w", id, err)
			}
			continue
		}
		if err := p.To.DeleteAccount(ctx, id, time.Time{}); err != nil && !missing(err) {
			return fmt.Errorf("delete account %s, which is gone: %w", id, err)
		}
		if err := p.ledger.forget(ctx, itemAccount, name); err != nil {
			return err
		}
	}
	return nil
}

// accounts copies the rows of accounts.
func (p *pass) accounts(ctx context.Context) error {
	p.progress("accounts")
	return p.eachAccount(ctx, func(a *mail.Account) error {
		err := p.account(ctx, a)
		if refused(err) {
			p.problem("account "+a.Username, "%v", err)
			return nil
		}
		return err
	})
}

func (p *pass) account(ctx context.Context, a *mail.Account) error {
	ours, err := p.ours(ctx, a.ID)
	if err != nil {
		return err
	}
	old, err := p.To.Account(ctx, a.ID)
	switch {
	case missing(err):
	case err != nil:
		return fmt.Errorf("look for account %s in the target: %w", a.ID, err)
	case !ours:
		return mail.NewError(mail.CodeExists, fmt.Sprintf("the target has an account with id %s that does not come from here", a.ID))
	case sameAccount(a, old):
		return nil
	}
	if err := p.ledger.note(ctx, itemAccount, a.ID.String()); err != nil {
		return err
	}
	err = p.To.RestoreAccount(ctx, *a, address.View(a.Username))
	if refused(err) && old == nil { // nothing came of it, and nothing of it may be removed later
		if ferr := p.ledger.forget(ctx, itemAccount, a.ID.String()); ferr != nil {
			return ferr
		}
	}
	if err != nil {
		return fmt.Errorf("restore the account: %w", err)
	}
	return nil
}

// ours reports whether an account of the target came from the source.
func (p *pass) ours(ctx context.Context, id mail.AccountID) (bool, error) {
	return p.ledger.has(ctx, itemAccount, id.String())
}

// sameAccount compares accounts without what the engines maintain.
func sameAccount(a, b *mail.Account) bool {
	x, y := *a, *b
	x.StorageUsed, y.StorageUsed = 0, 0
	return len(differences(x, y)) == 0
}

// removeAddresses removes address rows that are gone, and those whose place another row
// may have taken, before any is made.
func (p *pass) removeAddresses(ctx context.Context) error {
	p.progress("addresses")
	for _, name := range p.ledger.names(ctx, itemAddress) {
		var id mail.AddressID
		if err := id.UnmarshalText([]byte(name)); err != nil {
			return fmt.Errorf("read the ledger of the target: %w", err)
		}
		if _, err := p.From.Address(ctx, id); !missing(err) {
			if err != nil {
				return fmt.Errorf("look for address %s: %w", id, err)
			}
			continue
		}
		err := p.To.DeleteAddress(ctx, id)
		if mail.CodeOf(err) == mail.CodeForbidden && err != nil {
			continue // its account was refused
		}
		if err != nil && !missing(err) {
			return fmt.Errorf("delete address %s, which is gone: %w", id, err)
		}
		if err := p.ledger.forget(ctx, itemAddress, name); err != nil {
			return err
		}
	}
	return nil
}

// addresses copies the address rows.
func (p *pass) addresses(ctx context.Context) error {
	return eachAddress(ctx, p.From, store.AddressQuery{}, func(a *mail.Address) error {
		err := p.address(ctx, a)
		if missing(err) || refused(err) {
			p.problem("address "+a.Address, "%v", err)
			return nil
		}
		return err
	})
}

func (p *pass) address(ctx context.Context, a *mail.Address) error {
	if !a.Account.IsZero() {
		if ours, err := p.ours(ctx, a.Account); err != nil || !ours {
			return err // the account was refused, and that was told, or it came just now
		}
	}
	old, err := p.To.Address(ctx, a.ID)
	switch {
	case missing(err):
	case err != nil:
		return fmt.Errorf("look for address %s in the target: %w", a.ID, err)
	case len(differences(a, old)) == 0:
		return nil
	}
	known, err := p.ledger.has(ctx, itemAddress, a.ID.String())
	if err != nil {
		return err
	}
	if old != nil && !known {
		return mail.NewError(mail.CodeExists, fmt.Sprintf("the target has an address with id %s that does not come from here", a.ID))
	}
	if err := p.ledger.note(ctx, itemAddress, a.ID.String()); err != nil {
		return err
	}
	err = p.To.RestoreAddress(ctx, *a)
	if refused(err) && old == nil {
		if ferr := p.ledger.forget(ctx, itemAddress, a.ID.String()); ferr != nil {
			return ferr
		}
	}
	if err != nil {
		return fmt.Errorf("restore the address: %w", err)
	}
	return nil
}

// aliases copies the domain aliases.
func (p *pass) aliases(ctx context.Context) error {
	from, err := p.From.DomainAliases(ctx)
	if err != nil {
		return fmt.Errorf("list the domain aliases of the source: %w", err)
	}
	for _, alias := range p.ledger.names(ctx, itemAlias) {
		if from[alias] != "" {
			continue
		}
		if err := p.To.SetDomainAlias(ctx, alias, ""); err != nil {
			return fmt.Errorf("remove domain alias %s, which is gone: %w", alias, err)
		}
		if err := p.ledger.forget(ctx, itemAlias, alias); err != nil {
			return err
		}
	}
	for alias, domain := range from {
		if err := p.alias(ctx, alias, domain); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) alias(ctx context.Context, alias, domain string) error {
	old, err := p.To.DomainAlias(ctx, alias)
	if err != nil {
		return fmt.Errorf("look for domain alias %s in the target: %w", alias, err)
	}
	if old == domain {
		return nil
	}
	known, err := p.ledger.has(ctx, itemAlias, alias)
	if err != nil {
		return err
	}
	if old != "" && !known && !p.Overwrite {
		p.problem("domain alias "+alias, "it stands for %s in the target, for %s here", old, domain)
		return nil
	}
	if err := p.ledger.note(ctx, itemAlias, alias); err != nil {
		return err
	}
	if err := p.To.SetDomainAlias(ctx, alias, domain); err != nil {
		return fmt.Errorf("restore domain alias %s: %w", alias, err)
	}
	return nil
}

// recordName is the name of a record in the ledger. Kinds hold no octet 0.
func recordName(kind, key string) string { return kind + "\x00" + key }

// records copies the registry: tokens, secrets, settings.
func (p *pass) records(ctx context.Context) error {
	p.progress("tokens and settings")
	for _, name := range p.ledger.names(ctx, itemRecord) {
		kind, key, _ := strings.Cut(name, "\x00")
		if _, err := p.From.Record(ctx, kind, key); !missing(err) {
			if err != nil {
				return fmt.Errorf("read a record of kind %s: %w", kind, err)
			}
			continue
		}
		if err := p.To.PutRecord(ctx, kind, key, nil); err != nil {
			return fmt.Errorf("remove a record of kind %s, which is gone: %w", kind, err)
		}
		if err := p.ledger.forget(ctx, itemRecord, name); err != nil {
			return err
		}
	}
	return p.From.EachRecord(ctx, func(kind, key string, value []byte) error {
		if kind == kindLedger {
			return nil
		}
		return p.record(ctx, kind, key, value)
	})
}

func (p *pass) record(ctx context.Context, kind, key string, value []byte) error {
	old, err := p.To.Record(ctx, kind, key)
	if err != nil && !missing(err) {
		return fmt.Errorf("read a record of kind %s in the target: %w", kind, err)
	}
	found := err == nil
	if found && bytes.Equal(old, value) {
		return nil
	}
	known, err := p.ledger.has(ctx, itemRecord, recordName(kind, key))
	if err != nil {
		return err
	}
	if found && !known && !p.Overwrite {
		p.problem(fmt.Sprintf("record %q of kind %s", key, kind), "the target has another one, which does not come from here")
		return nil
	}
	if err := p.ledger.note(ctx, itemRecord, recordName(kind, key)); err != nil {
		return err
	}
	if err := p.To.PutRecord(ctx, kind, key, bytes.Clone(value)); err != nil {
		return fmt.Errorf("restore a record of kind %s: %w", kind, err)
	}
	return nil
}
