package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mallard/internal/auth"
	"mallard/internal/mail"
)

// TestForeignUser calls every route about another user with a user's token.
func TestForeignUser(t *testing.T) {
	w := newWorld(t)
	ann, annInbox := w.user("ann")
	bob, bobInbox := w.user("bob")
	w.put(bob.ID, bobInbox, "Subject: secret\r\nContent-Type: application/x\r\n\r\nof bob\r\n", "")
	token := w.token(ann)
	addr, err := w.accounts.AccountAddresses(context.Background(), bob.ID)
	must(t, err)
	bodies := map[string]string{
		"createAddress": `{"address":"z@example.com"}`, "updateAddress": `{"main":true}`, "createMailbox": `{"path":"x"}`,
		"updateMailbox": `{"hidden":true}`, "uploadMessage": `{"text":"x"}`, "updateMessages": `{"message":"1","seen":true}`,
		"updateMessage": `{"seen":true}`, "changeFoundMessages": `{"action":{"delete":true}}`, "updateUser": `{"name":"x"}`,
		"renameDomain": `{"oldDomain":"example.com","newDomain":"evil.test"}`,
	}
	event, err := w.book.LogAuthEvent(t.Context(), mail.AuthEvent{Account: bob.ID, Action: "secret"}, 1)
	must(t, err)
	values := map[string]string{
		":event": event, ":user": bob.ID.String(), ":mailbox": bobInbox.String(), ":message": "1", ":attachment": "ATT00001",
		":address": addr[0].ID.String(), ":id": addr[0].ID.String(), ":username": "bob",
	}
	for _, r := range w.api.routes {
		if !strings.Contains(r.Pattern, ":user") && !strings.HasPrefix(r.Pattern, "/addresses/") {
			continue
		}
		target := fillPattern(r.Pattern, values)
		got := w.call(r.Method, target, bodies[r.Name], "X-Access-Token", token)
		if got.status != http.StatusForbidden && !(r.Name == "createForwardedAddress" && got.status == 400) {
			t.Errorf("%s: another user's: %d %s", r.Name, got.status, got.body)
		}
		// The same things named under the caller's own account must not be there.
		if !strings.Contains(r.Pattern, ":mailbox") && !strings.Contains(r.Pattern, ":address") && !strings.Contains(r.Pattern, ":event") {
			continue
		}
		if strings.HasPrefix(r.Pattern, "/addresses/") {
			continue
		}
		target = strings.Replace(target, bob.ID.String(), "me", 1)
		got = w.call(r.Method, target, bodies[r.Name], "X-Access-Token", token)
		if got.status < 400 || strings.Contains(got.body, "secret") || strings.Contains(got.body, "of bob") {
			t.Errorf("%s: another user's thing as one's own: %d %s", r.Name, got.status, got.body)
		}
	}
	// Nor can messages be moved into or out of another account.
	w.put(ann.ID, annInbox, "Subject: x\r\n\r\ny\r\n", "")
	path := "/users/me/mailboxes/" + annInbox.String() + "/messages/1"
	if got := w.call("PUT", path, fmt.Sprintf(`{"moveTo":"%s"}`, bobInbox), "X-Access-Token", token); got.status != 500 || !strings.Contains(got.body, "Mailbox is missing") {
		t.Errorf("move into another account: %d %s", got.status, got.body)
	}
	body := fmt.Sprintf(`{"reference":{"mailbox":"%s","id":1,"action":"forward","attachments":true},"replacePrevious":{"mailbox":"%s","id":1}}`, bobInbox, bobInbox)
	got := w.call("POST", "/users/me/mailboxes/"+annInbox.String()+"/messages", body, "X-Access-Token", token)
	if got.status != 200 || strings.Contains(got.body, `"previousDeleted": true`) {
		t.Errorf("reference to another account: %d %s", got.status, got.body)
	}
	source := w.call("GET", "/users/me/mailboxes/"+annInbox.String()+"/messages/2/message.eml", "", "X-Access-Token", token)
	if strings.Contains(source.body, "secret") || strings.Contains(source.body, "of bob") {
		t.Errorf("a draft took over another account's mail:\n%s", source.body)
	}
	if got := w.call("GET", "/users/"+bob.ID.String()+"/mailboxes/"+bobInbox.String()+"/messages/1", ""); got.status != 200 || !strings.Contains(got.body, `"seen": false`) {
		t.Errorf("bob's message afterwards: %d %s", got.status, got.body)
	}
	// Lists show one's own only, whatever is asked for.
	for _, target := range []string{"/users?query=bob", "/users?limit=250", "/addresses?query=bob", "/addresses?forward=b"} {
		if got := w.call("GET", target, "", "X-Access-Token", token); strings.Contains(got.body, "bob@") {
			t.Errorf("%s shows others: %s", target, got.body)
		}
	}
}

func fillPattern(pattern string, values map[string]string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if v, ok := values[p]; ok {
			parts[i] = v
		}
	}
	return strings.Join(parts, "/")
}

// TestMe holds "me" to tokens of users.
func TestMe(t *testing.T) {
	w := newWorld(t)
	ann, _ := w.user("ann")
	ctx := context.Background()
	root, err := w.tokens.Provision(ctx, "operator", auth.RoleRoot)
	must(t, err)
	rootOfAnn, err := w.tokens.Provision(ctx, ann.ID.String(), auth.RoleRoot)
	must(t, err)
	for name, token := range map[string]string{"without a token": "", "role of a name": root, "role of an account": rootOfAnn} {
		if got := w.call("GET", "/users/me", "", "X-Access-Token", token); got.status != 400 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := w.call("GET", "/users/ME", "", "X-Access-Token", w.token(ann)); got.status != 400 {
		t.Errorf("ME: %d", got.status)
	}
	// A parameter cannot take the place of the path.
	bob, _ := w.user("bob")
	got := w.call("PUT", "/users/me?user="+bob.ID.String(), fmt.Sprintf(`{"user":"%s","name":"changed"}`, bob.ID), "X-Access-Token", w.token(ann))
	after, err := w.accounts.Get(ctx, bob.ID)
	must(t, err)
	if got.status != 200 || after.Name != "" {
		t.Errorf("%d, bob is now called %q", got.status, after.Name)
	}
}

func TestTokens(t *testing.T) {
	ctx := context.Background()
	const static = "static-token"
	w := newWorld(t, func(o *worldOptions) { o.static = static })
	ann, _ := w.user("ann")
	user := w.token(ann)
	reader, err := w.tokens.Provision(ctx, "reader", "downloader")
	must(t, err)
	for _, tc := range []struct {
		name, target string
		header       []string
		want         int
	}{
		{"none", "/health", nil, 403},
		{"wrong", "/users", []string{"X-Access-Token", "static-tokem"}, 403},
		{"static", "/users", []string{"X-Access-Token", static}, 200},
		{"bearer in any case", "/users", []string{"Authorization", "bEaReR " + static}, 200},
		{"basic", "/users", []string{"Authorization", "Basic " + static}, 403},
		{"query wins", "/users?accessToken=" + static, []string{"X-Access-Token", "x"}, 200},
		{"wrong query wins too", "/users?accessToken=x", []string{"X-Access-Token", static}, 403},
		{"twice", "/users?accessToken=" + static + "&accessToken=" + static, nil, 403},
		{"nested", "/users?accessToken[x]=" + static, nil, 403},
		{"user", "/users/" + ann.ID.String(), []string{"X-Access-Token", user}, 200},
		{"user in capitals", "/users/me", []string{"X-Access-Token", strings.ToUpper(user)}, 403},
		{"role that may not", "/users", []string{"X-Access-Token", reader}, 403},
		{"unknown route first", "/nosuch", nil, 404},
	} {
		if got := w.call("GET", tc.target, "", tc.header...); got.status != tc.want {
			t.Errorf("%s: %d %s, want %d", tc.name, got.status, got.body, tc.want)
		}
	}
	if got := w.call("POST", "/users", `{"a":`, "X-Access-Token", "x"); got.status != 403 {
		t.Errorf("a body was read before the token was checked: %d", got.status)
	}
}

func TestAccessControl(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.AccessControl = true })
	if got := w.call("GET", "/users", ""); got.status != 403 {
		t.Errorf("without a token: %d", got.status)
	}
	if got := w.call("OPTIONS", "/users", "", "Origin", "https://a.test", "Access-Control-Request-Method", "GET"); got.status != 204 {
		t.Errorf("preflight: %d", got.status)
	}
	w.user("ann")
	// Role auth makes no tokens and does not see them.
	token, err := w.tokens.Provision(context.Background(), "web", "auth")
	must(t, err)
	got := w.call("POST", "/authenticate", `{"username":"ann","password":"secret-ann","token":true}`, "X-Access-Token", token)
	if got.status != 200 || strings.Contains(got.body, "token") {
		t.Errorf("role auth: %d %s", got.status, got.body)
	}
}

func TestOrigins(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.CORSOrigins = []string{"https://web.test", "https://*.app.test"} })
	for origin, want := range map[string]bool{
		"https://web.test": true, "https://x.app.test": true, "https://evil.test": false, "https://web.test.evil.test": false,
		"https://evil.test/.app.test": false, "http://web.test": false,
	} {
		got := w.call("GET", "/health", "", "Origin", origin)
		if allowed := got.header.Get("Access-Control-Allow-Origin") == origin; allowed != want {
			t.Errorf("%s: allowed %v", origin, allowed)
		}
	}
}

// TestSecretsStayOutOfLogs looks for everything secret in the log.
func TestSecretsStayOutOfLogs(t *testing.T) {
	w := newWorld(t)
	ann, inbox := w.user("ann")
	token := w.token(ann)
	const secret = "tell-nobody"
	w.call("GET", "/users/me?accessToken="+token, "")
	w.call("GET", "/users/me", "", "X-Access-Token", token)
	w.call("GET", "/users/me", "", "Authorization", "Bearer "+token)
	w.call("GET", "/nosuch/"+secret+"?accessToken="+token, "")
	w.call("GET", "/health?accessToken="+secret, "")
	w.call("PATCH", "/users?accessToken="+token, "")
	w.call("POST", "/authenticate", `{"username":"ann","password":"`+secret+`"}`)
	w.call("POST", "/authenticate?password="+secret, `{"username":"ann","Password":"`+secret+`"}`)
	w.call("POST", "/users", `{"username":"x","password":"`+secret+`"}`)
	w.call("POST", "/users", `{"username":"x!","password":"`+secret+`","accessToken":"`+token+`"}`)
	w.call("PUT", "/users/me", `{"existingPassword":"`+secret+`","password":"`+secret+`"}`, "X-Access-Token", token)
	w.call("POST", "/users/me/mailboxes/"+inbox.String()+"/messages", `{"text":"`+secret+`","html":"`+secret+`","raw":"`+secret+`"}`, "X-Access-Token", token)
	w.call("POST", "/users/me/mailboxes/"+inbox.String()+"/messages", secret, "X-Access-Token", token, "Content-Type", "message/rfc822")
	w.call("POST", "/authenticate", `{"username":"ann","password":"`+secret+`"`)
	w.call("POST", "/authenticate", `{"username":"`+secret+`","password":"ann"}`)
	w.call("POST", "/users", `{"pasword":"`+secret+`"}`)
	logs := w.logs.String()
	if n := strings.Count(logs, "msg=\"api call\""); n != 16 {
		t.Errorf("%d calls in the log, want 16", n)
	}
	for _, s := range []string{secret, token} {
		if i := strings.Index(logs, s); i >= 0 {
			t.Errorf("the log has a secret: %s", logs[max(0, i-200):min(len(logs), i+100)])
		}
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) {
		o.api.MaxParams, o.api.MaxBody, o.api.MaxMessage = 10_000, 40_000, 20_000
	})
	ann, inbox := w.user("ann")
	upload := "/users/" + ann.ID.String() + "/mailboxes/" + inbox.String() + "/messages"
	long := strings.Repeat("x", 30_000)
	deep := strings.Repeat(`{"a":`, 10_000)
	for _, tc := range []struct {
		name, target, body, media string
		want                      int
	}{
		{"large parameters", "/users", `{"name":"` + long + `"}`, "", 413},
		{"large form", "/users", "name=" + long, mediaForm, 413},
		{"large multipart", "/users", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + long + "\r\n--x--", mediaMultipart + "; boundary=x", 413},
		{"message beyond the limit of messages", upload, long, "message/rfc822", 413},
		{"message beyond the limit of bodies", upload, long + long, "message/rfc822", 413},
		{"raw beyond the limit of messages", upload, `{"raw":"` + long + `"}`, "", 413},
		{"composed beyond the limit of messages", upload, `{"attachments":[{"content":"` + long + `"}]}`, "", 413},
		{"message within", upload, long[:1000], "message/rfc822", 200},
		{"deep object", "/users", deep[:9_000], "", 400},
		{"deep array", "/users", strings.Repeat("[", 9_000), "", 400},
		{"deep name", "/users", "a" + strings.Repeat("[b]", 3_000) + "=1", mediaForm, 400},
		{"many names", "/users", strings.Repeat("a=1&", 2_400), mediaForm, 400},
		{"multipart without boundary", "/users", "x", mediaMultipart, 400},
		{"multipart that breaks off", "/users", "--x\r\nContent-Disp", mediaMultipart + "; boundary=x", 400},
		{"text that is not UTF-8", "/users", "{\"username\":\"\xff\",\"password\":\"x\"}", "", 400},
		{"keys that are prototypes", "/users", `{"__proto__":{"username":"x"},"constructor":1}`, "", 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			header := []string{}
			if tc.media != "" {
				header = []string{"Content-Type", tc.media}
			}
			got := w.call("POST", tc.target, tc.body, header...)
			if got.status != tc.want {
				t.Errorf("%d %.300s, want %d", got.status, got.body, tc.want)
			}
			r := httptest.NewRequest("POST", tc.target, io.MultiReader(strings.NewReader(tc.body))) // of unknown length
			r.Header.Set("Content-Type", mediaJSON)
			if tc.media != "" {
				r.Header.Set("Content-Type", tc.media)
			}
			rec := httptest.NewRecorder()
			w.api.ServeHTTP(rec, r)
			if rec.Code != tc.want {
				t.Errorf("of unknown length: %d %.300s, want %d", rec.Code, rec.Body, tc.want)
			}
		})
	}
	query := "/users?" + strings.Repeat("a&", 2_000)
	if got := w.call("GET", query, ""); got.status != 400 {
		t.Errorf("many names in a query: %d", got.status)
	}
}

// TestManyIssues bounds the reply to a body of nothing but mistakes.
func TestManyIssues(t *testing.T) {
	w := newWorld(t)
	got := w.call("POST", "/users", `{"tags":[`+strings.Repeat("1,", 100_000)+`1]}`)
	if got.status != 400 || len(got.body) > 20_000 {
		t.Errorf("%d with %d octets", got.status, len(got.body))
	}
}

// TestNothingLeaks fails the store in every operation and looks at the replies.
func TestNothingLeaks(t *testing.T) {
	var fail atomic.Bool
	w := newWorld(t, func(o *worldOptions) {
		o.fault = func(op string) error {
			if fail.Load() {
				return fmt.Errorf("/var/lib/secret: %s", op)
			}
			return nil
		}
	})
	ann, inbox := w.user("ann")
	w.put(ann.ID, inbox, "Subject: x\r\n\r\ny\r\n", "")
	bodies := map[string]string{
		"createUser": `{"username":"x","password":"x"}`, "createAddress": `{"address":"z@example.com"}`, "createMailbox": `{"path":"x"}`,
		"updateMailbox": `{"hidden":true}`, "uploadMessage": `{"text":"x"}`, "updateMessages": `{"message":"1","seen":true}`,
		"updateMessage": `{"seen":true}`, "changeFoundMessages": `{"action":{"delete":true}}`, "updateUser": `{"name":"x"}`,
		"createForwardedAddress": `{"address":"z@example.com"}`, "authenticate": `{"username":"ann","password":"x"}`, "preauth": `{"username":"ann"}`,
		"renameDomain": `{"oldDomain":"example.com","newDomain":"b.test"}`,
	}
	id := mail.AddressID{1}.String()
	values := map[string]string{
		":event": id, ":user": ann.ID.String(), ":mailbox": inbox.String(), ":message": "1", ":attachment": "ATT00001", ":address": id, ":id": id, ":username": "ann",
	}
	fail.Store(true)
	for _, r := range w.api.routes {
		switch r.Name {
		case "getHealth", "getOpenAPI", "revokeToken", "authenticated":
			continue
		}
		got := w.call(r.Method, fillPattern(r.Pattern, values), bodies[r.Name])
		if got.status < 500 && got.status != 403 || strings.Contains(got.body, "/var/lib") || !strings.Contains(got.body, `"error"`) {
			t.Errorf("%s: %d %s", r.Name, got.status, got.body)
		}
	}
	if !strings.Contains(w.logs.String(), "/var/lib/secret") {
		t.Error("the log does not say what failed")
	}
}

func TestPanic(t *testing.T) {
	var boom atomic.Bool
	w := newWorld(t, func(o *worldOptions) {
		o.fault = func(string) error {
			if boom.Load() {
				panic("boom")
			}
			return nil
		}
	})
	boom.Store(true)
	got := w.call("GET", "/users", "")
	if got.status != 500 || strings.Contains(got.body, "boom") || strings.Contains(got.body, "goroutine") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if logs := w.logs.String(); !strings.Contains(logs, "boom") || !strings.Contains(logs, "stack=") {
		t.Errorf("the log does not tell about it: %s", logs)
	}
}

// TestBrokenOff holds that a reply which fails in its middle does not look whole.
func TestBrokenOff(t *testing.T) {
	var fail atomic.Bool
	w := newWorld(t, func(o *worldOptions) {
		o.fault = func(op string) error {
			if fail.Load() && op == "WriteRange" {
				return errors.New("disk trouble")
			}
			return nil
		}
	})
	ann, inbox := w.user("ann")
	w.put(ann.ID, inbox, "Subject: x\r\n\r\n"+strings.Repeat("y\r\n", 10_000), "")
	base := startServer(t, w)
	fail.Store(true)
	resp, err := http.Get(base + "/users/" + ann.ID.String() + "/mailboxes/" + inbox.String() + "/messages/1/message.eml")
	if err != nil {
		return // broken off before the header was sent
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a broken reply of %d octets looks whole", len(b))
	}
}

// TestSlowBody ends a client that stops sending.
func TestSlowBody(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.ReadTimeout = 20 * time.Millisecond })
	base := startServer(t, w)
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(conn, "POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"username\":")
	must(t, err)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	must(t, err)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", resp.StatusCode)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Errorf("the connection stays open: %v", err)
	}
}

// TestSlowReader ends an event stream that nobody reads.
func TestSlowReader(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) {
		o.api.WriteTimeout, o.api.EventIdle = 20*time.Millisecond, time.Microsecond
	})
	ann, _ := w.user("ann")
	base := startServer(t, w)
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET /users/%s/updates HTTP/1.1\r\nHost: x\r\n\r\n", ann.ID)
	must(t, err)
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(w.logs.String(), "/users/:user/updates") {
		if time.Now().After(deadline) {
			t.Fatal("the stream is still open")
		}
		select {
		case w.api.streams <- struct{}{}:
			<-w.api.streams
		case <-time.After(time.Millisecond):
		}
	}
}

// TestDispositionIsOneField holds what comes from mail inside its header field.
func TestDispositionIsOneField(t *testing.T) {
	w := newWorld(t)
	ann, inbox := w.user("ann")
	for _, value := range []string{
		"attachment; filename=\"a\rb\"", "attachment; filename=\"a\x00b\"", "attachment;\r\n\tfilename=\"x\r\n\tSet-Cookie: a=b\"",
		"attachment; filename=\"\xff\xfe\"", "attachment; filename=" + strings.Repeat("x", 100_000), "",
	} {
		msg := w.put(ann.ID, inbox, "Content-Type: application/x; name=\"\r\n\tX: y\"\r\nContent-Disposition: "+value+"\r\n\r\nbody\r\n", "")
		got := w.call("GET", fmt.Sprintf("/users/%s/mailboxes/%s/messages/%d/attachments/ATT00001", ann.ID, inbox, msg.UID), "")
		if got.status != 200 || got.body != "body\r\n" || got.header.Get("Set-Cookie") != "" || got.header.Get("X") != "" {
			t.Errorf("%.60q: %d %q %v", value, got.status, got.body, got.header)
		}
		if v := got.header.Get("Content-Disposition"); strings.ContainsAny(v, "\r\n\x00") {
			t.Errorf("%.60q: Content-Disposition is %q", value, v)
		}
	}
}
