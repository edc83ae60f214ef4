package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Roles says what roles may do: role, resource, "action:own" or "action:any",
// attributes. The attribute "*" is all of them, "!name" all but that one, "name"
// that one. The form is that of WildDuck's file of roles.
type Roles map[string]map[string]map[string][]string

// The roles that Mallard itself hands out.
const (
	RoleRoot = "root"
	RoleUser = "user"
)

// The actions of a role.
const (
	Create = "create"
	Read   = "read"
	Update = "update"
	Delete = "delete"
)

// Filter is the set of attributes of a resource that a permission covers. The zero
// value covers none.
type Filter struct {
	attrs []string
}

// Everything is the filter that leaves nothing out.
func Everything() Filter { return Filter{attrs: []string{"*"}} }

// Allows reports whether the attribute may be read or written.
func (f Filter) Allows(name string) bool {
	if slices.Contains(f.attrs, "!"+name) {
		return false
	}
	return slices.Contains(f.attrs, "*") || slices.Contains(f.attrs, name)
}

// All reports whether nothing is left out.
func (f Filter) All() bool { return len(f.attrs) == 1 && f.attrs[0] == "*" }

// Has reports whether there is such a role.
func (r Roles) Has(role string) bool {
	_, ok := r[role]
	return ok
}

// Can reports whether a role may do this: own asks about things that belong to the
// caller, else it is about anybody's. The filter says which attributes it covers.
// Whoever may touch anybody's things may touch their own.
func (r Roles) Can(role, resource, action string, own bool) (Filter, bool) {
	actions := r[role][resource]
	if attrs, ok := actions[action+":any"]; ok {
		return Filter{attrs: attrs}, true
	}
	if attrs, ok := actions[action+":own"]; ok && own {
		return Filter{attrs: attrs}, true
	}
	return Filter{}, false
}

// ParseRoles reads a file of roles (JSON). It replaces DefaultRoles as a whole.
func ParseRoles(text []byte) (Roles, error) {
	var r Roles
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	for role, resources := range r {
		for resource, actions := range resources {
			for a, attrs := range actions {
				if err := checkAction(a, attrs); err != nil {
					return nil, fmt.Errorf("read roles: %s, %s: %w", role, resource, err)
				}
			}
		}
	}
	return r, nil
}

func checkAction(action string, attrs []string) error {
	verb, whose, _ := strings.Cut(action, ":")
	if !slices.Contains([]string{Create, Read, Update, Delete}, verb) || whose != "own" && whose != "any" {
		return fmt.Errorf(`%q is not one of create, read, update, delete with ":own" or ":any"`, action)
	}
	for _, a := range attrs {
		if a == "" || a == "!" {
			return fmt.Errorf("%q has an empty attribute", action)
		}
	}
	return nil
}

// DefaultRoles returns the roles that are in force when nothing else is configured.
func DefaultRoles() Roles {
	const (
		admin = "addresslisting:R userlisting:R addresses:CRUD users:CRUD authentication:CR autoreplies:CRUD filters:CRUD asps:CRD " +
			"certs:CRUD dkim:CRUD domainaccess:CRUD domainaliases:CRUD webhooks:CRUD"
		content = " messages:CRUD attachments:CRUD storage:CRUD mailboxes:CRUD"
		webmail = "addresses:CRUD autoreplies:CRUD filters:CRUD domainaccess:CRUD webhooks:CRUD authentication:CR users:RU asps:CRD"
		self    = "addresses:D authentication:CR asps:CRD autoreplies:CRUD filters:CRUD webhooks:R"
	)
	r := Roles{}
	r.grant("root", "any", admin+content+" settings:CRUD", "*")
	r.grant("manager", "any", admin, "*")
	r.grant("webmail", "any", webmail+content, "*")
	r.grant("auth", "any", "authentication:C", "*", "!token")
	r.grant("tokenAuth", "any", "authentication:C", "*")
	r.grant("attachments", "any", "attachments:R", "*")
	r.grant("audit", "any", "users:R audit:CRUD", "*")
	r.grant("auditclient", "any", "audit:R", "*")
	r.grant("export", "any", "export:C import:C", "*")
	r.grant("settings", "any", "settings:CRUD", "*")
	r.grant("downloader", "any", "messages:R", "*")
	r.grant("user", "own", self+content, "*")
	r.grant("user", "own", "addresslisting:R addresses:CRU", "*", "!internalData")
	r.grant("user", "own", "userlisting:R users:R", "*", "!tags", "!disabledScopes", "!internalData")
	r.grant("user", "own", "users:U", "user", "existingPassword", "password", "allowUnsafe", "language", "name", "targets", "mtaRelay",
		"spamLevel", "uploadSentMessages", "metaData", "pubKey", "smimeCerts", "smimeCipher", "smimeKeyTransport", "encryptMessages",
		"encryptForwarded", "retention", "disable2fa", "protocol", "sess", "ip")
	return r
}

// grant adds permissions: "resource:CRUD resource:R", the letters being actions.
func (r Roles) grant(role, whose, list string, attrs ...string) {
	verbs := map[rune]string{'C': Create, 'R': Read, 'U': Update, 'D': Delete}
	if r[role] == nil {
		r[role] = map[string]map[string][]string{}
	}
	for entry := range strings.FieldsSeq(list) {
		resource, letters, _ := strings.Cut(entry, ":")
		if r[role][resource] == nil {
			r[role][resource] = map[string][]string{}
		}
		for _, l := range letters {
			r[role][resource][verbs[l]+":"+whose] = attrs
		}
	}
}
