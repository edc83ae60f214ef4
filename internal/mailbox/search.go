package mailbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// Found is a message that a search has found.
type Found struct {
	UID    mail.UID
	ModSeq mail.ModSeq
}

// Hit is a message that a search of several mailboxes has found.
type Hit struct {
	Mailbox      mail.MailboxID
	UID          mail.UID
	ModSeq       mail.ModSeq
	Flags        mail.Flags
	ID           mail.MessageID
	Thread       mail.ThreadID
	InternalDate time.Time
}

// Search returns the messages of a mailbox that match, in ascending order. It
// asks the cheapest source first: the hot records, then the index of the text,
// and only what is left is opened and looked at. Errors: NoMailbox.
func (s *Service) Search(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, p *search.Program) ([]Found, error) {
	hits, err := s.find(ctx, boxKey{acct, mbox}, p, false)
	if err != nil {
		return nil, err
	}
	return foundOf(hits), nil
}

func foundOf(hits []Hit) []Found {
	found := make([]Found, len(hits))
	for i, h := range hits {
		found[i] = Found{h.UID, h.ModSeq}
	}
	return found
}

// Find searches a mailbox like Search and tells more of what it has found.
func (s *Service) Find(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, p *search.Program) ([]Hit, error) {
	return s.find(ctx, boxKey{acct, mbox}, p, true)
}

// Row is what is known of the message from the search.
func (h *Hit) Row() mail.HotRow { return mail.HotRow{UID: h.UID, ModSeq: h.ModSeq, Flags: h.Flags} }

// find searches a mailbox. Without facts only UID and ModSeq of hits are certain to be there.
func (s *Service) find(ctx context.Context, key boxKey, p *search.Program, facts bool) ([]Hit, error) {
	if s.cache != nil {
		return s.findCached(ctx, key, p, facts)
	}
	q := store.FetchQuery{}
	set, restricted := p.UIDs()
	if restricted {
		if len(set) == 0 {
			return nil, nil
		}
		q.UIDs = set
	}
	if !p.AsksRecord() && p.Needs()&search.NeedText != 0 {
		if !restricted {
			set = mail.AllUIDs()
		}
		return s.searchOpen(ctx, key, p, set)
	}
	var found []Hit
	var open mail.UIDSet
	for row, err := range s.store.Fetch(ctx, key.acct, key.mbox, q) {
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		rec := record(row)
		switch p.Hot(&rec) {
		case search.Yes:
			found = append(found, hitOf(key, row))
		case search.Unknown:
			open = open.Append(row.UID)
		}
	}
	more, err := s.searchOpen(ctx, key, p, open)
	if err != nil {
		return nil, err
	}
	return merge(found, more), nil
}

func hitOf(key boxKey, row *store.Row) Hit {
	return Hit{Mailbox: key.mbox, UID: row.UID, ModSeq: row.ModSeq, Flags: row.Flags, ID: row.ID, Thread: row.ThreadID, InternalDate: row.InternalDate}
}

func record(row *store.Row) search.Record {
	return search.Record{
		UID: row.UID, ModSeq: row.ModSeq, Flags: row.Flags, Size: row.Size,
		InternalDate: row.InternalDate, EmailID: row.EmailID,
	}
}

// searchOpen decides about messages that the hot records leave open.
func (s *Service) searchOpen(ctx context.Context, key boxKey, p *search.Program, open mail.UIDSet) ([]Hit, error) {
	if len(open) == 0 {
		return nil, nil
	}
	open, err := s.candidates(ctx, key.acct, key.mbox, p, open)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	var found []Hit
	var text textReader
	q := store.FetchQuery{UIDs: open, Fields: searchFields(p.Needs())}
	for row, err := range s.store.Fetch(ctx, key.acct, key.mbox, q) {
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		d := document{row: row, rec: record(row), text: &text}
		ok, err := p.Match(&d)
		if err != nil {
			return nil, fmt.Errorf("search message %d: %w", row.UID, err)
		}
		if ok {
			found = append(found, hitOf(key, row))
		}
	}
	return found, nil
}

func searchFields(n search.Needs) store.Fields {
	var f store.Fields
	if n&search.NeedSummary != 0 {
		f |= store.FieldSummary | store.FieldMeta
	}
	if n&search.NeedHeader != 0 {
		f |= store.FieldHeader
	}
	if n&search.NeedText != 0 {
		f |= store.FieldBody
	}
	return f
}

// candidates asks the index which messages may match at all.
func (s *Service) candidates(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, p *search.Program, set mail.UIDSet) (mail.UIDSet, error) {
	var uids []mail.UID
	for _, alternative := range p.Candidates() {
		if len(alternative) == 0 {
			return set, nil
		}
		needles := make([][]byte, len(alternative))
		for i, n := range alternative {
			needles[i] = n.Text
		}
		for uid, err := range s.store.MayContain(ctx, acct, mbox, set, needles) {
			if err != nil {
				return nil, fmt.Errorf("search the index: %w", err)
			}
			uids = append(uids, uid)
		}
	}
	return mail.UIDSetOf(uids...), nil
}

// merge joins lists that have no message in common, in order.
func merge(lists ...[]Hit) []Hit {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(x, y Hit) int { return cmp.Compare(x.UID, y.UID) })
	return all
}
