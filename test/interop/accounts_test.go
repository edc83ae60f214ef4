//go:build e2e

package interop

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// accounts: what is made or changed by one node holds on the other at once.
func (e *env) accounts(t *testing.T) {
	t.Run("used by both", func(t *testing.T) { e.each(t, usedByBoth) })
	t.Run("changed", func(t *testing.T) { e.each(t, changedOnOther) })
	t.Run("deleted", func(t *testing.T) { e.each(t, deletedOnOther) })
	t.Run("addresses", func(t *testing.T) { e.each(t, addressesOnOther) })
	t.Run("mailboxes", func(t *testing.T) { e.each(t, mailboxesOnOther) })
	t.Run("tokens", func(t *testing.T) { e.each(t, tokensOnOther) })
	t.Run("sessions end", func(t *testing.T) { e.each(t, sessionsEnd) })
	t.Run("same names", func(t *testing.T) { e.each(t, sameNames) })
}

func usedByBoth(t *testing.T, from, to *node) {
	u := from.user(t, answer{"name": "Jörg Ünïcode", "quota": 50_000_000, "tags": []string{"Beta", "alpha"}, "metaData": answer{"a": 1}})
	for _, n := range []*node{from, to} {
		n.login(t, u)
		n.loginFails(t, u.name, "wrong")
		if a := n.must(t, http.MethodPost, "/authenticate", answer{"username": u.address, "password": u.password}); a.str("id") != u.id {
			t.Errorf("%s authenticates %v, want id %s", n.name, a, u.id)
		}
		if a := n.must(t, http.MethodGet, "/users/resolve/"+u.name, nil); a.str("id") != u.id {
			t.Errorf("%s resolves %v, want %s", n.name, a, u.id)
		}
		a := n.must(t, http.MethodGet, u.path(""), nil)
		if a.str("name") != "Jörg Ünïcode" || a.str("address") != u.address || a.obj("limits").obj("quota").num("allowed") != 50_000_000 ||
			fmt.Sprint(a["tags"]) != "[alpha Beta]" || fmt.Sprint(a["metaData"]) != "map[a:1]" {
			t.Errorf("%s: user is %v", n.name, a)
		}
	}
	want := fmt.Sprint(from.login(t, u).Mailboxes())
	if got := fmt.Sprint(to.login(t, u).Mailboxes()); got != want {
		t.Errorf("%s lists %s, %s %s", to.name, got, from.name, want)
	}
}

func changedOnOther(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	to.login(t, u) // whatever it caches is cached now
	to.must(t, http.MethodGet, u.path(""), nil)
	from.must(t, http.MethodPut, u.path(""), answer{"name": "New Name", "quota": 12345678, "password": "changed-1"})
	a := to.must(t, http.MethodGet, u.path(""), nil)
	if a.str("name") != "New Name" || a.obj("limits").obj("quota").num("allowed") != 12345678 {
		t.Errorf("%s: user is %v", to.name, a)
	}
	to.loginFails(t, u.name, u.password)
	u.password = "changed-1"
	to.login(t, u)
	from.must(t, http.MethodPut, u.path(""), answer{"disabledScopes": []string{"imap"}})
	to.loginFails(t, u.name, u.password)
	from.must(t, http.MethodPut, u.path(""), answer{"disabledScopes": []string{}})
	to.login(t, u)
	from.must(t, http.MethodPut, u.path(""), answer{"suspended": true})
	to.loginFails(t, u.name, u.password)
	from.must(t, http.MethodPut, u.path(""), answer{"suspended": false})
	to.login(t, u)
	from.must(t, http.MethodPut, u.path(""), answer{"disabled": true})
	to.loginFails(t, u.name, u.password)
}

func deletedOnOther(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	to.login(t, u)
	from.must(t, http.MethodDelete, u.path(""), nil)
	to.loginFails(t, u.name, u.password)
	if status, a := to.try(t, http.MethodGet, u.path(""), nil); status != http.StatusNotFound {
		t.Errorf("%s: user is %d %v", to.name, status, a)
	}
	if errs := to.send(u.address, simple("to a deleted user")); errs[0] == nil {
		t.Errorf("%s takes mail for a deleted user", to.name)
	}
	// The name is free again, on either node.
	if a := to.must(t, http.MethodPost, "/users", answer{"username": u.name, "password": "secret", "address": u.address}); a.str("id") == u.id {
		t.Errorf("%s gives the id again", to.name)
	}
}

func addressesOnOther(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	extra := "Extra.Dotted." + u.name + "@interop.test"
	id := from.must(t, http.MethodPost, u.path("/addresses"), answer{"address": extra, "name": "Extra"}).str("id")
	for _, form := range []string{extra, strings.ReplaceAll(extra[:strings.Index(extra, "@")], ".", "") + "+label@INTEROP.test"} {
		to.deliver(t, form, simple("to "+form))
	}
	s := to.login(t, u)
	if n := len(s.Messages("INBOX")); n != 2 {
		t.Errorf("%d messages", n)
	}
	a := to.must(t, http.MethodGet, u.path("/addresses/%s", id), nil)
	if a.str("address") != strings.ToLower(extra) || a.str("name") != "Extra" || a["main"] != false {
		t.Errorf("%s: address is %v", to.name, a)
	}
	to.must(t, http.MethodPut, u.path("/addresses/%s", id), answer{"main": true})
	if a := from.must(t, http.MethodGet, u.path(""), nil); a.str("address") != strings.ToLower(extra) {
		t.Errorf("%s: main address is %v", from.name, a)
	}
	for _, n := range []*node{from, to} { // one login name for another address, as they are on both
		n.must(t, http.MethodPost, "/authenticate", answer{"username": extra, "password": u.password})
	}
	old := from.must(t, http.MethodGet, u.path("/addresses"), nil).list("results")
	for _, a := range old {
		if a.str("address") == u.address {
			to.must(t, http.MethodDelete, u.path("/addresses/%s", a.str("id")), nil)
		}
	}
	if errs := from.send(u.address, simple("to an address that is gone")); errs[0] == nil {
		t.Errorf("%s takes mail for an address that is gone", from.name)
	}
}

func mailboxesOnOther(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	f, s := from.login(t, u), to.login(t, u)
	f.OK(`CREATE "Projects/&APw-ber"`)
	id := to.made(t, u, "Projects/über")
	s.Expect(s.OK(`LIST "" "Projects/*"`), `Projects/&APw-ber`)
	to.must(t, http.MethodPut, u.path("/mailboxes/%s", id), answer{"path": "Renamed", "retention": 1000_000, "subscribed": false})
	f.Expect(f.OK(`LIST "" "Renamed"`), `Renamed`)
	a := from.must(t, http.MethodGet, u.path("/mailboxes/%s", id), nil)
	if a.str("path") != "Renamed" || a.num("retention") != 1000_000 || a["subscribed"] != false {
		t.Errorf("%s: mailbox is %v", from.name, a)
	}
	uidvalidity := `UIDVALIDITY (\d+)`
	if f, s := f.Expect(f.OK(`STATUS Renamed (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)`), uidvalidity)[1], s.Expect(s.OK(`STATUS Renamed (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)`), uidvalidity)[1]; f != s {
		t.Errorf("UIDVALIDITY %s and %s", f, s)
	}
	f.OK("SUBSCRIBE Renamed")
	s.Expect(s.OK(`LSUB "" "*"`), `Renamed`)
	to.must(t, http.MethodDelete, u.path("/mailboxes/%s", id), nil)
	if _, status := f.Do("SELECT Renamed"); !strings.HasPrefix(status, "NO") {
		t.Errorf("%s: SELECT of a deleted mailbox: %s", from.name, status)
	}
	// The same name again is another mailbox on both.
	s.OK("CREATE Renamed")
	if again := from.made(t, u, "Renamed"); again == id {
		t.Errorf("the new mailbox has the id of the old one")
	}
}

func tokensOnOther(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	token := from.must(t, http.MethodPost, "/authenticate", answer{"username": u.name, "password": u.password, "token": true}).str("token")
	if len(token) != 40 {
		t.Fatalf("%s gives the token %q", from.name, token)
	}
	if status, a := to.tryAs(t, token, http.MethodGet, "/users/me", nil); status != http.StatusOK || a.str("id") != u.id {
		t.Errorf("%s with the token of %s: %d %v", to.name, from.name, status, a)
	}
	other := from.user(t, nil)
	if status, a := to.tryAs(t, token, http.MethodGet, other.path(""), nil); status != http.StatusForbidden {
		t.Errorf("%s shows another user: %d %v", to.name, status, a)
	}
	if status, a := to.tryAs(t, token, http.MethodDelete, "/authenticate", nil); status != http.StatusOK {
		t.Errorf("%s ends the token: %d %v", to.name, status, a)
	}
	if status, a := from.tryAs(t, token, http.MethodGet, "/users/me", nil); status == http.StatusOK {
		t.Errorf("%s takes a token that has ended: %v", from.name, a)
	}
	token = from.must(t, http.MethodPost, "/authenticate", answer{"username": u.name, "password": u.password, "token": true}).str("token")
	to.must(t, http.MethodPut, u.path(""), answer{"password": "another"})
	for _, n := range []*node{from, to} {
		if status, a := n.tryAs(t, token, http.MethodGet, "/users/me", nil); status == http.StatusOK {
			t.Errorf("%s takes a token from before the password was changed: %v", n.name, a)
		}
	}
}

func sessionsEnd(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	idle := to.startIdle(t, u, "INBOX")
	from.must(t, http.MethodPut, u.path("/logout"), answer{"reason": "So long"})
	idle.wait(`^\* BYE .*So long`)
	idle = to.startIdle(t, u, "INBOX")
	from.must(t, http.MethodPut, u.path(""), answer{"password": "another"})
	idle.wait(`^\* BYE`)
	u.password = "another"
	open := from.must(t, http.MethodPost, u.path("/mailboxes"), answer{"path": "Open"}).str("id")
	to.stored(t, u, open)
	idle = to.startIdle(t, u, "Open")
	from.must(t, http.MethodDelete, u.path("/mailboxes/%s", open), nil)
	idle.wait(`^\* BYE`)
}

// sameNames: what is taken is taken on both, in every spelling.
func sameNames(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	for _, name := range []string{u.name, strings.ToUpper(u.name), u.name[:2] + "." + u.name[2:]} {
		if status, a := to.try(t, http.MethodPost, "/users", answer{"username": name, "password": "x", "emptyAddress": true}); status == http.StatusOK {
			t.Errorf("%s makes %s: %v", to.name, name, a)
		}
	}
	other := to.user(t, nil)
	if status, a := to.try(t, http.MethodPost, other.path("/addresses"), answer{"address": u.name[:2] + "." + u.name[2:] + "@interop.test"}); status == http.StatusOK {
		t.Errorf("%s gives the address again: %v", to.name, a)
	}
	if _, status := harness.Dial(t, to.imap).Do(fmt.Sprintf("LOGIN %q %q", strings.ToUpper(u.name[:1])+u.name[1:2]+"."+u.name[2:], u.password)); !strings.HasPrefix(status, "OK") {
		t.Errorf("%s: login with dots and capitals: %s", to.name, status)
	}
}
