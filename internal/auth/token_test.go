package auth_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mallard/internal/account"
	"mallard/internal/auth"
	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

type tokenEnv struct {
	*auth.Tokens
	t        *testing.T
	db       *memstore.Store
	accounts *account.Service
	logs     bytes.Buffer
	writes   func() int // since the last call
}

func newTokenEnv(t *testing.T, change ...func(*auth.TokenOptions)) *tokenEnv {
	t.Helper()
	var mu sync.Mutex
	writes := 0
	e := &tokenEnv{t: t, writes: func() int {
		mu.Lock()
		defer mu.Unlock()
		n := writes
		writes = 0
		return n
	}}
	e.db = memstore.New(memstore.Options{Mangle: true, Fault: func(op string) error {
		if op == "PutRecord" {
			mu.Lock()
			writes++
			mu.Unlock()
		}
		return nil
	}})
	var err error
	if e.accounts, err = account.New(account.Options{Store: e.db, Hasher: &plain{}}); err != nil {
		t.Fatal(err)
	}
	o := auth.TokenOptions{Registry: e.db, Accounts: e.db, Secret: "a secret cat", Log: slog.New(slog.NewTextHandler(&e.logs, nil))}
	for _, f := range change {
		f(&o)
	}
	if e.Tokens, err = auth.NewTokens(o); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *tokenEnv) user(name string) *mail.Account {
	e.t.Helper()
	a, err := e.accounts.Create(e.t.Context(), account.NewUser{Username: name})
	if err != nil {
		e.t.Fatal(err)
	}
	return a
}

func (e *tokenEnv) issue(a *mail.Account) string {
	e.t.Helper()
	token, err := e.Issue(e.t.Context(), a)
	if err != nil || len(token) != 40 {
		e.t.Fatalf("token %q, %v", token, err)
	}
	return token
}

func (e *tokenEnv) wantGrant(token, role, user string) *auth.Grant {
	e.t.Helper()
	g, err := e.Check(e.t.Context(), token)
	if err != nil || g.Role != role || g.User != user {
		e.t.Fatalf("grant %+v, %v; want %s for %s", g, err, role, user)
	}
	return g
}

func (e *tokenEnv) wantBad(token string) {
	e.t.Helper()
	g, err := e.Check(e.t.Context(), token)
	if err == nil || mail.CodeOf(err) != mail.CodeAuthFailed || g != nil || mail.PublicText(err) != "Invalid accessToken value" {
		e.t.Errorf("a bad token gave %+v, %v", g, err)
	}
}

// records returns what is stored under the kinds of a user's tokens.
func (e *tokenEnv) records(kind string) map[string]string {
	out := map[string]string{}
	for k, v := range e.db.Records(e.t.Context(), kind) {
		out[k] = string(v)
	}
	return out
}

// TestSignatureOfWildDuck checks a record as WildDuck wrote it.
func TestSignatureOfWildDuck(t *testing.T) {
	e := newTokenEnv(t, func(o *auth.TokenOptions) {
		o.Now = func() time.Time { return time.UnixMilli(1795339431841 + 1000) }
	})
	const id = "6b02b4960dc41b48cba6210d"
	put := func(value string) {
		if err := e.db.PutRecord(t.Context(), "token", "d5dfee0b71c175abb20273d3897ef31a75496c005128830b162ce81dbe6278b9", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	const good = `{"user":"` + id + `","role":"user","created":1795339431841,"ttl":1209600,"authVersion":1,"s":"f81be0f9d939d09cd3cc190c2bc43923edd983e7499835be1b06d7a376dd930d"}`
	row := store.NewAccount{Account: mail.Account{Username: "bob", AuthVersion: 1}, View: "bob", Mailboxes: []mail.Mailbox{{Path: mail.Inbox}}}
	if err := row.Account.ID.UnmarshalText([]byte(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.db.CreateAccount(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	const token = "23861d2de9884f9878283f3c78f4a9b44e06acb3"
	put(good)
	g := e.wantGrant(token, "user", id)
	if g.Account == nil || g.Account.Username != "bob" {
		t.Errorf("account %+v", g.Account)
	}
	for name, bad := range map[string]string{
		"role":         strings.Replace(good, `"role":"user"`, `"role":"root"`, 1),
		"user":         strings.Replace(good, id, "6b02b4960dc41b48cba6210e", 1),
		"version":      strings.Replace(good, `"authVersion":1`, `"authVersion":2`, 1),
		"no version":   strings.Replace(good, `"authVersion":1,`, ``, 1),
		"no signature": strings.Replace(good, `"s":"f81b`, `"x":"f81b`, 1),
		"signature":    strings.Replace(good, "f81b", "f81c", 1),
		"damage":       good[:50],
		"another type": `[]`,
	} {
		put(bad)
		if g, err := e.Check(t.Context(), token); mail.CodeOf(err) != mail.CodeAuthFailed || err == nil {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
}

// TestSignatureText writes records by hand, with the signature over the text that
// the format prescribes.
func TestSignatureText(t *testing.T) {
	e := newTokenEnv(t)
	const token = "0123456789abcdef0123456789abcdef01234567"
	for name, text := range map[string]string{
		"plain":   `{"token":"` + token + `","user":"auditor","role":"audit"}`,
		"a<b>&c":  `{"token":"` + token + `","user":"a<b>&c","role":"audit"}`,
		"version": `{"token":"` + token + `","user":"version","authVersion":0,"role":"audit"}`,
	} {
		user, version := name, ""
		switch name {
		case "plain":
			user = "auditor"
		case "version":
			version = `"authVersion":0,`
		}
		mac := hmac.New(sha256.New, []byte("a secret cat"))
		mac.Write([]byte(text))
		sum := sha256.Sum256([]byte(token))
		value := fmt.Sprintf(`{"user":%q,"role":"audit","created":1,%s"s":"%x"}`, user, version, mac.Sum(nil))
		if err := e.db.PutRecord(t.Context(), "token", hex.EncodeToString(sum[:]), []byte(value)); err != nil {
			t.Fatal(err)
		}
		e.wantGrant(token, "audit", user)
	}
}

func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTokenEnv(t)
		a := e.user("alice")
		token := e.issue(a)
		if n := len(e.records("token")) + len(e.records("token-user:"+a.ID.String())); n != 2 {
			t.Errorf("%d records", n)
		}
		for _, v := range e.records("token") {
			if strings.Contains(v, token) {
				t.Error("the token is in its record")
			}
		}
		e.writes()
		for range 59 {
			e.wantGrant(token, "user", a.ID.String())
			time.Sleep(time.Second)
		}
		if n := e.writes(); n != 0 {
			t.Errorf("%d writes within a minute", n)
		}
		time.Sleep(time.Second)
		e.wantGrant(token, "user", a.ID.String())
		e.wantGrant(token, "user", a.ID.String())
		if n := e.writes(); n != 1 {
			t.Errorf("%d writes after a minute", n)
		}

		for range 12 { // used in time, it lives on
			time.Sleep(auth.DefaultTokenTTL - time.Second)
			e.wantGrant(token, "user", a.ID.String())
		}
		// 180 days after it was made it ends in any case
		e.wantBad(e.sleep(token, auth.DefaultTokenLifetime-12*(auth.DefaultTokenTTL-time.Second)-60*time.Second))

		unused := e.issue(a)
		e.wantBad(e.sleep(unused, auth.DefaultTokenTTL))
		if n := len(e.records("token")) + len(e.records("token-user:"+a.ID.String())); n != 0 {
			t.Errorf("%d records of dead tokens", n)
		}
		e.issue(a) // never used again: gone when another one is made after its life
		time.Sleep(auth.DefaultTokenLifetime)
		e.issue(a)
		if n := len(e.records("token")) + len(e.records("token-user:"+a.ID.String())); n != 2 {
			t.Errorf("%d records, want those of one token", n)
		}
		for _, s := range []string{token, unused} {
			if strings.Contains(e.logs.String(), s) {
				t.Error("a token is in the log")
			}
		}
	})
}

func (e *tokenEnv) sleep(token string, d time.Duration) string {
	time.Sleep(d)
	return token
}

func TestTokensOfAnAccount(t *testing.T) {
	e := newTokenEnv(t)
	ctx := t.Context()
	alice, bob := e.user("alice"), e.user("bob")
	one, two, other := e.issue(alice), e.issue(alice), e.issue(bob)

	changed, err := e.accounts.Update(ctx, alice.ID, account.Changes{Password: &account.Password{Text: "new"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Resign(ctx, one, changed); err != nil {
		t.Fatal(err)
	}
	if err := e.Resign(ctx, other, changed); err != nil { // not alice's: no effect
		t.Fatal(err)
	}
	e.wantGrant(one, "user", alice.ID.String())
	e.wantBad(two)
	e.wantGrant(other, "user", bob.ID.String())

	if _, err := e.accounts.Update(ctx, bob.ID, account.Changes{Disabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	e.wantBad(other)
	if _, err := e.accounts.Update(ctx, bob.ID, account.Changes{Disabled: new(false)}); err != nil {
		t.Fatal(err)
	}
	e.wantGrant(other, "user", bob.ID.String())
	if _, err := e.accounts.Update(ctx, bob.ID, account.Changes{Suspended: new(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.accounts.Update(ctx, bob.ID, account.Changes{Suspended: new(false)}); err != nil {
		t.Fatal(err)
	}
	e.wantBad(other) // suspension ended it

	three := e.issue(changed)
	if err := e.Revoke(ctx, three); err != nil {
		t.Fatal(err)
	}
	if err := e.Revoke(ctx, three); err != nil {
		t.Errorf("revoked twice: %v", err)
	}
	e.wantBad(three)
	e.issue(changed)
	if n, err := e.RevokeAll(ctx, alice.ID.String()); n != 2 || err != nil {
		t.Errorf("%d revoked, %v", n, err)
	}
	e.wantBad(one)

	four := e.issue(changed)
	if err := e.accounts.Delete(ctx, alice.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	e.wantBad(four)
	if left := len(e.records("token")); left != 0 {
		t.Errorf("%d records are left", left)
	}
}

func TestProvision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTokenEnv(t)
		ctx := t.Context()
		a := e.user("alice")
		token, err := e.Provision(ctx, "audit<or>&co", "audit")
		if err != nil {
			t.Fatal(err)
		}
		mine, err := e.Provision(ctx, strings.ToUpper(a.ID.String()), "webmail")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1000 * 24 * time.Hour)
		if g := e.wantGrant(token, "audit", "audit<or>&co"); g.Account != nil {
			t.Errorf("account %+v", g.Account)
		}
		if g := e.wantGrant(mine, "webmail", a.ID.String()); g.Account == nil {
			t.Error("no account")
		}
		for name, in := range map[string][2]string{
			"role": {"x", "nosuch"}, "user role": {"x", "user"}, "no user": {"", "root"}, "long": {strings.Repeat("x", 129), "root"},
			"control": {"a\nb", "root"}, "space": {"a b", "root"}, "unicode": {"õ", "root"},
		} {
			if _, err := e.Provision(ctx, in[0], in[1]); mail.CodeOf(err) != mail.CodeInvalid {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := e.Provision(ctx, "0123456789abcdef01234567", "user"); mail.CodeOf(err) != mail.CodeNoAccount {
			t.Errorf("for an unknown account: %v", err)
		}
	})
}

func TestRoleThatIsGone(t *testing.T) {
	e := newTokenEnv(t)
	token, err := e.Provision(t.Context(), "x", "audit")
	if err != nil {
		t.Fatal(err)
	}
	roles := auth.DefaultRoles()
	delete(roles, "audit")
	without, err := auth.NewTokens(auth.TokenOptions{Registry: e.db, Accounts: e.db, Secret: "a secret cat", Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := without.Check(t.Context(), token); mail.CodeOf(err) != mail.CodeAuthFailed {
		t.Errorf("%v", err)
	}
	e.wantGrant(token, "audit", "x")
}

func TestBadTokens(t *testing.T) {
	e := newTokenEnv(t, func(o *auth.TokenOptions) { o.Static = "configured" })
	token := e.issue(e.user("alice"))
	for _, bad := range []string{
		"", "x", token[1:], token + "0", strings.ToUpper(token[:39]) + "G", strings.Repeat("f", 40), strings.Repeat("é", 20), "configure", "configuredd",
		token[:39] + "\x00", strings.Repeat("a", 1<<20),
	} {
		e.wantBad(bad)
	}
	if g := e.wantGrant("configured", "root", ""); !g.Static {
		t.Error("not static")
	}
	if !e.Required() || newTokenEnv(t).Required() {
		t.Error("Required")
	}
	newTokenEnv(t).wantBad("") // no configured token does not mean that an empty one is right
}

func TestSecretOfTokens(t *testing.T) {
	e := newTokenEnv(t, func(o *auth.TokenOptions) { o.Secret = "" })
	a := e.user("alice")
	token := e.issue(a)
	again, err := auth.NewTokens(auth.TokenOptions{Registry: e.db, Accounts: e.db})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Check(t.Context(), token); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	other, err := auth.NewTokens(auth.TokenOptions{Registry: e.db, Accounts: e.db, Secret: "another"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Check(t.Context(), token); mail.CodeOf(err) != mail.CodeAuthFailed {
		t.Errorf("with another secret: %v", err)
	}
	if made := e.records("token-secret"); len(made["secret"]) < 40 {
		t.Errorf("secret %q", made)
	}
}

func TestMaxTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTokenEnv(t, func(o *auth.TokenOptions) { o.MaxTokens = 3 })
		a, b := e.user("alice"), e.user("bob")
		others := e.issue(b)
		var tokens []string
		for range 5 {
			tokens = append(tokens, e.issue(a))
			time.Sleep(time.Second)
		}
		for i, token := range tokens {
			if i < 2 {
				e.wantBad(token)
				continue
			}
			e.wantGrant(token, "user", a.ID.String())
		}
		e.wantGrant(others, "user", b.ID.String())
	})
}

// TestRevokedStaysRevoked revokes a token while it is being used and renewed.
func TestRevokedStaysRevoked(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	e := newTokenEnv(t, func(o *auth.TokenOptions) {
		o.Now = func() time.Time { // every look at the clock is two minutes later: each use renews
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(2 * time.Minute)
			return now
		}
	})
	a := e.user("alice")
	for range 200 {
		token := e.issue(a)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 3 {
					_, _ = e.Check(context.Background(), token)
				}
			})
		}
		if err := e.Revoke(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		e.wantBad(token)
	}
}

func TestTokenStoreTrouble(t *testing.T) {
	e := newTokenEnv(t)
	token := e.issue(e.user("alice"))
	if err := e.db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Check(t.Context(), token); mail.CodeOf(err) != mail.CodeUnavailable {
		t.Errorf("%v", err)
	}
	if err := e.Revoke(t.Context(), token); mail.CodeOf(err) != mail.CodeUnavailable {
		t.Errorf("%v", err)
	}
}

// FuzzTokenRecord gives Check a record that somebody else wrote: without the secret
// nothing may come of it.
func FuzzTokenRecord(f *testing.F) {
	f.Add([]byte(`{"user":"x","role":"root","created":1,"s":""}`))
	f.Add([]byte(`{"user":"6b02b4960dc41b48cba6210d","role":"user","created":1795339431841,"ttl":-1,"authVersion":null,"s":"00"}`))
	f.Add([]byte(`null`))
	db := memstore.New(memstore.Options{})
	tokens, err := auth.NewTokens(auth.TokenOptions{Registry: db, Accounts: db, Secret: fmt.Sprint(time.Now().UnixNano())})
	if err != nil {
		f.Fatal(err)
	}
	token := strings.Repeat("0", 40)
	f.Fuzz(func(t *testing.T, value []byte) {
		sum := sha256.Sum256([]byte(token))
		if err := db.PutRecord(t.Context(), "token", hex.EncodeToString(sum[:]), value); err != nil {
			t.Skip() // too long
		}
		if g, err := tokens.Check(t.Context(), token); err == nil {
			t.Errorf("%s gave %+v", value, g)
		}
	})
}
