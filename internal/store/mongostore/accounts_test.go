package mongostore

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver"
)

func TestUserThatWildDuckWrote(t *testing.T) {
	got, err := userOf(goldenRow(t, "users", "username", "alice.roe"))
	must(t, err)
	want := &mail.Account{
		ID: got.ID, Username: "alice.roe", Name: "Alice R.", Password: "$pbkdf2-sha256$i=100000$voQhsR6Lx8ruJk2i+DtOMw$VHxjjPE7IvB2iswnHacrZTMdTg4RD8LbSWWokrmL9Kg",
		AuthVersion: 2, Address: "alice.roe@example.com", Language: "et", StorageUsed: 3236, Recipients: 55, Forwards: 60, IMAPMaxConnections: 7,
		Targets: got.Targets, MTARelay: "smtps://u:p@relay.test:465", SMIMECipher: "AES-CBC", SMIMETransport: "PKCS#1 v1.5", SpamLevel: 60,
		Retention: 90 * 24 * time.Hour, LastLogin: mail.LastLogin{Time: time.UnixMilli(1795339709973).UTC(), IP: "127.0.0.1", Event: "6b02b51267511cf4e300fbf9"},
		MetaData: `{"a":1}`, InternalData: `{"b":2}`, Activated: true, FeatureFlags: map[string]bool{"indexing": true},
		Created: time.UnixMilli(1795339413674).UTC(), Tags: []string{"green", "VIP"}, FromWhitelist: []string{"sales@example.com", "*@shop.test"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("alice (-want +got):\n%s", diff)
	}
	if len(got.Targets) != 1 || got.Targets[0].Value != "t@far.test" || got.Targets[0].Type != "mail" || got.Targets[0].ID.String() != "6b02b6850dc41b48cba622b4" {
		t.Errorf("targets are %+v", got.Targets)
	}
	bob, err := userOf(goldenRow(t, "users", "username", "bob"))
	must(t, err)
	if bob.TempPassword == nil || bob.TempPassword.Created.UnixMilli() != 1795339691806 || bob.TempPassword.ValidAfter.UnixMilli() != 1793491200000 {
		t.Errorf("bob's temporary password is %+v", bob.TempPassword)
	}
	if bob.PasswordChange.UnixMilli() != 1795339690866 || !bob.UploadSent || bob.Language != "" {
		t.Errorf("bob is %+v", bob)
	}
	carol, err := userOf(goldenRow(t, "users", "username", "carol@carol.test"))
	must(t, err)
	if carol.TempPassword != nil || carol.Name != "" || !slices.Equal(carol.Enabled2FA, []string{"custom"}) || !slices.Equal(carol.DisabledScopes, []string{"pop3"}) {
		t.Errorf("carol is %+v", carol)
	}
}

// What older versions wrote, and what is not there.
func TestUserInOldForms(t *testing.T) {
	for _, tc := range []struct {
		member string
		value  any
		look   func(*mail.Account) any
		want   any
	}{
		{"enabled2fa", true, func(a *mail.Account) any { return a.Enabled2FA }, []string{"totp"}},
		{"enabled2fa", false, func(a *mail.Account) any { return a.Enabled2FA }, []string(nil)},
		{"enabled2fa", bson.A{"totp", "u2f"}, func(a *mail.Account) any { return a.Enabled2FA }, []string{"totp", "webauthn"}},
		{"metaData", bson.D{{Key: "a", Value: int32(1)}}, func(a *mail.Account) any { return a.MetaData }, `{"a":1}`},
		{"metaData", nil, func(a *mail.Account) any { return a.MetaData }, ""},
		{"quota", 5e9, func(a *mail.Account) any { return a.Quota }, int64(5e9)},
		{"quota", nil, func(a *mail.Account) any { return a.Quota }, int64(0)},
		{"storageUsed", int64(1) << 40, func(a *mail.Account) any { return a.StorageUsed }, int64(1) << 40},
		{"storageUsed", int32(-5), func(a *mail.Account) any { return a.StorageUsed }, int64(0)},
		{"tempPassword", false, func(a *mail.Account) any { return a.TempPassword }, (*mail.TempPassword)(nil)},
		{"lastLogin", false, func(a *mail.Account) any { return a.LastLogin }, mail.LastLogin{}},
		{"address", nil, func(a *mail.Account) any { return a.Address }, ""},
		{"activated", int32(1), func(a *mail.Account) any { return a.Activated }, true},
		{"mtaRelay", false, func(a *mail.Account) any { return a.MTARelay }, ""},
		{"tags", nil, func(a *mail.Account) any { return a.Tags }, []string(nil)},
	} {
		a, err := userOf(rawDoc(t, bson.D{{Key: tc.member, Value: tc.value}}))
		must(t, err)
		if diff := cmp.Diff(tc.want, tc.look(a)); diff != "" {
			t.Errorf("%s %v (-want +got):\n%s", tc.member, tc.value, diff)
		}
	}
}

// A new account's documents are those that WildDuck makes.
func TestNewAccountIsWildDucks(t *testing.T) {
	s := openStore(t)
	a, err := s.CreateAccount(t.Context(), store.NewAccount{
		Account: mail.Account{Username: "nopass", AuthVersion: 1, SMIMECipher: "AES-CBC", SMIMETransport: "PKCS#1 v1.5", SpamLevel: 50, Activated: true},
		View:    "nopass", Mailboxes: []mail.Mailbox{
			{Path: "INBOX", Subscribed: true}, {Path: "Trash", SpecialUse: mail.UseTrash, Subscribed: true, Retention: 30 * 24 * time.Hour},
		},
	})
	must(t, err)
	got := only(t, s.users(), bson.D{{Key: "_id", Value: oid(a.ID)}})
	sameDocument(t, "user", got, goldenRow(t, "users", "username", "nopass"), "_id", "created", memberMallard)
	box := only(t, s.db.main.Collection(colMailboxes), bson.D{{Key: "user", Value: oid(a.ID)}, {Key: "path", Value: "Trash"}})
	want := rawDoc(t, bson.D{
		{Key: "path", Value: "Trash"}, {Key: "specialUse", Value: `\Trash`}, {Key: "uidNext", Value: int32(1)}, {Key: "modifyIndex", Value: int32(1)},
		{Key: "subscribed", Value: true}, {Key: "flags", Value: bson.A{}}, {Key: "user", Value: oid(a.ID)}, {Key: "retention", Value: 2592000000.0},
	})
	sameDocument(t, "mailbox", box, want, "_id", "uidValidity", memberMallard)
}

// What an account does not know of its document stays as it was, and so does what did not change.
func TestUpdateTouchesOnlyWhatChanged(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.users(), golden(t, "users"))
	for _, name := range []string{"alice.roe", "bob", "carol@carol.test"} {
		before := goldenRow(t, "users", "username", name)
		a, err := userOf(before)
		must(t, err)
		if _, err := s.UpdateAccount(t.Context(), a.ID, func(*mail.Account) error { return nil }); err != nil {
			t.Fatal(err)
		}
		self := bson.D{{Key: "_id", Value: oid(a.ID)}}
		sameDocument(t, name+", nothing changed", only(t, s.users(), self), before)
		_, err = s.UpdateAccount(t.Context(), a.ID, func(a *mail.Account) error {
			a.Name, a.SpamLevel, a.Quota = "New Name", 77, 1<<33
			return nil
		})
		must(t, err)
		now := only(t, s.users(), self)
		sameDocument(t, name, now, before, "name", "spamLevel", "quota")
		if text(now.Lookup("name")) != "New Name" || integer(now.Lookup("spamLevel")) != 77 || now.Lookup("quota").Type != bson.TypeDouble {
			t.Errorf("%s: changed members are %v, %v, %v", name, now.Lookup("name"), now.Lookup("spamLevel"), now.Lookup("quota"))
		}
	}
}

func TestUpdateTargetsAndRelay(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.users(), golden(t, "users"))
	insertAll(t, s.addresses(), golden(t, "addresses"))
	a, err := userOf(goldenRow(t, "users", "username", "alice.roe"))
	must(t, err)
	strange := bson.D{{Key: "$set", Value: bson.D{{Key: "targets.0.strange", Value: "kept"}}}}
	_, err = s.users().UpdateByID(t.Context(), oid(a.ID), strange)
	must(t, err)
	added := []mail.Target{{ID: newID[mail.MessageID](s), Type: "mail", Value: "Bobby@example.com"}, {ID: newID[mail.MessageID](s), Type: "http", Value: "http://x"}}
	got, err := s.UpdateAccount(t.Context(), a.ID, func(a *mail.Account) error {
		a.Targets, a.MTARelay = append(a.Targets, added...), ""
		return nil
	})
	must(t, err)
	if len(got.Targets) != 3 || got.MTARelay != "" {
		t.Errorf("account is %+v", got)
	}
	doc := only(t, s.users(), bson.D{{Key: "_id", Value: oid(a.ID)}})
	if got := text(doc.Lookup("targets", "0", "strange")); got != "kept" {
		t.Errorf("a target that stays lost a member: %v", doc.Lookup("targets"))
	}
	bob, err := userOf(goldenRow(t, "users", "username", "bob"))
	must(t, err)
	if owner, _ := doc.Lookup("targets", "1", "user").ObjectIDOK(); owner != oid(bob.ID) {
		t.Errorf("the target that is bob's address has owner %v", owner)
	}
	if has(doc, "mtaRelay") {
		t.Errorf("the relay is still %v", doc.Lookup("mtaRelay"))
	}
}

func TestPasswordChange(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "pass")
	set := func(hash string, at time.Time) bson.Raw {
		t.Helper()
		_, err := s.UpdateAccount(t.Context(), a.ID, func(a *mail.Account) error {
			a.Password, a.PasswordChange = hash, at
			return nil
		})
		must(t, err)
		return only(t, s.users(), bson.D{{Key: "_id", Value: oid(a.ID)}})
	}
	_, err := s.users().UpdateByID(t.Context(), oid(a.ID), bson.D{{Key: "$set", Value: bson.D{{Key: "passwordPwned", Value: true}, {Key: "lastPwnedCheck", Value: stored(time.Now())}}}})
	must(t, err)
	at := time.Now()
	if doc := set("first", at); has(doc, "oldPasswords") || has(doc, "passwordPwned") || has(doc, "lastPwnedCheck") {
		t.Errorf("after the first password: %v", doc)
	}
	if doc := set("first, hashed anew", at); has(doc, "oldPasswords") {
		t.Errorf("a hash made anew counts as a change: %v", doc)
	}
	doc := set("second", at.Add(time.Second))
	if got := text(doc.Lookup("oldPasswords", "0", "hash")); got != "first, hashed anew" || doc.Lookup("oldPasswords", "0", "date").Type != bson.TypeDateTime {
		t.Errorf("old passwords are %v", doc.Lookup("oldPasswords"))
	}
}

// Many nodes that change one account at a time lose nothing of it.
func TestUpdateAccountConcurrently(t *testing.T) {
	uri := testserver.Mongo(t)
	stores := []*Store{reopenStore(t, uri), reopenStore(t, uri)}
	a := newAccount(t, stores[0], "busy")
	const each = 8
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range each {
				_, err := stores[i%2].UpdateAccount(context.Background(), a.ID, func(a *mail.Account) error {
					a.AuthVersion++
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := stores[0].Account(t.Context(), a.ID)
	must(t, err)
	if got.AuthVersion != a.AuthVersion+4*each {
		t.Errorf("version is %d after %d changes of %d", got.AuthVersion, 4*each, a.AuthVersion)
	}
}

// A creation that stopped half-way is not there, and what it holds can be had again.
func TestUnfinishedAccount(t *testing.T) {
	s := openStore(t)
	dead := newAccount(t, s, "name")
	unfinish := func(at time.Time) {
		_, err := s.users().UpdateByID(t.Context(), oid(dead.ID), bson.D{{Key: "$set", Value: bson.D{{Key: memberMallard + "." + keyCreating, Value: stored(at)}}}})
		must(t, err)
	}
	unfinish(time.Now())
	_, err := s.Account(t.Context(), dead.ID)
	wants(t, "Account", err, mail.CodeNoAccount)
	_, err = s.AccountByName(t.Context(), "name")
	wants(t, "AccountByName", err, mail.CodeNoAccount)
	if page, err := s.ListAccounts(t.Context(), store.AccountQuery{}); err != nil || page.Total != 0 {
		t.Errorf("ListAccounts: %+v, %v", page, err)
	}
	again := store.NewAccount{Account: mail.Account{Username: "name"}, View: "name", Mailboxes: []mail.Mailbox{{Path: "INBOX"}}}
	_, err = s.CreateAccount(t.Context(), again)
	wants(t, "the name while it is being made", err, mail.CodeExists)

	unfinish(longAgo())
	other := again
	other.View, other.Address = "other", &mail.Address{Address: "name@example.com", View: "name@example.com"}
	if _, err := s.CreateAccount(t.Context(), other); err != nil {
		t.Errorf("the address of an unfinished account: %v", err)
	}
	if n := count(t, s.db.main.Collection(colMailboxes), bson.D{{Key: "user", Value: oid(dead.ID)}}); n != 0 {
		t.Errorf("%d mailboxes are left of the unfinished account", n)
	}
	if _, err := s.CreateAccount(t.Context(), again); err != nil {
		t.Errorf("the name of an unfinished account: %v", err)
	}
}

func TestUnfinishedAccountIsReclaimed(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "name")
	_, err := s.users().UpdateByID(t.Context(), oid(a.ID), bson.D{{Key: "$set", Value: bson.D{{Key: memberMallard + "." + keyCreating, Value: stored(longAgo())}}}})
	must(t, err)
	_, err = s.ReclaimAccounts(t.Context())
	must(t, err)
	for _, c := range []struct{ db, name string }{{"users", colUsers}, {"users", colAddresses}, {"main", colMailboxes}} {
		db := s.db.main
		if c.db == "users" {
			db = s.db.users
		}
		if n := count(t, db.Collection(c.name), bson.D{}); n != 0 {
			t.Errorf("%s has %d documents", c.name, n)
		}
	}
}

// An address that is taken leaves nothing of the account.
func TestCreationIsUndone(t *testing.T) {
	s := openStore(t)
	newAccount(t, s, "first")
	_, err := s.CreateAccount(t.Context(), store.NewAccount{
		Account: mail.Account{Username: "second"}, View: "second", Mailboxes: []mail.Mailbox{{Path: "INBOX"}},
		Address: &mail.Address{Address: "first@example.com", View: "first@example.com"},
	})
	wants(t, "a taken address", err, mail.CodeExists)
	if n := count(t, s.users(), bson.D{}); n != 1 {
		t.Errorf("%d users", n)
	}
	if n := count(t, s.db.main.Collection(colMailboxes), bson.D{}); n != 2 {
		t.Errorf("%d mailboxes", n)
	}
}

// accountCache notes what it is told.
type accountCache struct {
	forgotten []mail.AccountID
	on, off   []string
}

func (c *accountCache) Forget(_ context.Context, id mail.AccountID) error {
	c.forgotten = append(c.forgotten, id)
	return errMine // which must not matter
}

func (c *accountCache) Features(_ context.Context, _ mail.AccountID, on, off []string) error {
	c.on, c.off = append(c.on, on...), append(c.off, off...)
	return errMine
}

func TestCachesAreTold(t *testing.T) {
	cache := &accountCache{}
	s := openStore(t, func(o *Options) { o.Accounts = cache })
	a := newAccount(t, s, "limited")
	update := func(change func(*mail.Account)) {
		t.Helper()
		_, err := s.UpdateAccount(t.Context(), a.ID, func(a *mail.Account) error { change(a); return nil })
		must(t, err)
	}
	update(func(a *mail.Account) { a.Name = "x" })
	if len(cache.forgotten) != 0 {
		t.Errorf("a name is no limit: %v", cache.forgotten)
	}
	update(func(a *mail.Account) { a.Quota = 1 << 20 })
	if !slices.Equal(cache.forgotten, []mail.AccountID{a.ID}) {
		t.Errorf("forgotten are %v", cache.forgotten)
	}
	update(func(a *mail.Account) { a.FeatureFlags = map[string]bool{"indexing": true, "x": false} })
	update(func(a *mail.Account) { a.FeatureFlags = map[string]bool{"other": true} })
	if !slices.Equal(cache.on, []string{"indexing", "other"}) || !slices.Equal(cache.off, []string{"indexing"}) {
		t.Errorf("features on %v, off %v", cache.on, cache.off)
	}
}
