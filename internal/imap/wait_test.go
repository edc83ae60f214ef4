package imap_test

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"mallard/internal/event"
	"mallard/internal/imap"
)

// restsAfter makes sessions rest as soon as they wait for so long.
func restsAfter(d time.Duration) setting {
	return options(func(o *imap.Options) { o.RestAfter = d })
}

// rests waits until no session has a goroutine that could carry out a command.
func rests(t testing.TB) {
	t.Helper()
	var all strings.Builder
	for range 1000 {
		all.Reset()
		if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(all.String(), "imap.(*session).run") && strings.Contains(all.String(), "imap.(*session).await") {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("the session does not rest:\n%s", all.String())
}

// A session that rests is told what happens, hears what its client says in any pieces, and ends as one that does not.
func TestRest(t *testing.T) {
	w := newWorld(t, withTLS(t), restsAfter(5*time.Millisecond))
	w.allowed = 0
	for name, begin := range map[string]func(c *raw){
		"plain": func(*raw) {},
		"TLS":   (*raw).startTLS,
	} {
		t.Run(name, func(t *testing.T) {
			c, other := w.raw(t), w.client(t)
			hears := func() {
				t.Helper()
				other.add("INBOX", letter)
				c.want(fmt.Sprintf("* %d EXISTS", w.messages(t, "INBOX")))
			}
			rests(t)
			begin(c)
			c.login()
			c.send("s SELECT INBOX\r\n")
			c.want("s OK")
			rests(t)
			c.send("n NOOP\r\n")
			c.want("n OK")
			c.send("i IDLE\r\n")
			c.want("+ idling")
			for range 3 {
				rests(t)
				hears()
			}
			for _, piece := range []string{"DO", "N"} {
				c.send(piece)
				hears() // in the middle of the line
				time.Sleep(10 * time.Millisecond)
			}
			c.send("E\r\n")
			c.want("i OK")
			c.send("j IDLE\r\nDONE\r\nk IDLE\r\nDONE\r\nn NOOP\r\n") // in one piece
			c.want("j OK")
			c.want("k OK")
			c.want("n OK")
			c.send("l IDLE\r\n")
			c.want("+ idling")
			rests(t)
			c.send(strings.Repeat("x", 100))
			time.Sleep(10 * time.Millisecond)
			hears()
			c.send("\r\nDONE\r\nm NOOP\r\n") // what comes after a line that is too long is a command
			c.want("l BAD Line too long")
			c.want("DONE BAD")
			c.want("m OK")
			other.ok("LOGOUT")
			c.send("z LOGOUT\r\n")
			c.want("z OK")
			c.srv.ended(t)
		})
	}
}

// What ends a session reaches one that rests.
func TestRestEnds(t *testing.T) {
	w := newWorld(t, restsAfter(time.Millisecond), options(func(o *imap.Options) {
		o.IdleTimeout, o.KeepAlive, o.LoginTimeout = time.Second, 400*time.Millisecond, 300*time.Millisecond
	}))
	for name, tc := range map[string]struct {
		idle bool
		end  func(c *raw)
		want string
	}{
		"shutdown":         {false, func(c *raw) { c.srv.stop() }, "* BYE [UNAVAILABLE]"},
		"shutdown in IDLE": {true, func(c *raw) { c.srv.stop() }, "* BYE [UNAVAILABLE]"},
		"logout in IDLE": {true, func(c *raw) {
			e := event.Event{Account: w.acct.ID, Kind: event.Logout, Reason: "Enough"}
			if err := w.bus.Publish(context.Background(), e); err != nil {
				t.Error(err)
			}
		}, "* BYE Enough"},
		"timeout":         {false, func(*raw) {}, "* BYE Idle for too long"},
		"timeout in IDLE": {true, func(c *raw) { c.want("* OK Still here"); c.want("* OK Still here") }, "* BYE Idle for too long"},
		"close":           {false, func(c *raw) { _ = c.Close() }, ""},
		"close in IDLE":   {true, func(c *raw) { _ = c.Close() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.raw(t)
			c.login()
			if tc.idle {
				c.send("i IDLE\r\n")
				c.want("+ idling")
			}
			rests(t)
			tc.end(c)
			if tc.want != "" {
				c.want(tc.want)
			}
			c.srv.ended(t)
		})
	}
	t.Run("before login", func(t *testing.T) {
		c := w.raw(t)
		rests(t)
		begin := time.Now()
		c.send("a NOOP\r\n")
		c.want("a OK")
		c.want("* BYE Idle for too long")
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// BenchmarkNotify is the time from an APPEND to what an idling session is told of it, with sessions that rest and not.
func BenchmarkNotify(b *testing.B) {
	for _, d := range []time.Duration{time.Hour, time.Nanosecond} {
		b.Run(fmt.Sprint("rests after ", d), func(b *testing.B) {
			w := newWorld(b, restsAfter(d))
			w.allowed = 0
			c, other := w.raw(b), w.client(b)
			c.login()
			c.send("s SELECT INBOX\r\ni IDLE\r\n")
			c.want("+ idling")
			n := 0
			for b.Loop() {
				n++
				other.add("INBOX", letter)
				c.want(fmt.Sprintf("* %d EXISTS", n))
			}
		})
	}
}
