package mongostore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
)

// colASPs are application passwords, in the users database.
const colASPs = "asps"

func (s *Store) asps() *mongo.Collection { return s.db.users.Collection(colASPs) }

// AppPasswords returns the application passwords of an account with a selector, and those without one.
func (s *Store) AppPasswords(ctx context.Context, acct mail.AccountID, selector string) ([]mail.AppPassword, error) {
	done, err := s.enter(ctx, "AppPasswords")
	if err != nil {
		return nil, err
	}
	defer done()
	cur, err := s.asps().Find(ctx, bson.D{{Key: "user", Value: oid(acct)}})
	if err != nil {
		return nil, readError("read application passwords", err)
	}
	var rows []bson.Raw
	if err := cur.All(ctx, &rows); err != nil {
		return nil, readError("read application passwords", err)
	}
	var out []mail.AppPassword
	for _, r := range rows {
		if own := text(r.Lookup("selector")); own == "" || own == selector {
			out = append(out, appPasswordOf(r))
		}
	}
	return out, nil
}

func appPasswordOf(doc bson.Raw) mail.AppPassword {
	id, _ := doc.Lookup("_id").ObjectIDOK()
	user, _ := doc.Lookup("user").ObjectIDOK()
	return mail.AppPassword{
		ID: id.Hex(), Account: mail.AccountID(user), Description: text(doc.Lookup("description")), Scopes: texts(doc.Lookup("scopes")),
		Hash: text(doc.Lookup("password")), Selector: text(doc.Lookup("selector")), Expires: instant(doc.Lookup("expires")),
		TTL: time.Duration(integer(doc.Lookup("ttl"))) * time.Second,
	}
}

// AppPasswordUsed records a login with an application password; event is its entry in the log of logins, "" for none. A new end of its life is set when expires is not zero.
func (s *Store) AppPasswordUsed(ctx context.Context, acct mail.AccountID, id, ip, event string, at, expires time.Time) error {
	done, err := s.enter(ctx, "AppPasswordUsed")
	if err != nil {
		return err
	}
	defer done()
	own, err := bson.ObjectIDFromHex(id)
	if err != nil {
		return mail.WrapError(mail.CodeNotFound, "no such application password", err)
	}
	set := bson.D{{Key: "used", Value: stored(at)}, {Key: "authEvent", Value: idOrFalse(event)}, {Key: "authIp", Value: false}}
	if ip != "" {
		set[2].Value = ip
	}
	if !expires.IsZero() {
		set = append(set, bson.E{Key: "expires", Value: stored(expires)})
	}
	_, err = s.asps().UpdateOne(ctx, bson.D{{Key: "_id", Value: own}, {Key: "user", Value: oid(acct)}}, bson.D{{Key: "$set", Value: set}})
	return writeError("record the use of an application password", err)
}
