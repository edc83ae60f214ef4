package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func exists(what string) error { return mail.NewError(mail.CodeExists, what+" exists already") }

// directoryCounts are the numbers of accounts and address rows, which are counted
// when they are first asked for. Guarded by Store.directory.
type directoryCounts struct {
	known               bool
	accounts, addresses int64
}

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, in store.NewAccount) (*mail.Account, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.writable(true); err != nil {
		return nil, err
	}
	if err := checkMailboxes(in.Mailboxes); err != nil {
		return nil, err
	}
	now := millis(s.opt.Now())
	a := in.Account.Clone()
	if a.ID.IsZero() {
		a.ID = mail.NewID[mail.AccountID](s.ids)
	} else if err := s.finishDeletion(ctx, a.ID); err != nil {
		return nil, err
	}
	a.StorageUsed, a.Address = 0, ""
	if a.Created.IsZero() {
		a.Created = fromMillis(now)
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.createAccount(b, &in, a, now); err != nil {
		return nil, err
	}
	if err := s.wait(b); err != nil {
		return nil, err
	}
	return a, nil
}

func checkMailboxes(boxes []mail.Mailbox) error {
	seen := map[string]bool{}
	for _, m := range boxes {
		if seen[m.Path] {
			return mail.NewError(mail.CodeInvalid, "two mailboxes have the same name")
		}
		seen[m.Path] = true
	}
	if !seen[mail.Inbox] {
		return mail.NewError(mail.CodeInvalid, "an account needs an INBOX")
	}
	return nil
}

// createAccount checks that the names are free and applies the batch.
func (s *Store) createAccount(b *pebble.Batch, in *store.NewAccount, a *mail.Account, now int64) error {
	s.directory.Lock()
	defer s.directory.Unlock()
	err := s.mustBeFree("the account", idKey(tabAccount, a.ID))
	if err == nil { // made and deleted again by others since finishDeletion
		err = s.mustBeFree("the account", deletionKey(a.ID, mail.MailboxID{}))
	}
	if err == nil {
		err = s.mustBeFree("the username", textKey(tabUsername, in.View))
	}
	if err != nil {
		return err
	}
	if in.Address != nil {
		addr := s.newAddress(in.Address, now)
		addr.Account = a.ID
		a.Address = addr.Address
		if err := s.mustBeFree("the address", textKey(tabAddressView, addr.View)); err != nil {
			return err
		}
		if err := putAddress(b, addr); err != nil {
			return err
		}
	}
	value, err := encodeAccount(a, in.View)
	if err != nil {
		return err
	}
	set(b, idKey(tabAccount, a.ID), value)
	set(b, textKey(tabUsername, in.View), a.ID[:])
	s.firstMailboxes(b, a.ID, in.Mailboxes, now)
	if err := s.apply(b, pebble.Sync); err != nil {
		return err
	}
	s.counts.accounts++
	if in.Address != nil {
		s.counts.addresses++
	}
	return nil
}

func (s *Store) mustBeFree(what string, key []byte) error {
	found, err := s.has(key)
	if err == nil && found {
		err = exists(what)
	}
	return err
}

// firstMailboxes adds the rows of a new account's mailboxes and its head.
func (s *Store) firstMailboxes(b *pebble.Batch, acct mail.AccountID, boxes []mail.Mailbox, now int64) {
	head := accountHead{epoch: s.epoch, seq: 1, reserved: 1 + seqGap, journalFrom: 1, trimmed: now}
	for i := range boxes {
		box := s.newMailbox(&boxes[i], head.nextValidity(now), head.seq, now)
		box.head.epoch, box.head.reserved = s.epoch, 1+uidGap
		set(b, boxKey(tabMailbox, acct, box.id), box.profile.append(nil))
		set(b, boxKey(tabMailboxHead, acct, box.id), box.head.append(nil))
	}
	set(b, accountKey(tabAccountHead, acct), head.append(nil))
}

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.showAccount(ctx, id)
}

// showAccount returns a copy of an account with StorageUsed.
func (s *Store) showAccount(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	a, err := s.account(ctx, id)
	if err != nil {
		return nil, err
	}
	defer s.accounts.release(a)
	p := a.profile.Load()
	if p == nil {
		if p, _, err = s.readAccount(id); err != nil {
			return nil, err
		}
		a.profile.CompareAndSwap(nil, p)
	}
	out := p.Clone()
	out.StorageUsed = a.head.Load().used
	return out, nil
}

func (s *Store) readAccount(id mail.AccountID) (*mail.Account, string, error) {
	value, err := s.get(idKey(tabAccount, id))
	if err != nil {
		return nil, "", err
	}
	if value == nil {
		return nil, "", noAccount()
	}
	p, view, err := decodeAccount(value)
	if err != nil {
		return nil, "", corrupt(fmt.Sprintf("account %s", id), err)
	}
	return p, view, nil
}

// AccountByName implements store.Accounts.
func (s *Store) AccountByName(ctx context.Context, view string) (*mail.Account, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	value, err := s.get(textKey(tabUsername, view))
	if err != nil {
		return nil, err
	}
	if len(value) != idSize {
		return nil, noAccount()
	}
	return s.showAccount(ctx, mail.AccountID(value))
}

// UpdateAccount implements store.Accounts.
func (s *Store) UpdateAccount(ctx context.Context, id mail.AccountID, update func(*mail.Account) error) (*mail.Account, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	c, err := s.begin(ctx, id)
	if err != nil {
		return nil, err
	}
	defer c.end()
	old, view, err := s.readAccount(id)
	if err != nil {
		return nil, err
	}
	old.StorageUsed = c.head.used
	a := old.Clone()
	if err := update(a); err != nil {
		return nil, err
	}
	a = a.Clone() // change may have kept what it was given
	a.ID, a.Username, a.StorageUsed, a.Created = old.ID, old.Username, old.StorageUsed, old.Created
	// The addresses of an account change under its lock only.
	if a.Address != old.Address && a.Address != "" {
		if err := s.mustBeOwn(id, a.Address); err != nil {
			return nil, err
		}
	}
	if err := c.setAccount(a, view); err != nil {
		return nil, err
	}
	if err := c.commit(true); err != nil {
		return nil, err
	}
	return a, nil
}

// setAccount adds the row of the account to the change.
func (c *change) setAccount(a *mail.Account, view string) error {
	value, err := encodeAccount(a, view)
	if err != nil {
		return err
	}
	set(c.batch, idKey(tabAccount, a.ID), value)
	c.account = a.Clone()
	return nil
}

// mustBeOwn checks that an address belongs to an account.
func (s *Store) mustBeOwn(id mail.AccountID, address string) error {
	found := false
	err := s.accountAddresses(id, func(a *mail.Address) error {
		found = found || a.Address == address
		return nil
	})
	if err == nil && !found {
		err = noAddress()
	}
	return err
}

// DeleteAccount implements store.Accounts. The rows that lead to the account go at
// once, the others in the background, which a row of tabDeletion ensures.
func (s *Store) DeleteAccount(ctx context.Context, id mail.AccountID, keepUntil time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	b, err := s.deleteAccount(ctx, id, keepUntil)
	if mail.CodeOf(err) == mail.CodeNoAccount && err != nil {
		return errors.Join(err, s.reschedule(id, keepUntil))
	}
	if err != nil {
		return err
	}
	defer b.Close()
	if err := s.wait(b); err != nil {
		return err
	}
	s.wakeSweeper()
	return nil
}

func (s *Store) deleteAccount(ctx context.Context, id mail.AccountID, keepUntil time.Time) (*pebble.Batch, error) {
	s.directory.Lock()
	defer s.directory.Unlock()
	c, err := s.begin(ctx, id)
	if err != nil {
		return nil, err
	}
	defer c.end()
	acct, view, err := s.readAccount(id)
	if err != nil {
		return nil, err
	}
	kept := keptAccount{until: millis(keepUntil), head: c.head.append(nil)}
	if kept.account, err = encodeAccount(acct, view); err != nil {
		return nil, err
	}
	addresses := int64(0)
	err = s.accountAddresses(id, func(a *mail.Address) error {
		addresses++
		removeAddress(c.batch, a)
		value, err := encodeAddress(a)
		kept.addresses = append(kept.addresses, value)
		return err
	})
	if err != nil {
		return nil, err
	}
	del(c.batch, textKey(tabUsername, view))
	del(c.batch, idKey(tabAccount, id))
	del(c.batch, accountKey(tabAccountHead, id))
	set(c.batch, deletionKey(id, mail.MailboxID{}), kept.value(c.now))
	b := c.batch
	c.batch = nil
	if err := s.apply(b, pebble.Sync); err != nil {
		return nil, err
	}
	c.acct.gone = true
	c.acct.set.Store(newBoxSet(nil))
	s.accounts.drop(c.acct)
	s.threads.clear() // its id may come again
	s.counts.accounts--
	s.counts.addresses -= addresses
	return b, nil
}

// RecountQuota implements store.Accounts.
func (s *Store) RecountQuota(ctx context.Context, id mail.AccountID) (before, after int64, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	c, err := s.begin(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	defer c.end()
	before = c.head.used
	c.head.used = 0
	for _, e := range c.acct.set.Load().sorted {
		b, err := c.box(e.box.id)
		if err != nil {
			return 0, 0, err
		}
		b.head.messages, b.head.unseen, b.head.deleted, b.head.size = 0, 0, 0, 0
		err = s.walk(ctx, id, b.id, mail.AllUIDs(), func(_ mail.UID, h *hot) error {
			b.count(h, 1)
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
		c.head.used += b.head.size
	}
	after = c.head.used
	return before, after, c.commit(true)
}

// ListAccounts implements store.Accounts.
func (s *Store) ListAccounts(ctx context.Context, q store.AccountQuery) (*store.AccountPage, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	l := lister{
		s: s, ctx: ctx, tab: tabAccount, limit: q.Limit, back: !q.Before.IsZero(),
		filter: newFilter(q.Contains, q.Tags, q.AllTags),
		total:  func() (int64, error) { return s.count(func(c *directoryCounts) int64 { return c.accounts }) },
	}
	l.lower, l.upper = []byte{tabAccount}, after([]byte{tabAccount})
	switch {
	case l.back:
		l.pageUpper = idKey(tabAccount, q.Before)
	case !q.After.IsZero():
		l.pageLower = append(idKey(tabAccount, q.After), 0)
	}
	values, err := l.run()
	if err != nil {
		return nil, err
	}
	page := &store.AccountPage{Total: l.matches, More: l.more}
	for _, v := range values {
		a, _, err := decodeAccount(v)
		if err != nil {
			return nil, corrupt("an account", err)
		}
		shown, err := s.showAccount(ctx, a.ID)
		if mail.CodeOf(err) == mail.CodeNoAccount && err != nil {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		page.Accounts = append(page.Accounts, shown)
	}
	return page, nil
}

// count returns one of the directory's counts.
func (s *Store) count(pick func(*directoryCounts) int64) (int64, error) {
	s.directory.Lock()
	defer s.directory.Unlock()
	if !s.counts.known {
		c := directoryCounts{known: true}
		err := errors.Join(s.countRows(tabAccount, &c.accounts), s.countRows(tabAddressView, &c.addresses))
		if err != nil {
			return 0, err
		}
		s.counts = c
	}
	return pick(&s.counts), nil
}

func (s *Store) countRows(tab byte, n *int64) error {
	return s.scan([]byte{tab}, func(_, _ []byte) error {
		*n++
		return nil
	})
}

// lister reads a page of records.
type lister struct {
	s                    *Store
	ctx                  context.Context
	tab                  byte
	lower, upper         []byte // of all records
	pageLower, pageUpper []byte // of the page, nil for no bound
	back                 bool   // the last records before pageUpper
	limit                int
	filter               filter
	total                func() (int64, error) // the number of all records; nil when it must be counted
	value                func(key, value []byte) ([]byte, error)

	matches int64
	more    bool
}

// run returns the values of the page in ascending order.
func (l *lister) run() ([][]byte, error) {
	if l.pageLower == nil {
		l.pageLower = l.lower
	}
	if l.pageUpper == nil {
		l.pageUpper = l.upper
	}
	values, err := l.page()
	if err != nil {
		return nil, err
	}
	if l.filter.empty() && l.total != nil {
		l.matches, err = l.total()
		return values, err
	}
	err = l.s.scanRange(l.lower, l.upper, func(key, value []byte) error {
		ok, err := l.match(key, value)
		if ok {
			l.matches++
		}
		return err
	})
	return values, err
}

func (l *lister) match(key, value []byte) (bool, error) {
	if l.ctx.Err() != nil {
		return false, canceled(l.ctx)
	}
	if l.filter.empty() {
		return true, nil
	}
	if l.value != nil {
		var err error
		if value, err = l.value(key, value); err != nil || value == nil {
			return false, err
		}
	}
	var x rawIndex
	if err := x.decode(value); err != nil {
		return false, corrupt("a record", err)
	}
	return l.filter.match(&x), nil
}

func (l *lister) page() (values [][]byte, err error) {
	it, err := l.s.db.NewIter(&pebble.IterOptions{LowerBound: l.pageLower, UpperBound: l.pageUpper})
	if err != nil {
		return nil, readError("list records", err)
	}
	defer func() {
		if cerr := it.Close(); cerr != nil && err == nil {
			err = readError("list records", cerr)
		}
	}()
	first, next := it.First, it.Next
	if l.back {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, readError("list records", err)
		}
		match, err := l.match(it.Key(), value)
		if err != nil {
			return nil, err
		}
		if !match {
			continue
		}
		if l.limit > 0 && len(values) == l.limit {
			l.more = true
			break
		}
		if l.value != nil {
			if value, err = l.value(it.Key(), value); err != nil {
				return nil, err
			}
		}
		values = append(values, slices.Clone(value))
	}
	if l.back {
		slices.Reverse(values)
	}
	return values, nil
}
