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

	"mallard/internal/expiring"
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
	key [32]byte

	mu      sync.Mutex
	right   *expiring.Map[cacheKey, Source] // which password it was
	running map[cacheKey]*check
}

type cacheKey [sha256.Size]byte

// check is one that is running; done is closed when the rest is set.
type check struct {
	done   chan struct{}
	source Source // "" for a wrong password
	err    error
}

func newCache(size int, ttl time.Duration, now func() time.Time) *cache {
	c := &cache{right: expiring.NewMap[cacheKey, Source](size, ttl, now), running: make(map[cacheKey]*check)}
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
	source, _ := c.right.Get(k)
	return source
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
		if ch.source != "" && ch.err == nil {
			c.right.Put(k, ch.source)
		}
		c.mu.Unlock()
		close(ch.done)
	}()
	source, err := f() // a panic leaves errAborted to those who wait
	ch.source, ch.err = source, err
	return source, err
}
