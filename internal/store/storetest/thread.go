package storetest

import (
	"context"
	"fmt"
	"maps"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func conversationCases() []caseFunc {
	return []caseFunc{
		{"Members", threadMembers},
		{"Unknown", threadUnknown},
		{"Many", threadMany},
	}
}

// thread returns the messages of a conversation.
func (f *fixture) thread(id mail.ThreadID) map[store.ThreadMember]bool {
	f.Helper()
	out, err := threadOf(f.ctx, f.s, f.acct, id)
	f.must(err)
	return out
}

func threadOf(ctx context.Context, s store.Store, acct mail.AccountID, id mail.ThreadID) (map[store.ThreadMember]bool, error) {
	out := map[store.ThreadMember]bool{}
	for m, err := range s.Thread(ctx, acct, id) {
		if err != nil {
			return nil, err
		}
		if out[m] {
			return nil, fmt.Errorf("message %d of mailbox %s comes twice", m.UID, m.Mailbox)
		}
		out[m] = true
	}
	return out, nil
}

// sameThreads compares the conversations of an account with its messages.
func sameThreads(ctx context.Context, s store.Store, acct mail.AccountID, boxes []boxState) error {
	want := map[mail.ThreadID]map[store.ThreadMember]bool{}
	for _, b := range boxes {
		for _, r := range b.Rows {
			if want[r.ThreadID] == nil {
				want[r.ThreadID] = map[store.ThreadMember]bool{}
			}
			want[r.ThreadID][store.ThreadMember{Mailbox: b.Row.ID, UID: r.UID}] = true
		}
	}
	for id, members := range want {
		got, err := threadOf(ctx, s, acct, id)
		if err != nil {
			return fmt.Errorf("conversation %s: %w", id, err)
		}
		if !maps.Equal(got, members) {
			return fmt.Errorf("conversation %s is %v, want %v", id, got, members)
		}
	}
	return nil
}

// reply is a message of the conversation that note(1) starts.
func reply(n int) *store.Content {
	c := note(n)
	first := note(1)
	c.References, c.Subject = append(c.References, first.References...), first.Subject
	return c
}

func threadMembers(f *fixture) {
	other := f.mailbox("other")
	a := f.append(f.inbox, note(1), store.Append{})
	b := f.append(f.inbox, reply(2), store.Append{})
	lone := f.append(f.inbox, note(9), store.Append{})
	if a.ThreadID != b.ThreadID || a.ThreadID == lone.ThreadID {
		f.Fatalf("conversations %v, %v and %v", a.ThreadID, b.ThreadID, lone.ThreadID)
	}
	wants := func(what string, want ...store.ThreadMember) {
		f.Helper()
		set := map[store.ThreadMember]bool{}
		for _, m := range want {
			set[m] = true
		}
		if got := f.thread(a.ThreadID); !maps.Equal(got, set) {
			f.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	at := func(box mail.MailboxID, uid mail.UID) store.ThreadMember {
		return store.ThreadMember{Mailbox: box, UID: uid}
	}
	wants("appended", at(f.inbox, a.UID), at(f.inbox, b.UID))
	copied, err := f.s.Copy(f.ctx, f.acct, f.inbox, other.ID, mail.AllUIDs(), 0)
	f.must(err)
	wants("copied", at(f.inbox, a.UID), at(f.inbox, b.UID), at(other.ID, copied.To[0]), at(other.ID, copied.To[1]))
	moved, err := f.s.Move(f.ctx, f.acct, f.inbox, other.ID, mail.OneUID(a.UID))
	f.must(err)
	wants("moved", at(f.inbox, b.UID), at(other.ID, copied.To[0]), at(other.ID, copied.To[1]), at(other.ID, moved.To[0]))
	f.expunge(other.ID, copied.To[0])
	f.update(f.inbox, store.FlagUpdate{UIDs: mail.AllUIDs(), Flags: f.flags(`\Seen`)})
	f.reopen()
	wants("expunged", at(f.inbox, b.UID), at(other.ID, copied.To[1]), at(other.ID, moved.To[0]))
	f.must(f.s.DeleteMailbox(f.ctx, f.acct, other.ID, 0))
	wants("mailbox deleted", at(f.inbox, b.UID))
	f.maintain()
	wants("and gone", at(f.inbox, b.UID))
}

func threadUnknown(f *fixture) {
	a := f.append(f.inbox, note(1), store.Append{})
	stranger := f.account("stranger", "INBOX")
	if got, err := threadOf(f.ctx, f.s, stranger.ID, a.ThreadID); err != nil || len(got) != 0 {
		f.Errorf("another account's conversation: %v (%v)", got, err)
	}
	if got := f.thread(mail.ThreadID{1}); len(got) != 0 {
		f.Errorf("an unknown conversation: %v", got)
	}
	_, err := threadOf(f.ctx, f.s, mail.AccountID{1}, a.ThreadID)
	f.wants("unknown account", err, mail.CodeNoAccount)
}

// threadMany stops in the middle of a conversation that is read in several steps.
func threadMany(f *fixture) {
	const n = 2500
	staged := f.stage(reply(2))
	defer func() { f.must(staged.Close()) }()
	in := make([]store.Append, n)
	for i := range in {
		in[i] = store.Append{Staged: staged, InternalDate: testDate(i)}
	}
	out, err := f.s.Append(f.ctx, f.acct, f.inbox, in)
	f.must(err)
	if got := f.thread(out[0].ThreadID); len(got) != n {
		f.Errorf("%d messages, want %d", len(got), n)
	}
	seen := 0
	for range f.s.Thread(f.ctx, f.acct, out[0].ThreadID) {
		if seen++; seen == 3 {
			break
		}
	}
}
