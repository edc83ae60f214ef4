package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"mallard/internal/mail"
	"mallard/internal/store"
)

func addressCases() []caseFunc {
	return []caseFunc{
		{"Create", addressCreate},
		{"CreateMain", addressCreateMain},
		{"ByView", addressByView},
		{"Update", addressUpdate},
		{"UpdateMain", addressUpdateMain},
		{"List", addressList},
		{"Filter", addressFilter},
		{"Delete", addressDelete},
		{"DomainAlias", addressDomainAlias},
	}
}

// address stores an address row without an account whose view is its address
// without dots.
func (f *fixture) address(address string, tags ...string) *mail.Address {
	f.Helper()
	a, err := f.s.CreateAddress(f.ctx, mail.Address{Address: address, View: address, Tags: tags}, false)
	if err != nil {
		f.Fatalf("create address %s: %v", address, err)
	}
	return a
}

func addressCreate(f *fixture) {
	want := mail.Address{
		Address: "a.b@example.com", View: "ab@example.com", Name: "Ä", Forwards: 5, ForwardedDisabled: true,
		Targets:   []mail.Target{{ID: mail.MessageID{3}, Type: "relay", Value: "smtp://x"}},
		Autoreply: `{"status":true}`, Tags: []string{"T"}, MetaData: `{"m":1}`, InternalData: `{"i":1}`, Created: testDate(0),
	}
	got, err := f.s.CreateAddress(f.ctx, want, false)
	f.must(err)
	want.ID = got.ID
	if diff := cmp.Diff(&want, got, loose()); diff != "" || got.ID.IsZero() {
		f.Errorf("CreateAddress (-want +got):\n%s", diff)
	}
	got, err = f.s.Address(f.ctx, want.ID)
	f.must(err)
	if diff := cmp.Diff(&want, got, loose()); diff != "" {
		f.Errorf("Address (-want +got):\n%s", diff)
	}
	_, err = f.s.CreateAddress(f.ctx, mail.Address{Address: "ab@example.com", View: "ab@example.com"}, false)
	f.wants("the same view", err, mail.CodeExists)
	_, err = f.s.CreateAddress(f.ctx, mail.Address{Address: "x@example.com", View: "x@example.com", Account: mail.AccountID{9}}, false)
	f.wants("an unknown account", err, mail.CodeNoAccount)
	_, err = f.s.Address(f.ctx, mail.AddressID{1})
	f.wants("an unknown row", err, mail.CodeNotFound)
}

func addressCreateMain(f *fixture) {
	row, err := f.s.CreateAddress(f.ctx, mail.Address{Address: "new@example.com", View: "new@example.com", Account: f.acct}, true)
	f.must(err)
	a, err := f.s.Account(f.ctx, f.acct)
	if f.must(err); a.Address != row.Address {
		f.Errorf("main address is %q, want %q", a.Address, row.Address)
	}
	_, err = f.s.CreateAddress(f.ctx, mail.Address{Address: "user@example.com", View: "user@example.com", Account: f.acct}, true)
	f.wants("taken", err, mail.CodeExists)
	if a, err = f.s.Account(f.ctx, f.acct); err != nil || a.Address != row.Address {
		f.Errorf("after a refusal the main address is %q (%v)", a.Address, err)
	}
}

func addressByView(f *fixture) {
	f.address("one@example.com")
	f.address("*@example.com")
	for _, tc := range []struct {
		views []string
		want  string
	}{
		{nil, ""},
		{[]string{"none@example.com"}, ""},
		{[]string{"one@example.com"}, "one@example.com"},
		{[]string{"one@example.com", "none@x", "*@example.com", "user@example.com"}, "*@example.com one@example.com user@example.com"},
		{[]string{"one@example.com", "one@example.com"}, "one@example.com"},
		{[]string{"one@example"}, ""},
		{[]string{""}, ""},
	} {
		rows, err := f.s.AddressesByView(f.ctx, tc.views...)
		f.must(err)
		var got []string
		for _, r := range rows {
			got = append(got, r.View)
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != tc.want {
			f.Errorf("%q: %q, want %q", tc.views, s, tc.want)
		}
	}
}

func addressUpdate(f *fixture) {
	row, other := f.address("old@example.com"), f.address("other@example.com")
	got, err := f.s.UpdateAddress(f.ctx, row.ID, false, func(a *mail.Address) error {
		a.Address, a.View, a.Tags = "n.ew@example.com", "new@example.com", []string{"t"}
		a.ID, a.Account, a.Created = mail.AddressID{1}, f.acct, testDate(9) // ignored
		return nil
	})
	f.must(err)
	want := *row
	want.Address, want.View, want.Tags = "n.ew@example.com", "new@example.com", []string{"t"}
	if diff := cmp.Diff(&want, got, loose()); diff != "" {
		f.Errorf("UpdateAddress (-want +got):\n%s", diff)
	}
	rows, err := f.s.AddressesByView(f.ctx, "old@example.com", "new@example.com")
	if f.must(err); len(rows) != 1 || rows[0].ID != row.ID {
		f.Errorf("by old and new view: %+v", rows)
	}
	f.address("old@example.com") // is free again
	_, err = f.s.UpdateAddress(f.ctx, row.ID, false, func(a *mail.Address) error { a.View = other.View; return nil })
	f.wants("a view that is taken", err, mail.CodeExists)
	_, err = f.s.UpdateAddress(f.ctx, mail.AddressID{5}, false, func(*mail.Address) error { return nil })
	f.wants("unknown row", err, mail.CodeNotFound)
	mine := errors.New("mine")
	if _, err = f.s.UpdateAddress(f.ctx, row.ID, false, func(a *mail.Address) error { a.Name = "x"; return mine }); !errors.Is(err, mine) {
		f.Errorf("error is %v, want that of the function", err)
	}
	after, err := f.s.Address(f.ctx, row.ID)
	f.must(err)
	if diff := cmp.Diff(&want, after, loose()); diff != "" {
		f.Errorf("after failed updates (-want +got):\n%s", diff)
	}
}

func addressUpdateMain(f *fixture) {
	main := func() string {
		a, err := f.s.Account(f.ctx, f.acct)
		f.must(err)
		return a.Address
	}
	second, err := f.s.CreateAddress(f.ctx, mail.Address{Address: "second@example.com", View: "second@example.com", Account: f.acct}, false)
	f.must(err)
	if got := main(); got != "user@example.com" {
		f.Fatalf("main address is %q", got)
	}
	nothing := func(*mail.Address) error { return nil }
	_, err = f.s.UpdateAddress(f.ctx, second.ID, true, nothing)
	if f.must(err); main() != "second@example.com" {
		f.Errorf("main address is %q, want the one that was made so", main())
	}
	_, err = f.s.UpdateAddress(f.ctx, second.ID, false, func(a *mail.Address) error {
		a.Address, a.View = "third@example.com", "third@example.com"
		return nil
	})
	if f.must(err); main() != "third@example.com" {
		f.Errorf("main address is %q, want it to follow the row", main())
	}
}

func addressList(f *fixture) {
	for _, i := range []int{3, 0, 5, 1, 4, 2} {
		f.address(fmt.Sprintf("list%d@example.net", i))
	}
	want := []string{"list0@example.net", "list1@example.net", "list2@example.net", "list3@example.net", "list4@example.net", "list5@example.net", "user@example.com"}
	list := func(q store.AddressQuery, more bool, want []string) {
		f.Helper()
		page, err := f.s.ListAddresses(f.ctx, q)
		f.must(err)
		var got []string
		for _, a := range page.Addresses {
			got = append(got, a.View)
		}
		if !slices.Equal(got, want) || page.More != more || page.Total != 7 {
			f.Errorf("%+v: %v, more %v, total %d; want %v, %v, 7", q, got, page.More, page.Total, want, more)
		}
	}
	list(store.AddressQuery{}, false, want)
	list(store.AddressQuery{Limit: 2}, true, want[:2])
	list(store.AddressQuery{Limit: 2, After: want[1]}, true, want[2:4])
	list(store.AddressQuery{Limit: 2, After: "list1@example.nez"}, true, want[2:4])
	list(store.AddressQuery{Limit: 2, After: want[4]}, false, want[5:])
	list(store.AddressQuery{Limit: 2, Before: want[4]}, true, want[2:4])
	list(store.AddressQuery{Limit: 2, Before: want[2]}, false, want[:2])
	list(store.AddressQuery{Limit: 2, Before: want[1]}, false, want[:1])
	list(store.AddressQuery{Limit: 2, Before: want[0]}, false, nil)
}

func addressFilter(f *fixture) {
	f.address("red@example.net", "Red")
	f.address("blue@example.net", "blue", "red")
	_, err := f.s.CreateAddress(f.ctx, mail.Address{Address: "U.2@example.org", View: "u2@example.org", Account: f.acct}, false)
	f.must(err)
	for _, tc := range []struct {
		q    store.AddressQuery
		want string
	}{
		{store.AddressQuery{Account: f.acct}, "u2@example.org user@example.com"},
		{store.AddressQuery{Account: f.acct, Contains: "user"}, "user@example.com"},
		{store.AddressQuery{Contains: "u.2@"}, "u2@example.org"},
		{store.AddressQuery{Contains: "example.net"}, "blue@example.net red@example.net"},
		{store.AddressQuery{Tags: []string{"red"}}, "blue@example.net red@example.net"},
		{store.AddressQuery{Tags: []string{"red", "blue"}, AllTags: true}, "blue@example.net"},
		{store.AddressQuery{Tags: []string{"green"}}, ""},
		{store.AddressQuery{Account: mail.AccountID{8}}, ""},
	} {
		page, err := f.s.ListAddresses(f.ctx, tc.q)
		f.must(err)
		var got []string
		for _, a := range page.Addresses {
			got = append(got, a.View)
		}
		if s := strings.Join(got, " "); s != tc.want || page.Total != int64(len(got)) {
			f.Errorf("%+v: %q (total %d), want %q", tc.q, s, page.Total, tc.want)
		}
	}
}

func addressDelete(f *fixture) {
	row := f.address("gone@example.com")
	f.must(f.s.DeleteAddress(f.ctx, row.ID))
	f.wants("delete again", f.s.DeleteAddress(f.ctx, row.ID), mail.CodeNotFound)
	_, err := f.s.Address(f.ctx, row.ID)
	f.wants("Address", err, mail.CodeNotFound)
	f.address("gone@example.com") // is free again
	rows, err := f.s.AddressesByView(f.ctx, "user@example.com")
	f.must(err)
	f.wants("the main address", f.s.DeleteAddress(f.ctx, rows[0].ID), mail.CodeForbidden)
	second, err := f.s.CreateAddress(f.ctx, mail.Address{Address: "second@example.com", View: "second@example.com", Account: f.acct}, true)
	f.must(err)
	f.must(f.s.DeleteAddress(f.ctx, rows[0].ID)) // it is no longer the main one
	f.wants("the new main address", f.s.DeleteAddress(f.ctx, second.ID), mail.CodeForbidden)
}

func addressDomainAlias(f *fixture) {
	alias := func(name, want string) {
		f.Helper()
		if got, err := f.s.DomainAlias(f.ctx, name); err != nil || got != want {
			f.Errorf("alias %s is %q (%v), want %q", name, got, err, want)
		}
	}
	alias("a.example", "")
	f.must(f.s.SetDomainAlias(f.ctx, "a.example", "example.com"))
	f.must(f.s.SetDomainAlias(f.ctx, "b.example", "example.net"))
	alias("a.example", "example.com")
	alias("b.example", "example.net")
	f.must(f.s.SetDomainAlias(f.ctx, "a.example", "example.org"))
	alias("a.example", "example.org")
	f.must(f.s.SetDomainAlias(f.ctx, "a.example", ""))
	f.must(f.s.SetDomainAlias(f.ctx, "a.example", ""))
	alias("a.example", "")
	alias("b.example", "example.net")
}
