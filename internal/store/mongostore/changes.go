package mongostore

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// Changes returns what happened in a mailbox after since. See the section "No lost change" of the package.
func (s *Store) Changes(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, since mail.ModSeq) (*store.ChangeSet, error) {
	done, err := s.enter(ctx, "Changes")
	if err != nil {
		return nil, err
	}
	defer done()
	r := &reading{s: s, acct: acct, mbox: mbox, since: since, track: s.tracks.of(oid(mbox)), started: time.Now()}
	r.sight = r.track.begin(r.started, s.o.Lease, since)
	if r.box, err = s.mailboxDoc(ctx, acct, mbox); err != nil {
		return nil, err
	}
	s.caches.look(oid(mbox), r.box)
	r.modSeq, r.uidNext = max(1, mail.ModSeq(integer(r.box.Lookup("modifyIndex")))), mail.UID(integer(r.box.Lookup("uidNext")))
	r.track.observe(time.Now(), r.modSeq, r.uidNext)
	r.notes = s.oldNotes(r.box)
	if len(r.notes) == 0 && r.quiet(since, r.modSeq, r.uidNext) {
		return &store.ChangeSet{To: since, UIDNext: r.uidNext, Replaced: replacedOf(r.box)}, nil
	}
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	set := r.set()
	set.Replaced = replacedOf(r.box)
	return set, nil
}

// reading is one call of Changes. Its steps have an order: the mailbox's document says which numbers were handed out; the
// journal, read before the messages, says which changes were complete before the messages were read.
type reading struct {
	s *Store
	sight
	acct    mail.AccountID
	mbox    mail.MailboxID
	since   mail.ModSeq
	track   *track
	started time.Time

	box     bson.Raw
	notes   []note      // of changes that should be complete by now
	modSeq  mail.ModSeq // the last that was handed out
	uidNext mail.UID

	whole    bool
	rows     []changeRow
	late     []changeRow
	complete map[mail.ModSeq]bool // have a row
	// msgs are the messages that were read, of a whole mailbox only those that matter beyond their row; all are the rows of
	// a whole mailbox, in no order and perhaps twice.
	msgs map[mail.UID]*hotMessage
	all  mail.HotRows
	// passed are UIDs that are gone past without a message, and gaps mod-sequences without a row.
	passed []mail.UID
	// rehomed are UIDs whose messages came too late and got others.
	rehomed []mail.UID
	gaps    []mail.ModSeq
}

// changeRow is what a journal row says to Changes.
type changeRow struct {
	id      bson.ObjectID
	command store.JournalCommand
	uid     mail.UID
	modSeq  mail.ModSeq
	created time.Time
}

func (r *reading) read(ctx context.Context) error {
	if !r.known {
		r.settled = 1
		if r.modSeq > inFlight {
			r.settled = r.modSeq - inFlight
		}
	}
	restored, restoredUIDs := restoredUpTo(r.box)
	r.whole = r.since == 0 || r.since > r.modSeq || r.since < restored
	low := r.settled
	if !r.whole {
		low = min(low, r.since)
	}
	err := parallel(2, func(i int) (err error) {
		if i == 0 {
			r.rows, err = r.readRows(ctx, bson.D{{Key: "$gt", Value: int64(low)}}, time.Time{})
		} else if !r.whole && r.lively {
			r.late, err = r.readLate(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.complete = make(map[mail.ModSeq]bool, len(r.rows))
	for _, row := range r.rows {
		r.complete[row.modSeq] = true
	}
	if err := r.readMessages(ctx); err != nil {
		return err
	}
	if !r.whole && !r.historyKnown() {
		if r.whole, err = r.forgotten(ctx); err != nil {
			return err
		}
		if r.whole {
			if err := r.readMessages(ctx); err != nil {
				return err
			}
		}
	}
	if !r.known {
		if err := r.firstSight(ctx); err != nil {
			return err
		}
	}
	r.settled, r.uids = max(r.settled, restored), max(r.uids, restoredUIDs)
	return r.fillHoles(ctx)
}

func (r *reading) readRows(ctx context.Context, modSeqs bson.D, after time.Time) ([]changeRow, error) {
	filter := bson.D{{Key: "mailbox", Value: oid(r.mbox)}, {Key: "modseq", Value: modSeqs}}
	if !after.IsZero() {
		filter = append(filter, bson.E{Key: "created", Value: bson.D{{Key: "$gt", Value: stored(after)}}})
	}
	docs, err := findAll(ctx, r.s.journal(), filter, bson.D{{Key: "command", Value: 1}, {Key: "uid", Value: 1}, {Key: "modseq", Value: 1}, {Key: "created", Value: 1}}, nil)
	if err != nil {
		return nil, readError("read the journal", err)
	}
	out := make([]changeRow, 0, len(docs))
	for _, doc := range docs {
		out = append(out, changeRow{
			id: doc.Lookup("_id").ObjectID(), command: store.JournalCommand(text(doc.Lookup("command"))), uid: mail.UID(integer(doc.Lookup("uid"))),
			modSeq: mail.ModSeq(integer(doc.Lookup("modseq"))), created: instant(doc.Lookup("created")),
		})
	}
	return out, nil
}

// readLate reads rows with mod-sequences up to since that were written after the caller was told of since: of changes that
// took longer than a reader waits. Where it is not known when that was, it was not before the row of since itself was
// written.
func (r *reading) readLate(ctx context.Context) ([]changeRow, error) {
	from, after := int64(0), r.s.o.Now().Add(-lively)
	if r.since > inFlight {
		from = int64(r.since - inFlight)
	}
	if r.answer != nil {
		after = r.s.o.Now().Add(r.answer.at.Sub(r.started) - r.s.overlap())
	}
	rows, err := r.readRows(ctx, bson.D{{Key: "$gt", Value: from}, {Key: "$lte", Value: int64(r.since)}}, after)
	if err != nil {
		return nil, err
	}
	var last time.Time
	for _, row := range rows {
		if row.modSeq == r.since && row.created.After(last) {
			last = row.created
		}
	}
	return slices.DeleteFunc(rows, func(row changeRow) bool {
		if r.answer != nil {
			return r.track.told(r.answer, row.id)
		}
		return !row.created.After(last)
	}), nil
}

func (r *reading) readMessages(ctx context.Context) error {
	filter := bson.D{{Key: "mailbox", Value: oid(r.mbox)}}
	if !r.whole {
		filter = append(filter, bson.E{Key: "modseq", Value: bson.D{{Key: "$gt", Value: int64(r.since)}}})
	}
	r.msgs = make(map[mail.UID]*hotMessage)
	if r.whole {
		return r.eachMessage(ctx, filter, r.addWhole)
	}
	if err := r.addMessages(ctx, filter); err != nil {
		return err
	}
	var uids bson.A
	for _, row := range r.late {
		if row.uid != 0 && row.command != store.JournalExpunge && r.msgs[row.uid] == nil {
			uids = append(uids, row.uid)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	return r.addMessages(ctx, bson.D{{Key: "mailbox", Value: oid(r.mbox)}, {Key: "uid", Value: bson.D{{Key: "$in", Value: uids}}}})
}

func (r *reading) addMessages(ctx context.Context, filter bson.D) error {
	return r.eachMessage(ctx, filter, r.add)
}

func (r *reading) add(m *hotMessage) {
	if old := r.msgs[m.UID]; old == nil || old.ModSeq < m.ModSeq {
		r.msgs[m.UID] = m
	}
}

// addWhole is add for one of all the messages of a mailbox, of which there may be a million.
func (r *reading) addWhole(m *hotMessage) {
	r.all.Append(m.HotRow)
	from := r.uids
	if !r.known {
		from = lastUIDs(r.uidNext)
	}
	if m.UID >= from || m.ModSeq > r.settled && !r.complete[m.ModSeq] || r.watched[m.UID] {
		r.add(m)
	}
}

// lastUIDs is the first one of those that may be on their way when nothing else is known.
func lastUIDs(next mail.UID) mail.UID {
	if next > inFlight {
		return next - inFlight
	}
	return 1
}

// readBatch is how many documents of messages are held at a time.
const readBatch = 4096

// eachMessage reads messages in no order.
func (r *reading) eachMessage(ctx context.Context, filter bson.D, each func(*hotMessage)) error {
	o := options.Find().SetProjection(append(rowFields(), bson.E{Key: "retentionTime", Value: 1})).SetBatchSize(readBatch)
	cur, err := r.s.messages().Find(ctx, filter, o)
	if err != nil {
		return readError("read messages", err)
	}
	defer cur.Close(context.WithoutCancel(ctx))
	for cur.Next(ctx) {
		m, err := hot(cur.Current)
		if err != nil {
			return err
		}
		each(m)
	}
	return readError("read messages", cur.Err())
}

// historyKnown reports whether the journal holds every expunge after since: this node knows a moment not long ago before all
// of them, or each mod-sequence is explained.
func (r *reading) historyKnown() bool {
	if !r.sureAt.IsZero() && r.started.Sub(r.sureAt) < journalLife {
		return true
	}
	if r.modSeq-r.since > inFlight {
		return false
	}
	at := make(map[mail.ModSeq]bool)
	for _, m := range r.msgs {
		at[m.ModSeq] = true
	}
	for n := r.since + 1; n <= r.modSeq; n++ {
		if !r.complete[n] && !at[n] {
			return false
		}
	}
	return true
}

// forgotten reports whether journal rows of changes after since may have ended already: unless one that was not written
// after them still lives.
func (r *reading) forgotten(ctx context.Context) (bool, error) {
	n, err := r.s.journal().CountDocuments(ctx, bson.D{
		{Key: "mailbox", Value: oid(r.mbox)}, {Key: "modseq", Value: bson.D{{Key: "$lte", Value: int64(r.since)}}},
		{Key: "created", Value: bson.D{{Key: "$gt", Value: stored(r.s.o.Now().Add(-journalLife))}}},
	}, options.Count().SetLimit(1))
	return n == 0, readError("read the journal", err)
}

// firstSight judges the numbers of a mailbox that this node has not seen before by the times that writers have noted: what
// comes before something old is old.
func (r *reading) firstSight(ctx context.Context) error {
	old := r.s.o.Now().Add(-young)
	for _, row := range r.rows {
		if row.created.Before(old) && row.modSeq <= r.modSeq {
			r.settled = max(r.settled, row.modSeq)
		}
	}
	msgs := r.msgs
	if !r.whole {
		docs, err := findSome(ctx, r.s.messages(), bson.D{{Key: "mailbox", Value: oid(r.mbox)}},
			append(rowFields(), bson.E{Key: "retentionTime", Value: 1}), bson.D{{Key: "uid", Value: -1}}, inFlight)
		if err != nil {
			return readError("read messages", err)
		}
		msgs = make(map[mail.UID]*hotMessage, len(docs))
		for _, doc := range docs {
			if m, err := hot(doc); err == nil {
				msgs[m.UID] = m
			}
		}
	}
	r.uids = lastUIDs(r.uidNext)
	for u, m := range msgs {
		if m.Arrived.Before(old) {
			r.uids = max(r.uids, u+1)
		}
	}
	return nil
}

// holes are the UIDs that were handed out and are not accounted for.
func (r *reading) holes() []mail.UID {
	told := make(map[mail.UID]bool) // that they came, or went
	for _, row := range slices.Concat(r.rows, r.late) {
		told[row.uid] = true
	}
	var out []mail.UID
	for u := r.uids; u < r.uidNext; u++ {
		if r.msgs[u] == nil && !told[u] {
			out = append(out, u)
		}
	}
	return out
}

// fillHoles looks for messages at UIDs that are not accounted for. The mod-sequence of a message that WildDuck copies is at
// first one that was told already, so that it is not found by that.
func (r *reading) fillHoles(ctx context.Context) error {
	if !r.whole && len(r.holes()) > 0 {
		if err := r.addMessages(ctx, bson.D{{Key: "mailbox", Value: oid(r.mbox)},
			{Key: "uid", Value: bson.D{{Key: "$gte", Value: int64(r.uids)}, {Key: "$lt", Value: int64(r.uidNext)}}}}); err != nil {
			return err
		}
	}
	return r.rehomeLate(ctx)
}

// set makes the change set of what was read, and tells the track.
func (r *reading) set() *store.ChangeSet {
	// Messages show up to the first UID that may still be filled.
	end, uids := r.uidNext, r.uidNext
	for _, u := range r.holes() {
		if u >= r.agedUIDs {
			end, uids = u, u
			break
		}
		r.passed = append(r.passed, u)
	}
	to := r.settle()
	settled := to
	set := &store.ChangeSet{UIDNext: end, Whole: r.whole}
	set.Changed = r.changed()
	for i, _ := set.Changed.Find(end); i < set.Changed.Len(); i++ {
		to = min(to, set.Changed.At(i).ModSeq-1)
	}
	set.Changed.Remove(mail.UIDSet{{First: end, Last: ^mail.UID(0)}})
	if !r.whole {
		set.Expunged = r.expunged()
		set.Changed.Remove(set.Expunged)
	}
	set.To = to
	if r.since <= r.modSeq {
		set.To = max(to, r.since)
	}
	r.track.end(r, settled, uids, set.To)
	r.repairLater()
	return set
}

// changed are the rows of the messages that were read.
func (r *reading) changed() mail.HotRows {
	rows := r.all
	if !r.whole {
		for _, m := range r.msgs {
			rows.Append(m.HotRow)
		}
	}
	rows.Sort()
	if r.whole {
		rows.Remove(mail.UIDSetOf(r.rehomed...))
	}
	return rows
}

// settle returns up to where every mod-sequence is accounted for.
func (r *reading) settle() mail.ModSeq {
	n := r.settled
	for n < r.modSeq && (r.complete[n+1] || n+1 <= r.agedModSeq) {
		n++
		if !r.complete[n] {
			r.gaps = append(r.gaps, n)
		}
	}
	return min(n, r.modSeq)
}

// expunged are the UIDs of messages that went after since, as far as it is known.
func (r *reading) expunged() mail.UIDSet {
	var set mail.UIDSet
	for _, row := range r.rows {
		if row.command == store.JournalExpunge && row.modSeq > r.since {
			set = append(set, mail.UIDRange{First: row.uid, Last: row.uid})
		}
	}
	for _, row := range r.late {
		if row.command == store.JournalExpunge {
			set = append(set, mail.UIDRange{First: row.uid, Last: row.uid})
		}
	}
	return mail.NormalizeUIDs(set)
}
