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
// less than half in a command with others. Messages are inserted by several commands at the same time, of a few each.
//
// What a command did of which it is not known for each statement, each member finds out by an attempt of its own, which finds
// what was done. So it is with an error that one of the statements made. Only when the answer is lost the attempt of every
// member has failed.
type rounds struct {
	gate    *batch.Rounds // nil: none
	charge  *batch.Step[*charging]
	thread  *batch.Step[*threading]
	number  *batch.Step[*taking]
	insert  *batch.Step[*inserting]
	journal *batch.Step[*rowing]
}

const (
	// roundMembers is how many messages are together at most: a command of more costs hardly less for each.
	roundMembers = 16
	// roundEnough is how many are enough for a round, if they are half of those who are there.
	roundEnough = 4
	// roundOthers is how many other messages are to be under way on average for one to wait for company.
	roundOthers = 2
	// roundInsert is how many messages one command inserts: one process of the server does them one after the other.
	roundInsert = 2
	// roundDocument is how large a document is at most that is inserted together with others.
	roundDocument = 256 << 10
	// roundTurn is how long a round waits for others that take numbers.
	roundTurn = 50 * time.Millisecond
	// roundWait is how long members wait at a step for one who is slower than they.
	roundWait = 20 * time.Millisecond
)

func (s *Store) newRounds() rounds {
	r := rounds{charge: batch.NewStep(s.chargeAll), thread: batch.NewStep(s.threadAll), number: batch.NewStep(s.numberAll), insert: batch.NewStep(s.insertAll), journal: batch.NewStep(s.journalAll)}
	if s.o.Gather > 0 {
		r.gate = batch.NewRounds(batch.Limits{Members: roundMembers, Enough: roundEnough, Others: roundOthers, Gather: s.o.Gather, Wait: roundWait})
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
		filter, update := threadUpsert(t, now)
		models[i], ends[i] = mongo.NewUpdateOneModel().SetUpsert(true).SetFilter(filter).SetUpdate(update), t.end
	}
	ctx, cancel := s.attempt(ends...)
	defer cancel()
	res, err := s.threads().BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
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

// inserting is the document of a message that one caller stores.
type inserting struct {
	doc bson.Raw

	end  time.Time
	done bool
	err  error
}

// insertTogether makes one attempt to insert a message together with those of others. It does nothing when there are no
// others, and for a document that is so large that they would wait for it.
func (s *Store) insertTogether(ctx context.Context, doc bson.Raw) (done bool, err error) {
	if len(doc) > roundDocument {
		s.together.insert.Skip(memberOf(ctx))
		return false, nil
	}
	i := &inserting{doc: doc, end: time.Now().Add(s.o.Timeout)}
	if _, err := s.together.insert.Do(memberOf(ctx), i); err != nil {
		return false, err
	}
	return i.done, i.err
}

// insertAll makes one attempt for several callers, by commands that a server does at the same time.
func (s *Store) insertAll(in []*inserting) {
	commands := (len(in) + roundInsert - 1) / roundInsert
	size := (len(in) + commands - 1) / commands
	chunks := slices.Collect(slices.Chunk(in, size))
	_ = parallel(len(chunks), func(i int) error {
		s.insertSome(chunks[i])
		return nil
	})
}

func (s *Store) insertSome(in []*inserting) {
	docs, ends := make([]bson.Raw, len(in)), make([]time.Time, len(in))
	for i, one := range in {
		docs[i], ends[i] = one.doc, one.end
	}
	ctx, cancel := s.attempt(ends...)
	defer cancel()
	err := s.insertDocuments(ctx, docs)
	lost := outcomeUnknown(err)
	for _, one := range in {
		one.done = err == nil
		if lost {
			one.err = err
		}
	}
}

// numberAll makes one attempt to take numbers for several callers. Rounds of this node do it one after the other, as they may be
// at the same mailboxes. One that does not have its turn soon, as the database does not answer another, leaves it to its members.
func (s *Store) numberAll(in []*taking) {
	late := time.NewTimer(roundTurn)
	defer late.Stop()
	select {
	case s.together.swaps <- struct{}{}:
		defer func() { <-s.together.swaps }()
		s.takeAll(in)
	case <-late.C:
		for _, t := range in {
			t.alone = true
		}
	}
}
