package imap_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"mallard/internal/imap"
)

// waits checks that the server waits for a client that does not read, and that
// nobody looks at the rows of the store meanwhile.
func (w *world) waits(t *testing.T, c *raw) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for still := 0; still < 30; still++ {
		select {
		case <-c.srv.done:
			t.Fatal("the connection has ended")
		case <-time.After(10 * time.Millisecond):
		}
		if w.reading.Load() != 0 {
			still = -1
		}
		if time.Now().After(end) {
			t.Fatal("the store is being read all the time")
		}
	}
}

// While a client is waited for, nobody looks at the rows of the store: an engine
// keeps what it would forget for those who do.
func TestSlowReaderHoldsNothing(t *testing.T) {
	w := newWorld(t, withTLS(t), options(func(o *imap.Options) { o.MaxAppend = 16 << 20 }))
	w.allowed = 0
	a := w.client(t)
	text := strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 50)
	small, large := "Subject: small\r\n\r\n"+text, "Subject: large\r\n\r\n"+strings.Repeat(text, 1500)
	for range 3 {
		a.add("INBOX", small, large, small)
	}
	for range 600 {
		a.add("Sent", small)
	}
	a.ok("LOGOUT")
	var pieces strings.Builder
	for i := range 100 {
		fmt.Fprintf(&pieces, " BODY.PEEK[]<%d.500>", i)
	}
	for name, tc := range map[string]struct {
		box, items string
		tls        bool
	}{
		"large messages":      {"INBOX", "BODY.PEEK[]", false},
		"over TLS":            {"INBOX", "BODY.PEEK[]", true},
		"pieces of them":      {"INBOX", "ENVELOPE BODY.PEEK[]<5.4000000> BODY.PEEK[TEXT]", false},
		"many small messages": {"Sent", "BODY.PEEK[] BODY.PEEK[TEXT] BODY.PEEK[1] RFC822.PEEK", false},
		"many pieces of them": {"Sent", "ENVELOPE" + pieces.String(), true},
	} {
		t.Run(name, func(t *testing.T) {
			c, quick := w.raw(t), w.raw(t)
			_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			if tc.tls {
				c.startTLS()
			}
			for _, r := range []*raw{c, quick} {
				r.login()
				r.send("s SELECT " + tc.box + "\r\n")
				r.want("s OK")
			}
			fetch := func(tag string) string { return fmt.Sprintf("%s FETCH 1:* (UID %s)\r\n", tag, tc.items) }
			c.send(fetch("f") + fetch("g"))
			w.waits(t, c)
			got := c.want("f OK")
			quick.send(fetch("f"))
			if want := quick.want("f OK"); got != want {
				t.Errorf("%d octets came, not the %d that a client gets that reads at once", len(got), len(want))
			}
			c.want("g OK")
		})
	}
}

// A client that reads at once is waited for a moment now and then, as long as the
// network takes: the store is not begun to be read anew for that.
func TestQuickReaderReadsOn(t *testing.T) {
	w := newWorld(t, options(func(o *imap.Options) { o.ReadPatience = time.Minute })) // however loaded the machine is
	w.allowed = 0
	const count, size = 400, 40 << 10
	a := w.client(t)
	text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", size/72)
	for range count / 10 {
		a.add("INBOX", text, text, text, text, text, text, text, text, text, text)
	}
	a.ok("LOGOUT")
	c := w.raw(t)
	c.login()
	c.send("s SELECT INBOX\r\n")
	c.want("s OK")
	before := w.readings.Load()
	c.send("f FETCH 1:* BODY.PEEK[]\r\n")
	buf, last, total := make([]byte, 64<<10), []byte(nil), 0
	for end := []byte("\r\nf OK FETCH completed\r\n"); !bytes.HasSuffix(last, end); {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.r.Read(buf)
		if err != nil {
			t.Fatalf("after %d octets: %v", total, err)
		}
		total += n
		last = append(last, buf[:n]...)
		last = last[max(0, len(last)-len(end)):]
	}
	// The first ends where the answer proves to be a long one, the second takes the rest.
	if n := int(w.readings.Load() - before); total < count*size*9/10 || n > 2 {
		t.Errorf("%d octets came in %d readings", total, n)
	}
}

// startTLS goes on with TLS.
func (c *raw) startTLS() {
	c.t.Helper()
	c.send("tls STARTTLS\r\n")
	c.want("tls OK")
	c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	c.r.Reset(c.Conn)
}
