package mailbox

import (
	"context"
	"fmt"
	"slices"

	"mallard/internal/mail"
	"mallard/internal/search"
	"mallard/internal/store"
)

// Found is a message that a search has found.
type Found struct {
	UID    mail.UID
	ModSeq mail.ModSeq
}

// Search returns the messages of a mailbox that match, in ascending order. It
// asks the cheapest source first: the hot records, then the index of the text,
// and only what is left is opened and looked at.
func (s *Service) Search(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, p *search.Program) ([]Found, error) {
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
		return s.searchOpen(ctx, acct, mbox, p, set)
	}
	var found []Found
	var open mail.UIDSet
	for row, err := range s.store.Fetch(ctx, acct, mbox, q) {
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		rec := record(row)
		switch p.Hot(&rec) {
		case search.Yes:
			found = append(found, Found{row.UID, row.ModSeq})
		case search.Unknown:
			open = open.Append(row.UID)
		}
	}
	if len(open) == 0 {
		return found, nil
	}
	more, err := s.searchOpen(ctx, acct, mbox, p, open)
	if err != nil {
		return nil, err
	}
	return merge(found, more), nil
}

func record(row *store.Row) search.Record {
	return search.Record{
		UID: row.UID, ModSeq: row.ModSeq, Flags: row.Flags, Size: row.Size,
		InternalDate: row.InternalDate, EmailID: row.EmailID,
	}
}

// searchOpen decides about messages that the hot records leave open.
func (s *Service) searchOpen(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, p *search.Program, open mail.UIDSet) ([]Found, error) {
	open, err := s.candidates(ctx, acct, mbox, p, open)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	var found []Found
	var text textReader
	q := store.FetchQuery{UIDs: open, Fields: searchFields(p.Needs())}
	for row, err := range s.store.Fetch(ctx, acct, mbox, q) {
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		d := document{row: row, rec: record(row), text: &text}
		ok, err := p.Match(&d)
		if err != nil {
			return nil, fmt.Errorf("search message %d: %w", row.UID, err)
		}
		if ok {
			found = append(found, Found{row.UID, row.ModSeq})
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

// merge joins two lists that are in order and have no message in common.
func merge(a, b []Found) []Found {
	if len(b) == 0 {
		return a
	}
	out := append(a, b...)
	slices.SortFunc(out, func(x, y Found) int {
		switch {
		case x.UID < y.UID:
			return -1
		case x.UID > y.UID:
			return 1
		}
		return 0
	})
	return out
}
