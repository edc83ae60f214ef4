package redisrecord

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/auth"
	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
	"mallard/internal/testserver"
)

// conn is a connection to the test's Redis.
type conn struct {
	client *redis.Client
	down   bool
}

func (c *conn) Client() *redis.Client { return c.client }

func (c *conn) Do(ctx context.Context, f func(context.Context) error) error {
	if c.down {
		return mail.WrapError(mail.CodeUnavailable, "", errors.New("down"))
	}
	return f(ctx)
}

func connect(t *testing.T) *conn {
	t.Helper()
	o, err := redis.ParseURL(testserver.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	o.Protocol = 2
	c := &conn{client: redis.NewClient(o)}
	t.Cleanup(func() { c.client.Close() })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// registry is a registry of which the tokens are in Redis.
type registry struct {
	store.Registry
	tokens *Tokens
}

func (r registry) PutRecord(ctx context.Context, kind, key string, value []byte) error {
	if kind == "token" {
		return r.tokens.PutRecord(ctx, key, value)
	}
	return r.Registry.PutRecord(ctx, kind, key, value)
}

func (r registry) Record(ctx context.Context, kind, key string) ([]byte, error) {
	if kind == "token" {
		return r.tokens.Record(ctx, key)
	}
	return r.Registry.Record(ctx, kind, key)
}

// accounts is one account.
type accounts struct{ acct *mail.Account }

func (a accounts) Account(_ context.Context, id mail.AccountID) (*mail.Account, error) {
	if id != a.acct.ID {
		return nil, mail.NewError(mail.CodeNoAccount, "no such account")
	}
	c := *a.acct
	return &c, nil
}

func (a accounts) UpdateAccount(context.Context, mail.AccountID, func(*mail.Account) error) (*mail.Account, error) {
	return nil, errors.New("a token changes no account")
}

type fixture struct {
	t    *testing.T
	conn *conn
	auth *auth.Tokens
	acct *mail.Account
	now  time.Time
}

// The secret, the token and the hash that a running WildDuck made of them.
const (
	secret = "a secret cat"
	token1 = "23861d2de9884f9878283f3c78f4a9b44e06acb3"
	hash1  = "d5dfee0b71c175abb20273d3897ef31a75496c005128830b162ce81dbe6278b9"
	user1  = "6b02b4960dc41b48cba6210d"
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	id, err := mail.ParseID[struct{}](user1)
	must(t, err)
	f := &fixture{t: t, conn: connect(t), acct: &mail.Account{ID: mail.AccountID(id), AuthVersion: 1, Activated: true}, now: time.Now()}
	f.auth = f.tokens()
	return f
}

// tokens is what a node has.
func (f *fixture) tokens() *auth.Tokens {
	f.t.Helper()
	clock := func() time.Time { return f.now }
	tokens, err := auth.NewTokens(auth.TokenOptions{
		Registry: registry{memstore.New(memstore.Options{}), NewTokens(f.conn, clock)}, Accounts: accounts{f.acct}, Secret: secret, Now: clock,
	})
	must(f.t, err)
	return tokens
}

// A token that WildDuck made works here, and is renewed as there.
func TestTokenOfWildDuck(t *testing.T) {
	f := newFixture(t)
	key := "tn:token:" + hash1
	made := map[string]any{
		"user": user1, "role": "user", "created": "1795339431841", "ttl": "1209600", "authVersion": "1",
		"s": "f81be0f9d939d09cd3cc190c2bc43923edd983e7499835be1b06d7a376dd930d",
	}
	f.now = time.UnixMilli(1795339431841).Add(time.Hour)
	must(t, f.conn.client.HSet(t.Context(), key, made).Err())
	must(t, f.conn.client.Expire(t.Context(), key, 1208000*time.Second).Err())
	g, err := f.auth.Check(t.Context(), token1)
	if err != nil || g.Account == nil || g.Account.ID != f.acct.ID || g.Role != auth.RoleUser {
		t.Fatalf("grant %+v, %v", g, err)
	}
	got, err := f.conn.client.HGetAll(t.Context(), key).Result()
	must(t, err)
	want := map[string]string{}
	for k, v := range made {
		want[k] = v.(string)
	}
	if !maps.Equal(got, want) {
		t.Errorf("after its use the hash is %v, want %v", got, want)
	}
	if left := f.conn.client.PTTL(t.Context(), key).Val(); left < 1209500*time.Second || left > 1209600*time.Second {
		t.Errorf("it lives for %v, want 14 days", left)
	}
	f.acct.AuthVersion = 2
	if _, err := f.auth.Check(t.Context(), token1); mail.CodeOf(err) != mail.CodeAuthFailed {
		t.Errorf("a token of before the change of the password: %v", err)
	}
}

// A token that was written by hand has no time to live before its first use.
func TestTokenWithoutExpiry(t *testing.T) {
	f := newFixture(t)
	tok, err := f.auth.Provision(t.Context(), "auditor", auth.RoleRoot)
	must(t, err)
	keys := f.conn.client.Keys(t.Context(), "tn:token:*").Val()
	if len(keys) != 1 {
		t.Fatalf("keys %q", keys)
	}
	hash := f.conn.client.HGetAll(t.Context(), keys[0]).Val()
	if _, has := hash["ttl"]; has || hash["user"] != "auditor" || hash["role"] != "root" || hash["authVersion"] != "" || len(hash["s"]) != 64 {
		t.Errorf("hash is %v", hash)
	}
	if left := f.conn.client.PTTL(t.Context(), keys[0]).Val(); left > 0 {
		t.Errorf("it lives for %v", left)
	}
	f.now = f.now.Add(1000 * 24 * time.Hour)
	if g, err := f.auth.Check(t.Context(), tok); err != nil || g.User != "auditor" {
		t.Errorf("grant %+v, %v", g, err)
	}
	must(t, f.conn.client.HSet(t.Context(), keys[0], "ttl", 3600, "created", f.now.UnixMilli()).Err())
	if _, err := f.auth.Check(t.Context(), tok); err != nil {
		t.Errorf("with a time to live: %v", err)
	}
	if left := f.conn.client.PTTL(t.Context(), keys[0]).Val(); left < time.Minute || left > time.Hour {
		t.Errorf("after its first use it lives for %v, want some of an hour", left)
	}
}

// What is issued here is a hash that WildDuck understands, seen by every node.
func TestTokenOfOurs(t *testing.T) {
	f := newFixture(t)
	tok, err := f.auth.Issue(t.Context(), f.acct)
	must(t, err)
	key := f.conn.client.Keys(t.Context(), "tn:token:*").Val()[0]
	hash := f.conn.client.HGetAll(t.Context(), key).Val()
	names := slices.Sorted(maps.Keys(hash))
	if want := []string{"authVersion", "created", "role", "s", "ttl", "user"}; !slices.Equal(names, want) {
		t.Errorf("members are %q, want %q", names, want)
	}
	if hash["ttl"] != "1209600" || hash["authVersion"] != "1" || hash["user"] != user1 {
		t.Errorf("hash is %v", hash)
	}
	other := f.tokens()
	if g, err := other.Check(t.Context(), tok); err != nil || g.Account == nil {
		t.Errorf("another node: %+v, %v", g, err)
	}
	must(t, other.Revoke(t.Context(), tok))
	if _, err := f.auth.Check(t.Context(), tok); mail.CodeOf(err) != mail.CodeAuthFailed {
		t.Errorf("a token that another node revoked: %v", err)
	}
}

// A renewal that was on its way when another node removed the token does not bring it back.
func TestRemovedTokenStaysAway(t *testing.T) {
	f := newFixture(t)
	_, err := f.auth.Issue(t.Context(), f.acct)
	must(t, err)
	tokens := NewTokens(f.conn, nil)
	key := ""
	var value []byte
	for k, v := range tokens.Records(t.Context()) {
		key, value = k, v
	}
	var tok token
	must(t, json.Unmarshal(value, &tok))
	tok.Used += 60_000
	renewal, err := json.Marshal(tok)
	must(t, err)
	gone := func(what string) {
		t.Helper()
		for _, late := range [][]byte{renewal, value} {
			must(t, tokens.PutRecord(t.Context(), key, late))
			if _, err := tokens.Record(t.Context(), key); err == nil || mail.CodeOf(err) != mail.CodeNotFound {
				t.Errorf("%s: the token is back (%v)", what, err)
			}
		}
	}
	must(t, tokens.PutRecord(t.Context(), key, nil))
	gone("removed by us")
	if left := f.conn.client.PTTL(t.Context(), "mallard:no-token:"+key).Val(); left <= 0 {
		t.Errorf("what was removed is remembered for %v", left)
	}
	// WildDuck removes the hash and leaves no trace: a renewal must still not make it.
	must(t, f.conn.client.Del(t.Context(), "mallard:no-token:"+key).Err())
	must(t, tokens.PutRecord(t.Context(), key, renewal))
	if _, err := tokens.Record(t.Context(), key); mail.CodeOf(err) != mail.CodeNotFound {
		t.Errorf("removed by WildDuck: %v", err)
	}
}

func TestNoToken(t *testing.T) {
	c := connect(t)
	tokens := NewTokens(c, nil)
	if err := tokens.PutRecord(t.Context(), "k", []byte("{")); mail.CodeOf(err) != mail.CodeInvalid {
		t.Errorf("not JSON: %v", err)
	}
	c.down = true
	if _, err := tokens.Record(t.Context(), "k"); mail.CodeOf(err) != mail.CodeUnavailable {
		t.Errorf("without Redis: %v", err)
	}
	for k := range tokens.Records(t.Context()) {
		t.Errorf("without Redis there is %s", k)
	}
}

func TestAccounts(t *testing.T) {
	c := connect(t)
	id := mail.AccountID{7}
	must(t, c.client.HSet(t.Context(), "cached:"+id.String(), "quota", 5).Err())
	a := NewAccounts(c)
	must(t, a.Forget(t.Context(), id))
	if n := c.client.Exists(t.Context(), "cached:"+id.String()).Val(); n != 0 {
		t.Error("the limits are still cached")
	}
	must(t, a.Features(t.Context(), id, []string{"indexing", "x"}, nil))
	must(t, a.Features(t.Context(), id, nil, []string{"x"}))
	if !c.client.SIsMember(t.Context(), "feature:indexing", id.String()).Val() || c.client.Exists(t.Context(), "feature:x").Val() != 0 {
		t.Error("the sets of feature flags are wrong")
	}
	c.down = true
	if err := a.Forget(t.Context(), id); mail.CodeOf(err) != mail.CodeUnavailable {
		t.Errorf("without Redis: %v", err)
	}
}
