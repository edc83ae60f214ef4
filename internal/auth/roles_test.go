package auth_test

import (
	"slices"
	"strings"
	"testing"

	"mallard/internal/auth"
)

func TestDefaultRoles(t *testing.T) {
	r := auth.DefaultRoles()
	for _, tc := range []struct {
		role, resource string
		any, own       string // the letters of the actions that are allowed
	}{
		{"root", "users", "CRUD", "CRUD"},
		{"root", "userlisting", "R", "R"},
		{"root", "asps", "CRD", "CRD"},
		{"root", "authentication", "CR", "CR"},
		{"root", "settings", "CRUD", "CRUD"},
		{"root", "audit", "", ""},
		{"root", "export", "", ""},
		{"root", "import", "", ""},
		{"manager", "users", "CRUD", "CRUD"},
		{"manager", "messages", "", ""},
		{"manager", "mailboxes", "", ""},
		{"manager", "settings", "", ""},
		{"webmail", "users", "RU", "RU"},
		{"webmail", "messages", "CRUD", "CRUD"},
		{"webmail", "certs", "", ""},
		{"webmail", "addresslisting", "", ""},
		{"user", "users", "", "RU"},
		{"user", "userlisting", "", "R"},
		{"user", "addresslisting", "", "R"},
		{"user", "addresses", "", "CRUD"},
		{"user", "authentication", "", "CR"},
		{"user", "asps", "", "CRD"},
		{"user", "messages", "", "CRUD"},
		{"user", "webhooks", "", "R"},
		{"user", "domainaliases", "", ""},
		{"user", "settings", "", ""},
		{"auth", "authentication", "C", "C"},
		{"auth", "users", "", ""},
		{"tokenAuth", "authentication", "C", "C"},
		{"attachments", "attachments", "R", "R"},
		{"audit", "users", "R", "R"},
		{"audit", "audit", "CRUD", "CRUD"},
		{"auditclient", "audit", "R", "R"},
		{"export", "export", "C", "C"},
		{"export", "import", "C", "C"},
		{"settings", "settings", "CRUD", "CRUD"},
		{"downloader", "messages", "R", "R"},
		{"downloader", "users", "", ""},
		{"nobody", "users", "", ""},
		{"", "", "", ""},
	} {
		for letter, action := range map[string]string{"C": auth.Create, "R": auth.Read, "U": auth.Update, "D": auth.Delete} {
			if _, ok := r.Can(tc.role, tc.resource, action, false); ok != strings.Contains(tc.any, letter) {
				t.Errorf("%s, %s any %s: %v", tc.role, action, tc.resource, ok)
			}
			if _, ok := r.Can(tc.role, tc.resource, action, true); ok != strings.Contains(tc.own, letter) {
				t.Errorf("%s, %s own %s: %v", tc.role, action, tc.resource, ok)
			}
		}
	}
	if !r.Has("user") || r.Has("nobody") {
		t.Error("Has")
	}
}

func TestFilters(t *testing.T) {
	r := auth.DefaultRoles()
	for _, tc := range []struct {
		role, resource, action string
		yes, no                []string
		all                    bool
	}{
		{"root", "users", auth.Read, []string{"tags", "internalData"}, nil, true},
		{"auth", "authentication", auth.Create, []string{"username"}, []string{"token"}, false},
		{"user", "users", auth.Read, []string{"name", "metaData"}, []string{"tags", "disabledScopes", "internalData"}, false},
		{"user", "users", auth.Update, []string{"password", "name", "disable2fa", "ip"}, []string{"quota", "suspended", "disabledScopes", "tags", "internalData", "disabled"}, false},
		{"user", "addresses", auth.Create, []string{"address"}, []string{"internalData"}, false},
		{"user", "addresses", auth.Delete, []string{"internalData"}, nil, true},
	} {
		f, ok := r.Can(tc.role, tc.resource, tc.action, true)
		if !ok || f.All() != tc.all {
			t.Errorf("%s %s %s: %v, all %v", tc.role, tc.action, tc.resource, ok, f.All())
		}
		for _, name := range tc.yes {
			if !f.Allows(name) {
				t.Errorf("%s may not %s %s of %s", tc.role, tc.action, name, tc.resource)
			}
		}
		for _, name := range tc.no {
			if f.Allows(name) {
				t.Errorf("%s may %s %s of %s", tc.role, tc.action, name, tc.resource)
			}
		}
	}
	if f := auth.Everything(); !f.All() || !f.Allows("x") {
		t.Error("Everything leaves something out")
	}
	var none auth.Filter
	if none.Allows("x") || none.All() {
		t.Error("the zero filter allows something")
	}
}

func TestParseRoles(t *testing.T) {
	r, err := auth.ParseRoles([]byte(`{"helper": {"users": {"read:any": ["*", "!metaData"], "update:own": ["name"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := r.Can("helper", "users", auth.Read, false); !ok || f.Allows("metaData") || !f.Allows("name") {
		t.Errorf("%v, %v", f, ok)
	}
	if _, ok := r.Can("helper", "users", auth.Update, false); ok {
		t.Error("own is any")
	}
	if r.Has("root") {
		t.Error("the default roles are still there")
	}
	for _, bad := range []string{``, `[]`, `{"a":{"b":{"read":["*"]}}}`, `{"a":{"b":{"see:any":["*"]}}}`, `{"a":{"b":{"read:all":["*"]}}}`, `{"a":{"b":{"read:any":[""]}}}`, `{"a":{"b":{"read:any":["!"]}}}`, `{"a":1}`} {
		if r, err := auth.ParseRoles([]byte(bad)); err == nil {
			t.Errorf("%s was read as %v", bad, r)
		}
	}
}

func FuzzParseRoles(f *testing.F) {
	f.Add([]byte(`{"helper": {"users": {"read:any": ["*", "!metaData"]}}}`))
	f.Add([]byte(`{"a":{"b":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := auth.ParseRoles(text)
		if err != nil {
			return
		}
		for role := range r {
			for resource := range r[role] {
				fl, ok := r.Can(role, resource, auth.Read, false)
				if ok && !slices.Contains(r[role][resource]["read:any"], "*") && fl.All() {
					t.Errorf("%s: all of %s", role, resource)
				}
			}
		}
	})
}
