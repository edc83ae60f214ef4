package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"mallard/internal/mail"
)

// loginBook is a log of logins in memory. It does not count repetitions.
type loginBook struct {
	mu      sync.Mutex
	entries []mail.AuthLogEntry // the newest first
}

func (b *loginBook) LogAuthEvent(_ context.Context, e mail.AuthEvent, times int64) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := fmt.Sprintf("%024x", len(b.entries)+1)
	b.entries = slices.Insert(b.entries, 0, mail.AuthLogEntry{
		ID: id, AuthEvent: e, Key: []byte("0123456789abcdef"), Created: testDate(), Last: testDate(), Expires: testDate().AddDate(0, 1, 0), Events: times,
	})
	return id, nil
}

func (b *loginBook) AuthLog(_ context.Context, acct mail.AccountID, q mail.AuthLogQuery) (*mail.AuthLogPage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := window[mail.AuthLogEntry]{limit: q.Limit, backward: q.Before != ""}
	for _, e := range b.entries {
		if e.Account == acct && (q.Action == "" || q.Action == e.Action) && (q.IP == "" || q.IP == e.IP) {
			w.add(e, q.After == "" || e.ID < q.After, e.ID > q.Before)
		}
	}
	return &mail.AuthLogPage{Entries: w.items, Total: w.total, More: w.more}, nil
}

func (b *loginBook) AuthLogEntry(_ context.Context, acct mail.AccountID, id string) (*mail.AuthLogEntry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.entries {
		if e := &b.entries[i]; e.ID == id && e.Account == acct {
			return e, nil
		}
	}
	return nil, mail.NewError(mail.CodeNotFound, "no such entry")
}

// Calls that change who may log in are in the log of logins, as WildDuck has them.
func TestCallsAreLogged(t *testing.T) {
	w := newWorld(t)
	var made struct{ ID string }
	must(t, json.Unmarshal([]byte(w.call("POST", "/users", `{"username":"jane","password":"first","targets":["a@far.test"],"sess":"s1","ip":"192.0.2.1"}`).body), &made))
	user := "/users/" + made.ID
	w.call("PUT", user, `{"password":"second","existingPassword":"wrong","ip":"192.0.2.2"}`)
	w.call("PUT", user, `{"password":"second","existingPassword":"first","protocol":"WEB"}`)
	w.call("PUT", user, `{"targets":["a@far.test","smtp://user:hush@relay.test:25/x","smtps://hush@relay.test"]}`)
	w.call("PUT", user, `{"name":"Jane"}`)
	w.call("POST", "/authenticate", `{"username":"jane","password":"second","appId":"https://app.test","sess":"s2","ip":"192.0.2.3"}`)
	w.call("POST", user+"/password/reset", `{}`)
	w.call("DELETE", user, "")
	w.call("DELETE", user, "") // nobody any more
	must(t, w.logins.Close())
	var got []string
	for _, e := range slices.Backward(w.book.entries) {
		got = append(got, strings.Join([]string{e.Action, e.Result, e.Protocol, e.Session, e.IP, e.Target, e.AppID, e.Source}, "|"))
	}
	want := []string{
		"account created|success||s1|192.0.2.1|||", "user forward added|success|API|s1|192.0.2.1|a@far.test||",
		"password change|fail|API||192.0.2.2|||", "password change|success|WEB|||||",
		"user forward added|success|API|||smtp://relay.test:25/x||", "user forward added|success|API|||smtps://relay.test||",
		"authentication|success|API|s2|192.0.2.3||https://app.test|master", "reset|||||||", "delete user|success||||||",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// compact is a call whose reply is on one line.
func (w *world) compact(method, target string) reply {
	w.t.Helper()
	r := w.call(method, target, "")
	var b bytes.Buffer
	must(w.t, json.Compact(&b, []byte(r.body)))
	r.body = b.String()
	return r
}

func TestAuthLogIsShown(t *testing.T) {
	w := newWorld(t)
	sam, _ := w.user("sam")
	temporary := true
	for i := range 3 {
		_, err := w.book.LogAuthEvent(t.Context(), mail.AuthEvent{Account: sam.ID, Action: "authentication", IP: fmt.Sprintf("192.0.2.%d", i)}, 1)
		must(t, err)
	}
	w.book.entries[0].Temporary, w.book.entries[0].Filter, w.book.entries[0].Session = &temporary, "00000000000000000000000f", "s"
	list := "/users/" + sam.ID.String() + "/authlog"
	const third = `"id":"000000000000000000000003","key":"MDEyMzQ1Njc4OWFiY2RlZg==","action":"authentication","filter":"00000000000000000000000f","sess":"s","ip":"192.0.2.2",` +
		`"temporary":true,"created":"2026-03-04T05:06:07.000Z","expires":"2026-04-04T05:06:07.000Z","events":1,"last":"2026-03-04T05:06:07.000Z"}`
	if r := w.compact("GET", list+"/000000000000000000000003"); r.status != 200 || r.body != `{"success":true,`+third {
		t.Errorf("an entry: %d %s", r.status, r.body)
	}
	r := w.compact("GET", list+"?limit=2&action=Authentication")
	if !strings.Contains(r.body, `"action":"authentication","total":3,"page":1,"previousCursor":false,"nextCursor":"`) || !strings.Contains(r.body, `"results":[{`+third) {
		t.Errorf("the first page: %s", r.body)
	}
	var page struct {
		NextCursor, PreviousCursor any
		Results                    []struct{ ID, IP string }
	}
	must(t, json.Unmarshal([]byte(r.body), &page))
	next := w.compact("GET", fmt.Sprintf("%s?limit=2&next=%s", list, page.NextCursor))
	must(t, json.Unmarshal([]byte(next.body), &page))
	if len(page.Results) != 1 || page.Results[0].IP != "192.0.2.0" || page.NextCursor != false {
		t.Errorf("the second page: %s", next.body)
	}
	back := w.compact("GET", fmt.Sprintf("%s?limit=2&previous=%s", list, page.PreviousCursor))
	if !strings.Contains(back.body, `"page":1,"previousCursor":false`) || !strings.Contains(back.body, `"results":[{`+third) {
		t.Errorf("back on the first page: %s", back.body)
	}
	for _, tt := range []struct {
		path string
		want string
	}{
		{list + "?filterip=192.0.2.1", `"total":1,`},
		{list + "?filterip=x", `\"Client IP\" must be a valid ip address`},
		{list + "?action=reset", `"total":0,"page":1,"previousCursor":false,"nextCursor":false,"results":[]`},
		{list + "?next=" + strings.Repeat("x", 8), "InputValidationError"},
		{list + "/000000000000000000000009", `"error":"Event was not found","code":"EventNotFound"`},
		{list + "/abc", `\"event\" length must be 24 characters long`},
		{"/users/5f0123456789abcdef012345/authlog", "UserNotFound"},
		{"/users/5f0123456789abcdef012345/authlog/000000000000000000000003", "UserNotFound"},
	} {
		if r := w.compact("GET", tt.path); !strings.Contains(r.body, tt.want) {
			t.Errorf("GET %s: %s, want %s", tt.path, r.body, tt.want)
		}
	}
	w.api.opt.AuthLog = nil // a server on its own
	if r := w.compact("GET", list); !strings.Contains(r.body, `"total":0`) {
		t.Errorf("without a log: %s", r.body)
	}
	if r := w.compact("GET", list+"/000000000000000000000003"); r.status != 404 {
		t.Errorf("an entry without a log: %d %s", r.status, r.body)
	}
}
