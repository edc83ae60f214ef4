package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// TokenOptions are the parts and settings of Tokens. Registry and Accounts are
// required. A zero number means its default.
type TokenOptions struct {
	Registry store.Registry
	Accounts Accounts
	// Secret signs tokens; changing it makes all of them invalid. When it is empty
	// one is made at first need and kept in the registry.
	Secret string
	// Static is a token of role root from the configuration; "" for none.
	Static string
	// TTL is how long a token lives after its last use, Lifetime how long at most.
	TTL, Lifetime time.Duration
	// MaxTokens is how many tokens one user can have; the oldest go first.
	MaxTokens int
	Roles     Roles            // nil for DefaultRoles
	Now       func() time.Time // nil for the system clock
	Log       *slog.Logger     // nil for none
}

// Tokens makes and checks access tokens of the HTTP API. It is safe for concurrent
// use. Tokens are stored by their hash: who reads the store cannot use them.
type Tokens struct {
	o     TokenOptions
	locks stripes

	mu   sync.Mutex
	made []byte // the secret from the registry
}

// NewTokens returns tokens.
func NewTokens(o TokenOptions) (*Tokens, error) {
	if o.Registry == nil || o.Accounts == nil {
		return nil, errors.New("tokens: registry and accounts are required")
	}
	orDefault(&o.TTL, DefaultTokenTTL)
	orDefault(&o.Lifetime, DefaultTokenLifetime)
	orDefault(&o.MaxTokens, DefaultMaxTokens)
	if o.TTL < time.Second || o.Lifetime < o.TTL || o.MaxTokens < 1 {
		return nil, errors.New("tokens: TTL is a second at least and no more than lifetime, and there must be room for one token")
	}
	if o.Roles == nil {
		o.Roles = DefaultRoles()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Tokens{o: o}, nil
}

// Required reports whether the configuration has a token, so that calls without one
// are refused.
func (t *Tokens) Required() bool { return t.o.Static != "" }

// Issue makes a token of role user for an account that has logged in.
func (t *Tokens) Issue(ctx context.Context, acct *mail.Account) (string, error) {
	now := t.o.Now().UnixMilli()
	return t.make(ctx, tokenRecord{
		User: acct.ID.String(), Role: RoleUser, Created: now, Used: now, TTL: int64(t.o.TTL / time.Second), AuthVersion: &acct.AuthVersion,
	})
}

// Provision makes a token of a role that never expires. user is an account id or a
// free name of at most 128 visible ASCII characters. Errors: Invalid, NoAccount.
func (t *Tokens) Provision(ctx context.Context, user, role string) (string, error) {
	if !t.o.Roles.Has(role) {
		return "", mail.NewError(mail.CodeInvalid, fmt.Sprintf("There is no role %q", role))
	}
	if !validTokenUser(user) {
		return "", mail.NewError(mail.CodeInvalid, "A token is for an account id or a name of 1 to 128 visible ASCII characters")
	}
	rec := tokenRecord{User: user, Role: role, Created: t.o.Now().UnixMilli()}
	id, err := parseAccount(user)
	switch {
	case err == nil:
		rec.User = id.String()
		acct, err := t.o.Accounts.Account(ctx, id)
		if err != nil {
			return "", fmt.Errorf("read the account of a token: %w", err)
		}
		rec.AuthVersion = &acct.AuthVersion
	case role == RoleUser:
		return "", mail.NewError(mail.CodeInvalid, "A token of role user is for an account id")
	}
	return t.make(ctx, rec)
}

func validTokenUser(user string) bool {
	if user == "" || len(user) > maxTokenUser {
		return false
	}
	for i := range len(user) {
		if user[i] <= ' ' || user[i] >= 0x7f {
			return false
		}
	}
	return true
}

// make stores a new token. It is in the user's list before it works, so that no
// token works that a removal of all would miss.
func (t *Tokens) make(ctx context.Context, rec tokenRecord) (string, error) {
	var raw [tokenBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	token := hex.EncodeToString(raw[:])
	if err := t.tidy(ctx, rec.User); err != nil {
		return "", err
	}
	entry := fmt.Appendf(nil, "%d %d", rec.Created, rec.TTL)
	if err := t.o.Registry.PutRecord(ctx, kindUserTokens(rec.User), tokenKey(token), entry); err != nil {
		return "", trouble("store token", err)
	}
	if err := t.put(ctx, token, &rec); err != nil {
		return "", err
	}
	return token, nil
}

// listed is a token in a user's list, where its value is "created ttl".
type listed struct {
	key          string
	created, ttl int64 // ms since the epoch, s
}

// tidy removes those of a user's tokens that are older than any may be, and the
// oldest ones when there is no room for another.
func (t *Tokens) tidy(ctx context.Context, user string) error {
	var live, dead []listed
	oldest := t.o.Now().Add(-t.o.Lifetime).UnixMilli()
	for key, value := range t.o.Registry.Records(ctx, kindUserTokens(user)) {
		l := listed{key: key}
		if _, err := fmt.Sscanf(string(value), "%d %d", &l.created, &l.ttl); err != nil || l.ttl > 0 && l.created <= oldest {
			dead = append(dead, l)
			continue
		}
		live = append(live, l)
	}
	if over := len(live) + 1 - t.o.MaxTokens; over > 0 {
		slices.SortFunc(live, func(a, b listed) int { return cmp.Compare(a.created, b.created) })
		dead = append(dead, live[:over]...)
	}
	for _, l := range dead {
		if err := t.remove(ctx, l.key, user); err != nil {
			return err
		}
	}
	return nil
}

// Resign gives a token the account's present AuthVersion, so that the call that
// changed a password keeps its own token while all others die. A token that is
// another user's is left alone. Errors: AuthFailed.
func (t *Tokens) Resign(ctx context.Context, token string, acct *mail.Account) error {
	return t.change(ctx, token, func(rec *tokenRecord) {
		if rec.User == acct.ID.String() {
			rec.AuthVersion = &acct.AuthVersion
		}
	})
}

// Revoke removes a token; one that does not exist is no error.
func (t *Tokens) Revoke(ctx context.Context, token string) error {
	rec, err := t.verified(ctx, token)
	if mail.CodeOf(err) == mail.CodeAuthFailed {
		return nil
	}
	if err != nil {
		return err
	}
	return t.remove(ctx, tokenKey(token), rec.User)
}

// RevokeAll removes all tokens of a user, an account id or a free name, and returns
// how many there were. The tokens of a deleted account do not work in any case; this
// makes room.
func (t *Tokens) RevokeAll(ctx context.Context, user string) (int, error) {
	if !validTokenUser(user) {
		return 0, nil
	}
	var keys []string
	for key := range t.o.Registry.Records(ctx, kindUserTokens(user)) {
		keys = append(keys, key)
	}
	for i, key := range keys {
		if err := t.remove(ctx, key, user); err != nil {
			return i, err
		}
	}
	return len(keys), nil
}

// remove takes away a token, then its entry in the user's list.
func (t *Tokens) remove(ctx context.Context, key, user string) error {
	defer t.locks.lock(key)()
	if err := t.o.Registry.PutRecord(ctx, kindToken, key, nil); err != nil {
		return trouble("remove token", err)
	}
	if !validTokenUser(user) {
		return nil
	}
	if err := t.o.Registry.PutRecord(ctx, kindUserTokens(user), key, nil); err != nil {
		return trouble("remove token", err)
	}
	return nil
}

// stripes are locks for keys: one for all keys of the same first digit pair.
type stripes [256]sync.Mutex

// lock takes the lock of a hexadecimal key and returns what releases it.
func (s *stripes) lock(key string) (unlock func()) {
	var n uint64
	if len(key) >= 2 {
		n, _ = strconv.ParseUint(key[:2], 16, 8)
	}
	mu := &s[n]
	mu.Lock()
	return mu.Unlock
}
