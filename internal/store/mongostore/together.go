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
// each other: numbers that are taken of one mailbox. Nobody waits for company: see package batch.
//
// Each caller has its own outcome and makes its own further attempts. An attempt whose answer is lost is one of unknown
// outcome for all that were part of it.
type together struct {
	numbers *batch.Batcher[boxOf, *taking]
}

// maxTogether is how many callers there are at most for one operation.
const maxTogether = 64

func (s *Store) startTogether() {
	s.together = together{numbers: batch.New[boxOf](maxTogether, s.takeTogether)}
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
	err           error
}

// take makes one attempt to take numbers of a mailbox, together with who else does it meanwhile.
func (s *Store) take(acct mail.AccountID, mbox mail.MailboxID, uids, modSeqs int) (*reservation, error) {
	t := &taking{boxOf: boxOf{acct, mbox}, uids: uids, modSeqs: modSeqs, end: time.Now().Add(s.o.Timeout)}
	if err := s.together.numbers.Do(t.boxOf, t); err != nil {
		return nil, err
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
		if t.err = err; err != nil {
			continue
		}
		r := *all
		t.got = &r
		all.uid += mail.UID(t.uids)
		all.modSeq += mail.ModSeq(t.modSeqs)
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
	return &reservation{box: doc, asked: asked, uid: mail.UID(integer(doc.Lookup("uidNext"))), modSeq: mail.ModSeq(integer(doc.Lookup("modifyIndex"))) + 1}, nil
}
