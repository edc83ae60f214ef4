//go:build e2e

package interop

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// zonemta: what the plugin of ZoneMTA, the sender, reads of accounts and messages, and what it writes. This test does in its
// place what it does.
func (e *env) zonemta(t *testing.T) {
	t.Run("Sent copy", e.sentCopy)
	t.Run("limits", func(t *testing.T) { e.each(t, e.sendingLimits) })
	t.Run("logins", func(t *testing.T) { e.each(t, e.smtpLogins) })
	t.Run("failed logins", func(t *testing.T) { e.each(t, e.failedLogins) })
	t.Run("suspended", func(t *testing.T) { e.each(t, e.suspendedSender) })
}

// undecoded stores attachments as they are written in the message: the sender's plugin does, unless told otherwise.
const undecoded = "[attachments]\ntype = \"gridstore\"\nbucket = \"attachments\"\ndecodeBase64 = false\n"

// sentCopy: the copy of a sent message that the plugin stores reaches IDLE sessions, event streams and counters, is read as it
// was sent, and keeps what the plugin looks for afterwards when it is moved and copied by either node.
func (e *env) sentCopy(t *testing.T) {
	msa := wildduckNode("sender", servers.StartWildDuck(t, servers.WildDuckOptions{Mongo: e.mongoURL, Redis: e.redisURL, Extra: undecoded + secret}))
	template, u := msa.user(t, nil), e.mallard.user(t, nil)
	data := octets(uint64(names.Add(1)), 3000)
	message, id := withAttachment(data)
	message = "Received: from [192.0.2.9] by mx.interop.test (Mailer) with ESMTPSA id A1B2C3.001; Mon, 02 Nov 2026 08:00:00 +0000\r\n" + message
	msa.login(t, template).Append(msa.special(t, template, `\Sent`), `\Seen`, []byte(message))
	var file bson.M
	if err := e.files.Collection("attachments.files").FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Decode(&file); err != nil || file["length"] == int32(len(data)) {
		t.Fatalf("the attachment is stored as %v, %v", file, err)
	}
	path := e.mallard.special(t, u, `\Sent`)
	sent := e.mallard.mailbox(t, u, path)
	e.truth(t, u, "creation") // every counter is cached now
	for _, n := range e.nodes() {
		t.Run(n.name, func(t *testing.T) {
			idle, events := n.startIdle(t, u, path), e.follow(t, n, u)
			queue := fmt.Sprintf("1a2022ebb25000a9%02x", names.Add(1))
			uid := e.insertAs(t, template, u, sent, bson.D{{Key: "outbound", Value: bson.A{queue}}, {Key: "meta", Value: bson.D{
				{Key: "source", Value: "SMTP"}, {Key: "queueId", Value: queue}, {Key: "from", Value: u.address}, {Key: "to", Value: bson.A{"x@example.net"}}, {Key: "origin", Value: "192.0.2.9"},
				{Key: "originhost", Value: "[192.0.2.9]"}, {Key: "transhost", Value: "client"}, {Key: "transtype", Value: "ESMTPSA"}, {Key: "time", Value: time.Now()}}}})
			idle.wait(`^\* [12] EXISTS`)
			events.wait(answer{"command": "EXISTS", "uid": uid, "mailbox": sent})
			events.wait(answer{"command": "COUNTERS", "mailbox": sent, "unseen": 0})
			e.truth(t, u, "a Sent copy")
			e.readSent(t, u, path, sent, uid, message, data)
			e.moveSent(t, n, u, path, uid, queue)
		})
	}
	e.counted(t, id)
}

// readSent reads a message of the mailbox of what was sent through both nodes.
func (e *env) readSent(t *testing.T, u user, path, sent string, uid int, message string, data []byte) {
	t.Helper()
	for _, n := range e.nodes() {
		s := n.login(t, u)
		s.OK("SELECT " + fmt.Sprintf("%q", path))
		m := fetch(t, s, uid, "BODY.PEEK[] BODY.PEEK[2] FLAGS RFC822.SIZE")
		if got := m["BODY[]"].text; got != message || m["RFC822.SIZE"].text != fmt.Sprint(len(message)) {
			t.Errorf("%s: %s octets %q, want %d %q", n.name, m["RFC822.SIZE"].text, clip(got), len(message), clip(message))
		}
		if got := m["BODY[2]"].text; got != encoded(data, 76) {
			t.Errorf("%s: the attachment is %q", n.name, clip(got))
		}
		if got := flags(m["FLAGS"]); got != `\Seen` {
			t.Errorf("%s: flags are %q", n.name, got)
		}
		if seen := search(t, s, "SEEN"); !slices.Contains(seen, uid) {
			t.Errorf("%s: seen are %v", n.name, seen)
		}
		one := u.path("/mailboxes/%s/messages/%d", sent, uid)
		if a := n.must(t, http.MethodGet, one, nil); a["seen"] != true || a.num("size") != len(message) {
			t.Errorf("%s: seen is %v, size %v", n.name, a["seen"], a["size"])
		}
		if got := n.get(t, one+"/attachments/ATT00001"); got != string(data) {
			t.Errorf("%s: the attachment has %d octets, want %d", n.name, len(got), len(data))
		}
		if got := n.get(t, one+"/message.eml"); strings.TrimRight(got, "\r\n") != strings.TrimRight(message, "\r\n") {
			t.Errorf("%s: message.eml is %q", n.name, clip(got))
		}
	}
}

// moveSent: reports of what became of the message are stored by the id in the sender's queue, which stays with it.
func (e *env) moveSent(t *testing.T, n *node, u user, path string, uid int, queue string) {
	t.Helper()
	s := n.login(t, u)
	s.OK(fmt.Sprintf("SELECT %q", path))
	copied := uidOf(t, copyUID, do(t, s, fmt.Sprintf("UID COPY %d Junk", uid))...)
	moved := uidOf(t, copyUID, do(t, s, fmt.Sprintf("UID MOVE %d Trash", uid))...)
	for box, uid := range map[string]string{"Junk": copied, "Trash": moved} {
		id, _ := bson.ObjectIDFromHex(n.mailbox(t, u, box))
		all, err := rows[struct {
			UID      int
			Outbound []string
			Meta     struct{ Source, QueueID, TransType string }
		}](t.Context(), e.db.Collection("messages"), bson.D{{Key: "mailbox", Value: id}})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, m := range all {
			found = found || fmt.Sprint(m.UID) == uid && slices.Equal(m.Outbound, []string{queue}) && m.Meta.Source == "SMTP"
		}
		if !found {
			t.Errorf("%s: UID %s of %s is not that of %s any more: %+v", n.name, uid, box, queue, all)
		}
	}
	e.truth(t, u, "COPY and MOVE of a Sent copy")
}

// sendingLimits: what the plugins have counted is shown, and starts anew when the limit is changed; limits that are cached are
// forgotten.
func (e *env) sendingLimits(t *testing.T, from, to *node) {
	ctx := t.Context()
	u := from.user(t, answer{"recipients": 500, "forwards": 40, "receivedMax": 30, "quota": 1_000_000})
	forwarded := from.must(t, http.MethodPost, "/addresses/forwarded", answer{"address": "fwd." + u.address, "targets": []string{u.address}, "forwards": 70}).str("id")
	counters := map[string]struct {
		name    string
		allowed int
		window  time.Duration
	}{"wdr:": {"recipients", 500, 24 * time.Hour}, "wdf:": {"forwards", 40, 24 * time.Hour}, "rl:rcpt:": {"received", 30, time.Minute}}
	used := 11
	for prefix, c := range counters {
		for _, id := range []string{u.id, forwarded} {
			if err := e.redis.Set(ctx, prefix+id, used, c.window).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range []*node{from, to} {
		limits := n.must(t, http.MethodGet, u.path(""), nil).obj("limits")
		for prefix, c := range counters {
			l := limits.obj(c.name)
			if left := time.Duration(l.num("ttl")) * time.Second; l.num("allowed") != c.allowed || l.num("used") != used || left <= 0 || left > c.window {
				t.Errorf("%s: %s is %v, counted by %s", n.name, c.name, l, prefix)
			}
		}
		l := n.must(t, http.MethodGet, "/addresses/forwarded/"+forwarded, nil).obj("limits").obj("forwards")
		if l.num("allowed") != 70 || l.num("used") != used {
			t.Errorf("%s: forwards of an address are %v", n.name, l)
		}
	}
	to.login(t, u).Append("INBOX", "", []byte(simple("makes the node look at the quota")))
	from.must(t, http.MethodPut, u.path(""), answer{"recipients": 600, "forwards": 50, "receivedMax": 35, "quota": 2_000_000})
	for _, key := range []string{"wdr:" + u.id, "wdf:" + u.id, "rl:rcpt:" + u.id} {
		if n, err := e.redis.Exists(ctx, key).Result(); err != nil || n != 0 {
			t.Errorf("%s is still there after the limit was changed: %v", key, err)
		}
	}
	if quota, err := e.redis.HGet(ctx, "cached:"+u.id, "quota").Result(); err == nil && quota != "2000000" {
		t.Errorf("the quota that is cached is %s", quota)
	}
	for _, n := range []*node{from, to} {
		if l := n.must(t, http.MethodGet, u.path(""), nil).obj("limits").obj("recipients"); l.num("allowed") != 600 || l.num("used") != 0 {
			t.Errorf("%s: recipients is %v after the limit was changed", n.name, l)
		}
	}
}

// smtpLogins: a login that one node has checked for the sender is in the log of both, and application passwords made for
// sending are good for that alone.
func (e *env) smtpLogins(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	asp := e.wildduck.must(t, http.MethodPost, u.path("/asps"), answer{"description": "sender", "scopes": []string{"smtp"}}).str("password")
	login := func(n *node, password, scope, ip string) bool {
		status, a := n.try(t, http.MethodPost, "/authenticate", answer{"username": u.name, "password": password, "protocol": "SMTP", "scope": scope, "ip": ip, "sess": "session"})
		return status == http.StatusOK && a.str("id") == u.id
	}
	if !login(from, u.password, "smtp", "192.0.2.11") || !login(from, asp, "smtp", "192.0.2.12") {
		t.Errorf("%s refuses a password", from.name)
	}
	if login(from, asp, "pop3", "192.0.2.13") || login(from, "wrong", "smtp", "192.0.2.14") {
		t.Errorf("%s takes a wrong password", from.name)
	}
	for _, n := range []*node{from, to} {
		for _, want := range []answer{
			{"action": "authentication", "result": "success", "source": "master", "protocol": "SMTP", "ip": "192.0.2.11", "sess": "session"},
			{"action": "authentication", "result": "success", "source": "asp", "protocol": "SMTP", "ip": "192.0.2.12", "aname": "sender"},
			{"action": "authentication", "result": "fail", "protocol": "SMTP", "ip": "192.0.2.14"},
		} {
			var all []answer
			if !harness.Until(20*time.Second, func() bool {
				all = n.must(t, http.MethodGet, u.path("/authlog?limit=250"), nil).list("results")
				return slices.ContainsFunc(all, func(a answer) bool { return a.has(want) })
			}) {
				t.Errorf("%s: the log has no %v but %v", n.name, want, all)
			}
		}
	}
	var doc struct{ Used, AuthIP any }
	ok := harness.Until(20*time.Second, func() bool { // after the login
		owner, _ := bson.ObjectIDFromHex(u.id)
		err := e.users.Collection("asps").FindOne(t.Context(), bson.D{{Key: "user", Value: owner}}).Decode(&doc)
		return err == nil && doc.Used != false && doc.AuthIP == "192.0.2.12"
	})
	if !ok {
		t.Errorf("the use of the password is noted as %+v", doc)
	}
}

// failedLogins: wrong passwords are counted together, whoever checks them.
func (e *env) failedLogins(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	wrong := answer{"username": u.name, "password": "wrong", "protocol": "SMTP", "scope": "smtp"}
	for range 12 {
		from.try(t, http.MethodPost, "/authenticate", wrong)
	}
	to.loginFails(t, u.name, u.password)
	right := answer{"username": u.name, "password": u.password, "protocol": "SMTP", "scope": "smtp"}
	if status, a := to.try(t, http.MethodPost, "/authenticate", right); status == http.StatusOK {
		t.Errorf("%s takes a password after %s has seen 12 wrong ones: %v", to.name, from.name, a)
	}
	if left := e.redis.TTL(t.Context(), "auth_user:"+u.id).Val(); left <= 0 || left > 2*time.Minute {
		t.Errorf("the count ends after %s", left)
	}
	e.redis.Del(context.WithoutCancel(t.Context()), "auth_user:"+u.id)
	to.login(t, u)
}

// suspendedSender: the plugin looks accounts up by the exact name, and does not send for one that is disabled or suspended; the
// fields that it reads are what the contract says when a node has written them.
func (e *env) suspendedSender(t *testing.T, from, _ *node) {
	u := from.user(t, answer{"fromWhitelist": []string{"*@elsewhere.test", "other@elsewhere.test"}, "uploadSentMessages": true, "recipients": 100})
	read := func() (doc bson.M) {
		t.Helper()
		if err := e.users.Collection("users").FindOne(t.Context(), bson.D{{Key: "username", Value: u.name}}).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	expect := func(when string, want bson.M) {
		t.Helper()
		doc := read()
		for key, v := range want {
			if fmt.Sprintf("%T %v", doc[key], doc[key]) != fmt.Sprintf("%T %v", v, v) {
				t.Errorf("%s: %s is %T %v, want %T %v", when, key, doc[key], doc[key], v, v)
			}
		}
	}
	expect("made", bson.M{"username": u.name, "address": u.address, "disabled": false, "suspended": false, "uploadSentMessages": true, "recipients": int32(100),
		"fromWhitelist": bson.A{"*@elsewhere.test", "other@elsewhere.test"}, "disabledScopes": bson.A{}, "enabled2fa": bson.A{}})
	from.must(t, http.MethodPut, u.path(""), answer{"mtaRelay": "smtps://me:secret@relay.test:465", "suspended": true, "uploadSentMessages": false, "fromWhitelist": []string{}, "disabledScopes": []string{"smtp", "imap"}})
	expect("changed", bson.M{"disabled": false, "suspended": true, "uploadSentMessages": false, "fromWhitelist": bson.A{}, "disabledScopes": bson.A{"imap", "smtp"}})
	relay, _ := read()["mtaRelay"].(bson.D)
	if id, ok := field(relay, "id").(bson.ObjectID); !ok || id.IsZero() || field(relay, "type") != "relay" || field(relay, "value") != "smtps://me:secret@relay.test:465" {
		t.Errorf("mtaRelay is %v", read()["mtaRelay"])
	}
	from.must(t, http.MethodPut, u.path(""), answer{"suspended": false, "disabled": true})
	expect("disabled", bson.M{"disabled": true, "suspended": false})
}
