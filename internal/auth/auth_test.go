package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/account"
	"mallard/internal/auth"
	"mallard/internal/auth/password"
	"mallard/internal/limit/memlimit"
	"mallard/internal/mail"
	"mallard/internal/store/memstore"
)

// plain stands in for slow hashes: "plain:x" is the hash of x, "old:x" one that
// should be replaced. It counts what is computed.
type plain struct {
	verified, nobody atomic.Int64
	// block, when set, holds every check until it is closed or the context ends.
	block chan struct{}
	fail  error
	// hashing, when set, is called while a hash is made.
	hashing func()
}

func (p *plain) Hash(_ context.Context, pw string) (string, error) {
	if p.hashing != nil {
		p.hashing()
	}
	return "plain:" + pw, nil
}

func (p *plain) Validate(string) error { return nil }

func (p *plain) wait(ctx context.Context) error {
	if p.fail != nil {
		return p.fail
	}
	if p.block != nil {
		select {
		case <-p.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *plain) Verify(ctx context.Context, hash, pw string) (ok, rehash bool, err error) {
	p.verified.Add(1)
	if err := p.wait(ctx); err != nil {
		return false, false, err
	}
	kind, text, _ := strings.Cut(hash, ":")
	if kind != "plain" && kind != "old" {
		return false, false, password.ErrFormat
	}
	return text == pw, text == pw && kind == "old", nil
}

func (p *plain) VerifyNobody(ctx context.Context, _ string) error {
	p.nobody.Add(1)
	return p.wait(ctx)
}

// work returns how many hashes were computed since the last call.
func (p *plain) work() int { return int(p.verified.Swap(0) + p.nobody.Swap(0)) }

type env struct {
	*auth.Service
	t        *testing.T
	db       *memstore.Store
	accounts *account.Service
	pw       *plain
	logs     *bytes.Buffer
}

func newEnv(t *testing.T, change ...func(*auth.Options)) *env {
	t.Helper()
	e := &env{t: t, db: memstore.New(memstore.Options{Mangle: true}), pw: &plain{}, logs: &bytes.Buffer{}}
	var err error
	e.accounts, err = account.New(account.Options{Store: e.db, Hasher: e.pw, EmailDomain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	o := auth.Options{
		Directory: e.accounts, Accounts: e.db, Passwords: e.pw, Counter: memlimit.New(memlimit.Options{}),
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: e.logs}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	if e.Service, err = auth.New(o); err != nil {
		t.Fatal(err)
	}
	return e
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (e *env) user(name, pw string, change ...func(*mail.Account)) *mail.Account {
	e.t.Helper()
	a, err := e.accounts.Create(e.t.Context(), account.NewUser{Username: name, Password: account.Password{Text: pw}})
	if err != nil {
		e.t.Fatal(err)
	}
	return e.change(a, change...)
}

func (e *env) change(a *mail.Account, change ...func(*mail.Account)) *mail.Account {
	e.t.Helper()
	for _, f := range change {
		var err error
		if a, err = e.db.UpdateAccount(e.t.Context(), a.ID, func(a *mail.Account) error { f(a); return nil }); err != nil {
			e.t.Fatal(err)
		}
	}
	return a
}

func (e *env) get(a *mail.Account) *mail.Account {
	e.t.Helper()
	a, err := e.db.Account(e.t.Context(), a.ID)
	if err != nil {
		e.t.Fatal(err)
	}
	return a
}

func (e *env) login(name, pw, scope string) (*auth.Result, error) {
	return e.Authenticate(e.t.Context(), auth.Request{Username: name, Password: pw, Scope: scope, Protocol: "T", IP: ip("192.0.2.1")})
}

func (e *env) wantOK(name, pw, scope string) *auth.Result {
	e.t.Helper()
	res, err := e.login(name, pw, scope)
	if err != nil {
		e.t.Fatalf("login of %s with scope %s: %v", name, scope, err)
	}
	return res
}

func (e *env) wantCode(code mail.Code, name, pw, scope string) error {
	e.t.Helper()
	res, err := e.login(name, pw, scope)
	if err == nil || mail.CodeOf(err) != code || res != nil {
		e.t.Errorf("login of %s with scope %s: %v, %v; want code %v", name, scope, res, err, code)
	}
	return err
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestAuthenticate(t *testing.T) {
	now := time.Now()
	temp := func(created, after time.Time) func(*mail.Account) {
		return func(a *mail.Account) {
			a.TempPassword = &mail.TempPassword{Hash: "plain:temp", Created: created, ValidAfter: after}
		}
	}
	totp := func(a *mail.Account) { a.Enabled2FA = []string{"totp"} }
	for _, tc := range []struct {
		name   string
		change func(*mail.Account)
		login  string
		pw     string
		scope  string
		code   mail.Code // CodeInternal for success
		cause  error
		known  bool // AccountOf the error names the account
		want   auth.Result
	}{
		{name: "master", pw: "secret", scope: "master", want: auth.Result{Source: auth.SourceMaster}},
		{name: "imap", pw: "secret", scope: "imap", want: auth.Result{Source: auth.SourceMaster}},
		{name: "by address", login: "J.Ane+x@Example.com", pw: "secret", scope: "imap", want: auth.Result{Source: auth.SourceMaster}},
		{name: "wrong", pw: "Secret", scope: "imap", code: mail.CodeAuthFailed, known: true},
		{name: "empty", pw: "", scope: "imap", code: mail.CodeAuthFailed},
		{name: "endless", pw: strings.Repeat("x", password.MaxLength+1), scope: "imap", code: mail.CodeAuthFailed},
		{name: "unknown", login: "nobody", pw: "secret", scope: "imap", code: mail.CodeAuthFailed, cause: auth.ErrUnknown},
		{name: "no name", login: "@", pw: "secret", scope: "imap", code: mail.CodeAuthFailed, cause: auth.ErrUnknown},
		{name: "no password set", change: func(a *mail.Account) { a.Password = "" }, pw: "x", scope: "master", code: mail.CodeAuthFailed, known: true},
		{name: "damaged hash", change: func(a *mail.Account) { a.Password = "?" }, pw: "?", scope: "master", code: mail.CodeAuthFailed, known: true},
		{name: "disabled", change: func(a *mail.Account) { a.Disabled = true }, pw: "secret", scope: "imap", code: mail.CodeAuthFailed, cause: auth.ErrDisabled, known: true},
		{name: "suspended", change: func(a *mail.Account) { a.Suspended = true }, pw: "secret", scope: "imap", code: mail.CodeAuthFailed, cause: auth.ErrDisabled, known: true},
		{name: "scope disabled", change: func(a *mail.Account) { a.DisabledScopes = []string{"pop3"} }, pw: "secret", scope: "pop3", code: mail.CodeAuthScope, known: true},
		{name: "scope disabled, wrong password", change: func(a *mail.Account) { a.DisabledScopes = []string{"pop3"} }, pw: "x", scope: "pop3", code: mail.CodeAuthFailed, known: true},
		{name: "other scope", change: func(a *mail.Account) { a.DisabledScopes = []string{"pop3"} }, pw: "secret", scope: "imap", want: auth.Result{Source: auth.SourceMaster}},
		{name: "2FA asked for", change: totp, pw: "secret", scope: "master", want: auth.Result{Source: auth.SourceMaster, Require2FA: []string{"totp"}}},
		{name: "2FA has no place in imap", change: totp, pw: "secret", scope: "imap", code: mail.CodeAuthScope, known: true},
		{name: "2FA, wrong password", change: totp, pw: "x", scope: "imap", code: mail.CodeAuthFailed, known: true},
		{name: "temporary", change: temp(now, now), pw: "temp", scope: "master", want: auth.Result{Source: auth.SourceTemporary, RequirePasswordChange: true}},
		{name: "temporary and 2FA", change: func(a *mail.Account) { totp(a); temp(now, now)(a) }, pw: "temp", scope: "master", want: auth.Result{Source: auth.SourceTemporary, RequirePasswordChange: true}},
		{name: "temporary, old one works", change: temp(now, now), pw: "secret", scope: "imap", want: auth.Result{Source: auth.SourceMaster}},
		{name: "temporary, imap", change: temp(now, now), pw: "temp", scope: "imap", code: mail.CodeAuthScope, known: true},
		{name: "temporary, too early", change: temp(now, now.Add(time.Hour)), pw: "temp", scope: "master", code: mail.CodeAuthFailed, cause: auth.ErrTempNotYetValid, known: true},
		{name: "temporary, too late", change: temp(now.Add(-24*time.Hour), now.Add(-24*time.Hour)), pw: "temp", scope: "master", code: mail.CodeAuthFailed, known: true},
		{name: "change required", change: func(a *mail.Account) { a.RequirePasswordChange = true }, pw: "secret", scope: "imap", want: auth.Result{Source: auth.SourceMaster, RequirePasswordChange: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEnv(t)
			a := e.user("j.ane", "secret")
			if tc.change != nil {
				a = e.change(a, tc.change)
			}
			if tc.login == "" {
				tc.login = "jane"
			}
			if tc.code != mail.CodeInternal {
				err := e.wantCode(tc.code, tc.login, tc.pw, tc.scope)
				if tc.cause != nil && !errors.Is(err, tc.cause) {
					t.Errorf("%v, want %v in its chain", err, tc.cause)
				}
				if got := auth.AccountOf(err); (got == a.ID) != tc.known {
					t.Errorf("account of the error: %v", got)
				}
				if tc.cause != auth.ErrTempNotYetValid && tc.code == mail.CodeAuthFailed && mail.PublicText(err) != "Authentication failed" {
					t.Errorf("a client is told %q", mail.PublicText(err))
				}
				return
			}
			res := e.wantOK(tc.login, tc.pw, tc.scope)
			tc.want.Scope = tc.scope
			if res.Account.ID != a.ID {
				t.Errorf("account %v", res.Account.ID)
			}
			res.Account = nil
			if d := cmp.Diff(&tc.want, res); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestEveryRefusalCostsOneHash looks for what the time of an answer would tell.
func TestEveryRefusalCostsOneHash(t *testing.T) {
	e := newEnv(t)
	e.user("alice", "secret")
	e.user("none", "")
	e.user("disabled", "secret", func(a *mail.Account) { a.Disabled = true })
	e.user("broken", "secret", func(a *mail.Account) { a.Password = "plain:other" })
	for _, name := range []string{"alice", "none", "disabled", "broken", "nobody", "no.body@nowhere.test", strings.Repeat("x", 2000)} {
		e.pw.work()
		e.wantCode(mail.CodeAuthFailed, name, "wrong", "imap")
		if n := e.pw.work(); n != 1 {
			t.Errorf("refusing %.20s took %d hashes", name, n)
		}
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		a := e.user("alice", "secret")
		b := e.user("bob", "secret")
		cost := func(want int, f func()) {
			t.Helper()
			e.pw.work()
			f()
			if n := e.pw.work(); n != want {
				t.Errorf("%d hashes, want %d", n, want)
			}
		}
		cost(1, func() { e.wantOK("alice", "secret", "imap") })
		cost(0, func() { e.wantOK("alice@example.com", "secret", "master") })
		cost(1, func() { e.wantOK("bob", "secret", "imap") })
		cost(2, func() { // failures are never remembered
			e.wantCode(mail.CodeAuthFailed, "alice", "x", "imap")
			e.wantCode(mail.CodeAuthFailed, "alice", "x", "imap")
		})
		time.Sleep(auth.DefaultCacheTTL - time.Second)
		cost(0, func() { e.wantOK("alice", "secret", "imap") })
		time.Sleep(time.Second)
		cost(1, func() { e.wantOK("alice", "secret", "imap") })

		e.change(a, func(a *mail.Account) { a.Password = "plain:new" })
		cost(1, func() { e.wantCode(mail.CodeAuthFailed, "alice", "secret", "imap") })
		cost(1, func() { e.wantOK("alice", "new", "imap") })
		e.change(a, func(a *mail.Account) { a.DisabledScopes = []string{"imap"} })
		cost(0, func() { e.wantCode(mail.CodeAuthScope, "alice", "new", "imap") })
		e.change(a, func(a *mail.Account) { a.Disabled = true })
		cost(0, func() { e.wantCode(mail.CodeAuthFailed, "alice", "new", "master") })

		// The right password, though it is in the cache, must not stand out among
		// the wrong ones while the user is locked.
		e.wantOK("bob", "secret", "imap")
		for i := range 12 {
			e.wantCode(mail.CodeAuthFailed, "bob", fmt.Sprint("wrong", i), "imap")
		}
		cost(0, func() { e.wantCode(mail.CodeRateLimited, "bob", "secret", "imap") })
		e.change(b, func(a *mail.Account) { a.Password = "" })
		time.Sleep(auth.DefaultUserWindow)
		e.wantCode(mail.CodeAuthFailed, "bob", "secret", "imap")
	})
}

func TestCacheIsBounded(t *testing.T) {
	e := newEnv(t, func(o *auth.Options) { o.CacheSize = 4 })
	for i := range 20 {
		e.user(fmt.Sprint("user", i), "secret")
		e.wantOK(fmt.Sprint("user", i), "secret", "imap")
	}
	e.pw.work()
	for i := range 20 {
		e.wantOK(fmt.Sprint("user", i), "secret", "imap")
	}
	if n := e.pw.work(); n < 16 {
		t.Errorf("%d of 20 logins were checked: more than 4 were remembered", n)
	}
	off := newEnv(t, func(o *auth.Options) { o.CacheTTL = -1 })
	off.user("alice", "secret")
	off.wantOK("alice", "secret", "imap")
	off.wantOK("alice", "secret", "imap")
	if n := off.pw.work(); n != 2 {
		t.Errorf("%d hashes without a cache", n)
	}
}

func TestRehash(t *testing.T) {
	e := newEnv(t)
	a := e.user("alice", "x", func(a *mail.Account) { a.Password = "old:secret" })
	e.wantCode(mail.CodeAuthFailed, "alice", "wrong", "imap")
	if got := e.get(a); got.Password != "old:secret" {
		t.Errorf("a wrong password changed the hash to %q", got.Password)
	}
	e.wantOK("alice", "secret", "imap")
	if got := e.get(a); got.Password != "plain:secret" || got.AuthVersion != a.AuthVersion {
		t.Errorf("password %q, version %d", got.Password, got.AuthVersion)
	}
	e.wantOK("alice", "secret", "imap")

	// The temporary password must not become the master password.
	b := e.user("bob", "x", func(a *mail.Account) {
		a.Password = "old:secret"
		a.TempPassword = &mail.TempPassword{Hash: "plain:temp", Created: time.Now(), ValidAfter: time.Now()}
	})
	e.wantOK("bob", "temp", "master")
	if got := e.get(b); got.Password != "old:secret" {
		t.Errorf("password %q", got.Password)
	}
}

// TestRehashIsNoWayBack changes the password while the hash of the old one is being
// renewed.
func TestRehashIsNoWayBack(t *testing.T) {
	e := newEnv(t)
	a := e.user("alice", "x", func(a *mail.Account) { a.Password = "old:secret" })
	e.pw.hashing = func() {
		e.pw.hashing = nil
		e.change(a, func(a *mail.Account) { a.Password = "plain:new" })
	}
	e.wantOK("alice", "secret", "imap")
	if got := e.get(a); got.Password != "plain:new" {
		t.Errorf("password %q", got.Password)
	}
}

// TestRealHashes goes through the real formats once.
func TestRealHashes(t *testing.T) {
	v := password.NewVerifier(password.Options{})
	e := newEnv(t, func(o *auth.Options) { o.Passwords = v })
	a := e.user("erik", "x", func(a *mail.Account) { a.Password = "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0" })
	e.wantCode(mail.CodeAuthFailed, "erik", "wrong", "imap")
	e.wantOK("erik", "test", "imap")
	if got := e.get(a); !strings.HasPrefix(got.Password, "$pbkdf2-sha256$i=100000$") {
		t.Errorf("hash %q", got.Password)
	}
	e.wantOK("erik", "test", "master")
}

func TestLastLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		a := e.user("alice", "secret")
		first := time.Now()
		e.wantCode(mail.CodeAuthFailed, "alice", "x", "imap")
		if got := e.get(a).LastLogin; !got.Time.IsZero() {
			t.Errorf("after a failure: %v", got)
		}
		last := func() mail.LastLogin { return e.get(a).LastLogin }
		e.wantOK("alice", "secret", "imap")
		if got := last(); !got.Time.Equal(first) || got.IP != "192.0.2.1" {
			t.Errorf("last login %v", got)
		}
		time.Sleep(30 * time.Second)
		e.wantOK("alice", "secret", "imap")
		if got := last(); !got.Time.Equal(first) {
			t.Errorf("written again after 30 s: %v", got)
		}
		if _, err := e.Authenticate(t.Context(), auth.Request{Username: "alice", Password: "secret", Scope: "imap", IP: ip("2001:db8::1")}); err != nil {
			t.Fatal(err)
		}
		if got := last(); got.IP != "2001:db8::1" || !got.Time.Equal(first.Add(30*time.Second)) {
			t.Errorf("from another address: %v", got)
		}
		time.Sleep(60 * time.Second)
		if _, err := e.Authenticate(t.Context(), auth.Request{Username: "alice", Password: "secret", Scope: "imap", IP: ip("2001:db8::1")}); err != nil {
			t.Fatal(err)
		}
		if got := last(); !got.Time.Equal(first.Add(90 * time.Second)) {
			t.Errorf("not written again: %v", got)
		}
	})
}

func TestCheckPassword(t *testing.T) {
	e := newEnv(t)
	a := e.user("alice", "secret", func(a *mail.Account) {
		a.TempPassword = &mail.TempPassword{Hash: "plain:temp", Created: time.Now()}
	})
	if err := e.CheckPassword(t.Context(), a, "secret"); err != nil {
		t.Error(err)
	}
	for i, typed := range []string{"", "temp", "x", strings.Repeat("x", 5000)} {
		if err := e.CheckPassword(t.Context(), a, typed); mail.CodeOf(err) != mail.CodeAuthFailed {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i := range 10 {
		_ = e.CheckPassword(t.Context(), a, fmt.Sprint("wrong", i))
	}
	if err := e.CheckPassword(t.Context(), a, "secret"); mail.CodeOf(err) != mail.CodeRateLimited {
		t.Errorf("guessing through a password change: %v", err)
	}
	if err := e.CheckPassword(t.Context(), e.user("none", ""), "x"); err != nil {
		t.Errorf("an account without a password: %v", err)
	}
}

func TestPreAuth(t *testing.T) {
	e := newEnv(t)
	e.user("alice", "secret", func(a *mail.Account) { a.Enabled2FA, a.DisabledScopes = []string{"totp"}, []string{"pop3"} })
	e.user("bob", "secret", func(a *mail.Account) { a.Suspended = true })
	res, err := e.PreAuth(t.Context(), "Alice+x@example.com", "master")
	if err != nil || res.Account.Username != "alice" || len(res.Require2FA) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err = e.PreAuth(t.Context(), "alice", "imap"); err != nil || res.Require2FA != nil {
		t.Errorf("%+v, %v", res, err)
	}
	for login, code := range map[string]mail.Code{"nobody": mail.CodeAuthFailed, "bob": mail.CodeAuthFailed, "alice": mail.CodeAuthScope} {
		if _, err := e.PreAuth(t.Context(), login, "pop3"); mail.CodeOf(err) != code {
			t.Errorf("%s: %v", login, err)
		}
	}
}

func TestFrontend(t *testing.T) {
	e := newEnv(t)
	e.user("alice", "secret", func(a *mail.Account) { a.Enabled2FA = []string{"totp"} })
	e.user("bob", "secret")
	addr := &net.TCPAddr{IP: net.ParseIP("192.0.2.9"), Port: 4}
	a, err := e.Frontend("imap", "IMAP").Login(t.Context(), "bob", "secret", addr, "sess")
	if err != nil || a.Username != "bob" || a.LastLogin.IP != "" {
		t.Errorf("%+v, %v", a, err)
	}
	if got := e.get(a).LastLogin.IP; got != "192.0.2.9" {
		t.Errorf("last login from %q", got)
	}
	for _, scope := range []string{"imap", auth.ScopeMaster} {
		if _, err := e.Frontend(scope, "X").Login(t.Context(), "alice", "secret", addr, "sess"); mail.CodeOf(err) != mail.CodeAuthScope {
			t.Errorf("2FA and scope %s: %v", scope, err)
		}
	}
	for in, want := range map[net.Addr]string{
		addr: "192.0.2.9", &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.9")}: "192.0.2.9", &net.UnixAddr{Name: "/x"}: "invalid IP",
		&net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 5}: "2001:db8::1", nil: "invalid IP",
	} {
		if got := auth.RemoteIP(in).String(); got != want {
			t.Errorf("RemoteIP(%v) = %s", in, got)
		}
	}
}

// TestLogsHoldNoSecrets logs in in every way and looks for what must not be there.
func TestLogsHoldNoSecrets(t *testing.T) {
	e := newEnv(t)
	a := e.user("alice", "hunter2", func(a *mail.Account) { a.Password = "old:hunter2" })
	e.user("broken", "x", func(a *mail.Account) { a.Password = "sEcrethash" })
	e.wantOK("alice", "hunter2", "imap")
	e.wantCode(mail.CodeAuthFailed, "alice", "hunter3", "imap")
	e.wantCode(mail.CodeAuthFailed, "hunter4", "alice", "imap") // fields the wrong way round
	e.wantCode(mail.CodeAuthFailed, "broken", "hunter5", "imap")
	for i := range 13 {
		_, _ = e.login("hunter6", fmt.Sprint("hunter7", i), "imap")
	}
	e.pw.fail = errors.New("out of order")
	e.wantCode(mail.CodeUnavailable, "alice", "hunter8", "imap")
	logs := e.logs.String()
	if !strings.Contains(logs, a.ID.String()) || !strings.Contains(logs, "192.0.2.1") || strings.Count(logs, "\n") < 18 {
		t.Errorf("the log says too little: %s", logs)
	}
	for _, secret := range []string{"hunter", "sEcrethash", "plain:", "old:"} {
		if strings.Contains(logs, secret) {
			t.Errorf("%q is in the log: %s", secret, logs)
		}
	}
}
