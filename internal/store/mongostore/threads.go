package mongostore

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
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
	threads := s.db.main.Collection(colThreads)
	hashes := threadHashes(references)
	id := bson.ObjectID(newID[mail.ThreadID](s))
	err := s.again(ctx, func(ctx context.Context) error {
		if made, err := s.makeThread(ctx, &threading{user: oid(acct), id: id, hashes: hashes, subject: subject}); err != nil || made {
			return err
		}
		known, err := knownThread(ctx, threads, acct, hashes, subject, s.o.Now())
		if err == nil {
			id = known
		}
		if !errors.Is(err, mongo.ErrNoDocuments) {
			return err
		}
		ids := bson.A{nil}
		if len(hashes) > 0 {
			ids = textArray(hashes)
		}
		_, err = threads.InsertOne(ctx, bson.D{
			{Key: "_id", Value: id}, {Key: "user", Value: oid(acct)}, {Key: "ids", Value: ids}, {Key: "subject", Value: subject},
			{Key: "updated", Value: stored(s.o.Now())},
		})
		if mongo.IsDuplicateKeyError(err) { // by an attempt of which the answer was lost
			return nil
		}
		return err
	})
	return id, readError("find the conversation", err)
}

// knownThread finds a conversation and adds the references to it.
func knownThread(ctx context.Context, threads *mongo.Collection, acct mail.AccountID, hashes []string, subject string, now time.Time) (bson.ObjectID, error) {
	if len(hashes) == 0 {
		return bson.ObjectID{}, mongo.ErrNoDocuments
	}
	doc, err := threads.FindOneAndUpdate(ctx, threadFilter(oid(acct), hashes, subject), threadUpdate(hashes, now), options.FindOneAndUpdate().SetProjection(bson.D{{Key: "_id", Value: 1}})).Raw()
	if err != nil {
		return bson.ObjectID{}, err
	}
	return doc.Lookup("_id").ObjectID(), nil
}

// threadFilter finds the conversation of an account with one of some references and a subject.
func threadFilter(user bson.ObjectID, hashes []string, subject string) bson.D {
	return bson.D{{Key: "user", Value: user}, {Key: "ids", Value: bson.D{{Key: "$in", Value: hashes}}}, {Key: "subject", Value: subject}}
}

// threadUpdate adds references to a conversation.
func threadUpdate(hashes []string, now time.Time) bson.D {
	return bson.D{
		{Key: "$addToSet", Value: bson.D{{Key: "ids", Value: bson.D{{Key: "$each", Value: hashes}}}}},
		{Key: "$set", Value: bson.D{{Key: "updated", Value: stored(now)}}},
	}
}

// arrivalMillis is the time that retention counts from.
func arrivalMillis(t time.Time) float64 { return float64(t.Truncate(time.Second).UnixMilli()) }
