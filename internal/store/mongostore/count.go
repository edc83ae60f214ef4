package mongostore

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// Counters counts the messages of mailboxes.
func (s *Store) Counters(ctx context.Context, acct mail.AccountID, ids ...mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	done, err := s.enter(ctx, "Counters")
	if err != nil {
		return nil, err
	}
	defer done()
	out, err := s.existing(ctx, acct, ids)
	if err != nil || len(out) == 0 {
		return out, err
	}
	return out, s.countMessages(ctx, out)
}

// existing are those of some mailboxes that the account has, with counters that are zero.
func (s *Store) existing(ctx context.Context, acct mail.AccountID, ids []mail.MailboxID) (map[mail.MailboxID]mail.Counters, error) {
	out := make(map[mail.MailboxID]mail.Counters, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	wanted := make(bson.A, len(ids))
	for i, id := range ids {
		wanted[i] = oid(id)
	}
	docs, err := findAll(ctx, s.mailboxes(), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: wanted}}}, {Key: "user", Value: oid(acct)}},
		bson.D{{Key: memberMallard + "." + keyDeleted, Value: 1}}, nil)
	if err != nil {
		return nil, readError("read the mailboxes", err)
	}
	for _, doc := range docs {
		err := s.checkDeleted(ctx, acct, doc)
		if err != nil && mail.CodeOf(err) == mail.CodeNoMailbox {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[mail.MailboxID(doc.Lookup("_id").ObjectID())] = mail.Counters{}
	}
	return out, nil
}

// countMessages fills in the counters of mailboxes by the members of messages that WildDuck counts.
func (s *Store) countMessages(ctx context.Context, boxes map[mail.MailboxID]mail.Counters) error {
	ids := make(bson.A, 0, len(boxes))
	for id := range boxes {
		ids = append(ids, oid(id))
	}
	one := func(cond any, yes, no int) bson.D {
		return bson.D{{Key: "$sum", Value: bson.D{{Key: "$cond", Value: bson.A{cond, yes, no}}}}}
	}
	cur, err := s.messages().Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: bson.D{{Key: "mailbox", Value: bson.D{{Key: "$in", Value: ids}}}}}},
		bson.D{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: "$mailbox"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}},
			{Key: "unseen", Value: one("$unseen", 1, 0)}, {Key: "deleted", Value: one("$undeleted", 0, 1)},
			{Key: "size", Value: bson.D{{Key: "$sum", Value: "$size"}}},
		}}},
	})
	if err != nil {
		return readError("count messages", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return readError("count messages", err)
	}
	for _, r := range rows {
		id, _ := r.Lookup("_id").ObjectIDOK()
		boxes[mail.MailboxID(id)] = mail.Counters{
			Messages: integer(r.Lookup("n")), Unseen: integer(r.Lookup("unseen")),
			Deleted: integer(r.Lookup("deleted")), Size: integer(r.Lookup("size")),
		}
	}
	return nil
}
