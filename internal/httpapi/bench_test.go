package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// BenchmarkCalls measures calls on the model store, whose cost is that of the
// API and of what lies between.
func BenchmarkCalls(b *testing.B) {
	w := newWorld(b)
	a, inbox := w.user("ann")
	for i := range 5000 {
		w.put(a.ID, inbox, fmt.Sprintf("From: A <a@b.test>\r\nTo: ann@example.com\r\nSubject: message %d\r\nMessage-ID: <%d@b.test>\r\n\r\nwords %d\r\n", i, i, i), "")
	}
	base := "/users/" + a.ID.String()
	box := base + "/mailboxes/" + inbox.String()
	for _, bc := range []struct{ name, target string }{
		{"health", "/health"}, {"mailboxes", base + "/mailboxes?counters=1"}, {"list20", box + "/messages"}, {"list250", box + "/messages?limit=250"},
		{"threads", box + "/messages?collapseThreads=1&threadCounters=1"}, {"message", box + "/messages/7"}, {"source", box + "/messages/7/message.eml"},
		{"search", base + "/search?subject=message%204999"}, {"openapi", "/openapi.json"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rec := httptest.NewRecorder()
				w.api.ServeHTTP(rec, httptest.NewRequest("GET", bc.target, http.NoBody))
				if rec.Code != 200 {
					b.Fatalf("%d %s", rec.Code, rec.Body)
				}
			}
		})
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		body := []byte(`{"username":"alice","password":"secret","name":"Alice","tags":["a","b"],"quota":100,"metaData":{"k":` + strings.Repeat("[", 10) + strings.Repeat("]", 10) + `}}`)
		p := newPlan(reflect.TypeFor[createUserIn]())
		for b.Loop() {
			v, err := parseJSON(body)
			must(b, err)
			var in createUserIn
			must(b, p.decode(v, &in, false))
		}
	})
}
