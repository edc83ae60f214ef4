package mongostore

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

// CreateAccount stores an account in WildDuck's order: the users row, switched off; mailboxes; the address; the cache of
// domains; and last what switches the account on, which makes it happen. Until then it is not there for us. What stops
// half-way is taken away by the next one that wants its name, or by the reclaimer.
func (s *Store) CreateAccount(ctx context.Context, in store.NewAccount) (*mail.Account, error) {
	done, err := s.enter(ctx, "CreateAccount")
	if err != nil {
		return nil, err
	}
	defer done()
	if err := checkNewMailboxes(in.Mailboxes); err != nil {
		return nil, err
	}
	c := &creation{s: s, in: in, account: in.Account.Clone(), stamp: s.o.Now().Truncate(time.Millisecond)}
	c.account.StorageUsed = 0
	if c.account.ID.IsZero() {
		c.account.ID = newID[mail.AccountID](s)
	}
	if c.account.Created.IsZero() {
		c.account.Created = s.o.Now()
	}
	targets, err := s.targetArray(ctx, c.account.Targets, bson.RawValue{})
	if err != nil {
		return nil, err
	}
	a, err := c.run(context.WithoutCancel(ctx), targets)
	if err != nil {
		return nil, err
	}
	s.accountChanged(ctx, &mail.Account{}, a)
	return a, nil
}

func checkNewMailboxes(boxes []mail.Mailbox) error {
	paths := make(map[string]bool)
	for _, b := range boxes {
		if paths[b.Path] {
			return mail.NewError(mail.CodeInvalid, "two mailboxes have the same path")
		}
		paths[b.Path] = true
	}
	if !paths[mail.Inbox] {
		return mail.NewError(mail.CodeInvalid, "an account needs an INBOX")
	}
	return nil
}

// creation is an account on its way into the database.
type creation struct {
	s       *Store
	in      store.NewAccount
	account *mail.Account
	stamp   time.Time // which tells this attempt from others
}

func (c *creation) run(ctx context.Context, targets bson.A) (*mail.Account, error) {
	if err := c.insertUser(ctx, targets); err != nil {
		return nil, err
	}
	validity, err := c.insertRest(ctx)
	if err != nil {
		c.undo(ctx)
		return nil, err
	}
	a, err := c.finish(ctx, validity)
	if err == nil {
		return a, nil
	}
	if !c.undo(ctx) && outcomeUnknown(err) {
		// It was switched on, or nobody can tell.
		if a, aerr := c.s.Account(ctx, c.account.ID); aerr == nil {
			return a, nil
		}
		return nil, writeError("switch the account on", err)
	}
	return nil, readError("switch the account on", err)
}

// undo takes back what is there, and says whether it is certain that the account will not be switched on.
func (c *creation) undo(ctx context.Context) bool {
	undone, err := c.s.undoCreation(ctx, oid(c.account.ID), c.stamp)
	if err != nil {
		c.s.o.Logger.Warn("what is left of an account that could not be made is removed later", "account", c.account.ID, "error", err)
	}
	return undone
}

// insertRest is all between the users row and switching it on. It returns the greatest UIDVALIDITY.
func (c *creation) insertRest(ctx context.Context) (mail.UIDValidity, error) {
	validity, err := c.insertMailboxes(ctx)
	if err != nil || c.in.Address == nil {
		return validity, err
	}
	if err := c.insertAddress(ctx); err != nil {
		return 0, err
	}
	return validity, c.s.cacheDomains(ctx, domainOf(c.in.Address.Address))
}

// insertUser stores the users row. Where an attempt that died holds the name, that is removed first.
func (c *creation) insertUser(ctx context.Context, targets bson.A) error {
	if !c.in.Account.ID.IsZero() {
		if err := c.s.checkNotDeleted(ctx, c.account.ID); err != nil {
			return err
		}
	}
	doc := newUserDoc(c.account, c.in.View, targets, c.stamp)
	for range 2 {
		err := c.s.again(ctx, func(ctx context.Context) error {
			return c.s.insertNamed(ctx, c.s.users(), c.in.View, doc)
		})
		if err == nil {
			return nil
		}
		if !mongo.IsDuplicateKeyError(err) {
			return c.lostInsert(ctx, err)
		}
		mine, free, err := c.taken(ctx)
		if mine || err != nil {
			return err
		}
		if !free {
			break
		}
	}
	return mail.NewError(mail.CodeExists, "this username already exists")
}

// lostInsert decides about an insert of which the answer is lost: taking the row away undoes it if it was done, and
// where it is done only later nobody will see it, because it stays switched off.
func (c *creation) lostInsert(ctx context.Context, err error) error {
	c.undo(ctx)
	return readError("store the account", err)
}

// taken looks at the rows that have the id or the name: ours, stored by an attempt of the driver of which the answer was
// lost, or one of a creation that died, which is removed.
func (c *creation) taken(ctx context.Context) (mine, free bool, err error) {
	cur, err := c.s.users().Find(ctx, bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "_id", Value: oid(c.account.ID)}}, bson.D{{Key: "unameview", Value: c.in.View}},
	}}}, options.Find().SetProjection(bson.D{{Key: memberMallard, Value: 1}}))
	if err != nil {
		return false, false, readError("look for the username", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return false, false, readError("look for the username", err)
	}
	for _, r := range rows {
		id := r.Lookup("_id").ObjectID()
		since, creating := creatingSince(r)
		switch {
		case creating && id == oid(c.account.ID) && since.Equal(c.stamp):
			return true, false, nil
		case !creating || c.s.o.Now().Sub(since) < c.s.creationTime():
			return false, false, nil
		}
		if _, err := c.s.undoCreation(ctx, id, since); err != nil {
			return false, false, readError("remove an unfinished account", err)
		}
	}
	return false, true, nil
}

// creationTime is how long making an account may take, before others think that its node died.
func (s *Store) creationTime() time.Duration { return 6 * s.o.Timeout }

func creatingSince(user bson.Raw) (time.Time, bool) {
	own, ok := user.Lookup(memberMallard).DocumentOK()
	if !ok || !has(own, keyCreating) {
		return time.Time{}, false
	}
	return instant(own.Lookup(keyCreating)), true
}

// undoCreation removes an account that was not finished, the users row last: while that is there the rest is found. It
// returns true as soon as it is certain that the account will never be switched on, false when it was or is not there.
func (s *Store) undoCreation(ctx context.Context, id bson.ObjectID, stamp time.Time) (bool, error) {
	const key = memberMallard + "." + keyCreating
	stopped := bson.DateTime(0)
	row := bson.D{{Key: "_id", Value: id}, {Key: key, Value: bson.D{{Key: "$in", Value: bson.A{stored(stamp), stopped}}}}}
	var matched int64
	err := writeAgain("stop the creation of the account", func() error {
		res, err := s.users().UpdateOne(ctx, row, bson.D{{Key: "$set", Value: bson.D{{Key: key, Value: stopped}}}})
		if err == nil {
			matched = res.MatchedCount
		}
		return err
	})
	if err != nil || matched == 0 {
		return false, err
	}
	mine := bson.D{{Key: "user", Value: id}}
	for _, c := range []*mongo.Collection{s.addresses(), s.db.main.Collection(colMailboxes)} {
		err := writeAgain("remove "+c.Name()+" of the account", func() error {
			_, err := c.DeleteMany(ctx, mine)
			return err
		})
		if err != nil {
			return true, err
		}
	}
	return true, writeAgain("remove the account", func() error {
		_, err := s.users().DeleteOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: key, Value: stopped}})
		return err
	})
}

// insertMailboxes stores the first mailboxes and returns the greatest UIDVALIDITY of them.
func (c *creation) insertMailboxes(ctx context.Context) (mail.UIDValidity, error) {
	validity := mail.UIDValidity(c.stamp.Unix())
	docs := make([]any, 0, len(c.in.Mailboxes))
	for i, b := range c.in.Mailboxes {
		if i > 0 {
			validity++
		}
		docs = append(docs, c.mailboxDoc(b, validity))
	}
	if _, err := c.s.db.main.Collection(colMailboxes).InsertMany(ctx, docs); err != nil {
		return 0, readError("store the mailboxes", err)
	}
	return validity, nil
}

// mailboxDoc is a mailbox as WildDuck makes it with an account.
func (c *creation) mailboxDoc(b mail.Mailbox, validity mail.UIDValidity) bson.D {
	created := b.Created
	if created.IsZero() {
		created = c.s.o.Now()
	}
	doc := bson.D{
		{Key: "_id", Value: oid(newID[mail.MailboxID](c.s))}, {Key: "path", Value: b.Path}, {Key: "specialUse", Value: textOrNull(string(b.SpecialUse))},
		{Key: "uidValidity", Value: numberOf(int64(validity))}, {Key: "uidNext", Value: int32(1)}, {Key: "modifyIndex", Value: int32(1)},
		{Key: "subscribed", Value: b.Subscribed}, {Key: "flags", Value: bson.A{}}, {Key: "user", Value: oid(c.account.ID)},
		{Key: "retention", Value: millis(b.Retention)},
	}
	if b.Hidden {
		doc = append(doc, bson.E{Key: "hidden", Value: true})
	}
	if b.Encrypt {
		doc = append(doc, bson.E{Key: "encryptMessages", Value: true})
	}
	return append(doc, bson.E{Key: memberMallard, Value: bson.D{{Key: keyCreated, Value: stored(created)}}})
}

func (c *creation) insertAddress(ctx context.Context) error {
	row := *c.in.Address
	row.Account = c.account.ID
	doc, err := c.s.newAddressDoc(ctx, &row)
	if err != nil {
		return err
	}
	return c.s.insertAddressDoc(ctx, doc, row.View)
}

// finish switches the account on.
func (c *creation) finish(ctx context.Context, validity mail.UIDValidity) (*mail.Account, error) {
	a, main := c.account, ""
	if c.in.Address != nil {
		main = c.in.Address.Address
	}
	set := bson.D{
		{Key: "address", Value: main}, {Key: "activated", Value: a.Activated}, {Key: "disabled", Value: a.Disabled}, {Key: "password", Value: a.Password},
		{Key: memberMallard + "." + keyValidity, Value: numberOf(int64(validity))},
	}
	if a.TempPassword != nil {
		set = append(set, bson.E{Key: "tempPassword", Value: encodeTempPassword(a)})
	}
	self := bson.D{{Key: "_id", Value: oid(a.ID)}, {Key: memberMallard + "." + keyCreating, Value: stored(c.stamp)}}
	doc, err := c.s.users().FindOneAndUpdate(ctx, self, bson.D{
		{Key: "$set", Value: set}, {Key: "$unset", Value: bson.D{{Key: memberMallard + "." + keyCreating, Value: ""}}},
	}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, errors.New("it took too long and was given up")
	}
	if err != nil {
		return nil, err
	}
	return userOf(doc)
}

// cacheDomains notes domains that mail is taken for, which gateways look at before they ask for an address.
func (s *Store) cacheDomains(ctx context.Context, domains ...string) error {
	for _, d := range domains {
		if d == "" || strings.Contains(d, "*") {
			continue
		}
		err := s.insertNamed(ctx, s.db.users.Collection(colDomainCache), d, bson.D{{Key: "domain", Value: d}})
		if err != nil && !mongo.IsDuplicateKeyError(err) {
			return readError("note the domain", err)
		}
	}
	return nil
}

func domainOf(addr string) string { return addr[strings.LastIndexByte(addr, '@')+1:] }
