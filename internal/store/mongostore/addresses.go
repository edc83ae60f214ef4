package mongostore

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func noAddress() error { return mail.NewError(mail.CodeNotFound, "no such address") }

func addressTaken() error {
	return mail.NewError(mail.CodeExists, "this email address already exists")
}

func (s *Store) addresses() *mongo.Collection { return s.db.users.Collection(colAddresses) }

// CreateAddress stores an address row.
func (s *Store) CreateAddress(ctx context.Context, in mail.Address, main bool) (*mail.Address, error) {
	done, err := s.enter(ctx, "CreateAddress")
	if err != nil {
		return nil, err
	}
	defer done()
	if !in.Account.IsZero() {
		if err := s.requireAccount(ctx, in.Account); err != nil {
			return nil, err
		}
	}
	doc, err := s.newAddressDoc(ctx, &in)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.insertAddressDoc(ctx, doc, in.View); err != nil {
		return nil, err
	}
	if err := s.adoptAddress(ctx, &in, main); err != nil {
		if _, uerr := s.addresses().DeleteOne(ctx, bson.D{{Key: "_id", Value: oid(in.ID)}}); uerr != nil {
			return nil, writeError("take back the address", fmt.Errorf("%w (after %w)", uerr, err))
		}
		return nil, err
	}
	raw, err := bson.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the address: %w", err)
	}
	return addressOf(raw)
}

// adoptAddress does what a new row means for its account and its domain.
func (s *Store) adoptAddress(ctx context.Context, a *mail.Address, main bool) error {
	if err := s.cacheDomains(ctx, domainOf(a.Address)); err != nil || a.Account.IsZero() {
		return err
	}
	if main {
		return s.setMain(ctx, a.Account, nil, a.Address)
	}
	return s.requireAccount(ctx, a.Account) // it may have been deleted meanwhile
}

// insertAddressDoc stores a row. Where an account that was never finished holds the address, that is removed first.
func (s *Store) insertAddressDoc(ctx context.Context, doc bson.D, view string) error {
	for range 2 {
		err := s.again(ctx, func(ctx context.Context) error { return s.insertNamed(ctx, s.addresses(), view, doc) })
		if err == nil {
			return nil
		}
		if !mongo.IsDuplicateKeyError(err) {
			return s.lostAddress(ctx, doc[0].Value, err)
		}
		mine, free, err := s.addressHolder(ctx, view, doc[0].Value)
		if mine || err != nil {
			return err
		}
		if !free {
			break
		}
	}
	return addressTaken()
}

// lostAddress decides about an insert of which the answer is lost.
func (s *Store) lostAddress(ctx context.Context, id any, err error) error {
	if !outcomeUnknown(err) {
		return readError("store the address", err)
	}
	ferr := s.addresses().FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Err()
	if ferr == nil {
		return nil
	}
	return writeError("store the address", err)
}

// addressHolder says whether the row with a view is the one with this id, or one that is gone by now because its
// account was never finished.
func (s *Store) addressHolder(ctx context.Context, view string, id any) (mine, free bool, err error) {
	row, err := s.addresses().FindOne(ctx, bson.D{{Key: "addrview", Value: view}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, true, nil
	}
	if err != nil {
		return false, false, readError("look for the address", err)
	}
	if row.Lookup("_id").ObjectID() == id {
		return true, false, nil
	}
	owner, ok := row.Lookup("user").ObjectIDOK()
	if !ok {
		return false, false, nil
	}
	free, err = s.removeOrphan(ctx, row.Lookup("_id").ObjectID(), owner)
	return false, free, err
}

// removeOrphan removes the row of an account that was never finished, or is not there, and says whether it did.
func (s *Store) removeOrphan(ctx context.Context, row, owner bson.ObjectID) (bool, error) {
	user, err := s.users().FindOne(ctx, bson.D{{Key: "_id", Value: owner}}, options.FindOne().SetProjection(bson.D{{Key: memberMallard, Value: 1}})).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		if s.o.Now().Sub(row.Timestamp()) < s.creationTime() {
			return false, nil // its account may be on the way
		}
		_, err := s.addresses().DeleteOne(ctx, bson.D{{Key: "_id", Value: row}, {Key: "user", Value: owner}})
		return err == nil, readError("remove an address that nobody has", err)
	}
	if err != nil {
		return false, readError("look for the owner of the address", err)
	}
	since, creating := creatingSince(user)
	if !creating || s.o.Now().Sub(since) < s.creationTime() {
		return false, nil
	}
	_, err = s.undoCreation(ctx, owner, since)
	return err == nil, readError("remove an unfinished account", err)
}

// setMain makes an address the main one of an account. With from it does so only where that is the main address now.
func (s *Store) setMain(ctx context.Context, acct mail.AccountID, from *string, to string) error {
	filter := bson.D{{Key: "_id", Value: oid(acct)}, notCreating()}
	if from != nil {
		filter = append(filter, bson.E{Key: "address", Value: *from})
	}
	var res *mongo.UpdateResult
	var err error
	for range 3 { // doing it again does no harm
		res, err = s.users().UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: bson.D{{Key: "address", Value: to}}}})
		if !outcomeUnknown(err) {
			break
		}
	}
	if err != nil {
		return writeError("set the main address", err)
	}
	if res.MatchedCount == 0 && from == nil {
		return noAccount()
	}
	return nil
}

// keepMain looks again, after an address has become the main one, whether it is still there; DeleteAddress does the
// same the other way round. Of two that meet one sees the other.
func (s *Store) keepMain(ctx context.Context, acct mail.AccountID, before, now string) error {
	err := s.requireAddress(ctx, acct, now)
	if mail.CodeOf(err) != mail.CodeNotFound {
		return nil // it is there, or nobody can tell: then DeleteAddress has not seen us and keeps it
	}
	if serr := s.setMain(ctx, acct, &now, before); serr != nil {
		return serr
	}
	return err
}

// requireAddress fails with NotFound when the account has no such address.
func (s *Store) requireAddress(ctx context.Context, acct mail.AccountID, addr string) error {
	err := s.addresses().FindOne(ctx, bson.D{{Key: "user", Value: oid(acct)}, {Key: "address", Value: addr}},
		options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return mail.NewError(mail.CodeNotFound, "the account has no such address")
	}
	return readError("look for the address", err)
}

// Address returns a row.
func (s *Store) Address(ctx context.Context, id mail.AddressID) (*mail.Address, error) {
	done, err := s.enter(ctx, "Address")
	if err != nil {
		return nil, err
	}
	defer done()
	doc, err := s.addressDoc(ctx, id)
	if err != nil {
		return nil, err
	}
	return addressOf(doc)
}

func (s *Store) addressDoc(ctx context.Context, id mail.AddressID) (bson.Raw, error) {
	doc, err := s.addresses().FindOne(ctx, bson.D{{Key: "_id", Value: oid(id)}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, noAddress()
	}
	return doc, readError("read the address", err)
}

// AddressesByView returns the rows with any of the views.
func (s *Store) AddressesByView(ctx context.Context, views ...string) ([]*mail.Address, error) {
	done, err := s.enter(ctx, "AddressesByView")
	if err != nil {
		return nil, err
	}
	defer done()
	if len(views) == 0 {
		return nil, nil
	}
	cur, err := s.addresses().Find(ctx, bson.D{{Key: "addrview", Value: bson.D{{Key: "$in", Value: textArray(views)}}}})
	if err != nil {
		return nil, readError("find addresses", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return nil, readError("find addresses", err)
	}
	return addressesOf(rows)
}

func addressesOf(rows []bson.Raw) ([]*mail.Address, error) {
	var out []*mail.Address
	for _, r := range rows {
		a, err := addressOf(r)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// ListAddresses returns a page of rows.
func (s *Store) ListAddresses(ctx context.Context, q store.AddressQuery) (*store.AddressPage, error) {
	done, err := s.enter(ctx, "ListAddresses")
	if err != nil {
		return nil, err
	}
	defer done()
	filter := bson.D{}
	if !q.Account.IsZero() {
		filter = append(filter, bson.E{Key: "user", Value: oid(q.Account)})
	}
	if q.Contains != "" {
		filter = append(filter, contains("address", q.Contains)...)
	}
	filter = append(filter, tagFilter(q.Tags, q.AllTags)...)
	p := page{key: "addrview", backwards: q.Before != "", limit: q.Limit}
	if q.After != "" {
		p.from = q.After
	}
	if p.backwards {
		p.from = q.Before
	}
	rows, total, more, err := p.read(ctx, s.addresses(), filter)
	if err != nil {
		return nil, readError("list addresses", err)
	}
	out, err := addressesOf(rows)
	if err != nil {
		return nil, err
	}
	return &store.AddressPage{Addresses: out, Total: total, More: more}, nil
}

// UpdateAddress changes a row.
func (s *Store) UpdateAddress(ctx context.Context, id mail.AddressID, main bool, change func(*mail.Address) error) (*mail.Address, error) {
	done, err := s.enter(ctx, "UpdateAddress")
	if err != nil {
		return nil, err
	}
	defer done()
	for range maxAttempts {
		a, err := s.tryUpdateAddress(ctx, id, main, change)
		if a != nil || err != nil {
			return a, err
		}
	}
	return nil, mail.WrapError(mail.CodeUnavailable, "the address is changed by many at a time", errors.New("UpdateAddress: others were always faster"))
}

// tryUpdateAddress returns nil when somebody else was faster.
func (s *Store) tryUpdateAddress(ctx context.Context, id mail.AddressID, main bool, change func(*mail.Address) error) (*mail.Address, error) {
	doc, err := s.addressDoc(ctx, id)
	if err != nil {
		return nil, err
	}
	before, err := addressOf(doc)
	if err != nil {
		return nil, err
	}
	after, err := addressOf(doc) // one that shares nothing
	if err != nil {
		return nil, err
	}
	if err := change(after); err != nil {
		return nil, err
	}
	after.ID, after.Account, after.Created = before.ID, before.Account, before.Created
	diff, err := s.addressChange(ctx, doc, before, after)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if !diff.empty() {
		if doc, err = updateGuarded(ctx, s.addresses(), doc, guardedAddressMembers(), diff); err != nil {
			if mongo.IsDuplicateKeyError(err) {
				return nil, addressTaken()
			}
			return nil, writeError("change the address", err)
		}
		if doc == nil {
			return nil, nil
		}
	}
	if err := s.followAddress(ctx, before, after, main); err != nil {
		return nil, err
	}
	return addressOf(doc)
}

// followAddress takes a row's change over into the account and the cache of domains.
func (s *Store) followAddress(ctx context.Context, before, after *mail.Address, main bool) error {
	if before.Address != after.Address {
		if err := s.cacheDomains(ctx, domainOf(after.Address)); err != nil {
			return unknownOutcome(err)
		}
	}
	switch {
	case after.Account.IsZero():
		return nil
	case main:
		return unknownOutcome(s.setMain(ctx, after.Account, nil, after.Address))
	case before.Address != after.Address:
		return unknownOutcome(s.setMain(ctx, after.Account, &before.Address, after.Address))
	}
	return nil
}

// unknownOutcome marks an error after which a change is only half there: making it again completes it.
func unknownOutcome(err error) error {
	if err == nil || errors.Is(err, store.ErrOutcomeUnknown) || mail.CodeOf(err) != mail.CodeUnavailable {
		return err
	}
	return mail.WrapError(mail.CodeUnavailable, "the mail store is not available", fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, err))
}

// DeleteAddress removes a row that is no account's main address.
func (s *Store) DeleteAddress(ctx context.Context, id mail.AddressID) error {
	done, err := s.enter(ctx, "DeleteAddress")
	if err != nil {
		return err
	}
	defer done()
	for {
		doc, err := s.addressDoc(ctx, id)
		if err != nil {
			return err
		}
		row, err := addressOf(doc)
		if err != nil {
			return err
		}
		if err := s.checkNotMain(ctx, row); err != nil {
			return err
		}
		gone, err := s.removeAddress(context.WithoutCancel(ctx), doc, row)
		if gone || err != nil {
			return err
		}
	}
}

// removeAddress returns false when the row has another address by now.
func (s *Store) removeAddress(ctx context.Context, doc bson.Raw, row *mail.Address) (bool, error) {
	res, err := s.addresses().DeleteOne(ctx, bson.D{{Key: "_id", Value: oid(row.ID)}, {Key: "address", Value: row.Address}})
	if err != nil {
		return false, writeError("remove the address", err)
	}
	if res.DeletedCount == 0 {
		return false, nil
	}
	err = s.checkNotMain(ctx, row) // see keepMain
	if err == nil || mail.CodeOf(err) != mail.CodeForbidden {
		return true, nil
	}
	if _, ierr := s.addresses().InsertOne(ctx, doc); ierr != nil {
		return false, unknownOutcome(readError("put the main address back", ierr))
	}
	return false, err
}

// checkNotMain fails when the row is its account's main address.
func (s *Store) checkNotMain(ctx context.Context, row *mail.Address) error {
	if row.Account.IsZero() {
		return nil
	}
	err := s.users().FindOne(ctx, bson.D{{Key: "_id", Value: oid(row.Account)}, {Key: "address", Value: row.Address}},
		options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil
	}
	if err != nil {
		return readError("read the account of the address", err)
	}
	return mail.NewError(mail.CodeForbidden, "the main address of an account cannot be deleted")
}
