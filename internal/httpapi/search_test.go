package httpapi

import (
	"encoding/json"
	"testing"
)

// In what a search finds the author is who the message says, or else who the delivery said, in the right order.
func TestAuthorsOfFoundMessages(t *testing.T) {
	w := newWorld(t)
	ann, inbox := w.user("ann")
	w.put(ann.ID, inbox, "From: bob@x.test\r\nSubject: one\r\n\r\nlemon\r\n", `{"from":"other@x.test"}`)
	w.put(ann.ID, inbox, "Subject: two\r\n\r\nlemon\r\n", `{"from":"bounces@x.test"}`)
	w.put(ann.ID, inbox, "Sender: eve@x.test\r\nSubject: three\r\n\r\nlemon\r\n", "")
	for _, target := range []string{"/search?query=lemon", "/search?query=lemon&metaData=true"} {
		r := w.call("GET", "/users/"+ann.ID.String()+target, "")
		var page struct {
			Total   int
			Results []struct {
				Subject string
				From    struct{ Address string }
			}
		}
		if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != 200 || page.Total != 3 || len(page.Results) != 3 {
			t.Fatalf("%s: %d %s", target, r.status, r.body)
		}
		for i, want := range []struct{ subject, from string }{{"three", "eve@x.test"}, {"two", "bounces@x.test"}, {"one", "bob@x.test"}} {
			if got := page.Results[i]; got.Subject != want.subject || got.From.Address != want.from {
				t.Errorf("%s: result %d is %+v, want %+v", target, i, got, want)
			}
		}
	}
}
