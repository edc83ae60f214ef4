package pebblestore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func noAddress() error { return mail.NewError(mail.CodeNotFound, "the address does not exist") }

// newAddress is a copy of an address row with what the store assigns.
func (s *Store) newAddress(in *mail.Address, now int64) *mail.Address {
	a := *in
	a.ID = mail.NewID[mail.AddressID](s.ids)
	if a.Created.IsZero() {
		a.Created = fromMillis(now)
	}
	return &a
}

// putAddress adds the rows of an address.
func putAddress(b *pebble.Batch, a *mail.Address) error {
	value, err := encodeAddress(a)
	if err != nil {
		return err
	}
	set(b, textKey(tabAddressView, a.View), value)
	set(b, idKey(tabAddress, a.ID), []byte(a.View))
	if !a.Account.IsZero() {
		set(b, accountTextKey(tabAccountAddr, a.Account, a.View), nil)
	}
	return nil
}

func removeAddress(b *pebble.Batch, a *mail.Address) {
	del(b, textKey(tabAddressView, a.View))
	del(b, idKey(tabAddress, a.ID))
	if !a.Account.IsZero() {
		del(b, accountTextKey(tabAccountAddr, a.Account, a.View))
	}
}

// addressByView returns a row, nil when there is none.
func (s *Store) addressByView(view string) (*mail.Address, error) {
	value, err := s.get(textKey(tabAddressView, view))
	if err != nil || value == nil {
		return nil, err
	}
	a, err := decodeAddress(value)
	if err != nil {
		return nil, corrupt(fmt.Sprintf("address %q", view), err)
	}
	return a, nil
}

func (s *Store) address(id mail.AddressID) (*mail.Address, error) {
	view, err := s.get(idKey(tabAddress, id))
	if err != nil {
		return nil, err
	}
	if view == nil {
		return nil, noAddress()
	}
	a, err := s.addressByView(string(view))
	if err == nil && a == nil {
		err = noAddress()
	}
	return a, err
}

// accountAddresses calls f for the addresses of an account.
func (s *Store) accountAddresses(id mail.AccountID, f func(*mail.Address) error) error {
	return s.scan(accountKey(tabAccountAddr, id), func(key, _ []byte) error {
		a, err := s.addressByView(string(key[ownedSize:]))
		if err != nil || a == nil {
			return err
		}
		return f(a)
	})
}

// CreateAddress implements store.Addresses.
func (s *Store) CreateAddress(ctx context.Context, in mail.Address, main bool) (*mail.Address, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	a := s.newAddress(&in, millis(s.opt.Now()))
	return a, s.changeAddress(ctx, a.Account, func(b *pebble.Batch) (string, error) {
		if err := s.mustBeFree("the address", textKey(tabAddressView, a.View)); err != nil {
			return "", err
		}
		if err := putAddress(b, a); err != nil {
			return "", err
		}
		s.counts.addresses++
		if main {
			return a.Address, nil
		}
		return "", nil
	})
}

// changeAddress runs a change of address rows under the lock of the directory, and
// with an account under that of the account. edit returns the account's new main
// address, "" to leave it.
func (s *Store) changeAddress(ctx context.Context, acct mail.AccountID, edit func(b *pebble.Batch) (string, error)) error {
	s.directory.Lock()
	locked := true
	unlock := func() {
		if locked {
			locked = false
			s.directory.Unlock()
		}
	}
	defer unlock()
	if acct.IsZero() {
		return s.changeForwarded(edit, unlock)
	}
	c, err := s.begin(ctx, acct)
	if err != nil {
		return err
	}
	defer c.end()
	counts := s.counts
	main, err := edit(c.batch)
	if err == nil && main != "" {
		err = c.setMain(main)
	}
	if err != nil {
		s.counts = counts
		return err
	}
	return c.commitWith(true, unlock)
}

func (c *change) setMain(address string) error {
	a, view, err := c.s.readAccount(c.acct.id)
	if err != nil {
		return err
	}
	a.Address = address
	return c.setAccount(a, view)
}

// changeForwarded is changeAddress for a row without an account.
func (s *Store) changeForwarded(edit func(b *pebble.Batch) (string, error), unlock func()) error {
	if err := s.writable(false); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	counts := s.counts
	if _, err := edit(b); err != nil {
		s.counts = counts
		return err
	}
	if err := s.apply(b, pebble.Sync); err != nil {
		return err
	}
	unlock()
	return s.wait(b)
}

// Address implements store.Addresses.
func (s *Store) Address(ctx context.Context, id mail.AddressID) (*mail.Address, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.address(id)
}

// AddressesByView implements store.Addresses.
func (s *Store) AddressesByView(ctx context.Context, views ...string) ([]*mail.Address, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var out []*mail.Address
	seen := make(map[string]bool, len(views))
	for _, v := range views {
		if seen[v] {
			continue
		}
		seen[v] = true
		a, err := s.addressByView(v)
		if err != nil {
			return nil, err
		}
		if a != nil {
			out = append(out, a)
		}
	}
	return out, nil
}

// UpdateAddress implements store.Addresses.
func (s *Store) UpdateAddress(ctx context.Context, id mail.AddressID, main bool, update func(*mail.Address) error) (*mail.Address, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	// The account of a row never changes, so it can be read before the locks.
	was, err := s.address(id)
	if err != nil {
		return nil, err
	}
	var a *mail.Address
	err = s.changeAddress(ctx, was.Account, func(b *pebble.Batch) (string, error) {
		old, err := s.address(id)
		if err != nil {
			return "", err
		}
		if a, err = s.address(id); err != nil {
			return "", err
		}
		if err := update(a); err != nil {
			return "", err
		}
		a.ID, a.Account, a.Created = old.ID, old.Account, old.Created
		if a.View != old.View {
			if err := s.mustBeFree("the address", textKey(tabAddressView, a.View)); err != nil {
				return "", err
			}
			removeAddress(b, old)
		}
		if err := putAddress(b, a); err != nil {
			return "", err
		}
		if main {
			return a.Address, nil
		}
		return s.mainAfter(old, a)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// mainAfter returns the new main address of the account when the old one was it.
func (s *Store) mainAfter(old, a *mail.Address) (string, error) {
	if old.Account.IsZero() || a.Address == old.Address {
		return "", nil
	}
	isMain, err := s.isMain(old)
	if err != nil || !isMain {
		return "", err
	}
	return a.Address, nil
}

func (s *Store) isMain(a *mail.Address) (bool, error) {
	owner, _, err := s.readAccount(a.Account)
	if err != nil {
		return false, err
	}
	return owner.Address == a.Address, nil
}

// DeleteAddress implements store.Addresses.
func (s *Store) DeleteAddress(ctx context.Context, id mail.AddressID) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	was, err := s.address(id)
	if err != nil {
		return err
	}
	return s.changeAddress(ctx, was.Account, func(b *pebble.Batch) (string, error) {
		a, err := s.address(id)
		if err != nil {
			return "", err
		}
		if !a.Account.IsZero() {
			isMain, err := s.isMain(a)
			if err != nil {
				return "", err
			}
			if isMain {
				return "", mail.NewError(mail.CodeForbidden, "the main address of an account cannot be deleted")
			}
		}
		removeAddress(b, a)
		s.counts.addresses--
		return "", nil
	})
}

// ListAddresses implements store.Addresses.
func (s *Store) ListAddresses(ctx context.Context, q store.AddressQuery) (*store.AddressPage, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	l := lister{s: s, ctx: ctx, limit: q.Limit, back: q.Before != "", filter: newFilter(q.Contains, q.Tags, q.AllTags)}
	prefix := []byte{tabAddressView}
	if q.Account.IsZero() {
		l.total = func() (int64, error) { return s.count(func(c *directoryCounts) int64 { return c.addresses }) }
	} else {
		prefix = accountKey(tabAccountAddr, q.Account)
		l.value = func(key, _ []byte) ([]byte, error) { return s.get(textKey(tabAddressView, string(key[ownedSize:]))) }
	}
	l.lower, l.upper = prefix, after(prefix)
	switch {
	case l.back:
		l.pageUpper = append(append([]byte(nil), prefix...), q.Before...)
	case q.After != "":
		l.pageLower = append(append(append([]byte(nil), prefix...), q.After...), 0)
	}
	values, err := l.run()
	if err != nil {
		return nil, err
	}
	page := &store.AddressPage{Total: l.matches, More: l.more}
	for _, v := range values {
		if v == nil {
			continue // deleted meanwhile
		}
		a, err := decodeAddress(v)
		if err != nil {
			return nil, corrupt("an address", err)
		}
		page.Addresses = append(page.Addresses, a)
	}
	return page, nil
}

// DomainAlias implements store.Addresses.
func (s *Store) DomainAlias(ctx context.Context, alias string) (string, error) {
	if err := s.enter(ctx); err != nil {
		return "", err
	}
	defer s.leave()
	value, err := s.get(textKey(tabDomainAlias, alias))
	return string(value), err
}

// SetDomainAlias implements store.Addresses.
func (s *Store) SetDomainAlias(ctx context.Context, alias, domain string) error {
	if domain == "" {
		return s.put(ctx, textKey(tabDomainAlias, alias), nil)
	}
	return s.put(ctx, textKey(tabDomainAlias, alias), []byte(domain))
}
