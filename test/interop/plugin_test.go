//go:build e2e

package interop

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/test/e2e/harness"
)

// plugin: what the plugins of Haraka and ZoneMTA read and write, which are not to be had as packages, is written and read
// by this test in their place.
func (e *env) plugin(t *testing.T) {
	t.Run("inserted message", e.insertedMessage)
	t.Run("recipients", func(t *testing.T) { e.each(t, e.recipients) })
	t.Run("aliases of domains", e.aliases)
	t.Run("duplicates", e.duplicates)
	t.Run("threads", func(t *testing.T) { e.each(t, e.threads) })
	t.Run("channel", func(t *testing.T) { e.each(t, e.channel) })
	t.Run("worker channels", func(t *testing.T) { e.each(t, e.workerChannels) })
}

// insertedMessage: a message that is written into the database as the MX plugin does reaches an IDLE session, an event
// stream and the counters of both nodes.
func (e *env) insertedMessage(t *testing.T) {
	template, u := e.wildduck.user(t, nil), e.mallard.user(t, nil)
	message, _ := withAttachment(octets(uint64(names.Add(1)), 2000))
	e.wildduck.deliver(t, template.address, message)
	inbox := e.mallard.mailbox(t, u, "INBOX")
	e.truth(t, u, "creation") // every counter is cached now
	for _, n := range e.nodes() {
		t.Run(n.name, func(t *testing.T) {
			idle, events := n.startIdle(t, u, "INBOX"), e.follow(t, n, u)
			begin := time.Now()
			uid := e.insert(t, template, u, inbox)
			at := idle.wait(fmt.Sprintf(`^\* %d EXISTS`, uid))
			if told := at.Sub(begin); told > 3*within {
				t.Errorf("IDLE is told after %s", told)
			}
			events.wait(answer{"command": "EXISTS", "uid": uid, "mailbox": inbox})
			e.truth(t, u, "an inserted message")
			s := n.login(t, u)
			s.OK("SELECT INBOX")
			if got := harness.Undelivered(fetch(t, s, uid, "BODY.PEEK[]")["BODY[]"].text); got != message {
				t.Errorf("the message is %q", clip(got))
			}
			a := n.must(t, "GET", u.path("/mailboxes/%s/messages/%d", inbox, uid), nil)
			if v := a.obj("verificationResults"); v.str("spf") != "example.net" && !(n == e.mallard && v == nil) {
				t.Errorf("verificationResults is %v", a["verificationResults"])
			}
		})
	}
}

// insert writes a message into the INBOX as the MX plugin does.
func (e *env) insert(t *testing.T, template, u user, inbox string) int {
	t.Helper()
	return e.insertAs(t, template, u, inbox, bson.D{
		{Key: "meta", Value: bson.D{{Key: "transactionId", Value: "A1B2.1"}, {Key: "source", Value: "MX"}, {Key: "from", Value: "sender@example.net"}, {Key: "to", Value: bson.A{u.address}},
			{Key: "origin", Value: "192.0.2.5"}, {Key: "transhost", Value: "mx.example.net"}, {Key: "transtype", Value: "ESMTPS"}, {Key: "spamScore", Value: 0.1}, {Key: "spamAction", Value: "no action"}, {Key: "overrides", Value: false}, {Key: "time", Value: time.Now()}}},
		{Key: "verificationResults", Value: bson.D{{Key: "tls", Value: false}, {Key: "spf", Value: "example.net"}, {Key: "dkim", Value: false}}},
	})
}

// insertAs writes the message of another account with some fields of its own as the plugins do, in their order: quota, UID,
// message, journal, counters, notification. It returns the UID.
func (e *env) insertAs(t *testing.T, template, u user, box string, own bson.D) int {
	t.Helper()
	ctx := t.Context()
	from, err := bson.ObjectIDFromHex(template.id)
	if err != nil {
		t.Fatal(err)
	}
	var doc bson.D
	if err := e.db.Collection("messages").FindOne(ctx, bson.D{{Key: "user", Value: from}}).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	owner, _ := bson.ObjectIDFromHex(u.id)
	mailbox, _ := bson.ObjectIDFromHex(box)
	size := field(doc, "size")
	if _, err := e.users.Collection("users").UpdateByID(ctx, owner, bson.D{{Key: "$inc", Value: bson.D{{Key: "storageUsed", Value: size}}}}); err != nil {
		t.Fatal(err)
	}
	var before struct{ UIDNext, ModifyIndex int32 }
	inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "uidNext", Value: 1}, {Key: "modifyIndex", Value: 1}}}}
	if err := e.db.Collection("mailboxes").FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: mailbox}}, inc, options.FindOneAndUpdate().SetReturnDocument(options.Before)).Decode(&before); err != nil {
		t.Fatal(err)
	}
	id, modseq := bson.NewObjectID(), before.ModifyIndex+1
	doc = with(doc, append(bson.D{{Key: "_id", Value: id}, {Key: "root", Value: id}, {Key: "user", Value: owner}, {Key: "mailbox", Value: mailbox}, {Key: "uid", Value: before.UIDNext}, {Key: "modseq", Value: modseq},
		{Key: "idate", Value: time.Now()}}, own...))
	if _, err := e.db.Collection("messages").InsertOne(ctx, doc); err != nil {
		t.Fatal(err)
	}
	e.reference(t, doc)
	row := bson.D{{Key: "command", Value: "EXISTS"}, {Key: "uid", Value: before.UIDNext}, {Key: "ignore", Value: nil}, {Key: "message", Value: id}, {Key: "modseq", Value: modseq}, {Key: "unseen", Value: field(doc, "unseen")},
		{Key: "idate", Value: time.Now()}, {Key: "thread", Value: field(doc, "thread")}, {Key: "created", Value: time.Now()}, {Key: "mailbox", Value: mailbox}, {Key: "user", Value: owner}}
	if _, err := e.db.Collection("journal").InsertOne(ctx, row); err != nil {
		t.Fatal(err)
	}
	keys := []string{"total:" + box}
	if field(doc, "unseen") == true {
		keys = append(keys, "unseen:"+box)
	}
	for _, key := range keys {
		if n, err := e.redis.Exists(ctx, key).Result(); err == nil && n == 1 {
			e.redis.Incr(ctx, key)
		}
	}
	if err := e.redis.Publish(ctx, "wd_events", `{"e":"`+u.id+`"}`).Err(); err != nil {
		t.Fatal(err)
	}
	return int(before.UIDNext)
}

// reference counts the attachment once more.
func (e *env) reference(t *testing.T, doc bson.D) {
	t.Helper()
	tree, _ := field(doc, "mimeTree").(bson.D)
	attachments, _ := field(tree, "attachmentMap").(bson.D)
	for _, a := range attachments {
		inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "metadata.c", Value: 1}, {Key: "metadata.m", Value: field(doc, "magic")}}}}
		if _, err := e.files.Collection("attachments.files").UpdateByID(t.Context(), a.Value, inc); err != nil {
			t.Fatal(err)
		}
	}
}

func field(doc bson.D, key string) any {
	for _, e := range doc {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

// with replaces fields.
func with(doc, fields bson.D) bson.D {
	out := slices.DeleteFunc(slices.Clone(doc), func(e bson.E) bool { return field(fields, e.Key) != nil })
	return append(out, fields...)
}

// recipients: what an MX looks up before it takes mail is there when a node has made it.
func (e *env) recipients(t *testing.T, from, _ *node) {
	u := from.user(t, nil)
	domain := fmt.Sprintf("d%d.test", names.Add(1))
	from.must(t, "POST", u.path("/addresses"), answer{"address": "First.Last@" + domain})
	from.must(t, "POST", u.path("/addresses"), answer{"address": "*@" + domain, "allowWildcard": true})
	from.must(t, "POST", "/addresses/forwarded", answer{"address": "fwd@" + domain, "targets": []string{u.address, "smtp://mx.example.net:25"}})
	ctx := t.Context()
	if n, err := e.users.Collection("domaincache").CountDocuments(ctx, bson.D{{Key: "domain", Value: domain}}); err != nil || n != 1 {
		t.Errorf("domaincache has %s %d times, %v", domain, n, err)
	}
	owner, _ := bson.ObjectIDFromHex(u.id)
	for view, want := range map[string]any{"firstlast@" + domain: owner, "*@" + domain: owner, "fwd@" + domain: nil} {
		var doc bson.M
		if err := e.users.Collection("addresses").FindOne(ctx, bson.D{{Key: "addrview", Value: view}}).Decode(&doc); err != nil || doc["user"] != want {
			t.Errorf("address %s: %v, %v", view, doc, err)
		}
	}
	var forwarded struct {
		Targets []struct {
			ID          bson.ObjectID
			Type, Value string
			User        *bson.ObjectID
		}
	}
	if err := e.users.Collection("addresses").FindOne(ctx, bson.D{{Key: "addrview", Value: "fwd@" + domain}}).Decode(&forwarded); err != nil {
		t.Fatal(err)
	}
	got := forwarded.Targets
	if len(got) != 2 || got[0].Type != "mail" || got[0].User == nil || *got[0].User != owner || got[1].Type != "relay" || got[1].User != nil || got[0].ID.IsZero() {
		t.Errorf("targets are %+v", got)
	}
}

// aliases: an alias of a domain that WildDuck has made holds for Mallard, for mail and for logins.
func (e *env) aliases(t *testing.T) {
	u := e.mallard.user(t, nil)
	alias := fmt.Sprintf("alias%d.test", names.Add(1))
	e.wildduck.must(t, "POST", "/domainaliases", answer{"alias": alias, "domain": "interop.test"})
	e.mallard.deliver(t, u.name+"+label@"+alias, simple("to an alias"))
	for _, n := range e.nodes() {
		s := n.login(t, u)
		s.OK("SELECT INBOX")
		if got := uids(t, s); len(got) != 1 {
			t.Errorf("%s: the INBOX has %v", n.name, got)
		}
		if a := n.must(t, "POST", "/authenticate", answer{"username": u.name + "@" + alias, "password": u.password}); a.str("id") != u.id {
			t.Errorf("%s: login with the alias: %v", n.name, a)
		}
	}
}

// duplicates: those who store as WildDuck does find the message that Mallard has stored, and drop what has the same Message-ID
// and date.
func (e *env) duplicates(t *testing.T) {
	u := e.wildduck.user(t, nil)
	message, other := simple("twice"), simple("once")
	e.mallard.deliver(t, u.address, message)
	e.wildduck.deliver(t, u.address, message, other)
	s := e.wildduck.login(t, u)
	s.OK("SELECT INBOX")
	if got := len(uids(t, s)); got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
	e.truth(t, u, "a duplicate")
}

// threads: an answer that one node takes in belongs to the thread of what the other has taken in, and what has nothing to do
// with it does not.
func (e *env) threads(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	first := head("One thread", "") + "\r\ntext\r\n"
	answers := strings.Replace(head("Re: One thread", "In-Reply-To: <One.thread@interop.test>\r\n"), "<Re:.", "<answer.", 1) + "\r\nanswer\r\n"
	from.deliver(t, u.address, first)
	to.deliver(t, u.address, answers)
	to.deliver(t, u.address, simple("Another thread"))
	inbox := from.mailbox(t, u, "INBOX")
	for _, n := range e.nodes() {
		var all []string
		for uid := 1; uid <= 3; uid++ {
			all = append(all, n.must(t, "GET", u.path("/mailboxes/%s/messages/%d", inbox, uid), nil).str("thread"))
		}
		if all[0] == "" || all[0] != all[1] || all[2] == all[0] {
			t.Errorf("%s: the threads are %q", n.name, all)
		}
	}
}

// channel: what is published is what the contract has.
func (e *env) channel(t *testing.T, from, _ *node) {
	u := from.user(t, nil)
	sub := e.redis.Subscribe(t.Context(), "wd_events")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	from.deliver(t, u.address, simple("published"))
	e.published(t, sub, `{"e":"`+u.id+`"}`)
	id := from.must(t, "POST", u.path("/mailboxes"), answer{"path": "To drop"}).str("id")
	from.stored(t, u, id)
	from.must(t, "DELETE", u.path("/mailboxes/%s", id), nil)
	e.published(t, sub, `{"e":"`+u.id+`","p":{"command":"DROP","mailbox":"`+id+`"}}`)
	from.must(t, "PUT", u.path("/logout"), answer{"reason": "Enough"})
	e.published(t, sub, `{"e":"`+u.id+`","p":{"command":"LOGOUT","reason":"Enough"}}`)
}

// published waits for a message with the members e and p of want; there may be others, which the other server ignores.
func (e *env) published(t *testing.T, sub *redis.PubSub, want string) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	var seen []string
	for {
		select {
		case m := <-sub.Channel():
			if sameEvent(m.Payload, want) {
				return
			}
			seen = append(seen, m.Payload)
		case <-timeout:
			t.Errorf("not published: %s; but %q", want, seen)
			return
		}
	}
}

func sameEvent(a, b string) bool {
	type event struct{ E, P any }
	var x, y event
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

// workerChannels: with the setting of large clusters each process hears of its own users alone, on its own channel.
func (e *env) workerChannels(t *testing.T, from, to *node) {
	ctx := t.Context()
	settings := e.db.Collection("settings")
	key := bson.D{{Key: "key", Value: "const:imap:use_wd_worker_channels"}}
	set := bson.D{{Key: "$set", Value: bson.D{{Key: "value", Value: "true"}, {Key: "encrypted", Value: false}, {Key: "enumerable", Value: true}}}}
	if _, err := settings.UpdateOne(ctx, key, set, options.UpdateOne().SetUpsert(true)); err != nil {
		t.Fatal(err)
	}
	defer settings.DeleteOne(ctx, key)
	u := from.user(t, nil)
	idle := to.startIdle(t, u, "INBOX")
	var workers []redis.Z
	harness.Until(5*time.Second, func() bool {
		workers = e.redis.ZRangeWithScores(ctx, "wd:imap:users:"+u.id, 0, -1).Val()
		return len(workers) == 1
	})
	if len(workers) != 1 || !strings.Contains(fmt.Sprint(workers[0].Member), ":") || time.Since(time.UnixMilli(int64(workers[0].Score))).Abs() > 10*time.Second {
		t.Fatalf("%s is not registered as a worker: %v", to.name, workers)
	}
	time.Sleep(6 * time.Second) // the setting is cached for five
	sub := e.redis.Subscribe(ctx, "wd_events:worker:"+fmt.Sprint(workers[0].Member))
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	from.deliver(t, u.address, simple("by worker channel"))
	idle.wait(`^\* 1 EXISTS`)
	e.published(t, sub, `{"e":"`+u.id+`"}`)
	idle.Send("DONE")
	idle.Send("x LOGOUT")
	idle.wait(`^x OK`)
	if !harness.Until(5*time.Second, func() bool { return e.redis.ZCard(ctx, "wd:imap:users:"+u.id).Val() == 0 }) {
		t.Errorf("%s stays registered after the last session: %v", to.name, e.redis.ZRange(ctx, "wd:imap:users:"+u.id, 0, -1).Val())
	}
}
