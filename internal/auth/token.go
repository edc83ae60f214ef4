package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mallard/internal/mail"
)

// The kinds of records that hold tokens.
const (
	kindToken  = "token"        // by the SHA-256 of the token
	kindSecret = "token-secret" // the key that signs tokens when none is configured
)

// kindUserTokens holds the keys of a user's tokens, so that they can be found.
func kindUserTokens(user string) string { return "token-user:" + user }

// secretName is the key of the only record of kindSecret.
const secretName = "secret"

// tokenBytes is the length of a token: 160 random bits, 40 hexadecimal digits.
const tokenBytes = 20

// Limits of tokens.
const (
	DefaultTokenTTL      = 14 * 24 * time.Hour
	DefaultTokenLifetime = 180 * 24 * time.Hour
	DefaultMaxTokens     = 1000
	// tokenStep is how often a use renews a token at most: each time is a write.
	tokenStep = time.Minute
	// maxTokenUser bounds the name that a token is for, in octets.
	maxTokenUser = 128
)

// tokenRecord is what is stored of a token. The token itself is nowhere. The members
// are those of WildDuck, and Used, which there is the age of a Redis key.
type tokenRecord struct {
	User        string `json:"user"` // account id, or a free name
	Role        string `json:"role"`
	Created     int64  `json:"created"`        // ms since the epoch
	TTL         int64  `json:"ttl,omitempty"`  // s; 0 for a token that never expires
	Used        int64  `json:"used,omitempty"` // ms, of the last renewal
	AuthVersion *int64 `json:"authVersion,omitempty"`
	Signature   string `json:"s"`
}

// sign returns the HMAC-SHA256 over the token and what it gives access to. A record
// is thus worthless to those who can write the store but do not have the key.
func (r *tokenRecord) sign(key []byte, token string) (string, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Token       string `json:"token"`
		User        string `json:"user"`
		AuthVersion *int64 `json:"authVersion,omitempty"`
		Role        string `json:"role"`
	}{token, r.User, r.AuthVersion, r.Role})
	if err != nil {
		return "", fmt.Errorf("encode token for signing: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// expired reports whether a token has not been used for its TTL, or is older than
// any token may be.
func (r *tokenRecord) expired(now time.Time, lifetime time.Duration) bool {
	if r.TTL <= 0 {
		return false
	}
	created := time.UnixMilli(r.Created)
	used := time.UnixMilli(max(r.Used, r.Created))
	return now.Sub(used) >= time.Duration(r.TTL)*time.Second || now.Sub(created) >= lifetime
}

// Grant is who calls the API.
type Grant struct {
	Role string
	// User is the account id or the free name that a token was made for.
	User string
	// Account is set when User is the id of an account.
	Account *mail.Account
	// Static says that it is the token of the configuration.
	Static bool
}

func badToken(cause string) error {
	return mail.WrapError(mail.CodeAuthFailed, "Invalid accessToken value", errors.New(cause))
}

// Check returns what a token gives access to, and renews its life. Errors:
// AuthFailed.
func (t *Tokens) Check(ctx context.Context, token string) (*Grant, error) {
	if t.isStatic(token) {
		return &Grant{Role: RoleRoot, Static: true}, nil
	}
	if len(token) != 2*tokenBytes || !isHex(token) {
		return nil, badToken("not a token")
	}
	rec, err := t.verified(ctx, token)
	if err != nil {
		return nil, err
	}
	now := t.o.Now()
	if rec.expired(now, t.o.Lifetime) {
		return nil, t.kill(ctx, token, rec, "expired")
	}
	if !t.o.Roles.Has(rec.Role) {
		return nil, badToken("no such role")
	}
	g := &Grant{Role: rec.Role, User: rec.User}
	if g.Account, err = t.owner(ctx, token, rec); err != nil {
		return nil, err
	}
	if rec.TTL > 0 && now.Sub(time.UnixMilli(rec.Used)) >= tokenStep {
		t.renew(ctx, token, now)
	}
	return g, nil
}

// isStatic compares with the configured token in a time that tells neither its
// length nor how much of it was right.
func (t *Tokens) isStatic(token string) bool {
	if t.o.Static == "" {
		return false
	}
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(t.o.Static))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// verified reads the record of a token and checks its signature.
func (t *Tokens) verified(ctx context.Context, token string) (*tokenRecord, error) {
	value, err := t.o.Registry.Record(ctx, kindToken, tokenKey(token))
	if mail.CodeOf(err) == mail.CodeNotFound {
		return nil, badToken("unknown token")
	}
	if err != nil {
		return nil, trouble("read token", err)
	}
	var rec tokenRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return nil, badToken("damaged record")
	}
	key, err := t.secret(ctx)
	if err != nil {
		return nil, err
	}
	want, err := rec.sign(key, token)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(want), []byte(rec.Signature)) {
		return nil, badToken("wrong signature")
	}
	return &rec, nil
}

// owner returns the account of a token, nil when it is for a free name. A token dies
// with its account and when the account's AuthVersion passes it; while the account
// is disabled or suspended it only does not work.
func (t *Tokens) owner(ctx context.Context, token string, rec *tokenRecord) (*mail.Account, error) {
	id, err := parseAccount(rec.User)
	if err != nil {
		if rec.Role == RoleUser {
			return nil, badToken("a user token without an account")
		}
		return nil, nil
	}
	acct, err := t.o.Accounts.Account(ctx, id)
	if mail.CodeOf(err) == mail.CodeNoAccount {
		return nil, t.kill(ctx, token, rec, "the account is gone")
	}
	if err != nil {
		return nil, trouble("read the account of a token", err)
	}
	var version int64
	if rec.AuthVersion != nil {
		version = *rec.AuthVersion
	}
	if version < acct.AuthVersion {
		return nil, t.kill(ctx, token, rec, "superseded")
	}
	if acct.Disabled || acct.Suspended {
		return nil, badToken("the account is disabled")
	}
	return acct, nil
}

// kill removes a token that can never work again and returns the error to answer.
func (t *Tokens) kill(ctx context.Context, token string, rec *tokenRecord, cause string) error {
	if err := t.remove(ctx, tokenKey(token), rec.User); err != nil {
		t.o.Log.Warn("cannot remove a dead token", "error", err)
	}
	return badToken(cause)
}

// renew starts the TTL of a token anew. The record is read again under the lock that
// removal takes too, or a token that is revoked meanwhile would come back. (The lock
// is that of this process: a registry that several share must itself see to it that
// no renewal of a removed record brings it back.)
func (t *Tokens) renew(ctx context.Context, token string, now time.Time) {
	err := t.change(ctx, token, func(rec *tokenRecord) { rec.Used = now.UnixMilli() })
	if err != nil && mail.CodeOf(err) != mail.CodeAuthFailed {
		t.o.Log.Warn("cannot renew a token", "error", err)
	}
}

// change modifies and signs the record of a token.
func (t *Tokens) change(ctx context.Context, token string, modify func(*tokenRecord)) error {
	key := tokenKey(token)
	defer t.locks.lock(key)()
	rec, err := t.verified(ctx, token)
	if err != nil {
		return err
	}
	modify(rec)
	return t.put(ctx, token, rec)
}

// put signs and stores a record.
func (t *Tokens) put(ctx context.Context, token string, rec *tokenRecord) error {
	key, err := t.secret(ctx)
	if err != nil {
		return err
	}
	if rec.Signature, err = rec.sign(key, token); err != nil {
		return err
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	if err := t.o.Registry.PutRecord(ctx, kindToken, tokenKey(token), value); err != nil {
		return trouble("store token", err)
	}
	return nil
}

// secret is the key that signs tokens.
func (t *Tokens) secret(ctx context.Context) ([]byte, error) {
	if t.o.Secret != "" {
		return []byte(t.o.Secret), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.made != nil {
		return t.made, nil
	}
	key, err := t.o.Registry.Record(ctx, kindSecret, secretName)
	if mail.CodeOf(err) == mail.CodeNotFound {
		key = []byte(rand.Text() + rand.Text())
		err = t.o.Registry.PutRecord(ctx, kindSecret, secretName, key)
	}
	if err != nil {
		return nil, trouble("get the key of tokens", err)
	}
	t.made = bytes.Clone(key)
	return t.made, nil
}

func tokenKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func isHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func parseAccount(s string) (id mail.AccountID, err error) {
	err = id.UnmarshalText([]byte(s))
	return id, err
}
