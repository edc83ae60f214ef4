//go:build e2e

package interop

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// counters: quota, numbers of messages and of unseen ones are the truth on both, whoever changed what.
func (e *env) counters(t *testing.T) {
	t.Run("agree", func(t *testing.T) { e.each(t, e.countersAgree) })
	t.Run("over quota", func(t *testing.T) { e.each(t, e.overQuota) })
}

func (e *env) countersAgree(t *testing.T, from, to *node) {
	u := from.user(t, answer{"quota": 100_000_000})
	inbox, trash := from.mailbox(t, u, "INBOX"), from.mailbox(t, u, "Trash")
	f, s := from.login(t, u), to.login(t, u)
	f.OK("SELECT INBOX")
	s.OK("SELECT INBOX")
	check := func(after string) {
		t.Helper()
		e.truth(t, u, after)
	}
	check("creation")
	for i, sample := range delivered()[:12] {
		[]*node{from, to}[i%2].deliver(t, u.address, sample.text)
	}
	check("delivery")
	f.Append("INBOX", `\Seen`, []byte(simple("appended")))
	to.upload(t, u, inbox, simple("uploaded"))
	check("APPEND and upload")
	s.OK("NOOP")
	f.OK("NOOP")
	f.OK(`UID STORE 1:4 +FLAGS (\Seen)`)
	to.must(t, http.MethodPut, u.path("/mailboxes/%s/messages/3,4,5", inbox), answer{"seen": false})
	check("flags")
	f.OK("UID COPY 1:6 Trash")
	s.OK("UID COPY 2:3 INBOX")
	check("COPY")
	s.OK("UID MOVE 5:6 Trash")
	from.must(t, http.MethodPut, u.path("/mailboxes/%s/messages/7", inbox), answer{"moveTo": trash})
	check("MOVE")
	f.OK(`UID STORE 1,8 +FLAGS.SILENT (\Deleted)`)
	f.OK("EXPUNGE")
	from.must(t, http.MethodDelete, u.path("/mailboxes/%s/messages/9", inbox), nil)
	to.must(t, http.MethodDelete, u.path("/mailboxes/%s/messages/10", inbox), nil)
	check("deletion")
	to.must(t, http.MethodDelete, u.path("/mailboxes/%s/messages", trash), nil)
	check("clearing a mailbox")
	a := to.must(t, http.MethodPost, u.path("/quota/reset"), nil)
	if a.num("storageUsed") != a.num("previousStorageUsed") {
		t.Errorf("%s recalculates the quota as %v", to.name, a)
	}
}

// truth compares what each node says with what the database holds.
func (e *env) truth(t *testing.T, u user, after string) {
	t.Helper()
	used, total, unseen := e.count(t, u)
	for _, n := range e.nodes() {
		a := n.must(t, http.MethodGet, u.path(""), nil)
		if got := a.obj("limits").obj("quota").num("used"); got != used {
			t.Errorf("after %s: %s says that %d octets are used, there are %d", after, n.name, got, used)
		}
		s := n.login(t, u)
		for _, m := range n.must(t, http.MethodGet, u.path("/mailboxes?counters=true"), nil).list("results") {
			id, path := m.str("id"), m.str("path")
			if m.num("total") != total[id] || m.num("unseen") != unseen[id] {
				t.Errorf("after %s: %s has %d messages, %d unseen in %s; there are %d, %d", after, n.name, m.num("total"), m.num("unseen"), path, total[id], unseen[id])
			}
			want := fmt.Sprintf(`MESSAGES %d UNSEEN %d`, total[id], unseen[id])
			if got := s.OK(fmt.Sprintf("STATUS %q (MESSAGES UNSEEN)", path)); !strings.Contains(fmt.Sprint(got), want) {
				t.Errorf("after %s: %s: %q, want %s", after, n.name, got, want)
			}
		}
		quota := fmt.Sprintf(`\* QUOTA "" \(STORAGE %d `, (used+1023)/1024)
		s.Expect(s.OK(`GETQUOTA ""`), quota)
		s.OK("LOGOUT")
	}
}

// count adds up what the database holds.
func (e *env) count(t *testing.T, u user) (used int, total, unseen map[string]int) {
	t.Helper()
	id, err := bson.ObjectIDFromHex(u.id)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := e.db.Collection("messages").Find(t.Context(), bson.D{{Key: "user", Value: id}})
	if err != nil {
		t.Fatal(err)
	}
	var messages []struct {
		Mailbox bson.ObjectID
		Size    int
		Unseen  bool
		Flags   []string
	}
	if err := rows.All(t.Context(), &messages); err != nil {
		t.Fatal(err)
	}
	total, unseen = map[string]int{}, map[string]int{}
	for _, m := range messages {
		used += m.Size
		total[m.Mailbox.Hex()]++
		if m.Unseen {
			unseen[m.Mailbox.Hex()]++
		}
		if m.Unseen == strings.Contains(strings.Join(m.Flags, " "), `\Seen`) {
			t.Errorf("a message is unseen %v with flags %q", m.Unseen, m.Flags)
		}
	}
	return used, total, unseen
}

// overQuota: what one node stored is in the way on the other. WildDuck's LMTP does not look at the quota.
func (e *env) overQuota(t *testing.T, from, to *node) {
	u := from.user(t, answer{"quota": 10_000})
	for i := range 3 {
		e.wildduck.deliver(t, u.address, simple(fmt.Sprintf("fills %d", i))+strings.Repeat("0123456789abcdef\r\n", 250))
	}
	message := simple("too much")
	s := to.login(t, u)
	s.Send(fmt.Sprintf("a APPEND INBOX {%d}", len(message)))
	line := s.Line()
	if strings.HasPrefix(line, "+") {
		s.Send(message)
		line = s.Line()
	}
	if !strings.HasPrefix(line, "a NO [OVERQUOTA]") {
		t.Errorf("%s: APPEND over quota: %s", to.name, line)
	}
	to.must(t, http.MethodPut, u.path(""), answer{"quota": 1_000_000})
	from.login(t, u).Append("INBOX", "", []byte(message))
}
