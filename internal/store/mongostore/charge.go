package mongostore

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// keyOpen is the member of memberMallard in users that holds an entry for each charge that may not be done: the octets
// that were added to storageUsed, and the ids of the messages that they are for. It is made by the update that adds them
// and goes with the update that takes them back. So whoever finds the entry of a node that has died can tell whether the
// octets are to be taken back, and do it once. The entry of a charge whose messages are stored goes with the next one.
const keyOpen = "open"

// Members of an entry. One without octets keeps a charge from being made late.
const (
	entryOctets = "n"
	entryIDs    = "ids" // missing: whether they are stored is found out by counting anew
	entryAt     = "at"
)

// lateCharge is how long an update may be on its way whose sender has given it up.
const lateCharge = 2 * time.Minute

// charge is octets that were added to an account's storageUsed for messages that are to be stored.
type charge struct {
	seq    int64
	member string // of users: its entry
	user   bson.ObjectID
	octets int64
	ids    []bson.ObjectID // of the messages; empty when they are not known before
	sure   bool            // the entry was there
	// again is the id of the change that counts the octets once more, and left whether an attempt was made to take the
	// entry away of which the outcome is not known.
	again bson.ObjectID
	left  bool
}

func overQuota() error { return mail.NewError(mail.CodeOverQuota, "the account is over its quota") }

// charge adds octets to what an account uses, unless that is more than room before. Where room is negative nothing fits.
// One update checks and adds, so that two nodes cannot exceed a quota together. A charge ends with justify, settle or
// uncharge. Errors: NoAccount, OverQuota.
func (s *Store) charge(ctx context.Context, acct mail.AccountID, octets int64, limited bool, room int64, ids ...bson.ObjectID) (*charge, error) {
	if err := s.beSeen(ctx); err != nil {
		return nil, readError("count the storage used", err)
	}
	c := &charge{user: oid(acct), octets: octets, ids: ids, again: bson.NewObjectID()}
	c.seq, c.member = s.ledger.begin()
	if err := s.makeCharge(ctx, c, limited, room); err != nil {
		// It may have been done: what it adds is taken back, and if it was not done it will not be.
		s.uncharge(ctx, c)
		return nil, readError("count the storage used", err)
	}
	if c.sure {
		return c, s.step("charged")
	}
	s.ledger.end(c.seq)
	if err := s.requireAccount(ctx, acct); err != nil {
		return nil, err
	}
	return nil, overQuota()
}

// makeCharge makes a charge once, however often it is tried. Afterwards it is sure, unless there was no room.
func (s *Store) makeCharge(ctx context.Context, c *charge, limited bool, room int64) error {
	entry := bson.D{{Key: entryAt, Value: stored(s.o.Now())}, {Key: entryOctets, Value: numberOf(c.octets)}}
	if len(c.ids) > 0 {
		entry = append(entry, bson.E{Key: entryIDs, Value: c.ids})
	}
	old := s.ledger.take(c.user, time.Now())
	tries, doubt := 0, false
	err := s.again(ctx, func(ctx context.Context) error {
		if err := s.step("charge"); err != nil {
			return err
		}
		tries++
		one := &charging{charge: c, entry: entry, old: old, limited: limited, room: room}
		err := s.chargeOnce(ctx, one)
		c.sure, doubt = one.done, doubt || one.doubt
		return err
	})
	if err == nil && !c.sure && (tries > 1 || doubt) { // an earlier attempt may have done it
		n, cerr := s.users().CountDocuments(ctx, bson.D{{Key: "_id", Value: c.user}, {Key: c.member, Value: bson.D{{Key: "$exists", Value: true}}}})
		c.sure, err = n == 1, cerr
	}
	if !c.sure {
		s.ledger.untake(c.user, old, time.Now())
	}
	return err
}

func unsetOf(members []string) bson.D {
	out := make(bson.D, 0, len(members))
	for _, m := range members {
		out = append(out, bson.E{Key: m, Value: ""})
	}
	return out
}

// justify says that the messages of a charge are there.
func (s *Store) justify(ctx context.Context, c *charge) {
	if !s.silent() {
		s.ledger.leave(c, time.Now())
		return
	}
	// Others may have taken this node for dead, and have taken the octets back before the messages came.
	if err := s.confirm(ctx, c); err != nil {
		s.o.Logger.Warn("whether octets are counted is found out later", "account", c.user.Hex(), "octets", c.octets, "error", err)
		s.later(func(ctx context.Context) error { return s.confirm(ctx, c) })
	}
}

// confirm takes the entry of a charge away whose messages are there. Where it is gone another node has taken the octets
// back: they are counted again.
func (s *Store) confirm(ctx context.Context, c *charge) error {
	there := false
	lost := c.left
	err := s.again(ctx, func(ctx context.Context) error {
		lost, c.left = c.left, true
		res, err := s.users().UpdateOne(ctx, bson.D{{Key: "_id", Value: c.user}, {Key: c.member, Value: bson.D{{Key: "$exists", Value: true}}}},
			bson.D{{Key: "$unset", Value: unsetOf([]string{c.member})}})
		if err == nil {
			there = res.MatchedCount == 1
		}
		return err
	})
	if err != nil {
		return err
	}
	c.left = lost
	switch {
	case there:
	case lost: // an earlier attempt may have taken it away
		s.recountLater(c.user)
	default:
		s.o.Logger.Warn("octets are counted again that another node took back", "account", c.user.Hex(), "octets", c.octets)
		if _, err := s.apply(ctx, &change{op: c.again, user: c.user, delta: c.octets}); err != nil {
			return err
		}
	}
	s.ledger.end(c.seq)
	return nil
}

// uncharge undoes a charge of which no message was stored, now or as soon as the database answers.
func (s *Store) uncharge(ctx context.Context, c *charge) { s.settle(ctx, c, c.octets) }

// settle ends a charge and takes octets back, now or as soon as the database answers.
func (s *Store) settle(ctx context.Context, c *charge, back int64) {
	if err := s.takeOctets(ctx, c, back); err != nil {
		s.o.Logger.Warn("storage that was counted in vain is taken off later", "account", c.user.Hex(), "octets", back, "error", err)
		s.later(func(ctx context.Context) error { return s.takeOctets(ctx, c, back) })
	}
}

// takeOctets takes the entry of a charge away and octets back, and keeps a charge that was not made from being made late.
func (s *Store) takeOctets(ctx context.Context, c *charge, back int64) error {
	done, err := s.closeEntry(ctx, c.user, c.member, back)
	if err != nil {
		return err
	}
	if done || c.sure {
		s.ledger.end(c.seq)
		return nil
	}
	err = s.again(ctx, func(ctx context.Context) error {
		_, err := s.users().UpdateOne(ctx, bson.D{{Key: "_id", Value: c.user}, {Key: c.member, Value: bson.D{{Key: "$exists", Value: false}}}},
			bson.D{{Key: "$set", Value: bson.D{{Key: c.member, Value: bson.D{{Key: entryAt, Value: stored(s.o.Now())}}}}}})
		return err
	})
	if err == nil {
		// An attempt may have come between: then it is found now.
		if _, err = s.closeEntry(ctx, c.user, c.member, back); err == nil {
			s.ledger.leave(c, time.Now().Add(lateCharge))
		}
	}
	return err
}

// closeEntry takes an entry with octets away and takes octets back, once.
func (s *Store) closeEntry(ctx context.Context, user bson.ObjectID, member string, back int64) (done bool, err error) {
	update := bson.D{{Key: "$unset", Value: unsetOf([]string{member})}}
	if back != 0 {
		update = append(update, bson.E{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: numberOf(-back)}}})
	}
	err = s.again(ctx, func(ctx context.Context) error {
		if err := s.step("settle"); err != nil {
			return err
		}
		res, err := s.users().UpdateOne(ctx, bson.D{{Key: "_id", Value: user}, {Key: member + "." + entryOctets, Value: bson.D{{Key: "$exists", Value: true}}}}, update)
		if err == nil {
			done = done || res.MatchedCount == 1
		}
		return err
	})
	return done, err
}

// doubtCharge is for a charge of which it is not known how many of its messages are there, when their ids do not tell.
func (s *Store) doubtCharge(c *charge) {
	s.later(func(ctx context.Context) error {
		if err := s.settleByCount(ctx, c.user, []string{c.member}); err != nil {
			return err
		}
		s.ledger.end(c.seq)
		return nil
	})
}

// later does work that is left over, as soon as the database answers. When the store is closed before, what is open in the
// ledger is left to the other nodes.
func (s *Store) later(work func(ctx context.Context) error) {
	if s.leftOver.Add(1) > maxLater {
		s.leftOver.Add(-1)
		s.o.Logger.Error("too much is left over to be done later; when this node ends others do it")
		return
	}
	s.background.Go(func() {
		defer s.leftOver.Add(-1)
		ctx := s.closing
		for wait := laterPause; ; wait = min(2*wait, maxLaterPause) {
			err := work(ctx)
			if err == nil || errors.Is(err, store.ErrClosed) {
				return
			}
			if pause(ctx, wait) != nil {
				s.o.Logger.Warn("work that was left over ends with the store; others do it", "error", err)
				return
			}
		}
	})
}

// Attempts at work that is left over when the database did not answer.
const (
	laterPause    = 5 * time.Second
	maxLaterPause = time.Minute
	maxLater      = 1024
)

// keyCharges is the member of memberMallard in users that holds the ids of the last changes of storageUsed that have no
// entry. An $inc whose answer was lost can so be tried again without counting twice.
const keyCharges = "charges"

// maxCharges is how many of them are kept: as many as an account may see while one is being tried again.
const maxCharges = 64

// change is a change of an account's storageUsed.
type change struct {
	op    bson.ObjectID
	user  bson.ObjectID
	delta int64
}

// apply makes a change of storageUsed once, however often it is tried, and reports whether the filter let it through.
func (s *Store) apply(ctx context.Context, c *change, filter ...bson.E) (done bool, err error) {
	const member = memberMallard + "." + keyCharges
	self := append(bson.D{{Key: "_id", Value: c.user}, {Key: member, Value: bson.D{{Key: "$ne", Value: c.op}}}}, filter...)
	update := bson.D{
		{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: numberOf(c.delta)}}},
		{Key: "$push", Value: bson.D{{Key: member, Value: bson.D{{Key: "$each", Value: bson.A{c.op}}, {Key: "$slice", Value: -maxCharges}}}}},
	}
	tries := 0
	err = s.again(ctx, func(ctx context.Context) error {
		if err := s.step("refund"); err != nil {
			return err
		}
		tries++
		res, err := s.users().UpdateOne(ctx, self, update)
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
	return done, readError("count the storage used", err)
}

// refund takes octets off what an account uses, now or as soon as the database answers; it reports whether it is done.
func (s *Store) refund(ctx context.Context, acct mail.AccountID, octets int64) bool {
	if octets == 0 {
		return true
	}
	c := &change{op: bson.NewObjectID(), user: oid(acct), delta: -octets}
	if _, err := s.apply(ctx, c); err != nil {
		s.o.Logger.Warn("storage that became free is counted later", "account", acct, "octets", octets, "error", err)
		s.later(func(ctx context.Context) error {
			_, err := s.apply(ctx, c)
			return err
		})
		s.recountLater(c.user)
		return false
	}
	return true
}

// accountGone reports whether an error says that there is no such account any more.
func accountGone(err error) bool {
	return mail.CodeOf(err) == mail.CodeNoAccount || errors.Is(err, mongo.ErrNoDocuments)
}
