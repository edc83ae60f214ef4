package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// The database has no transactions, so a writer does one thing after the other, and whoever wants to know how that ended
// leaves it time. There are three such times, for three questions:
//
//	overlap        How far back must I read again? Of a reader; nobody waits: rows of a slow writer, or of one whose clock
//	               is behind, come in before what was read already. Clocks differ, so it has a margin for them.
//	longestWrite   Has whoever counted a message stored it by now? Between two countings that must agree, and before an
//	               entry of a charge is judged: longer than a live node needs from the one to the other.
//	calm           Is what I sent carried out, or will it never be? After a time without an answer: it waits for the
//	               first answer, however long that takes, and then longestWrite for what the database had kept.
//
// Whether a node is dead is no wait of this kind: see Options.Dead.

const (
	// leastOverlap is the least of Store.overlap, clockMargin how much longer that is than a write may take.
	leastOverlap = 15 * time.Second
	clockMargin  = 5 * time.Second
)

// overlap is how far before the moment of a reading rows may have been written by their writer's clock that it missed: a
// writer has Options.Timeout for them.
func (s *Store) overlap() time.Duration { return max(leastOverlap, s.o.Timeout+clockMargin) }

// longestWrite is how long a node that lives may take from counting a message to storing it.
func (s *Store) longestWrite() time.Duration { return max(s.o.Lease, s.o.Timeout) }

// calm waits until the database answers, and then for what it was sent before: one that hung carries out when it goes on
// what has come meanwhile, beside the first question.
func (s *Store) calm(ctx context.Context, user bson.ObjectID) error {
	err := s.users().FindOne(ctx, bson.D{{Key: "_id", Value: user}}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return err
	}
	return pause(ctx, s.longestWrite())
}
