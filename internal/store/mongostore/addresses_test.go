package mongostore

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

func TestAddressThatWildDuckWrote(t *testing.T) {
	got, err := addressOf(goldenRow(t, "addresses", "address", "fw.d@example.com"))
	must(t, err)
	target := func(id, typ, value string) mail.Target {
		mid, err := mail.ParseID[struct{}](id)
		must(t, err)
		return mail.Target{ID: mail.MessageID(mid), Type: typ, Value: value}
	}
	want := &mail.Address{
		ID: got.ID, Address: "fw.d@example.com", View: "fwd@example.com", Name: "Fwd", Targets: []mail.Target{
			target("6b02b4990dc41b48cba62136", "mail", "bob@example.com"), target("6b02b4990dc41b48cba62137", "mail", "x@far.test"),
			target("6b02b4990dc41b48cba62138", "relay", "smtp://relay.test"), target("6b02b4990dc41b48cba62139", "http", "http://hook.test/x"),
		},
		Forwards: 9, ForwardedDisabled: true, Autoreply: `{"name":"FA","status":true,"subject":"Away","text":"gone"}`,
		Tags: []string{"T1"}, MetaData: `{"z":1}`, Created: time.UnixMilli(1795339417945).UTC(),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("forwarded address (-want +got):\n%s", diff)
	}
	own, err := addressOf(goldenRow(t, "addresses", "address", "a.lias@example.com"))
	must(t, err)
	if own.Account.String() != "6b02b4950dc41b48cba62101" || own.Name != "Alias Name" || own.InternalData != `{"i":1}` || own.Autoreply != "" {
		t.Errorf("own address is %+v", own)
	}
}

// New rows are those that WildDuck makes of the same.
func TestNewAddressIsWildDucks(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.users(), golden(t, "users"))
	insertAll(t, s.addresses(), golden(t, "addresses"))
	for _, name := range []string{"fw.d@example.com", "fw2@example.com", "a.lias@example.com", "erin@example.com", "info*@example.com"} {
		want := goldenRow(t, "addresses", "address", name)
		in, err := addressOf(want)
		must(t, err)
		_, err = s.addresses().DeleteOne(t.Context(), bson.D{{Key: "_id", Value: oid(in.ID)}})
		must(t, err)
		if in.Autoreply != "" { // as the API gives it
			in.Autoreply = `{"status":true,"name":"FA","subject":"Away","text":"gone"}`
		}
		// bob@example.com went away after the sample was made.
		row := mail.Address{Address: "bob@example.com", View: "bob@example.com"}
		if bob, _ := want.Lookup("targets", "0", "user").ObjectIDOK(); !bob.IsZero() {
			row.Account = mail.AccountID(bob)
			_, err := s.CreateAddress(t.Context(), row, false)
			must(t, err)
		}
		got, err := s.CreateAddress(t.Context(), *in, false)
		must(t, err)
		without := []string{"_id", "name"} // null, or missing on the first address
		sameDocument(t, name, only(t, s.addresses(), bson.D{{Key: "_id", Value: oid(got.ID)}}), reordered(t, want), without...)
	}
}

// reordered puts what WildDuck sets on a row later on before the time of creation, where a new row has it.
func reordered(t *testing.T, doc bson.Raw) bson.Raw {
	t.Helper()
	var out, created bson.D
	for _, e := range members(t, doc, nil) {
		m := bson.E{Key: e.Key(), Value: e.Value()}
		if e.Key() == "created" {
			created = append(created, m)
			continue
		}
		out = append(out, m)
	}
	return rawDoc(t, append(out, created...))
}

func TestUpdateAddressTouchesOnlyWhatChanged(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.addresses(), golden(t, "addresses"))
	before := goldenRow(t, "addresses", "address", "fw.d@example.com")
	row, err := addressOf(before)
	must(t, err)
	self := bson.D{{Key: "_id", Value: oid(row.ID)}}
	_, err = s.UpdateAddress(t.Context(), row.ID, false, func(*mail.Address) error { return nil })
	must(t, err)
	sameDocument(t, "nothing changed", only(t, s.addresses(), self), before)
	_, err = s.UpdateAddress(t.Context(), row.ID, false, func(a *mail.Address) error {
		a.Targets, a.Autoreply = a.Targets[:1], `{"status":true,"start":"2026-02-03T04:05:06.000Z","text":"x"}`
		return nil
	})
	must(t, err)
	now := only(t, s.addresses(), self)
	sameDocument(t, "changed", now, before, "targets", "autoreply")
	if bob, ok := now.Lookup("targets", "0", "user").ObjectIDOK(); !ok || bob.IsZero() {
		t.Errorf("the target that stays lost its owner: %v", now.Lookup("targets"))
	}
	if v := now.Lookup("autoreply", "start"); v.Type != bson.TypeDateTime || v.Time().UnixMilli() != 1770091506000 {
		t.Errorf("the start of the automatic reply is %v", v)
	}
	if got, err := s.Address(t.Context(), row.ID); err != nil || got.Autoreply != `{"start":"2026-02-03T04:05:06.000Z","status":true,"text":"x"}` {
		t.Errorf("automatic reply is %s, %v", got.Autoreply, err)
	}
}

func TestDomainsAreNoted(t *testing.T) {
	s := openStore(t)
	insertAll(t, s.db.users.Collection(colDomainCache), golden(t, "domaincache"))
	a := newAccount(t, s, "x") // example.com is there
	for _, addr := range []string{"a@new.example", "*@wild.example", "u@*"} {
		_, err := s.CreateAddress(t.Context(), mail.Address{Address: addr, View: addr, Account: a.ID}, false)
		must(t, err)
	}
	must(t, s.SetDomainAlias(t.Context(), "alias.example", "target.example"))
	for domain, want := range map[string]int64{
		"example.com": 1, "new.example": 1, "wild.example": 1, "*": 0, "alias.example": 1, "target.example": 1,
	} {
		if n := count(t, s.db.users.Collection(colDomainCache), bson.D{{Key: "domain", Value: domain}}); n != want {
			t.Errorf("%s is noted %d times, want %d", domain, n, want)
		}
	}
	row := only(t, s.db.users.Collection(colDomainAliases), bson.D{{Key: "alias", Value: "alias.example"}})
	sameDocument(t, "alias", row, rawDoc(t, bson.D{{Key: "alias", Value: "alias.example"}, {Key: "domain", Value: "target.example"}}), "_id", "created")
	if row.Lookup("created").Type != bson.TypeDateTime {
		t.Errorf("alias is %v", row)
	}
}

// Of an address that becomes the main one while it is removed one thing happens.
func TestMainAddressWhileRemoved(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "race")
	for range 20 {
		row, err := s.CreateAddress(t.Context(), mail.Address{Address: "second@example.com", View: "second@example.com", Account: a.ID}, false)
		must(t, err)
		var setErr, delErr error
		var wg sync.WaitGroup
		wg.Go(func() {
			_, setErr = s.UpdateAccount(t.Context(), a.ID, func(a *mail.Account) error { a.Address = "second@example.com"; return nil })
		})
		wg.Go(func() { delErr = s.DeleteAddress(t.Context(), row.ID) })
		wg.Wait()
		now, err := s.Account(t.Context(), a.ID)
		must(t, err)
		rows, err := s.AddressesByView(t.Context(), "second@example.com")
		must(t, err)
		if now.Address == "second@example.com" && len(rows) == 0 {
			t.Fatalf("the main address has no row; set: %v, delete: %v", setErr, delErr)
		}
		if len(rows) == 0 {
			continue
		}
		_, err = s.UpdateAccount(t.Context(), a.ID, func(a *mail.Account) error { a.Address = "race@example.com"; return nil })
		must(t, err)
		must(t, s.DeleteAddress(t.Context(), row.ID))
	}
}
