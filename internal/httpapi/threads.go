package httpapi

import (
	"context"
	"fmt"

	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// decorate adds what is known only after a look at other messages of the account:
// those of the same conversations, and drafts.
func (a *API) decorate(ctx context.Context, acct mail.AccountID, items []messageItem, counters, drafts, collapsed bool) error {
	if len(items) == 0 || !counters && !drafts {
		return nil
	}
	t := threads{a: a, acct: acct, members: map[mail.ThreadID][]store.ThreadMember{}}
	for i := range items {
		members, err := t.of(ctx, items[i].Thread)
		if err != nil {
			return err
		}
		if counters {
			n := len(members)
			items[i].ThreadCount = &n
		}
	}
	if !drafts {
		return nil
	}
	drafted, replied, err := t.drafts(ctx)
	if err != nil {
		return err
	}
	for i := range items {
		has := replied[items[i].MessageID] && items[i].MessageID != ""
		if collapsed {
			has = drafted[items[i].Thread]
		}
		items[i].HasDrafts = &has
	}
	return nil
}

// threads are the conversations of a page.
type threads struct {
	a       *API
	acct    mail.AccountID
	members map[mail.ThreadID][]store.ThreadMember
}

// of returns where the messages of a conversation are.
func (t *threads) of(ctx context.Context, id mail.ThreadID) ([]store.ThreadMember, error) {
	if m, known := t.members[id]; known {
		return m, nil
	}
	var out []store.ThreadMember
	for m, err := range t.a.opt.Mailboxes.Thread(ctx, t.acct, id) {
		if err != nil {
			return nil, fmt.Errorf("read a conversation: %w", err)
		}
		out = append(out, m)
	}
	t.members[id] = out
	return out, nil
}

// drafts looks at the messages of the conversations, and at all of the mailbox for
// drafts: a draft with another subject is in a conversation of its own. It returns the
// conversations that have drafts, and the Message-IDs that drafts answer.
func (t *threads) drafts(ctx context.Context) (drafted map[mail.ThreadID]bool, replied map[string]bool, err error) {
	boxes, err := t.a.opt.Mailboxes.List(ctx, t.acct)
	if err != nil {
		return nil, nil, err
	}
	look := map[mail.MailboxID][]mail.UID{}
	for _, members := range t.members {
		for _, m := range members {
			look[m.Mailbox] = append(look[m.Mailbox], m.UID)
		}
	}
	drafted, replied = map[mail.ThreadID]bool{}, map[string]bool{}
	for _, b := range boxes {
		uids := mail.UIDSetOf(look[b.ID]...)
		if b.SpecialUse == mail.UseDrafts {
			uids = mail.AllUIDs()
		}
		if len(uids) == 0 {
			continue
		}
		if err := t.draftsIn(ctx, b.ID, uids, drafted, replied); err != nil && mail.CodeOf(err) != mail.CodeNoMailbox {
			return nil, nil, err
		}
	}
	return drafted, replied, nil
}

func (t *threads) draftsIn(ctx context.Context, mbox mail.MailboxID, uids mail.UIDSet, drafted map[mail.ThreadID]bool, replied map[string]bool) error {
	var found []mail.UID
	for row, err := range t.a.opt.Mailboxes.Fetch(ctx, t.acct, mbox, store.FetchQuery{UIDs: uids}) {
		if err != nil {
			return fmt.Errorf("look for drafts: %w", err)
		}
		if row.Flags.Has(mail.Draft) {
			found = append(found, row.UID)
		}
	}
	if len(found) == 0 {
		return nil
	}
	q := store.FetchQuery{UIDs: mail.UIDSetOf(found...), Fields: store.FieldSummary}
	for row, err := range t.a.opt.Mailboxes.Fetch(ctx, t.acct, mbox, q) {
		if err != nil {
			return fmt.Errorf("look at drafts: %w", err)
		}
		drafted[row.ThreadID] = true
		if sum, err := message.DecodeSummary(row.Summary); err == nil {
			for _, id := range message.MessageIDs(sum.InReplyTo) {
				replied[id] = true
			}
		}
	}
	return nil
}
