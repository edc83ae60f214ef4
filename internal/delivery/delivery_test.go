package delivery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mallard/internal/account"
	"mallard/internal/auth/password"
	"mallard/internal/delivery"
	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/limit"
	"mallard/internal/limit/memlimit"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// world is the service on the model store with the services of the real one.
type world struct {
	t         *testing.T
	store     *memstore.Store
	accounts  *account.Service
	mailboxes *mailbox.Service
	receiver  *draft.Receiver
	*delivery.Service
}

func newWorld(t *testing.T, change ...func(*delivery.Options)) *world {
	t.Helper()
	st := memstore.New(memstore.Options{Mangle: true})
	bus := membus.New()
	t.Cleanup(func() { _ = bus.Close(); _ = st.Close() })
	accounts, err := account.New(account.Options{Store: st, Hasher: password.NewVerifier(password.Options{}), Events: bus, EmailDomain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: st, accounts: accounts, receiver: draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 4096})}
	w.mailboxes = mailbox.New(mailbox.Options{Store: st, Bus: bus, Quota: func(ctx context.Context, id mail.AccountID) (int64, error) {
		a, err := accounts.Get(ctx, id)
		if err != nil {
			return 0, err
		}
		l, err := accounts.Limits(ctx, a)
		return l.Quota, err
	}})
	o := delivery.Options{Directory: accounts, Mailboxes: w.mailboxes, Receiver: w.receiver}
	for _, f := range change {
		f(&o)
	}
	w.Service = delivery.New(o)
	return w
}

func (w *world) user(u account.NewUser) *mail.Account {
	w.t.Helper()
	a, err := w.accounts.Create(w.t.Context(), u)
	if err != nil {
		w.t.Fatalf("create %s: %v", u.Username, err)
	}
	return a
}

func (w *world) draft(text string) *draft.Draft {
	w.t.Helper()
	d, err := w.Receive(w.t.Context(), strings.NewReader(text), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = d.Close() })
	return d
}

func (w *world) resolve(addr string) *delivery.Recipient {
	w.t.Helper()
	r, err := w.Resolve(w.t.Context(), addr)
	if err != nil {
		w.t.Fatalf("resolve %s: %v", addr, err)
	}
	return r
}

type stored struct {
	content string
	info    string
}

// inbox returns the messages of an account's INBOX, in order.
func (w *world) inbox(acct mail.AccountID) []stored {
	w.t.Helper()
	box, err := w.store.MailboxByPath(w.t.Context(), acct, mail.Inbox)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []stored
	for row, err := range w.store.Fetch(w.t.Context(), acct, box.ID, store.FetchQuery{Fields: store.FieldBody | store.FieldMeta}) {
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := row.Open()
		if err != nil {
			w.t.Fatal(err)
		}
		var buf bytes.Buffer
		if err := b.WriteRange(&buf, 0, b.Size()); err != nil {
			w.t.Fatal(err)
		}
		_ = b.Close()
		out = append(out, stored{buf.String(), row.Info})
	}
	return out
}

// Who an address belongs to: the rules and examples of the system whose data is
// shared.
func TestResolve(t *testing.T) {
	w := newWorld(t)
	plain := w.user(account.NewUser{Username: "lma", Address: "l.ma@example.com"})
	idn := w.user(account.NewUser{Username: "firstlast", Address: "First.Last@xn--jgeva-dua.ee"})
	uni := w.user(account.NewUser{Username: "juri", Address: "jüri.õun@jõgeva.ee"})
	wild := w.user(account.NewUser{Username: "wild", Address: "wild@wild.test"})
	for _, a := range []string{"*@wild.test", "abc*@wild.test", "*bc@wild.test", "roaming@*", "õ*@jõgeva.ee", "info*@example.com"} {
		if _, err := w.accounts.AddAddress(t.Context(), wild.ID, account.NewAddress{Address: a, AllowWildcard: true}); err != nil {
			t.Fatal(err)
		}
	}
	off := w.user(account.NewUser{Username: "off", Address: "off@example.com"})
	if _, err := w.accounts.Update(t.Context(), off.ID, account.Changes{Disabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	held := w.user(account.NewUser{Username: "held", Address: "held@example.com"})
	if _, err := w.accounts.Update(t.Context(), held.ID, account.Changes{Suspended: new(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.accounts.AddForwarded(t.Context(), account.NewForwarded{Address: "fwd@example.com", Targets: []string{"x@far.test"}}); err != nil {
		t.Fatal(err)
	}
	for alias, domain := range map[string]string{"alias.test": "example.com", "xn--mnchen-3ya.test": "jõgeva.ee", "wildalias.test": "wild.test"} {
		if err := w.accounts.AddDomainAlias(t.Context(), alias, domain); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		addr string
		want mail.AccountID
		code mail.Code
	}{
		// case, dots and labels
		{"l.ma@example.com", plain.ID, 0},
		{"lma@example.com", plain.ID, 0},
		{"L.M.A+Label+more@EXAMPLE.com", plain.ID, 0},
		{".l..ma.@example.com", plain.ID, 0},
		{"lmb@example.com", mail.AccountID{}, mail.CodeNotFound},
		{"lma@example.org", mail.AccountID{}, mail.CodeNotFound},
		{"lma", mail.AccountID{}, mail.CodeNotFound},
		{"@example.com", mail.AccountID{}, mail.CodeNotFound},
		{"+label@example.com", mail.AccountID{}, mail.CodeNotFound},
		{"", mail.AccountID{}, mail.CodeNotFound},
		{strings.Repeat("x", 5000) + "@example.com", mail.AccountID{}, mail.CodeNotFound},
		// domains in Unicode and Punycode, whichever was stored
		{"first.last+tag@XN--JGEVA-DUA.ee", idn.ID, 0},
		{"firstlast@jõgeva.ee", idn.ID, 0},
		{"FIRSTLAST@JÕGEVA.EE", idn.ID, 0},
		{"firstlast@jo\u0303geva.ee", idn.ID, 0},
		{"firstlast@sub.xn--jgeva-dua.ee", mail.AccountID{}, mail.CodeNotFound},
		// local parts in Unicode, composed or not
		{"jüri.õun@jõgeva.ee", uni.ID, 0},
		{"JÜRI.ÕUN@xn--jgeva-dua.ee", uni.ID, 0},
		{"ju\u0308rio\u0303un@jo\u0303geva.ee", uni.ID, 0},
		{"jurioun@jõgeva.ee", mail.AccountID{}, mail.CodeNotFound},
		// domain aliases
		{"L.M.A+x@Alias.TEST", plain.ID, 0},
		{"firstlast@münchen.test", idn.ID, 0},
		{"first.last@xn--mnchen-3ya.test", idn.ID, 0},
		{"nobody@alias.test", mail.AccountID{}, mail.CodeNotFound},
		// wildcards, also by way of an alias, and for every domain
		{"anything@wild.test", wild.ID, 0},
		{"abcd+x@wild.test", wild.ID, 0},
		{"information.desk@example.com", wild.ID, 0},
		{"in.fo@alias.test", wild.ID, 0},
		{"õie@xn--jgeva-dua.ee", wild.ID, 0},
		{"oie@jõgeva.ee", mail.AccountID{}, mail.CodeNotFound},
		{"any@wildalias.test", wild.ID, 0},
		{"roa.ming@any.where.test", wild.ID, 0},
		{"*@wild.test", mail.AccountID{}, mail.CodeNotFound},
		{"abc*@wild.test", mail.AccountID{}, mail.CodeNotFound},
		// no mailbox, no mail, mail
		{"fwd@example.com", mail.AccountID{}, mail.CodeNotFound},
		{"off@example.com", mail.AccountID{}, mail.CodeDisabled},
		{"held@example.com", held.ID, 0},
	} {
		r, err := w.Resolve(t.Context(), tc.addr)
		switch {
		case tc.code != 0:
			if err == nil || mail.CodeOf(err) != tc.code {
				t.Errorf("%.60q: %v, %v, want code %v", tc.addr, r, err, tc.code)
			}
		case err != nil || r.Account != tc.want || r.Address != tc.addr:
			t.Errorf("%.60q: %+v, %v", tc.addr, r, err)
		}
	}
}

func TestDeliver(t *testing.T) {
	counter := memlimit.New(memlimit.Options{})
	received := limit.NewBatch(counter, delivery.ReceivedWindow, time.Hour, func(key string, err error) { t.Error(key, err) })
	w := newWorld(t, func(o *delivery.Options) { o.Received = received })
	ann, bob := w.user(account.NewUser{Username: "ann"}), w.user(account.NewUser{Username: "bob"})
	gone := w.user(account.NewUser{Username: "gone"})
	rcpts := []*delivery.Recipient{
		w.resolve("ann@example.com"), w.resolve("gone@example.com"), w.resolve("Bob+x@EXAMPLE.com"), w.resolve("ann@example.com"),
	}
	if err := w.accounts.Delete(t.Context(), gone.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	const text = "Subject: x\r\n\r\nbare\nline\x00\r\n"
	remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 25}
	env := delivery.Envelope{
		Sender: delivery.Sender{Address: "s@remote.test"}, Recipients: rcpts, Client: "mx.remote.test", Remote: remote, Protocol: "LMTP",
	}
	before := time.Now().Add(-time.Second)
	got := w.Deliver(t.Context(), env, w.draft(text))
	if len(got) != 4 {
		t.Fatalf("%d verdicts", len(got))
	}
	for i, v := range got {
		if i == 1 {
			if v.Err == nil {
				t.Error("delivered to an account that is gone")
			}
			continue
		}
		if v.Err != nil || v.ID.IsZero() {
			t.Errorf("recipient %d: %+v", i, v)
		}
	}
	if got[0].ID == got[3].ID {
		t.Error("a recipient named twice has one message")
	}
	mails := w.inbox(ann.ID)
	if len(mails) != 2 || mails[0].content != mails[1].content {
		t.Fatalf("%q", mails)
	}
	if want := "Delivered-To: ann@example.com\r\nReturn-Path: <s@remote.test>\r\n" + text; mails[0].content != want {
		t.Errorf("stored %q, want %q", mails[0].content, want)
	}
	mails = w.inbox(bob.ID)
	if len(mails) != 1 || mails[0].content != "Delivered-To: Bob+x@example.com\r\nReturn-Path: <s@remote.test>\r\n"+text {
		t.Fatalf("%q", mails)
	}
	var info struct {
		Source, From, Origin, Transhost, Transtype string
		To                                         []string
		Time                                       time.Time
	}
	if err := json.Unmarshal([]byte(mails[0].info), &info); err != nil {
		t.Fatal(err)
	}
	if info.Source != "MX" || info.From != "s@remote.test" || len(info.To) != 1 || info.To[0] != "Bob+x@EXAMPLE.com" ||
		info.Origin != "192.0.2.7" || info.Transhost != "mx.remote.test" || info.Transtype != "LMTP" || info.Time.Before(before) {
		t.Errorf("info %s", mails[0].info)
	}
	if err := received.Close(); err != nil {
		t.Fatal(err)
	}
	for acct, want := range map[mail.AccountID]int64{ann.ID: 2, bob.ID: 1, gone.ID: 0} {
		c, err := counter.Add(t.Context(), limit.Received(acct.String()), 0, math.MaxInt64, delivery.ReceivedWindow)
		if err != nil || c.Value != want {
			t.Errorf("%d received are counted for %s, want %d: %v", c.Value, acct, want, err)
		}
	}
}

// However many deliveries race, an account takes what fits and no more, and
// each of them is told the truth.
func TestQuotaRace(t *testing.T) {
	const text = "Subject: x\r\n\r\n0123456789\r\n"
	const fit, racers = 7, 40
	size := int64(len("Delivered-To: full@example.com\r\nReturn-Path: <s@x>\r\n" + text))
	for _, how := range []string{"one transaction", "many transactions"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			full := w.user(account.NewUser{Username: "full", Profile: account.Profile{Quota: new(fit*size + size/2)}})
			other := w.user(account.NewUser{Username: "other"})
			env := delivery.Envelope{Sender: delivery.Sender{Address: "s@x"}}
			var verdicts []delivery.Verdict
			if how == "one transaction" {
				for range racers {
					env.Recipients = append(env.Recipients, w.resolve("full@example.com"))
				}
				env.Recipients = append(env.Recipients, w.resolve("other@example.com"))
				verdicts = w.Deliver(t.Context(), env, w.draft(text))
			} else {
				verdicts = race(w, env, racers, text)
			}
			ok := 0
			for _, v := range verdicts[:racers] {
				switch {
				case v.Err == nil:
					ok++
				case mail.CodeOf(v.Err) != mail.CodeOverQuota:
					t.Errorf("%v", v.Err)
				}
			}
			a, err := w.accounts.Get(t.Context(), full.ID)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(w.inbox(full.ID)); ok != fit || n != fit || a.StorageUsed != fit*size {
				t.Errorf("%d accepted, %d stored, %d octets used; want %d and %d", ok, n, a.StorageUsed, fit, fit*size)
			}
			if how == "one transaction" && (verdicts[racers].Err != nil || len(w.inbox(other.ID)) != 1) {
				t.Errorf("the recipient beside the full one: %v", verdicts[racers].Err)
			}
			// Half a message still fits: the address is not refused yet. One octet
			// over the limit it is.
			w.resolve("full@example.com")
			if _, err := w.accounts.Update(t.Context(), full.ID, account.Changes{Profile: account.Profile{Quota: new(fit * size)}}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Resolve(t.Context(), "full@example.com"); mail.CodeOf(err) != mail.CodeOverQuota {
				t.Errorf("full to the last octet: %v", err)
			}
		})
	}
}

// race delivers n messages at the same time.
func race(w *world, env delivery.Envelope, n int, text string) []delivery.Verdict {
	out := make([]delivery.Verdict, n)
	var wg sync.WaitGroup
	for i := range n {
		e := env
		e.Recipients = []*delivery.Recipient{w.resolve("full@example.com")}
		d := w.draft(text)
		wg.Go(func() { out[i] = w.Deliver(w.t.Context(), e, d)[0] })
	}
	wg.Wait()
	return out
}

// faulty is a mailbox service with trouble.
type faulty struct {
	delivery.Mailboxes
	stage  error
	append func(acct mail.AccountID) error

	mu      sync.Mutex
	lookups int
	running atomic.Int32
	most    atomic.Int32
}

func (f *faulty) Stage(ctx context.Context, c *store.Content) (store.Staged, error) {
	if f.stage != nil {
		return nil, f.stage
	}
	return f.Mailboxes.Stage(ctx, c)
}

func (f *faulty) Lookup(ctx context.Context, acct mail.AccountID, name string) (*mail.Mailbox, error) {
	f.mu.Lock()
	f.lookups++
	f.mu.Unlock()
	return f.Mailboxes.Lookup(ctx, acct, name)
}

func (f *faulty) Append(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, in ...store.Append) ([]store.Appended, error) {
	n := f.running.Add(1)
	defer f.running.Add(-1)
	for m := f.most.Load(); n > m && !f.most.CompareAndSwap(m, n); m = f.most.Load() {
	}
	if f.append != nil {
		if err := f.append(acct); err != nil {
			return nil, err
		}
	}
	return f.Mailboxes.Append(ctx, acct, mbox, in...)
}

func faultyWorld(t *testing.T, parallel int) (*world, *faulty) {
	f := &faulty{}
	w := newWorld(t, func(o *delivery.Options) {
		f.Mailboxes = o.Mailboxes
		o.Mailboxes, o.Parallel = f, parallel
	})
	return w, f
}

// Trouble is told to those whom it concerns, with its code.
func TestTrouble(t *testing.T) {
	w, f := faultyWorld(t, 0)
	ann, bob := w.user(account.NewUser{Username: "ann"}), w.user(account.NewUser{Username: "bob"})
	env := delivery.Envelope{Recipients: []*delivery.Recipient{w.resolve("ann@example.com"), w.resolve("bob@example.com")}}
	full := mail.WrapError(mail.CodeNoSpace, "", errors.New("disk full"))

	f.stage = full
	for i, v := range w.Deliver(t.Context(), env, w.draft("x")) {
		if mail.CodeOf(v.Err) != mail.CodeNoSpace || !errors.Is(v.Err, full) {
			t.Errorf("recipient %d: %v", i, v.Err)
		}
	}
	f.stage = nil
	f.append = func(a mail.AccountID) error {
		if a == ann.ID {
			return full
		}
		return nil
	}
	got := w.Deliver(t.Context(), env, w.draft("x"))
	if mail.CodeOf(got[0].Err) != mail.CodeNoSpace || got[1].Err != nil {
		t.Errorf("%+v", got)
	}
	if a, b := len(w.inbox(ann.ID)), len(w.inbox(bob.ID)); a != 0 || b != 1 {
		t.Errorf("%d and %d messages", a, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.append = nil
	for i, v := range w.Deliver(ctx, env, w.draft("x")) {
		if v.Err == nil {
			t.Errorf("recipient %d has a message of a context that has ended", i)
		}
	}
}

// The id of an INBOX is looked up once, and again when it does not hold any
// more.
func TestInboxIsRemembered(t *testing.T) {
	w, f := faultyWorld(t, 0)
	ann := w.user(account.NewUser{Username: "ann"})
	env := delivery.Envelope{Recipients: []*delivery.Recipient{w.resolve("ann@example.com")}}
	for range 3 {
		if v := w.Deliver(t.Context(), env, w.draft("x")); v[0].Err != nil {
			t.Fatal(v[0].Err)
		}
	}
	if f.lookups != 1 {
		t.Errorf("%d look-ups", f.lookups)
	}
	refused := 0
	f.append = func(mail.AccountID) error {
		if refused++; refused == 1 {
			return mail.NewError(mail.CodeNoMailbox, "it has another id now")
		}
		return nil
	}
	if v := w.Deliver(t.Context(), env, w.draft("x")); v[0].Err != nil || f.lookups != 2 {
		t.Errorf("%+v after %d look-ups", v, f.lookups)
	}
	// One that stays away is an error, not a loop.
	f.append = func(mail.AccountID) error { return mail.NewError(mail.CodeNoMailbox, "gone") }
	if v := w.Deliver(t.Context(), env, w.draft("x")); mail.CodeOf(v[0].Err) != mail.CodeNoMailbox {
		t.Errorf("%+v", v)
	}
	if n := len(w.inbox(ann.ID)); n != 4 {
		t.Errorf("%d messages", n)
	}
}

// Recipients of one message are stored at the same time, but not all.
func TestParallel(t *testing.T) {
	const parallel, n = 3, 12
	w, f := faultyWorld(t, parallel)
	env := delivery.Envelope{}
	for i := range n {
		w.user(account.NewUser{Username: fmt.Sprintf("u%d", i)})
		env.Recipients = append(env.Recipients, w.resolve(fmt.Sprintf("u%d@example.com", i)))
	}
	// Three meet at a time, or the test would not end.
	meet := make(chan struct{})
	f.append = func(mail.AccountID) error {
		select {
		case meet <- struct{}{}:
		case <-meet:
		case <-time.After(10 * time.Second):
			return errors.New("nobody came")
		}
		return nil
	}
	for i, v := range w.Deliver(t.Context(), env, w.draft("x")) {
		if v.Err != nil {
			t.Errorf("recipient %d: %v", i, v.Err)
		}
	}
	if m := f.most.Load(); m < 2 || m > parallel {
		t.Errorf("%d at the same time, want at most %d", m, parallel)
	}
}
