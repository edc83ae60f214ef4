//go:build e2e

package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/test/e2e/harness"
)

// passwords: every format of hash that WildDuck takes works on both, and stays usable by the one after the other has
// hashed the password anew.
func (e *env) passwords(t *testing.T) {
	t.Run("hashes", func(t *testing.T) {
		e.each(t, func(t *testing.T, from, to *node) {
			for format, hash := range hashes(t) {
				t.Run(strings.ReplaceAll(format, "$", ""), func(t *testing.T) { e.hash(t, from, to, hash) })
			}
		})
	})
	t.Run("temporary", func(t *testing.T) { e.each(t, temporaryPassword) })
	t.Run("application", func(t *testing.T) { e.each(t, e.applicationPassword) })
	t.Run("second factor", func(t *testing.T) { e.each(t, e.secondFactor) })
}

// hashes of the password "secret", one of each format, made by tools of others.
func hashes(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(), "internal", "auth", "password", "testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Password, Hash string }
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, v := range vectors {
		format := "des"
		if strings.HasPrefix(v.Hash, "$") {
			format = strings.Join(strings.Split(v.Hash, "$")[:2], "$")
		}
		if v.Password == "secret" && all[format] == "" {
			all[format] = v.Hash
		}
	}
	if len(all) < 12 {
		t.Fatalf("only %v", all)
	}
	return all
}

func (e *env) hash(t *testing.T, from, to *node, hash string) {
	u := from.user(t, answer{"password": hash, "hashedPassword": true})
	u.password = "secret"
	to.loginFails(t, u.name, "wrong")
	to.login(t, u)
	from.login(t, u) // what the other has hashed anew
	var doc struct{ Password string }
	if err := e.users.Collection("users").FindOne(t.Context(), bson.D{{Key: "username", Value: u.name}}).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.Password, "$pbkdf2-sha256$i=100000$") && !strings.HasPrefix(doc.Password, "$pbkdf2-sha512$i=1") {
		t.Errorf("the hash is now %s", doc.Password)
	}
}

// temporaryPassword made by one node is taken by the other, for the API alone, and asks for a new one.
func temporaryPassword(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	temporary := from.must(t, http.MethodPost, u.path("/password/reset"), answer{}).str("password")
	a := to.must(t, http.MethodPost, "/authenticate", answer{"username": u.name, "password": temporary})
	if a["requirePasswordChange"] != true {
		t.Errorf("%s: %v", to.name, a)
	}
	to.loginFails(t, u.name, temporary)
}

// applicationPassword: the document is written as WildDuck's API writes it, when only one node has the call.
func (e *env) applicationPassword(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	status, a := from.try(t, http.MethodPost, u.path("/asps"), answer{"description": "phone", "scopes": []string{"imap"}})
	if status == http.StatusNotFound && from == e.mallard { // docs/api.md lists the calls that are there
		a = to.must(t, http.MethodPost, u.path("/asps"), answer{"description": "phone", "scopes": []string{"imap"}})
	} else if status != http.StatusOK {
		t.Fatalf("%s: %d %v", from.name, status, a)
	}
	spaced := a.str("password")
	if len(spaced) != 16 {
		t.Fatalf("the password is %q", spaced)
	}
	for _, n := range []*node{from, to} {
		n.login(t, user{name: u.name, password: spaced[:4] + " " + strings.ToUpper(spaced[4:])})
		if status, a := n.try(t, http.MethodPost, "/authenticate", answer{"username": u.name, "password": spaced}); status == http.StatusOK {
			t.Errorf("%s takes it for the API: %v", n.name, a)
		}
	}
	pop3 := to.must(t, http.MethodPost, "/authenticate", answer{"username": u.name, "password": u.password})
	if pop3.str("id") != u.id {
		t.Errorf("%s: the main password gives %v", to.name, pop3)
	}
}

// secondFactor: with one, the main password does not work for IMAP on either node.
func (e *env) secondFactor(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	to.login(t, u)
	enable := from
	if status, a := from.try(t, http.MethodPut, u.path("/2fa/custom"), answer{}); status == http.StatusNotFound && from == e.mallard {
		enable = to
		enable.must(t, http.MethodPut, u.path("/2fa/custom"), answer{})
	} else if status != http.StatusOK {
		t.Fatalf("%s: %d %v", from.name, status, a)
	}
	for _, n := range []*node{from, to} {
		n.loginFails(t, u.name, u.password)
		a := n.must(t, http.MethodPost, "/preauth", answer{"username": u.name})
		methods, _ := a["require2fa"].([]any)
		if !slices.Contains(methods, "custom") {
			t.Errorf("%s: %s", n.name, fmt.Sprint(a))
		}
	}
}
