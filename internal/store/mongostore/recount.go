package mongostore

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// recountLater counts what an account uses anew, once what is under way has had its time. It is for changes of which it
// cannot be known any more whether they were counted. When this node ends before, others do it.
func (s *Store) recountLater(user bson.ObjectID) {
	if !s.ledger.doubt(user) {
		return
	}
	s.later(func(ctx context.Context) error {
		if err := s.beSeen(ctx); err != nil { // so that others know of it
			return err
		}
		if err := pause(ctx, s.longestWrite()); err != nil {
			return err
		}
		_, _, err := s.recount(ctx, mail.AccountID(user), s.longestWrite(), nil)
		if err != nil && !accountGone(err) {
			return err
		}
		s.ledger.trust(user)
		return nil
	})
}

// sample is one counting: what is counted, without messages on their way, and what the messages have.
type sample struct {
	used bson.RawValue // storageUsed as it stands
	open int64         // octets of messages on their way
	sum  int64
}

func (m *sample) excess() int64 { return integer(m.used) - m.open - m.sum }

// samples is how many countings must be made before storageUsed is changed.
const samples = 5

// least is the least excess of some countings, with when it was first and last found.
type least struct {
	excess      int64
	n           int
	first, last time.Time
}

func (l *least) add(excess int64, now time.Time) {
	if l.n++; l.n == 1 || excess < l.excess {
		l.excess, l.first = excess, now
	}
	if excess == l.excess {
		l.last = now
	}
}

// recount takes off storageUsed what it has in excess of the messages, and returns what it was and is. The excess is the
// same however many messages come and go meanwhile; one that another program has counted and not yet stored adds to it. So
// the least of several countings is taken, when it was found twice with more time between than storing a message takes.
// That works on an account that is never still as well. vain are members of users, entries of charges that nobody will
// settle: they go with it.
func (s *Store) recount(ctx context.Context, id mail.AccountID, still time.Duration, vain []string) (before, after int64, err error) {
	var found least
	for range samples * maxAttempts {
		m, err := s.sample(ctx, oid(id), vain)
		switch {
		case errors.Is(err, errOpen):
		case err != nil:
			return 0, 0, err
		case m.excess() == 0 && len(vain) == 0:
			return integer(m.used), integer(m.used), nil
		default:
			found.add(m.excess(), time.Now())
			if found.n < samples || found.last.Sub(found.first) < still {
				break
			}
			done, err := s.correct(ctx, oid(id), m, found.excess, vain)
			if err != nil {
				return 0, 0, err
			}
			if done {
				return integer(m.used), integer(m.used) - found.excess, nil
			}
			continue // it was changed just now; what it has in excess is the same
		}
		if err := pause(ctx, still/(samples-1)); err != nil {
			return 0, 0, err
		}
	}
	return 0, 0, neverStill()
}

// sample counts once. errOpen says that something happened meanwhile that makes it worthless.
func (s *Store) sample(ctx context.Context, user bson.ObjectID, vain []string) (*sample, error) {
	before, err := s.userDoc(ctx, bson.E{Key: "_id", Value: user})
	if err != nil {
		return nil, err
	}
	entries := slices.DeleteFunc(openEntries(before), func(e openEntry) bool { return !e.made || slices.Contains(vain, e.member) })
	open, err := s.onTheirWay(ctx, user, entries)
	if err != nil {
		return nil, err
	}
	m := &sample{used: before.Lookup("storageUsed")}
	if m.sum, err = s.sumSizes(ctx, user); err != nil {
		return nil, err
	}
	still, err := s.onTheirWay(ctx, user, open)
	if err != nil {
		return nil, err
	}
	after, err := s.userDoc(ctx, bson.E{Key: "_id", Value: user})
	if err != nil {
		return nil, err
	}
	if len(still) != len(open) || integer(after.Lookup("storageUsed")) != integer(m.used) {
		return nil, errOpen
	}
	for _, e := range open {
		m.open += e.octets
	}
	return m, nil
}

// onTheirWay are the entries of which no message is there yet.
func (s *Store) onTheirWay(ctx context.Context, user bson.ObjectID, entries []openEntry) (out []openEntry, err error) {
	for _, e := range entries {
		if e.octets == 0 && len(e.ids) == 0 {
			return nil, errOpen // messages are being removed
		}
		fate, err := s.fateOf(ctx, user, e)
		if err != nil {
			return nil, err
		}
		switch {
		case fate == fateAbsent:
			out = append(out, e)
		case fate == fateUnclear && s.o.Now().Sub(e.at) < journalLife:
			return nil, errOpen // a part of them is there
		}
	}
	return out, nil
}

// correct takes off storageUsed what it has in excess, unless it has changed, with the entries that this settles.
func (s *Store) correct(ctx context.Context, user bson.ObjectID, m *sample, excess int64, vain []string) (bool, error) {
	if excess != 0 {
		var was any // also where it is missing
		if m.used.Type != 0 {
			was = m.used
		}
		done, err := s.apply(ctx, &change{op: bson.NewObjectID(), user: user, delta: -excess}, bson.E{Key: "storageUsed", Value: was})
		if err != nil || !done {
			return false, writeError("set the storage used", err)
		}
		s.o.Logger.Info("storage used was counted anew", "account", user.Hex(), "was", integer(m.used), "is", integer(m.used)-excess)
	}
	if len(vain) == 0 {
		return true, nil
	}
	_, err := s.users().UpdateOne(ctx, bson.D{{Key: "_id", Value: user}}, bson.D{{Key: "$unset", Value: unsetOf(vain)}})
	return err == nil, readError("settle charges", err)
}
