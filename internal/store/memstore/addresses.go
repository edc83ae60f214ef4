package memstore

import (
	"context"
	"slices"
	"strings"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// CreateAddress stores an address row.
func (s *Store) CreateAddress(ctx context.Context, in mail.Address, main bool) (*mail.Address, error) {
	if err := s.enter(ctx, "CreateAddress"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if !in.Account.IsZero() {
		if _, err := s.account(in.Account); err != nil {
			return nil, err
		}
	}
	if _, taken := s.views[in.View]; taken {
		return nil, mail.NewError(mail.CodeExists, "this email address already exists")
	}
	return cloneAddress(s.putAddress(in, main)), nil
}

// putAddress stores a row that was checked; the store is locked.
func (s *Store) putAddress(in mail.Address, main bool) *mail.Address {
	row := cloneAddress(&in)
	row.ID = mail.NewID[mail.AddressID](s.gen)
	if row.Created.IsZero() {
		row.Created = s.now()
	}
	s.addresses[row.ID], s.views[row.View] = row, row.ID
	if main && !row.Account.IsZero() {
		s.accounts[row.Account].row.Address = row.Address
	}
	return row
}

// Address returns a row.
func (s *Store) Address(ctx context.Context, id mail.AddressID) (*mail.Address, error) {
	if err := s.enter(ctx, "Address"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	row, err := s.address(id)
	if err != nil {
		return nil, err
	}
	return cloneAddress(row), nil
}

// address returns a row; the store is locked.
func (s *Store) address(id mail.AddressID) (*mail.Address, error) {
	row, ok := s.addresses[id]
	if !ok {
		return nil, mail.NewError(mail.CodeNotFound, "no such address")
	}
	return row, nil
}

// AddressesByView returns the rows with any of the views.
func (s *Store) AddressesByView(ctx context.Context, views ...string) ([]*mail.Address, error) {
	if err := s.enter(ctx, "AddressesByView"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var out []*mail.Address
	for _, row := range s.addresses {
		if slices.Contains(views, row.View) {
			out = append(out, cloneAddress(row))
		}
	}
	return out, nil
}

// ListAddresses returns a page of rows.
func (s *Store) ListAddresses(ctx context.Context, q store.AddressQuery) (*store.AddressPage, error) {
	if err := s.enter(ctx, "ListAddresses"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []*mail.Address
	for _, row := range s.addresses {
		mine := q.Account.IsZero() || row.Account == q.Account
		has := strings.Contains(strings.ToLower(row.Address), q.Contains)
		if mine && has && matchTags(row.Tags, q.Tags, q.AllTags) {
			all = append(all, cloneAddress(row))
		}
	}
	slices.SortFunc(all, func(a, b *mail.Address) int { return strings.Compare(a.View, b.View) })
	page, more := cut(all, q.Limit, q.Before != "", func(row *mail.Address) bool {
		if q.Before != "" {
			return row.View < q.Before
		}
		return row.View > q.After
	})
	return &store.AddressPage{Addresses: page, Total: int64(len(all)), More: more}, nil
}

// UpdateAddress changes a row.
func (s *Store) UpdateAddress(ctx context.Context, id mail.AddressID, main bool, change func(*mail.Address) error) (*mail.Address, error) {
	if err := s.enter(ctx, "UpdateAddress"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	old, err := s.address(id)
	if err != nil {
		return nil, err
	}
	if s.opts.Mangle {
		_ = change(cloneAddress(old)) // an attempt that came to nothing
	}
	row := cloneAddress(old)
	if err := change(row); err != nil {
		return nil, err
	}
	row = cloneAddress(row)
	row.ID, row.Account, row.Created = old.ID, old.Account, old.Created
	if owner, taken := s.views[row.View]; taken && owner != id {
		return nil, mail.NewError(mail.CodeExists, "this email address already exists")
	}
	if a := s.accounts[row.Account]; a != nil && (main || a.row.Address == old.Address) {
		a.row.Address = row.Address
	}
	delete(s.views, old.View)
	s.addresses[id], s.views[row.View] = row, id
	return cloneAddress(row), nil
}

// DeleteAddress removes a row that is no account's main address.
func (s *Store) DeleteAddress(ctx context.Context, id mail.AddressID) error {
	if err := s.enter(ctx, "DeleteAddress"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	row, err := s.address(id)
	if err != nil {
		return err
	}
	if a := s.accounts[row.Account]; a != nil && a.row.Address == row.Address {
		return mail.NewError(mail.CodeForbidden, "the main address of an account cannot be deleted")
	}
	delete(s.addresses, id)
	delete(s.views, row.View)
	return nil
}

// DomainAlias returns the domain behind an alias.
func (s *Store) DomainAlias(ctx context.Context, alias string) (string, error) {
	if err := s.enter(ctx, "DomainAlias"); err != nil {
		return "", err
	}
	defer s.mu.Unlock()
	return s.aliases[alias], nil
}

// SetDomainAlias sets or removes an alias.
func (s *Store) SetDomainAlias(ctx context.Context, alias, domain string) error {
	if err := s.enter(ctx, "SetDomainAlias"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if domain == "" {
		delete(s.aliases, alias)
		return nil
	}
	s.aliases[alias] = domain
	return nil
}

func cloneAddress(a *mail.Address) *mail.Address {
	c := *a
	c.Targets, c.Tags = slices.Clone(a.Targets), slices.Clone(a.Tags)
	return &c
}
