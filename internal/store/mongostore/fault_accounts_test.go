package mongostore

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/testserver"
	"mallard/internal/testserver/faultproxy"
)

// faulty is a database behind a proxy that fails, and beside it.
type faulty struct {
	proxy  *faultproxy.Proxy
	s      *Store // through the proxy
	direct *Store
	n      int // of the run
}

func newFaulty(t *testing.T, change ...func(*Options)) *faulty {
	t.Helper()
	uri := testserver.Mongo(t)
	u, err := url.Parse(uri)
	must(t, err)
	p := faultproxy.Start(t, u.Host, faultproxy.Mongo)
	return &faulty{proxy: p, direct: reopenStore(t, uri), s: reopenStore(t, p.In(uri), change...)}
}

// each runs an operation with every kind of cut at every request. It gets a name that no other run has.
func (f *faulty) each(t *testing.T, run func(t *testing.T, name string)) {
	t.Helper()
	for i, cut := range faultproxy.Cuts() {
		if i%2 == 1 && os.Getenv("MALLARD_STORETEST_LONG") == "" {
			continue
		}
		f.proxy.Each(t, cut, func(t *testing.T, _ int) {
			f.n++
			run(t, fmt.Sprintf("u%d", f.n))
		})
	}
}

// wholeOrNothing checks what a failed operation says: with an outcome that is not known it may have happened.
func wholeOrNothing(t *testing.T, err error, happened bool) {
	t.Helper()
	switch {
	case err == nil && !happened:
		t.Error("it succeeded, but it did not happen")
	case err != nil && mail.CodeOf(err) != mail.CodeUnavailable:
		t.Errorf("error %v, want code unavailable", err)
	case err != nil && happened && !errors.Is(err, store.ErrOutcomeUnknown):
		t.Errorf("it happened, but failed with %v", err)
	}
}

// A creation that is cut off leaves a whole account, or its names free and nothing behind.
func TestCreateAccountCutOff(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.each(t, func(t *testing.T, name string) {
		in := store.NewAccount{
			Account: mail.Account{Username: name, Activated: true}, View: name, Mailboxes: []mail.Mailbox{{Path: "INBOX"}, {Path: "Trash"}},
			Address: &mail.Address{Address: name + "@example.com", View: name + "@example.com"},
		}
		_, err := f.s.CreateAccount(t.Context(), in)
		a, gerr := f.direct.AccountByName(t.Context(), name)
		wholeOrNothing(t, err, gerr == nil)
		if gerr != nil {
			wants(t, "the account", gerr, mail.CodeNoAccount)
			if a, gerr = f.direct.CreateAccount(t.Context(), in); gerr != nil {
				t.Fatalf("the name and the address are not free: %v", gerr)
			}
		}
		if !a.Activated || a.Address != name+"@example.com" {
			t.Errorf("account is %+v", a)
		}
		if n := count(t, f.direct.users(), bson.D{{Key: "unameview", Value: name}}); n != 1 {
			t.Errorf("%d users", n)
		}
	})
	users, rows := count(t, f.direct.users(), bson.D{}), count(t, f.direct.addresses(), bson.D{})
	if boxes := count(t, f.direct.db.main.Collection(colMailboxes), bson.D{}); users != rows || boxes != 2*users {
		t.Errorf("%d users have %d addresses and %d mailboxes", users, rows, boxes)
	}
}

// A change that is cut off happens once or not at all.
func TestUpdateAccountCutOff(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	a := newAccount(t, f.direct, "steady")
	f.each(t, func(t *testing.T, _ string) {
		before, err := f.direct.Account(t.Context(), a.ID)
		must(t, err)
		_, err = f.s.UpdateAccount(t.Context(), a.ID, func(a *mail.Account) error { a.AuthVersion++; return nil })
		after, gerr := f.direct.Account(t.Context(), a.ID)
		must(t, gerr)
		if by := after.AuthVersion - before.AuthVersion; by < 0 || by > 1 {
			t.Errorf("the version grew by %d", by)
		}
		wholeOrNothing(t, err, after.AuthVersion > before.AuthVersion)
	})
}

// rows are the addresses of an account.
func (f *faulty) rows(t *testing.T, acct mail.AccountID) []string {
	t.Helper()
	page, err := f.direct.ListAddresses(t.Context(), store.AddressQuery{Account: acct})
	must(t, err)
	var out []string
	for _, a := range page.Addresses {
		out = append(out, a.Address)
	}
	return out
}

// checkMain checks that the main address of an account is one of its addresses.
func (f *faulty) checkMain(t *testing.T, acct mail.AccountID) string {
	t.Helper()
	a, err := f.direct.Account(t.Context(), acct)
	must(t, err)
	if rows := f.rows(t, acct); !slices.Contains(rows, a.Address) {
		t.Errorf("the main address is %s, the addresses are %v", a.Address, rows)
	}
	return a.Address
}

func TestCreateAddressCutOff(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.each(t, func(t *testing.T, name string) {
		a := newAccount(t, f.direct, name)
		f.proxyForgets(t)
		_, err := f.s.CreateAddress(t.Context(), mail.Address{Address: name + "@new.example", View: name + "@new.example", Account: a.ID}, true)
		main := f.checkMain(t, a.ID)
		if len(f.rows(t, a.ID)) == 2 && main != name+"@new.example" && !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("the address is there but not the main one: %v", err)
		}
		wholeOrNothing(t, err, main == name+"@new.example")
	})
}

// proxyForgets is for what a test prepares: that goes beside the proxy.
func (f *faulty) proxyForgets(t *testing.T) {
	t.Helper()
	if f.proxy.Count() != 0 {
		t.Fatalf("what was prepared went through the proxy: %q", f.proxy.Names())
	}
}

func TestUpdateAddressCutOff(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.each(t, func(t *testing.T, name string) {
		a := newAccount(t, f.direct, name)
		rows, err := f.direct.AddressesByView(t.Context(), a.Address)
		must(t, err)
		rename := func(s *Store) error {
			_, err := s.UpdateAddress(t.Context(), rows[0].ID, false, func(a *mail.Address) error {
				a.Address, a.View = name+"@new.example", name+"@new.example"
				return nil
			})
			return err
		}
		err = rename(f.s)
		row, gerr := f.direct.Address(t.Context(), rows[0].ID)
		must(t, gerr)
		wholeOrNothing(t, err, row.Address == name+"@new.example")
		if err == nil {
			f.checkMain(t, a.ID)
		}
	})
}

func TestDeleteAddressCutOff(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.each(t, func(t *testing.T, name string) {
		a := newAccount(t, f.direct, name)
		row, err := f.direct.CreateAddress(t.Context(), mail.Address{Address: name + "@b", View: name + "@b", Account: a.ID}, false)
		must(t, err)
		err = f.s.DeleteAddress(t.Context(), row.ID)
		_, gerr := f.direct.Address(t.Context(), row.ID)
		wholeOrNothing(t, err, gerr != nil)
		f.checkMain(t, a.ID)
	})
}

// A deletion that is cut off can be made again until it is whole.
func TestDeleteAccountCutOff(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	for _, keep := range []time.Duration{0, time.Hour} {
		f.each(t, func(t *testing.T, name string) {
			a := newAccount(t, f.direct, name)
			var until time.Time
			if keep > 0 {
				until = time.Now().Add(keep)
			}
			err := f.s.DeleteAccount(t.Context(), a.ID, until)
			_, gerr := f.direct.Account(t.Context(), a.ID)
			wholeOrNothing(t, err, gerr != nil)
			if err != nil {
				again := f.direct.DeleteAccount(t.Context(), a.ID, until)
				if gerr != nil {
					wants(t, "delete again", again, mail.CodeNoAccount)
				} else if again != nil {
					t.Errorf("delete again: %v", again)
				}
			}
			f.checkDeleted(t, a.ID, keep > 0)
		})
	}
}

func (f *faulty) checkDeleted(t *testing.T, acct mail.AccountID, kept bool) {
	t.Helper()
	mine := bson.D{{Key: "user", Value: oid(acct)}}
	boxes := count(t, f.direct.db.main.Collection(colMailboxes), mine)
	tasks := count(t, f.direct.db.main.Collection(colTasks), bson.D{{Key: "data.user", Value: oid(acct)}})
	rows := count(t, f.direct.deletedUsers(), bson.D{{Key: "_id", Value: oid(acct)}})
	if n := len(f.rows(t, acct)); n != 0 {
		t.Errorf("%d addresses are left", n)
	}
	if kept && (boxes != 2 || tasks != 1 || rows != 1) || !kept && boxes+tasks+rows != 0 {
		t.Errorf("kept %v: %d mailboxes, %d tasks, %d deleted users", kept, boxes, tasks, rows)
	}
}

func TestRecordsCutOff(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.each(t, func(t *testing.T, name string) {
		for _, kind := range []string{"own", kindSetting} {
			err := f.s.PutRecord(t.Context(), kind, name, []byte("1"))
			got, gerr := f.direct.Record(t.Context(), kind, name)
			wholeOrNothing(t, err, gerr == nil && string(got) == "1")
			if n := count(t, f.direct.db.main.Collection(colSettings), bson.D{{Key: "key", Value: name}}); kind == kindSetting && n > 1 {
				t.Errorf("the setting is there %d times", n)
			}
		}
	})
	f.each(t, func(t *testing.T, name string) {
		err := f.s.SetDomainAlias(t.Context(), name, "x.example")
		got, gerr := f.direct.DomainAlias(t.Context(), name)
		must(t, gerr)
		wholeOrNothing(t, err, got == "x.example")
	})
}
