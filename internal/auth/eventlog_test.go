package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/auth"
	"mallard/internal/mail"
)

// book is a log of logins in memory. Entries have the ids e1, e2 ...
type book struct {
	mu     sync.Mutex
	events []mail.AuthEvent
	times  []int64
	block  chan struct{} // when set, holds every write
	fail   error
}

func (b *book) LogAuthEvent(ctx context.Context, e mail.AuthEvent, times int64) (string, error) {
	if b.block != nil {
		select {
		case <-b.block:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events, b.times = append(b.events, e), append(b.times, times)
	return fmt.Sprint("e", len(b.events)), b.fail
}

func TestLoginsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh, log := &shelf{}, &book{}
		e := newEnv(t, func(o *auth.Options) { o.AppPasswords, o.Events = sh, log })
		a := e.user("alice", "secret", func(a *mail.Account) { a.Enabled2FA = []string{"totp", "custom"} })
		b := e.user("bob", "hidden")
		sh.add(a.ID, "phone", "abcdefghijklmnop", func(p *auth.AppPassword) { p.Description = "my phone" }, "imap")
		step := func(name, pw, scope string) { _, _ = e.login(name, pw, scope); synctest.Wait() }

		step("alice", "secret", "master")
		if got := e.get(a).LastLogin; got.Event != "e1" || got.IP != "192.0.2.1" || !got.Time.Equal(time.Now()) {
			t.Errorf("the last login is %+v", got)
		}
		step("alice", "abcdefghijklmnop", "imap")
		step("alice", "wrong", "imap")
		step("alice", "secret", "imap") // needs a second factor
		step("bob", "hidden", "imap")
		e.change(b, func(a *mail.Account) { a.DisabledScopes = []string{"imap"} })
		step("bob", "hidden", "imap")
		e.change(b, func(a *mail.Account) { a.Suspended = true })
		step("bob", "hidden", "pop3")
		e.change(b, func(a *mail.Account) { a.Disabled = true })
		step("bob", "hidden", "pop3")
		step("bob", "", "pop3")
		step("nobody", "hidden", "pop3")
		e.LogEvent(mail.AuthEvent{Account: b.ID, Action: "reset"})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e.LogEvent(mail.AuthEvent{Account: b.ID, Action: "too late"})

		event := func(acct mail.AccountID, scope, source, result string) mail.AuthEvent {
			return mail.AuthEvent{Account: acct, Action: "authentication", Protocol: "T", IP: "192.0.2.1", Scope: scope, Source: source, Result: result}
		}
		first, second := event(a.ID, "master", "master", "success"), event(a.ID, "imap", "asp", "success")
		first.Require2FA, second.AppPassword, second.AppPasswordName = "totp,custom", "phone", "my phone"
		want := []mail.AuthEvent{
			first, second, event(a.ID, "imap", "master", "fail"), event(a.ID, "imap", "master", "fail"),
			event(b.ID, "imap", "master", "success"), event(b.ID, "imap", "", ""),
			event(b.ID, "pop3", "", "suspended"), event(b.ID, "pop3", "", "disabled"), {Account: b.ID, Action: "reset"},
		}
		if diff := cmp.Diff(want, log.events); diff != "" {
			t.Errorf("the log (-want +got):\n%s", diff)
		}
		if all := fmt.Sprint(log.events); strings.Contains(all, "secret") || strings.Contains(all, "abcdefgh") || strings.Contains(all, "wrong") {
			t.Errorf("a password is in the log: %s", all)
		}
		if got := strings.Join(sh.events, ","); got != "e2" {
			t.Errorf("the application password was used in %q", got)
		}
	})
}

// Nobody waits for the log: not for a slow one, not for one that has stopped.
func TestLoginsDoNotWaitForTheirLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &book{block: make(chan struct{})}
		e := newEnv(t, func(o *auth.Options) { o.Events, o.EventQueue = log, 4 })
		a := e.user("alice", "secret")
		start := time.Now()
		for range 10 {
			e.wantOK("alice", "secret", "imap")
			synctest.Wait()
		}
		if time.Since(start) != 0 {
			t.Errorf("logins took %v", time.Since(start))
		}
		close(log.block)
		synctest.Wait()
		// One was being written, four waited and were written as one, five are lost.
		if fmt.Sprint(log.times) != "[1 4]" {
			t.Errorf("%v events were written", log.times)
		}
		if n := strings.Count(e.logs.String(), "events are lost"); n != 1 || !strings.Contains(e.logs.String(), "lost=5") {
			t.Errorf("the loss was told %d times: %s", n, e.logs)
		}
		if got := e.get(a).LastLogin; got.Event != "e1" {
			t.Errorf("the last login is %+v", got)
		}
		log.block, log.fail = nil, errors.New("out of order")
		time.Sleep(time.Hour)
		e.wantOK("alice", "secret", "imap")
		synctest.Wait()
		if got := e.get(a).LastLogin; !got.Time.Equal(time.Now()) {
			t.Errorf("without its log the last login is %+v", got)
		}

		log.block = make(chan struct{})
		e.wantOK("alice", "secret", "imap")
		start = time.Now()
		if err := errors.Join(e.Close(), e.Close()); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("close: %v after %v", err, time.Since(start))
		}
	})
}
