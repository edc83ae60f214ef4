// Package redisrecord keeps in Redis what nodes share about accounts there: access tokens of the HTTP API, the cache of
// limits and the sets of feature flags, under the keys and in the forms of WildDuck, so that what one kind of node writes
// the other understands. An engine is given it.
//
// It imports internal/mail and the Redis library.
package redisrecord

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/mail"
)

// Conn is a connection to Redis. Do bounds a call and gives errors their codes; redis.Nil it passes on.
type Conn interface {
	Do(ctx context.Context, f func(ctx context.Context) error) error
	Client() *redis.Client
}

const (
	tokenPrefix = "tn:token:"         // + hash: the token
	gonePrefix  = "mallard:no-token:" // + hash: it was removed

	// goneTime is how long a token that was removed cannot be renewed: longer than any call that has read it lives.
	goneTime = 10 * time.Minute
	// scanCount is how many keys Redis looks at for one answer to a scan.
	scanCount = 1000
)

// Tokens keeps access tokens: a hash for each, by the SHA-256 of the token, that ends when it was not used for its TTL.
type Tokens struct {
	c   Conn
	now func() time.Time
}

// NewTokens returns tokens on a connection; now is nil for the system clock.
func NewTokens(c Conn, now func() time.Time) *Tokens {
	if now == nil {
		now = time.Now
	}
	return &Tokens{c: c, now: now}
}

// token is the JSON form of a token, in which it is given and returned. In Redis the last use is not a member but told
// by the time that the key has left.
type token struct {
	User        string `json:"user"`
	Role        string `json:"role"`
	Created     int64  `json:"created"`        // ms since the epoch
	TTL         int64  `json:"ttl,omitempty"`  // s; 0 for a token that never ends
	Used        int64  `json:"used,omitempty"` // ms since the epoch
	AuthVersion *int64 `json:"authVersion,omitempty"`
	Signature   string `json:"s"`
}

// putToken stores a hash of ARGV[3...] for ARGV[1] milliseconds, 0 for ever. With ARGV[2] it only replaces one that is
// there; one that was removed does not come back in any case.
var putToken = redis.NewScript(`
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
if ARGV[1] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
`)

// dropToken removes a hash and notes for ARGV[1] milliseconds that it was removed.
var dropToken = redis.NewScript(`
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1
`)

// PutRecord stores a token, nil removes it. A renewal of one that was removed meanwhile stores nothing.
// Errors: Invalid (no token), Unavailable.
func (t *Tokens) PutRecord(ctx context.Context, key string, value []byte) error {
	keys := []string{tokenPrefix + key, gonePrefix + key}
	if value == nil {
		return t.c.Do(ctx, func(ctx context.Context) error {
			return dropToken.Run(ctx, t.c.Client(), keys, goneTime.Milliseconds()).Err()
		})
	}
	var tok token
	if err := json.Unmarshal(value, &tok); err != nil {
		return mail.WrapError(mail.CodeInvalid, "not a token", err)
	}
	args := []any{t.life(&tok), boolean(tok.Used > tok.Created), "user", tok.User, "role", tok.Role, "created", tok.Created, "s", tok.Signature}
	if tok.TTL > 0 {
		args = append(args, "ttl", tok.TTL)
	}
	if tok.AuthVersion != nil {
		args = append(args, "authVersion", *tok.AuthVersion)
	}
	return t.c.Do(ctx, func(ctx context.Context) error {
		return putToken.Run(ctx, t.c.Client(), keys, args...).Err()
	})
}

// life is how long a token lives from now on, in milliseconds; 0 for ever.
func (t *Tokens) life(tok *token) int64 {
	if tok.TTL <= 0 {
		return 0
	}
	used := max(tok.Used, tok.Created)
	return max(used+tok.TTL*1000-t.now().UnixMilli(), 1)
}

func boolean(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Record returns a token. Errors: NotFound, Unavailable.
func (t *Tokens) Record(ctx context.Context, key string) ([]byte, error) {
	var hash *redis.MapStringStringCmd
	var left *redis.DurationCmd
	err := t.c.Do(ctx, func(ctx context.Context) error {
		_, err := t.c.Client().Pipelined(ctx, func(p redis.Pipeliner) error {
			hash, left = p.HGetAll(ctx, tokenPrefix+key), p.PTTL(ctx, tokenPrefix+key)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read a token: %w", err)
	}
	if len(hash.Val()) == 0 {
		return nil, mail.NewError(mail.CodeNotFound, "no such token")
	}
	return t.encode(hash.Val(), left.Val())
}

// encode is the JSON form of a hash that has some time left.
func (t *Tokens) encode(hash map[string]string, left time.Duration) ([]byte, error) {
	tok := token{User: hash["user"], Role: hash["role"], Created: number(hash["created"]), TTL: number(hash["ttl"]), Signature: hash["s"]}
	if v, ok := hash["authVersion"]; ok {
		n := number(v)
		tok.AuthVersion = &n
	}
	if tok.TTL > 0 {
		tok.Used = t.used(&tok, left)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&tok); err != nil {
		return nil, fmt.Errorf("encode a token: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// used is when a token was last renewed. One whose time does not run yet counts from its first use: it is shown as used
// a little while ago, so that it is renewed now.
func (t *Tokens) used(tok *token, left time.Duration) int64 {
	const notRenewedYet = 2 * time.Minute
	now := t.now()
	if left <= 0 {
		return now.Add(-min(notRenewedYet, time.Duration(tok.TTL)*time.Second/2)).UnixMilli()
	}
	return now.Add(left).UnixMilli() - tok.TTL*1000
}

// number reads a number as JavaScript writes it, 0 for what is none.
func number(s string) int64 {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != f || f > 1<<53 || f < -1<<53 {
		return 0
	}
	return int64(f)
}

// Records yields all tokens in ascending order of key. It looks at every key of the database; an error ends it.
func (t *Tokens) Records(ctx context.Context) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		keys, err := t.keys(ctx)
		if err != nil {
			return
		}
		for _, key := range keys {
			value, err := t.Record(ctx, key)
			if mail.CodeOf(err) == mail.CodeNotFound && err != nil {
				continue // ended meanwhile
			}
			if err != nil || !yield(key, value) {
				return
			}
		}
	}
}

func (t *Tokens) keys(ctx context.Context) ([]string, error) {
	found := make(map[string]bool) // a scan may return a key twice
	for cursor := uint64(0); ; {
		var part []string
		err := t.c.Do(ctx, func(ctx context.Context) (err error) {
			part, cursor, err = t.c.Client().Scan(ctx, cursor, tokenPrefix+"*", scanCount).Result()
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, k := range part {
			found[strings.TrimPrefix(k, tokenPrefix)] = true
		}
		if cursor == 0 {
			return slices.Sorted(maps.Keys(found)), nil
		}
	}
}
