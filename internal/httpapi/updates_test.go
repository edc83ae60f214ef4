package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mallard/internal/account"
	"mallard/internal/event"
	"mallard/internal/limit"
	"mallard/internal/mail"
)

// follower reads an event stream.
type follower struct {
	t      *testing.T
	resp   *http.Response
	events chan string // each event or comment, without the blank line; closed at the end
}

func (w *world) follow(t *testing.T, base, path string, header ...string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
	must(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	f := &follower{t: t, resp: resp, events: make(chan string, 100)}
	t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	go func() {
		defer close(f.events)
		var lines []string
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			if sc.Text() != "" {
				lines = append(lines, sc.Text())
				continue
			}
			f.events <- strings.Join(lines, "\n")
			lines = nil
		}
	}()
	return f
}

// next returns the next event, "" at the end of the stream.
func (f *follower) next() string {
	f.t.Helper()
	select {
	case e := <-f.events:
		return e
	case <-time.After(10 * time.Second):
		f.t.Fatal("no event came")
		return ""
	}
}

// want holds the next event to a text; its id is returned.
func (f *follower) want(text string) string {
	f.t.Helper()
	got := f.next()
	body, id, _ := strings.Cut(got, "\nid: ")
	if body != text {
		f.t.Fatalf("got\n%s\nwant\n%s", got, text)
	}
	return id
}

func data(members ...string) string {
	return "data: {\ndata:   " + strings.Join(members, ",\ndata:   ") + "\ndata: }"
}

func startServer(t *testing.T, w *world) string {
	t.Helper()
	srv := httptest.NewServer(w.api)
	t.Cleanup(func() { w.api.Close(); srv.Close() })
	return srv.URL
}

func TestUpdates(t *testing.T) {
	w := newWorld(t)
	a, inbox := w.user("ann")
	base := startServer(t, w)
	path := "/users/" + a.ID.String() + "/updates"
	f := w.follow(t, base, path)
	if ct := f.resp.Header.Get("Content-Type"); ct != "text/event-stream" || f.resp.Header.Get("X-Accel-Buffering") != "no" || f.resp.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("header %v", f.resp.Header)
	}
	f.want(": idling 1")
	msg := w.put(a.ID, inbox, "Subject: x\r\n\r\ny\r\n", "")
	first := f.want(data(`"command": "EXISTS"`, `"uid": 1`, fmt.Sprintf(`"message": "%s"`, msg.ID),
		fmt.Sprintf(`"idate": "%s"`, testDate().Format(dateLayout)), fmt.Sprintf(`"thread": "%s"`, msg.ThreadID), fmt.Sprintf(`"mailbox": "%s"`, inbox)))
	counters := func(total, unseen int) string {
		return data(`"command": "COUNTERS"`, fmt.Sprintf(`"mailbox": "%s"`, inbox), fmt.Sprintf(`"total": %d`, total), fmt.Sprintf(`"unseen": %d`, unseen))
	}
	if id := f.want(counters(1, 1)); id != first || len(id) != 24 {
		t.Errorf("COUNTERS has the id %q, the event before it %q", id, first)
	}
	w.call("PUT", "/users/"+a.ID.String()+"/mailboxes/"+inbox.String()+"/messages/1", `{"seen":true}`)
	fetch := data(`"command": "FETCH"`, `"uid": 1`, "\"flags\": [\ndata:     \"\\\\Seen\"\ndata:   ]", fmt.Sprintf(`"thread": "%s"`, msg.ThreadID),
		fmt.Sprintf(`"message": "%s"`, msg.ID), fmt.Sprintf(`"mailbox": "%s"`, inbox))
	f.want(fetch)
	f.want(counters(1, 0))
	box, err := w.mailboxes.Create(context.Background(), a.ID, mail.Mailbox{Path: "New"}, false)
	must(t, err)
	f.want(data(`"command": "CREATE"`, fmt.Sprintf(`"mailbox": "%s"`, box.ID), `"path": "New"`))
	must(t, w.mailboxes.Rename(context.Background(), a.ID, box.ID, "New2", false))
	f.want(data(`"command": "RENAME"`, `"path": "New2"`, fmt.Sprintf(`"mailbox": "%s"`, box.ID)))
	must(t, w.mailboxes.Delete(context.Background(), a.ID, box.ID, false))
	f.want(data(`"command": "DROP"`, fmt.Sprintf(`"mailbox": "%s"`, box.ID)))
	deleted := data(`"command": "DELETE"`, fmt.Sprintf(`"mailbox": "%s"`, box.ID))
	last := f.want(deleted)
	must(t, w.accounts.EndSessions(context.Background(), a.ID, "sample\nreason"))
	f.want(data(`"command": "LOGOUT"`, `"reason": "sample\nreason"`))

	t.Run("replay", func(t *testing.T) {
		f := w.follow(t, base, path+"?Last-Event-ID="+last, lastEventID, first)
		f.want(fetch)
		for _, command := range []string{"CREATE", "RENAME", "DELETE"} {
			if e := f.next(); !strings.Contains(e, `"command": "`+command+`"`) {
				t.Fatalf("got %s, want %s", e, command)
			}
		}
		if id := f.want(counters(1, 0)); id != last {
			t.Errorf("the counters after a replay have the id %s, want %s", id, last)
		}
	})
	t.Run("replay of nothing", func(t *testing.T) {
		w.follow(t, base, path+"?Last-Event-ID="+last).want(": idling 1")
	})
	t.Run("replay of everything", func(t *testing.T) {
		if e := w.follow(t, base, path, lastEventID, "5f0123456789abcdef012345").next(); !strings.Contains(e, "EXISTS") {
			t.Errorf("got %s, want the first entry of the journal", e)
		}
	})
	t.Run("refused", func(t *testing.T) {
		if r := w.call("GET", path, "", lastEventID, "abc"); r.status != 400 || !strings.Contains(r.body, `"Last-Event-ID\" length must be 24`) {
			t.Errorf("got %d %s", r.status, r.body)
		}
		if r := w.call("GET", "/users/5f0123456789abcdef012345/updates", ""); r.status != 404 {
			t.Errorf("of nobody: %d %s", r.status, r.body)
		}
	})
	t.Run("shutdown ends streams", func(t *testing.T) {
		w.api.Close()
		if e := f.next(); e != "" {
			t.Errorf("got %s, want the end", e)
		}
	})
}

func TestUpdatesIdle(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.EventIdle = time.Millisecond })
	a, _ := w.user("ann")
	f := w.follow(t, startServer(t, w), "/users/"+a.ID.String()+"/updates")
	for i := range 4 {
		f.want(fmt.Sprintf(": idling %d", i+1))
	}
}

// A stream looks by itself as well: an event may be lost.
func TestUpdatesWithoutHint(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.EventPoll = time.Millisecond })
	a, _ := w.user("ann")
	f := w.follow(t, startServer(t, w), "/users/"+a.ID.String()+"/updates")
	f.want(": idling 1")
	_, err := w.store.CreateMailbox(context.Background(), a.ID, mail.Mailbox{Path: "Silent"}, 0)
	must(t, err)
	if e := f.next(); !strings.Contains(e, "CREATE") {
		t.Errorf("got %s", e)
	}
}

// Who tells of a change may be faster than the change: a stream looks again soon, once.
func TestUpdatesAfterEarlyHint(t *testing.T) {
	looked := make(chan struct{}, 100)
	w := newWorld(t, func(o *worldOptions) {
		o.api.EventPoll, o.api.EventAgain = time.Hour, 2*time.Second // in which the mailbox below is made
		o.fault = func(op string) error {
			if op == "ReadJournal" {
				looked <- struct{}{}
			}
			return nil
		}
	})
	a, _ := w.user("ann")
	f := w.follow(t, startServer(t, w), "/users/"+a.ID.String()+"/updates")
	f.want(": idling 1")
	for len(looked) > 0 {
		<-looked
	}
	must(t, w.bus.Publish(context.Background(), event.Event{Account: a.ID}))
	<-looked // and after EventAgain once more
	_, err := w.store.CreateMailbox(context.Background(), a.ID, mail.Mailbox{Path: "Late"}, 0)
	must(t, err)
	if e := f.next(); !strings.Contains(e, "CREATE") {
		t.Errorf("got %s", e)
	}
}

// idle reads so many lines that say that nothing happens.
func (f *follower) idle(lines int) {
	f.t.Helper()
	for range lines {
		if e := f.next(); !strings.HasPrefix(e, ": idling") {
			f.t.Fatalf("got %q, want nothing to happen", e)
		}
	}
}

// With hints a stream leaves the store alone.
func TestUpdatesDoNotPoll(t *testing.T) {
	var reads atomic.Int64
	w := newWorld(t, func(o *worldOptions) {
		o.fault = func(op string) error {
			if op == "ReadJournal" {
				reads.Add(1)
			}
			return nil
		}
		o.api.EventAgain, o.api.EventIdle = 10*time.Millisecond, 5*time.Millisecond
	})
	a, inbox := w.user("ann")
	f := w.follow(t, startServer(t, w), "/users/"+a.ID.String()+"/updates")
	f.want(": idling 1")
	w.put(a.ID, inbox, "Subject: x\r\n\r\ny\r\n", "")
	for e := f.next(); !strings.Contains(e, "COUNTERS"); e = f.next() { // the last that an arrival is told with
	}
	f.idle(20) // as long as hints of the same change make it look
	before := reads.Load()
	f.idle(40)
	if n := reads.Load() - before; before == 0 || n != 0 {
		t.Errorf("the journal was read %d times, and %d times when nothing happened", before, n)
	}
}

// A stolen token must not go on reading after the password was changed.
func TestUpdatesEndWithToken(t *testing.T) {
	w := newWorld(t)
	a, _ := w.user("ann")
	f := w.follow(t, startServer(t, w), "/users/me/updates", "X-Access-Token", w.token(a))
	f.want(": idling 1")
	_, err := w.accounts.Update(context.Background(), a.ID, account.Changes{Password: &account.Password{Text: "other"}})
	must(t, err)
	if e := f.next(); !strings.Contains(e, "LOGOUT") {
		t.Fatalf("got %s, want LOGOUT", e)
	}
	if e := f.next(); e != "" {
		t.Errorf("got %s, want the end", e)
	}
}

func TestUpdatesEndWithAccount(t *testing.T) {
	w := newWorld(t)
	a, _ := w.user("ann")
	f := w.follow(t, startServer(t, w), "/users/"+a.ID.String()+"/updates")
	f.want(": idling 1")
	must(t, w.accounts.Delete(context.Background(), a.ID, time.Time{}))
	for e := f.next(); e != ""; e = f.next() {
		if !strings.Contains(e, "LOGOUT") {
			t.Errorf("got %s", e)
		}
	}
}

func TestUpdatesLimit(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.MaxStreams = 1 })
	a, _ := w.user("ann")
	f := w.follow(t, startServer(t, w), "/users/"+a.ID.String()+"/updates")
	f.want(": idling 1")
	if r := w.call("GET", "/users/"+a.ID.String()+"/updates", ""); r.status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

// One user cannot take the streams of others.
func TestUpdatesLimitOfUser(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.UserStreams = 2 })
	a, _ := w.user("ann")
	b, _ := w.user("bob")
	base := startServer(t, w)
	path := "/users/" + a.ID.String() + "/updates"
	first := w.follow(t, base, path)
	first.want(": idling 1")
	w.follow(t, base, path).want(": idling 1")
	if r := w.call("GET", path, ""); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "TooManyStreams") {
		t.Errorf("the third stream: %d %s", r.status, r.body)
	}
	w.follow(t, base, "/users/"+b.ID.String()+"/updates").want(": idling 1")
	must(t, first.resp.Body.Close())
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, err := w.limits.Held(context.Background(), limit.GroupUpdates, a.ID.String()); err == nil && n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of a stream that ended is not given back")
		}
	}
	w.follow(t, base, path).want(": idling 1")
}

// A token that was revoked does not go on reading.
func TestUpdatesEndWithRevokedToken(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.EventIdle = 5 * time.Millisecond })
	a, _ := w.user("ann")
	token := w.token(a)
	f := w.follow(t, startServer(t, w), "/users/me/updates", "X-Access-Token", token)
	f.want(": idling 1")
	f.want(": idling 2")
	must(t, w.tokens.Revoke(context.Background(), token))
	for e := f.next(); e != ""; e = f.next() {
		if !strings.HasPrefix(e, ": idling") {
			t.Errorf("got %s", e)
		}
	}
}

// Streams tell what became junk and what no longer is.
func TestUpdatesJunk(t *testing.T) {
	w := newWorld(t)
	a, inbox := w.user("ann")
	junk, err := w.mailboxes.Lookup(context.Background(), a.ID, "Junk")
	must(t, err)
	w.put(a.ID, inbox, "Subject: x\r\n\r\ny\r\n", "")
	f := w.follow(t, startServer(t, w), "/users/"+a.ID.String()+"/updates")
	f.want(": idling 1")
	move := func(from, to mail.MailboxID) string {
		t.Helper()
		path := "/users/" + a.ID.String() + "/mailboxes/" + from.String() + "/messages"
		if r := w.call("PUT", path, `{"message": "1:*", "moveTo": "`+to.String()+`"}`); r.status != 200 {
			t.Fatal(r.body)
		}
		for {
			if e := f.next(); strings.Contains(e, `"EXISTS"`) {
				return e
			}
		}
	}
	if e := move(inbox, junk.ID); !strings.Contains(e, "\"junk\": 1,\ndata:   \"mailbox\": \""+junk.ID.String()) {
		t.Errorf("into Junk: %s", e)
	}
	if e := move(junk.ID, inbox); !strings.Contains(e, "\"junk\": -1,\n") {
		t.Errorf("out of Junk: %s", e)
	}
	if e := move(inbox, inbox); strings.Contains(e, "junk") {
		t.Errorf("within INBOX: %s", e)
	}
}
