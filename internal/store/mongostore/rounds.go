package mongostore

import (
	"bytes"
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/batch"
)

// Messages that come to different accounts at the same time go through the steps of Append in rounds: the octets of all are
// counted by one command, and so their conversations are made and their journal rows written. A statement costs the database
// less than half in a command with others. The insert of a message costs the same, and is left alone.
//
// What a command did of which it is not known for each statement, each member finds out by an attempt of its own, which finds
// what was done. So it is with an error that one of the statements made. Only when the answer is lost the attempt of every
// member has failed.
type rounds struct {
	gate    *batch.Rounds // nil: none
	charge  *batch.Step[*charging]
	thread  *batch.Step[*threading]
	journal *batch.Step[*rowing]
}

const (
	// roundMembers is how many messages are together at most: a command of more costs hardly less for each.
	roundMembers = 16
	// roundOthers is how many other messages are to be under way on average for one to wait for company.
	roundOthers = 2
	// roundWait is how long members wait at a step for one who is slower than they.
	roundWait = 20 * time.Millisecond
)

func (s *Store) newRounds() rounds {
	r := rounds{charge: batch.NewStep(s.chargeAll), thread: batch.NewStep(s.threadAll), journal: batch.NewStep(s.journalAll)}
	if s.o.Gather > 0 {
		r.gate = batch.NewRounds(batch.Limits{Members: roundMembers, Others: roundOthers, Gather: s.o.Gather, Wait: roundWait})
	}
	return r
}

// enterRound makes an append a member of a round, unless its messages are several: they are done together anyway, and
// take longer. The context is for the steps of the member, which has to leave.
func (s *Store) enterRound(ctx context.Context, messages int) (context.Context, *batch.Member) {
	if s.together.gate == nil || messages > 1 {
		return ctx, nil
	}
	m := s.together.gate.Enter()
	return context.WithValue(ctx, memberKey{}, m), m
}

type memberKey struct{}

// memberOf is the member of a round that a context is for; nil when there is none.
func memberOf(ctx context.Context) *batch.Member {
	m, _ := ctx.Value(memberKey{}).(*batch.Member)
	return m
}

// chargeAll makes one attempt at the charges of several callers, by one update of each account. In the order of their
// ids, so that two nodes do not wait for each other.
func (s *Store) chargeAll(in []*charging) {
	slices.SortStableFunc(in, func(a, b *charging) int { return bytes.Compare(a.user[:], b.user[:]) })
	var models []mongo.WriteModel
	for rest := in; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].user == rest[0].user {
			n++
		}
		filter, update := chargeUpdate(rest[:n])
		models, rest = append(models, mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(update)), rest[n:]
	}
	if len(models) == 1 {
		s.chargeTogether(in)
		return
	}
	ctx, cancel := s.attempt(endsOf(in)...)
	defer cancel()
	res, err := s.users().BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	lost := outcomeUnknown(err)
	for _, c := range in {
		if lost {
			c.err = err
			continue
		}
		c.done = err == nil && res.MatchedCount == int64(len(models))
		c.alone, c.doubt = !c.done, !c.done
	}
}

// threading is a conversation that is to be made for a message.
type threading struct {
	user, id bson.ObjectID
	hashes   []string
	subject  string

	end  time.Time
	made bool
	err  error
}

// makeThread makes one attempt to make a conversation together with those of others, unless there is one. It does nothing when
// there are no others.
func (s *Store) makeThread(ctx context.Context, t *threading) (made bool, err error) {
	if len(t.hashes) == 0 {
		s.together.thread.Skip(memberOf(ctx))
		return false, nil
	}
	t.end = time.Now().Add(s.o.Timeout)
	if _, err := s.together.thread.Do(memberOf(ctx), t); err != nil {
		return false, err
	}
	return t.made, t.err
}

// threadAll makes one attempt for several callers. Which conversation it is that was there the answer does not say.
func (s *Store) threadAll(in []*threading) {
	slices.SortStableFunc(in, func(a, b *threading) int { return bytes.Compare(a.user[:], b.user[:]) })
	models := make([]mongo.WriteModel, len(in))
	ends := make([]time.Time, len(in))
	now := s.o.Now()
	for i, t := range in {
		// An $in of one value may be taken for an equality, whose value the new document would have. No hash is empty.
		filter := threadFilter(t.user, append(slices.Clone(t.hashes), ""), t.subject)
		update := append(threadUpdate(t.hashes, now), bson.E{Key: "$setOnInsert", Value: bson.D{{Key: "_id", Value: t.id}}})
		models[i], ends[i] = mongo.NewUpdateOneModel().SetUpsert(true).SetFilter(filter).SetUpdate(update), t.end
	}
	ctx, cancel := s.attempt(ends...)
	defer cancel()
	res, err := s.db.main.Collection(colThreads).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	lost := outcomeUnknown(err)
	for i, t := range in {
		switch {
		case lost:
			t.err = err
		case err == nil:
			_, t.made = res.UpsertedIDs[int64(i)]
		}
	}
}

// rowing are journal rows of one caller.
type rowing struct {
	docs []bson.D

	end  time.Time
	done bool
	err  error
}

// insertRowsTogether makes one attempt to insert journal rows together with those of others. It does nothing when there are no
// others.
func (s *Store) insertRowsTogether(ctx context.Context, docs []bson.D) (done bool, err error) {
	r := &rowing{docs: docs, end: time.Now().Add(s.o.Timeout)}
	if _, err := s.together.journal.Do(memberOf(ctx), r); err != nil {
		return false, err
	}
	return r.done, r.err
}

// journalAll makes one attempt for several callers.
func (s *Store) journalAll(in []*rowing) {
	var docs []bson.D
	ends := make([]time.Time, len(in))
	for i, r := range in {
		docs, ends[i] = append(docs, r.docs...), r.end
	}
	ctx, cancel := s.attempt(ends...)
	defer cancel()
	err := s.insertRowsOnce(ctx, docs)
	lost := outcomeUnknown(err)
	for _, r := range in {
		r.done = err == nil
		if lost {
			r.err = err
		}
	}
}
