package mongostore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver"
)

// openStore opens a store on an empty database.
func openStore(t testing.TB, change ...func(*Options)) *Store {
	t.Helper()
	return reopenStore(t, testserver.Mongo(t), change...)
}

// reopenStore opens a store on a database that may be in use by others.
func reopenStore(t testing.TB, uri string, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{URI: uri, Logger: testLogger(t)}
	for _, c := range change {
		c(&o)
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// clock is a time that a test sets while what a store does in the background looks at it.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) Now() time.Time       { return *c.at.Load() }
func (c *clock) set(at time.Time)     { c.at.Store(&at) }
func (c *clock) pass(d time.Duration) { c.set(c.Now().Add(d)) }

// golden reads documents that WildDuck wrote.
func golden(t testing.TB, name string) []bson.Raw {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "wildduck", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Rows []bson.Raw }
	if err := bson.UnmarshalExtJSON([]byte(`{"rows":`+string(text)+`}`), true, &all); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return all.Rows
}

// goldenRow returns the document with a member of this value.
func goldenRow(t testing.TB, name, member, value string) bson.Raw {
	t.Helper()
	for _, r := range golden(t, name) {
		if text(r.Lookup(member)) == value {
			return r
		}
	}
	t.Fatalf("%s: no row with %s %q", name, member, value)
	return nil
}

// insertAll stores documents as they are.
func insertAll(t testing.TB, c *mongo.Collection, docs []bson.Raw) {
	t.Helper()
	if _, err := c.InsertMany(t.Context(), docs); err != nil {
		t.Fatalf("insert into %s: %v", c.Name(), err)
	}
}

// only returns the one document that a filter selects.
func only(t testing.TB, c *mongo.Collection, filter bson.D) bson.Raw {
	t.Helper()
	cur, err := c.Find(t.Context(), filter)
	if err != nil {
		t.Fatal(err)
	}
	var rows []bson.Raw
	if err := cur.All(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 {
		t.Fatalf("%s has %d documents with %v, want 1", c.Name(), len(rows), filter)
	}
	return rows[0]
}

func count(t testing.TB, c *mongo.Collection, filter bson.D) int64 {
	t.Helper()
	n, err := c.CountDocuments(t.Context(), filter)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sameDocument compares documents member for member, in their order, without some.
func sameDocument(t testing.TB, what string, got, want bson.Raw, without ...string) {
	t.Helper()
	g, w := members(t, got, without), members(t, want, without)
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			t.Errorf("%s: %v is missing", what, w[i])
		case i >= len(w):
			t.Errorf("%s: %v is too much", what, g[i])
		case g[i].Key() != w[i].Key() || !sameValue(g[i].Value(), w[i].Value()):
			t.Errorf("%s: member %d is %v, want %v", what, i, g[i], w[i])
		}
	}
}

func members(t testing.TB, doc bson.Raw, without []string) []bson.RawElement {
	t.Helper()
	all, err := doc.Elements()
	if err != nil {
		t.Fatal(err)
	}
	var out []bson.RawElement
	for _, e := range all {
		skip := false
		for _, w := range without {
			skip = skip || e.Key() == w
		}
		if !skip {
			out = append(out, e)
		}
	}
	return out
}

// wants fails the test when the error has another code.
func wants(t testing.TB, what string, err error, code mail.Code) {
	t.Helper()
	if err == nil || mail.CodeOf(err) != code {
		t.Errorf("%s: error %v, want code %s", what, err, code)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newAccount makes an account with an address of its name.
func newAccount(t testing.TB, s *Store, name string) *mail.Account {
	t.Helper()
	a, err := s.CreateAccount(t.Context(), store.NewAccount{
		Account: mail.Account{Username: name, Activated: true, AuthVersion: 1}, View: name,
		Address:   &mail.Address{Address: name + "@example.com", View: name + "@example.com"},
		Mailboxes: []mail.Mailbox{{Path: "INBOX", Subscribed: true}, {Path: "Trash", SpecialUse: mail.UseTrash}},
	})
	if err != nil {
		t.Fatalf("create account %s: %v", name, err)
	}
	return a
}

// errMine is an error that a test returns.
var errMine = errors.New("mine")

// long ago, for what must be stale.
func longAgo() time.Time { return time.Now().Add(-24 * time.Hour) }
