package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
)

// A cursor leads on in the list that gave it, and nowhere else.
func TestForeignCursors(t *testing.T) {
	w := newWorld(t)
	ann, inbox := w.user("ann")
	w.user("bob")
	for range 3 {
		w.put(ann.ID, inbox, "Subject: x\r\n\r\ny\r\n", "")
	}
	user := "/users/" + ann.ID.String()
	lists := []string{
		"/users?limit=1", "/addresses?limit=1", user + "/mailboxes/" + inbox.String() + "/messages?limit=1",
		user + "/search?limit=1", user + "/search?limit=1&order=asc",
	}
	cursors := make([]string, len(lists))
	for i, path := range lists {
		var page struct{ NextCursor string }
		must(t, json.Unmarshal([]byte(w.call("GET", path, "").body), &page))
		cursors[i] = page.NextCursor
	}
	for i, path := range lists {
		for j, c := range cursors {
			for _, way := range []string{"next", "previous"} {
				want := 400
				if i == j {
					want = 200
				}
				r := w.call("GET", path+"&"+way+"="+c, "")
				if r.status != want || want == 400 && !strings.Contains(r.body, "contains an invalid value") {
					t.Errorf("%s with the %s cursor of %s: %d %.200s", path, way, lists[j], r.status, r.body)
				}
			}
		}
	}
}
