package httpapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw is a connection on which requests are written by hand.
func rawConn(t *testing.T, base string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn
}

// Large bodies that are announced and do not come take no slot of those that do.
func TestSlotsOfLargeBodies(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.MaxParams, o.api.LargeBodies = 1000, 1 })
	ann, inbox := w.user("ann")
	upload := "/users/" + ann.ID.String() + "/mailboxes/" + inbox.String() + "/messages"
	base := startServer(t, w)
	for range 5 {
		for _, length := range []string{"Content-Length: 20000000", "Transfer-Encoding: chunked"} {
			_, err := fmt.Fprintf(rawConn(t, base), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n", upload, length)
			must(t, err)
		}
	}
	time.Sleep(20 * time.Millisecond) // the server has read the headers
	for range 3 {                     // more than there are slots: they are given back
		body := `{"subject": "large", "text": "` + strings.Repeat("x", 10_000) + `"}`
		resp, err := http.Post(base+upload, "application/json", strings.NewReader(body))
		must(t, err)
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		must(t, resp.Body.Close())
	}
}

// A body that comes in drops ends long before the greatest time for a body.
func TestDrippingBody(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.api.ReadTimeout = 200 * time.Millisecond })
	ann, inbox := w.user("ann")
	upload := "/users/" + ann.ID.String() + "/mailboxes/" + inbox.String() + "/messages"
	for _, media := range []string{"application/json", "message/rfc822"} {
		conn := rawConn(t, startServer(t, w))
		_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", upload, media)
		must(t, err)
		start := time.Now()
		go func() {
			for { // each piece comes in time
				if _, err := conn.Write([]byte("1\r\n \r\n")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		if resp.StatusCode != http.StatusBadRequest || time.Since(start) > 5*time.Second {
			t.Errorf("%s: status %d after %v", media, resp.StatusCode, time.Since(start))
		}
	}
}

// A page of much metadata ends early, and the next one goes on behind it.
func TestLargePages(t *testing.T) {
	w := newWorld(t)
	ann, inbox := w.user("ann")
	meta := `{"x":"` + strings.Repeat("m", maxMeta-100) + `"}`
	list := "/users/" + ann.ID.String() + "/mailboxes/" + inbox.String() + "/messages"
	const n = maxPageExtra/maxMeta + 4
	for range n {
		w.put(ann.ID, inbox, "Subject: x\r\n\r\ny\r\n", "")
	}
	if r := w.call("PUT", list, `{"message": "1:*", "metaData": `+meta+`}`); r.status != 200 {
		t.Fatal(r.body)
	}
	var page struct {
		Total      int
		NextCursor any
		Results    []struct{ ID int }
	}
	seen := map[int]bool{}
	pages := 0
	for next := ""; ; {
		r := w.call("GET", list+"?metaData=true&limit=250"+next, "")
		page.NextCursor, page.Results = nil, nil
		must(t, json.Unmarshal([]byte(r.body), &page))
		if len(r.body) > 2*maxPageExtra || page.Total != n {
			t.Fatalf("a page of %d octets, total %d", len(r.body), page.Total)
		}
		for _, m := range page.Results {
			seen[m.ID] = true
		}
		pages++
		cursor, more := page.NextCursor.(string)
		if !more {
			break
		}
		next = "&next=" + cursor
	}
	if len(seen) != n || pages != 2 {
		t.Errorf("%d of %d messages on %d pages", len(seen), n, pages)
	}
	search := "/users/" + ann.ID.String() + "/search?metaData=true&limit="
	if r := w.call("GET", search+"250", ""); r.status != 400 || !strings.Contains(r.body, "PageTooLarge") {
		t.Errorf("a search: %d %.200s", r.status, r.body)
	}
	if r := w.call("GET", search+"5", ""); r.status != 200 {
		t.Errorf("a small page of a search: %d %.200s", r.status, r.body)
	}
}
