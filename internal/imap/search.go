package imap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/mailbox"
	"mallard/internal/search"
)

// search is SEARCH (RFC 3501, 6.4.4) with result options (RFC 4731), WITHIN
// (RFC 5032) and MODSEQ (RFC 7162, 3.1.5).
func (s *session) search(ctx context.Context, cmd *imapwire.Command, a *imapwire.Search) error {
	q, err := s.query(&a.Key)
	if err != nil {
		return err
	}
	p, err := search.Compile(q, search.Limits{})
	if errors.Is(err, search.ErrTooComplex) {
		return mail.WrapError(mail.CodeLimit, "The search is too complex", err)
	}
	if err != nil {
		return &imapwire.Error{Kind: imapwire.Bad, Text: err.Error()}
	}
	if a.Return != nil && (a.Return.Save || a.Return.Partial != nil) {
		return &imapwire.Error{Kind: imapwire.Bad, Text: "SAVE and PARTIAL are not supported"}
	}
	found, err := s.view.Search(ctx, p)
	if err != nil {
		return err
	}
	nums, modSeqs := s.found(cmd, found)
	if !usesModSeq(&a.Key) {
		clear(modSeqs)
	}
	if a.Return == nil {
		s.w.Search(nums, highest(modSeqs))
	} else {
		s.w.ESearch(cmd.Tag, esearch(cmd.UID, a.Return, nums, modSeqs))
	}
	return s.ok(ctx, cmd, "")
}

// found turns messages into the numbers that the command asked for. What the
// client has not been told of yet is left out.
func (s *session) found(cmd *imapwire.Command, found []mailbox.Found) (nums []uint32, modSeqs []uint64) {
	for _, f := range found {
		seq, ok := s.view.Seq(f.UID)
		if !ok {
			continue
		}
		if cmd.UID {
			seq = uint32(f.UID)
		}
		nums = append(nums, seq)
		modSeqs = append(modSeqs, uint64(f.ModSeq))
	}
	return nums, modSeqs
}

func highest(modSeqs []uint64) (top uint64) {
	for _, m := range modSeqs {
		top = max(top, m)
	}
	return top
}

// esearch is the result that was asked for. The mod-sequence told is the highest
// of the messages that are told (RFC 4731, 3.2).
func esearch(uid bool, ret *imapwire.SearchReturn, nums []uint32, modSeqs []uint64) *imapwire.ESearchData {
	d := &imapwire.ESearchData{UID: uid, ModSeq: highest(modSeqs)}
	if n := len(nums); n > 0 && (ret.Min || ret.Max) && !ret.All && !ret.Count {
		d.ModSeq = 0
		if ret.Min {
			d.ModSeq = modSeqs[0]
		}
		if ret.Max {
			d.ModSeq = max(d.ModSeq, modSeqs[n-1])
		}
	}
	if len(nums) > 0 && ret.Min {
		d.Min = nums[0]
	}
	if len(nums) > 0 && ret.Max {
		d.Max = nums[len(nums)-1]
	}
	if ret.All || !ret.Min && !ret.Max && !ret.Count {
		d.All = nums
	}
	if ret.Count {
		n := uint32(len(nums))
		d.Count = &n
	}
	return d
}

// usesModSeq reports whether a search asks for a mod-sequence; then the highest
// one found is told (RFC 7162, 3.1.5).
func usesModSeq(k *imapwire.SearchKey) bool {
	if k.Op == imapwire.SearchModSeq {
		return true
	}
	for i := range k.Keys {
		if usesModSeq(&k.Keys[i]) {
			return true
		}
	}
	return false
}

// query maps the criteria of the wire to those of package search.
func (s *session) query(k *imapwire.SearchKey) (search.Query, error) {
	switch k.Op {
	case imapwire.SearchAnd, imapwire.SearchOr, imapwire.SearchNot:
		return s.queryGroup(k)
	case imapwire.SearchSeq:
		set, err := s.existing(k.Set)
		return search.UIDs(set), err
	case imapwire.SearchUID:
		set, err := s.uidSet(k.Set)
		return search.UIDs(set), err
	case imapwire.SearchKeyword:
		return s.queryFlag(k.Text), nil
	case imapwire.SearchEmailID:
		id, err := mail.ParseID[struct{}](k.Text)
		if err != nil {
			return search.Or{}, nil // no message has it
		}
		return search.EmailID(mail.EmailID(id)), nil
	case imapwire.SearchThreadID:
		id, err := mail.ParseID[struct{}](k.Text)
		if err != nil {
			return search.Or{}, nil
		}
		return search.ThreadID(mail.ThreadID(id)), nil
	case imapwire.SearchModSeq:
		s.enabled.condStore = true
		return search.ModSeq(k.Number), nil
	}
	if q := textQuery(k); q != nil {
		return q, nil
	}
	return dateQuery(k)
}

func (s *session) queryGroup(k *imapwire.SearchKey) (search.Query, error) {
	kids := make([]search.Query, len(k.Keys))
	for i := range k.Keys {
		q, err := s.query(&k.Keys[i])
		if err != nil {
			return nil, err
		}
		kids[i] = q
	}
	switch k.Op {
	case imapwire.SearchAnd:
		return search.And(kids), nil
	case imapwire.SearchOr:
		return search.Or(kids), nil
	default:
		return search.Not{Query: kids[0]}, nil
	}
}

// queryFlag is a test for a system flag, a keyword, or \Recent, which only the
// session knows.
func (s *session) queryFlag(name string) search.Query {
	if bit, ok := mail.ParseSystemFlag(name); ok {
		return search.Flags{Set: bit}
	}
	if name == `\Recent` {
		return search.UIDFunc(s.view.Recent)
	}
	return search.Keyword(name)
}

// textQuery maps searches for strings and sizes; nil for anything else.
func textQuery(k *imapwire.SearchKey) search.Query {
	switch k.Op {
	case imapwire.SearchAll:
		return search.All{}
	case imapwire.SearchBcc:
		return search.Header{Field: "Bcc", Contains: k.Text}
	case imapwire.SearchCc:
		return search.Header{Field: "Cc", Contains: k.Text}
	case imapwire.SearchFrom:
		return search.Header{Field: "From", Contains: k.Text}
	case imapwire.SearchSubject:
		return search.Header{Field: "Subject", Contains: k.Text}
	case imapwire.SearchTo:
		return search.Header{Field: "To", Contains: k.Text}
	case imapwire.SearchHeader:
		return search.Header{Field: k.Field, Contains: k.Text}
	case imapwire.SearchBody:
		return search.Body(k.Text)
	case imapwire.SearchText:
		return search.Text(k.Text)
	case imapwire.SearchLarger:
		return search.Larger(int64(k.Number))
	case imapwire.SearchSmaller:
		return search.Smaller(int64(k.Number))
	}
	return nil
}

func dateQuery(k *imapwire.SearchKey) (search.Query, error) {
	day := search.DayOf(k.Date)
	seconds := time.Duration(min(k.Number, 1<<33)) * time.Second
	switch k.Op {
	case imapwire.SearchBefore:
		return search.InternalDate{Compare: search.Before, Day: day}, nil
	case imapwire.SearchOn:
		return search.InternalDate{Compare: search.On, Day: day}, nil
	case imapwire.SearchSince:
		return search.InternalDate{Compare: search.Since, Day: day}, nil
	case imapwire.SearchSentBefore:
		return search.SentDate{Compare: search.Before, Day: day}, nil
	case imapwire.SearchSentOn:
		return search.SentDate{Compare: search.On, Day: day}, nil
	case imapwire.SearchSentSince:
		return search.SentDate{Compare: search.Since, Day: day}, nil
	case imapwire.SearchOlder:
		return search.Older(time.Now(), seconds), nil
	case imapwire.SearchYounger:
		return search.Younger(time.Now(), seconds), nil
	}
	return nil, &imapwire.Error{Kind: imapwire.Bad, Text: fmt.Sprintf("Search key %s is not supported", k)}
}
