//go:build e2e

package interop

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// documents: the same things done through either node leave the same documents, field for field and type for type.
func (e *env) documents(t *testing.T) {
	mallard, wildduck := e.record(t, e.mallard), e.record(t, e.wildduck)
	for _, name := range slices.Sorted(maps.Keys(wildduck)) {
		t.Run(name, func(t *testing.T) { compareDocuments(t, mallard[name], wildduck[name]) })
	}
}

// record does a bit of everything with an account of its own, and returns the documents of each collection by a name that
// says which it is.
func (e *env) record(t *testing.T, n *node) map[string]map[string]fields {
	t.Helper()
	u := n.user(t, answer{"name": "Jörg", "quota": 100_000_000, "tags": []string{"Beta", "alpha"}, "metaData": answer{"a": 1}, "retention": 90_000_000_000, "language": "et", "spamLevel": 60})
	n.must(t, http.MethodPost, u.path("/addresses"), answer{"address": "x." + u.address, "name": "Other"})
	n.login(t, u)
	for _, s := range delivered() {
		n.deliver(t, u.address, s.text)
	}
	n.deliver(t, u.address, "Received: from mx.remote.test (mx.remote.test [192.0.2.7]) by relay.test with ESMTPS; Mon, 02 Feb 2026 10:00:00 +0200\r\n"+
		"Received: from far.test by mx.remote.test with SMTP id QUEUE-1\r\n"+head("through others", "")+"\r\ntext\r\n")
	s := n.login(t, u)
	s.Append("INBOX", `\Seen \Flagged $Keyword`, []byte(head("appended", "")+"\r\nappended\r\n"))
	inbox := n.mailbox(t, u, "INBOX")
	n.upload(t, u, inbox, head("uploaded", "")+"\r\nuploaded\r\n")
	s.OK("CREATE Work")
	n.made(t, u, "Work")
	s.OK("RENAME Work Archive")
	n.must(t, http.MethodPost, u.path("/mailboxes"), answer{"path": "By API", "retention": 1_000_000})
	s.OK("SELECT INBOX")
	s.OK(`UID STORE 1 +FLAGS (\Seen)`)
	s.OK(`UID STORE 2 FLAGS (\Answered NewKeyword)`)
	s.OK("UID FETCH 3 BODY[]")
	n.must(t, http.MethodPut, u.path("/mailboxes/%s/messages/4", inbox), answer{"flagged": true})
	s.OK("UID COPY 12 Archive")
	s.OK("UID MOVE 13 Archive")
	s.OK(`UID STORE 14 +FLAGS.SILENT (\Deleted)`)
	s.OK("UID EXPUNGE 14")
	n.must(t, http.MethodDelete, u.path("/mailboxes/%s/messages/5", inbox), nil)
	n.must(t, http.MethodDelete, u.path("/mailboxes/%s/messages/12", inbox), nil) // there is a copy of it
	n.must(t, http.MethodDelete, u.path("/mailboxes/%s", n.mailbox(t, u, "By API")), nil)
	n.must(t, http.MethodPost, "/authenticate", answer{"username": u.name, "password": u.password})
	s.Append(n.special(t, u, `\Sent`), `\Seen`, []byte(head("sent", "Cc: Copy <copy@far.test>, no-reply@far.test, Gr\u00fcp: member@far.test;\r\nBcc: blind@far.test\r\n")+"\r\nsent\r\n"))
	e.logins(t, n, u)
	return e.collect(t, u)
}

// logins does what is in the log of logins, and waits until it is written: neither server makes clients wait for that.
func (e *env) logins(t *testing.T, n *node, u user) {
	t.Helper()
	call := func(what answer) {
		t.Helper()
		what["username"], what["ip"] = u.name, "192.0.2.1"
		if _, there := what["password"]; !there {
			what["password"] = u.password
		}
		n.try(t, http.MethodPost, "/authenticate", what)
	}
	call(answer{"appId": "https://app.interop.test", "sess": "session"})
	call(answer{"password": "wrong", "ip": "192.0.2.1"})
	call(answer{"protocol": "POP3", "scope": "pop3"})
	n.loginFails(t, u.name, "wrong")
	n.must(t, http.MethodPut, u.path(""), answer{"password": "changed-1", "sess": "session", "ip": "192.0.2.2"})
	n.try(t, http.MethodPut, u.path(""), answer{"password": "changed-2", "existingPassword": "wrong", "ip": "192.0.2.2"})
	n.must(t, http.MethodPut, u.path(""), answer{"targets": []string{"first@far.test"}})
	n.must(t, http.MethodPut, u.path(""), answer{"targets": []string{"first@far.test", "second@far.test"}})
	n.must(t, http.MethodPost, u.path("/password/reset"), answer{})
	n.must(t, http.MethodPut, u.path(""), answer{"disabledScopes": []string{"pop3"}})
	u.password = "changed-1"
	call(answer{"protocol": "POP3", "scope": "pop3", "ip": "192.0.2.3"})
	n.must(t, http.MethodPut, u.path(""), answer{"suspended": true})
	call(answer{"protocol": "suspended"})
	n.must(t, http.MethodPut, u.path(""), answer{"disabled": true})
	call(answer{"protocol": "disabled"})
	n.must(t, http.MethodPut, u.path(""), answer{"disabled": false, "suspended": false, "password": u.password})
	time.Sleep(time.Second)
}

// fields are those of a document, by path: type and value.
type fields map[string]string

func (e *env) collect(t *testing.T, u user) map[string]map[string]fields {
	t.Helper()
	id, err := bson.ObjectIDFromHex(u.id)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{t: t, user: u, ids: map[bson.ObjectID]string{id: "user"}, all: map[string]map[string]fields{}}
	owner := bson.D{{Key: "user", Value: id}}
	c.read(e.users, "users", bson.D{{Key: "_id", Value: id}}, "", func(bson.Raw, int) string { return "user" })
	c.read(e.users, "addresses", owner, "", func(d bson.Raw, _ int) string { return c.known(d.Lookup("address").StringValue()) })
	c.read(e.db, "mailboxes", owner, "", func(d bson.Raw, _ int) string { return d.Lookup("path").StringValue() })
	c.read(e.db, "addressregister", owner, "", func(d bson.Raw, _ int) string { return c.known(d.Lookup("addrview").StringValue()) })
	c.read(e.db, "threads", owner, "_id", func(d bson.Raw, _ int) string { return c.known(d.Lookup("subject").StringValue()) })
	message := func(d bson.Raw, _ int) string {
		name, ok := c.ids[d.Lookup("mailbox").ObjectID()]
		if !ok {
			name = "deleted mailbox"
		}
		return fmt.Sprintf("%s:%d", name, d.Lookup("uid").AsInt64())
	}
	c.read(e.db, "messages", owner, "", message)
	c.read(e.db, "archived", owner, "", message)
	c.read(e.users, "authlog", owner, "_id", func(d bson.Raw, _ int) string {
		word := func(name string) string { s, _ := d.Lookup(name).StringValueOK(); return s }
		return strings.Join([]string{word("action"), word("protocol"), word("result"), word("target"), word("ip")}, " ")
	})
	c.read(e.db, "journal", owner, "_id", func(_ bson.Raw, i int) string { return fmt.Sprint(i) })
	return c.all
}

// A collector makes documents of two accounts comparable: ids become names, times of now become the word.
type collector struct {
	t    *testing.T
	user user
	ids  map[bson.ObjectID]string
	all  map[string]map[string]fields
}

func (c *collector) known(s string) string {
	s = strings.ReplaceAll(s, c.user.name, "NAME")
	return made.ReplaceAllString(s, "MADE")
}

// made is what is made up anew each time: Message-IDs, names of parts that have none.
var made = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}@[a-z.]*|^[0-9a-f]{8}\.(ics|eml|png)$`)

func (c *collector) read(db *mongo.Database, collection string, filter bson.D, sort string, name func(bson.Raw, int) string) {
	c.t.Helper()
	o := options.Find()
	if sort != "" {
		o.SetSort(bson.D{{Key: sort, Value: 1}})
	}
	rows, err := db.Collection(collection).Find(c.t.Context(), filter, o)
	if err != nil {
		c.t.Fatal(err)
	}
	var docs []bson.Raw
	if err := rows.All(c.t.Context(), &docs); err != nil {
		c.t.Fatal(err)
	}
	all := map[string]fields{}
	for i, d := range docs {
		key := name(d, i)
		if id, ok := d.Lookup("_id").ObjectIDOK(); ok && c.ids[id] == "" && collection != "archived" {
			c.ids[id] = collection + " " + key
			if collection == "mailboxes" {
				c.ids[id] = key
			}
		}
	}
	for i, d := range docs {
		key := name(d, i)
		for n := 2; all[key] != nil; n++ {
			key = fmt.Sprintf("%s (%d)", name(d, i), n)
		}
		all[key] = fields{}
		c.flatten(all[key], "", bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: d})
		if collection == "threads" {
			asSet(all[key], "ids")
		}
	}
	c.all[collection] = all
}

// asSet replaces an array by its values without order and null: these say nothing.
func asSet(f fields, name string) {
	var values []string
	for path, v := range f {
		if strings.HasPrefix(path, name+".") {
			delete(f, path)
			if v != "null null" {
				values = append(values, v)
			}
		}
	}
	slices.Sort(values)
	f[name] += " " + strings.Join(values, ", ")
}

// flatten writes one line for each value.
func (c *collector) flatten(out fields, path string, v bson.RawValue) {
	switch v.Type {
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		values, err := bson.Raw(v.Value).Elements()
		if err != nil {
			c.t.Fatal(err)
		}
		if path != "" {
			out[path] = v.Type.String()
		}
		for _, e := range values {
			if path == "" && e.Key() == "mallard" {
				continue // Mallard's own, which WildDuck leaves alone
			}
			sub := e.Key()
			if path != "" {
				sub = path + "." + sub
			}
			c.flatten(out, sub, e.Value())
		}
	case bson.TypeObjectID:
		name := c.ids[v.ObjectID()]
		out[path] = "ObjectID " + name
	case bson.TypeDateTime:
		if time.Since(v.Time()) < time.Hour && time.Until(v.Time()) < 40*24*time.Hour {
			out[path] = "date near now"
			break
		}
		out[path] = "date " + v.Time().UTC().String()
	case bson.TypeBinary:
		subtype, b := v.Binary()
		out[path] = fmt.Sprintf("binary %d %q", subtype, c.known(string(b)))
	case bson.TypeString:
		out[path] = fmt.Sprintf("string %q", c.known(v.StringValue()))
	default:
		out[path] = v.Type.String() + " " + v.String()
	}
}

// varying are fields whose value differs from one document to the next; their type does not.
var varying = regexp.MustCompile(`^(modseq|modifyIndex|magic|password|uidValidity|retentionTime|rdate|key|meta\.transactionId|meta\.(sess|ip|originhost|transhost)|mimeTree\.attachmentMap\..*|attachments\.\d+\.(hash|id)|lastLogin\.ip|unameview|ignore|sess|ip|oldPasswords\.\d+\.hash|tempPassword\.password)$`)

// differs are fields that are other on purpose: docs/known-differences.md.
var differs = map[string]*regexp.Regexp{
	// Texts are made in another way; members of an upload that say nothing.
	"messages": regexp.MustCompile(`^(html(\.\d+)?|text|textFooter|intro|meta\.(custom|files|reference|envelope.*))$`),
	"archived": regexp.MustCompile(`^(html(\.\d+)?|text|textFooter|intro)$`),
	// Keywords of a mailbox begin with those of APPEND; false in place of a missing member.
	"mailboxes": regexp.MustCompile(`^(flags\..*|hidden|encryptMessages)$`),
	// A change of the password leaves the protocol of the call, and false in place of a missing member.
	"users":     regexp.MustCompile(`^(protocol|requirePasswordChange)$`),
	"addresses": regexp.MustCompile(`^name$`), // null in place of a missing member
	"journal":   regexp.MustCompile(`^ignore$`),
}

func compareDocuments(t *testing.T, mallard, wildduck map[string]fields) {
	collection := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
	for _, name := range slices.Sorted(maps.Keys(wildduck)) {
		if mallard[name] == nil {
			t.Errorf("Mallard has no document %q: %v", name, wildduck[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(mallard)) {
		m, w := mallard[name], wildduck[name]
		if strings.HasPrefix(w["bodystructure.0"], "array") && strings.HasPrefix(m["bodystructure.0"], "string") {
			maps.DeleteFunc(m, structure)
			maps.DeleteFunc(w, structure) // a multipart without boundary, for which WildDuck has an empty list
		}
		if w == nil {
			t.Errorf("WildDuck has no document %q: %v", name, m)
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(w)) {
			if _, ok := m[path]; !ok && !allowed(collection, path) {
				t.Errorf("%s: Mallard has no %s, WildDuck %.200s", name, path, w[path])
			}
		}
		for _, path := range slices.Sorted(maps.Keys(m)) {
			switch {
			case allowed(collection, path):
			case w[path] == "":
				t.Errorf("%s: WildDuck has no %s, Mallard %.200s", name, path, m[path])
			case varying.MatchString(path):
				if kind(m[path]) != kind(w[path]) {
					t.Errorf("%s: %s is %s, on WildDuck %s", name, path, kind(m[path]), kind(w[path]))
				}
			case m[path] != w[path]:
				t.Errorf("%s: %s is %.300s, on WildDuck %.300s", name, path, m[path], w[path])
			}
		}
	}
}

// sometimes is there or not by chance: whether a content was new to the store.
var sometimes = regexp.MustCompile(`^attachments\.\d+\.fileContentHash$`)

func allowed(collection, path string) bool {
	return sometimes.MatchString(path) || !onlyWildDuck() && differs[collection] != nil && differs[collection].MatchString(path)
}

func structure(path, _ string) bool { return strings.HasPrefix(path, "bodystructure") }

func kind(s string) string {
	kind, _, _ := strings.Cut(s, " ")
	return kind
}

// special is the path of the mailbox with a special use.
func (n *node) special(t *testing.T, u user, use string) string {
	t.Helper()
	for _, m := range n.must(t, http.MethodGet, u.path("/mailboxes"), nil).list("results") {
		if m.str("specialUse") == use {
			return m.str("path")
		}
	}
	t.Fatalf("%s: %s has no mailbox with %s", n.name, u.name, use)
	return ""
}
