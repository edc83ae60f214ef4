package pebblestore

import (
	"context"

	"mallard/internal/mail"
)

// Subscribe implements store.Mailboxes.
func (s *Store) Subscribe(ctx context.Context, acct mail.AccountID, path string, on bool, nameOctets int) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.begin(ctx, acct)
	if err != nil {
		return err
	}
	defer c.end()
	changed := false
	if m := c.acct.set.Load().byPath(path); m != nil {
		changed, err = c.subscribeBox(m.id, on)
	} else {
		changed, err = c.subscribeName(path, on, nameOctets)
	}
	if err != nil {
		return err
	}
	if !changed {
		c.end()
		return s.syncLog() // what was found may not be on the disk yet
	}
	return c.commit(true)
}

func (c *change) subscribeBox(id mail.MailboxID, on bool) (changed bool, err error) {
	b, err := c.box(id)
	if err != nil {
		return false, err
	}
	p := *b.current()
	if p.subscribed == on {
		return false, nil
	}
	p.subscribed = on
	b.profile = &p
	return true, nil
}

func (c *change) subscribeName(path string, on bool, nameOctets int) (changed bool, err error) {
	there, err := c.s.has(accountTextKey(tabSubscribed, c.acct.id, path))
	if err != nil || there == on {
		return false, err
	}
	if !on {
		del(c.batch, accountTextKey(tabSubscribed, c.acct.id, path))
		return true, nil
	}
	room, err := c.nameRoom(nameOctets)
	if err == nil && len(path) > room {
		err = mail.NewError(mail.CodeLimit, "too many names without a mailbox are subscribed")
	}
	if err != nil {
		return false, err
	}
	set(c.batch, accountTextKey(tabSubscribed, c.acct.id, path), nil)
	return true, nil
}

// nameRoom is how many octets more the paths of tabSubscribed may have when all of them
// may have limit.
func (c *change) nameRoom(limit int) (int, error) {
	err := c.s.scan(accountKey(tabSubscribed, c.acct.id), func(key, _ []byte) error {
		limit -= len(key) - ownedSize
		if limit <= 0 {
			return errStop
		}
		return nil
	})
	return limit, err
}

// takeName takes a path that a mailbox gets out of tabSubscribed, and reports whether it
// was there.
func (c *change) takeName(path string) (bool, error) {
	key := accountTextKey(tabSubscribed, c.acct.id, path)
	there, err := c.s.has(key)
	if there {
		del(c.batch, key)
	}
	return there, err
}

// leaveName puts the path of a mailbox that is deleted into tabSubscribed, if there is room.
func (c *change) leaveName(path string, limit int) error {
	if limit <= 0 {
		return nil
	}
	room, err := c.nameRoom(limit)
	if err == nil && len(path) <= room {
		set(c.batch, accountTextKey(tabSubscribed, c.acct.id, path), nil)
	}
	return err
}

// Subscriptions implements store.Mailboxes.
func (s *Store) Subscriptions(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, []string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer s.leave()
	a, err := s.account(ctx, acct)
	if err != nil {
		return nil, nil, err
	}
	defer s.accounts.release(a)
	// Changes hold the lock until memory and database are the same again.
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return nil, nil, noAccount()
	}
	var names []string
	err = s.scan(accountKey(tabSubscribed, acct), func(key, _ []byte) error {
		names = append(names, string(key[ownedSize:]))
		return nil
	})
	return a.set.Load().views(), names, err
}
