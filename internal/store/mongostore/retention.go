package mongostore

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// redateBatch is how many messages are dated anew in one update. It holds few rows of the database for long.
const redateBatch = 500

// queueRedating makes the task that dates the messages of a mailbox anew, once for all changes until it is begun. The retention
// is written by then: a task that cannot be made is tried again, and lost only when the node ends meanwhile.
func (s *Store) queueRedating(ctx context.Context, acct mail.AccountID, mbox mail.MailboxID, counter int64) {
	write := func(ctx context.Context) error {
		now := stored(s.o.Now())
		_, err := s.tasks().UpdateOne(ctx,
			bson.D{{Key: "task", Value: taskRetention}, {Key: "data.user", Value: oid(acct)}, {Key: "data.mailbox", Value: oid(mbox)}, {Key: "locked", Value: false}},
			bson.D{
				{Key: "$set", Value: bson.D{{Key: "data.retentionCounter", Value: numberOf(counter)}, {Key: "updated", Value: now}}},
				{Key: "$setOnInsert", Value: bson.D{{Key: "lockedUntil", Value: now}, {Key: "created", Value: now}, {Key: "status", Value: "waiting"}}},
			}, options.UpdateOne().SetUpsert(true))
		if err == nil {
			select {
			case s.taskMade <- struct{}{}:
			default: // it is known that there is something to do
			}
		}
		return err
	}
	if err := s.again(ctx, write); err != nil {
		s.o.Logger.Warn("the messages of a mailbox whose retention has changed are dated anew later", "mailbox", mbox, "error", err)
		s.later(write)
	}
}

// TaskMade receives when this store has made a task that Redate does.
func (s *Store) TaskMade() <-chan struct{} { return s.taskMade }

// Redate does the tasks that date the messages of mailboxes anew whose retention has changed, made by this node, another one
// or a WildDuck, and returns how many it did. Any node may do it at any time, beside WildDuck nodes: each task is claimed by
// one. A task that fails is left for the next call, or another node.
func (s *Store) Redate(ctx context.Context) (n int, err error) {
	leave, err := s.enter(ctx, "Redate")
	if err != nil {
		return 0, err
	}
	defer leave()
	var failed bson.A
	var errs []error
	for ctx.Err() == nil {
		c, err := s.claimTask(ctx, taskRetention, failed)
		if err != nil || c == nil {
			return n, errors.Join(append(errs, err)...)
		}
		switch err := s.redateTask(ctx, c); {
		case err == nil:
			n++
		case errors.Is(err, errTaskLost):
			s.o.Logger.Warn("a task took so long that another node has it", "task", c.id.String())
		default:
			c.release(ctx)
			failed, errs = append(failed, c.id), append(errs, err)
		}
	}
	return n, errors.Join(append(errs, readError("date messages anew", ctx.Err()))...)
}

// redateTask does a task and removes it. It begins again when the retention was changed meanwhile.
func (s *Store) redateTask(ctx context.Context, c *claim) error {
	mbox, ok := c.data.Lookup("mailbox").ObjectIDOK()
	user, ok2 := c.data.Lookup("user").ObjectIDOK()
	if !ok || !ok2 {
		s.o.Logger.Warn("a task names no mailbox and is removed", "task", c.doc.String())
		return c.done(ctx)
	}
	if err := pause(ctx, s.unripe(c)); err != nil {
		return err
	}
	for {
		before, err := s.mailboxOfTask(ctx, mbox)
		if err != nil {
			return err
		}
		if before == nil {
			break
		}
		if owner, _ := before.Lookup("user").ObjectIDOK(); owner != user { // then the messages are not what the task is about
			return c.done(ctx)
		}
		if err := s.redate(ctx, c, before); err != nil {
			return err
		}
		after, err := s.mailboxOfTask(ctx, mbox)
		if err != nil {
			return err
		}
		if after != nil && sameRetention(before, after) {
			return c.done(ctx)
		}
	}
	// It was deleted meanwhile, and messages that were to go may have got another date, be it from who had the task before.
	if err := s.expireLeft(ctx, mbox); err != nil {
		return err
	}
	return c.done(ctx)
}

// unripe is how long a task must wait: until what was being stored when the retention changed, by what it was before, is there.
func (s *Store) unripe(c *claim) time.Duration {
	made := instant(c.doc.Lookup("updated"))
	if made.IsZero() {
		made = instant(c.doc.Lookup("created"))
	}
	return max(0, min(s.o.Lease, made.Add(s.o.Lease).Sub(s.o.Now())))
}

// mailboxOfTask is a mailbox, nil when it is gone.
func (s *Store) mailboxOfTask(ctx context.Context, mbox bson.ObjectID) (bson.Raw, error) {
	doc, err := s.mailboxes().FindOne(ctx, bson.D{{Key: "_id", Value: mbox}},
		options.FindOne().SetProjection(bson.D{{Key: "user", Value: 1}, {Key: "uidNext", Value: 1}, {Key: "retention", Value: 1}, {Key: "retentionCounter", Value: 1}})).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return doc, readError("read the mailbox", err)
}

// expireLeft marks the messages of a mailbox that is gone as expired, but for those of a deleted account, which have a time of
// their own.
func (s *Store) expireLeft(ctx context.Context, mbox bson.ObjectID) error {
	past := float64(s.o.Now().Add(-deletedMailbox).UnixMilli())
	err := s.again(ctx, func(ctx context.Context) error {
		_, err := s.messages().UpdateMany(ctx, bson.D{{Key: "mailbox", Value: mbox}, {Key: "userDeleted", Value: bson.D{{Key: "$ne", Value: true}}}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: past}}}})
		return err
	})
	return writeError("expire the messages of a mailbox that is gone", err)
}

func sameRetention(a, b bson.Raw) bool {
	return retentionOf(a.Lookup("retention")) == retentionOf(b.Lookup("retention")) &&
		integer(a.Lookup("retentionCounter")) == integer(b.Lookup("retentionCounter"))
}

// redate gives the messages of a mailbox the expiry that its retention asks for, whatever they had, some at a time.
func (s *Store) redate(ctx context.Context, c *claim, box bson.Raw) error {
	mbox := box.Lookup("_id")
	keep := retentionOf(box.Lookup("retention"))
	update := redating(millis(keep), keep > 0)
	starts, err := s.redateSteps(ctx, mbox.ObjectID(), integer(box.Lookup("uidNext")))
	if err != nil {
		return err
	}
	for i := range len(starts) - 1 {
		if err := c.renew(ctx); err != nil {
			return err
		}
		filter := bson.D{
			{Key: "mailbox", Value: mbox},
			{Key: "uid", Value: bson.D{{Key: "$gte", Value: numberOf(starts[i])}, {Key: "$lt", Value: numberOf(starts[i+1])}}},
			{Key: "$or", Value: bson.A{
				bson.D{{Key: "retention", Value: bson.D{{Key: "$ne", Value: millis(keep)}}}}, bson.D{{Key: "exp", Value: bson.D{{Key: "$ne", Value: keep > 0}}}},
			}},
			{Key: "userDeleted", Value: bson.D{{Key: "$ne", Value: true}}},
		}
		err := s.again(ctx, func(ctx context.Context) error {
			if err := s.step("redate"); err != nil {
				return err
			}
			_, err := s.messages().UpdateMany(ctx, filter, update)
			return err
		})
		if err != nil {
			return writeError("date messages anew", err)
		}
	}
	return nil
}

// redateSteps cuts the UIDs of a mailbox where redateBatch messages have been passed, and gives the UIDs at which the pieces
// begin, with uidNext at the end. Together they are all UIDs, as a message may yet come at one that is free; there are as
// many pieces as messages ask for, as a mailbox that was restored may have any number of UIDs without one. It holds eight
// octets a message.
func (s *Store) redateSteps(ctx context.Context, mbox bson.ObjectID, uidNext int64) (starts []int64, err error) {
	var uids []int64
	filter := bson.D{{Key: "mailbox", Value: mbox}, {Key: "uid", Value: bson.D{{Key: "$lt", Value: numberOf(uidNext)}}}}
	err = s.again(ctx, func(ctx context.Context) error {
		uids = uids[:0]
		cur, err := s.findUIDs(ctx, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 0}, {Key: "uid", Value: 1}}).SetBatchSize(wholeBatch))
		if err != nil {
			return err
		}
		defer cur.Close(context.WithoutCancel(ctx))
		for cur.Next(ctx) {
			uids = append(uids, integer(cur.Current.Lookup("uid")))
		}
		return cur.Err()
	})
	if err != nil {
		return nil, readError("find messages to date anew", err)
	}
	slices.Sort(uids) // here, as FerretDB unpacks each document once more to sort it
	for i := 0; i < len(uids); i += s.o.redateBatch {
		starts = append(starts, uids[i])
	}
	if len(starts) == 0 {
		return nil, nil
	}
	starts[0] = 1
	return append(starts, uidNext), nil
}

// redating is the update that counts the time from when a message came into the mailbox, which its id says where nothing else
// does.
func redating(keep any, expires bool) bson.A {
	since := bson.D{{Key: "$ifNull", Value: bson.A{"$retentionTime", bson.D{{Key: "$toDouble", Value: bson.D{{Key: "$toLong", Value: bson.D{{Key: "$toDate", Value: "$_id"}}}}}}}}}
	set := bson.D{{Key: "retentionTime", Value: since}, {Key: "retention", Value: keep}, {Key: "exp", Value: expires}}
	if !expires {
		return bson.A{bson.D{{Key: "$set", Value: set}}, bson.D{{Key: "$unset", Value: "rdate"}}}
	}
	return bson.A{bson.D{{Key: "$set", Value: append(set, bson.E{Key: "rdate", Value: bson.D{{Key: "$add", Value: bson.A{since, keep}}}})}}}
}
