package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mallard/internal/imap/imapwire"
	"mallard/internal/mail"
	"mallard/internal/message"
	"mallard/internal/store"
)

// fetchBatch is how many messages are read with one look at the store. Between
// batches a slow client holds on to nothing there.
const fetchBatch = 512

// fetching is a FETCH that is being answered.
type fetching struct {
	s     *session
	uid   bool // UID FETCH
	items []imapwire.FetchItem
	seen  mail.UIDSet // messages that get \Seen by this command
	count int         // messages told
	seq   int         // position in the list of UIDs, to find numbers quickly
	buf   []byte
}

// fetch is FETCH (RFC 3501, 6.4.5; RFC 7162, 3.1.4).
func (s *session) fetch(ctx context.Context, cmd *imapwire.Command, a *imapwire.Fetch) error {
	set, err := s.set(cmd, a.Set)
	if err != nil {
		return err
	}
	if a.Vanished || a.Partial != nil {
		return &imapwire.Error{Kind: imapwire.Bad, Text: "VANISHED and PARTIAL are not enabled"}
	}
	f := &fetching{s: s, uid: cmd.UID, items: s.fetchItems(cmd, a)}
	if i := slices.IndexFunc(f.items, unsupported); i >= 0 {
		return &imapwire.Error{Kind: imapwire.Bad, Text: "Data item " + f.items[i].String() + " is not supported"}
	}
	if !s.readOnly && slices.ContainsFunc(f.items, func(i imapwire.FetchItem) bool { return i.SetsSeen() }) {
		if f.seen, err = s.markSeen(ctx, set); err != nil {
			return err
		}
	}
	if err := f.run(ctx, set, a.ChangedSince); err != nil {
		return err
	}
	if !cmd.UID && a.ChangedSince == nil && f.count < s.known(set) {
		if err := s.tell(ctx, false); err != nil {
			return err
		}
		s.w.NO(cmd.Tag, imapwire.CodeExpungeIssued, "Some of the messages no longer exist")
		return nil
	}
	return s.ok(ctx, cmd, "")
}

func unsupported(i imapwire.FetchItem) bool {
	return i.Kind == imapwire.FetchBinary || i.Kind == imapwire.FetchBinarySize
}

// fetchItems are the items asked for with those that the form of the command
// adds: UID for UID FETCH, MODSEQ for CHANGEDSINCE.
func (s *session) fetchItems(cmd *imapwire.Command, a *imapwire.Fetch) []imapwire.FetchItem {
	items := a.Items
	has := func(k imapwire.FetchKind) bool {
		return slices.ContainsFunc(items, func(i imapwire.FetchItem) bool { return i.Kind == k })
	}
	if cmd.UID && !has(imapwire.FetchUID) {
		items = append([]imapwire.FetchItem{{Kind: imapwire.FetchUID}}, items...)
	}
	if a.ChangedSince != nil && !has(imapwire.FetchModSeq) {
		items = append(items, imapwire.FetchItem{Kind: imapwire.FetchModSeq})
	}
	if has(imapwire.FetchModSeq) {
		s.enabled.condStore = true
	}
	return items
}

func (f *fetching) run(ctx context.Context, set mail.UIDSet, changedSince *uint64) error {
	q := store.FetchQuery{Fields: fields(f.items)}
	if changedSince != nil {
		q.ChangedSince = mail.ModSeq(*changedSince)
	}
	// What has come since the client was told the number of messages has no
	// sequence number yet.
	last := f.s.view.Last()
	uids := f.s.view.UIDs()
	for _, r := range set {
		from, _ := slices.BinarySearch(uids, r.First)
		for from < len(uids) && uids[from] <= r.Last {
			to := min(from+fetchBatch, len(uids))
			q.UIDs = mail.UIDSet{{First: uids[from], Last: min(r.Last, uids[to-1], last)}}
			if err := f.batch(ctx, q); err != nil {
				return err
			}
			from = to
		}
	}
	return nil
}

func (f *fetching) batch(ctx context.Context, q store.FetchQuery) error {
	for row, err := range f.s.srv.o.Mailboxes.Fetch(ctx, f.s.acct.ID, f.s.view.Mailbox(), q) {
		if err != nil {
			return err
		}
		seq, ok := f.number(row.UID)
		if !ok {
			continue
		}
		if err := f.row(seq, row); err != nil {
			return fmt.Errorf("fetch message %d: %w", row.UID, err)
		}
		f.count++
	}
	return f.s.w.Err()
}

// number finds the sequence number of a message. Rows come in order, so the next
// one is mostly right behind the last.
func (f *fetching) number(uid mail.UID) (uint32, bool) {
	uids := f.s.view.UIDs()
	if f.seq < len(uids) && uids[f.seq] == uid {
		f.seq++
		return uint32(f.seq), true
	}
	i, ok := slices.BinarySearch(uids, uid)
	f.seq = i + 1
	return uint32(i + 1), ok
}

// fields says which groups of fields the items need.
func fields(items []imapwire.FetchItem) store.Fields {
	var out store.Fields
	for i := range items {
		switch item := &items[i]; item.Kind {
		case imapwire.FetchEnvelope:
			out |= store.FieldEnvelope
		case imapwire.FetchBodyStructure:
			out |= store.FieldBodyStructure
		case imapwire.FetchBody:
			out |= store.FieldTree
		case imapwire.FetchThreadID, imapwire.FetchSaveDate:
			out |= store.FieldMeta
		case imapwire.FetchPreview:
			out |= store.FieldSummary
		case imapwire.FetchRFC822:
			out |= store.FieldBody
		case imapwire.FetchRFC822Header:
			out |= store.FieldHeader
		case imapwire.FetchRFC822Text:
			out |= store.FieldHeader | store.FieldBody
		case imapwire.FetchBodySection:
			out |= sectionFields(&item.Section)
		default:
		}
	}
	return out
}

func sectionFields(sec *imapwire.Section) store.Fields {
	if len(sec.Part) > 0 {
		return store.FieldTree | store.FieldBody
	}
	switch sec.Kind {
	case imapwire.SectionAll:
		return store.FieldBody
	case imapwire.SectionText:
		return store.FieldHeader | store.FieldBody
	default:
		return store.FieldHeader
	}
}

// row writes the FETCH response of one message.
func (f *fetching) row(seq uint32, row *store.Row) error {
	src := source{row: row}
	defer src.close()
	w := f.s.w.Fetch(seq)
	for i := range f.items {
		if err := f.item(&w, &f.items[i], row, &src); err != nil {
			return err
		}
	}
	if f.seen.Contains(row.UID) && !hasFlags(f.items) {
		w.Flags(f.s.flagNames(row.UID, row.Flags))
		if f.s.enabled.condStore {
			w.ModSeq(uint64(row.ModSeq))
		}
	}
	w.End()
	return nil
}

func (f *fetching) item(w *imapwire.FetchWriter, item *imapwire.FetchItem, row *store.Row, src *source) error {
	switch item.Kind {
	case imapwire.FetchFlags:
		w.Flags(f.s.flagNames(row.UID, row.Flags))
	case imapwire.FetchUID:
		w.UID(uint32(row.UID))
	case imapwire.FetchInternalDate:
		w.InternalDate(row.InternalDate)
	case imapwire.FetchSize:
		w.Size(row.Size)
	case imapwire.FetchEnvelope:
		w.Raw(item.Kind, row.Envelope)
	case imapwire.FetchBodyStructure:
		w.Raw(item.Kind, row.BodyStructure)
	case imapwire.FetchModSeq:
		w.ModSeq(uint64(row.ModSeq))
	case imapwire.FetchEmailID:
		w.EmailID(row.EmailID.String())
	case imapwire.FetchThreadID:
		w.ThreadID(row.ThreadID.String())
	case imapwire.FetchSaveDate:
		w.SaveDate(row.SavedDate)
	case imapwire.FetchPreview:
		sum, err := message.DecodeSummary(row.Summary)
		if err != nil {
			return corrupt("summary", err)
		}
		w.Preview(sum.Intro, true)
	case imapwire.FetchBody:
		tree, err := src.tree()
		if err != nil {
			return err
		}
		f.buf = message.AppendBodyStructure(f.buf[:0], tree.Root, false)
		w.Raw(item.Kind, f.buf)
	case imapwire.FetchBodySection, imapwire.FetchRFC822, imapwire.FetchRFC822Header, imapwire.FetchRFC822Text:
		return f.section(w, item, src)
	default:
		return &imapwire.Error{Kind: imapwire.Bad, Text: "Data item is not supported"}
	}
	return nil
}

func corrupt(what string, err error) error {
	return mail.WrapError(mail.CodeCorrupt, "A message is damaged in the store", fmt.Errorf("decode %s: %w", what, err))
}

var errSectionRange = errors.New("section lies outside of the message")
