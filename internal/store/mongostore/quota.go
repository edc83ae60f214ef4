package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// recountPause is the time between two countings that must agree.
const recountPause = 200 * time.Millisecond

// RecountQuota sets storageUsed to the sum of the sizes of the account's messages, where the two differ; see recount.
func (s *Store) RecountQuota(ctx context.Context, id mail.AccountID) (before, after int64, err error) {
	done, err := s.enter(ctx, "RecountQuota")
	if err != nil {
		return 0, 0, err
	}
	defer done()
	return s.recount(ctx, id, recountPause, nil)
}

func neverStill() error {
	return mail.WrapError(mail.CodeUnavailable, "the account is changed by many at a time", errors.New("RecountQuota: it never stood still"))
}

// sumSizes adds up the messages of an account, as WildDuck does it.
func (s *Store) sumSizes(ctx context.Context, user bson.ObjectID) (int64, error) {
	cur, err := s.db.main.Collection(colMessages).Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: bson.D{{Key: "user", Value: user}, {Key: "userDeleted", Value: bson.D{{Key: "$ne", Value: true}}}}}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$user"}, {Key: "sum", Value: bson.D{{Key: "$sum", Value: "$size"}}}}}},
	})
	if err != nil {
		return 0, readError("count the storage used", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return 0, readError("count the storage used", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	return integer(rows[0].Lookup("sum")), nil
}

// pause waits, at most as long as ctx lives.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return readError("wait", ctx.Err())
	case <-t.C:
		return nil
	}
}
