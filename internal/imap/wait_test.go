package imap_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
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
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
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

// inBubble runs a test with a clock of its own, which goes on when nobody has anything to do.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// What ends a session reaches one that rests.
func TestRestEnds(t *testing.T) {
	times := func(t *testing.T, idle, keepAlive, login time.Duration) *world {
		return newWorld(t, restsAfter(time.Millisecond), options(func(o *imap.Options) {
			o.IdleTimeout, o.KeepAlive, o.LoginTimeout = idle, keepAlive, login
		}))
	}
	const long = time.Minute
	never := func(t *testing.T) *world { return times(t, long, long, long) }
	soon := func(t *testing.T) *world { return times(t, 3*time.Second, 100*time.Millisecond, long) }
	stop := func(_ *world, c *raw) { c.srv.stop() }
	leave := func(_ *world, c *raw) { _ = c.Close() }
	for name, tc := range map[string]struct {
		w    func(t *testing.T) *world
		idle bool
		end  func(w *world, c *raw)
		want string
	}{
		"shutdown":         {never, false, stop, "* BYE [UNAVAILABLE]"},
		"shutdown in IDLE": {never, true, stop, "* BYE [UNAVAILABLE]"},
		"logout in IDLE": {never, true, func(w *world, _ *raw) {
			e := event.Event{Account: w.acct.ID, Kind: event.Logout, Reason: "Enough"}
			if err := w.bus.Publish(context.Background(), e); err != nil {
				t.Error(err)
			}
		}, "* BYE Enough"},
		"timeout":         {soon, false, func(*world, *raw) {}, "* BYE Idle for too long"},
		"timeout in IDLE": {soon, true, func(_ *world, c *raw) { c.want("* OK Still here"); c.want("* OK Still here") }, "* BYE Idle for too long"},
		"close":           {never, false, leave, ""},
		"close in IDLE":   {never, true, leave, ""},
	} {
		inBubble(t, name, func(t *testing.T) {
			w := tc.w(t)
			c := w.piped(t)
			c.login()
			if tc.idle {
				c.send("i IDLE\r\n")
				c.want("+ idling")
			}
			rests(t)
			tc.end(w, c)
			if tc.want != "" {
				c.want(tc.want)
			}
			c.srv.ended(t)
		})
	}
	inBubble(t, "before login", func(t *testing.T) {
		c := times(t, long, long, 2*time.Second).piped(t) // the command below does not put it off
		rests(t)
		c.send("a NOOP\r\n")
		c.want("a OK")
		c.want("* BYE Idle for too long")
		c.srv.ended(t)
	})
}

// lost is a connection whose client has vanished: once it is, reads end with the time of TCP itself, and then with the end.
type lost struct {
	net.Conn
	is chan struct{}

	told atomic.Bool
}

func (c *lost) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.is:
	default:
		return n, err
	}
	switch {
	case n > 0:
		return n, err
	case c.told.Swap(true):
		return 0, io.EOF
	}
	return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}
}

// A client that vanishes in the middle of a command ends its session.
func TestVanishes(t *testing.T) {
	for name, text := range map[string]string{
		"APPEND": "a APPEND INBOX {10+}\r\nabc", "literal": "a SELECT {10+}\r\nabc", "line": "a SEL", "IDLE": "a IDLE\r\nDO", "waiting": "a NOOP\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, restsAfter(time.Millisecond))
			near, far := pipe(t, true)
			defer near.Close()
			gone := &lost{Conn: far, is: make(chan struct{})}
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer far.Close()
				w.srv.Serve(t.Context(), gone)
			}()
			c := &raw{near, t, &server{nil, done}, bufio.NewReader(near)}
			c.want("* OK")
			c.login()
			c.send(text)
			time.Sleep(10 * time.Millisecond) // until it is read, mostly
			close(gone.is)
			_ = near.(*net.TCPConn).CloseWrite() // wakes the read
			c.srv.ended(t)
		})
	}
}

// A client has its time for the handshake of TLS, however soon after the greeting it asks for it.
func TestSlowHandshake(t *testing.T) {
	const rest = 50 * time.Millisecond
	w := newWorld(t, withTLS(t), restsAfter(rest))
	c := w.raw(t)
	c.send("a STARTTLS\r\n")
	c.want("a OK")
	time.Sleep(4 * rest)
	tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := tc.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
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
