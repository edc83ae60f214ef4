package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mallard/internal/account"
	"mallard/internal/auth/password"
	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// world is a mail store in memory with its control server.
type world struct {
	t      *testing.T
	boxes  *mailbox.Service
	server *Server
	client *Client
	user   *mail.Account
	quota  atomic.Int64
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t}
	st := memstore.New(memstore.Options{Mangle: true})
	bus := membus.New()
	t.Cleanup(func() { _ = bus.Close() })
	accounts, err := account.New(account.Options{Store: st, Hasher: password.NewVerifier(password.Options{}), Events: bus, EmailDomain: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	w.boxes = mailbox.New(mailbox.Options{Store: st, Bus: bus, Quota: func(context.Context, mail.AccountID) (int64, error) { return w.quota.Load(), nil }})
	o := Options{
		API: http.NotFoundHandler(), Accounts: accounts, Mailboxes: w.boxes, Version: "test",
		Receiver: draft.New(draft.Options{Dir: t.TempDir()}),
	}
	if change != nil {
		change(&o)
	}
	if w.server, err = NewServer(o); err != nil {
		t.Fatal(err)
	}
	w.client = InProcess(w.server)
	t.Cleanup(func() {
		if err := w.client.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.user, err = accounts.Create(t.Context(), account.NewUser{Username: "jane", Address: "jane@example.org"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) box(path string) *Mailbox {
	w.t.Helper()
	b, err := w.client.Mailbox(w.t.Context(), w.user.ID, path)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// message is a message of an append.
func message(text string, flags ...string) AppendMessage {
	return AppendMessage{
		AppendMeta{Flags: flags, Date: time.Unix(1_500_000_000, 0).UTC()},
		func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	}
}

// contents are all messages of a mailbox.
func (w *world) contents(b *Mailbox) []string {
	w.t.Helper()
	var out []string
	err := w.client.Messages(w.t.Context(), w.user.ID, b.ID, func(m *ExportMeta, content func(io.Writer) error) error {
		var buf bytes.Buffer
		if m.Error != "" {
			out = append(out, fmt.Sprintf("%d damaged", m.UID))
			return nil
		}
		if err := content(&buf); err != nil {
			out = append(out, fmt.Sprintf("%d cut", m.UID))
			return nil
		}
		out = append(out, buf.String())
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestAppendAndRead(t *testing.T) {
	w := newWorld(t, nil)
	b := w.box("Lists/Go")
	big := "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 100_000)
	results, err := w.client.Append(t.Context(), w.user.ID, b.ID, []AppendMessage{
		message("Subject: one\r\n\r\n", `\Seen`, "$Label1"), message(""), message(big), message("x", "bad flag"), message("no header at all"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []AppendResult{{UID: 1}, {Code: "invalid", Error: "The message is empty"}, {UID: 2}, {Code: "invalid", Error: "Flags are not valid: character ' ' is not allowed in a keyword"}, {UID: 3}}
	if !slices.Equal(results, want) {
		t.Errorf("results %+v, want %+v", results, want)
	}
	if got := w.contents(b); !slices.Equal(got, []string{"Subject: one\r\n\r\n", big, "no header at all"}) {
		t.Errorf("%d messages came back: %.100q", len(got), got)
	}
	err = w.client.Messages(t.Context(), w.user.ID, b.ID, func(m *ExportMeta, _ func(io.Writer) error) error {
		if m.UID == 1 && (!slices.Equal(m.Flags, []string{`\Seen`, "$Label1"}) || m.Date.Unix() != 1_500_000_000 || m.Size != 16) {
			t.Errorf("message 1 is %+v", m)
		}
		return nil // what is not read is skipped
	})
	if err != nil {
		t.Fatal(err)
	}
	boxes, err := w.client.Mailboxes(t.Context(), w.user.ID)
	if err != nil || !slices.ContainsFunc(boxes, func(m Mailbox) bool { return m.Path == "Lists/Go" && m.Messages == 3 && m.UIDNext == 4 }) {
		t.Errorf("mailboxes %+v, %v", boxes, err)
	}
	var digests []string
	err = w.client.Digests(t.Context(), w.user.ID, b.ID, 3, func(d Digest) error {
		digests = append(digests, d.SHA256)
		return nil
	})
	sum := sha256.Sum256([]byte("no header at all"))
	if err != nil || !slices.Equal(digests, []string{hex.EncodeToString(sum[:])}) {
		t.Errorf("digests %q, %v", digests, err)
	}
}

// A message that cannot be read keeps the others from being stored, and is named.
func TestAppendSourceFails(t *testing.T) {
	w := newWorld(t, nil)
	b := w.box("A")
	broken := errors.New("broken")
	bad := AppendMessage{Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), failing{broken})), nil
	}}
	_, err := w.client.Append(t.Context(), w.user.ID, b.ID, []AppendMessage{message("one"), bad, message("two")})
	source, ok := errors.AsType[*SourceError](err)
	if !ok || source.Index != 1 || !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if got := w.contents(b); len(got) != 0 {
		t.Errorf("%q was stored", got)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestAppendLimits(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxMessage = 100 })
	b := w.box("A")
	results, err := w.client.Append(t.Context(), w.user.ID, b.ID, []AppendMessage{message(strings.Repeat("x", 101)), message("two")})
	if err != nil || results[0].Code != "too-big" || results[1].UID != 1 {
		t.Errorf("%+v, %v", results, err)
	}
	_, err = w.client.Append(t.Context(), w.user.ID, b.ID, slices.Repeat([]AppendMessage{message("x")}, MaxBatch+1))
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != http.StatusBadRequest {
		t.Errorf("too many messages: %v", err)
	}
	if got := w.contents(b); len(got) != 1 {
		t.Errorf("%d messages are stored, want 1", len(got))
	}
	w.quota.Store(10)
	results, err = w.client.Append(t.Context(), w.user.ID, b.ID, []AppendMessage{message("1234"), message("567890"), message("1")})
	if err != nil || results[0].UID == 0 || results[1].Code != "over-quota" || results[2].Code != "over-quota" {
		t.Errorf("a full account: %+v, %v", results, err)
	}
}

// The calls refuse what is no id and what is not there.
func TestBadCalls(t *testing.T) {
	w := newWorld(t, nil)
	b := w.box("A")
	user := "/_control/users/" + w.user.ID.String()
	for _, tt := range []struct {
		method, path string
		body         any
		want         int
	}{
		{http.MethodGet, "/_control/user?name=nobody", nil, 404},
		{http.MethodGet, "/_control/users/x/mailboxes", nil, 400},
		{http.MethodPost, user + "/mailboxes", MailboxRequest{"a//b"}, 400},
		{http.MethodPost, user + "/mailboxes", "text", 400},
		{http.MethodGet, user + "/mailboxes/x/messages", nil, 400},
		{http.MethodGet, user + "/mailboxes/" + w.user.ID.String() + "/messages", nil, 404},
		{http.MethodGet, user + "/mailboxes/" + b.ID.String() + "/digests?from=-1", nil, 400},
		{http.MethodPost, user + "/mailboxes/" + b.ID.String() + "/append", "no frames", 500},
		{http.MethodPost, "/_control/check", nil, 404},
		{http.MethodDelete, "/_control/ping", nil, 404}, // as any path that the API does not know
	} {
		err := w.client.Call(t.Context(), tt.method, tt.path, tt.body, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != tt.want {
			t.Errorf("%s %s: %v, want status %d", tt.method, tt.path, err, tt.want)
		}
	}
	var u User
	if err := w.client.Call(t.Context(), http.MethodGet, "/_control/user?name=Jane@EXAMPLE.org", nil, &u); err != nil || u.ID != w.user.ID {
		t.Errorf("user %+v, %v", u, err)
	}
}

// holes is a mailbox service in which some messages are damaged.
type holes struct {
	Mailboxes
	unreadable, cut map[mail.UID]bool
}

func (h *holes) Fetch(ctx context.Context, acct mail.AccountID, box mail.MailboxID, q store.FetchQuery) iter.Seq2[*store.Row, error] {
	return func(yield func(*store.Row, error) bool) {
		for row, err := range h.Mailboxes.Fetch(ctx, acct, box, q) {
			if err == nil && h.unreadable[row.UID] {
				yield(nil, mail.NewError(mail.CodeCorrupt, "damaged"))
				return
			}
			if err == nil && h.cut[row.UID] {
				damaged := *row
				damaged.Open = func() (store.Body, error) { return cutBody{}, nil }
				row = &damaged
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

type cutBody struct{}

func (cutBody) Size() int64 { return 10 }
func (cutBody) WriteRange(w io.Writer, _, _ int64) error {
	_, _ = w.Write([]byte("half"))
	return mail.NewError(mail.CodeCorrupt, "damaged")
}
func (cutBody) Close() error { return nil }

// Damaged messages are told, and all others are read.
func TestReadAroundDamage(t *testing.T) {
	h := &holes{unreadable: map[mail.UID]bool{1: true, 5: true, 6: true, 20: true}, cut: map[mail.UID]bool{3: true}}
	w := newWorld(t, func(o *Options) { h.Mailboxes, o.Mailboxes = o.Mailboxes, h })
	b := w.box("A")
	var in []AppendMessage
	want := make([]string, 20)
	for i := range want {
		in = append(in, message(fmt.Sprintf("message %d", i+1)))
		uid := mail.UID(i + 1)
		switch {
		case h.unreadable[uid]:
			want[i] = fmt.Sprintf("%d damaged", uid)
		case h.cut[uid]:
			want[i] = fmt.Sprintf("%d cut", uid)
		default:
			want[i] = fmt.Sprintf("message %d", uid)
		}
	}
	if _, err := w.client.Append(t.Context(), w.user.ID, b.ID, in); err != nil {
		t.Fatal(err)
	}
	if got := w.contents(b); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestCheckLines(t *testing.T) {
	fail := false
	w := newWorld(t, func(o *Options) {
		o.Check = func(_ context.Context, repair bool, progress func(CheckProgress), problem func(Problem)) (*CheckReport, error) {
			progress(CheckProgress{Stage: "a", Done: 1, Total: 2})
			problem(Problem{Where: "here", Text: "wrong"})
			if fail != repair {
				t.Errorf("repair is %v", repair)
			}
			if fail {
				return nil, errors.New("cannot go on")
			}
			return &CheckReport{Problems: 1}, nil
		}
	})
	var lines []CheckLine
	collect := func(l CheckLine) { lines = append(lines, l) }
	if err := w.client.Check(t.Context(), fail, collect); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 3 || lines[0].Progress.Stage != "a" || lines[1].Problem.Where != "here" || lines[2].Report.Problems != 1 {
		t.Errorf("lines %+v", lines)
	}
	fail = true
	if err := w.client.Check(t.Context(), fail, collect); err == nil || err.Error() != "cannot go on" {
		t.Errorf("error %v", err)
	}
}

// The socket is the owner's alone, replaces one that was left, and is gone when
// the listener is closed; paths that are longer than a socket's work as well.
func TestSocket(t *testing.T) {
	for _, dir := range []string{t.TempDir(), longDir(t)} {
		name := filepath.Join(dir, SocketName)
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoServer) {
			t.Errorf("no server: %v", err)
		}
		l, err := Listen(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		w := newWorld(t, nil)
		srv := w.server.HTTP()
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		c, err := Dial(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Online || c.Server.Version != "test" || c.Server.PID != os.Getpid() {
			t.Errorf("server %+v", c.Server)
		}
		if err := errors.Join(c.Close(), srv.Close()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 0 {
			t.Errorf("left in the directory: %v, %v", entries, err)
		}
		if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoServer) {
			t.Errorf("no server: %v", err)
		}
	}
}

func longDir(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A server that accepts and says nothing is an error, not a wait for ever.
func TestDialSilentServer(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, dir); err == nil || errors.Is(err, ErrNoServer) || errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}
