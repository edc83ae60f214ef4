package mongostore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// Numbers of several mailboxes are taken by one command: a swap for each mailbox, of the numbers that this node saw last or
// reads for it against those behind them. Who else takes numbers meanwhile makes a swap fail, and the answer does not say
// which one. So each swap leaves its mark in the mailbox's document: what was taken is found there, and is no gap for which
// readers would wait. Who took nothing takes numbers alone, by an update that cannot fail so.

// keyTaken is the member of memberMallard in mailboxes with the marks of the last swaps, and maxTaken how many are kept: a mark
// is looked for at once, and not missed while fewer than so many swaps came after it.
const (
	keyTaken = "taken"
	maxTaken = 8
)

const (
	// takenAge is how long a document that this node has read serves.
	takenAge = 10 * time.Second
	// takenShared is how long those of a mailbox are read before each swap since one has failed.
	takenShared = time.Minute
	// maxBoxes is how many mailboxes are known, and maxBoxDoc how large the document of one is at most.
	maxBoxes  = 4096
	maxBoxDoc = 4 << 10
)

// seenBoxes knows the documents of mailboxes in which this node has taken numbers lately.
type seenBoxes struct {
	mu  sync.Mutex
	all map[bson.ObjectID]*seenBox
}

// seenBox is the document of a mailbox, whose numbers may be older than these.
type seenBox struct {
	doc    bson.Raw
	uid    mail.UID    // the next
	modSeq mail.ModSeq // the last
	at     time.Time   // when the document was read
	shared time.Time   // when others were found to take numbers as well
}

// boxSeen reads a mailbox's document.
func boxSeen(doc bson.Raw) *seenBox {
	return &seenBox{doc: doc, uid: mail.UID(integer(doc.Lookup("uidNext"))), modSeq: mail.ModSeq(integer(doc.Lookup("modifyIndex"))), at: time.Now()}
}

// saw notes what a mailbox is like, unless later numbers of it are known.
func (b *seenBoxes) saw(id bson.ObjectID, box *seenBox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(box.doc) > maxBoxDoc {
		delete(b.all, id)
		return
	}
	old := b.all[id]
	if old != nil && old.modSeq > box.modSeq {
		return
	}
	if b.all == nil || old == nil && len(b.all) >= maxBoxes {
		b.all = make(map[bson.ObjectID]*seenBox)
	}
	next := *box
	if old != nil && next.shared.IsZero() {
		next.shared = old.shared
	}
	b.all[id] = &next
}

// forget lets a mailbox be read before the next swap.
func (b *seenBoxes) forget(id bson.ObjectID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, id)
}

// last is what is known of a mailbox; nil when it is to be read.
func (b *seenBoxes) last(id bson.ObjectID) *seenBox {
	b.mu.Lock()
	defer b.mu.Unlock()
	box := b.all[id]
	if box == nil || time.Since(box.at) > takenAge || time.Since(box.shared) < takenShared {
		return nil
	}
	found := *box
	return &found
}

// swap takes numbers of one mailbox for some callers.
type swap struct {
	boxOf
	callers       []*taking
	box           *seenBox // what is taken for the present; nil: it is not there
	uids, modSeqs int
	op            bson.ObjectID // its mark, of no other swap: a command may have one of the same mailbox for another account
}

// takeAll makes one attempt to take numbers for several callers.
func (s *Store) takeAll(in []*taking) {
	swaps := swapsOf(in)
	if len(swaps) == 1 {
		s.takeTogether(in)
		return
	}
	ends := make([]time.Time, len(in))
	for i, t := range in {
		ends[i] = t.end
	}
	ctx, cancel := s.attempt(ends...)
	defer cancel()
	err := s.swapAll(ctx, swaps)
	for _, t := range in {
		t.err = err
		t.alone = err == nil && t.got == nil
	}
}

// swapsOf are the swaps that callers need, in the order of the mailboxes' ids, so that two nodes do not wait for each other.
func swapsOf(in []*taking) (swaps []*swap) {
	for _, t := range in {
		i := slices.IndexFunc(swaps, func(w *swap) bool { return w.boxOf == t.boxOf })
		if i < 0 {
			i = len(swaps)
			swaps = append(swaps, &swap{boxOf: t.boxOf, op: bson.NewObjectID()})
		}
		w := swaps[i]
		w.callers, w.uids, w.modSeqs = append(w.callers, t), w.uids+t.uids, w.modSeqs+t.modSeqs
	}
	slices.SortFunc(swaps, func(a, b *swap) int { return bytes.Compare(a.mbox[:], b.mbox[:]) })
	return swaps
}

// swapAll takes the numbers that nobody else takes meanwhile. With an error it is not known which were taken: nobody uses them.
func (s *Store) swapAll(ctx context.Context, swaps []*swap) error {
	if err := s.lookAtBoxes(ctx, swaps); err != nil {
		return err
	}
	swaps = slices.DeleteFunc(swaps, func(w *swap) bool { return w.box == nil })
	if len(swaps) == 0 {
		return nil
	}
	asked := time.Now()
	models := make([]mongo.WriteModel, len(swaps))
	for i, w := range swaps {
		filter, update := w.statement()
		models[i] = mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(update)
	}
	res, err := s.mailboxes().BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if err != nil && (outcomeUnknown(err) || !errors.As(err, new(mongo.BulkWriteException))) {
		return err // which swaps were made, and confirmed by a majority, nobody has said
	}
	if err == nil && res.MatchedCount == int64(len(models)) {
		for _, w := range swaps {
			s.dealOut(w, asked)
		}
		return nil
	}
	return s.lookForMarks(ctx, swaps, asked)
}

// lookAtBoxes finds out which numbers are the next ones.
func (s *Store) lookAtBoxes(ctx context.Context, swaps []*swap) error {
	var unknown []*swap
	for _, w := range swaps {
		if w.box = s.seen.last(oid(w.mbox)); w.box == nil {
			unknown = append(unknown, w)
		}
	}
	docs, err := s.readBoxes(ctx, unknown)
	if err != nil {
		return err
	}
	for _, w := range unknown {
		if doc, ok := docs[oid(w.mbox)]; ok {
			w.box = boxSeen(doc)
		}
	}
	return nil
}

// readBoxes reads the documents of mailboxes.
func (s *Store) readBoxes(ctx context.Context, swaps []*swap) (map[bson.ObjectID]bson.Raw, error) {
	if len(swaps) == 0 {
		return nil, nil
	}
	ids := make(bson.A, len(swaps))
	for i, w := range swaps {
		ids[i] = oid(w.mbox)
	}
	list, err := findAll(ctx, s.mailboxes(), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, nil, nil)
	if err != nil {
		return nil, err
	}
	docs := make(map[bson.ObjectID]bson.Raw, len(list))
	for _, doc := range list {
		if id, ok := doc.Lookup("_id").ObjectIDOK(); ok {
			docs[id] = doc
		}
	}
	return docs, nil
}

// statement is the update of a swap. It wants also unchanged what the messages are made by, since the document may have been
// read some time ago.
func (w *swap) statement() (filter, update bson.D) {
	filter = append(boxFilter(w.acct, w.mbox),
		bson.E{Key: "uidNext", Value: numberOf(int64(w.box.uid))}, bson.E{Key: "modifyIndex", Value: numberOf(int64(w.box.modSeq))})
	for _, key := range []string{"retention", "specialUse", "uidValidity"} {
		if v, err := w.box.doc.LookupErr(key); err == nil {
			filter = append(filter, bson.E{Key: key, Value: v})
		} else {
			filter = append(filter, bson.E{Key: key, Value: bson.D{{Key: "$exists", Value: false}}})
		}
	}
	return filter, bson.D{
		{Key: "$inc", Value: bson.D{{Key: "uidNext", Value: numberOf(int64(w.uids))}, {Key: "modifyIndex", Value: numberOf(int64(w.modSeqs))}}},
		{Key: "$push", Value: bson.D{{Key: memberMallard + "." + keyTaken, Value: bson.D{
			{Key: "$each", Value: bson.A{w.op}}, {Key: "$slice", Value: -maxTaken},
		}}}},
	}
}

// lookForMarks deals out what was taken by a command of which some swaps failed.
func (s *Store) lookForMarks(ctx context.Context, swaps []*swap, asked time.Time) error {
	docs, err := s.readBoxes(ctx, swaps)
	if err != nil {
		return err
	}
	for _, w := range swaps {
		doc := docs[oid(w.mbox)]
		if marked(doc, w.op) {
			s.dealOut(w, asked)
		} else if doc != nil {
			now := boxSeen(doc)
			now.shared = now.at
			s.seen.saw(oid(w.mbox), now)
		}
	}
	return nil
}

// marked reports whether a swap has left its mark in a mailbox's document.
func marked(doc bson.Raw, op bson.ObjectID) bool {
	marks, ok := doc.Lookup(memberMallard, keyTaken).ArrayOK()
	if !ok {
		return false
	}
	values, _ := marks.Values()
	return slices.ContainsFunc(values, func(v bson.RawValue) bool { id, ok := v.ObjectIDOK(); return ok && id == op })
}

// dealOut gives the numbers that a swap has taken to its callers, in the order in which they came.
func (s *Store) dealOut(w *swap, asked time.Time) {
	r := reservation{box: w.box.doc, asked: asked, uid: w.box.uid, modSeq: w.box.modSeq + 1}
	deal(&r, w.callers)
	next := *w.box
	next.uid, next.modSeq = r.uid, r.modSeq-1
	s.seen.saw(oid(w.mbox), &next)
}

// deal gives each of several callers its numbers of a reservation, which has those behind them afterwards.
func deal(all *reservation, in []*taking) {
	for _, t := range in {
		r := *all
		t.got = &r
		all.uid += mail.UID(t.uids)
		all.modSeq += mail.ModSeq(t.modSeqs)
	}
}
