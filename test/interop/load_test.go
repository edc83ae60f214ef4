//go:build e2e

package interop

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"mallard/test/e2e/harness"
)

// What each of the writers does in a load.
const (
	deliveries = 25
	appends    = 15
	uploads    = 10
)

// load: both nodes write into one mailbox at once, by every way in, and change flags meanwhile. No UID is used twice,
// nothing is lost, and a session of Mallard that follows misses nothing. WildDuck's own sessions can: they read the journal
// beyond the largest mod-sequence they have seen, and a row with a smaller one may be written later.
func (e *env) load(t *testing.T) {
	u := e.mallard.user(t, nil)
	inbox := e.mallard.mailbox(t, u, "INBOX")
	f := startFollower(t, e.mallard, u)
	var work sync.WaitGroup
	for _, n := range e.nodes() {
		work.Go(func() { // two connections, as an MX has several
			n.deliver(t, u.address, many(n.name+" a", deliveries)...)
		})
		work.Go(func() { n.deliver(t, u.address, many(n.name+" b", deliveries)...) })
		work.Go(func() {
			s := n.login(t, u)
			for _, m := range many(n.name+" c", appends) {
				s.Append("INBOX", "", []byte(m))
			}
		})
		work.Go(func() {
			for _, m := range many(n.name+" d", uploads) {
				n.upload(t, u, inbox, m)
			}
		})
		work.Go(func() {
			s := n.login(t, u)
			s.OK("SELECT INBOX")
			for i := range 20 {
				s.OK("NOOP")
				s.OK(fmt.Sprintf(`UID STORE %d:* +FLAGS.SILENT ($Load%d)`, i+1, i%3))
			}
		})
	}
	work.Wait()
	if t.Failed() {
		return
	}
	const want = 2 * (2*deliveries + appends + uploads)
	list := e.checkUIDs(t, u, inbox, want)
	if !onlyWildDuck() {
		f.check(t, list)
	}
	e.truth(t, u, "the load")
}

func many(text string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, simple(fmt.Sprintf("%s %d", text, i)))
	}
	return all
}

// checkUIDs compares the database and what both nodes show, and returns the UIDs.
func (e *env) checkUIDs(t *testing.T, u user, inbox string, want int) []int {
	t.Helper()
	id, err := bson.ObjectIDFromHex(inbox)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := e.db.Collection("messages").Find(t.Context(), bson.D{{Key: "mailbox", Value: id}})
	if err != nil {
		t.Fatal(err)
	}
	var messages []struct{ UID, Modseq int }
	if err := rows.All(t.Context(), &messages); err != nil {
		t.Fatal(err)
	}
	var mailbox struct{ UIDNext, ModifyIndex int }
	if err := e.db.Collection("mailboxes").FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Decode(&mailbox); err != nil {
		t.Fatal(err)
	}
	var list []int
	for _, m := range messages {
		list = append(list, m.UID)
		if m.Modseq > mailbox.ModifyIndex || m.UID >= mailbox.UIDNext {
			t.Errorf("UID %d, MODSEQ %d in a mailbox with UIDNEXT %d, HIGHESTMODSEQ %d", m.UID, m.Modseq, mailbox.UIDNext, mailbox.ModifyIndex)
		}
	}
	slices.Sort(list)
	if distinct := slices.Compact(slices.Clone(list)); len(list) != want || len(distinct) != want {
		t.Fatalf("%d messages with %d UIDs, want %d", len(list), len(distinct), want)
	}
	for _, n := range e.nodes() {
		s := n.login(t, u)
		s.OK("SELECT INBOX")
		if got := uids(t, s); !slices.Equal(got, list) {
			t.Errorf("%s lists %v, the database %v", n.name, got, list)
		}
		if api := n.messages(t, u, inbox); len(api) != want {
			t.Errorf("%s lists %d messages by the API", n.name, len(api))
		}
	}
	return list
}

// A follower is a session that stays open and is told of everything.
type follower struct {
	node *node
	s    *harness.Session
	user user
}

func startFollower(t *testing.T, n *node, u user) *follower {
	t.Helper()
	f := &follower{node: n, s: n.login(t, u), user: u}
	f.s.OK("SELECT INBOX (CONDSTORE)")
	return f
}

// check: a session that was open all the time comes to the whole mailbox.
func (f *follower) check(t *testing.T, want []int) {
	t.Helper()
	known := 0
	ok := harness.Until(10*time.Second, func() bool {
		for _, r := range f.s.OK("NOOP") {
			if n, ok := strings.CutSuffix(strings.TrimPrefix(r, "* "), " EXISTS"); ok {
				fmt.Sscan(n, &known)
			}
		}
		return known == len(want)
	})
	if !ok {
		t.Errorf("a session of %s that was open all the time knows %d messages, want %d", f.node.name, known, len(want))
	}
	if got := uids(t, f.s); !slices.Equal(got, want) {
		t.Errorf("a session of %s that was open all the time has %v, want %v", f.node.name, got, want)
	}
	fresh := f.node.login(t, f.user)
	fresh.OK("SELECT INBOX")
	old, now := fetchAll(t, f.s, "1:*", "FLAGS MODSEQ"), fetchAll(t, fresh, "1:*", "FLAGS MODSEQ")
	for uid := range now {
		if fmt.Sprint(old[uid]) != fmt.Sprint(now[uid]) {
			t.Errorf("%s: UID %d is %v in the session that was open all the time, %v in a new one", f.node.name, uid, old[uid], now[uid])
		}
	}
}
