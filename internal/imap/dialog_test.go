package imap_test

import (
	"context"
	"net"
	"regexp"
	"strings"
	"testing"

	"mallard/internal/dialogtest"
	"mallard/internal/draft"
	"mallard/internal/event/membus"
	"mallard/internal/imap"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// world is a server on the model store, with one account.
type world struct {
	srv   *imap.Server
	boxes *mailbox.Service
	acct  *mail.Account
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st := memstore.New(memstore.Options{Mangle: true})
	bus := membus.New()
	t.Cleanup(func() { _ = bus.Close(); _ = st.Close() })
	acct, err := st.CreateAccount(t.Context(), store.NewAccount{
		Account: mail.Account{Username: "jane", Activated: true}, View: "jane",
		Mailboxes: []mail.Mailbox{
			{Path: "INBOX", Subscribed: true}, {Path: "Sent", SpecialUse: mail.UseSent, Subscribed: true},
			{Path: "Trash", SpecialUse: mail.UseTrash, Subscribed: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{acct: acct}
	w.boxes = mailbox.New(mailbox.Options{Store: st, Bus: bus})
	w.srv = imap.New(imap.Options{
		Auth: w, Accounts: w, Mailboxes: w.boxes, Receiver: draft.New(draft.Options{Dir: t.TempDir()}),
		AllowPlain: true, MaxAppend: 1 << 20, KeepAlive: -1, Version: "1",
	})
	return w
}

func (w *world) Login(_ context.Context, user, pass string, _ net.Addr, _ string) (*mail.Account, error) {
	if user == "jane" && pass == "secret" {
		return w.acct, nil
	}
	return nil, mail.NewError(mail.CodeAuthFailed, "Invalid credentials")
}

func (w *world) Quota(context.Context, mail.AccountID) (int64, int64, error) { return 2048, 1 << 20, nil }

func (w *world) Acquire(context.Context, *mail.Account) (func(), error) { return func() {}, nil }

func TestDialogs(t *testing.T) {
	dialogtest.Run(t, "testdata/dialogs", func(t *testing.T) dialogtest.Server {
		return dialogtest.Server{
			Serve: newWorld(t).srv.Serve,
			Ends: func(sent, line string) bool {
				tag, _, _ := strings.Cut(sent, " ")
				for _, p := range []string{tag + " ", "+ ", "* BAD", "* BYE"} {
					if strings.HasPrefix(line, p) {
						return true
					}
				}
				return false
			},
			Unstable: []*regexp.Regexp{
				regexp.MustCompile(`(UIDVALIDITY) \d+`), regexp.MustCompile(`(\[APPENDUID) \d+`),
				regexp.MustCompile(`(\[COPYUID) \d+`), regexp.MustCompile(`(INTERNALDATE) "[^"]*"`),
				regexp.MustCompile(`((?:EMAIL|THREAD|MAILBOX)ID) \([0-9a-f]+\)`),
			},
		}
	})
}
