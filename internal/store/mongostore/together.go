package mongostore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/batch"
	"mallard/internal/mail"
)

// What several callers on this node want of one document at the same time is one operation, because they would wait for
// each other: numbers that are taken of one mailbox, octets that are counted for one account. Nobody waits for company: see
// package batch.
//
// Each caller has its own outcome and makes its own further attempts. An attempt whose answer is lost is one of unknown
// outcome for all that were part of it.
type together struct {
	numbers *batch.Batcher[boxOf, *taking]
	charges *batch.Batcher[bson.ObjectID, *charging]
	swaps   chan struct{} // who swaps numbers has put one in
	rounds
}

// maxTogether is how many callers there are at most for one operation.
const maxTogether = 64

func (s *Store) startTogether() {
	s.together = together{
		numbers: batch.New[boxOf](maxTogether, s.takeTogether),
		charges: batch.New[bson.ObjectID](maxTogether, s.chargeTogether),
		swaps:   make(chan struct{}, 1),
		rounds:  s.newRounds(),
	}
}

// attempt bounds one attempt for several callers. It ends when the first of them has to give up: none of them waits
// longer than if it were alone. It does not end with the calls of those who brought it, but with the store.
func (s *Store) attempt(ends ...time.Time) (context.Context, context.CancelFunc) {
	end := ends[0]
	for _, e := range ends[1:] {
		if e.Before(end) {
			end = e
		}
	}
	return context.WithDeadline(s.closing, end)
}

// boxOf is a mailbox with its account.
type boxOf struct {
	acct mail.AccountID
	mbox mail.MailboxID
}

// taking are numbers of a mailbox that one caller takes.
type taking struct {
	boxOf
	uids, modSeqs int
	end           time.Time
	got           *reservation
	alone         bool // others have taken the numbers meanwhile: it is to be tried alone
	err           error
}

// take makes one attempt to take numbers of a mailbox, together with who else does it meanwhile.
func (s *Store) take(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids, modSeqs int) (*reservation, error) {
	t := &taking{boxOf: boxOf{acct, mbox}, uids: uids, modSeqs: modSeqs, end: time.Now().Add(s.o.Timeout)}
	together, err := s.together.number.Do(memberOf(ctx), t)
	if err != nil {
		return nil, err
	}
	if !together || t.alone {
		t.end = time.Now().Add(s.o.Timeout) // who takes them with it ends then as well
		if err := s.together.numbers.Do(t.boxOf, t); err != nil {
			return nil, err
		}
	}
	return t.got, t.err
}

// takeTogether takes numbers for several callers and deals them out in the order in which they came.
func (s *Store) takeTogether(in []*taking) {
	uids, modSeqs := 0, 0
	ends := make([]time.Time, len(in))
	for i, t := range in {
		uids, modSeqs, ends[i] = uids+t.uids, modSeqs+t.modSeqs, t.end
	}
	ctx, cancel := s.attempt(ends...)
	defer cancel()
	all, err := s.takeNumbers(ctx, in[0].acct, in[0].mbox, uids, modSeqs, nil)
	for _, t := range in {
		t.err = err
	}
	if err == nil {
		deal(all, in)
	}
}

// takeNumbers makes one attempt to take numbers.
func (s *Store) takeNumbers(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, uids, modSeqs int, n *note) (*reservation, error) {
	update := bson.D{{Key: "$inc", Value: bson.D{{Key: "modifyIndex", Value: numberOf(int64(modSeqs))}}}}
	if uids > 0 {
		update[0].Value = append(update[0].Value.(bson.D), bson.E{Key: "uidNext", Value: numberOf(int64(uids))})
	}
	if n != nil {
		update = append(update, bson.E{Key: "$push", Value: bson.D{{Key: memberMallard + "." + keyNotes, Value: bson.D{
			{Key: "$each", Value: bson.A{n}}, {Key: "$slice", Value: -maxNotes},
		}}}})
	}
	asked := time.Now()
	doc, err := s.mailboxes().FindOneAndUpdate(ctx, boxFilter(acct, mbox), update,
		options.FindOneAndUpdate().SetReturnDocument(options.Before)).Raw()
	if err != nil {
		return nil, err
	}
	r := &reservation{box: doc, asked: asked, uid: mail.UID(integer(doc.Lookup("uidNext"))), modSeq: mail.ModSeq(integer(doc.Lookup("modifyIndex"))) + 1}
	s.seen.saw(oid(mbox), &seenBox{doc: doc, uid: r.uid + mail.UID(uids), modSeq: r.modSeq - 1 + mail.ModSeq(modSeqs), at: time.Now()})
	return r, nil
}

// charging is an attempt at a charge.
type charging struct {
	*charge
	entry   bson.D
	old     []string // members of users that go with it
	limited bool     // no more than room octets may be in use before
	room    int64

	end   time.Time
	done  bool // it was made
	alone bool // those of all together were not, or not all of them: it is to be tried alone
	doubt bool // it may have been made before
	err   error
}

// chargeOnce makes one attempt at a charge, together with who else charges accounts meanwhile. Afterwards c says whether the
// account was there, had room and had no entry of the charge yet.
func (s *Store) chargeOnce(ctx context.Context, c *charging) error {
	c.end = time.Now().Add(s.o.Timeout)
	together, err := s.together.charge.Do(memberOf(ctx), c)
	if err == nil && !together {
		err = s.together.charges.Do(c.user, c)
	}
	if err != nil {
		return err
	}
	if c.alone {
		c.end = time.Now().Add(s.o.Timeout)
		s.chargeTogether([]*charging{c})
	}
	return c.err
}

// chargeTogether makes the charges of several callers to one account with one update that makes all of them or none.
func (s *Store) chargeTogether(in []*charging) {
	filter, update := chargeUpdate(in)
	ctx, cancel := s.attempt(endsOf(in)...)
	defer cancel()
	res, err := s.users().UpdateOne(ctx, filter, update)
	for _, c := range in {
		c.err = err
		c.done = err == nil && res.MatchedCount == 1
		c.alone = err == nil && !c.done && len(in) > 1
	}
}

func endsOf(in []*charging) []time.Time {
	out := make([]time.Time, len(in))
	for i, c := range in {
		out[i] = c.end
	}
	return out
}

// chargeUpdate is the update that makes charges of one account. All fit one after the other when each finds room for itself
// and those before it.
func chargeUpdate(in []*charging) (filter, update bson.D) {
	filter = bson.D{{Key: "_id", Value: in[0].user}, notCreating()}
	var entries bson.D
	var old []string
	var octets, room int64
	limited := false
	for _, c := range in {
		filter = append(filter, bson.E{Key: c.member, Value: bson.D{{Key: "$exists", Value: false}}})
		entries = append(entries, bson.E{Key: c.member, Value: c.entry})
		old = append(old, c.old...)
		if left := c.room - octets; c.limited && (!limited || left < room) {
			limited, room = true, left
		}
		octets += c.octets
	}
	if limited {
		filter = append(filter, bson.E{Key: "storageUsed", Value: bson.D{{Key: "$lte", Value: room}}})
	}
	update = bson.D{{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: numberOf(octets)}}}, {Key: "$set", Value: entries}}
	if len(old) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: unsetOf(old)})
	}
	return filter, update
}
