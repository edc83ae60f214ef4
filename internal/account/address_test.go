package account_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mallard/internal/account"
	"mallard/internal/mail"
	"mallard/internal/store"
	"mallard/internal/store/memstore"
)

func TestAddAddress(t *testing.T) {
	for _, tc := range []struct {
		in     account.NewAddress
		want   string
		isMain bool
		code   mail.Code
		text   string
	}{
		{in: account.NewAddress{Address: "Ali.Ce2@Example.COM"}, want: "ali.ce2@example.com"},
		{in: account.NewAddress{Address: "alice@xn--jgeva-dua.test", Main: true}, want: "alice@jõgeva.test", isMain: true},
		{in: account.NewAddress{Address: "*@wild.test", AllowWildcard: true}, want: "*@wild.test"},
		{in: account.NewAddress{Address: "roaming@*", AllowWildcard: true}, want: "roaming@*"},
		{in: account.NewAddress{Address: "*suf@wild.test", AllowWildcard: true}, want: "*suf@wild.test"},
		{in: account.NewAddress{Address: "*@wild2.test"}, code: mail.CodeInvalid, text: "Address can not contain *"},
		{in: account.NewAddress{Address: "*@wild2.test", AllowWildcard: true, Main: true}, code: mail.CodeInvalid, text: "Main address can not contain *"},
		{in: account.NewAddress{Address: "*a*@wild2.test", AllowWildcard: true}, code: mail.CodeInvalid, text: `Invalid wildcard address, use "*@domain" or "user@*"`},
		{in: account.NewAddress{Address: "a+b@example.com"}, code: mail.CodeInvalid, text: "Address can not contain +"},
		{in: account.NewAddress{Address: "nonsense"}, code: mail.CodeInvalid, text: "The email address is not valid"},
		{in: account.NewAddress{Address: "a@b.c", AddressData: account.AddressData{MetaData: new("[]")}}, code: mail.CodeInvalid, text: "metaData must be a JSON object"},
		{in: account.NewAddress{Address: "al.ice@example.com"}, code: mail.CodeExists, text: "This email address already exists"},
	} {
		t.Run(tc.in.Address, func(t *testing.T) {
			e := newEnv(t)
			a := e.create(t, account.NewUser{Username: "alice"})
			row, err := e.AddAddress(t.Context(), a.ID, tc.in)
			if tc.code != 0 {
				wantCode(t, err, tc.code, nil)
				if mail.PublicText(err) != tc.text {
					t.Errorf("text %q, want %q", mail.PublicText(err), tc.text)
				}
				return
			}
			if err != nil || row.Address != tc.want || row.Account != a.ID || row.ID.IsZero() {
				t.Fatalf("%+v, %v", row, err)
			}
			a, err = e.Get(t.Context(), a.ID)
			if err != nil || (a.Address == tc.want) != tc.isMain {
				t.Errorf("main address %q, %v", a.Address, err)
			}
		})
	}
	e := newEnv(t)
	_, err := e.AddAddress(t.Context(), mail.AccountID{1}, account.NewAddress{Address: "a@b.c"})
	wantCode(t, err, mail.CodeNoAccount, nil)
}

func TestFirstAddressBecomesMain(t *testing.T) {
	e := newEnv(t)
	a := e.create(t, account.NewUser{Username: "carol", NoAddress: true})
	if _, err := e.AddAddress(t.Context(), a.ID, account.NewAddress{Address: "*@wild.test", AllowWildcard: true}); err != nil {
		t.Fatal(err)
	}
	if a, _ = e.Get(t.Context(), a.ID); a.Address != "" {
		t.Errorf("a wildcard became the main address: %q", a.Address)
	}
	if _, err := e.AddAddress(t.Context(), a.ID, account.NewAddress{Address: "carol@example.com"}); err != nil {
		t.Fatal(err)
	}
	if a, _ = e.Get(t.Context(), a.ID); a.Address != "carol@example.com" {
		t.Errorf("main address %q", a.Address)
	}
}

func TestUpdateAddress(t *testing.T) {
	e := newEnv(t)
	alice := e.create(t, account.NewUser{Username: "alice"})
	bob := e.create(t, account.NewUser{Username: "bob"})
	second, err := e.AddAddress(t.Context(), alice.ID, account.NewAddress{Address: "second@x.y", AddressData: account.AddressData{Name: new("S"), Tags: []string{"t"}}})
	if err != nil {
		t.Fatal(err)
	}
	wild, err := e.AddAddress(t.Context(), alice.ID, account.NewAddress{Address: "*@wild.test", AllowWildcard: true})
	if err != nil {
		t.Fatal(err)
	}
	update := func(acct *mail.Account, row *mail.Address, in account.AddressChanges) (*mail.Address, error) {
		return e.UpdateAddress(t.Context(), acct.ID, row.ID, in)
	}
	mainOf := func() string {
		a, err := e.Get(t.Context(), alice.ID)
		if err != nil {
			t.Fatal(err)
		}
		return a.Address
	}

	row, err := update(alice, second, account.AddressChanges{Address: new("Sec.Ond@x.y"), AddressData: account.AddressData{Tags: []string{"b", "a"}}})
	if err != nil || row.Address != "sec.ond@x.y" || row.View != "second@x.y" || row.Name != "S" || !slices.Equal(row.Tags, []string{"a", "b"}) {
		t.Errorf("%+v, %v", row, err)
	}
	if _, err = update(alice, second, account.AddressChanges{Main: new(true)}); err != nil || mainOf() != "sec.ond@x.y" {
		t.Errorf("main %q, %v", mainOf(), err)
	}
	if _, err = update(alice, second, account.AddressChanges{Address: new("third@x.y")}); err != nil || mainOf() != "third@x.y" {
		t.Errorf("main %q, %v", mainOf(), err)
	}
	if row, err = update(alice, wild, account.AddressChanges{AddressData: account.AddressData{Name: new("W")}}); err != nil || row.Name != "W" {
		t.Errorf("%+v, %v", row, err)
	}
	_, err = update(alice, second, account.AddressChanges{Main: new(false)})
	wantCode(t, err, mail.CodeInvalid, nil)
	_, err = update(alice, wild, account.AddressChanges{Main: new(true)})
	wantCode(t, err, mail.CodeForbidden, account.ErrWildcardMain)
	_, err = update(alice, wild, account.AddressChanges{Address: new("x@wild.test")})
	wantCode(t, err, mail.CodeForbidden, account.ErrWildcardChange)
	_, err = update(alice, second, account.AddressChanges{Address: new("*@x.y")})
	wantCode(t, err, mail.CodeForbidden, account.ErrWildcardChange)
	_, err = update(alice, second, account.AddressChanges{Address: new("a+b@x.y")})
	wantCode(t, err, mail.CodeInvalid, nil)
	_, err = update(alice, second, account.AddressChanges{Address: new("b.ob@example.com")})
	wantCode(t, err, mail.CodeExists, account.ErrAddressTaken)
	_, err = update(bob, second, account.AddressChanges{Main: new(true)})
	wantCode(t, err, mail.CodeNotFound, nil)

	wantCode(t, e.DeleteAddress(t.Context(), alice.ID, second.ID), mail.CodeForbidden, nil)
	wantCode(t, e.DeleteAddress(t.Context(), bob.ID, wild.ID), mail.CodeNotFound, nil)
	if err := e.DeleteAddress(t.Context(), alice.ID, wild.ID); err != nil {
		t.Error(err)
	}
	wantCode(t, e.DeleteAddress(t.Context(), alice.ID, wild.ID), mail.CodeNotFound, nil)
}

func TestAccountAddressesPages(t *testing.T) {
	e := newEnv(t)
	a := e.create(t, account.NewUser{Username: "alice"})
	const n = 600
	for i := range n {
		if _, err := e.AddAddress(t.Context(), a.ID, account.NewAddress{Address: fmt.Sprintf("a%d@x.y", i)}); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := e.AccountAddresses(t.Context(), a.ID)
	if err != nil || len(rows) != n+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if !slices.IsSortedFunc(rows, func(a, b *mail.Address) int { return cmpString(a.View, b.View) }) {
		t.Error("not in order of views")
	}
	page, err := e.ListAddresses(t.Context(), store.AddressQuery{Contains: "A59", Limit: 5})
	if err != nil || page.Total != 11 || len(page.Addresses) != 5 {
		t.Errorf("%+v, %v", page, err)
	}
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestForwarded(t *testing.T) {
	e := newEnv(t)
	alice := e.create(t, account.NewUser{Username: "alice"})
	row, err := e.AddForwarded(t.Context(), account.NewForwarded{
		Address: "Sa.les@example.com", Targets: []string{"x@example.test", "smtps://mx.example.test"}, Forwards: 50, Autoreply: `{"status":true}`,
	})
	if err != nil || row.Address != "sa.les@example.com" || !row.Account.IsZero() || len(row.Targets) != 2 || row.Forwards != 50 {
		t.Fatalf("%+v, %v", row, err)
	}
	for name, in := range map[string]account.NewForwarded{
		"self":      {Address: "self@example.com", Targets: []string{"Se.lf+x@example.com"}},
		"target":    {Address: "t@example.com", Targets: []string{"nonsense"}},
		"plus":      {Address: "a+b@example.com"},
		"wildcard":  {Address: "*@fw.test"},
		"forwards":  {Address: "t@example.com", Forwards: -1},
		"autoreply": {Address: "t@example.com", Autoreply: "x"},
	} {
		if _, err := e.AddForwarded(t.Context(), in); mail.CodeOf(err) != mail.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = e.AddForwarded(t.Context(), account.NewForwarded{Address: "sales@example.com"})
	wantCode(t, err, mail.CodeExists, account.ErrAddressTaken)
	_, err = e.AddForwarded(t.Context(), account.NewForwarded{Address: "alice@example.com"})
	wantCode(t, err, mail.CodeExists, account.ErrAddressTaken)

	up, err := e.UpdateForwarded(t.Context(), row.ID, account.ForwardedChanges{
		Targets: []string{"y@example.test", "smtps://mx.example.test"}, Disabled: new(true), AddressData: account.AddressData{Name: new("Sales")},
	})
	if err != nil || up.Name != "Sales" || !up.ForwardedDisabled || up.Forwards != 50 || up.Autoreply == "" || up.Targets[1].ID != row.Targets[1].ID {
		t.Errorf("%+v, %v", up, err)
	}
	_, err = e.UpdateForwarded(t.Context(), row.ID, account.ForwardedChanges{Address: new("y@example.test")})
	wantCode(t, err, mail.CodeInvalid, nil) // its target
	_, err = e.UpdateForwarded(t.Context(), row.ID, account.ForwardedChanges{Address: new("*@example.test")})
	wantCode(t, err, mail.CodeForbidden, account.ErrWildcardChange)

	own, err := e.AccountAddresses(t.Context(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.UpdateForwarded(t.Context(), own[0].ID, account.ForwardedChanges{Disabled: new(true)})
	wantCode(t, err, mail.CodeNotFound, nil)
	wantCode(t, e.DeleteForwarded(t.Context(), own[0].ID), mail.CodeNotFound, nil)
	wantCode(t, e.DeleteAddress(t.Context(), mail.AccountID{}, row.ID), mail.CodeNotFound, nil)
	if err := e.DeleteForwarded(t.Context(), row.ID); err != nil {
		t.Error(err)
	}
	_, err = e.Resolve(t.Context(), "sales@example.com", false)
	wantCode(t, err, mail.CodeNotFound, nil)
}

// resolveEnv has one row of every kind.
func resolveEnv(t *testing.T, change ...func(*account.Options)) *env {
	e := newEnv(t, change...)
	a := e.create(t, account.NewUser{Username: "alice", Address: "a.lice@example.com"})
	for _, w := range []string{"*@wild.test", "abc*@wild.test", "*bcd@wild.test", "*d@wild.test", "roaming@*", "õ*@jõgeva.test", "info*@example.com", "*@alias2.test"} {
		if _, err := e.AddAddress(t.Context(), a.ID, account.NewAddress{Address: w, AllowWildcard: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.AddForwarded(t.Context(), account.NewForwarded{Address: "fwd@example.com", Targets: []string{"x@y.z"}}); err != nil {
		t.Fatal(err)
	}
	for alias, domain := range map[string]string{"Alias.TEST": "example.com", "alias2.test": "wild.test", "xn--lias-1oa.test": "jõgeva.test"} {
		if err := e.AddDomainAlias(t.Context(), alias, domain); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestResolve(t *testing.T) {
	e := resolveEnv(t)
	for _, tc := range []struct{ in, exact, wild string }{
		{"alice@example.com", "a.lice@example.com", "a.lice@example.com"},
		{"A.L.I.C.E+tag@Example.COM", "a.lice@example.com", "a.lice@example.com"},
		{"fwd+x@example.com", "fwd@example.com", "fwd@example.com"},
		{"alice@alias.test", "a.lice@example.com", "a.lice@example.com"},
		{"any@wild.test", "", "*@wild.test"},
		{"xbcd@wild.test", "", "*bcd@wild.test"},
		{"abcd@wild.test", "", "abc*@wild.test"}, // "abc*" ranks above "*bcd": one character longer
		{"abxd@wild.test", "", "*d@wild.test"},
		{"ab.cx@wild.test", "", "abc*@wild.test"},
		{"roaming@anywhere.test", "", "roaming@*"},
		{"ro.aming+x@anywhere.test", "", "roaming@*"},
		{"roaming@wild.test", "", "*@wild.test"},
		{"õx@xn--jgeva-dua.test", "", "õ*@jõgeva.test"},
		{"Õx@xn--lias-1oa.test", "", "õ*@jõgeva.test"},
		{"info.desk@alias.test", "", "info*@example.com"},
		{"abcx@alias2.test", "", "*@alias2.test"}, // its own domain before the one behind
		{"nobody@example.com", "", ""},
		{"", "", ""}, {"@", "", ""}, {"alice", "", ""}, {"@example.com", "", ""}, {"+x@wild.test", "", ""}, {"alice@", "", ""},
	} {
		for _, wildcard := range []bool{false, true} {
			want := tc.exact
			if wildcard {
				want = tc.wild
			}
			row, err := e.Resolve(t.Context(), tc.in, wildcard)
			got, gerr := e.ResolveRecipient(t.Context(), tc.in, wildcard)
			if want == "" {
				wantCode(t, err, mail.CodeNotFound, nil)
				wantCode(t, gerr, mail.CodeNotFound, nil)
				continue
			}
			if err != nil || gerr != nil || row.Address != want || got.Address.Address != want {
				t.Errorf("%q, wildcards %v: %+v, %v, %v, %v; want %s", tc.in, wildcard, row, got.Address, err, gerr, want)
				continue
			}
			if (got.Account == nil) != (want == "fwd@example.com") {
				t.Errorf("%q: account %v", tc.in, got.Account)
			}
		}
	}
	for _, pattern := range []string{"*@wild.test", "abc*@wild.test", "roaming@*"} {
		if row, err := e.Resolve(t.Context(), pattern, false); err != nil || row.Address != pattern {
			t.Errorf("Resolve(%q): %v, %v", pattern, row, err)
		}
		_, err := e.ResolveRecipient(t.Context(), pattern, true)
		wantCode(t, err, mail.CodeNotFound, nil)
	}
}

func TestDomainAlias(t *testing.T) {
	e := resolveEnv(t)
	wantCode(t, e.AddDomainAlias(t.Context(), "alias.TEST", "other.test"), mail.CodeExists, nil)
	wantCode(t, e.AddDomainAlias(t.Context(), "a b", "other.test"), mail.CodeInvalid, nil)
	wantCode(t, e.AddDomainAlias(t.Context(), "same.test", "SAME.test"), mail.CodeInvalid, nil)
	if d, err := e.DomainAlias(t.Context(), "ALIAS.test"); err != nil || d != "example.com" {
		t.Errorf("%q, %v", d, err)
	}
	if err := e.DeleteDomainAlias(t.Context(), "ALIAS.test"); err != nil {
		t.Error(err)
	}
	wantCode(t, e.DeleteDomainAlias(t.Context(), "alias.test"), mail.CodeNotFound, nil)
	_, err := e.ResolveRecipient(t.Context(), "alice@alias.test", true)
	wantCode(t, err, mail.CodeNotFound, nil)
}

// TestResolveCacheFollowsChanges makes each kind of change between two looks.
func TestResolveCacheFollowsChanges(t *testing.T) {
	e := resolveEnv(t, func(o *account.Options) { o.CacheTTL = time.Hour })
	ctx := t.Context()
	look := func(addr string) string {
		t.Helper()
		var first string
		for i := range 2 { // the second look may use the cache
			r, err := e.ResolveRecipient(ctx, addr, true)
			got := ""
			switch {
			case err == nil:
				got = r.Address.Address
			case mail.CodeOf(err) != mail.CodeNotFound:
				t.Fatal(err)
			}
			if i == 0 {
				first = got
			} else if got != first {
				t.Errorf("%s: %q, then %q", addr, first, got)
			}
		}
		return first
	}
	expect := func(addr, want string) {
		t.Helper()
		if got := look(addr); got != want {
			t.Errorf("%s goes to %q, want %q", addr, got, want)
		}
	}
	expect("new@wild.test", "*@wild.test")
	bob := e.create(t, account.NewUser{Username: "bob", Address: "new@wild.test"})
	expect("new@wild.test", "new@wild.test")
	if err := e.Delete(ctx, bob.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	expect("new@wild.test", "*@wild.test")
	f, err := e.AddForwarded(ctx, account.NewForwarded{Address: "new@wild.test", Targets: []string{"x@y.z"}})
	if err != nil {
		t.Fatal(err)
	}
	expect("new@wild.test", "new@wild.test")
	if _, err := e.UpdateForwarded(ctx, f.ID, account.ForwardedChanges{Address: new("newer@wild.test")}); err != nil {
		t.Fatal(err)
	}
	expect("new@wild.test", "*@wild.test")
	expect("newer@wild.test", "newer@wild.test")
	if err := e.DeleteForwarded(ctx, f.ID); err != nil {
		t.Fatal(err)
	}
	expect("newer@wild.test", "*@wild.test")
	expect("alice@late.test", "")
	if err := e.AddDomainAlias(ctx, "late.test", "example.com"); err != nil {
		t.Fatal(err)
	}
	expect("alice@late.test", "a.lice@example.com")
}

// TestResolveCacheOfAnotherProcess changes the store behind the service's back.
func TestResolveCacheOfAnotherProcess(t *testing.T) {
	e := newEnv(t, func(o *account.Options) { o.CacheTTL = 10 * time.Second })
	other := newEnv(t, func(o *account.Options) { o.Store = e.db })
	ctx := t.Context()
	if _, err := e.ResolveRecipient(ctx, "alice@example.com", false); mail.CodeOf(err) != mail.CodeNotFound {
		t.Fatal(err)
	}
	alice := other.create(t, account.NewUser{Username: "alice"})
	extra, err := other.AddAddress(ctx, alice.ID, account.NewAddress{Address: "extra@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.ResolveRecipient(ctx, "alice@example.com", false)
	if err != nil || r.Account.ID != alice.ID {
		t.Fatalf("a new address was not found at once: %v", err)
	}
	if _, err := other.Update(ctx, alice.ID, account.Changes{Disabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	if r, err = e.ResolveRecipient(ctx, "alice@example.com", false); err != nil || !r.Account.Disabled {
		t.Errorf("the account came from a cache: %+v, %v", r.Account, err)
	}
	if _, err := e.ResolveRecipient(ctx, "extra@example.com", false); err != nil {
		t.Fatal(err)
	}
	if err := other.DeleteAddress(ctx, alice.ID, extra.ID); err != nil {
		t.Fatal(err)
	}
	e.clock.advance(10 * time.Second)
	_, err = e.ResolveRecipient(ctx, "extra@example.com", false)
	wantCode(t, err, mail.CodeNotFound, nil)
	if err := other.Delete(ctx, alice.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	_, err = e.ResolveRecipient(ctx, "alice@example.com", false)
	wantCode(t, err, mail.CodeNotFound, nil)
}

// TestResolveCacheRace deletes an address while it is being looked up all the
// time: once the delete has returned it must not come back from the cache.
func TestResolveCacheRace(t *testing.T) {
	e := newEnv(t, func(o *account.Options) { o.CacheTTL, o.CacheSize = time.Hour, 2 })
	a := e.create(t, account.NewUser{Username: "alice"})
	ctx := t.Context()
	for i := range 200 {
		row, err := e.AddAddress(ctx, a.ID, account.NewAddress{Address: "x@y.z"})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = e.ResolveRecipient(ctx, "x@y.z", i%2 == 0) })
		}
		if err := e.DeleteAddress(ctx, a.ID, row.ID); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		_, err = e.ResolveRecipient(ctx, "x@y.z", i%2 == 0)
		if mail.CodeOf(err) != mail.CodeNotFound {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

// hooked calls a function once at a chosen moment inside the store.
type hooked struct {
	*memstore.Store
	afterLookup, beforeCreate func()
}

func (h *hooked) AddressesByView(ctx context.Context, views ...string) ([]*mail.Address, error) {
	rows, err := h.Store.AddressesByView(ctx, views...)
	if f := h.afterLookup; f != nil {
		h.afterLookup = nil
		f()
	}
	return rows, err
}

func (h *hooked) CreateAccount(ctx context.Context, in store.NewAccount) (*mail.Account, error) {
	if f := h.beforeCreate; f != nil {
		h.beforeCreate = nil
		f()
	}
	return h.Store.CreateAccount(ctx, in)
}

// TestChangeBetweenLookupAndCache deletes an address when its row has just been read.
func TestChangeBetweenLookupAndCache(t *testing.T) {
	h := &hooked{Store: memstore.New(memstore.Options{})}
	e := newEnv(t, func(o *account.Options) { o.Store, o.CacheTTL = h, time.Hour })
	a := e.create(t, account.NewUser{Username: "alice"})
	row, err := e.AddAddress(t.Context(), a.ID, account.NewAddress{Address: "x@y.z"})
	if err != nil {
		t.Fatal(err)
	}
	h.afterLookup = func() {
		if err := e.DeleteAddress(t.Context(), a.ID, row.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.ResolveRecipient(t.Context(), "x@y.z", false); err != nil {
		t.Errorf("the answer of before the change: %v", err)
	}
	_, err = e.ResolveRecipient(t.Context(), "x@y.z", false)
	wantCode(t, err, mail.CodeNotFound, nil)
}

// TestTakenMeanwhile has another create win between the look and the store.
func TestTakenMeanwhile(t *testing.T) {
	for want, in := range map[error]account.NewUser{
		account.ErrUsernameTaken: {Username: "a.lice", NoAddress: true},
		account.ErrAddressTaken:  {Username: "other", Address: "a.lice@example.com"},
	} {
		h := &hooked{Store: memstore.New(memstore.Options{})}
		e := newEnv(t, func(o *account.Options) { o.Store = h })
		h.beforeCreate = func() { e.create(t, account.NewUser{Username: "alice"}) }
		_, err := e.Create(t.Context(), in)
		wantCode(t, err, mail.CodeExists, want)
	}
}

func TestStoreTroubleIsNotUnknownAddress(t *testing.T) {
	trouble := mail.NewError(mail.CodeUnavailable, "later")
	var broken string
	db := memstore.New(memstore.Options{Fault: func(op string) error {
		if op == broken {
			return trouble
		}
		return nil
	}})
	e := newEnv(t, func(o *account.Options) { o.Store, o.CacheTTL = db, -1 })
	e.create(t, account.NewUser{Username: "alice"})
	for _, broken = range []string{"AddressesByView", "DomainAlias", "Account"} {
		addr := "alice@example.com"
		if broken == "DomainAlias" {
			addr = "nobody@example.com"
		}
		_, err := e.ResolveRecipient(t.Context(), addr, true)
		wantCode(t, err, mail.CodeUnavailable, nil)
		_, err = e.FindLogin(t.Context(), addr)
		wantCode(t, err, mail.CodeUnavailable, nil)
	}
	for _, broken = range []string{"AccountByName", "AddressesByView", "CreateAccount"} {
		_, err := e.Create(t.Context(), account.NewUser{Username: "bob"})
		wantCode(t, err, mail.CodeUnavailable, nil)
	}
	broken = "Record"
	if _, err := e.Settings(t.Context()); !errors.Is(err, trouble) {
		t.Errorf("settings: %v", err)
	}
}

func TestSettings(t *testing.T) {
	e := newEnv(t, func(o *account.Options) {
		o.Settings = account.Settings{MaxStorage: 5000, IMAPMaxConnections: 3}
		o.CacheTTL = 10 * time.Second
	})
	other := newEnv(t, func(o *account.Options) { o.Store = e.db })
	ctx := t.Context()
	a := e.create(t, account.NewUser{Username: "alice", Profile: account.Profile{Filters: new(int64(1))}})
	limits := func() account.Limits {
		t.Helper()
		l, err := e.Limits(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := limits(); l.Quota != 5000 || l.Filters != 1 || l.Recipients != 2000 || l.IMAPMaxConnections != 3 || l.Mailboxes != 1500 || l.IMAPMaxUpload != 10<<30 {
		t.Errorf("%+v", l)
	}
	if err := e.SetSetting(ctx, "const:max:storage", 7000); err != nil {
		t.Fatal(err)
	}
	if l := limits(); l.Quota != 7000 {
		t.Errorf("a setting is not in force at once: %+v", l)
	}
	if err := other.SetSetting(ctx, "const:max:storage", 8000); err != nil {
		t.Fatal(err)
	}
	e.clock.advance(10 * time.Second)
	if l := limits(); l.Quota != 8000 {
		t.Errorf("another process's setting is not in force: %+v", l)
	}
	if err := e.SetSetting(ctx, "const:max:storage", 0); err != nil || limits().Quota != 5000 {
		t.Errorf("back to the configuration: %v", err)
	}
	for _, damaged := range []string{"", "x", `"2000"`, "-5", "0", "1e300", "0.5", "null", "{}"} {
		if err := e.db.PutRecord(ctx, "setting", "const:max:forwards", []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		e.clock.advance(10 * time.Second)
		if l := limits(); l.Forwards != 2000 {
			t.Errorf("setting %q gave %d", damaged, l.Forwards)
		}
	}
	wantCode(t, e.SetSetting(ctx, "const:nosuch", 1), mail.CodeNotFound, nil)
	wantCode(t, e.SetSetting(ctx, "const:max:storage", -1), mail.CodeInvalid, nil)
	wantCode(t, e.SetSetting(ctx, "const:max:storage", 1<<53), mail.CodeInvalid, nil)
	for _, k := range account.SettingKeys() {
		if v, ok := account.DefaultSettings().Value(k); !ok || v <= 0 {
			t.Errorf("%s: %d, %v", k, v, ok)
		}
	}
	if !slices.IsSorted(account.SettingKeys()) {
		t.Error("keys are not in order")
	}
}
