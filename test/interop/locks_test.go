//go:build e2e

package interop

import (
	"net/http"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/test/e2e/harness"
)

// locks: both nodes take the lock of those who remove messages from a mailbox, in the form that each other's has, tell when
// they let it go, and wait for it.
func (e *env) locks(t *testing.T) {
	t.Run("released", func(t *testing.T) { e.each(t, e.lockReleased) })
	t.Run("waited for", func(t *testing.T) { e.each(t, e.lockWaited) })
}

// lockReleased: who waits for the lock is told when another has let it go.
func (e *env) lockReleased(t *testing.T, from, _ *node) {
	u := from.user(t, nil)
	inbox, trash := from.mailbox(t, u, "INBOX"), from.mailbox(t, u, "Trash")
	from.deliver(t, u.address, many("locked", 4)...)
	sub := e.redis.Subscribe(t.Context(), "mail-release")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	released := func(what string) {
		t.Helper()
		select {
		case m := <-sub.Channel():
			if m.Payload != "mail:mbwr:"+inbox {
				t.Errorf("%s: %s is released", what, m.Payload)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: nothing is released", what)
		}
	}
	s := from.login(t, u)
	s.OK("SELECT INBOX")
	s.OK("UID MOVE 1 Trash")
	released("MOVE")
	s.OK(`UID STORE 2 +FLAGS.SILENT (\Deleted)`)
	s.OK("EXPUNGE")
	released("EXPUNGE")
	from.must(t, http.MethodPut, u.path("/mailboxes/%s/messages/3", inbox), answer{"moveTo": trash})
	released("move by the API")
	if !harness.Until(time.Minute, func() bool { return e.redis.Exists(t.Context(), "mail:mbwr:"+inbox).Val() == 0 }) {
		t.Error("the lock stays")
	}
}

// lockWaited: while another holds the lock nothing is removed from the mailbox, and mail still comes in.
func (e *env) lockWaited(t *testing.T, from, to *node) {
	ctx := t.Context()
	u := from.user(t, nil)
	inbox := from.mailbox(t, u, "INBOX")
	from.deliver(t, u.address, many("locked", 3)...)
	expunging, moving := from.login(t, u), from.login(t, u)
	for _, s := range []*harness.Session{expunging, moving} {
		s.OK("SELECT INBOX")
	}
	expunging.OK(`UID STORE 1 +FLAGS.SILENT (\Deleted)`)
	key := "mail:mbwr:" + inbox
	// As the library of locks writes it: a number that is its owner's.
	if err := e.redis.HSet(ctx, key, "index", e.redis.Incr(ctx, "mail:mbwrindex").Val()).Err(); err != nil {
		t.Fatal(err)
	}
	e.redis.PExpire(ctx, key, 2*time.Minute)
	expunging.Send("a EXPUNGE")
	moving.Send("a UID MOVE 2 Trash")
	to.deliver(t, u.address, simple("comes in meanwhile"))
	time.Sleep(time.Second) // they have had the time to do it wrongly
	id, _ := bson.ObjectIDFromHex(inbox)
	if n, err := e.db.Collection("messages").CountDocuments(ctx, bson.D{{Key: "mailbox", Value: id}}); err != nil || n != 4 {
		t.Errorf("%s removes messages while another has the lock: %d of 4 are there, %v", from.name, n, err)
	}
	e.redis.Del(ctx, key)
	e.redis.Publish(ctx, "mail-release", key)
	for _, s := range []*harness.Session{expunging, moving} {
		idle{s}.wait(`^a OK`)
	}
	if n, err := e.db.Collection("messages").CountDocuments(ctx, bson.D{{Key: "mailbox", Value: id}}); err != nil || n != 2 {
		t.Errorf("%s leaves %d messages, want 2, %v", from.name, n, err)
	}
}
