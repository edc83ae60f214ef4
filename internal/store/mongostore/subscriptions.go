package mongostore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// The subscription of a mailbox is its member subscribed, which WildDuck knows. Names that are subscribed without a
// mailbox stand in the document of the user. One of which there is a mailbox means nothing: the mailbox counts. So a
// deletion writes the name first and then removes the mailbox, and whatever comes in between finds the name subscribed.
//
// Each entry has an id of its own, and is only taken out by that id when its name got a mailbox: a deletion of that mailbox
// writes the name anew under another id.

// keyNames is the member of memberMallard in users that holds the names that are subscribed without a mailbox.
const keyNames = "subscribed"

// maskedName is after how long an entry is removed of whose name there is a mailbox, which a WildDuck node made: no
// deletion of it that wrote the entry is still under way.
const maskedName = 10 * time.Minute

// subscribedName is an entry of keyNames.
type subscribedName struct {
	Path string        `bson:"path"`
	Op   bson.ObjectID `bson:"op"`
}

// subscribedNames is what stands in the document of a user.
type subscribedNames struct {
	user bson.Raw
	list []subscribedName
}

// namesOf reads the entries of a user's document.
func namesOf(user bson.Raw) *subscribedNames {
	n := &subscribedNames{user: user}
	array, ok := user.Lookup(memberMallard, keyNames).ArrayOK()
	if !ok {
		return n
	}
	values, err := array.Values()
	if err != nil {
		return n
	}
	for _, v := range values {
		var e subscribedName
		if v.Unmarshal(&e) == nil && e.Path != "" {
			n.list = append(n.list, e)
		}
	}
	return n
}

// find returns the entry of a name, nil when there is none.
func (n *subscribedNames) find(path string) *subscribedName {
	for i := range n.list {
		if n.list[i].Path == path {
			return &n.list[i]
		}
	}
	return nil
}

// with returns the entries with another one, and false when they would have more octets than limit. It replaces the one of
// its name.
func (n *subscribedNames) with(add *subscribedName, limit int) (bson.A, bool) {
	used := len(add.Path)
	out := bson.A{}
	there := false
	for _, e := range n.list {
		if e.Path == add.Path {
			there = true
			continue
		}
		used += len(e.Path)
		out = append(out, e)
	}
	return append(out, add), there || used <= limit
}

// names reads the names of an account that are subscribed without a mailbox. Errors: NoAccount.
func (s *Store) names(ctx context.Context, acct mail.AccountID) (*subscribedNames, error) {
	const member = memberMallard + "." + keyNames
	user, err := s.users().FindOne(ctx, bson.D{{Key: "_id", Value: oid(acct)}, notCreating()},
		options.FindOne().SetProjection(bson.D{{Key: member, Value: 1}})).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, noAccount()
	}
	if err != nil {
		return nil, readError("read the subscriptions", err)
	}
	return namesOf(user), nil
}

// addName subscribes a name without a mailbox and returns its entry, nil when there is no room for it.
func (s *Store) addName(ctx context.Context, acct mail.AccountID, path string, limit int) (*subscribedName, error) {
	const member = memberMallard + "." + keyNames
	entry := &subscribedName{Path: path, Op: bson.NewObjectID()}
	for range maxAttempts {
		names, err := s.names(ctx, acct)
		if err != nil {
			return nil, err
		}
		list, room := names.with(entry, limit)
		if !room {
			return nil, nil
		}
		filter := bson.D{{Key: "_id", Value: oid(acct)}, notCreating(), {Key: member, Value: bson.D{{Key: "$exists", Value: false}}}}
		if v := names.user.Lookup(memberMallard, keyNames); v.Type != 0 {
			filter[2].Value = bson.D{{Key: "$eq", Value: v}}
		}
		var matched int64
		err = s.again(ctx, func(ctx context.Context) error {
			res, err := s.users().UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: bson.D{{Key: member, Value: list}}}})
			if err == nil {
				matched = res.MatchedCount
			}
			return err
		})
		if err != nil {
			return nil, writeError("subscribe the name", err)
		}
		if matched == 1 {
			return entry, nil
		}
	}
	return nil, mail.NewError(mail.CodeConflict, "the account is changed by many at a time")
}

// removeNames takes entries out.
func (s *Store) removeNames(ctx context.Context, acct mail.AccountID, which bson.D) error {
	const member = memberMallard + "." + keyNames
	filter := bson.D{{Key: "_id", Value: oid(acct)}}
	for _, e := range which {
		filter = append(filter, bson.E{Key: member + "." + e.Key, Value: e.Value})
	}
	err := s.again(ctx, func(ctx context.Context) error {
		_, err := s.users().UpdateOne(ctx, filter, bson.D{{Key: "$pull", Value: bson.D{{Key: member, Value: which}}}})
		return err
	})
	return writeError("unsubscribe the name", err)
}

// removePath takes the entry of a name out.
func (s *Store) removePath(ctx context.Context, acct mail.AccountID, path string) error {
	return s.removeNames(ctx, acct, bson.D{{Key: "path", Value: path}})
}

// releaseNames takes entries out whose names have mailboxes. They mean nothing any more, so an error is logged.
func (s *Store) releaseNames(ctx context.Context, acct mail.AccountID, entries ...*subscribedName) {
	ops := bson.A{}
	for _, e := range entries {
		if e != nil {
			ops = append(ops, e.Op)
		}
	}
	if len(ops) == 0 {
		return
	}
	if err := s.removeNames(ctx, acct, bson.D{{Key: "op", Value: bson.D{{Key: "$in", Value: ops}}}}); err != nil {
		s.o.Logger.Warn("subscribed names that have mailboxes are removed later", "account", acct, "error", err)
	}
}

// leaveName makes the name of a mailbox that is about to be deleted as subscribed as the mailbox is, if there is room. It
// returns the entry.
func (s *Store) leaveName(ctx context.Context, acct mail.AccountID, box bson.Raw, limit int) (*subscribedName, error) {
	b, err := s.wholeMailbox(ctx, acct, box)
	if err != nil {
		return nil, err
	}
	if !b.Subscribed || limit <= 0 {
		return nil, s.removePath(ctx, acct, b.Path)
	}
	return s.addName(ctx, acct, b.Path, limit)
}

// Subscribe makes a path subscribed, or not.
func (s *Store) Subscribe(ctx context.Context, acct mail.AccountID, path string, on bool, nameOctets int) error {
	done, err := s.enter(ctx, "Subscribe")
	if err != nil {
		return err
	}
	defer done()
	if err := s.requireAccount(ctx, acct); err != nil {
		return err
	}
	l, err := s.listing(ctx, acct)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	c := subscribing{s: s, acct: acct, path: path, on: on, nameOctets: nameOctets}
	for range maxAttempts {
		if l.plan != nil { // a rename comes first
			if err := s.carryOut(ctx, acct, l.plan); err != nil {
				return err
			}
		} else if ended, err := c.try(ctx, l.byPath(path)); ended || err != nil {
			return err
		}
		// A mailbox that came meanwhile may not know of it.
		if l, err = s.listing(ctx, acct); err != nil {
			return unknownOutcome(err)
		}
	}
	return mail.NewError(mail.CodeConflict, "the mailboxes are changed by many at a time")
}

// subscribing is one call of Subscribe.
type subscribing struct {
	s          *Store
	acct       mail.AccountID
	path       string
	on         bool
	nameOctets int
	// named says that all is done if there is no mailbox; entry is what was written for that.
	named bool
	entry *subscribedName
}

// try makes an attempt with the mailbox of the path, nil for none. It returns false when it must be looked again.
func (c *subscribing) try(ctx context.Context, b *mail.Mailbox) (bool, error) {
	switch {
	case b != nil:
		ended, err := c.s.subscribeBox(ctx, c.acct, b, c.on)
		if ended {
			c.s.releaseNames(ctx, c.acct, c.entry)
		}
		return ended, err
	case c.named:
		return true, nil
	}
	c.named = true
	if !c.on {
		return false, c.s.removePath(ctx, c.acct, c.path)
	}
	var err error
	c.entry, err = c.s.addName(ctx, c.acct, c.path, c.nameOctets)
	if err == nil && c.entry == nil {
		err = mail.NewError(mail.CodeLimit, "too many names without a mailbox are subscribed")
	}
	return false, err
}

// subscribeBox sets the member of a mailbox, and then ends what was left of its name. It returns false when the mailbox
// is gone or has another path.
func (s *Store) subscribeBox(ctx context.Context, acct mail.AccountID, b *mail.Mailbox, on bool) (bool, error) {
	var matched int64
	err := s.again(ctx, func(ctx context.Context) error {
		res, err := s.mailboxes().UpdateOne(ctx, append(boxFilter(acct, b.ID), bson.E{Key: "path", Value: b.Path}),
			bson.D{{Key: "$set", Value: bson.D{{Key: "subscribed", Value: on}}}})
		if err == nil {
			matched = res.MatchedCount
		}
		return err
	})
	if err != nil {
		return false, writeError("subscribe the mailbox", err)
	}
	if matched == 0 || on {
		return matched == 1, nil
	}
	return true, unknownOutcome(s.removePath(ctx, acct, b.Path))
}

// subscribeLate subscribes mailboxes that have just got their paths, if these were subscribed after it was decided that the
// mailboxes are not. Who subscribed them looks afterwards as well: one of the two sees the other.
func (s *Store) subscribeLate(ctx context.Context, acct mail.AccountID, boxes ...*mail.Mailbox) error {
	if len(boxes) == 0 {
		return nil
	}
	names, err := s.names(ctx, acct)
	if err != nil {
		return unknownOutcome(err)
	}
	for _, b := range boxes {
		entry := names.find(b.Path)
		if entry == nil {
			continue
		}
		ended, err := s.subscribeBox(ctx, acct, b, true)
		if err != nil {
			return unknownOutcome(err)
		}
		if ended {
			b.Subscribed = true
			s.releaseNames(ctx, acct, entry)
		}
	}
	return nil
}

// Subscriptions returns the mailboxes, and the names that are subscribed without one. The names are read before and after
// the mailboxes: one that got a mailbox meanwhile was there before, one that lost it is there after.
func (s *Store) Subscriptions(ctx context.Context, acct mail.AccountID) ([]*mail.Mailbox, []string, error) {
	done, err := s.enter(ctx, "Subscriptions")
	if err != nil {
		return nil, nil, err
	}
	defer done()
	before, err := s.names(ctx, acct)
	if err != nil {
		return nil, nil, err
	}
	l, err := s.listing(ctx, acct)
	if err != nil {
		return nil, nil, err
	}
	after, err := s.names(ctx, acct)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, e := range slices.Concat(before.list, after.list) {
		if l.byPath(e.Path) == nil {
			names = append(names, e.Path)
		}
	}
	slices.Sort(names)
	s.releaseMasked(ctx, acct, l, after)
	slices.SortFunc(l.boxes, func(a, b *mail.Mailbox) int { return strings.Compare(a.Path, b.Path) })
	return l.boxes, slices.Compact(names), nil
}

// releaseMasked takes out what a WildDuck node has made a mailbox of.
func (s *Store) releaseMasked(ctx context.Context, acct mail.AccountID, l *listing, names *subscribedNames) {
	var masked []*subscribedName
	for i, e := range names.list {
		if time.Since(e.Op.Timestamp()) > maskedName && l.byPath(e.Path) != nil {
			masked = append(masked, &names.list[i])
		}
	}
	s.releaseNames(context.WithoutCancel(ctx), acct, masked...)
}
