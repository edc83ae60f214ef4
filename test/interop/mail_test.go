//go:build e2e

package interop

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mallard/test/e2e/harness"
)

// mail: what either node has taken in is read through both as the same octets, by every protocol.
func (e *env) mail(t *testing.T) {
	// One message is delivered twice, once by each node, to two users: WildDuck drops what has the Message-ID and date of
	// a message that is there.
	byMallard, byWildDuck := e.wildduck.user(t, nil), e.mallard.user(t, nil)
	samples := delivered()
	for _, s := range samples {
		e.mallard.deliver(t, byMallard.address, s.text)
		e.wildduck.deliver(t, byWildDuck.address, s.text)
	}
	for _, u := range []struct {
		by   *node
		user user
	}{{e.mallard, byMallard}, {e.wildduck, byWildDuck}} {
		t.Run("taken in by "+u.by.name, func(t *testing.T) {
			c := e.compare(t, u.user)
			if n := len(uids(t, c.mallard)); n != len(samples) {
				t.Fatalf("%d messages, want %d", n, len(samples))
			}
			for i, s := range samples {
				t.Run(s.name, func(t *testing.T) { c.read(t, i+1, s) })
			}
		})
	}
	t.Run("the same by both", func(t *testing.T) {
		a, b := e.wildduck.login(t, byMallard), e.wildduck.login(t, byWildDuck)
		a.OK("EXAMINE INBOX")
		b.OK("EXAMINE INBOX")
		for i, s := range samples {
			t.Run(s.name, func(t *testing.T) { sameDelivery(t, a, b, i+1) })
		}
	})
	t.Run("POP3", func(t *testing.T) { e.readByPOP3(t, byMallard, samples) })
	t.Run("appended", func(t *testing.T) { e.each(t, e.appended) })
	t.Run("uploaded", func(t *testing.T) { e.each(t, e.uploaded) })
}

// comparison reads the INBOX of one user through both nodes.
type comparison struct {
	e                 *env
	user              user
	inbox             string
	mallard, wildduck *harness.Session
}

func (e *env) compare(t *testing.T, u user) comparison {
	t.Helper()
	c := comparison{e: e, user: u, inbox: e.wildduck.mailbox(t, u, "INBOX"), mallard: e.mallard.login(t, u), wildduck: e.wildduck.login(t, u)}
	c.mallard.OK("EXAMINE INBOX")
	c.wildduck.OK("EXAMINE INBOX")
	return c
}

// items are what FETCH gives: whole messages, parts that are there and that are not, and what is known about them.
const items = "BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[2] BODY.PEEK[2.MIME] BODY.PEEK[2.HEADER] BODY.PEEK[2.1] " +
	"BODY.PEEK[2.2] BODY.PEEK[]<10.50> BODY.PEEK[HEADER.FIELDS (Subject X-Long Nothing)] BODY.PEEK[HEADER.FIELDS.NOT (To Date)] " +
	"RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY FLAGS INTERNALDATE MODSEQ"

// read compares everything that can be read of one message.
func (c comparison) read(t *testing.T, uid int, s sample) {
	m, w := fetch(t, c.mallard, uid, items), fetch(t, c.wildduck, uid, items)
	if len(m) != len(w) {
		t.Errorf("FETCH gives %d items on Mallard, %d on WildDuck", len(m), len(w))
	}
	for item := range w {
		if m[item].String() != w[item].String() {
			t.Errorf("%s:\nMallard  %s\nWildDuck %s", item, clip(m[item].String()), clip(w[item].String()))
		}
	}
	whole := w["BODY[]"].text
	if s.exact && harness.Undelivered(whole) != s.text {
		t.Errorf("not the octets that were sent:\n%q\n%q", clip(harness.Undelivered(whole)), clip(s.text))
	}
	path := c.user.path("/mailboxes/%s/messages/%d", c.inbox, uid)
	if m, w := c.e.mallard.get(t, path+"/message.eml"), c.e.wildduck.get(t, path+"/message.eml"); m != w {
		t.Errorf("message.eml:\nMallard  %q\nWildDuck %q", clip(m), clip(w))
	}
	c.readMessage(t, path)
}

// readMessage compares what the API says about a message, and its attachments.
func (c comparison) readMessage(t *testing.T, path string) {
	m, w := c.e.mallard.must(t, http.MethodGet, path, nil), c.e.wildduck.must(t, http.MethodGet, path, nil)
	for _, key := range []string{"id", "mailbox", "thread", "envelope", "from", "to", "cc", "subject", "date", "idate", "size", "seen", "deleted", "flagged", "draft", "references", "contentType"} {
		if fmt.Sprint(m[key]) != fmt.Sprint(w[key]) {
			t.Errorf("API: %s is %.500v on Mallard, %.500v on WildDuck", key, m[key], w[key])
		}
	}
	ma, wa := m.list("attachments"), w.list("attachments")
	if len(ma) != len(wa) {
		t.Fatalf("%d attachments on Mallard, %d on WildDuck", len(ma), len(wa))
	}
	for i, a := range wa {
		for _, key := range []string{"id", "hash", "filename", "contentType", "disposition", "transferEncoding", "related", "sizeKb"} {
			if fmt.Sprint(ma[i][key]) != fmt.Sprint(a[key]) && (key != "filename" || !madeUp.MatchString(a.str(key))) {
				t.Errorf("API: attachment %d: %s is %v on Mallard, %v on WildDuck", i, key, ma[i][key], a[key])
			}
		}
		file := path + "/attachments/" + a.str("id")
		if m, w := c.e.mallard.get(t, file), c.e.wildduck.get(t, file); m != w {
			t.Errorf("attachment %d: %d octets on Mallard, %d on WildDuck", i, len(m), len(w))
		}
	}
}

// madeUp is a name that WildDuck gives to an attached message without one, another each time.
var madeUp = regexp.MustCompile(`^[0-9a-f]{8}\.eml$`)

func clip(s string) string {
	if len(s) > 1500 {
		return s[:700] + "…" + s[len(s)-700:]
	}
	return s
}

// sameDelivery compares what WildDuck makes of the same message when Mallard has stored it and when it has itself.
func sameDelivery(t *testing.T, byMallard, byWildDuck *harness.Session, uid int) {
	m, w := fetch(t, byMallard, uid, "BODY.PEEK[] BODYSTRUCTURE ENVELOPE"), fetch(t, byWildDuck, uid, "BODY.PEEK[] BODYSTRUCTURE ENVELOPE")
	if m, w := harness.Undelivered(m["BODY[]"].text), harness.Undelivered(w["BODY[]"].text); m != w {
		t.Errorf("BODY[]:\nMallard's  %q\nWildDuck's %q", clip(m), clip(w))
	}
	for _, item := range []string{"BODYSTRUCTURE", "ENVELOPE"} {
		if m[item].String() != w[item].String() {
			t.Errorf("%s:\nMallard's  %s\nWildDuck's %s", item, clip(m[item].String()), clip(w[item].String()))
		}
	}
}

// readByPOP3 reads what Mallard has stored by WildDuck's POP3.
func (e *env) readByPOP3(t *testing.T, u user, samples []sample) {
	inbox := e.wildduck.mailbox(t, u, "INBOX")
	p := e.wildduck.pop(t, u)
	if n := len(p.lines("LIST")); n != len(samples) {
		t.Fatalf("LIST has %d messages, want %d", n, len(samples))
	}
	for i, s := range samples {
		// POP3 sends what message.eml is; an end without a line end gets one.
		got := strings.Join(p.lines(fmt.Sprintf("RETR %d", i+1)), "\r\n") + "\r\n"
		want := e.wildduck.get(t, u.path("/mailboxes/%s/messages/%d/message.eml", inbox, i+1))
		if strings.TrimRight(got, "\r\n") != strings.TrimRight(strings.ReplaceAll(want, "\r\r\n", "\r\n"), "\r\n") {
			t.Errorf("%s:\nPOP3 %q\nAPI  %q", s.name, clip(got), clip(want))
		}
	}
	if ids := p.lines("UIDL"); len(ids) != len(samples) || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(samples) {
		t.Errorf("UIDL gives %q", ids)
	}
}

// appended reads by the one what was appended by the other.
func (e *env) appended(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	f := from.login(t, u)
	for _, s := range corpus() {
		if s.text[0] != '\r' {
			f.Append("INBOX", `\Seen $Keyword`, []byte(s.text))
		}
	}
	c := e.compare(t, u)
	for i, s := range slices.DeleteFunc(corpus(), func(s sample) bool { return s.text[0] == '\r' }) {
		t.Run(s.name, func(t *testing.T) { c.read(t, i+1, s) })
	}
}

// uploaded reads by the one what was uploaded to the API of the other.
func (e *env) uploaded(t *testing.T, from, to *node) {
	u := from.user(t, nil)
	inbox := to.mailbox(t, u, "INBOX")
	composed := answer{"subject": "Zusammengesetzt: Äpfel", "from": answer{"name": "A B", "address": u.address}, "to": []answer{{"name": "Größe", "address": "x@example.net"}},
		"text": "Text with Ünïcode", "html": "<p>Html</p>", "attachments": []answer{{"filename": "ä.txt", "contentType": "text/plain", "content": "aGVsbG8="}}, "metaData": answer{"k": "v"}, "flagged": true}
	uid := from.must(t, http.MethodPost, u.path("/mailboxes/%s/messages", inbox), composed).obj("message").num("id")
	raw := from.upload(t, u, inbox, simple("uploaded"))
	c := e.compare(t, u)
	c.read(t, uid, sample{})
	c.read(t, raw, sample{})
	m, w := e.mallard.must(t, http.MethodGet, u.path("/mailboxes/%s/messages/%d", inbox, uid), nil), e.wildduck.must(t, http.MethodGet, u.path("/mailboxes/%s/messages/%d", inbox, uid), nil)
	if fmt.Sprint(m["metaData"]) != "map[k:v]" || fmt.Sprint(w["metaData"]) != "map[k:v]" {
		t.Errorf("metaData is %v on Mallard, %v on WildDuck", m["metaData"], w["metaData"])
	}
}
