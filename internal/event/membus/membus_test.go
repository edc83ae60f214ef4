package membus_test

import (
	"context"
	"slices"
	"testing"

	"mallard/internal/event"
	"mallard/internal/event/bustest"
	"mallard/internal/event/membus"
	"mallard/internal/mail"
)

func TestBus(t *testing.T) {
	bustest.Run(t, bustest.Config{
		Open: func(_ testing.TB, n int) []event.Bus {
			return slices.Repeat([]event.Bus{membus.New()}, n)
		},
		MaxPending: membus.MaxChanged + membus.MaxDrop + 1,
	})
}

func TestLimits(t *testing.T) {
	gen, err := mail.NewIDGenerator(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		kind  event.Kind
		limit int
	}{
		{"Changed", event.Changed, membus.MaxChanged},
		{"Drop", event.Drop, membus.MaxDrop},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := membus.New()
			defer b.Close()
			sub, err := b.Subscribe(context.Background(), mail.AccountID{1})
			if err != nil {
				t.Fatal(err)
			}
			publish := func() {
				e := event.Event{Account: mail.AccountID{1}, Kind: tc.kind, Mailbox: mail.NewID[mail.MailboxID](gen)}
				if err := b.Publish(context.Background(), e); err != nil {
					t.Fatal(err)
				}
			}
			for range tc.limit {
				publish()
			}
			if got := sub.Take(); len(got) != tc.limit {
				t.Errorf("at the limit: %d events, want %d", len(got), tc.limit)
			}
			for range tc.limit + 1 {
				publish()
			}
			got := sub.Take()
			if len(got) != 1 || !got[0].Mailbox.IsZero() || got[0].Kind != tc.kind {
				t.Errorf("beyond the limit: %+v, want one event without a mailbox", got)
			}
		})
	}
}

// An event for any mailbox covers the named ones that wait and those that follow.
func TestAnyCovers(t *testing.T) {
	b := membus.New()
	defer b.Close()
	acct := mail.AccountID{1}
	sub, err := b.Subscribe(context.Background(), acct)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []mail.MailboxID{{1}, {2}, {}, {3}, {}} {
		if err := b.Publish(context.Background(), event.Event{Account: acct, Mailbox: m}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := sub.Take(), []event.Event{{Account: acct}}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func BenchmarkPublish(b *testing.B) {
	bus := membus.New()
	defer bus.Close()
	acct := mail.AccountID{1}
	for range 3 {
		if _, err := bus.Subscribe(context.Background(), acct); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		_ = bus.Publish(context.Background(), event.Event{Account: acct, Mailbox: mail.MailboxID{7}})
	}
}
