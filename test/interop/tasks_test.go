//go:build e2e

package interop

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// tasksFrom is how long after its start a WildDuck begins to look for tasks.
const tasksFrom = time.Minute

// TestTasks has both nodes do tasks that either makes: messages of a mailbox are dated anew when its retention changes.
func TestTasks(t *testing.T) {
	e := start(t, servers.WildDuckOptions{}, "[tasks]\ninterval = \"1s\"\n")
	begin := time.Now()
	u := e.wildduck.user(t, nil)
	box := e.wildduck.must(t, http.MethodPost, u.path("/mailboxes"), answer{"path": "Kept", "retention": 0}).str("id")
	e.mallard.stored(t, u, box)
	m := &keeping{e: e, user: u, mailbox: box}
	for i := range 30 {
		e.nodes()[i%2].upload(t, u, box, head(fmt.Sprint("kept ", i), "")+"\r\nkept\r\n")
	}
	t.Run("with the lock of another", m.expire)
	t.Run("by Mallard alone", func(t *testing.T) {
		m.change(t, e.wildduck, 24*time.Hour)
		m.wait(t, 24*time.Hour)
		m.change(t, e.mallard, 48*time.Hour)
		m.wait(t, 48*time.Hour)
		m.change(t, e.wildduck, 0)
		m.wait(t, 0)
		if d := time.Since(begin); d > tasksFrom {
			t.Logf("after %s WildDuck may have done some of it", d)
		}
	})
	time.Sleep(time.Until(begin.Add(tasksFrom + 10*time.Second)))
	t.Run("by both", func(t *testing.T) {
		for i, n := range slices.Repeat(e.nodes(), 3) {
			keep := time.Duration(i+1) * time.Hour
			m.change(t, n, keep)
			m.wait(t, keep)
		}
	})
	t.Run("at the same time", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, n := range e.nodes() {
			wg.Go(func() {
				for i := range 20 {
					m.change(t, n, time.Duration(i+1)*time.Hour)
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		a := e.mallard.must(t, http.MethodGet, u.path("/mailboxes/%s", box), nil)
		m.wait(t, time.Duration(a.num("retention"))*time.Millisecond)
		m.change(t, e.mallard, 0)
		m.wait(t, 0)
	})
}

// expire: a message whose time has come stays while another node has the lock of the job that removes such, and goes into the
// archive when that has let it go. WildDuck looks for them every quarter of an hour, Mallard here every second.
func (m *keeping) expire(t *testing.T) {
	ctx, e := t.Context(), m.e
	const key = "wildduck:gc_expired"
	inbox := e.wildduck.mailbox(t, m.user, "INBOX")
	e.wildduck.deliver(t, m.user.address, simple("its time has come"))
	if !harness.Until(time.Minute, func() bool { return e.redis.HSetNX(ctx, key, "index", 1<<30).Val() }) {
		t.Fatal("the lock is never free")
	}
	e.redis.PExpire(ctx, key, 18*time.Minute)
	id, _ := bson.ObjectIDFromHex(inbox)
	filter := bson.D{{Key: "mailbox", Value: id}}
	due := bson.D{{Key: "$set", Value: bson.D{{Key: "exp", Value: true}, {Key: "rdate", Value: float64(time.Now().Add(-time.Hour).UnixMilli())}}}}
	if _, err := e.db.Collection("messages").UpdateMany(ctx, filter, due); err != nil {
		t.Fatal(err)
	}
	there := func(collection string) int64 {
		n, err := e.db.Collection(collection).CountDocuments(ctx, filter)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	time.Sleep(3 * time.Second) // it has had the time to do it wrongly
	if n := there("messages"); n != 1 {
		t.Errorf("%d messages while another has the lock, want 1", n)
	}
	e.redis.Del(ctx, key)
	e.redis.Publish(ctx, "wildduck-release", key)
	if !harness.Until(time.Minute, func() bool { return there("messages") == 0 }) || there("archived") != 1 {
		t.Errorf("%d messages and %d archived ones, want 0 and 1", there("messages"), there("archived"))
	}
	e.truth(t, m.user, "an expired message")
}

// keeping is a mailbox whose retention is changed.
type keeping struct {
	e       *env
	user    user
	mailbox string
}

func (m *keeping) change(t *testing.T, n *node, keep time.Duration) {
	t.Helper()
	if status, a := n.try(t, http.MethodPut, m.user.path("/mailboxes/%s", m.mailbox), answer{"retention": keep.Milliseconds()}); status != http.StatusOK {
		t.Errorf("%s: %d %v", n.name, status, a)
	}
}

// wait waits until every message has the date that the retention gives it, and no task is left.
func (m *keeping) wait(t *testing.T, keep time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id, err := bson.ObjectIDFromHex(m.mailbox)
	if err != nil {
		t.Fatal(err)
	}
	problem := ""
	if !harness.Until(30*time.Second, func() bool { problem = m.problem(ctx, t, id, keep); return problem == "" }) {
		t.Errorf("with %s: %s", keep, problem)
	}
	for _, n := range m.e.nodes() { // as both show it
		a := n.must(t, http.MethodGet, m.user.path("/mailboxes/%s/messages/1", m.mailbox), nil)
		if has := a.str("expires") != ""; has != (keep > 0) {
			t.Errorf("with %s %s shows the end of a message as %v", keep, n.name, a["expires"])
		}
	}
}

func (m *keeping) problem(ctx context.Context, t *testing.T, id bson.ObjectID, keep time.Duration) string {
	t.Helper()
	n, err := m.e.db.Collection("tasks").CountDocuments(ctx, bson.D{{Key: "task", Value: "mailbox-retention"}})
	if err != nil {
		t.Fatal(err)
	}
	if n > 0 {
		return fmt.Sprint(n, " tasks are left")
	}
	cur, err := m.e.db.Collection("messages").Find(ctx, bson.D{{Key: "mailbox", Value: id}})
	if err != nil {
		t.Fatal(err)
	}
	var docs []struct {
		UID           int
		Exp           bool
		Retention     int64
		RetentionTime float64 `bson:"retentionTime"`
		RDate         *float64
	}
	if err := cur.All(ctx, &docs); err != nil {
		t.Fatal(err)
	}
	if len(docs) != 30 {
		return fmt.Sprint("there are ", len(docs), " messages")
	}
	for _, d := range docs {
		dated := d.RDate != nil && *d.RDate == d.RetentionTime+float64(keep.Milliseconds())
		if d.Exp != (keep > 0) || d.Retention != keep.Milliseconds() || d.Exp && !dated {
			return fmt.Sprintf("%+v", d)
		}
	}
	return ""
}
