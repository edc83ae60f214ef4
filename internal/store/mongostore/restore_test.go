package mongostore

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
)

// Accounts and addresses that are restored are the documents that WildDuck would have of them.
func TestRestoreAccounts(t *testing.T) {
	s := openStore(t)
	for range 2 { // again changes nothing
		for _, doc := range golden(t, "users") {
			want, err := userOf(doc)
			must(t, err)
			must(t, s.RestoreAccount(t.Context(), *want, text(doc.Lookup("unameview"))))
			got, err := s.AccountByName(t.Context(), text(doc.Lookup("unameview")))
			must(t, err)
			want.StorageUsed = 0 // the engine's
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", want.Username, diff)
			}
		}
	}
	nopass := goldenRow(t, "users", "username", "nopass")
	sameDocument(t, "nopass", only(t, s.users(), bson.D{{Key: "username", Value: "nopass"}}), nopass)

	for range 2 {
		for _, doc := range golden(t, "addresses") {
			row, err := addressOf(doc)
			must(t, err)
			must(t, s.RestoreAddress(t.Context(), *row))
			got, err := s.Address(t.Context(), row.ID)
			must(t, err)
			if diff := cmp.Diff(row, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.Address, diff)
			}
		}
	}
	if n := count(t, s.db.users.Collection(colDomainCache), bson.D{{Key: "domain", Value: "example.com"}}); n != 1 {
		t.Errorf("the domain is noted %d times", n)
	}
}

func TestRestoreRefuses(t *testing.T) {
	s := openStore(t)
	a := newAccount(t, s, "there")
	wants(t, "a username that is taken", s.RestoreAccount(t.Context(), mail.Account{ID: mail.AccountID{1}, Username: "th.ere"}, "there"), mail.CodeExists)
	wants(t, "an address that is taken", s.RestoreAddress(t.Context(), mail.Address{ID: mail.AddressID{1}, View: a.Address}), mail.CodeExists)
	wants(t, "an address of nobody", s.RestoreAddress(t.Context(), mail.Address{ID: mail.AddressID{1}, View: "x@y", Account: mail.AccountID{1}}), mail.CodeNoAccount)
}

func TestEachRecord(t *testing.T) {
	kept := records{"t": []byte("token")}
	s := openStore(t, func(o *Options) { o.Tokens = kept })
	must(t, s.PutRecord(t.Context(), kindSetting, "const:max:storage", []byte("5")))
	must(t, s.PutRecord(t.Context(), "own", "k\x00\xff", []byte("v")))
	got := map[string]string{}
	must(t, s.EachRecord(t.Context(), func(kind, key string, value []byte) error {
		got[kind+" "+key] = string(value)
		return nil
	}))
	if want := map[string]string{"setting const:max:storage": "5", "own k\x00\xff": "v", "token t": "token"}; !maps.Equal(got, want) {
		t.Errorf("records are %q, want %q", got, want)
	}
	if err := s.EachRecord(t.Context(), func(string, string, []byte) error { return errMine }); err != errMine {
		t.Errorf("error %v, want that of the function", err)
	}
	must(t, s.SetDomainAlias(t.Context(), "a.example", "b.example"))
	if got, err := s.DomainAliases(t.Context()); err != nil || !maps.Equal(got, map[string]string{"a.example": "b.example"}) {
		t.Errorf("aliases are %v, %v", got, err)
	}
}
