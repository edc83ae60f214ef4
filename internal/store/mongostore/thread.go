package mongostore

import (
	"context"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// threadStep is how many messages of a conversation are read before they are given out.
const threadStep = 1000

// Thread yields the messages of a conversation.
func (s *Store) Thread(ctx context.Context, acct mail.AccountID, thread mail.ThreadID) iter.Seq2[store.ThreadMember, error] {
	return func(yield func(store.ThreadMember, error) bool) {
		done, err := s.enter(ctx, "Thread")
		if err != nil {
			yield(store.ThreadMember{}, err)
			return
		}
		defer done()
		boxes, err := s.mailboxIDs(ctx, oid(acct))
		if err == nil && len(boxes) == 0 {
			err = noAccount()
		}
		if err != nil {
			yield(store.ThreadMember{}, err)
			return
		}
		var after bson.ObjectID
		for {
			members, last, err := s.threadMembers(ctx, acct, thread, boxes, after)
			if err != nil {
				yield(store.ThreadMember{}, readError("read the conversation", err))
				return
			}
			for _, m := range members {
				if !yield(m, nil) {
					return
				}
			}
			if len(members) < threadStep {
				return
			}
			after = last
		}
	}
}

// threadMembers reads messages of a conversation in the order of their ids. They are those of mailboxes that are there:
// the messages of one that was deleted stay for a while, and the mailboxes lead a sharded cluster to the messages.
func (s *Store) threadMembers(ctx context.Context, acct mail.AccountID, thread mail.ThreadID, boxes []bson.ObjectID, after bson.ObjectID) ([]store.ThreadMember, bson.ObjectID, error) {
	filter := bson.D{
		{Key: "user", Value: oid(acct)}, {Key: "thread", Value: oid(thread)}, {Key: "mailbox", Value: bson.D{{Key: "$in", Value: boxes}}},
	}
	if !after.IsZero() {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}})
	}
	cur, err := s.messages().Find(ctx, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(threadStep).
		SetProjection(bson.D{{Key: "_id", Value: 1}, {Key: "mailbox", Value: 1}, {Key: "uid", Value: 1}}))
	if err != nil {
		return nil, after, err
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return nil, after, err
	}
	out := make([]store.ThreadMember, 0, len(rows))
	for _, r := range rows {
		box, _ := r.Lookup("mailbox").ObjectIDOK()
		out = append(out, store.ThreadMember{Mailbox: mail.MailboxID(box), UID: mail.UID(integer(r.Lookup("uid")))})
		after, _ = r.Lookup("_id").ObjectIDOK()
	}
	return out, after, nil
}
