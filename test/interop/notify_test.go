//go:build e2e

package interop

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/test/e2e/harness"
)

// within is how soon a change must be told on the other node.
const within = time.Second

// notifications: every change made by one node is told to an IDLE session and an event stream of the other, within the
// second.
func (e *env) notifications(t *testing.T) {
	e.each(t, func(t *testing.T, from, to *node) {
		u := from.user(t, nil)
		n := &notice{u: u, from: from, to: to, inbox: from.mailbox(t, u, "INBOX"), act: from.login(t, u)}
		n.act.OK("SELECT INBOX")
		n.idle, n.events = to.startIdle(t, u, "INBOX"), e.follow(t, to, u)
		t.Run("mail", n.mail)
		t.Run("flags", n.flags)
		t.Run("moves", n.moves)
		t.Run("mailboxes", n.mailboxes)
		t.Run("many", n.many)
	})
}

// follow opens an event stream that tells everything from now on. WildDuck's may begin only some time after it has answered:
// rows of the journal with a command that nobody knows, which all must pass over, show when it does. It goes on with greater
// ids than the last one, so that theirs are less than all that a node makes in the same second.
func (e *env) follow(t *testing.T, n *node, u user) *stream {
	t.Helper()
	s := n.follow(t, u)
	if n == e.mallard && !onlyWildDuck() {
		return s
	}
	owner, err := bson.ObjectIDFromHex(u.id)
	if err != nil {
		t.Fatal(err)
	}
	live := func() bool {
		return slices.ContainsFunc(s.all(), func(event answer) bool { return event.str("command") == "PROBE" })
	}
	for end := time.Now().Add(time.Minute); !live(); {
		row := bson.D{{Key: "_id", Value: leastID()}, {Key: "command", Value: "PROBE"}, {Key: "user", Value: owner}, {Key: "modseq", Value: 0}, {Key: "created", Value: time.Now()}}
		if _, err := e.db.Collection("journal").InsertOne(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		if err := e.redis.Publish(t.Context(), "wd_events", `{"e":"`+u.id+`"}`).Err(); err != nil {
			t.Fatal(err)
		}
		if !harness.Until(time.Second, live) && time.Now().After(end) {
			t.Fatalf("%s: the event stream tells nothing", n.name)
		}
	}
	return s
}

// leastID makes an id that is less than all of this second but those that it has made: a node has a number of its own between
// the time and the count.
func leastID() bson.ObjectID {
	id := bson.NewObjectID()
	clear(id[4:9])
	return id
}

type notice struct {
	u        user
	from, to *node
	inbox    string // its id
	act      *harness.Session
	idle     idle
	events   *stream
	late     int
}

// told does something on the one node and checks that the other tells its IDLE session (unless line is empty) and its
// event stream in time. A machine that does other work as well makes one or two late.
func (n *notice) told(t *testing.T, what string, act func(), line string, event answer) {
	t.Helper()
	n.events.t = t
	act()
	begin := time.Now()
	var idle, streamed time.Duration
	if line != "" {
		idle = n.idle.wait(line).Sub(begin)
	}
	if event != nil {
		streamed = n.events.wait(event).Sub(begin)
	}
	t.Logf("%s: IDLE after %s, events after %s", what, idle.Round(time.Millisecond), streamed.Round(time.Millisecond))
	if idle > within || streamed > within {
		if n.late++; n.late > 2 {
			t.Errorf("%s is told by %s after %s and %s: the third that is late", what, n.to.name, idle, streamed)
		}
	}
}

func (n *notice) mail(t *testing.T) {
	exists := func(uid int) answer { return answer{"command": "EXISTS", "mailbox": n.inbox, "uid": uid} }
	n.told(t, "LMTP", func() { n.from.deliver(t, n.u.address, simple("delivered")) }, `^\* 1 EXISTS`, exists(1))
	n.told(t, "APPEND", func() { n.act.Append("INBOX", "", []byte(simple("appended"))) }, `^\* 2 EXISTS`, exists(2))
	n.told(t, "upload", func() { n.from.upload(t, n.u, n.inbox, simple("uploaded")) }, `^\* 3 EXISTS`, exists(3))
	n.told(t, "counters", func() { n.from.deliver(t, n.u.address, simple("counted")) }, `^\* 4 EXISTS`, answer{"command": "COUNTERS", "mailbox": n.inbox, "total": 4, "unseen": 4})
}

func (n *notice) flags(t *testing.T) {
	flags := func(uid int, flags string) answer {
		return answer{"command": "FETCH", "mailbox": n.inbox, "uid": uid, "flags": flags}
	}
	message := n.u.path("/mailboxes/%s/messages/", n.inbox)
	n.act.OK("SELECT INBOX") // WildDuck's NOOP may still not know what came
	n.told(t, "+FLAGS", func() { n.act.OK(`UID STORE 1 +FLAGS (\Flagged)`) }, `^\* 1 FETCH .*\\Flagged`, flags(1, `[\Flagged]`))
	n.told(t, "keyword", func() { n.act.OK(`UID STORE 2 FLAGS ($Work)`) }, `^\* 2 FETCH .*\$Work`, flags(2, `[$Work]`))
	n.told(t, "-FLAGS", func() { n.act.OK(`UID STORE 1 -FLAGS (\Flagged)`) }, `^\* 1 FETCH .*FLAGS \((\\Recent)?\)`, flags(1, `[]`))
	n.told(t, "API seen", func() { n.from.must(t, http.MethodPut, message+"3", answer{"seen": true}) }, `^\* 3 FETCH .*\\Seen`, flags(3, `[\Seen]`))
	n.told(t, "FETCH sets Seen", func() { n.act.OK(`UID FETCH 4 BODY[]`) }, `^\* 4 FETCH .*\\Seen`, flags(4, `[\Seen]`))
	n.told(t, "markAsSeen", func() { n.from.must(t, http.MethodGet, message+"1?markAsSeen=true", nil) }, `^\* 1 FETCH .*\\Seen`, flags(1, `[\Seen]`))
	n.told(t, "three at once", func() { n.act.OK(`UID STORE 1:3 +FLAGS (\Answered)`) }, `^\* 3 FETCH .*\\Answered`, answer{"command": "FETCH", "mailbox": n.inbox, "uid": 3})
}

func (n *notice) moves(t *testing.T) {
	trash := n.from.mailbox(t, n.u, "Trash")
	n.act.OK("SELECT INBOX") // WildDuck's NOOP may still not know what came
	n.told(t, "COPY to itself", func() { n.act.OK("UID COPY 1 INBOX") }, `^\* 5 EXISTS`, answer{"command": "EXISTS", "mailbox": n.inbox, "uid": 5})
	inbox, there := n.idle, n.to.startIdle(t, n.u, "Trash")
	n.idle = there
	n.told(t, "COPY elsewhere", func() { n.act.OK("UID COPY 2 Trash") }, `^\* 1 EXISTS`, answer{"command": "EXISTS", "mailbox": trash})
	n.idle = inbox
	n.told(t, "MOVE", func() { n.act.OK("UID MOVE 2 Trash") }, `^\* 2 EXPUNGE`, answer{"command": "EXPUNGE", "mailbox": n.inbox, "uid": 2})
	there.wait(`^\* 2 EXISTS`)
	n.told(t, "EXPUNGE", func() { n.act.OK(`UID STORE 1 +FLAGS.SILENT (\Deleted)`); n.act.OK("EXPUNGE") }, `^\* 1 EXPUNGE`, answer{"command": "EXPUNGE", "mailbox": n.inbox, "uid": 1})
	message := n.u.path("/mailboxes/%s/messages/", n.inbox)
	n.told(t, "API move", func() { n.from.must(t, http.MethodPut, message+"3", answer{"moveTo": trash}) }, `^\* 1 EXPUNGE`, answer{"command": "EXPUNGE", "mailbox": n.inbox, "uid": 3})
	n.told(t, "API delete", func() { n.from.must(t, http.MethodDelete, message+"4", nil) }, `^\* 1 EXPUNGE`, answer{"command": "EXPUNGE", "mailbox": n.inbox, "uid": 4})
}

func (n *notice) mailboxes(t *testing.T) {
	var id string
	n.told(t, "CREATE", func() { n.act.OK(`CREATE "New one"`) }, "", answer{"command": "CREATE", "path": "New one"})
	n.from.made(t, n.u, "New one")
	n.told(t, "RENAME", func() { n.act.OK(`RENAME "New one" "Other one"`) }, "", answer{"command": "RENAME", "path": "Other one"})
	id = n.from.mailbox(t, n.u, "Other one")
	n.told(t, "DELETE", func() { n.act.OK(`DELETE "Other one"`) }, "", answer{"command": "DELETE", "mailbox": id})
	n.told(t, "API create", func() {
		id = n.from.must(t, http.MethodPost, n.u.path("/mailboxes"), answer{"path": "By API"}).str("id")
	}, "", answer{"command": "CREATE", "path": "By API"})
	n.from.stored(t, n.u, id)
	n.told(t, "API rename", func() { n.from.must(t, http.MethodPut, n.u.path("/mailboxes/%s", id), answer{"path": "API 2"}) }, "", answer{"command": "RENAME", "path": "API 2"})
	n.told(t, "API delete", func() { n.from.must(t, http.MethodDelete, n.u.path("/mailboxes/%s", id), nil) }, "", answer{"command": "DELETE", "mailbox": id})
}

// many changes at once are told once and whole: the session ends with the state of the mailbox.
func (n *notice) many(t *testing.T) {
	s := n.to.login(t, n.u)
	s.OK("SELECT INBOX")
	before := len(uids(t, s))
	for i := range 20 {
		n.from.deliver(t, n.u.address, simple(fmt.Sprintf("many %d", i)))
	}
	n.act.OK("SELECT INBOX") // WildDuck's NOOP may still not know what came
	n.act.OK(`STORE 1:* +FLAGS.SILENT (\Seen)`)
	ok := harness.Until(10*time.Second, func() bool {
		s.OK("NOOP")
		return len(uids(t, s)) == before+20 && len(s.OK("FETCH 1:* (FLAGS)")) >= before+20
	})
	if !ok {
		t.Errorf("%s sees %d messages, want %d", n.to.name, len(uids(t, s)), before+20)
	}
}
