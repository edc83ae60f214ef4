package mongostore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// recountLater counts what an account uses anew, once what is under way has had its time. It is for changes of which it
// cannot be known any more whether they were counted: an outage longer than the ids of changes are kept.
func (s *Store) recountLater(user bson.ObjectID) {
	s.mu.Lock()
	known := s.doubtful[user]
	s.doubtful[user] = true
	s.mu.Unlock()
	if known {
		return
	}
	still := max(s.o.Lease, s.o.Timeout) // longer than a message is counted before it is there
	s.later(func(ctx context.Context) error {
		if err := pause(ctx, still); err != nil {
			return err
		}
		s.forgetDoubt(user) // what becomes doubtful from now on is a reason to count once more
		_, _, err := s.recount(ctx, mail.AccountID(user), still)
		if mail.CodeOf(err) == mail.CodeNoAccount {
			return nil
		}
		return err
	})
}

func (s *Store) forgetDoubt(user bson.ObjectID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.doubtful, user)
}

// full reports whether a list of the last changes may have lost some.
func full(charges bson.RawValue) bool {
	list, ok := charges.ArrayOK()
	if !ok {
		return false
	}
	values, err := list.Values()
	return err != nil || len(values) >= maxCharges
}

// recount is RecountQuota with the pause between two countings that must agree.
func (s *Store) recount(ctx context.Context, id mail.AccountID, still time.Duration) (before, after int64, err error) {
	var last [2]int64
	for i := range maxAttempts {
		doc, err := s.userDoc(ctx, bson.E{Key: "_id", Value: oid(id)})
		if err != nil {
			return 0, 0, err
		}
		used := doc.Lookup("storageUsed")
		sum, err := s.sumSizes(ctx, oid(id))
		if err != nil {
			return 0, 0, err
		}
		if integer(used) == sum {
			return sum, sum, nil
		}
		if now := [2]int64{integer(used), sum}; i > 0 && now == last {
			if done, err := s.setUsed(ctx, doc, used, sum); done || err != nil {
				return now[0], sum, err
			}
		} else {
			last = now
		}
		if err := pause(ctx, still); err != nil {
			return 0, 0, err
		}
	}
	return 0, 0, neverStill()
}
