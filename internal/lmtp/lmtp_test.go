package lmtp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mallard/internal/account"
	"mallard/internal/auth/password"
	"mallard/internal/delivery"
	"mallard/internal/dialogtest"
	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/lmtp"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// world is a server on the model store with the services of the real one.
type world struct {
	store    *memstore.Store
	delivery *delivery.Service
	srv      *lmtp.Server
	jane     *mail.Account
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st := memstore.New(memstore.Options{Mangle: true})
	bus := membus.New()
	t.Cleanup(func() { _ = bus.Close(); _ = st.Close() })
	accounts, err := account.New(account.Options{Store: st, Hasher: password.NewVerifier(password.Options{}), Events: bus, EmailDomain: "example.test"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: st}
	for _, u := range []account.NewUser{
		{Username: "jane", Address: "jane.roe@example.test"},
		{Username: "full", Address: "full@example.test", Profile: account.Profile{Quota: new(int64(300))}},
		{Username: "idn", Address: "jürgen@jõgeva.ee"},
		{Username: "off", Address: "off@example.test"},
	} {
		a, err := accounts.Create(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		if u.Username == "jane" {
			w.jane = a
		}
	}
	w.moreAddresses(t, accounts)
	boxes := mailbox.New(mailbox.Options{Store: st, Bus: bus, Quota: func(ctx context.Context, id mail.AccountID) (int64, error) {
		a, err := accounts.Get(ctx, id)
		if err != nil {
			return 0, err
		}
		l, err := accounts.Limits(ctx, a)
		return l.Quota, err
	}})
	w.delivery = delivery.New(delivery.Options{
		Directory: accounts, Mailboxes: boxes, Receiver: draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 4096}),
	})
	w.srv = lmtp.New(lmtp.Options{
		Backend: w.delivery,
		Name:    "mx.test", MaxSize: 8192, MaxRecipients: 3, MaxErrors: 8, MaxLine: 200,
	})
	return w
}

// moreAddresses makes the rows that are no plain mailbox: a disabled account, a
// forwarded address, a wildcard and a domain alias.
func (w *world) moreAddresses(t *testing.T, accounts *account.Service) {
	t.Helper()
	off, err := accounts.FindByName(t.Context(), "off")
	if err != nil {
		t.Fatal(err)
	}
	_, err = accounts.Update(t.Context(), off.ID, account.Changes{Disabled: new(true)})
	if err == nil {
		_, err = accounts.AddForwarded(t.Context(), account.NewForwarded{Address: "elsewhere@example.test", Targets: []string{"x@far.test"}})
	}
	if err == nil {
		_, err = accounts.AddAddress(t.Context(), w.jane.ID, account.NewAddress{Address: "*@wild.test", AllowWildcard: true})
	}
	if err == nil {
		err = accounts.AddDomainAlias(t.Context(), "alias.test", "example.test")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDialogs(t *testing.T) {
	dialogtest.Run(t, "testdata/dialogs", func(t *testing.T) dialogtest.Server {
		return dialogtest.Server{
			Serve: newWorld(t).srv.Serve,
			// An answer is as many lines as the script has asked for with
			// "!lines", or one reply.
			Ends:     func(_, line string) bool { return len(line) < 4 || line[3] != '-' },
			Unstable: []*regexp.Regexp{regexp.MustCompile(`(stored as) [0-9a-f]+`)},
		}
	})
}

// stored returns the messages in Jane's INBOX.
func (w *world) stored(t *testing.T) [][]byte {
	t.Helper()
	box, err := w.store.MailboxByPath(t.Context(), w.jane.ID, mail.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for row, err := range w.store.Fetch(t.Context(), w.jane.ID, box.ID, store.FetchQuery{Fields: store.FieldBody}) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := row.Open()
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		if err := b.WriteRange(&buf, 0, b.Size()); err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
		out = append(out, buf.Bytes())
	}
	return out
}

// Every octet that is sent is stored, whatever it is, however the connection cuts
// it, by DATA and by BDAT.
func TestVerbatim(t *testing.T) {
	messages := map[string]string{
		"plain":        "Subject: x\r\n\r\nhello\r\n",
		"bare LF":      "Subject: x\n\nhello\nworld\r\n",
		"bare CR":      "Subject: x\r\n\r\nhel\rlo\r\r\n",
		"NUL":          "Subject: \x00x\r\n\r\n\x00\x01\r\n",
		"8 bit":        "Subject: \xff\xfe\r\n\r\n\x80\r\n",
		"dots":         "Subject: x\r\n\r\n.\r\n..\r\n...x\r\n.y\r\n",
		"smuggling":    "Subject: x\r\n\r\na\n.\nb\n.\r\nc\r.\r\nQUIT\r\n",
		"empty header": "\r\nbody\r\n",
		"only CRLF":    "\r\n",
		"large":        "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef 01234567\r\n", 250),
		"long line":    "Subject: x\r\n\r\n" + strings.Repeat("x", 7000) + "\r\n",
	}
	const prefix = "Delivered-To: jane.roe@example.test\r\nReturn-Path: <bob@remote.test>\r\n"
	for name, text := range messages {
		for _, how := range []string{"DATA", "BDAT"} {
			for _, cut := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
				w := newWorld(t)
				var in strings.Builder
				in.WriteString("LHLO c\r\nMAIL FROM:<bob@remote.test>\r\nRCPT TO:<jane.roe@example.test>\r\n")
				if how == "DATA" {
					in.WriteString("DATA\r\n" + strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n..")[2:] + ".\r\n")
				} else {
					half := len(text) / 2
					fmt.Fprintf(&in, "BDAT %d\r\n%sBDAT %d LAST\r\n%s", half, text[:half], len(text)-half, text[half:])
				}
				in.WriteString("QUIT\r\n")
				out := converse(t, w.srv, cut(strings.NewReader(in.String())))
				if !strings.Contains(out, "250 2.0.0 Message stored") || !strings.HasSuffix(out, "221 2.0.0 Bye\r\n") {
					t.Fatalf("%s by %s: server said\n%s", name, how, out)
				}
				got := w.stored(t)
				if len(got) != 1 || string(got[0]) != prefix+text {
					t.Errorf("%s by %s: stored %q, want %q", name, how, got, prefix+text)
				}
			}
		}
	}
}

// converse sends everything and returns everything that the server said.
func converse(t *testing.T, srv *lmtp.Server, in io.Reader) string {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		srv.Serve(t.Context(), far)
		_ = far.Close()
	}()
	go func() { _, _ = io.Copy(near, in) }()
	out, err := io.ReadAll(near)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// However the input looks, the server ends, and within its limits.
func FuzzSession(f *testing.F) {
	f.Add("LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<jane.roe@example.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
	f.Add("LHLO a\r\nMAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<\"a b\"@c>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\nRSET\r\n")
	f.Add("BDAT 99999999999999999999\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		// A message that is announced and does not come ends by the time-out.
		srv := lmtp.New(lmtp.Options{Backend: newWorld(t).delivery, ReadTimeout: 50 * time.Millisecond, MaxSize: 8192})
		converse(t, srv, strings.NewReader(in+"\r\nQUIT\r\n.\r\nQUIT\r\n"))
	})
}
