package mongostore

import (
	"maps"
	"testing"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// A mailbox is looked up with one read, of its own document, however many messages it has.
func TestLookupReads(t *testing.T) {
	w := &shardWatch{seen: map[string]int{}, all: map[string]int{}}
	s := openStore(t, func(o *Options) { o.monitor = w.monitor() })
	ctx := t.Context()
	a, err := s.CreateAccount(ctx, store.NewAccount{
		Account: mail.Account{Username: "look"}, View: "look", Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "Trash", SpecialUse: mail.UseTrash}},
	})
	must(t, err)
	inbox, err := s.MailboxByPath(ctx, a.ID, "INBOX")
	must(t, err)
	deliver(t, s, a.ID, inbox.ID, 1)
	for name, tc := range map[string]struct {
		look func() error
		want map[string]int
	}{
		"Mailbox":       {func() error { _, err := s.Mailbox(ctx, a.ID, inbox.ID); return err }, map[string]int{"find mailboxes": 1}},
		"MailboxByPath": {func() error { _, err := s.MailboxByPath(ctx, a.ID, "INBOX"); return err }, map[string]int{"find mailboxes": 1}},
		"ListMailboxes": {func() error { _, err := s.ListMailboxes(ctx, a.ID); return err }, map[string]int{"find users": 1, "find mailboxes": 1}},
		"UpdateMailbox": {func() error {
			_, err := s.UpdateMailbox(ctx, a.ID, inbox.ID, func(b *mail.Mailbox) error { b.Hidden = !b.Hidden; return nil })
			return err
		}, map[string]int{"find mailboxes": 1, "findAndModify mailboxes": 1}},
		"Counters": {func() error { _, err := s.Counters(ctx, a.ID, inbox.ID); return err }, map[string]int{"find mailboxes": 1, "aggregate messages": 1}},
	} {
		w.reset()
		must(t, tc.look())
		if got := w.counted(); !maps.Equal(got, tc.want) {
			t.Errorf("%s sent %v, want %v", name, got, tc.want)
		}
	}
}
