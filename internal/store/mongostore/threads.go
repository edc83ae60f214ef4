package mongostore

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// maxReferences is how many message ids tie a message to its conversation.
const maxReferences = 10

// threadHashes are the message ids as conversations list them.
func threadHashes(references []string) []string {
	var out []string
	for _, r := range references {
		sum := sha1.Sum([]byte(r))
		h := base64.RawStdEncoding.EncodeToString(sum[:])
		if r == "" || slices.Contains(out, h) {
			continue
		}
		if out = append(out, h); len(out) == maxReferences {
			break
		}
	}
	return out
}

// assignThreads finds or makes the conversations of messages that come into an account together. Those of one subject are
// done one after the other, because the first may make what the next one finds.
func (s *Store) assignThreads(ctx context.Context, acct mail.AccountID, in []*staged) ([]bson.ObjectID, error) {
	out := make([]bson.ObjectID, len(in))
	bySubject := make(map[string][]int)
	var subjects []string
	for i, st := range in {
		if bySubject[st.subject] == nil {
			subjects = append(subjects, st.subject)
		}
		bySubject[st.subject] = append(bySubject[st.subject], i)
	}
	return out, parallel(len(subjects), func(n int) error {
		for _, i := range bySubject[subjects[n]] {
			id, err := s.assignThread(ctx, acct, in[i].references, in[i].subject)
			if err != nil {
				return err
			}
			out[i] = id
		}
		return nil
	})
}

// assignThread returns the conversation with one of the references and this subject.
func (s *Store) assignThread(ctx context.Context, acct mail.AccountID, references []string, subject string) (bson.ObjectID, error) {
	hashes := threadHashes(references)
	id := bson.ObjectID(newID[mail.ThreadID](s))
	err := s.again(ctx, func(ctx context.Context) error {
		t := &threading{user: oid(acct), id: id, hashes: hashes, subject: subject}
		if made, err := s.makeThread(ctx, t); err != nil || made {
			return err
		}
		if len(hashes) == 0 {
			return s.insertThread(ctx, t)
		}
		known, err := s.knownThread(ctx, t)
		if err == nil {
			id = known
		}
		return err
	})
	return id, readError("find the conversation", err)
}

// insertThread makes the conversation of a message without references, which no other will find.
func (s *Store) insertThread(ctx context.Context, t *threading) error {
	_, err := s.threads().InsertOne(ctx, bson.D{
		{Key: "_id", Value: t.id}, {Key: "user", Value: t.user}, {Key: "ids", Value: bson.A{nil}}, {Key: "subject", Value: t.subject},
		{Key: "updated", Value: stored(s.o.Now())},
	})
	return exceptDuplicates(err)
}

// knownThread finds a conversation and adds the references to it, or makes it. An attempt of which the answer was lost has
// made what the next one finds.
func (s *Store) knownThread(ctx context.Context, t *threading) (bson.ObjectID, error) {
	filter, update := threadUpsert(t, s.o.Now())
	doc, err := s.threads().FindOneAndUpdate(ctx, filter, update,
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After).SetProjection(bson.D{{Key: "_id", Value: 1}})).Raw()
	if err != nil {
		return bson.ObjectID{}, err
	}
	return doc.Lookup("_id").ObjectID(), nil
}

// threadUpsert finds the conversation of an account with one of some references and a subject, and adds the references to it;
// where there is none it makes one.
func threadUpsert(t *threading, now time.Time) (filter, update bson.D) {
	// An $in of one value may be taken for an equality, whose value the new document would have. No hash is empty.
	some := append(slices.Clone(t.hashes), "")
	filter = bson.D{{Key: "user", Value: t.user}, {Key: "ids", Value: bson.D{{Key: "$in", Value: some}}}, {Key: "subject", Value: t.subject}}
	return filter, bson.D{
		{Key: "$addToSet", Value: bson.D{{Key: "ids", Value: bson.D{{Key: "$each", Value: t.hashes}}}}},
		{Key: "$set", Value: bson.D{{Key: "updated", Value: stored(now)}}},
		{Key: "$setOnInsert", Value: bson.D{{Key: "_id", Value: t.id}}},
	}
}

// arrivalMillis is the time that retention counts from.
func arrivalMillis(t time.Time) float64 { return float64(t.Truncate(time.Second).UnixMilli()) }
