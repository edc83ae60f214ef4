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
	flags bool // are among the items
	items []imapwire.FetchItem
	plan  []extent    // of the current message, one for each item
	seen  mail.UIDSet // messages that get \Seen by this command
	// marked are these messages as they are now, which the view does not know yet.
	marked []mail.HotRow
	count  int // messages told
	bad    int // messages that are damaged in the store
	seq    int // position in the list of UIDs, to find numbers quickly
	buf    []byte
	sent   int64 // octets of bodies
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
	f := &fetching{s: s, items: s.fetchItems(cmd, a)}
	f.plan = make([]extent, len(f.items))
	f.flags = slices.ContainsFunc(f.items, func(i imapwire.FetchItem) bool { return i.Kind == imapwire.FetchFlags })
	current := a.ChangedSince != nil || slices.ContainsFunc(f.items, changes)
	if i := slices.IndexFunc(f.items, unsupported); i >= 0 {
		return &imapwire.Error{Kind: imapwire.Bad, Text: "Data item " + f.items[i].String() + " is not supported"}
	}
	if current {
		// What changes is told from the view. A mailbox that is gone is found out about when it is read.
		if err := s.view.Sync(ctx); err != nil && mail.CodeOf(err) != mail.CodeNoMailbox {
			return err
		}
	}
	if a.ChangedSince != nil {
		// Before \Seen is set, which changes the messages.
		set = s.changedSince(set, mail.ModSeq(*a.ChangedSince))
	}
	asked := s.known(set)
	if !s.readOnly && slices.ContainsFunc(f.items, func(i imapwire.FetchItem) bool { return i.SetsSeen() }) {
		if f.marked, err = s.markSeen(ctx, set); err != nil {
			return err
		}
		for _, r := range f.marked {
			f.seen = f.seen.Append(r.UID)
		}
	}
	err = f.run(ctx, set)
	if t := s.srv.o.Traffic; t != nil && f.sent > 0 {
		t.Downloaded(context.WithoutCancel(ctx), s.acct.ID, f.sent)
	}
	if err != nil {
		return err
	}
	return f.complete(ctx, cmd, asked)
}

// complete ends a FETCH that asked for so many messages that the client knows.
func (f *fetching) complete(ctx context.Context, cmd *imapwire.Command, asked int) error {
	s := f.s
	switch {
	case f.bad > 0:
		return mail.NewError(mail.CodeCorrupt, "Some of the messages are damaged in the store")
	case !cmd.UID && f.count < asked:
		if err := s.tell(ctx, false); err != nil || s.done {
			return err
		}
		s.w.NO(cmd.Tag, imapwire.CodeExpungeIssued, "Some of the messages no longer exist")
		return nil
	}
	return s.ok(ctx, cmd, "")
}

// changedSince returns the messages of a set that changed after a mod-sequence, as far as the view has learnt.
func (s *session) changedSince(set mail.UIDSet, since mail.ModSeq) mail.UIDSet {
	var out mail.UIDSet
	for r := range s.view.Rows(set) {
		if r.ModSeq > since {
			out = out.Append(r.UID)
		}
	}
	return out
}

// changes reports whether an item is one that changes in the life of a message.
func changes(i imapwire.FetchItem) bool {
	return i.Kind == imapwire.FetchFlags || i.Kind == imapwire.FetchModSeq
}

// inView reports whether the view alone says what an item asks for.
func inView(i imapwire.FetchItem) bool { return i.Kind == imapwire.FetchUID || changes(i) }

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
	if a.ChangedSince != nil || has(imapwire.FetchModSeq) {
		s.enabled.condStore = true
	}
	return items
}

// run tells all messages of a set that the client knows. What has come since it
// was told the number of messages has no sequence number yet.
func (f *fetching) run(ctx context.Context, set mail.UIDSet) error {
	if !slices.ContainsFunc(f.items, func(i imapwire.FetchItem) bool { return !inView(i) }) {
		return f.fromView(ctx, set)
	}
	q := store.FetchQuery{Fields: fields(f.items)}
	uids, n := f.s.view.UIDs(), 0
	for _, r := range set {
		from, _ := slices.BinarySearch(uids, r.First)
		for from < len(uids) && uids[from] <= r.Last {
			if n == fetchBatch {
				if err := f.batch(ctx, q); err != nil {
					return err
				}
				q.UIDs, n = nil, 0
			}
			to, known := slices.BinarySearch(uids, r.Last)
			if known {
				to++
			}
			to = min(to, from+fetchBatch-n)
			q.UIDs = append(q.UIDs, mail.UIDRange{First: uids[from], Last: uids[to-1]})
			n += to - from
			from = to
		}
	}
	if n == 0 {
		return nil
	}
	return f.batch(ctx, q)
}

// fromView tells messages of which nothing is asked that the view does not know.
func (f *fetching) fromView(ctx context.Context, set mail.UIDSet) error {
	for r := range f.s.view.Rows(set) {
		if err := f.row(ctx, r.Seq, &store.Row{UID: r.UID, ModSeq: r.ModSeq, Flags: r.Flags}); err != nil {
			return err
		}
		if err := f.s.w.Err(); err != nil {
			return err
		}
	}
	return nil
}

// known are the messages of a set as the view knows them, but for those that this command has marked.
func (f *fetching) known(set mail.UIDSet) []mail.HotRow {
	out, marked := []mail.HotRow{}, f.marked
	for r := range f.s.view.Rows(set) {
		for len(marked) > 0 && marked[0].UID < r.UID {
			marked = marked[1:]
		}
		if len(marked) > 0 && marked[0].UID == r.UID && marked[0].ModSeq > r.ModSeq {
			r.HotRow = marked[0]
		}
		out = append(out, r.HotRow)
	}
	return out
}

// batch tells messages. One that is damaged in the store does not keep the client
// from those behind it.
func (f *fetching) batch(ctx context.Context, q store.FetchQuery) error {
	last, err := f.rows(ctx, q)
	if mail.CodeOf(err) != mail.CodeCorrupt || err == nil {
		return err
	}
	for u := range f.s.view.Rows(q.UIDs) {
		if u.UID <= last {
			continue
		}
		q.UIDs = mail.OneUID(u.UID)
		if _, err := f.rows(ctx, q); mail.CodeOf(err) == mail.CodeCorrupt && err != nil {
			f.damaged(ctx, u.UID, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// damaged notes a message that cannot be told.
func (f *fetching) damaged(ctx context.Context, uid mail.UID, err error) {
	f.bad++
	f.s.log().ErrorContext(ctx, "message cannot be fetched", "mailbox", f.s.view.Mailbox(), "uid", uid, "error", err)
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

// row writes the FETCH response of one message. Whatever may fail is done before
// the response begins, but for the sending of text: a response that stops in the
// middle cannot be taken back.
func (f *fetching) row(ctx context.Context, seq uint32, row *store.Row) error {
	src := source{row: row}
	defer src.close()
	switch err := f.prepare(&src); mail.CodeOf(err) {
	case mail.CodeNotFound:
		return nil // it was expunged meanwhile
	case mail.CodeCorrupt:
		f.damaged(ctx, row.UID, err)
		return nil
	default:
		if err != nil {
			return err
		}
	}
	if f.flags || f.seen.Contains(row.UID) {
		f.s.announce(row.Flags)
	}
	w := f.s.w.Fetch(seq)
	flags, modSeq := f.flags, false
	for i := range f.items {
		modSeq = modSeq || f.items[i].Kind == imapwire.FetchModSeq
		if err := f.item(&w, i, &src); err != nil {
			return f.broken(err)
		}
	}
	if f.seen.Contains(row.UID) {
		if !flags {
			w.Flags(f.s.flagNames(row.UID, row.Flags))
		}
		if f.s.enabled.condStore && !modSeq {
			w.ModSeq(uint64(row.ModSeq))
		}
		flags = true
	}
	w.End()
	f.count++
	if flags {
		f.s.view.Told(mail.HotRow{UID: row.UID, ModSeq: row.ModSeq, Flags: row.Flags})
	}
	return nil
}

// broken ends the connection: a response was begun and cannot be ended, so that
// the client would take what follows for message text.
func (f *fetching) broken(err error) error {
	f.s.log().Error("FETCH response cannot be completed", "error", err)
	f.s.done = true
	return err
}

// prepare finds or reads what the items need.
func (f *fetching) prepare(src *source) error {
	for i := range f.items {
		f.plan[i] = extent{}
		var err error
		switch item := &f.items[i]; item.Kind {
		case imapwire.FetchBody:
			_, err = src.tree()
		case imapwire.FetchPreview:
			err = src.summarize()
		case imapwire.FetchBodySection, imapwire.FetchRFC822, imapwire.FetchRFC822Header, imapwire.FetchRFC822Text:
			f.plan[i], err = f.locate(item, src)
		default:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// item writes one item of a message that was prepared. An error means that the
// response cannot be completed.
func (f *fetching) item(w *imapwire.FetchWriter, i int, src *source) error {
	item, row := &f.items[i], src.row
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
		w.Preview(src.summary.Intro, true)
	case imapwire.FetchBody:
		f.buf = message.AppendBodyStructure(f.buf[:0], src.decoded.Root, false)
		w.Raw(item.Kind, f.buf)
	default:
		return f.section(w, item, &f.plan[i], src)
	}
	return nil
}

func corrupt(what string, err error) error {
	return mail.WrapError(mail.CodeCorrupt, "A message is damaged in the store", fmt.Errorf("decode %s: %w", what, err))
}

var errSectionRange = errors.New("section lies outside of the message")
