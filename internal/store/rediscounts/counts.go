// Package rediscounts keeps the cached numbers of messages in a mailbox, all and unseen, that nodes of WildDuck have in
// Redis: after a change here they must be right there. They are a cache that lives for a day; where it cannot be kept
// right, it is emptied, and the next who asks counts.
//
// The package imports internal/mail and internal/redisconn; it knows nothing of the database where messages are counted.
package rediscounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/mail"
	"mallard/internal/redisconn"
)

const (
	// life is how long a number is kept after it was used last.
	life = 24 * time.Hour
	// MaxDirty is the number of mailboxes whose numbers may have to be dropped when Redis is back; for more, those of all
	// are.
	MaxDirty = 100_000
	// batch is how many mailboxes are dropped with one command.
	batch = 500
	// retry is the time after which dropping is tried again.
	retry = time.Second
)

func totalKey(id mail.MailboxID) string  { return "total:" + id.String() }
func unseenKey(id mail.MailboxID) string { return "unseen:" + id.String() }

// Counts are the numbers of all mailboxes. It is safe for concurrent use. Make it with New.
type Counts struct {
	conn *redisconn.Conn
	log  *slog.Logger
	stop context.CancelFunc
	done chan struct{}
	wake chan struct{}

	mu    sync.Mutex
	dirty map[mail.MailboxID]struct{} // to be dropped
	all   bool                        // everything is
}

// New returns the numbers on a connection, which it does not close. A nil log is silent. It starts a goroutine, which
// Close ends.
func New(conn *redisconn.Conn, log *slog.Logger) *Counts {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Counts{conn: conn, log: log, stop: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1), dirty: map[mail.MailboxID]struct{}{}}
	go c.run(ctx)
	return c
}

// Close ends the goroutine. What is still to be dropped is left to its time.
func (c *Counts) Close() error {
	c.stop()
	<-c.done
	return nil
}

// countScript adds to numbers that are cached; one that would be below 1 is dropped, since it may be wrong. KEYS: all,
// unseen. ARGV: what to add to each, life in milliseconds.
var countScript = redis.NewScript(`
for i = 1, 2 do
  if tonumber(ARGV[i]) ~= 0 and redis.call('EXISTS', KEYS[i]) == 1 then
    if redis.call('INCRBY', KEYS[i], ARGV[i]) > 0 then
      redis.call('PEXPIRE', KEYS[i], ARGV[3])
    else
      redis.call('DEL', KEYS[i])
    end
  end
end
return 1
`)

// Count adds to the cached numbers of a mailbox; unseenUnknown drops the number of unseen messages instead of adding to
// it. It must be called after the change is in the database. What Redis cannot be told is no error: the numbers are
// dropped when it is back.
func (c *Counts) Count(ctx context.Context, mbox mail.MailboxID, total, unseen int64, unseenUnknown bool) error {
	if total == 0 && unseen == 0 && !unseenUnknown {
		return nil
	}
	// The change is made: that its client has gone does not matter.
	err := c.conn.Do(context.WithoutCancel(ctx), func(ctx context.Context) error {
		if unseenUnknown {
			if total == 0 {
				return c.conn.Client().Del(ctx, unseenKey(mbox)).Err()
			}
			unseen = -1 << 52 // below 1 in any case
		}
		return countScript.Run(ctx, c.conn.Client(), []string{totalKey(mbox), unseenKey(mbox)}, total, unseen, life.Milliseconds()).Err()
	})
	if err != nil {
		c.drop(mbox)
	}
	return nil
}

// Forget drops the cached numbers of mailboxes, for example of those that are deleted. What Redis cannot be told is no
// error, as for Count.
func (c *Counts) Forget(ctx context.Context, mailboxes ...mail.MailboxID) error {
	for part := range slices.Chunk(mailboxes, batch) {
		if err := c.delete(context.WithoutCancel(ctx), part); err != nil {
			c.drop(part...)
		}
	}
	return nil
}

// Read returns the numbers of a mailbox: the cached ones, or those that count finds, which are cached then. Without Redis
// count is asked. A change between counting and caching may be missed for as long as the cache lives, as among nodes of
// WildDuck; who needs exact numbers counts. Errors are those of count, and Canceled.
func (c *Counts) Read(ctx context.Context, mbox mail.MailboxID, count func(ctx context.Context) (total, unseen int64, err error)) (total, unseen int64, err error) {
	total, unseen, ok, err := c.cached(ctx, mbox)
	if ok || mail.CodeOf(err) == mail.CodeCanceled && err != nil {
		return total, unseen, err
	}
	if total, unseen, err = count(ctx); err != nil {
		return 0, 0, err
	}
	if c.isDirty(mbox) {
		return total, unseen, nil // what is cached now would be dropped
	}
	_ = c.conn.Do(ctx, func(ctx context.Context) error {
		_, err := c.conn.Client().Pipelined(ctx, func(p redis.Pipeliner) error {
			// Not over a number that came meanwhile: changes may have been added to it.
			p.SetNX(ctx, totalKey(mbox), total, life)
			p.SetNX(ctx, unseenKey(mbox), unseen, life)
			return nil
		})
		return err
	})
	return total, unseen, nil
}

func (c *Counts) cached(ctx context.Context, mbox mail.MailboxID) (total, unseen int64, ok bool, err error) {
	if c.isDirty(mbox) {
		return 0, 0, false, nil
	}
	var found []any
	err = c.conn.Do(ctx, func(ctx context.Context) (err error) {
		found, err = c.conn.Client().MGet(ctx, totalKey(mbox), unseenKey(mbox)).Result()
		return err
	})
	if err != nil || len(found) != 2 {
		return 0, 0, false, err
	}
	total, ok1 := number(found[0])
	unseen, ok2 := number(found[1])
	return total, unseen, ok1 && ok2, nil
}

func number(v any) (int64, bool) {
	text, ok := v.(string)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0
}

// drop notes that the numbers of mailboxes are to be dropped as soon as Redis is there.
func (c *Counts) drop(mailboxes ...mail.MailboxID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range mailboxes {
		if c.all {
			break
		}
		c.dirty[id] = struct{}{}
		if len(c.dirty) > MaxDirty {
			c.all = true
			clear(c.dirty)
		}
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Counts) isDirty(id mail.MailboxID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.dirty[id]
	return ok || c.all
}

func (c *Counts) run(ctx context.Context) {
	defer close(c.done)
	for {
		var again <-chan time.Time
		changed, err := c.conn.State()
		if err == nil {
			if err := c.clean(ctx); err != nil {
				again = time.After(retry)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-c.wake:
		case <-again:
		}
	}
}

// clean drops what is to be dropped.
func (c *Counts) clean(ctx context.Context) error {
	c.mu.Lock()
	all, ids := c.all, slices.Collect(maps.Keys(c.dirty))
	c.mu.Unlock()
	if all {
		return c.cleanAll(ctx)
	}
	for part := range slices.Chunk(ids, batch) {
		// Forgotten before it is dropped: what fails meanwhile is noted again.
		c.mu.Lock()
		for _, id := range part {
			delete(c.dirty, id)
		}
		c.mu.Unlock()
		if err := c.delete(ctx, part); err != nil {
			c.drop(part...)
			return err
		}
	}
	return nil
}

func (c *Counts) cleanAll(ctx context.Context) error {
	c.mu.Lock()
	c.all = false
	c.mu.Unlock()
	for _, pattern := range []string{"total:*", "unseen:*"} {
		if err := c.deleteMatching(ctx, pattern); err != nil {
			c.mu.Lock()
			c.all = true
			c.mu.Unlock()
			return err
		}
	}
	c.log.Info("the cached numbers of all mailboxes were dropped: too many changed while Redis was gone")
	return nil
}

func (c *Counts) deleteMatching(ctx context.Context, pattern string) error {
	var cursor uint64
	for {
		err := c.conn.Do(ctx, func(ctx context.Context) error {
			keys, next, err := c.conn.Client().Scan(ctx, cursor, pattern, batch).Result()
			if err != nil {
				return err
			}
			cursor = next
			if len(keys) == 0 {
				return nil
			}
			return c.conn.Client().Del(ctx, keys...).Err()
		})
		if err != nil {
			return fmt.Errorf("drop cached numbers: %w", err)
		}
		if cursor == 0 {
			return nil
		}
	}
}

func (c *Counts) delete(ctx context.Context, mailboxes []mail.MailboxID) error {
	keys := make([]string, 0, 2*len(mailboxes))
	for _, id := range mailboxes {
		keys = append(keys, totalKey(id), unseenKey(id))
	}
	err := c.conn.Do(ctx, func(ctx context.Context) error { return c.conn.Client().Del(ctx, keys...).Err() })
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("drop cached numbers: %w", err)
	}
	return nil
}
