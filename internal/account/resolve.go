package account

import (
	"context"
	"fmt"
	"slices"

	"mallard/internal/address"
	"mallard/internal/mail"
)

// Resolve returns the address row that mail for an address belongs to: the row
// itself (label and dots do not matter), the same local part at the domain that
// its domain is an alias of, and with allowWildcard the best wildcard row. The
// literal address of a wildcard row finds that row. Errors: NotFound.
func (s *Service) Resolve(ctx context.Context, addr string, allowWildcard bool) (*mail.Address, error) {
	row, err := s.lookup(ctx, addr, allowWildcard)
	if err != nil {
		return nil, fmt.Errorf("resolve address: %w", err)
	}
	return row, nil
}

// Resolved is who a message is for.
type Resolved struct {
	// Address is the row that matched. It is shared: do not change it.
	Address *mail.Address
	// Account is where the message goes, nil for a forwarded address.
	Account *mail.Account
}

// ResolveRecipient is Resolve for the recipient of a message: it finds the account
// too, and a recipient with an asterisk is nobody, or a sender could write to a
// whole domain's catch-all by its pattern. Rows are cached for the cache TTL; that
// an address does not exist is never cached. The account is one of Recent, but never so
// that its mail would be refused for what it was before. It must not be changed.
// Errors: NotFound.
func (s *Service) ResolveRecipient(ctx context.Context, addr string, allowWildcard bool) (Resolved, error) {
	if len(addr) > maxLogin || address.IsWildcard(addr) {
		return Resolved{}, noAddress()
	}
	key := resolveKey{addr: address.Normalize(addr, address.RemoveLabel, address.RemoveDots), wildcard: allowWildcard}
	row, version := s.resolved.get(key)
	if row == nil {
		var err error
		if row, err = s.lookup(ctx, key.addr, allowWildcard); err != nil {
			return Resolved{}, fmt.Errorf("resolve recipient: %w", err)
		}
		s.resolved.put(key, row, version)
	}
	if row.Account.IsZero() {
		return Resolved{Address: row}, nil
	}
	acct, err := s.recipient(ctx, row.Account)
	if mail.CodeOf(err) == mail.CodeNoAccount {
		s.resolved.clear()
		return Resolved{}, mail.WrapError(mail.CodeNotFound, "Invalid or unknown address", err)
	}
	if err != nil {
		return Resolved{}, fmt.Errorf("resolve recipient: %w", err)
	}
	return Resolved{Address: row, Account: acct}, nil
}

// lookup finds the row of an address without the cache.
func (s *Service) lookup(ctx context.Context, addr string, allowWildcard bool) (*mail.Address, error) {
	local, domain := address.Split(address.Normalize(addr, address.RemoveLabel, address.RemoveDots))
	if local == "" {
		return nil, noAddress()
	}
	row, err := s.firstOf(ctx, address.View(local+"@"+domain))
	if row != nil || err != nil {
		return row, err
	}
	real, err := s.store.DomainAlias(ctx, domain)
	if err != nil {
		return nil, fmt.Errorf("look for domain alias: %w", err)
	}
	if real != "" {
		if row, err = s.firstOf(ctx, address.View(local+"@"+real)); row != nil || err != nil {
			return row, err
		}
	}
	if allowWildcard {
		if row, err = s.firstOf(ctx, address.WildcardCandidates(local, domain, real)...); row != nil || err != nil {
			return row, err
		}
	}
	return nil, noAddress()
}

// firstOf returns the row of the first of these views that has one, nil when none
// has.
func (s *Service) firstOf(ctx context.Context, views ...string) (*mail.Address, error) {
	if len(views) == 0 {
		return nil, nil
	}
	rows, err := s.store.AddressesByView(ctx, views...)
	if err != nil {
		return nil, fmt.Errorf("look for address: %w", err)
	}
	var best *mail.Address
	rank := len(views)
	for _, row := range rows {
		if i := slices.Index(views, row.View); i >= 0 && i < rank {
			best, rank = row, i
		}
	}
	return best, nil
}

type resolveKey struct {
	addr     string
	wildcard bool
}
