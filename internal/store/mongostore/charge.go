package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// keyCharges is the member of memberMallard in users that holds the ids of the last changes of storageUsed. An $inc whose
// answer was lost can so be tried again without counting twice.
const keyCharges = "charges"

// maxCharges is how many of them are kept: as many as an account may see while one is being tried again.
const maxCharges = 64

// charge is a change of an account's storageUsed.
type charge struct {
	op    bson.ObjectID
	user  bson.ObjectID
	delta int64
}

func overQuota() error { return mail.NewError(mail.CodeOverQuota, "the account is over its quota") }

// charge adds octets to what an account uses, unless that is more than room before. Where room is negative nothing fits.
// One update checks and adds, so that two nodes cannot exceed a quota together. Errors: NoAccount, OverQuota.
func (s *Store) charge(ctx context.Context, acct mail.AccountID, delta int64, limited bool, room int64) (*charge, error) {
	c := &charge{op: bson.NewObjectID(), user: oid(acct), delta: delta}
	filter := bson.D{notCreating()}
	if limited {
		filter = append(filter, bson.E{Key: "storageUsed", Value: bson.D{{Key: "$lte", Value: room}}})
	}
	done, err := s.apply(ctx, c, filter)
	if err != nil {
		// It may have been done: what it adds is taken back, which does nothing where it was not done.
		s.uncharge(ctx, c)
		return nil, err
	}
	if done {
		return c, nil
	}
	if err := s.requireAccount(ctx, acct); err != nil {
		return nil, err
	}
	return nil, overQuota()
}

// apply makes a change of storageUsed once, however often it is tried, and reports whether the filter let it through.
func (s *Store) apply(ctx context.Context, c *charge, filter bson.D) (done bool, err error) {
	const member = memberMallard + "." + keyCharges
	filter = append(bson.D{{Key: "_id", Value: c.user}, {Key: member, Value: bson.D{{Key: "$ne", Value: c.op}}}}, filter...)
	update := bson.D{
		{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: numberOf(c.delta)}}},
		{Key: "$push", Value: bson.D{{Key: member, Value: bson.D{{Key: "$each", Value: bson.A{c.op}}, {Key: "$slice", Value: -maxCharges}}}}},
	}
	tries := 0
	err = s.again(ctx, func(ctx context.Context) error {
		if err := s.step("charge"); err != nil {
			return err
		}
		tries++
		res, err := s.users().UpdateOne(ctx, filter, update)
		if err == nil {
			done = res.MatchedCount == 1
		}
		return err
	})
	if err == nil && !done && tries > 1 { // an earlier attempt may have done it
		n, cerr := s.users().CountDocuments(ctx, bson.D{{Key: "_id", Value: c.user}, {Key: member, Value: c.op}})
		done, err = n == 1, cerr
	}
	if tries > 1 { // the list may have lost the first attempt before the last
		s.recountLater(c.user)
	}
	if err != nil {
		return false, readError("count the storage used", err)
	}
	return done, s.step("charged")
}

// uncharge undoes a change that was made for nothing, now or as soon as the database answers.
func (s *Store) uncharge(ctx context.Context, c *charge) {
	if err := s.void(ctx, c); err != nil {
		s.o.Logger.Warn("storage that was counted in vain is taken off later", "account", c.user.Hex(), "octets", c.delta, "error", err)
		s.later(func(ctx context.Context) error { return s.void(ctx, c) })
		s.recountLater(c.user)
	}
}

// void undoes a change that was made, and keeps one that was not from being made late.
func (s *Store) void(ctx context.Context, c *charge) error {
	const member = memberMallard + "." + keyCharges
	mark := bson.E{Key: "$push", Value: bson.D{{Key: member, Value: bson.D{{Key: "$each", Value: bson.A{c.op}}, {Key: "$slice", Value: -maxCharges}}}}}
	filter := bson.D{{Key: "_id", Value: c.user}, {Key: member, Value: bson.D{{Key: "$ne", Value: c.op}}}}
	tries := 0
	return s.again(ctx, func(ctx context.Context) error {
		if tries++; tries > 1 { // the mark of an attempt whose answer was lost looks like the change itself
			s.recountLater(c.user)
		}
		was, err := s.users().FindOneAndUpdate(ctx, filter, bson.D{mark},
			options.FindOneAndUpdate().SetProjection(bson.D{{Key: member, Value: 1}})).Raw()
		switch {
		case errors.Is(err, mongo.ErrNoDocuments):
			_, err = s.apply(ctx, &charge{op: backOf(c.op), user: c.user, delta: -c.delta}, nil)
			return err
		case err == nil && full(was.Lookup(memberMallard, keyCharges)):
			s.recountLater(c.user) // it may have been made so long ago that its id is gone
		}
		return err
	})
}

// backOf is the id of the change that undoes another; it is always the same, so that it is undone once.
func backOf(op bson.ObjectID) bson.ObjectID {
	for i := range op {
		op[i] ^= 0xff
	}
	return op
}

// refund takes octets off what an account uses, now or as soon as the database answers.
func (s *Store) refund(ctx context.Context, acct mail.AccountID, octets int64) {
	if octets == 0 {
		return
	}
	c := &charge{op: bson.NewObjectID(), user: oid(acct), delta: -octets}
	if _, err := s.apply(ctx, c, nil); err != nil {
		s.o.Logger.Warn("storage that became free is counted later", "account", acct, "octets", octets, "error", err)
		s.later(func(ctx context.Context) error {
			_, err := s.apply(ctx, c, nil)
			return err
		})
	}
}

// Attempts at work that is left over when the database did not answer.
const (
	laterAttempts = 60
	laterPause    = 5 * time.Second
	maxLater      = 1024
)

// later does work that is left over, as soon as the database answers. It is given up when the store is closed, or after
// laterAttempts; RecountQuota then puts right what it would have done.
func (s *Store) later(work func(ctx context.Context) error) {
	if s.leftOver.Add(1) > maxLater {
		s.leftOver.Add(-1)
		s.o.Logger.Error("too much is left over to be done later; quotas need a recount")
		return
	}
	s.background.Go(func() {
		defer s.leftOver.Add(-1)
		ctx := s.closing
		for range laterAttempts {
			err := work(ctx)
			if err == nil || errors.Is(err, store.ErrClosed) {
				return
			}
			if pause(ctx, laterPause) != nil {
				s.o.Logger.Warn("work that was left over ends with the store; a quota may need a recount", "error", err)
				return
			}
		}
		s.o.Logger.Error("work that was left over is given up; a quota may need a recount")
	})
}
