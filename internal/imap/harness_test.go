package imap_test

import (
	"context"
	"fmt"
	"iter"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mallard/internal/draft"
	"mallard/internal/event"
	"mallard/internal/event/membus"
	"mallard/internal/imap"
	"mallard/internal/imap/imapclient"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a server on the model store, with one account.
type world struct {
	srv     *imap.Server
	options imap.Options
	store   *memstore.Store
	boxes   *mailbox.Service
	bus     event.Bus
	acct    *mail.Account
	// quota is what Quota answers.
	used, allowed int64
	logins        int
	closeBus      func()
	reading       atomic.Int32 // how many look at rows of the store now
	readings      atomic.Int32 // how often it was begun to look at them
}

// watched is a store that counts who looks at its rows.
type watched struct {
	*memstore.Store
	reading, readings *atomic.Int32
}

func (w *watched) Fetch(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		w.readings.Add(1)
		w.reading.Add(1)
		defer w.reading.Add(-1)
		w.Store.Fetch(ctx, acct, mbox, q)(yield)
	}
}

// setting changes how a world is made.
type setting func(*memstore.Options, *imap.Options)

func options(change func(*imap.Options)) setting {
	return func(_ *memstore.Options, o *imap.Options) { change(o) }
}

func fault(f func(op string) error) setting {
	return func(o *memstore.Options, _ *imap.Options) { o.Fault = f }
}

func newWorld(t testing.TB, settings ...setting) *world {
	t.Helper()
	w := &world{used: 2048, allowed: 1 << 20}
	so := memstore.Options{Mangle: true}
	o := imap.Options{
		Auth: w, Accounts: w, Receiver: draft.New(draft.Options{Dir: t.TempDir()}),
		AllowPlain: true, MaxAppend: 1 << 20, KeepAlive: -1, Version: "1",
	}
	for _, s := range settings {
		s(&so, &o)
	}
	w.store = memstore.New(so)
	bus := membus.New()
	w.bus = bus
	w.closeBus = func() { _ = bus.Close() }
	t.Cleanup(func() { _ = bus.Close(); _ = w.store.Close() })
	var err error
	w.acct, err = w.store.CreateAccount(context.Background(), store.NewAccount{
		Account: mail.Account{Username: "jane", Activated: true}, View: "jane",
		Mailboxes: []mail.Mailbox{
			{Path: "INBOX", Subscribed: true}, {Path: "Sent", SpecialUse: mail.UseSent, Subscribed: true},
			{Path: "Trash", SpecialUse: mail.UseTrash, Subscribed: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.options = o
	w.serve()
	return w
}

// serve makes the server on the store, another one when there is one.
func (w *world) serve() {
	w.boxes = mailbox.New(mailbox.Options{Store: &watched{w.store, &w.reading, &w.readings}, Bus: w.bus})
	w.options.Mailboxes = w.boxes
	w.srv = imap.New(w.options)
}

func (w *world) Login(_ context.Context, user, pass string, _ net.Addr, _ string) (*mail.Account, error) {
	w.logins++
	if user == "jane" && pass == "secret" {
		return w.acct, nil
	}
	return nil, mail.NewError(mail.CodeAuthFailed, "Invalid credentials")
}

func (w *world) Quota(context.Context, mail.AccountID) (int64, int64, error) {
	return w.used, w.allowed, nil
}

func (w *world) Acquire(context.Context, *mail.Account) (func(), error) { return func() {}, nil }

// inbox is the id of INBOX.
func (w *world) box(t testing.TB, name string) mail.MailboxID {
	t.Helper()
	b, err := w.boxes.Lookup(context.Background(), w.acct.ID, name)
	if err != nil {
		t.Fatal(err)
	}
	return b.ID
}

// server is one connection's side of the server.
type server struct {
	stop context.CancelFunc // shuts the server down
	done <-chan struct{}    // closed when the connection is over
}

// ended waits for the end of the connection.
func (s *server) ended(t testing.TB) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not end the connection")
	}
}

// connect returns the client's side of a connection. Over TCP what is written
// need not be read at once.
func (w *world) connect(t testing.TB, tcp bool) (net.Conn, *server) {
	t.Helper()
	near, far := pipe(t, tcp)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		w.srv.Serve(ctx, far)
	}()
	t.Cleanup(func() {
		_ = near.Close()
		cancel()
		<-done
	})
	return near, &server{cancel, done}
}

func pipe(t testing.TB, tcp bool) (near, far net.Conn) {
	t.Helper()
	if !tcp {
		return net.Pipe()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// client is a strict client that is logged in; everything that it does not expect
// fails the test.
type client struct {
	*imapclient.Client
	t   testing.TB
	srv *server
}

func (w *world) client(t testing.TB) *client {
	t.Helper()
	c := w.stranger(t)
	if err := c.Login("jane", "secret"); err != nil {
		t.Fatal(err)
	}
	return c
}

// stranger is a client that is not logged in.
func (w *world) stranger(t testing.TB) *client {
	t.Helper()
	conn, srv := w.connect(t, true)
	c, err := imapclient.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	c.Timeout = 10 * time.Second
	return &client{c, t, srv}
}

// do sends a command and wants it to be answered with the given condition and,
// behind a space, response code: "OK", "NO OVERQUOTA".
func (c *client) do(want, format string, args ...any) *imapclient.Result {
	c.t.Helper()
	res, err := c.Cmd(format, args...)
	if err != nil {
		c.t.Fatalf("%.100s: %v", fmt.Sprintf(format, args...), err)
	}
	if got := condition(res.Response); got != want && !strings.HasPrefix(got, want+" ") {
		c.t.Fatalf("%.100s: %s %s, want %s", fmt.Sprintf(format, args...), got, res.Text, want)
	}
	return res
}

func condition(r *imapclient.Response) string {
	if r.Code == nil {
		return r.Name
	}
	return strings.TrimSpace(r.Name + " " + r.Code.Name + " " + r.Code.Args)
}

// ok is do with OK.
func (c *client) ok(format string, args ...any) *imapclient.Result {
	c.t.Helper()
	return c.do("OK", format, args...)
}

// add appends messages with text and returns when they are stored.
func (c *client) add(box string, texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		c.ok("APPEND %s {%d+}\r\n%s", box, len(text), text)
	}
}

const letter = "From: a@b.test\r\nSubject: hi\r\n\r\nbody\r\n"

// lines is what a client was told, in short.
func lines(res *imapclient.Result) []string {
	var out []string
	for _, r := range res.Untagged {
		out = append(out, line(r))
	}
	return out
}

func line(r *imapclient.Response) string {
	switch r.Name {
	case "EXISTS", "RECENT", "EXPUNGE":
		return fmt.Sprint(r.Number, " ", r.Name)
	case "FETCH":
		s := fmt.Sprint(r.Number, " FETCH")
		if r.Fetch.UID != 0 {
			s += fmt.Sprint(" UID ", r.Fetch.UID)
		}
		if r.Fetch.Flags != nil {
			s += fmt.Sprint(" ", slices.DeleteFunc(slices.Clone(r.Fetch.Flags), func(f string) bool { return f == `\Recent` }))
		}
		if r.Fetch.ModSeq != 0 {
			s += fmt.Sprint(" MODSEQ ", r.Fetch.ModSeq)
		}
		return s
	case "SEARCH":
		s := "SEARCH" + strings.TrimSuffix(fmt.Sprint(" ", r.Search.Numbers), " []")
		if r.Search.ModSeq != 0 {
			s += fmt.Sprint(" MODSEQ ", r.Search.ModSeq)
		}
		return s
	case "LIST", "LSUB":
		return fmt.Sprint(r.Name, " ", r.List.Attributes, " ", r.List.Mailbox)
	}
	return strings.TrimSpace(condition(r) + " " + r.Text)
}

func (c *client) wantLines(res *imapclient.Result, want ...string) {
	c.t.Helper()
	if got := lines(res); !slices.Equal(got, want) {
		c.t.Errorf("told\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
