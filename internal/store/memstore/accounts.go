package memstore

import (
	"context"
	"slices"
	"strings"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// CreateAccount stores an account with its main address and first mailboxes.
func (s *Store) CreateAccount(ctx context.Context, in store.NewAccount) (*mail.Account, error) {
	if err := s.enter(ctx, "CreateAccount"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := s.checkNewAccount(in); err != nil {
		return nil, err
	}
	a := &account{
		row:     *in.Account.Clone(),
		view:    in.View,
		boxes:   make(map[mail.MailboxID]*mailbox),
		names:   make(map[string]bool),
		threads: make(map[threadKey]mail.ThreadID),
	}
	if a.row.ID.IsZero() {
		a.row.ID = mail.NewID[mail.AccountID](s.gen)
	}
	if a.row.Created.IsZero() {
		a.row.Created = s.now()
	}
	a.row.Address = ""
	s.accounts[a.row.ID], s.names[a.view] = a, a
	if in.Address != nil {
		row := *in.Address
		row.Account = a.row.ID
		s.putAddress(row, true)
	}
	for _, b := range in.Mailboxes {
		s.putMailbox(a, b)
	}
	return s.snapshot(a), nil
}

func (s *Store) checkNewAccount(in store.NewAccount) error {
	if _, taken := s.accounts[in.Account.ID]; taken {
		return mail.NewError(mail.CodeExists, "this account exists already")
	}
	if _, taken := s.names[in.View]; taken {
		return mail.NewError(mail.CodeExists, "this username already exists")
	}
	if in.Address != nil {
		if _, taken := s.views[in.Address.View]; taken {
			return mail.NewError(mail.CodeExists, "this email address already exists")
		}
	}
	paths := make(map[string]bool)
	for _, b := range in.Mailboxes {
		if paths[b.Path] {
			return mail.NewError(mail.CodeInvalid, "two mailboxes have the same path")
		}
		paths[b.Path] = true
	}
	if !paths[mail.Inbox] {
		return mail.NewError(mail.CodeInvalid, "an account needs an INBOX")
	}
	return nil
}

// Account returns an account.
func (s *Store) Account(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	if err := s.enter(ctx, "Account"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(id)
	if err != nil {
		return nil, err
	}
	return s.snapshot(a), nil
}

// AccountByName returns the account with a username view.
func (s *Store) AccountByName(ctx context.Context, view string) (*mail.Account, error) {
	if err := s.enter(ctx, "AccountByName"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, ok := s.names[view]
	if !ok {
		return nil, mail.NewError(mail.CodeNoAccount, "no such account")
	}
	return s.snapshot(a), nil
}

// ListAccounts returns a page of accounts.
func (s *Store) ListAccounts(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error) {
	if err := s.enter(ctx, "ListAccounts"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []*mail.Account
	for _, a := range s.accounts {
		has := strings.Contains(a.row.Username, q.Contains) || strings.Contains(strings.ToLower(a.row.Address), q.Contains)
		if has && matchTags(a.row.Tags, q.Tags, q.AllTags) {
			all = append(all, s.snapshot(a))
		}
	}
	slices.SortFunc(all, func(a, b *mail.Account) int { return compareID(a.ID, b.ID) })
	page, more := cut(all, q.Limit, !q.Before.IsZero(), func(a *mail.Account) bool {
		if !q.Before.IsZero() {
			return compareID(a.ID, q.Before) < 0
		}
		return compareID(a.ID, q.After) > 0
	})
	return &store.AccountPage{Accounts: page, Total: int64(len(all)), More: more}, nil
}

// cut takes a page out of a sorted list: of the rows that are within, the first
// limit ones, or the last ones when going backwards.
func cut[Row any](all []Row, limit int, backwards bool, within func(Row) bool) (page []Row, more bool) {
	for _, r := range all {
		if within(r) {
			page = append(page, r)
		}
	}
	if limit <= 0 || len(page) <= limit {
		return page, false
	}
	if backwards {
		return page[len(page)-limit:], true
	}
	return page[:limit], true
}

// matchTags reports whether a row has all or any of the wanted lower-case tags.
func matchTags(has, want []string, all bool) bool {
	if len(want) == 0 {
		return true
	}
	for _, w := range want {
		found := slices.ContainsFunc(has, func(h string) bool { return strings.ToLower(h) == w })
		if found != all {
			return found
		}
	}
	return all
}

// UpdateAccount changes an account.
func (s *Store) UpdateAccount(ctx context.Context, id mail.AccountID, change func(*mail.Account) error) (*mail.Account, error) {
	if err := s.enter(ctx, "UpdateAccount"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	a, err := s.account(id)
	if err != nil {
		return nil, err
	}
	if s.opts.Mangle {
		_ = change(s.snapshot(a)) // an attempt that came to nothing
	}
	row := s.snapshot(a)
	if err := change(row); err != nil {
		return nil, err
	}
	if row.Address != "" && row.Address != a.row.Address && !s.owns(id, row.Address) {
		return nil, mail.NewError(mail.CodeNotFound, "the account has no such address")
	}
	row.ID, row.Username, row.Created = a.row.ID, a.row.Username, a.row.Created
	a.row = *row.Clone()
	return s.snapshot(a), nil
}

// owns reports whether the account has an address row with this address.
func (s *Store) owns(id mail.AccountID, address string) bool {
	for _, row := range s.addresses {
		if row.Account == id && row.Address == address {
			return true
		}
	}
	return false
}

// DeleteAccount removes an account and all that belongs to it.
func (s *Store) DeleteAccount(ctx context.Context, id mail.AccountID, _ time.Time) error {
	if err := s.enter(ctx, "DeleteAccount"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	a, err := s.account(id)
	if err != nil {
		return err
	}
	for _, row := range s.addresses {
		if row.Account == id {
			delete(s.addresses, row.ID)
			delete(s.views, row.View)
		}
	}
	delete(s.names, a.view)
	delete(s.accounts, id)
	return nil
}

// RecountQuota counts StorageUsed anew.
func (s *Store) RecountQuota(ctx context.Context, id mail.AccountID) (before, after int64, err error) {
	if err := s.enter(ctx, "RecountQuota"); err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	a, err := s.account(id)
	if err != nil {
		return 0, 0, err
	}
	before = a.used()
	for _, b := range a.boxes {
		b.size = 0
		for _, m := range b.msgs {
			b.size += m.size()
		}
	}
	return before, a.used(), nil
}

// snapshot returns a copy of the account's row that shares nothing with it.
func (s *Store) snapshot(a *account) *mail.Account {
	row := a.row.Clone()
	row.StorageUsed = a.used()
	return row
}
