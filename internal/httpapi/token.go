package httpapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"mallard/internal/mail"
)

// tokenKind is the kind of the records that hold access tokens.
const tokenKind = "api-token"

// tokenLen is the length of a generated token in hexadecimal digits.
const tokenLen = 40

// Token life when nothing else is configured.
const (
	defaultTokenTTL      = 14 * 24 * time.Hour
	defaultTokenLifetime = 180 * 24 * time.Hour
)

// roleRoot is the role of calls without a token when none is needed.
const (
	roleRoot = "root"
	roleUser = "user"
)

// Registry keeps access tokens. store.Store is one.
type Registry interface {
	PutRecord(ctx context.Context, kind, key string, value []byte) error
	Record(ctx context.Context, kind, key string) ([]byte, error)
}

// tokenRecord is a token as it is stored, under the hash of its text. The text
// itself is nowhere.
type tokenRecord struct {
	User        string `json:"user"` // account id, or a free name
	Role        string `json:"role"`
	Created     int64  `json:"created"`       // ms since the epoch
	Used        int64  `json:"used"`          // ms, of about the last use
	TTL         int64  `json:"ttl,omitempty"` // seconds; 0 for ever
	AuthVersion int64  `json:"authVersion,omitempty"`
	Signature   string `json:"s"`
}

// principal is who calls.
type principal struct {
	role string
	// user is the account of a user's token, zero for others.
	user mail.AccountID
	// token is the text of the generated token, "" without one.
	token string
}

// tokens makes and checks access tokens.
type tokens struct {
	records  Registry
	accounts func(ctx context.Context, id mail.AccountID) (*mail.Account, error)
	secret   secret
	ttl      time.Duration
	lifetime time.Duration
	now      func() time.Time
}

func newTokenText() (string, error) {
	var raw [tokenLen / 2]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return hex.EncodeToString(raw[:]), nil
}

// secret is the key that signs tokens: the configured one, or one that is made
// at first need and kept in the registry.
type secret struct {
	configured string

	mu   sync.Mutex
	made []byte
}

// secretKind and secretName say where the made secret is.
const (
	secretKind = "api-secret"
	secretName = "token"
)

func (s *secret) get(ctx context.Context, records Registry) ([]byte, error) {
	if s.configured != "" {
		return []byte(s.configured), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made != nil {
		return s.made, nil
	}
	key, err := records.Record(ctx, secretKind, secretName)
	if err != nil && mail.CodeOf(err) == mail.CodeNotFound {
		key = []byte(rand.Text() + rand.Text())
		err = records.PutRecord(ctx, secretKind, secretName, key)
	}
	if err != nil {
		return nil, fmt.Errorf("get the secret of tokens: %w", err)
	}
	s.made = bytes.Clone(key)
	return s.made, nil
}

// issue makes a token for a user.
func (t *tokens) issue(ctx context.Context, acct *mail.Account) (string, error) {
	text, err := newTokenText()
	if err != nil {
		return "", err
	}
	now := t.now().UnixMilli()
	rec := tokenRecord{
		User: acct.ID.String(), Role: roleUser, Created: now, Used: now,
		TTL: int64(t.ttl / time.Second), AuthVersion: acct.AuthVersion,
	}
	return text, t.put(ctx, text, rec)
}

// Provision stores a token of a role that never expires. user may be a free name.
func (a *API) Provision(ctx context.Context, user, role string) (string, error) {
	if _, ok := a.roles[role]; !ok {
		return "", mail.NewError(mail.CodeInvalid, "there is no role "+role)
	}
	text, err := newTokenText()
	if err != nil {
		return "", err
	}
	rec := tokenRecord{User: user, Role: role, Created: a.tokens.now().UnixMilli()}
	return text, a.tokens.put(ctx, text, rec)
}

func (t *tokens) put(ctx context.Context, text string, rec tokenRecord) error {
	sig, err := t.sign(ctx, text, rec)
	if err != nil {
		return err
	}
	rec.Signature = sig
	value, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	if err := t.records.PutRecord(ctx, tokenKind, tokenKey(text), value); err != nil {
		return fmt.Errorf("store token: %w", err)
	}
	return nil
}

// sign makes a record worthless to those who can write the store but do not
// know the secret.
func (t *tokens) sign(ctx context.Context, text string, rec tokenRecord) (string, error) {
	type signed struct {
		Token       string `json:"token"`
		User        string `json:"user"`
		AuthVersion int64  `json:"authVersion,omitempty"`
		Role        string `json:"role"`
	}
	b, err := json.Marshal(signed{text, rec.User, rec.AuthVersion, rec.Role})
	if err != nil {
		return "", fmt.Errorf("encode token for signing: %w", err)
	}
	key, err := t.secret.get(ctx, t.records)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return hex.EncodeToString(mac.Sum(nil)), nil
}

func tokenKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// check returns the caller that a token stands for. It fails with errToken when
// the token is no good.
func (t *tokens) check(ctx context.Context, text string) (principal, error) {
	if len(text) != tokenLen || !isHex(text) {
		return principal{}, errToken()
	}
	value, err := t.records.Record(ctx, tokenKind, tokenKey(text))
	if mail.CodeOf(err) == mail.CodeNotFound && err != nil {
		return principal{}, errToken()
	}
	if err != nil {
		return principal{}, fmt.Errorf("read token: %w", err)
	}
	var rec tokenRecord
	if json.Unmarshal(value, &rec) != nil {
		return principal{}, errToken()
	}
	sig, err := t.sign(ctx, text, rec)
	if err != nil {
		return principal{}, err
	}
	if !hmac.Equal([]byte(rec.Signature), []byte(sig)) {
		return principal{}, errToken()
	}
	now := t.now()
	if t.expired(rec, now) {
		if err := t.revoke(ctx, text); err != nil {
			return principal{}, err
		}
		return principal{}, errToken()
	}
	p := principal{role: rec.Role, token: text}
	if p.user, err = t.owner(ctx, rec); err != nil {
		return principal{}, err
	}
	return p, t.touch(ctx, text, rec, now)
}

func (t *tokens) expired(rec tokenRecord, now time.Time) bool {
	if rec.TTL <= 0 {
		return false
	}
	used := time.UnixMilli(rec.Used).Add(time.Duration(rec.TTL) * time.Second)
	return now.After(used) || now.After(time.UnixMilli(rec.Created).Add(t.lifetime))
}

// owner returns the account of a token whose user is one, if it still stands.
func (t *tokens) owner(ctx context.Context, rec tokenRecord) (mail.AccountID, error) {
	var id mail.AccountID
	if err := id.UnmarshalText([]byte(rec.User)); err != nil {
		if rec.Role == roleUser {
			return mail.AccountID{}, errToken()
		}
		return mail.AccountID{}, nil
	}
	acct, err := t.accounts(ctx, id)
	switch {
	case err != nil && mail.CodeOf(err) == mail.CodeNoAccount:
		return mail.AccountID{}, errToken()
	case err != nil:
		return mail.AccountID{}, fmt.Errorf("read the account of a token: %w", err)
	case rec.AuthVersion < acct.AuthVersion:
		return mail.AccountID{}, errToken()
	}
	return acct.ID, nil
}

// touch renews the life of a token, not more than a hundred times in it: each
// time is a write.
func (t *tokens) touch(ctx context.Context, text string, rec tokenRecord, now time.Time) error {
	step := rec.TTL * 1000 / 100
	if rec.TTL <= 0 || now.UnixMilli()-rec.Used < step {
		return nil
	}
	rec.Used = now.UnixMilli()
	return t.put(ctx, text, rec)
}

// renew signs a token again for the account's present version, so that the call
// which changed a password keeps its token.
func (t *tokens) renew(ctx context.Context, text string, acct *mail.Account) error {
	value, err := t.records.Record(ctx, tokenKind, tokenKey(text))
	if err != nil {
		return fmt.Errorf("read token: %w", err)
	}
	var rec tokenRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return fmt.Errorf("decode token: %w", err)
	}
	rec.AuthVersion = acct.AuthVersion
	return t.put(ctx, text, rec)
}

// revoke removes a token.
func (t *tokens) revoke(ctx context.Context, text string) error {
	if err := t.records.PutRecord(ctx, tokenKind, tokenKey(text), nil); err != nil {
		return fmt.Errorf("remove token: %w", err)
	}
	return nil
}

// tokenParam is the name of the query parameter that may hold a token.
const tokenParam = "accessToken"

// presentedToken returns the token of a request, "" when there is none.
func presentedToken(r *http.Request, query *object) string {
	if v, ok := query.get(tokenParam); ok {
		if s, ok := v.(string); ok && s != "" {
			return s
		}
		if _, many := v.([]any); many {
			return "?" // never valid
		}
	}
	if s := r.Header.Get("X-Access-Token"); s != "" {
		return s
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(value)
	}
	return ""
}

// authenticate finds out who calls.
func (a *API) authenticate(ctx context.Context, r *http.Request, query *object) (principal, error) {
	text := presentedToken(r, query)
	static := a.opt.AccessToken
	if text == "" {
		if static != "" || a.opt.AccessControl {
			return principal{}, errToken()
		}
		return principal{role: roleRoot}, nil
	}
	if static != "" && subtle.ConstantTimeCompare([]byte(text), []byte(static)) == 1 {
		return principal{role: roleRoot}, nil
	}
	p, err := a.tokens.check(ctx, text)
	if err != nil {
		return principal{}, err
	}
	if _, ok := a.roles[p.role]; !ok {
		return principal{}, errToken()
	}
	return p, nil
}

// authorize asks whether the caller may make this call, and drops the
// parameters that the role may not write.
func (c *call) authorize(r *Route, in any) error {
	if r.Perm.Scope == ScopeOpen || r.Perm.Scope == ScopeHandler {
		return nil
	}
	g, ok := c.api.roles.find(c.caller.role, r.Perm.Resource, r.Perm.Action)
	if !ok {
		return errPrivileges()
	}
	if g.own {
		switch r.Perm.Scope {
		case ScopeAny:
			return errPrivileges()
		case ScopeUser:
			if !c.owns(in) {
				return errPrivileges()
			}
		case ScopeListing:
			if c.caller.user.IsZero() {
				return errPrivileges()
			}
		}
	}
	c.grant = g
	if r.Perm.Action == "create" || r.Perm.Action == "update" {
		dropFields(r.in, g, in)
	}
	return nil
}

// owns reports whether the user in the path is the caller.
func (c *call) owns(in any) bool {
	u, ok := in.(interface{ account() mail.AccountID })
	return ok && !c.caller.user.IsZero() && u.account() == c.caller.user
}
