package httpapi

import (
	"slices"
	"strings"
)

// Roles says what roles may do: role, resource, "action:own" or "action:any",
// attributes. The attribute "*" is all, "!name" all but that one. It has the
// form of the roles file of WildDuck.
type Roles map[string]map[string]map[string][]string

// grant is what a role may do with a resource: which attributes of it.
type grant struct {
	own   bool // of the caller's own things only
	attrs []string
}

// find returns the grant for any, else for own.
func (r Roles) find(role, resource, action string) (grant, bool) {
	actions := r[role][resource]
	if attrs, ok := actions[action+":any"]; ok {
		return grant{attrs: attrs}, true
	}
	if attrs, ok := actions[action+":own"]; ok {
		return grant{own: true, attrs: attrs}, true
	}
	return grant{}, false
}

// limited reports whether the grant leaves attributes out.
func (g grant) limited() bool { return g.attrs != nil && !slices.Equal(g.attrs, []string{"*"}) }

// allows reports whether an attribute may be read or written.
func (g grant) allows(name string) bool {
	if !g.limited() {
		return true
	}
	if slices.Contains(g.attrs, "!"+name) {
		return false
	}
	return slices.Contains(g.attrs, "*") || slices.Contains(g.attrs, name)
}

// DefaultRoles returns the roles that are in force when nothing else is configured.
func DefaultRoles() Roles {
	everything := []string{"*"}
	const admin = "addresslisting:R userlisting:R addresses:CRUD users:CRUD authentication:CR autoreplies:CRUD filters:CRUD " +
		"asps:CRD certs:CRUD dkim:CRUD domainaccess:CRUD domainaliases:CRUD webhooks:CRUD"
	const content = " messages:CRUD attachments:CRUD storage:CRUD mailboxes:CRUD"
	roles := Roles{
		"root":    rights(admin+content+" settings:CRUD", "any", everything),
		"manager": rights(admin, "any", everything),
		"webmail": rights("addresses:CRUD autoreplies:CRUD filters:CRUD domainaccess:CRUD webhooks:CRUD authentication:CR users:RU asps:CRD"+content,
			"any", everything),
		"user":        rights("authentication:CR asps:CRD autoreplies:CRUD filters:CRUD webhooks:R addresses:D"+content, "own", everything),
		"auth":        rights("authentication:C", "any", []string{"*", "!token"}),
		"tokenAuth":   rights("authentication:C", "any", everything),
		"attachments": rights("attachments:R", "any", everything),
		"audit":       rights("users:R audit:CRUD", "any", everything),
		"auditclient": rights("audit:R", "any", everything),
		"export":      rights("export:C import:C", "any", everything),
		"settings":    rights("settings:CRUD", "any", everything),
		"downloader":  rights("messages:R", "any", everything),
	}
	user := roles["user"]
	merge(user, rights("addresslisting:R addresses:CRU", "own", []string{"*", "!internalData"}))
	merge(user, rights("userlisting:R users:R", "own", []string{"*", "!tags", "!disabledScopes", "!internalData"}))
	merge(user, rights("users:U", "own", []string{
		"user", "existingPassword", "password", "allowUnsafe", "language", "name", "targets", "mtaRelay", "spamLevel",
		"uploadSentMessages", "metaData", "pubKey", "smimeCerts", "smimeCipher", "smimeKeyTransport", "encryptMessages",
		"encryptForwarded", "retention", "disable2fa", "protocol", "sess", "ip",
	}))
	return roles
}

// rights reads "resource:CRUD resource:R".
func rights(list, scope string, attrs []string) map[string]map[string][]string {
	names := map[rune]string{'C': "create", 'R': "read", 'U': "update", 'D': "delete"}
	out := map[string]map[string][]string{}
	for entry := range strings.FieldsSeq(list) {
		resource, letters, _ := strings.Cut(entry, ":")
		out[resource] = map[string][]string{}
		for _, l := range letters {
			out[resource][names[l]+":"+scope] = attrs
		}
	}
	return out
}

func merge(dst, src map[string]map[string][]string) {
	for resource, actions := range src {
		if dst[resource] == nil {
			dst[resource] = map[string][]string{}
		}
		for a, attrs := range actions {
			dst[resource][a] = attrs
		}
	}
}
