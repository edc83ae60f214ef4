package account

import (
	"context"
	"fmt"

	"mallard/internal/address"
	"mallard/internal/mail"
)

// NewForwarded is the input of AddForwarded.
type NewForwarded struct {
	Address       string
	AllowWildcard bool
	Targets       []string // as in Profile.Targets
	Forwards      int64    // per day, 0 for the configured default
	Autoreply     string   // JSON object or ""
	AddressData
}

// AddForwarded makes an address that belongs to no account and forwards to its
// targets. Errors: Invalid, Limit, Exists (with ErrAddressTaken in the chain).
func (s *Service) AddForwarded(ctx context.Context, in NewForwarded) (*mail.Address, error) {
	addr, err := newRowAddress(in.Address, in.AllowWildcard)
	if err != nil {
		return nil, err
	}
	if in.Forwards < 0 {
		return nil, invalid("forwards cannot be negative")
	}
	if err := in.normalize(); err != nil {
		return nil, err
	}
	if err := checkObject("autoreply", in.Autoreply); err != nil {
		return nil, err
	}
	targets, err := s.forwardTargets(addr, in.Targets, nil)
	if err != nil {
		return nil, err
	}
	row := mail.Address{
		Address: addr, View: address.View(addr), Targets: targets, Forwards: in.Forwards, Autoreply: in.Autoreply, Created: s.now().UTC(),
	}
	in.apply(&row)
	return s.createRow(ctx, row, false)
}

// forwardTargets refuses the address itself as a target: mail would go round.
func (s *Service) forwardTargets(addr string, values []string, before []mail.Target) ([]mail.Target, error) {
	targets, err := s.makeTargets(values, before)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		if t.Type == targetMail && address.LookupView(t.Value) == address.LookupView(addr) {
			return nil, invalid(fmt.Sprintf("Can not forward to self %q", t.Value))
		}
	}
	return targets, nil
}

// ForwardedChanges is the input of UpdateForwarded. What is nil stays.
type ForwardedChanges struct {
	Address   *string
	Targets   []string // replaces the list
	Forwards  *int64
	Disabled  *bool
	Autoreply *string // JSON object or ""
	AddressData
}

// UpdateForwarded changes a forwarded address. Errors: NotFound (also for the
// address of an account), Invalid, Limit, Forbidden (with ErrWildcardChange), Exists
// (with ErrAddressTaken).
func (s *Service) UpdateForwarded(ctx context.Context, id mail.AddressID, in ForwardedChanges) (*mail.Address, error) {
	row, err := s.Forwarded(ctx, id)
	if err != nil {
		return nil, err
	}
	addr, err := changedAddress(row, in.Address)
	if err != nil {
		return nil, err
	}
	if in.Forwards != nil && *in.Forwards < 0 {
		return nil, invalid("forwards cannot be negative")
	}
	if err := in.normalize(); err != nil {
		return nil, err
	}
	if err := checkObject("autoreply", deref(in.Autoreply)); err != nil {
		return nil, err
	}
	return s.updateRow(ctx, id, false, func(a *mail.Address) error {
		a.Address, a.View = addr, address.View(addr)
		if in.Targets != nil || in.Address != nil {
			values := in.Targets
			if values == nil {
				values = targetValues(a.Targets)
			}
			targets, err := s.forwardTargets(addr, values, a.Targets)
			if err != nil {
				return err
			}
			a.Targets = targets
		}
		set(&a.Forwards, in.Forwards)
		set(&a.ForwardedDisabled, in.Disabled)
		set(&a.Autoreply, in.Autoreply)
		in.apply(a)
		return nil
	})
}

func targetValues(targets []mail.Target) []string {
	out := make([]string, len(targets))
	for i, t := range targets {
		out[i] = t.Value
	}
	return out
}

// Forwarded returns a forwarded address. Errors: NotFound, also for the address of
// an account.
func (s *Service) Forwarded(ctx context.Context, id mail.AddressID) (*mail.Address, error) {
	row, err := s.Address(ctx, id)
	if err != nil {
		return nil, err
	}
	if !row.Account.IsZero() {
		return nil, noAddress()
	}
	return row, nil
}

// DeleteForwarded removes a forwarded address. Errors: NotFound, also for the
// address of an account.
func (s *Service) DeleteForwarded(ctx context.Context, id mail.AddressID) error {
	if _, err := s.Forwarded(ctx, id); err != nil {
		return err
	}
	return s.deleteRow(ctx, id)
}

// AddDomainAlias makes mail for any address at alias go to the same local part at
// domain, where alias has no such address itself. Errors: Invalid, Exists.
func (s *Service) AddDomainAlias(ctx context.Context, alias, domain string) error {
	a, d := address.NormalizeDomain(alias), address.NormalizeDomain(domain)
	if !address.ValidDomain(a) || !address.ValidDomain(d) || a == d {
		return invalid("alias and domain must be two different domain names")
	}
	known, err := s.DomainAlias(ctx, a)
	if err != nil {
		return err
	}
	if known != "" {
		return mail.NewError(mail.CodeExists, "This domain alias already exists")
	}
	return s.setDomainAlias(ctx, a, d)
}

// DomainAlias returns the domain that alias stands for, "" when it is no alias.
func (s *Service) DomainAlias(ctx context.Context, alias string) (string, error) {
	domain, err := s.store.DomainAlias(ctx, address.NormalizeDomain(alias))
	if err != nil {
		return "", fmt.Errorf("look for domain alias: %w", err)
	}
	return domain, nil
}

// DeleteDomainAlias ends an alias. Errors: NotFound.
func (s *Service) DeleteDomainAlias(ctx context.Context, alias string) error {
	known, err := s.DomainAlias(ctx, alias)
	if err != nil {
		return err
	}
	if known == "" {
		return mail.NewError(mail.CodeNotFound, "This alias does not exist")
	}
	return s.setDomainAlias(ctx, address.NormalizeDomain(alias), "")
}

func (s *Service) setDomainAlias(ctx context.Context, alias, domain string) error {
	err := s.store.SetDomainAlias(ctx, alias, domain)
	s.resolved.clear()
	if err != nil {
		return fmt.Errorf("set domain alias: %w", err)
	}
	return nil
}
