//go:build e2e

package interop

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/test/e2e/harness"
)

// pop3: WildDuck's POP3 serves what Mallard has stored, and Mallard's sessions are told what is done there.
func (e *env) pop3(t *testing.T) {
	t.Run("told", e.popTold)
	t.Run("without QUIT", e.popBroken)
	t.Run("expunged elsewhere", e.popExpunged)
}

// octets sends RETR or TOP and returns the message as it came, without the dots that POP3 adds.
func (p *pop) octets(command string) string {
	p.t.Helper()
	p.ok(command)
	var b strings.Builder
	for {
		line, err := p.c.R.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%s: %v", command, err)
		}
		if line == ".\r\n" {
			return b.String()
		}
		io.WriteString(&b, strings.TrimPrefix(line, "."))
	}
}

// readByPOP3 reads what Mallard has taken in by WildDuck's POP3: it is what that gives of the same mail when WildDuck has taken
// it in itself, and the octets that were sent, for all mail that the stored form gives back as it was. WildDuck ends some mail
// with a line end too many there, its own as well.
func (e *env) readByPOP3(t *testing.T, byMallard, byWildDuck user, samples []sample) {
	p, own := e.wildduck.pop(t, byMallard), e.wildduck.pop(t, byWildDuck)
	sizes := p.lines("LIST")
	if len(sizes) != len(samples) {
		t.Fatalf("LIST has %d messages, want %d", len(sizes), len(samples))
	}
	for i, s := range samples {
		got, want := p.octets(fmt.Sprintf("RETR %d", i+1)), own.octets(fmt.Sprintf("RETR %d", i+1))
		if got, want := harness.Undelivered(got), harness.Undelivered(want); got != want {
			t.Errorf("%s: as Mallard took it in %q, as WildDuck did %q", s.name, clip(got), clip(want))
		}
		sent := harness.Undelivered(got)
		if s.exact && sent != s.text && sent != s.text+"\r\n" {
			t.Errorf("%s: not the octets that Mallard took in:\n%q\n%q", s.name, clip(sent), clip(s.text))
		}
		if size := len(got) - len(sent) + len(s.text); s.exact && sizes[i] != fmt.Sprintf("%d %d", i+1, size) {
			t.Errorf("%s: LIST says %q of %d octets", s.name, sizes[i], size)
		}
		head, _, _ := strings.Cut(got, "\r\n\r\n")
		if top := p.octets(fmt.Sprintf("TOP %d 0", i+1)); strings.TrimRight(top, "\r\n") != head {
			t.Errorf("%s: TOP gives %q, want %q", s.name, clip(top), clip(head))
		}
	}
	inbox := e.wildduck.mailbox(t, byMallard, "INBOX")
	if ids, want := p.lines("UIDL"), e.uidl(t, inbox); !slices.Equal(ids, want) {
		t.Errorf("UIDL gives %q, want %q", ids, want)
	}
}

// uidl is what UIDL must say of a mailbox: the ids of the messages' documents.
func (e *env) uidl(t *testing.T, mailbox string) []string {
	t.Helper()
	id, err := bson.ObjectIDFromHex(mailbox)
	if err != nil {
		t.Fatal(err)
	}
	all, err := rows[document](t.Context(), e.db.Collection("messages"), bson.D{{Key: "mailbox", Value: id}}, options.Find().SetSort(bson.D{{Key: "uid", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i, m := range all {
		lines = append(lines, fmt.Sprintf("%d %s", i+1, m.ID.Hex()))
	}
	return lines
}

// popTold: messages that are read and deleted by POP3 are seen and moved to the trash; an IDLE session of Mallard and its
// event stream are told so, within the second once at least.
func (e *env) popTold(t *testing.T) {
	u := e.mallard.user(t, nil)
	inbox, trash := e.mallard.mailbox(t, u, "INBOX"), e.mallard.mailbox(t, u, "Trash")
	e.truth(t, u, "creation") // every counter is cached now
	best := time.Hour
	for round := range 3 {
		first := 3*round + 1 // the UID of what is delivered now
		texts := []string{simple("deleted"), simple("read"), simple("deleted as well")}
		e.mallard.deliver(t, u.address, texts[0])
		e.mallard.login(t, u).Append("INBOX", "", []byte(texts[1]))
		e.mallard.upload(t, u, inbox, texts[2])
		idle, idleTrash, events := e.mallard.startIdle(t, u, "INBOX"), e.mallard.startIdle(t, u, "Trash"), e.mallard.follow(t, u)
		p := e.wildduck.pop(t, u)
		p.ok(fmt.Sprintf("DELE %d", round+1)) // what was read in the rounds before is first
		if got := harness.Undelivered(p.octets(fmt.Sprintf("RETR %d", round+2))); got != texts[1] {
			t.Errorf("POP3 gives %q, want %q", got, texts[1])
		}
		p.ok(fmt.Sprintf("DELE %d", round+3))
		begin := time.Now()
		p.ok("QUIT")
		told := idle.all(fmt.Sprintf(`^\* %d EXPUNGE`, round+1), `^\* \d+ EXPUNGE`, `^\* \d+ FETCH .*\\Seen`)
		told = latest(told, idleTrash.wait(fmt.Sprintf(`^\* %d EXISTS`, 2*round+2)))
		for _, event := range []answer{
			{"command": "EXPUNGE", "mailbox": inbox, "uid": first},
			{"command": "EXPUNGE", "mailbox": inbox, "uid": first + 2},
			{"command": "EXISTS", "mailbox": trash, "uid": 2*round + 1},
			{"command": "EXISTS", "mailbox": trash, "uid": 2*round + 2},
			{"command": "FETCH", "mailbox": inbox, "uid": first + 1, "flags": `[\Seen]`},
			{"command": "COUNTERS", "mailbox": inbox, "total": round + 1, "unseen": 0},
			{"command": "COUNTERS", "mailbox": trash, "total": 2*round + 2, "unseen": 0},
		} {
			told = latest(told, events.wait(event))
		}
		best = min(best, told.Sub(begin))
		t.Logf("all is told after %s", told.Sub(begin).Round(time.Millisecond))
		e.truth(t, u, "DELE and QUIT")
		e.popDeleted(t, u, texts[0], texts[2], 2*round+1)
	}
	if best > within {
		t.Errorf("it never was told before %s", best)
	}
}

// popDeleted checks two messages that were moved to the trash.
func (e *env) popDeleted(t *testing.T, u user, first, second string, uid int) {
	t.Helper()
	for _, n := range e.nodes() {
		s := n.login(t, u)
		s.OK("SELECT Trash")
		var texts []string
		for i := range 2 {
			m := fetch(t, s, uid+i, "BODY.PEEK[] FLAGS")
			if got := flags(m["FLAGS"]); got != `\Seen` {
				t.Errorf("%s: UID %d in the trash has the flags %q", n.name, uid+i, got)
			}
			texts = append(texts, harness.Undelivered(m["BODY[]"].text))
		}
		if want := []string{first, second}; !slices.Equal(texts, want) && !slices.Equal(texts, []string{second, first}) {
			t.Errorf("%s: in the trash is %q, want %q", n.name, texts, want)
		}
		s.OK("SELECT INBOX")
		if unseen := search(t, s, "UNSEEN"); len(unseen) > 0 {
			t.Errorf("%s: unseen are %v", n.name, unseen)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// popBroken: nothing changes when a POP3 session ends without QUIT.
func (e *env) popBroken(t *testing.T) {
	u := e.mallard.user(t, nil)
	e.mallard.deliver(t, u.address, simple("stays"), simple("stays as well"))
	events := e.mallard.follow(t, u)
	p := e.wildduck.pop(t, u)
	p.ok("DELE 1")
	p.octets("RETR 2")
	p.c.Close()
	// What comes afterwards is told, so nothing else would still be on the way.
	again := e.wildduck.pop(t, u)
	again.ok("DELE 2")
	again.ok("QUIT")
	events.wait(answer{"command": "EXPUNGE", "uid": 2})
	for _, event := range events.all() {
		if event["uid"] == float64(1) && event["command"] != "EXISTS" {
			t.Errorf("a session that ended without QUIT did %v", event)
		}
	}
	s := e.mallard.login(t, u)
	s.OK("SELECT INBOX")
	if got, unseen := uids(t, s), search(t, s, "UNSEEN"); !slices.Equal(got, []int{1}) || !slices.Equal(unseen, []int{1}) {
		t.Errorf("there are %v, unseen %v, want 1 and 1", got, unseen)
	}
}

// popExpunged: what Mallard has removed or moved away is not in the next POP3 session, what it has copied and moved in is, and
// the others keep their identifiers.
func (e *env) popExpunged(t *testing.T) {
	u := e.mallard.user(t, nil)
	inbox := e.mallard.mailbox(t, u, "INBOX")
	e.mallard.deliver(t, u.address, many("message", 5)...)
	before := e.wildduck.pop(t, u).lines("UIDL")
	s := e.mallard.login(t, u)
	s.OK("SELECT INBOX")
	s.OK(`UID STORE 1 +FLAGS.SILENT (\Deleted)`)
	s.OK("EXPUNGE")
	s.OK("UID MOVE 2 Trash")
	e.mallard.must(t, http.MethodDelete, u.path("/mailboxes/%s/messages/3", inbox), nil)
	s.OK("UID COPY 5 INBOX")
	s.OK("SELECT Trash")
	s.OK("MOVE 1 INBOX")
	want := e.uidl(t, inbox)
	if got := e.wildduck.pop(t, u).lines("UIDL"); !slices.Equal(got, want) || len(got) != 4 {
		t.Errorf("UIDL gives %q, want %q", got, want)
	}
	for i, line := range want[:2] { // those that stayed
		if _, id, _ := strings.Cut(line, " "); !strings.HasSuffix(before[3+i], id) {
			t.Errorf("UIDL of a message that stayed is %q, was %q", line, before[3+i])
		}
	}
	if got := harness.Undelivered(e.wildduck.pop(t, u).octets("RETR 4")); !strings.Contains(got, "message 1") {
		t.Errorf("the message that went to the trash and back is %q", got)
	}
}
