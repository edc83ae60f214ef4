package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mallard/internal/auth"
	"mallard/internal/auth/password"
	"mallard/internal/mail"
)

// shelf keeps application passwords in a list.
type shelf struct {
	list   []auth.AppPassword
	used   []string
	events []string
	fail   error
}

func (s *shelf) AppPasswords(_ context.Context, acct mail.AccountID, selector string) ([]auth.AppPassword, error) {
	var out []auth.AppPassword
	for _, a := range s.list {
		if a.Account == acct && (a.Selector == selector || a.Selector == "") {
			out = append(out, a)
		}
	}
	return out, s.fail
}

func (s *shelf) AppPasswordUsed(_ context.Context, acct mail.AccountID, id, ip, event string, at, expires time.Time) error {
	s.events = append(s.events, event)
	s.used = append(s.used, fmt.Sprint(id, " ", ip, " ", at.Equal(time.Now().UTC()), " ", expires.IsZero() || expires.Equal(at.Add(time.Hour))))
	for i := range s.list {
		if s.list[i].ID == id && s.list[i].Account == acct && !expires.IsZero() {
			s.list[i].Expires = expires
		}
	}
	return s.fail
}

func (s *shelf) add(acct mail.AccountID, id, pw string, change func(*auth.AppPassword), scopes ...string) {
	a := auth.AppPassword{ID: id, Account: acct, Scopes: scopes, Hash: "plain:" + pw, Selector: password.Selector(pw)}
	if change != nil {
		change(&a)
	}
	s.list = append(s.list, a)
}

func TestAppPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{}
		e := newEnv(t, func(o *auth.Options) { o.AppPasswords = sh })
		a := e.user("alice", "secret", func(a *mail.Account) { a.Enabled2FA = []string{"totp"} })
		b := e.user("bob", "mnopqrstuvwxyzab")
		sh.add(a.ID, "all", "abcdefghijklmnop", nil, "*")
		sh.add(a.ID, "imap", "bcdefghijklmnopq", func(p *auth.AppPassword) { p.Selector = "" }, "imap", "smtp")
		sh.add(a.ID, "short", "cdefghijklmnopqr", func(p *auth.AppPassword) { p.Expires, p.TTL = time.Now().Add(time.Hour), time.Hour }, "*")
		sh.add(a.ID, "ended", "defghijklmnopqrs", func(p *auth.AppPassword) { p.Expires = time.Now() }, "*")
		sh.add(b.ID, "same", "mnopqrstuvwxyzab", nil, "smtp")
		sh.add(a.ID, "broken", "efghijklmnopqrst", func(p *auth.AppPassword) { p.Hash = "?" }, "*")

		res := e.wantOK("alice", "ABCD efgh ijkl mnop", "imap")
		if res.Source != auth.SourceASP || res.AppPassword.ID != "all" || res.Require2FA != nil {
			t.Errorf("%+v", res)
		}
		e.wantOK("alice", "bcdefghijklmnopq", "smtp")
		e.wantCode(mail.CodeAuthScope, "alice", "bcdefghijklmnopq", "pop3")
		e.wantCode(mail.CodeAuthFailed, "alice", "abcdefghijklmnop", "master")
		e.wantCode(mail.CodeAuthFailed, "alice", "defghijklmnopqrs", "imap")
		e.wantCode(mail.CodeAuthFailed, "alice", "efghijklmnopqrst", "imap")
		e.wantCode(mail.CodeAuthFailed, "alice", "zzzzzzzzzzzzzzzz", "imap")
		if got := strings.Join(sh.used, ","); got != "all 192.0.2.1 true true,imap 192.0.2.1 true true" {
			t.Errorf("uses: %s", got)
		}
		if got := e.get(a).LastLogin; !got.Time.IsZero() {
			t.Errorf("an application password set the last login: %v", got)
		}

		// The text is also the master password, with more rights.
		if res := e.wantOK("bob", "mnopqrstuvwxyzab", "imap"); res.Source != auth.SourceMaster {
			t.Errorf("%+v", res)
		}

		for range 3 { // each use prolongs the life by an hour
			time.Sleep(59 * time.Minute)
			e.wantOK("alice", "cdefghijklmnopqr", "imap")
		}
		time.Sleep(time.Hour)
		e.wantCode(mail.CodeAuthFailed, "alice", "cdefghijklmnopqr", "imap")

		// Guesses of others do not lock out a program.
		for i := range 12 {
			_, _ = e.login("alice", fmt.Sprint("wrong", i), "imap")
		}
		e.wantCode(mail.CodeRateLimited, "alice", "secret", "master")
		e.wantOK("alice", "abcdefghijklmnop", "imap")

		e.change(a, func(a *mail.Account) { a.DisabledScopes = []string{"imap"} })
		e.wantCode(mail.CodeAuthScope, "alice", "abcdefghijklmnop", "imap")
		e.wantOK("alice", "abcdefghijklmnop", "pop3")
		e.change(a, func(a *mail.Account) { a.Disabled = true })
		e.wantCode(mail.CodeAuthFailed, "alice", "abcdefghijklmnop", "pop3")

		sh.fail = errors.New("out of order")
		e.wantCode(mail.CodeUnavailable, "alice", "abcdefghijklmnop", "pop3")
		if strings.Contains(e.logs.String(), "abcdefgh") {
			t.Error("an application password is in the log")
		}
	})
}
