package mongostore

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/mail"
)

// RestoreAccount stores an account with its id, without mailboxes, or replaces all of it but storageUsed.
func (s *Store) RestoreAccount(ctx context.Context, a mail.Account, view string) error {
	done, err := s.enter(ctx, "RestoreAccount")
	if err != nil {
		return err
	}
	defer done()
	for range maxAttempts {
		restored, err := s.tryRestoreAccount(ctx, &a, view)
		if mongo.IsDuplicateKeyError(err) {
			return mail.NewError(mail.CodeExists, "this username already exists")
		}
		if restored || err != nil {
			return writeError("restore the account", err)
		}
	}
	return mail.WrapError(mail.CodeUnavailable, "the account is changed by many at a time", errors.New("RestoreAccount: others were always faster"))
}

// tryRestoreAccount returns false when somebody else was faster.
func (s *Store) tryRestoreAccount(ctx context.Context, a *mail.Account, view string) (bool, error) {
	doc, err := s.userDoc(ctx, bson.E{Key: "_id", Value: oid(a.ID)})
	if mail.CodeOf(err) == mail.CodeNoAccount && err != nil {
		targets, err := s.targetArray(ctx, a.Targets, bson.RawValue{})
		if err != nil {
			return false, err
		}
		_, err = s.users().InsertOne(ctx, userDocOf(a, view, targets))
		return err == nil, err
	}
	if err != nil {
		return false, err
	}
	before, err := userOf(doc)
	if err != nil {
		return false, err
	}
	diff, err := s.userChange(ctx, doc, before, a)
	if err != nil {
		return false, err
	}
	diff.push = nil // it is no change of the password
	for _, m := range []struct {
		name string
		v    any
	}{{"username", a.Username}, {"unameview", view}, {"created", stored(a.Created)}} {
		before := any(absent{})
		if v, err := doc.LookupErr(m.name); err == nil {
			before = v
		}
		if err := diff.member(m.name, before, m.v); err != nil {
			return false, err
		}
	}
	if diff.empty() {
		return true, nil
	}
	now, err := updateGuarded(ctx, s.users(), doc, guardedUserMembers(), diff)
	if now != nil {
		s.accountChanged(ctx, before, a)
	}
	return now != nil, err
}

// RestoreAddress stores a row with its id or replaces it.
func (s *Store) RestoreAddress(ctx context.Context, a mail.Address) error {
	done, err := s.enter(ctx, "RestoreAddress")
	if err != nil {
		return err
	}
	defer done()
	if !a.Account.IsZero() {
		if err := s.requireAccount(ctx, a.Account); err != nil {
			return err
		}
	}
	doc, err := s.addressDocOf(ctx, &a)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.cacheDomains(ctx, domainOf(a.Address)); err != nil {
		return err
	}
	for range 3 { // doing it again does no harm
		_, err = s.addresses().ReplaceOne(ctx, bson.D{{Key: "_id", Value: oid(a.ID)}}, doc, options.Replace().SetUpsert(true))
		if !outcomeUnknown(err) {
			break
		}
	}
	if mongo.IsDuplicateKeyError(err) {
		return addressTaken()
	}
	return writeError("restore the address", err)
}

// DomainAliases returns the domains that aliases stand for.
func (s *Store) DomainAliases(ctx context.Context) (map[string]string, error) {
	done, err := s.enter(ctx, "DomainAliases")
	if err != nil {
		return nil, err
	}
	defer done()
	cur, err := s.db.users.Collection(colDomainAliases).Find(ctx, bson.D{})
	if err != nil {
		return nil, readError("read domain aliases", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return nil, readError("read domain aliases", err)
	}
	out := make(map[string]string, len(rows))
	for _, r := range rows {
		out[text(r.Lookup("alias"))] = text(r.Lookup("domain"))
	}
	return out, nil
}

// EachRecord calls f for all records: our own, the settings, and the tokens where they are in another place.
func (s *Store) EachRecord(ctx context.Context, f func(kind, key string, value []byte) error) error {
	done, err := s.enter(ctx, "EachRecord")
	if err != nil {
		return err
	}
	defer done()
	if err := s.eachOwnRecord(ctx, f); err != nil {
		return err
	}
	var ferr error
	each := func(kind string) func(string, []byte) bool {
		return func(key string, value []byte) bool {
			ferr = f(kind, key, value)
			return ferr == nil
		}
	}
	if err := s.settings(ctx, each(kindSetting)); err != nil {
		return readError("read settings", err)
	}
	if ferr != nil || s.o.Tokens == nil {
		return ferr
	}
	s.o.Tokens.Records(ctx)(each(kindToken))
	return ferr
}

func (s *Store) eachOwnRecord(ctx context.Context, f func(kind, key string, value []byte) error) error {
	cur, err := s.db.main.Collection(colRecords).Find(ctx, bson.D{})
	if err != nil {
		return readError("read records", err)
	}
	defer cur.Close(context.WithoutCancel(ctx))
	for cur.Next(ctx) {
		k, v, _ := strings.Cut(text(cur.Current.Lookup("_id")), "/")
		kind, kerr := hex.DecodeString(k)
		key, verr := hex.DecodeString(v)
		_, value, ok := cur.Current.Lookup("value").BinaryOK()
		if kerr != nil || verr != nil || !ok {
			continue // none of ours
		}
		if err := f(string(kind), string(key), value); err != nil {
			return err
		}
	}
	return readError("read records", cur.Err())
}
