package delivery_test

import (
	"context"
	"math"
	"strings"
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
	"mallard/internal/store/memstore"
)

// What is stored for an account is counted, what is refused is not.
func TestReceivedIsCounted(t *testing.T) {
	ctx := context.Background()
	full := false
	st := memstore.New(memstore.Options{Fault: func(op string) error {
		if full && op == "Append" {
			return mail.NewError(mail.CodeNoSpace, "the disk is full")
		}
		return nil
	}})
	bus := membus.New()
	t.Cleanup(func() { _ = bus.Close(); _ = st.Close() })
	accounts, err := account.New(account.Options{Store: st, Hasher: password.NewVerifier(password.Options{}), Events: bus, EmailDomain: "example.test"})
	if err != nil {
		t.Fatal(err)
	}
	limits := memlimit.New(memlimit.Options{})
	s := delivery.New(delivery.Options{
		Directory: accounts, Mailboxes: mailbox.New(mailbox.Options{Store: st, Bus: bus}), Counter: limits,
		Receiver: draft.New(draft.Options{Dir: t.TempDir(), MemoryMax: 4096}),
	})
	var ids []mail.AccountID
	var recipients []*delivery.Recipient
	for _, name := range []string{"ann", "bob"} {
		a, err := accounts.Create(ctx, account.NewUser{Username: name})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Resolve(ctx, name+"@example.test")
		if err != nil {
			t.Fatal(err)
		}
		ids, recipients = append(ids, a.ID), append(recipients, r)
	}
	deliver := func(to ...*delivery.Recipient) (failed int) {
		t.Helper()
		d, err := s.Receive(ctx, strings.NewReader("Subject: x\r\n\r\ny\r\n"), 1000)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for _, v := range s.Deliver(ctx, delivery.Envelope{Recipients: to}, d) {
			if v.Err != nil {
				failed++
			}
		}
		return failed
	}
	if n := deliver(recipients...) + deliver(recipients[0]); n != 0 {
		t.Fatalf("%d deliveries failed", n)
	}
	full = true
	if n := deliver(recipients...); n != 2 {
		t.Fatalf("%d deliveries failed with a full disk", n)
	}
	for i, want := range []int64{2, 1} {
		c, err := limits.Add(ctx, limit.Received(ids[i].String()), 0, math.MaxInt64, 0)
		if err != nil || c.Value != want || c.TTL <= 0 || c.TTL > time.Minute {
			t.Errorf("received by account %d: %+v (%v), want %d", i, c, err, want)
		}
	}
}
