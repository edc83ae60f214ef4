package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"mallard/internal/account"
	"mallard/internal/auth"
	"mallard/internal/auth/password"
	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/limit/memlimit"
	"mallard/internal/logtest"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// world is the API on the model store with the real services.
type world struct {
	t         testing.TB
	api       *API
	store     *memstore.Store
	accounts  *account.Service
	mailboxes *mailbox.Service
	receiver  *draft.Receiver
	tokens    *auth.Tokens
	limits    *memlimit.Limits
	bus       *membus.Bus
	logs      *logtest.Buffer
	logins    *auth.Service
	book      *loginBook
}

type worldOptions struct {
	api    Options
	static string
	fault  func(op string) error
}

func newWorld(t testing.TB, change ...func(*worldOptions)) *world {
	t.Helper()
	var o worldOptions
	for _, c := range change {
		c(&o)
	}
	w := &world{t: t, logs: &logtest.Buffer{}}
	w.store = memstore.New(memstore.Options{Mangle: true, Fault: o.fault})
	bus := membus.New()
	w.bus = bus
	t.Cleanup(func() { _ = bus.Close() })
	// Hashes of real cost would make every test wait for them.
	hasher := quickPasswords{password.NewVerifier(password.Options{})}
	log := slog.New(slog.NewTextHandler(w.logs, nil))
	var err error
	w.accounts, err = account.New(account.Options{Store: w.store, Hasher: hasher, Events: bus, EmailDomain: "example.com"})
	must(t, err)
	w.mailboxes = mailbox.New(mailbox.Options{Store: w.store, Bus: bus, Quota: func(ctx context.Context, id mail.AccountID) (int64, error) {
		a, err := w.accounts.Get(ctx, id)
		if err != nil {
			return 0, err
		}
		return a.Quota, nil
	}})
	w.receiver = draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 64 << 10})
	w.limits = memlimit.New(memlimit.Options{})
	w.book = &loginBook{}
	w.logins, err = auth.New(auth.Options{Directory: w.accounts, Accounts: w.store, Passwords: hasher, Counter: w.limits, Events: w.book})
	must(t, err)
	t.Cleanup(func() { must(t, w.logins.Close()) })
	w.tokens, err = auth.NewTokens(auth.TokenOptions{Registry: w.store, Accounts: w.store, Static: o.static})
	must(t, err)
	opt := o.api
	opt.Services = Services{
		Accounts: w.accounts, Mailboxes: w.mailboxes, Receiver: w.receiver, Logins: w.logins, AuthLog: w.book, Tokens: w.tokens, Limits: w.limits,
		Health: func(context.Context) error { return nil },
	}
	opt.Log, opt.Version = log, "1.2.3"
	w.api, err = New(opt)
	must(t, err)
	t.Cleanup(w.api.Close)
	return w
}

// quickPasswords keeps texts in place of hashes, in the form of a hash.
type quickPasswords struct{ *password.Verifier }

const quickPrefix = "quick:"

func (quickPasswords) Hash(_ context.Context, text string) (string, error) {
	return quickPrefix + text, nil
}

func (q quickPasswords) Verify(ctx context.Context, hash, text string) (ok, rehash bool, err error) {
	if plain, found := strings.CutPrefix(hash, quickPrefix); found {
		return plain == text, false, nil
	}
	return q.Verifier.Verify(ctx, hash, text)
}

func (quickPasswords) VerifyNobody(context.Context, string) error { return nil }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reply is what a call gave.
type reply struct {
	status int
	header http.Header
	body   string
}

// call makes a call. header has pairs of names and values.
func (w *world) call(method, target, body string, header ...string) reply {
	w.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r = httptest.NewRequest(method, target, http.NoBody)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	b, err := io.ReadAll(rec.Result().Body)
	must(w.t, err)
	return reply{rec.Code, rec.Result().Header, string(b)}
}

// user makes an account and returns it with the id of its INBOX.
func (w *world) user(name string) (*mail.Account, mail.MailboxID) {
	w.t.Helper()
	a, err := w.accounts.Create(context.Background(), account.NewUser{Username: name, Password: account.Password{Text: "secret-" + name}})
	must(w.t, err)
	box, err := w.mailboxes.Lookup(context.Background(), a.ID, mail.Inbox)
	must(w.t, err)
	return a, box.ID
}

// token makes an access token of a user.
func (w *world) token(a *mail.Account) string {
	w.t.Helper()
	text, err := w.tokens.Issue(context.Background(), a)
	must(w.t, err)
	return text
}

// deliveryFields are what a delivery puts before a message.
var deliveryFields = regexp.MustCompile(`^Delivered-To: [^\r\n]*\r\nReturn-Path: [^\r\n]*\r\n`)

// put stores a message as a delivery would.
func (w *world) put(acct mail.AccountID, mbox mail.MailboxID, text, info string) store.Appended {
	w.t.Helper()
	ctx := context.Background()
	prefix := deliveryFields.FindString(text)
	d, err := w.receiver.Receive(ctx, strings.NewReader(text[len(prefix):]), 0)
	must(w.t, err)
	defer func() { must(w.t, d.Close()) }()
	staged, err := w.mailboxes.Stage(ctx, d.Content())
	must(w.t, err)
	defer func() { must(w.t, staged.Close()) }()
	out, err := w.mailboxes.Append(ctx, acct, mbox, store.Append{
		Staged: staged, Prefix: []byte(prefix), Info: info, InternalDate: testDate(),
	})
	must(w.t, err)
	return out[0]
}
