//go:build e2e

package interop

import (
	"fmt"
	"mime"
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
			c.by = u.by
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
	t.Run("POP3", func(t *testing.T) { e.readByPOP3(t, byMallard, byWildDuck, samples) })
	t.Run("appended", func(t *testing.T) { e.each(t, e.appended) })
	t.Run("uploaded", func(t *testing.T) { e.each(t, e.uploaded) })
}

// comparison reads the INBOX of one user through both nodes.
type comparison struct {
	e                 *env
	user              user
	by                *node // who has stored the messages
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

// octetItems are parts of a message, some that are there and some that are not; aboutItems are what is known about it.
const (
	octetItems = "BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[2] BODY.PEEK[2.MIME] BODY.PEEK[2.HEADER] BODY.PEEK[2.1] " +
		"BODY.PEEK[2.2] BODY.PEEK[]<10.50> BODY.PEEK[HEADER.FIELDS (Subject X-Long Nothing)] BODY.PEEK[HEADER.FIELDS.NOT (To Date)] RFC822.SIZE"
	aboutItems = "ENVELOPE BODYSTRUCTURE FLAGS INTERNALDATE MODSEQ"
)

// read compares everything that can be read of one message.
func (c comparison) read(t *testing.T, uid int, s sample) {
	m, w := fetch(t, c.mallard, uid, octetItems+" "+aboutItems), fetch(t, c.wildduck, uid, octetItems+" "+aboutItems)
	if s.exact && harness.Undelivered(w["BODY[]"].text) != s.text {
		t.Errorf("not the octets that were sent:\n%q\n%q", clip(harness.Undelivered(w["BODY[]"].text)), clip(s.text))
	}
	if c.by == c.e.mallard && harness.Undelivered(m["BODY[]"].text) != s.text {
		t.Errorf("Mallard gives other octets than it took:\n%q\n%q", clip(harness.Undelivered(m["BODY[]"].text)), clip(s.text))
	}
	// Mallard keeps the octets that it took in; WildDuck rebuilds them, which gives the same for most mail.
	if rebuilt := c.by == c.e.mallard && !s.exact && !onlyWildDuck(); !rebuilt {
		c.sameOctets(t, uid, s, m, w)
	}
	for _, item := range []string{"INTERNALDATE", "MODSEQ"} {
		if m[item].String() != w[item].String() {
			t.Errorf("%s is %s on Mallard, %s on WildDuck", item, m[item], w[item])
		}
	}
	if a, b := flags(m["FLAGS"]), flags(w["FLAGS"]); a != b {
		t.Errorf("FLAGS is %s on Mallard, %s on WildDuck", a, b)
	}
	if a, b := decoded(m["ENVELOPE"]), decoded(w["ENVELOPE"]); a != b {
		t.Errorf("ENVELOPE:\nMallard  %s\nWildDuck %s", clip(a), clip(b))
	}
	c.readMessage(t, c.user.path("/mailboxes/%s/messages/%d", c.inbox, uid))
}

// flags are those of a message but for \Recent, which WildDuck does not have.
func flags(v value) string {
	var names []string
	for _, f := range v.list {
		if f.text != `\Recent` {
			names = append(names, f.text)
		}
	}
	return strings.Join(names, " ")
}

func (c comparison) sameOctets(t *testing.T, uid int, s sample, m, w map[string]value) {
	t.Helper()
	for item := range w {
		if !strings.HasPrefix(item, "BODY[") && item != "RFC822.SIZE" {
			continue
		}
		if !s.exact && item != "BODY[]" && item != "RFC822.SIZE" {
			continue // parts of what is rebuilt end here or there
		}
		if m[item].text != w[item].text { // what is not there is NIL here and empty there
			t.Errorf("%s:\nMallard  %q\nWildDuck %q", item, clip(m[item].text), clip(w[item].text))
		}
	}
	// A multipart without boundary is text for Mallard.
	if a, b := leaves(m["BODYSTRUCTURE"]), leaves(w["BODYSTRUCTURE"]); s.exact && a != b && b != "" && !strings.HasPrefix(b, "MULTIPART/") {
		t.Errorf("BODYSTRUCTURE:\nMallard  %s\nWildDuck %s", a, b)
	}
	path := c.user.path("/mailboxes/%s/messages/%d", c.inbox, uid)
	// WildDuck ends most downloads with a line end too many.
	if m, w := c.e.mallard.get(t, path+"/message.eml"), c.e.wildduck.get(t, path+"/message.eml"); s.exact && strings.TrimRight(m, "\r\n ") != strings.TrimRight(w, "\r\n ") {
		t.Errorf("message.eml:\nMallard  %q\nWildDuck %q", clip(m), clip(w))
	}
	a, b := c.e.mallard.must(t, http.MethodGet, path, nil), c.e.wildduck.must(t, http.MethodGet, path, nil)
	if a.num("size") != b.num("size") {
		t.Errorf("API: size is %d on Mallard, %d on WildDuck", a.num("size"), b.num("size"))
	}
}

// decoded is a value with its encoded words decoded, which WildDuck writes in a way of its own.
func decoded(v value) string {
	var d mime.WordDecoder
	if v.kind != '(' {
		if text, err := d.DecodeHeader(v.text); err == nil {
			v.text = text
		}
		if v.text == "" {
			return "NIL" // as WildDuck has no subject
		}
		return v.String()
	}
	var parts []string
	for _, e := range v.list {
		parts = append(parts, decoded(e))
	}
	return "(" + strings.Join(parts, " ") + ")"
}

// leaves are the parts of a BODYSTRUCTURE that are not multipart: type, encoding, size. What there is beside (a charset that
// is the default, parameters in another spelling) each server writes in its way.
func leaves(v value) string {
	if len(v.list) > 0 && v.list[0].kind == '(' {
		var all []string
		for _, e := range v.list {
			if e.kind != '(' {
				break
			}
			if l := leaves(e); l != "" {
				all = append(all, l)
			}
		}
		return strings.Join(all, ", ")
	}
	if len(v.list) < 7 {
		return ""
	}
	return strings.ToUpper(fmt.Sprint(v.list[0].text, "/", v.list[1].text, " ", v.list[5].text, " ", v.list[6].text))
}

// readMessage compares what the API says about a message, and its attachments.
func (c comparison) readMessage(t *testing.T, path string) {
	m, w := c.e.mallard.must(t, http.MethodGet, path, nil), c.e.wildduck.must(t, http.MethodGet, path, nil)
	for _, key := range []string{"id", "mailbox", "thread", "envelope", "from", "to", "cc", "subject", "date", "idate", "seen", "deleted", "flagged", "draft", "references", "contentType"} {
		if fmt.Sprint(m[key]) != fmt.Sprint(w[key]) {
			t.Errorf("API: %s is %.500v on Mallard, %.500v on WildDuck", key, m[key], w[key])
		}
	}
	ma, wa := m.list("attachments"), w.list("attachments")
	if len(ma) != len(wa) {
		t.Fatalf("%d attachments on Mallard, %d on WildDuck", len(ma), len(wa))
	}
	for i, a := range wa {
		for _, key := range []string{"id", "filename", "contentType", "disposition", "transferEncoding", "related", "sizeKb"} {
			m, w := fmt.Sprint(ma[i][key]), fmt.Sprint(a[key])
			if m != w && !(key == "filename" && madeUp.MatchString(m) && madeUp.MatchString(w)) {
				t.Errorf("API: attachment %d: %s is %s on Mallard, %s on WildDuck", i, key, m, w)
			}
		}
		file := path + "/attachments/" + a.str("id")
		if m, w := c.e.mallard.get(t, file), c.e.wildduck.get(t, file); m != w {
			t.Errorf("attachment %d: %d octets on Mallard, %d on WildDuck", i, len(m), len(w))
		}
	}
}

// madeUp is a name that is given to a part without one, another each time.
var madeUp = regexp.MustCompile(`^[0-9a-f]{8}\.[a-z]+$`)

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
	if m, w := m["ENVELOPE"].String(), w["ENVELOPE"].String(); m != w {
		t.Errorf("ENVELOPE:\nMallard's  %s\nWildDuck's %s", clip(m), clip(w))
	}
	// WildDuck stores an empty list for a multipart without boundary.
	if m, w := m["BODYSTRUCTURE"].String(), w["BODYSTRUCTURE"].String(); m != w && !strings.HasPrefix(w, "(() ") {
		t.Errorf("BODYSTRUCTURE:\nMallard's  %s\nWildDuck's %s", clip(m), clip(w))
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
	c.by = from
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
	c.read(t, uid, sample{exact: true, text: fetch(t, c.wildduck, uid, "BODY.PEEK[]")["BODY[]"].text})
	c.read(t, raw, sample{exact: true, text: fetch(t, c.wildduck, raw, "BODY.PEEK[]")["BODY[]"].text})
	m, w := e.mallard.must(t, http.MethodGet, u.path("/mailboxes/%s/messages/%d", inbox, uid), nil), e.wildduck.must(t, http.MethodGet, u.path("/mailboxes/%s/messages/%d", inbox, uid), nil)
	if fmt.Sprint(m["metaData"]) != "map[k:v]" || fmt.Sprint(w["metaData"]) != "map[k:v]" {
		t.Errorf("metaData is %v on Mallard, %v on WildDuck", m["metaData"], w["metaData"])
	}
}
