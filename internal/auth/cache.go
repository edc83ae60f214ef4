package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// cache remembers for a short time that a password was right, so that a mail
// client which opens ten connections costs one slow hash and not ten.
//
// Why that is safe:
//
//   - A password is not kept. An entry is an HMAC-SHA256 under a random key that
//     lives in this process only, over the account id, the stored hash and the
//     password. Without the key an entry is noise; whoever can read the key from
//     memory can also read the passwords of those who log in.
//   - Because the stored hash is part of it, a changed or removed password misses at
//     once, in every process, with nothing to invalidate.
//   - Only success is remembered. A miss says nothing and leads to the real check.
//   - It replaces the computation of the hash and nothing else: throttling comes
//     before it, and whether the account is disabled, the scope allowed or a second
//     factor needed is decided afterwards from the account as it is now. Above all a
//     hit does not get around the limit of failures, or the right guess could be told
//     from the wrong ones while the account is locked.
//   - Its size and the age of its entries are bounded.
//
// Checks of the same password of the same account that come while one is running
// wait for that one, for the same reason.
type cache struct {
	key  [32]byte
	size int
	ttl  time.Duration
	now  func() time.Time

	mu      sync.Mutex
	entries map[cacheKey]success
	running map[cacheKey]*check
}

// success is a remembered success: which password it was, and when it ends.
type success struct {
	source Source
	end    time.Time
}

type cacheKey [sha256.Size]byte

// check is one that is running; done is closed when the rest is set.
type check struct {
	done   chan struct{}
	source Source // "" for a wrong password
	err    error
}

func newCache(size int, ttl time.Duration, now func() time.Time) *cache {
	c := &cache{size: size, ttl: ttl, now: now, entries: make(map[cacheKey]success), running: make(map[cacheKey]*check)}
	_, _ = rand.Read(c.key[:]) // never fails: the process ends when there is no entropy
	return c
}

// keyOf names a check. Lengths keep "ab", "c" and "a", "bc" apart.
func (c *cache) keyOf(parts ...string) cacheKey {
	mac := hmac.New(sha256.New, c.key[:])
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		mac.Write(n[:])
		mac.Write([]byte(p))
	}
	return cacheKey(mac.Sum(nil))
}

// get returns the source of a remembered success, "" when there is none.
func (c *cache) get(k cacheKey) Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[k]; c.now().Before(e.end) {
		return e.source
	}
	return ""
}

// do runs f, or waits for a run of the same check, and remembers success.
func (c *cache) do(ctx context.Context, k cacheKey, f func() (Source, error)) (Source, error) {
	for {
		c.mu.Lock()
		ch := c.running[k]
		if ch == nil {
			ch = &check{done: make(chan struct{}), err: errAborted}
			c.running[k] = ch
			c.mu.Unlock()
			return c.lead(k, ch, f)
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for a password check: %w", ctx.Err())
		case <-ch.done:
		}
		// That another client went away is no answer for this one.
		if !errors.Is(ch.err, context.Canceled) && !errors.Is(ch.err, context.DeadlineExceeded) {
			return ch.source, ch.err
		}
	}
}

var errAborted = errors.New("password check aborted")

// lead runs f for all who wait for ch.
func (c *cache) lead(k cacheKey, ch *check, f func() (Source, error)) (Source, error) {
	defer func() {
		c.mu.Lock()
		delete(c.running, k)
		if ch.source != "" && ch.err == nil && c.ttl > 0 && c.size > 0 {
			if len(c.entries) >= c.size {
				c.evict()
			}
			c.entries[k] = success{source: ch.source, end: c.now().Add(c.ttl)}
		}
		c.mu.Unlock()
		close(ch.done)
	}()
	source, err := f() // a panic leaves errAborted to those who wait
	ch.source, ch.err = source, err
	return source, err
}

// evict makes room: it drops what has ended, or else a quarter.
func (c *cache) evict() {
	now := c.now()
	for k, e := range c.entries {
		if !now.Before(e.end) {
			delete(c.entries, k)
		}
	}
	drop := len(c.entries) - c.size + max(1, c.size/4)
	for k := range c.entries {
		if drop <= 0 {
			return
		}
		delete(c.entries, k)
		drop--
	}
}
