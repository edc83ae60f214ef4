package redisrecord

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/mail"
	"mallard/internal/store"
)

const recentPrefix = "mallard:recent:" // + account: a hash of mailbox id (12 octets) to UID

// RecentsOptions bounds what is remembered. A zero number means its default.
type RecentsOptions struct {
	// Life is how long it is kept of an account in which no session was told of a message. Default 90 days.
	Life time.Duration
	// Mailboxes is of how many of an account it is kept, those that were deleted among them. One more has Redis forget
	// all of the account. Default 16384.
	Mailboxes int
	// Known is of how many mailboxes this process remembers it besides. Default 65536.
	Known int
}

// Defaults of RecentsOptions.
const (
	DefaultRecentLife      = 90 * 24 * time.Hour
	DefaultRecentMailboxes = 16 << 10
	DefaultRecentKnown     = 64 << 10
)

// Recents is store.Recents of a cluster: the documents, which are WildDuck's, have no place for it. One command gives the
// messages to one session of all nodes. It is sent when a session is told of messages that this node has not told anybody of,
// and when somebody asks; so a mailbox that is opened again without new messages costs none.
//
// Without Redis each node goes by what it has told itself. What Redis loses is recent once more.
type Recents struct {
	c Conn
	o RecentsOptions

	mu sync.Mutex
	// told is up to where some session was told, of mailboxes that were asked for here. In Redis it may be more.
	told map[mail.MailboxID]mail.UID
}

var _ store.RecentsBeside = (*Recents)(nil)

// NewRecents returns it on a connection.
func NewRecents(c Conn, o RecentsOptions) *Recents {
	o.Life = cmp.Or(o.Life, DefaultRecentLife)
	o.Mailboxes, o.Known = cmp.Or(o.Mailboxes, DefaultRecentMailboxes), cmp.Or(o.Known, DefaultRecentKnown)
	return &Recents{c: c, o: o, told: make(map[mail.MailboxID]mail.UID)}
}

// takeScript raises a number and returns what it was. KEYS: the account. ARGV: mailbox, UID, life in milliseconds, greatest
// number of fields.
var takeScript = redis.NewScript(`
local told = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if tonumber(ARGV[2]) > told then
  if told == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
    redis.call('DEL', KEYS[1])
  end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return told
`)

// limitScript lowers a number. KEYS: the account. ARGV: mailbox, UID.
var limitScript = redis.NewScript(`
local told = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if told > tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return told
`)

// TakeRecent implements store.Recents. It knows nothing of mailboxes: one that does not exist is one of which nobody was
// told, and a UID that was not given out counts.
func (r *Recents) TakeRecent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, upTo mail.UID) (mail.UID, error) {
	if err := ctx.Err(); err != nil {
		return 0, mail.WrapError(mail.CodeCanceled, "canceled", err)
	}
	known := r.known(mbox)
	if upTo > 0 && upTo <= known {
		return known, nil
	}
	// Where it is not known whether this call was given the messages, they are its own rather than nobody's. So what
	// counts is what was known before it: another call may have noted since what this one was given.
	told := max(known, r.ask(ctx, acct, mbox, upTo))
	r.note(mbox, max(told, upTo))
	return told, nil
}

// ask takes it in Redis, 0 without.
func (r *Recents) ask(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, upTo mail.UID) mail.UID {
	var told mail.UID
	err := r.c.Do(context.WithoutCancel(ctx), func(ctx context.Context) error {
		n, err := takeScript.Run(ctx, r.c.Client(), []string{recentPrefix + acct.String()},
			mbox[:], uint32(upTo), r.o.Life.Milliseconds(), r.o.Mailboxes).Int64()
		told = mail.UID(max(0, min(n, int64(^mail.UID(0)))))
		return err
	})
	if err != nil {
		return 0
	}
	return told
}

// LimitRecent implements store.RecentsBeside.
func (r *Recents) LimitRecent(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, last mail.UID) error {
	err := r.c.Do(ctx, func(ctx context.Context) error {
		return limitScript.Run(ctx, r.c.Client(), []string{recentPrefix + acct.String()}, mbox[:], uint32(last)).Err()
	})
	if err != nil {
		return fmt.Errorf("forget what sessions were told of: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[mbox] > last {
		r.told[mbox] = last
	}
	return nil
}

func (r *Recents) known(mbox mail.MailboxID) mail.UID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told[mbox]
}

func (r *Recents) note(mbox mail.MailboxID, told mail.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, found := r.told[mbox]
	if told <= old {
		return
	}
	if !found && len(r.told) >= r.o.Known {
		clear(r.told) // Redis knows
	}
	r.told[mbox] = told
}
