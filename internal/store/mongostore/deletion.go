package mongostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// deletedMail is how long the mail of a deleted account is kept when nobody said how long.
const deletedMail = 14 * 24 * time.Hour

// keyKeepUntil is a member of memberMallard in deletedusers: until when the mail is kept, the epoch for not at all.
const keyKeepUntil = "keepUntil"

// DeleteAccount takes an account away: its row goes to deletedusers, its addresses into that row, and a task that any
// node can do removes the rest at its time. Removing the row of users makes it happen. Before that there is only a copy
// in deletedusers; after it DeleteAccount once more, or the reclaimer, does what is missing.
func (s *Store) DeleteAccount(ctx context.Context, id mail.AccountID, keepUntil time.Time) error {
	done, err := s.enter(ctx, "DeleteAccount")
	if err != nil {
		return err
	}
	defer done()
	doc, err := s.userDoc(ctx, bson.E{Key: "_id", Value: oid(id)})
	if err != nil && mail.CodeOf(err) != mail.CodeNoAccount {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		if cerr := s.changeDeletion(ctx, oid(id), keepUntil); cerr != nil {
			return cerr
		}
		return err
	}
	if err := s.toDeletedUsers(ctx, doc, keepUntil); err != nil {
		return err
	}
	boxes, err := s.mailboxIDs(ctx, oid(id))
	if err != nil {
		return err
	}
	if err := s.removeUser(ctx, oid(id)); err != nil {
		return err
	}
	for _, b := range boxes {
		s.owned.forget(mail.MailboxID(b))
	}
	before, err := userOf(doc)
	if err != nil {
		before = &mail.Account{}
	}
	s.accountChanged(ctx, before, &mail.Account{ID: id})
	return unknownOutcome(s.afterDeletion(ctx, oid(id), keepUntil))
}

// toDeletedUsers copies an account's row with its addresses.
func (s *Store) toDeletedUsers(ctx context.Context, doc bson.Raw, keepUntil time.Time) error {
	id := doc.Lookup("_id")
	cur, err := s.addresses().Find(ctx, bson.D{{Key: "user", Value: id}}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return readError("read the addresses", err)
	}
	rows := []bson.Raw{}
	if err := cur.All(ctx, &rows); err != nil {
		return readError("read the addresses", err)
	}
	elements, err := doc.Elements()
	if err != nil {
		return mail.WrapError(mail.CodeCorrupt, "the account cannot be read", err)
	}
	copied := make(bson.D, 0, len(elements)+2)
	own := bson.D{{Key: keyKeepUntil, Value: keepTime(keepUntil)}}
	for _, e := range elements {
		if e.Key() == memberMallard {
			own = append(elementsOf(e.Value()), own...)
			continue
		}
		copied = append(copied, bson.E{Key: e.Key(), Value: e.Value()})
	}
	copied = append(copied, bson.E{Key: "deleteInfo", Value: bson.D{
		{Key: "deletedAt", Value: stored(s.o.Now())}, {Key: "mainAddress", Value: text(doc.Lookup("address"))}, {Key: "addresses", Value: rows},
	}}, bson.E{Key: memberMallard, Value: own})
	return writeAgain("keep the deleted account", func() error {
		_, err := s.deletedUsers().ReplaceOne(ctx, bson.D{{Key: "_id", Value: id}}, copied, options.Replace().SetUpsert(true))
		return err
	})
}

func (s *Store) deletedUsers() *mongo.Collection { return s.db.users.Collection(colDeletedUsers) }

// keepTime is the epoch for the zero time.
func keepTime(t time.Time) bson.DateTime {
	if t.IsZero() {
		return 0
	}
	return stored(t)
}

func elementsOf(v bson.RawValue) bson.D {
	doc, _ := v.DocumentOK()
	elements, err := doc.Elements()
	if err != nil {
		return nil
	}
	out := make(bson.D, 0, len(elements))
	for _, e := range elements {
		out = append(out, bson.E{Key: e.Key(), Value: e.Value()})
	}
	return out
}

// removeUser removes the row of users.
func (s *Store) removeUser(ctx context.Context, id bson.ObjectID) error {
	var deleted int64
	lost := false
	err := writeAgain("remove the account", func() error {
		res, err := s.users().DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
		if err != nil {
			lost = true
			return err
		}
		deleted = res.DeletedCount
		return nil
	})
	if err == nil && deleted == 0 && !lost {
		return noAccount() // another node was faster
	}
	return err
}

// afterDeletion does what is left when the users row is gone.
func (s *Store) afterDeletion(ctx context.Context, id bson.ObjectID, keepUntil time.Time) error {
	err := writeAgain("remove the addresses", func() error {
		_, err := s.addresses().DeleteMany(ctx, bson.D{{Key: "user", Value: id}})
		return err
	})
	if err != nil {
		return err
	}
	if !keepUntil.After(s.o.Now()) {
		return s.reclaimNow(ctx, id)
	}
	err = writeAgain("mark the mailboxes", func() error {
		_, err := s.mailboxes().UpdateMany(ctx, bson.D{{Key: "user", Value: id}},
			bson.D{{Key: "$set", Value: bson.D{{Key: memberMallard + "." + keyDeleted, Value: stored(s.o.Now())}}}})
		return err
	})
	if err != nil {
		return err
	}
	return s.delayTask(ctx, id, keepUntil)
}

// delayTask makes the task of a deletion, or gives the one that there is another time.
func (s *Store) delayTask(ctx context.Context, id bson.ObjectID, until time.Time) error {
	now := stored(s.o.Now())
	self := bson.D{{Key: "task", Value: taskUserDelete}, {Key: "data.user", Value: id}, {Key: "locked", Value: true}}
	return writeAgain("store the task of the deletion", func() error {
		_, err := s.tasks().UpdateOne(ctx, self, bson.D{
			{Key: "$set", Value: bson.D{{Key: "lockedUntil", Value: stored(until)}}},
			{Key: "$setOnInsert", Value: bson.D{{Key: "created", Value: now}, {Key: "status", Value: "delayed"}}},
		}, options.UpdateOne().SetUpsert(true))
		return err
	})
}

// changeDeletion gives the deletion of an account that is gone already another time, and completes one that stopped
// half-way.
func (s *Store) changeDeletion(ctx context.Context, id bson.ObjectID, keepUntil time.Time) error {
	res, err := s.deletedUsers().UpdateOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: memberMallard + "." + keyKeepUntil, Value: bson.D{{Key: "$exists", Value: true}}}},
		bson.D{{Key: "$set", Value: bson.D{{Key: memberMallard + "." + keyKeepUntil, Value: keepTime(keepUntil)}}}})
	if err != nil {
		return writeError("change the time of the deletion", err)
	}
	if res.MatchedCount == 0 {
		// WildDuck's, or done: only a task that waits can be changed.
		n, err := s.tasks().CountDocuments(ctx, bson.D{{Key: "task", Value: taskUserDelete}, {Key: "data.user", Value: id}, {Key: "locked", Value: true}})
		if err != nil || n == 0 {
			return readError("look for the task of the deletion", err)
		}
	}
	return s.afterDeletion(ctx, id, keepUntil)
}

// checkNotDeleted fails when the id is one of an account that was deleted and is kept.
func (s *Store) checkNotDeleted(ctx context.Context, id mail.AccountID) error {
	err := s.deletedUsers().FindOne(ctx, bson.D{{Key: "_id", Value: oid(id)}}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	switch {
	case err == nil:
		return mail.NewError(mail.CodeExists, "this account exists already and was deleted")
	case errors.Is(err, mongo.ErrNoDocuments):
		return nil
	}
	return readError("look for a deleted account", err)
}

// reclaimNow removes what a deleted account leaves behind, of which nothing is to be kept.
func (s *Store) reclaimNow(ctx context.Context, id bson.ObjectID) error {
	if err := s.reclaim(ctx, id, s.o.Now()); err != nil {
		return err
	}
	mine := bson.D{{Key: "user", Value: id}}
	for _, name := range []string{colJournal, colThreads} {
		if _, err := s.db.main.Collection(name).DeleteMany(ctx, mine); err != nil {
			return writeError("remove "+name, err)
		}
	}
	if _, err := s.tasks().DeleteMany(ctx, bson.D{{Key: "task", Value: taskUserDelete}, {Key: "data.user", Value: id}}); err != nil {
		return writeError("remove the task of the deletion", err)
	}
	_, err := s.deletedUsers().DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	return writeError("remove the deleted account", err)
}

// reclaim does the work of the task: the mailboxes and what belongs to the account go, its mail is marked to expire.
func (s *Store) reclaim(ctx context.Context, id bson.ObjectID, expires time.Time) error {
	mine := bson.D{{Key: "user", Value: id}}
	if err := s.expireMail(ctx, id, expires); err != nil {
		return err
	}
	for _, c := range []*mongo.Collection{
		s.db.main.Collection(colMailboxes), s.db.users.Collection("asps"), s.db.main.Collection("filters"),
		s.db.main.Collection("autoreplies"), s.db.main.Collection("addressregister"),
	} {
		if _, err := c.DeleteMany(ctx, mine); err != nil {
			return writeError("remove "+c.Name(), err)
		}
	}
	return nil
}

// expireMail marks the messages of a deleted account, mailbox by mailbox, so that each update goes to one shard.
func (s *Store) expireMail(ctx context.Context, id bson.ObjectID, at time.Time) error {
	boxes, err := s.mailboxIDs(ctx, id)
	if err != nil {
		return err
	}
	for _, box := range boxes {
		_, err := s.db.main.Collection(colMessages).UpdateMany(ctx, bson.D{{Key: "mailbox", Value: box}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "exp", Value: true}, {Key: "userDeleted", Value: true}, {Key: "rdate", Value: float64(at.UnixMilli())}}}})
		if err != nil {
			return writeError("mark the mail of a deleted account", err)
		}
	}
	return nil
}

// mailboxIDs are those of an account.
func (s *Store) mailboxIDs(ctx context.Context, user bson.ObjectID) ([]bson.ObjectID, error) {
	cur, err := s.db.main.Collection(colMailboxes).Find(ctx, bson.D{{Key: "user", Value: user}}, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, readError("list the mailboxes", err)
	}
	var rows []struct {
		ID bson.ObjectID `bson:"_id"`
	}
	if err := cur.All(ctx, &rows); err != nil {
		return nil, readError("list the mailboxes", err)
	}
	out := make([]bson.ObjectID, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.ID)
	}
	return out, nil
}

// ReclaimAccounts does the tasks of deletions whose time has come, completes deletions and creations that stopped
// half-way, and returns how many accounts it reclaimed. Any node may do it at any time, beside WildDuck nodes.
func (s *Store) ReclaimAccounts(ctx context.Context) (int, error) {
	done, err := s.enter(ctx, "ReclaimAccounts")
	if err != nil {
		return 0, err
	}
	defer done()
	if err := s.undoDeadCreations(ctx); err != nil {
		return 0, err
	}
	if err := s.completeDeletions(ctx); err != nil {
		return 0, err
	}
	n := 0
	for ctx.Err() == nil {
		task, err := s.claimTask(ctx, taskUserDelete, nil)
		if task == nil || err != nil {
			return n, err
		}
		if err := s.runDeletion(ctx, task); err != nil {
			return n, err
		}
		n++
	}
	return n, readError("reclaim accounts", ctx.Err())
}

func (s *Store) undoDeadCreations(ctx context.Context) error {
	key := memberMallard + "." + keyCreating
	cur, err := s.users().Find(ctx, bson.D{{Key: key, Value: bson.D{{Key: "$lt", Value: stored(s.o.Now().Add(-s.creationTime()))}}}},
		options.Find().SetProjection(bson.D{{Key: memberMallard, Value: 1}}))
	if err != nil {
		return readError("look for unfinished accounts", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return readError("look for unfinished accounts", err)
	}
	for _, r := range rows {
		since, _ := creatingSince(r)
		if _, err := s.undoCreation(ctx, r.Lookup("_id").ObjectID(), since); err != nil {
			return readError("remove an unfinished account", err)
		}
	}
	return nil
}

// completeDeletions finds deletions of ours of which the task is missing, because the node died before it made it.
func (s *Store) completeDeletions(ctx context.Context) error {
	cur, err := s.deletedUsers().Find(ctx, bson.D{{Key: memberMallard + "." + keyKeepUntil, Value: bson.D{{Key: "$exists", Value: true}}}},
		options.Find().SetProjection(bson.D{{Key: memberMallard, Value: 1}}))
	if err != nil {
		return readError("look for deleted accounts", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return readError("look for deleted accounts", err)
	}
	for _, r := range rows {
		if err := s.completeDeletion(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) completeDeletion(ctx context.Context, row bson.Raw) error {
	id := row.Lookup("_id").ObjectID()
	n, err := s.users().CountDocuments(ctx, bson.D{{Key: "_id", Value: id}})
	if err != nil || n > 0 {
		return readError("look for the account", err) // it was not deleted, or it was restored
	}
	n, err = s.tasks().CountDocuments(ctx, bson.D{{Key: "task", Value: taskUserDelete}, {Key: "data.user", Value: id}})
	if err != nil || n > 0 {
		return readError("look for the task of the deletion", err)
	}
	until := instant(row.Lookup(memberMallard, keyKeepUntil))
	if until.UnixMilli() == 0 {
		return s.afterDeletion(ctx, id, time.Time{})
	}
	boxes, err := s.mailboxIDs(ctx, id)
	if err != nil || len(boxes) == 0 {
		return err // the task was done
	}
	return s.afterDeletion(ctx, id, until)
}

// runDeletion does a task that was claimed and removes it.
func (s *Store) runDeletion(ctx context.Context, c *claim) error {
	id, ok := c.data.Lookup("user").ObjectIDOK()
	if !ok {
		id, ok = c.doc.Lookup("user").ObjectIDOK() // as it once was
	}
	if ok {
		if err := s.reclaimTask(ctx, id); err != nil {
			return err
		}
	}
	return c.done(ctx)
}

// reclaimTask does nothing for an account that is there: it was restored.
func (s *Store) reclaimTask(ctx context.Context, id bson.ObjectID) error {
	n, err := s.users().CountDocuments(ctx, bson.D{{Key: "_id", Value: id}})
	if err != nil {
		return readError("look for the account", err)
	}
	if n > 0 {
		s.o.Logger.Warn("the task of a deletion is for an account that is there: nothing is removed", "account", id.Hex())
		return nil
	}
	row, err := s.deletedUsers().FindOne(ctx, bson.D{{Key: "_id", Value: id}}, options.FindOne().SetProjection(bson.D{{Key: memberMallard, Value: 1}})).Raw()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return readError("read the deleted account", err)
	}
	if v := row.Lookup(memberMallard, keyKeepUntil); v.Type == bson.TypeDateTime {
		return s.reclaim(ctx, id, s.o.Now()) // it was kept as long as it was asked for
	}
	if err := s.reclaim(ctx, id, s.o.Now().Add(deletedMail)); err != nil {
		return fmt.Errorf("reclaim account %s: %w", id.Hex(), err)
	}
	return nil
}
