package account

import (
	"context"
	"fmt"
	"strings"

	"mallard/internal/address"
	"mallard/internal/mail"
	"mallard/internal/store"
)

// AddressData is what address rows of both kinds have besides the address. In an
// update nil leaves a field as it is.
type AddressData struct {
	Name         *string
	Tags         []string
	MetaData     *string // JSON object or ""
	InternalData *string
}

func (d *AddressData) normalize() error {
	if d.Tags != nil {
		if err := checkTags(d.Tags); err != nil {
			return err
		}
		d.Tags = NormalizeTags(d.Tags)
	}
	if err := checkObject("metaData", deref(d.MetaData)); err != nil {
		return err
	}
	return checkObject("internalData", deref(d.InternalData))
}

func (d *AddressData) apply(a *mail.Address) {
	set(&a.Name, d.Name)
	setSlice(&a.Tags, d.Tags)
	set(&a.MetaData, d.MetaData)
	set(&a.InternalData, d.InternalData)
}

// NewAddress is the input of AddAddress.
type NewAddress struct {
	Address string
	// Main makes it the main address. The first address of an account that is no
	// wildcard becomes that in any case.
	Main          bool
	AllowWildcard bool
	AddressData
}

// AddAddress gives an account another address. Errors: Invalid, NoAccount, Exists
// (with ErrAddressTaken in the chain).
func (s *Service) AddAddress(ctx context.Context, acct mail.AccountID, in NewAddress) (*mail.Address, error) {
	addr, err := newRowAddress(in.Address, in.AllowWildcard)
	if err != nil {
		return nil, err
	}
	wildcard := address.IsWildcard(addr)
	if wildcard && in.Main {
		return nil, invalid("Main address can not contain *")
	}
	if err := in.normalize(); err != nil {
		return nil, err
	}
	a, err := s.Get(ctx, acct)
	if err != nil {
		return nil, err
	}
	row := mail.Address{Address: addr, View: address.View(addr), Account: acct, Created: s.now().UTC()}
	in.apply(&row)
	return s.createRow(ctx, row, !wildcard && (in.Main || a.Address == ""))
}

func (s *Service) createRow(ctx context.Context, row mail.Address, main bool) (*mail.Address, error) {
	out, err := s.store.CreateAddress(ctx, row, main)
	s.resolved.clear()
	if mail.CodeOf(err) == mail.CodeExists {
		return nil, addressTaken()
	}
	if err != nil {
		return nil, unknownAccount("create address", err)
	}
	return out, nil
}

// newRowAddress returns the normal form in which an address can become a row.
func newRowAddress(given string, allowWildcard bool) (string, error) {
	addr := address.Normalize(given)
	switch {
	case strings.Contains(addr, "+"):
		return "", invalid("Address can not contain +")
	case !address.IsWildcard(addr):
		if !address.ValidEmail(addr) {
			return "", invalid("The email address is not valid")
		}
	case !allowWildcard:
		return "", invalid("Address can not contain *")
	case !address.ValidWildcard(addr):
		return "", invalid(`Invalid wildcard address, use "*@domain" or "user@*"`)
	}
	return addr, nil
}

// Address returns a row of any kind. Errors: NotFound.
func (s *Service) Address(ctx context.Context, id mail.AddressID) (*mail.Address, error) {
	row, err := s.store.Address(ctx, id)
	if err != nil {
		return nil, unknownAddress("get address", err)
	}
	return row, nil
}

// AccountAddress returns an address row of this account. Errors: NotFound.
func (s *Service) AccountAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID) (*mail.Address, error) {
	row, err := s.Address(ctx, id)
	if err != nil {
		return nil, err
	}
	if acct.IsZero() || row.Account != acct {
		return nil, noAddress()
	}
	return row, nil
}

// AddressChanges is the input of UpdateAddress. What is nil stays.
type AddressChanges struct {
	Address *string
	// Main true makes it the main address; false is refused, because an account
	// gets another main address by naming that one.
	Main *bool
	AddressData
}

// UpdateAddress changes an address of an account; the main address follows in the
// account. Errors: NotFound, Invalid, Forbidden (with ErrWildcardChange or
// ErrWildcardMain), Exists (with ErrAddressTaken).
func (s *Service) UpdateAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID, in AddressChanges) (*mail.Address, error) {
	if in.Main != nil && !*in.Main {
		return nil, invalid("Cannot unset main status")
	}
	row, err := s.AccountAddress(ctx, acct, id)
	if err != nil {
		return nil, err
	}
	addr, err := changedAddress(row, in.Address)
	if err != nil {
		return nil, err
	}
	if isTrue(in.Main) && address.IsWildcard(row.Address) {
		return nil, mail.WrapError(mail.CodeForbidden, "Can not set wildcard address as default", ErrWildcardMain)
	}
	if err := in.normalize(); err != nil {
		return nil, err
	}
	a, err := s.Get(ctx, acct)
	if err != nil {
		return nil, err
	}
	main := isTrue(in.Main) || address.View(a.Address) == row.View
	return s.updateRow(ctx, id, main, func(a *mail.Address) error {
		a.Address, a.View = addr, address.View(addr)
		in.apply(a)
		return nil
	})
}

// changedAddress is the address that a row gets; given is nil for no change.
func changedAddress(row *mail.Address, given *string) (string, error) {
	if given == nil {
		return row.Address, nil
	}
	addr := address.Normalize(*given)
	if addr != row.Address && (address.IsWildcard(addr) || address.IsWildcard(row.Address)) {
		return "", mail.WrapError(mail.CodeForbidden, "Can not change special address", ErrWildcardChange)
	}
	return newRowAddress(*given, true)
}

func (s *Service) updateRow(ctx context.Context, id mail.AddressID, main bool, change func(*mail.Address) error) (*mail.Address, error) {
	out, err := s.store.UpdateAddress(ctx, id, main, change)
	s.resolved.clear()
	if mail.CodeOf(err) == mail.CodeExists {
		return nil, mail.WrapError(mail.CodeExists, "Address already exists", ErrAddressTaken)
	}
	if err != nil {
		return nil, unknownAddress("update address", err)
	}
	return out, nil
}

// DeleteAddress takes an address from an account. Errors: NotFound, Forbidden (the
// main address).
func (s *Service) DeleteAddress(ctx context.Context, acct mail.AccountID, id mail.AddressID) error {
	if _, err := s.AccountAddress(ctx, acct, id); err != nil {
		return err
	}
	err := s.deleteRow(ctx, id)
	if mail.CodeOf(err) == mail.CodeForbidden {
		return mail.WrapError(mail.CodeForbidden, "Can not delete main address", err)
	}
	return err
}

func (s *Service) deleteRow(ctx context.Context, id mail.AddressID) error {
	err := s.store.DeleteAddress(ctx, id)
	s.resolved.clear()
	if err != nil {
		return unknownAddress("delete address", err)
	}
	return nil
}

// listPage is how many rows are read at a time.
const listPage = 250

// AccountAddresses returns all addresses of an account in order of their views.
// Errors: NoAccount.
func (s *Service) AccountAddresses(ctx context.Context, acct mail.AccountID) ([]*mail.Address, error) {
	if _, err := s.Get(ctx, acct); err != nil {
		return nil, err
	}
	out := []*mail.Address{}
	q := store.AddressQuery{Account: acct, Limit: listPage}
	for {
		page, err := s.store.ListAddresses(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", acct, err)
		}
		out = append(out, page.Addresses...)
		if !page.More || len(page.Addresses) == 0 {
			return out, nil
		}
		q.After = page.Addresses[len(page.Addresses)-1].View
	}
}

// ListAddresses returns rows of all kinds; see store.AddressQuery. Contains and
// Tags may be in any case.
func (s *Service) ListAddresses(ctx context.Context, q store.AddressQuery) (*store.AddressPage, error) {
	q.Contains = address.NormalizeLocal(q.Contains)
	q.Tags = lowerAll(q.Tags)
	page, err := s.store.ListAddresses(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return page, nil
}
