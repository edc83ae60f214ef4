package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// colTasks are the tasks of all nodes, WildDuck's too. Who claims a task does it; one whose lease is over is free again.
const colTasks = "tasks"

// The tasks that a node does. Those of other kinds are left to WildDuck nodes.
const (
	taskUserDelete = "user-delete"       // removes what a deleted account leaves behind
	taskRetention  = "mailbox-retention" // dates the messages of a mailbox anew when its retention has changed
)

const (
	// taskLease is how long a task belongs to who claimed it, or has renewed the claim.
	taskLease = time.Hour
	// taskRenewal is the time after which a claim is renewed.
	taskRenewal = 10 * time.Minute
)

func (s *Store) tasks() *mongo.Collection { return s.db.main.Collection(colTasks) }

// errTaskLost says that somebody else has the task now.
var errTaskLost = errors.New("the task was claimed by another node")

// claim is a task that this node does.
type claim struct {
	s       *Store
	id      bson.RawValue
	locked  bson.RawValue
	data    bson.Raw
	doc     bson.Raw
	renewed time.Time // by the clock that goes on
}

// claimTask takes a task that is free or was left by a node that died, nil when there is none. Those in without are left out.
func (s *Store) claimTask(ctx context.Context, name string, without bson.A) (*claim, error) {
	now := s.o.Now()
	lock := newID[mail.MessageID](s)
	filter := bson.D{{Key: "task", Value: name}, {Key: "$or", Value: bson.A{
		bson.D{{Key: "locked", Value: false}},
		bson.D{{Key: "locked", Value: bson.D{{Key: "$ne", Value: false}}}, {Key: "lockedUntil", Value: bson.D{{Key: "$lt", Value: stored(now)}}}},
	}}}
	if len(without) > 0 {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$nin", Value: without}}})
	}
	doc, err := s.tasks().FindOneAndUpdate(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{
			{Key: "locked", Value: bson.Binary{Data: lock[:]}}, {Key: "lockedUntil", Value: stored(now.Add(taskLease))},
			{Key: "status", Value: "active"}, {Key: "runStart", Value: stored(now)},
		}},
		{Key: "$inc", Value: bson.D{{Key: "runCount", Value: int32(1)}}},
	}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, readError("claim a task", err)
	}
	data, _ := doc.Lookup("data").DocumentOK()
	return &claim{s: s, id: doc.Lookup("_id"), locked: doc.Lookup("locked"), data: data, doc: doc, renewed: time.Now()}, nil
}

// mine is the filter of the task as long as this node has it.
func (c *claim) mine() bson.D {
	return bson.D{{Key: "_id", Value: c.id}, {Key: "locked", Value: c.locked}}
}

// renew makes the lease begin anew when it is time for that. It fails when the task is somebody else's.
func (c *claim) renew(ctx context.Context) error {
	if time.Since(c.renewed) < taskRenewal {
		return nil
	}
	began, now := time.Now(), c.s.o.Now()
	res, err := c.s.tasks().UpdateOne(ctx, c.mine(), bson.D{
		{Key: "$set", Value: bson.D{{Key: "lockedUntil", Value: stored(now.Add(taskLease))}, {Key: "status", Value: "processing"}, {Key: "extendTime", Value: stored(now)}}},
		{Key: "$inc", Value: bson.D{{Key: "extendCount", Value: int32(1)}}},
	})
	if err != nil {
		return writeError("renew the claim of a task", err)
	}
	if res.MatchedCount == 0 {
		return errTaskLost
	}
	c.renewed = began
	return nil
}

// done removes the task.
func (c *claim) done(ctx context.Context) error {
	_, err := c.s.tasks().DeleteOne(ctx, c.mine())
	return writeError("remove the task", err)
}

// release lets the task be claimed again. Where that cannot be written the lease ends by itself.
func (c *claim) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.s.o.Timeout)
	defer cancel()
	_, err := c.s.tasks().UpdateOne(ctx, c.mine(), bson.D{{Key: "$set", Value: bson.D{{Key: "locked", Value: false}, {Key: "status", Value: "waiting"}}}})
	if err != nil {
		c.s.o.Logger.Warn("a task stays claimed until its lease ends", "task", c.id.String(), "error", err)
	}
}
