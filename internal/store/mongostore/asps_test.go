package mongostore

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

func TestAppPasswordsOfWildDuck(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.asps(), golden(t, "asps"))
	before := goldenRow(t, "asps", "description", "phone")
	bob := mail.AccountID(before.Lookup("user").ObjectID())
	id := before.Lookup("_id").ObjectID()
	_, err := s.asps().InsertOne(t.Context(), bson.D{{Key: "user", Value: oid(bob)}, {Key: "description", Value: "old"}, {Key: "password", Value: "x"}})
	must(t, err)

	got, err := s.AppPasswords(t.Context(), bob, "c")
	must(t, err)
	if len(got) != 2 || got[1].Description != "old" || got[1].Selector != "" {
		t.Fatalf("with the selector there are %+v", got)
	}
	want := mail.AppPassword{
		ID: id.Hex(), Account: bob, Description: "phone", Scopes: []string{"imap", "smtp"}, Selector: "c", TTL: 10 * 24 * time.Hour,
		Hash:    "$pbkdf2-sha256$i=100000$pMIKXFwrbJc/Z8XgWHihKw$A8hbUenImFl560eUT6ila42pmiHJ8rD64kSoGk+/SfE",
		Expires: time.UnixMilli(1796203432312).UTC(),
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("phone (-want +got):\n%s", diff)
	}
	if got, err := s.AppPasswords(t.Context(), bob, "d"); err != nil || len(got) != 1 {
		t.Errorf("with another selector there are %+v, %v", got, err)
	}

	at := time.UnixMilli(1796000000000)
	must(t, s.AppPasswordUsed(t.Context(), bob, id.Hex(), "192.0.2.9", "6b02b4a867511cf4e300fbf1", at, at.Add(time.Hour)))
	now := only(t, s.asps(), bson.D{{Key: "_id", Value: id}})
	sameDocument(t, "used", now, before, "used", "authEvent", "authIp", "expires")
	if instant(now.Lookup("used")) != at.UTC() || text(now.Lookup("authIp")) != "192.0.2.9" || hexID(now.Lookup("authEvent")) != "6b02b4a867511cf4e300fbf1" || instant(now.Lookup("expires")) != at.Add(time.Hour).UTC() {
		t.Errorf("after its use it is %v", now)
	}
	must(t, s.AppPasswordUsed(t.Context(), mail.AccountID{1}, id.Hex(), "198.51.100.1", "", at, time.Time{}))
	if now := only(t, s.asps(), bson.D{{Key: "_id", Value: id}}); text(now.Lookup("authIp")) != "192.0.2.9" {
		t.Error("another account's use was recorded")
	}
}
