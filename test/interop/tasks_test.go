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
