package mongostore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// maxUIDTerms is how many ranges of UIDs one query names.
const maxUIDTerms = 200

// uidFilters are filters for the messages of a set: few ranges each, single UIDs in a list.
func uidFilters(mbox bson.ObjectID, set mail.UIDSet) []bson.D {
	var out []bson.D
	for part := range slices.Chunk(set, maxUIDTerms) {
		singles, ranges := bson.A{}, bson.A{}
		for _, r := range part {
			if r.First == r.Last {
				singles = append(singles, int64(r.First))
			} else {
				ranges = append(ranges, bson.D{{Key: "uid", Value: bson.D{{Key: "$gte", Value: int64(r.First)}, {Key: "$lte", Value: int64(r.Last)}}}})
			}
		}
		if len(singles) > 0 {
			ranges = append(ranges, bson.D{{Key: "uid", Value: bson.D{{Key: "$in", Value: singles}}}})
		}
		filter := bson.D{{Key: "mailbox", Value: mbox}}
		if len(ranges) == 1 {
			out = append(out, append(filter, ranges[0].(bson.D)...))
		} else {
			out = append(out, append(filter, bson.E{Key: "$or", Value: ranges}))
		}
	}
	return out
}

// readSet reads the small members of the messages of a set, ascending by UID.
func (s *Store) readSet(ctx context.Context, mbox mail.MailboxID, set mail.UIDSet, extra ...bson.E) ([]*hotMessage, error) {
	var out []*hotMessage
	err := s.eachOf(ctx, mbox, set, hotFields(), func(_ bson.Raw, m *hotMessage) { out = append(out, m) }, extra...)
	return out, err
}

// eachOf reads members of the messages of a set, ascending by UID.
func (s *Store) eachOf(ctx context.Context, mbox mail.MailboxID, set mail.UIDSet, fields bson.D, each func(bson.Raw, *hotMessage), extra ...bson.E) error {
	last := mail.UID(0)
	for _, filter := range uidFilters(oid(mbox), set) {
		rows, err := s.readUIDs(ctx, append(filter, extra...), fields)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.m.UID > last { // two of one UID, as a broken program may leave them, are one message
				each(r.doc, r.m)
				last = r.m.UID
			}
		}
	}
	return nil
}

// readRow is a message that was read.
type readRow struct {
	doc bson.Raw
	m   *hotMessage
}

// readUIDs reads messages that a filter names by their UIDs. They are put into order here, as a server may read
// each document once more for that.
func (s *Store) readUIDs(ctx context.Context, filter, fields bson.D) ([]readRow, error) {
	cur, err := s.findUIDs(ctx, filter, options.Find().SetProjection(fields).SetBatchSize(wholeBatch))
	if err != nil {
		return nil, readError("read messages", err)
	}
	var docs []bson.Raw
	if err := cur.All(ctx, &docs); err != nil {
		return nil, readError("read messages", err)
	}
	rows := make([]readRow, len(docs))
	for i, doc := range docs {
		m, err := hot(doc)
		if err != nil {
			return nil, err
		}
		rows[i] = readRow{doc, m}
	}
	slices.SortStableFunc(rows, func(a, b readRow) int { return cmp.Compare(a.m.UID, b.m.UID) })
	return rows, nil
}

// flagging is one UpdateFlags.
type flagging struct {
	s    *Store
	acct mail.AccountID
	box  *mail.Mailbox
	doc  bson.Raw // of the mailbox
	u    store.FlagUpdate

	// msgs are the messages of the set as far as they were read, by UID; state says what came of each.
	msgs    map[mail.UID]*flagState
	changed []*flagState
}

// flagState is a message whose flags are to change.
type flagState struct {
	before *hotMessage
	after  mail.Flags
	ms     mail.ModSeq // set when it was changed
	uid    mail.UID
	kept   bool // left alone because of UnchangedSince
}

// UpdateFlags changes flags and metadata. The update of a message's document makes it happen, which is guarded by its
// flags and mod-sequence as they were read; who loses a race to somebody else reads again.
func (s *Store) UpdateFlags(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, u store.FlagUpdate) (*store.FlagResult, error) {
	done, err := s.enter(ctx, "UpdateFlags")
	if err != nil {
		return nil, err
	}
	defer done()
	f := &flagging{s: s, acct: acct, u: u, msgs: make(map[mail.UID]*flagState)}
	var msgs []*hotMessage
	err = parallel(2, func(i int) (err error) {
		if i == 0 {
			f.doc, err = s.mailboxDoc(ctx, acct, mbox)
			return err
		}
		msgs, err = f.read(ctx, mbox, u.UIDs)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.box = mailboxOf(f.doc)
	if err := f.run(context.WithoutCancel(ctx), msgs); err != nil {
		return nil, err
	}
	return f.result(), nil
}

// run changes messages until none is left that somebody else was faster with.
func (f *flagging) run(ctx context.Context, msgs []*hotMessage) error {
	for range maxAttempts {
		todo, err := f.decide(msgs)
		if err != nil || len(todo) == 0 {
			if err == nil || len(f.changed) == 0 {
				return err
			}
			break // a part was changed, which stands
		}
		lost, err := f.change(ctx, todo)
		if err != nil || len(lost) == 0 {
			return err
		}
		if msgs, err = f.read(ctx, f.box.ID, lost); err != nil {
			return mail.WrapError(mail.CodeUnavailable, "the mail store is not available", fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err))
		}
		for u := range lost.All() {
			delete(f.msgs, u)
		}
	}
	return mail.NewError(mail.CodeConflict, "the messages are changed by many at a time")
}

// read reads what decide looks at.
func (f *flagging) read(ctx context.Context, mbox mail.MailboxID, set mail.UIDSet) (out []*hotMessage, err error) {
	fields := hotFields()
	if f.u.MetaData != nil {
		fields = append(fields, bson.E{Key: "meta.custom", Value: 1})
	}
	err = f.s.eachOf(ctx, mbox, set, fields, func(_ bson.Raw, m *hotMessage) { out = append(out, m) })
	return out, err
}

// decide finds the messages that are to change.
func (f *flagging) decide(msgs []*hotMessage) (todo []*flagState, err error) {
	for _, m := range msgs {
		st := &flagState{before: m, uid: m.UID, after: m.Flags}
		f.msgs[m.UID] = st
		if f.u.UnchangedSince != nil && m.ModSeq > *f.u.UnchangedSince {
			st.kept = true
			continue
		}
		st.after = updatedFlags(m.Flags, f.u)
		if st.after == m.Flags && f.stays(m) {
			continue
		}
		if tooMany(st.after) {
			return nil, mail.NewError(mail.CodeLimit, "too many keywords")
		}
		todo = append(todo, st)
	}
	return todo, nil
}

// stays reports whether the metadata of a message is as it is to be.
func (f *flagging) stays(m *hotMessage) bool {
	return (f.u.MetaData == nil || m.MetaData == *f.u.MetaData) &&
		(f.u.Expires == nil || m.Expires.Equal(f.u.Expires.Truncate(time.Millisecond)))
}

func updatedFlags(f mail.Flags, u store.FlagUpdate) mail.Flags {
	switch u.Mode {
	case store.FlagsAdd:
		return f.Add(u.Flags)
	case store.FlagsRemove:
		return f.Remove(u.Flags)
	default: // keywords that stay keep their spelling
		return f.Remove(f.Remove(u.Flags)).Add(u.Flags)
	}
}

func tooMany(f mail.Flags) bool {
	n := 0
	for range f.Keywords() {
		n++
	}
	return n > mail.MaxKeywords
}

// change updates messages under one new mod-sequence and returns those that it did not get.
func (f *flagging) change(ctx context.Context, todo []*flagState) (lost mail.UIDSet, err error) {
	s := f.s
	r, err := s.reserve(ctx, f.acct, f.box.ID, 0, 1, nil)
	if err != nil {
		return nil, err
	}
	matched, err := f.write(ctx, todo, r.modSeq)
	if err != nil {
		return nil, writeError("change flags", err)
	}
	if matched != int64(len(todo)) {
		// Somebody else changed a part of them, or an attempt of ours of which the answer was lost did.
		mine := make(map[mail.UID]bool)
		set := setOf(todo)
		got, err := s.readSet(ctx, f.box.ID, set, bson.E{Key: "modseq", Value: int64(r.modSeq)})
		if err != nil {
			return nil, mail.WrapError(mail.CodeUnavailable, "the mail store is not available", fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err))
		}
		for _, m := range got {
			mine[m.UID] = true
		}
		todo = slices.DeleteFunc(todo, func(st *flagState) bool {
			if !mine[st.uid] {
				lost = append(lost, mail.UIDRange{First: st.uid, Last: st.uid})
			}
			return !mine[st.uid]
		})
		lost = mail.NormalizeUIDs(lost)
	}
	return lost, f.record(ctx, todo, r.modSeq)
}

func setOf(todo []*flagState) mail.UIDSet {
	var set mail.UIDSet
	for _, st := range todo {
		set = append(set, mail.UIDRange{First: st.uid, Last: st.uid})
	}
	return mail.NormalizeUIDs(set)
}

// flagChunk is how many messages one operation updates; a server does several at a time.
const flagChunk = 125

// write updates messages with equal flags by one update for each chunk.
func (f *flagging) write(ctx context.Context, todo []*flagState, ms mail.ModSeq) (matched int64, err error) {
	groups := make(map[string][]*flagState)
	var order []string
	for _, st := range todo {
		key := fmt.Sprintf("%q", st.before.Names)
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], st)
	}
	calls := [][]mongo.WriteModel{nil}
	n := 0 // messages of the last call
	for _, key := range order {
		update := f.update(groups[key][0], ms)
		for chunk := range slices.Chunk(groups[key], flagChunk) {
			if n+len(chunk) > flagChunk && n > 0 {
				calls, n = append(calls, nil), 0
			}
			n += len(chunk)
			for _, filter := range uidFilters(oid(f.box.ID), setOf(chunk)) {
				model := mongo.NewUpdateManyModel().SetFilter(append(filter, f.guard(chunk[0], ms)...)).SetUpdate(update)
				calls[len(calls)-1] = append(calls[len(calls)-1], model)
			}
		}
	}
	counts := make([]int64, len(calls))
	err = parallel(len(calls), func(i int) error {
		return f.s.again(ctx, func(ctx context.Context) error {
			if err := f.s.step("flags"); err != nil {
				return err
			}
			res, err := f.s.messages().BulkWrite(ctx, calls[i], options.BulkWrite().SetOrdered(false))
			if err == nil {
				counts[i] = res.MatchedCount
			}
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	for _, c := range counts {
		matched += c
	}
	return matched, f.s.step("flagged")
}

// guard is what a message must still be for its update to be right.
func (f *flagging) guard(st *flagState, ms mail.ModSeq) bson.D {
	last := bson.D{{Key: "$lt", Value: int64(ms)}}
	if f.u.UnchangedSince != nil {
		last = bson.D{{Key: "$lte", Value: min(int64(*f.u.UnchangedSince), int64(ms)-1)}}
	}
	return bson.D{{Key: "modseq", Value: last}, {Key: "flags", Value: bson.D{{Key: "$eq", Value: textArray(st.before.Names)}}}}
}

// update is the update of a message. The mirrors of the flags are all written, so that they are right again where WildDuck
// has left them wrong.
func (f *flagging) update(st *flagState, ms mail.ModSeq) bson.D {
	set := append(flagMembers(st.after), bson.E{Key: "modseq", Value: numberOf(int64(ms))})
	var unset bson.D
	was, is := st.before.Flags.Has(mail.Deleted), st.after.Has(mail.Deleted)
	switch {
	case is && !was:
		unset = append(unset, bson.E{Key: "searchable", Value: ""})
	case !is && (f.u.Mode == store.FlagsReplace || was && f.box.SpecialUse != mail.UseJunk && f.box.SpecialUse != mail.UseTrash):
		set = append(set, bson.E{Key: "searchable", Value: true})
	}
	if f.u.MetaData != nil {
		if *f.u.MetaData == "" {
			unset = append(unset, bson.E{Key: "meta.custom", Value: ""})
		} else {
			set = append(set, bson.E{Key: "meta.custom", Value: *f.u.MetaData})
		}
	}
	if f.u.Expires != nil {
		if f.u.Expires.IsZero() {
			set = append(set, bson.E{Key: "exp", Value: false})
			unset = append(unset, bson.E{Key: "rdate", Value: ""})
		} else {
			set = append(set, bson.E{Key: "exp", Value: true}, bson.E{Key: "rdate", Value: float64(f.u.Expires.UnixMilli())})
			unset = append(unset, bson.E{Key: "retention", Value: ""})
		}
	}
	update := bson.D{{Key: "$set", Value: set}}
	if unset != nil {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	return update
}

// record tells of messages that were changed.
func (f *flagging) record(ctx context.Context, done []*flagState, ms mail.ModSeq) error {
	rows := make([]journalRow, 0, len(done))
	var n counted
	flags := make([]mail.Flags, 0, len(done))
	for _, st := range done {
		st.ms = ms
		f.s.caches.flagged(st.before, ms, st.after)
		seen := st.before.Flags.Has(mail.Seen) != st.after.Has(mail.Seen)
		n.unknown = n.unknown || seen
		rows = append(rows, fetchRow(f.acct, st.before, st.after.List(), seen, ms, f.u.Origin))
		if len(flags) == 0 || flags[len(flags)-1] != st.after {
			flags = append(flags, st.after)
		}
	}
	f.changed = append(f.changed, done...)
	f.s.log(ctx, rows...)
	f.s.addKeywords(ctx, f.doc, flags...)
	f.s.tellCounters(ctx, f.box.ID, n)
	return f.s.step("done")
}

func (f *flagging) result() *store.FlagResult {
	res := &store.FlagResult{}
	uids := make([]mail.UID, 0, len(f.msgs))
	for u := range f.msgs {
		uids = append(uids, u)
	}
	slices.Sort(uids)
	for _, u := range uids {
		st := f.msgs[u]
		row := st.before.HotRow
		if st.ms != 0 {
			row.ModSeq, row.Flags = st.ms, st.after
			res.Changed = append(res.Changed, row)
			res.ModSeq = max(res.ModSeq, st.ms)
		}
		if st.kept {
			res.Modified = res.Modified.Append(u)
		}
		res.Existing = append(res.Existing, row)
	}
	return res
}
