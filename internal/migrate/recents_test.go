package migrate_test

import (
	"context"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/migrate"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// What sessions were told of the messages comes along, also when nothing else has changed.
func TestRecents(t *testing.T) {
	for from, open := range engines() {
		for to, target := range engines() {
			if from == "mongo" || to == "mongo" {
				continue // which has no place for it
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				a, b := open(t), target(t)
				defer func() { _, _ = a.Close(), b.Close() }()
				recents(t, a, b, nil)
			})
		}
	}
	t.Run("beside the target", func(t *testing.T) {
		a := memstore.New(memstore.Options{})
		recents(t, a, without{openPebble(t, t.TempDir(), false)}, &beside{told: map[mail.MailboxID]mail.UID{}})
	})
}

// without is an engine that has no place for it, beside is what is beside such a one.
type (
	without struct{ migrate.Engine }
	beside  struct{ told map[mail.MailboxID]mail.UID }
)

func (b *beside) TakeRecent(_ context.Context, _ mail.AccountID, mbox mail.MailboxID, upTo mail.UID) (mail.UID, error) {
	told := b.told[mbox]
	b.told[mbox] = max(told, upTo)
	return told, nil
}

func (b *beside) LimitRecent(_ context.Context, _ mail.AccountID, mbox mail.MailboxID, last mail.UID) error {
	b.told[mbox] = min(b.told[mbox], last)
	return nil
}

// A mailbox that had more UIDs when it was at the target before does not keep new messages from being recent.
func TestRecentsOfLongerMailbox(t *testing.T) {
	from := memstore.New(memstore.Options{})
	w := newWorld(t, from, 2)
	first, second := w.accounts[0], w.accounts[1]
	w.deliver(first, "INBOX", 5)
	w.deliver(second, "INBOX", 5)
	inbox, other := w.box(first, "INBOX").ID, w.box(second, "INBOX").ID
	at := &beside{told: map[mail.MailboxID]mail.UID{inbox: 9, other: 4}}
	r := w.to(without{openPebble(t, t.TempDir(), false)})
	r.o.Workers, r.o.ToRecents = 1, at
	for _, r.o.FromRecents = range []store.Recents{nil, &beside{told: map[mail.MailboxID]mail.UID{}}} {
		at.told[inbox] = 9
		r.clean()
		if at.told[inbox] != 5 || at.told[other] != 4 {
			t.Errorf("sessions were told up to %d and %d, want 5, the last UID, and 4", at.told[inbox], at.told[other])
		}
	}
}

func recents(t *testing.T, from, to migrate.Engine, at store.Recents) {
	ctx := context.Background()
	w := newWorld(t, from, 2)
	first, second := w.accounts[0], w.accounts[1]
	w.deliver(first, "INBOX", 5)
	w.deliver(second, "INBOX", 2)
	inbox, other := w.box(first, "INBOX").ID, w.box(second, "INBOX").ID
	take := func(acct mail.AccountID, box mail.MailboxID, upTo mail.UID) {
		t.Helper()
		_, err := from.(store.Recents).TakeRecent(ctx, acct, box, upTo)
		w.must(err)
	}
	r := w.to(to)
	r.o.Workers, r.o.ToRecents = 1, at
	found := at
	if found == nil {
		found = to.(store.Recents)
	}
	check := func(what string, acct mail.AccountID, box mail.MailboxID, want mail.UID) {
		t.Helper()
		if got, err := found.TakeRecent(ctx, acct, box, 0); err != nil || got != want {
			t.Errorf("%s: sessions were told up to %d (%v), want %d", what, got, err, want)
		}
	}
	take(first, inbox, 3)
	r.clean()
	check("told of some", first, inbox, 3)
	check("told of none", second, other, 0)
	take(first, inbox, 4)
	take(second, other, 2)
	if again := r.clean(); again.Copied+again.Updated != 0 {
		t.Errorf("a pass for what sessions were told: %+v", again)
	}
	check("told of more", first, inbox, 4)
	check("told of all", second, other, 2)
	w.deliver(first, "INBOX", 1)
	r.clean()
	check("one more message", first, inbox, 4)
	r.same()
}
