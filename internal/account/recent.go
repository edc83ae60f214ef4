package account

import (
	"context"
	"sync"
	"time"

	"mallard/internal/mail"
)

// recentCache keeps accounts that were read a moment ago, for deliveries: one takes two looks at the account, and the next
// one follows soon. What this process changes is forgotten; what another one changes is seen after ttl.
type recentCache struct {
	size int
	ttl  time.Duration // nothing is kept when it is not positive
	now  func() time.Time

	mu      sync.Mutex
	all     map[mail.AccountID]recentEntry
	version int // grows with each change of this process
}

type recentEntry struct {
	acct    *mail.Account
	expires time.Time
}

// get returns the account, nil when it is not known, and the version to give to put.
func (c *recentCache) get(id mail.AccountID) (*mail.Account, int) {
	if c.ttl <= 0 {
		return nil, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.all[id]
	if !ok || !c.now().Before(e.expires) {
		return nil, c.version
	}
	return e.acct, c.version
}

// put keeps an account, unless one was changed since the version was given: it may have been read before that.
func (c *recentCache) put(a *mail.Account, version int) {
	if c.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != c.version {
		return
	}
	if c.all == nil || len(c.all) >= c.size {
		c.all = make(map[mail.AccountID]recentEntry)
	}
	c.all[a.ID] = recentEntry{a, c.now().Add(c.ttl)}
}

// forget is called after a change of an account.
func (c *recentCache) forget(id mail.AccountID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	delete(c.all, id)
}

// Recent is Get for those who can do with an account as it was up to Options.RecentTTL ago, where another process changed
// it; StorageUsed is older in any case. The account is shared: it must not be changed. Errors: NoAccount.
func (s *Service) Recent(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	if a, _ := s.recent.get(id); a != nil {
		return a, nil
	}
	return s.readAnew(ctx, id)
}

// readAnew reads an account for Recent.
func (s *Service) readAnew(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	_, version := s.recent.get(id)
	a, err := s.Get(ctx, id)
	if err == nil {
		s.recent.put(a, version)
	}
	return a, err
}

// recipient reads the account of a recipient. What would have its mail refused is never taken from the cache.
func (s *Service) recipient(ctx context.Context, id mail.AccountID) (*mail.Account, error) {
	if a, _ := s.recent.get(id); a != nil && !a.Disabled {
		limits, err := s.Limits(ctx, a)
		if err == nil && (limits.Quota <= 0 || a.StorageUsed < limits.Quota) {
			return a, nil
		}
	}
	return s.readAnew(ctx, id)
}
