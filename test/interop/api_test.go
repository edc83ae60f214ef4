//go:build e2e

package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/test/e2e/harness"
)

// An answer is a JSON object of the API.
type answer map[string]any

func (a answer) str(key string) string {
	s, _ := a[key].(string)
	return s
}

func (a answer) num(key string) int {
	n, _ := a[key].(float64)
	return int(n)
}

func (a answer) list(key string) []answer {
	items, _ := a[key].([]any)
	var all []answer
	for _, i := range items {
		m, _ := i.(map[string]any)
		all = append(all, m)
	}
	return all
}

func (a answer) obj(key string) answer {
	m, _ := a[key].(map[string]any)
	return m
}

// request calls the API and returns the status and the body.
func (n *node) request(t testing.TB, method, path, token, contentType string, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, n.api+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("X-Access-Token", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", n.name, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", n.name, method, path, err)
	}
	return resp.StatusCode, b
}

// try calls the API with a JSON body, nil for none.
func (n *node) try(t testing.TB, method, path string, body any) (int, answer) {
	t.Helper()
	return n.tryAs(t, "", method, path, body)
}

func (n *node) tryAs(t testing.TB, token, method, path string, body any) (int, answer) {
	t.Helper()
	var in []byte
	if body != nil {
		var err error
		if in, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	status, out := n.request(t, method, path, token, "application/json", in)
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%s: %s %s: %d %v\n%s", n.name, method, path, status, err, out)
	}
	return status, a
}

// must calls the API and fails the test unless the answer says success.
func (n *node) must(t testing.TB, method, path string, body any) answer {
	t.Helper()
	status, a := n.try(t, method, path, body)
	if status != http.StatusOK || a["success"] != true {
		t.Fatalf("%s: %s %s: %d %v", n.name, method, path, status, a)
	}
	return a
}

// get reads something that is not JSON.
func (n *node) get(t testing.TB, path string) string {
	t.Helper()
	status, b := n.request(t, http.MethodGet, path, "", "application/json", nil)
	if status != http.StatusOK {
		t.Fatalf("%s: GET %s: %d\n%s", n.name, path, status, b)
	}
	return string(b)
}

// A user is an account.
type user struct {
	id, name, address, password string
}

func (u user) path(format string, args ...any) string {
	return "/users/" + u.id + fmt.Sprintf(format, args...)
}

// user makes an account with a name that nobody has; more are fields of the call.
func (n *node) user(t testing.TB, more answer) user {
	t.Helper()
	u := user{name: fmt.Sprintf("user%d", names.Add(1)), password: "secret"}
	u.address = u.name + "@interop.test"
	body := answer{"username": u.name, "password": u.password, "address": u.address}
	for k, v := range more {
		body[k] = v
	}
	u.id = n.must(t, http.MethodPost, "/users", body).str("id")
	return u
}

// mailbox is the id of a mailbox.
func (n *node) mailbox(t testing.TB, u user, path string) string {
	t.Helper()
	for _, m := range n.must(t, http.MethodGet, u.path("/mailboxes"), nil).list("results") {
		if m.str("path") == path {
			return m.str("id")
		}
	}
	t.Fatalf("%s: %s has no mailbox %s", n.name, u.name, path)
	return ""
}

// stored waits until a new mailbox is there: WildDuck answers before it is.
func (n *node) stored(t testing.TB, u user, mailbox string) {
	t.Helper()
	ok := harness.Until(5*time.Second, func() bool {
		status, _ := n.try(t, http.MethodGet, u.path("/mailboxes/%s", mailbox), nil)
		return status == http.StatusOK
	})
	if !ok {
		t.Fatalf("%s: mailbox %s is not there", n.name, mailbox)
	}
}

// made waits until a mailbox that was made by IMAP is there, and returns its id: WildDuck's CREATE answers before it is.
func (n *node) made(t testing.TB, u user, path string) (id string) {
	t.Helper()
	ok := harness.Until(5*time.Second, func() bool {
		for _, m := range n.must(t, http.MethodGet, u.path("/mailboxes"), nil).list("results") {
			if m.str("path") == path {
				id = m.str("id")
			}
		}
		return id != ""
	})
	if !ok {
		t.Fatalf("%s: %s has no mailbox %s", n.name, u.name, path)
	}
	return id
}

// messages lists a mailbox by the API, oldest first.
func (n *node) messages(t testing.TB, u user, mailbox string) []answer {
	t.Helper()
	var all []answer
	query := "?limit=250&order=asc"
	for {
		page := n.must(t, http.MethodGet, u.path("/mailboxes/%s/messages%s", mailbox, query), nil)
		all = append(all, page.list("results")...)
		next := page.str("nextCursor")
		if next == "" {
			return all
		}
		query = "?limit=250&order=asc&next=" + next
	}
}

// A stream follows the events of an account.
type stream struct {
	t    testing.TB
	node *node

	mu     sync.Mutex
	events []answer
	times  []time.Time
}

// follow opens an event stream. It is open when follow returns.
func (n *node) follow(t testing.TB, u user) *stream {
	t.Helper()
	resp, err := http.Get(n.api + u.path("/updates"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: GET updates: %s", n.name, resp.Status)
	}
	s := &stream{t: t, node: n}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.read(resp.Body)
	}()
	t.Cleanup(func() { resp.Body.Close(); <-done })
	return s
}

func (s *stream) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var data strings.Builder
	for lines.Scan() {
		line := lines.Text()
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data.WriteString(text)
			continue
		}
		if line != "" || data.Len() == 0 {
			continue
		}
		var event answer
		if json.Unmarshal([]byte(data.String()), &event) == nil {
			s.mu.Lock()
			s.events, s.times = append(s.events, event), append(s.times, time.Now())
			s.mu.Unlock()
		}
		data.Reset()
	}
}

// wait returns the time when an event with these fields came.
func (s *stream) wait(want answer) time.Time {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		i := slices.IndexFunc(s.events, func(e answer) bool { return e.has(want) })
		var at time.Time
		if i >= 0 {
			at = s.times[i]
			s.events, s.times = slices.Delete(s.events, i, i+1), slices.Delete(s.times, i, i+1)
		}
		events := slices.Clone(s.events)
		s.mu.Unlock()
		if i >= 0 {
			return at
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: no event %v among %v", s.node.name, want, events)
		}
	}
}

// all returns the events until now that nobody has waited for.
func (s *stream) all() []answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// has tells whether the fields of want are there with these values.
func (a answer) has(want answer) bool {
	for k, v := range want {
		if fmt.Sprint(a[k]) != fmt.Sprint(v) {
			return false
		}
	}
	return true
}
