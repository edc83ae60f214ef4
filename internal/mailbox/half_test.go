package mailbox

import (
	"context"
	"slices"
	"testing"

	"mallard/internal/event/membus"
	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

// halfway is an engine that makes a change to the first message only and then fails.
type halfway struct {
	Store
	err error
}

func first(uids mail.UIDSet) mail.UIDSet { return mail.UIDSetOf(uids[0].First) }

func (h halfway) UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error) {
	u.UIDs = first(u.UIDs)
	_, err := h.Store.UpdateFlags(ctx, acct, mbox, u)
	return nil, either(err, h.err)
}

func (h halfway) Copy(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet, quota int64) (*store.CopyResult, error) {
	_, err := h.Store.Copy(ctx, acct, from, to, first(uids), quota)
	return nil, either(err, h.err)
}

func (h halfway) Move(ctx context.Context, acct mail.AccountID, from, to mail.MailboxID, uids mail.UIDSet) (*store.CopyResult, error) {
	_, err := h.Store.Move(ctx, acct, from, to, first(uids))
	return nil, either(err, h.err)
}

func (h halfway) Expunge(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, onlyDeleted bool) (*store.ExpungeResult, error) {
	_, err := h.Store.Expunge(ctx, acct, mbox, first(uids), onlyDeleted)
	return nil, either(err, h.err)
}

func (h halfway) Delete(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids mail.UIDSet, keep bool) (*store.ExpungeResult, error) {
	_, err := h.Store.Delete(ctx, acct, mbox, first(uids), keep)
	return nil, either(err, h.err)
}

func either(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Others are told of a change that failed after it was made to some messages.
func TestHalfAChangeIsTold(t *testing.T) {
	f := newFixture(t, memstore.Options{}, nil)
	inbox, other := f.boxes[0], f.boxes[1]
	f.add(t, inbox, 8, mail.Flags{})
	later := mail.NewError(mail.CodeNoSpace, "later")
	f.Service = New(Options{Store: halfway{f.store, later}, Bus: membus.New()})
	sub, err := f.Subscribe(t.Context(), f.acct)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for _, tc := range []struct {
		name string
		f    func(ctx context.Context) error
		want []mail.MailboxID
	}{
		{"STORE", func(ctx context.Context) error {
			_, err := f.UpdateFlags(ctx, f.acct, inbox, store.FlagUpdate{UIDs: mail.UIDSetOf(1, 2), Mode: store.FlagsAdd, Flags: mail.NewFlags(mail.Seen)})
			return err
		}, []mail.MailboxID{inbox}},
		{"COPY", func(ctx context.Context) error {
			_, err := f.Copy(ctx, f.acct, inbox, other, mail.UIDSetOf(1, 2))
			return err
		}, []mail.MailboxID{other}},
		{"MOVE", func(ctx context.Context) error {
			_, err := f.Move(ctx, f.acct, inbox, other, mail.UIDSetOf(3, 4))
			return err
		}, []mail.MailboxID{inbox, other}},
		{"EXPUNGE", func(ctx context.Context) error {
			_, err := f.Expunge(ctx, f.acct, inbox, mail.UIDSetOf(5, 6), false)
			return err
		}, []mail.MailboxID{inbox}},
		{"DELETE", func(ctx context.Context) error {
			_, err := f.Remove(ctx, f.acct, inbox, mail.UIDSetOf(7, 8), false)
			return err
		}, []mail.MailboxID{inbox}},
	} {
		if err := tc.f(t.Context()); mail.CodeOf(err) != mail.CodeNoSpace {
			t.Errorf("%s: %v", tc.name, err)
		}
		var got []mail.MailboxID
		for _, e := range sub.Take() {
			got = append(got, e.Mailbox)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: told of %v, want %v", tc.name, got, tc.want)
		}
	}
	if n := len(f.rows(t, inbox)); n != 5 {
		t.Errorf("%d messages in INBOX, want 5", n)
	}
}
