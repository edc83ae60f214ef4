package netserve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mallard/internal/clocktest"
	"mallard/internal/logtest"
	"mallard/internal/testserver/freeport"
	"mallard/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a server that serves until the test ends.
type running struct {
	*Server
	log   *logtest.Buffer
	grace time.Duration // for connections to end in stop
	stop  func() error
}

// patience is how long a machine may take that is busy with others.
const patience = 30 * time.Second

func start(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{log: &logtest.Buffer{}, grace: patience}
	o.Name, o.Host = "TEST", "127.0.0.1"
	o.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	var once sync.Once
	r.stop = func() (err error) {
		once.Do(func() {
			cancel()
			sctx, done := context.WithTimeout(context.Background(), r.grace)
			defer done()
			err = errors.Join(s.Shutdown(sctx), <-served)
		})
		return err
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

func (r *running) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// waitConns waits until so many connections are open.
func (r *running) waitConns(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if r.Conns() == n {
			return
		}
	}
	t.Fatalf("%d connections are open, not %d", r.Conns(), n)
}

// echo answers with what it reads until the context or the connection ends.
func echo(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.Copy(c, c)
	if ctx.Err() != nil {
		_, _ = io.WriteString(c, "goodbye")
	}
}

func say(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read the answer to %q: %v", text, err)
	}
	return string(b)
}

// rest reads until the server closes.
func rest(t *testing.T, c net.Conn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection was not closed: %v", err)
	}
	return string(b)
}

func TestLimits(t *testing.T) {
	const refusal = "* BYE Too many connections\r\n"
	for _, tt := range []struct {
		name string
		o    Options
		room int
	}{
		{"all", Options{MaxConns: 3, MaxConnsPerIP: -1}, 3},
		{"one address", Options{MaxConns: -1, MaxConnsPerIP: 2}, 2},
		{"none", Options{MaxConns: -1, MaxConnsPerIP: -1}, 20},
		{"defaults", Options{}, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Handler, tt.o.Refusal = echo, refusal
			r := start(t, tt.o)
			var open []net.Conn
			for range tt.room {
				c := r.dial(t)
				if got := say(t, c, "hello"); got != "hello" {
					t.Errorf("answer %q", got)
				}
				open = append(open, c)
			}
			if tt.room == 20 {
				return
			}
			for range 3 {
				if got := rest(t, r.dial(t)); got != refusal {
					t.Errorf("refused with %q", got)
				}
			}
			// Those who are in do not suffer, and one that goes makes room for one.
			say(t, open[0], "still here")
			_ = open[1].Close()
			r.waitConns(t, tt.room-1)
			say(t, r.dial(t), "in")
			if got := rest(t, r.dial(t)); got != refusal {
				t.Errorf("refused with %q", got)
			}
		})
	}
}

// The listener of another server has the same limits.
func TestLimitListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(inner, Options{MaxConns: 2, MaxConnsPerIP: -1, Refusal: "full"})
	accepted := make(chan net.Conn, 10)
	done := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				done <- err
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial()
	dial()
	first, second := <-accepted, <-accepted
	if got := rest(t, dial()); got != "full" {
		t.Errorf("refused with %q", got)
	}
	// Closing twice makes room once.
	_ = first.Close()
	_ = first.Close()
	dial()
	third := <-accepted
	if got := rest(t, dial()); got != "full" {
		t.Errorf("refused with %q", got)
	}
	_ = second.Close()
	_ = third.Close()
	_ = l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func certificate(t *testing.T) *tlsconf.Certificate {
	t.Helper()
	c, err := tlsconf.SelfSigned(t.TempDir(), []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTLS(t *testing.T) {
	r := start(t, Options{TLS: certificate(t).Config(), Handler: echo, MaxConns: 1, Refusal: "full"})
	c := tls.Client(r.dial(t), &tls.Config{InsecureSkipVerify: true})
	if got := say(t, c, "hello"); got != "hello" {
		t.Errorf("answer %q", got)
	}
	// A refusal in clear would be noise to a TLS client.
	if got := rest(t, r.dial(t)); got != "" {
		t.Errorf("refused with %q", got)
	}
	_ = c.Close()
	r.waitConns(t, 0)
}

// Clients that do not finish their handshake go after a time, and others are served
// in the meantime.
func TestHandshakesThatDoNotEnd(t *testing.T) {
	const timeout = time.Second // in which the others are served
	r := start(t, Options{TLS: certificate(t).Config(), Handler: echo, TLSTimeout: timeout})
	begin := time.Now()
	took := clocktest.Took(func() {
		silent := r.dial(t)
		half := r.dial(t)
		if _, err := half.Write([]byte{0x16, 3, 1, 2, 0, 1}); err != nil { // the start of a ClientHello
			t.Fatal(err)
		}
		wrong := r.dial(t)
		if _, err := io.WriteString(wrong, "a LOGIN jane secret\r\n"); err != nil {
			t.Fatal(err)
		}
		gone := r.dial(t)
		_ = gone.Close()
		say(t, tls.Client(r.dial(t), &tls.Config{InsecureSkipVerify: true}), "others")

		rest(t, wrong)
		for _, c := range []net.Conn{silent, half} {
			rest(t, c)
		}
	})
	if time.Since(begin) < timeout || took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	r.waitConns(t, 1)
}

// A client that is cut off while it sends learns why, also when it has not read yet what
// came before.
func TestLastWordIsRead(t *testing.T) {
	before := strings.Repeat("x", 3<<20)
	r := start(t, Options{Handler: func(_ context.Context, c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			_, _ = io.WriteString(c, before+"that is enough")
		}
	}})
	for range 5 {
		c := r.dial(t)
		if _, err := c.Write(make([]byte, 8<<10)); err != nil {
			t.Fatal(err)
		}
		got := rest(t, c)
		if len(got) != len(before)+14 || !strings.HasSuffix(got, "that is enough") {
			t.Fatalf("the client read %d octets, which end with %q", len(got), got[max(0, len(got)-14):])
		}
		_ = c.Close()
	}
	r.waitConns(t, 0)
}

// A client that neither reads nor closes is not waited for.
func TestLingerEnds(t *testing.T) {
	seen := make(chan struct{})
	r := start(t, Options{Handler: func(context.Context, net.Conn) { <-seen }})
	r.dial(t)
	r.waitConns(t, 1)
	close(seen)
	r.waitConns(t, 0)
}

// A client that never reads does not hold up the end of its connection, also when
// there is no room left for the alert that ends TLS.
func TestCloseOfTLSDoesNotWait(t *testing.T) {
	full := make(chan time.Time, 1)
	r := start(t, Options{TLS: certificate(t).Config(), Handler: func(_ context.Context, c net.Conn) {
		raw := c.(*tls.Conn).NetConn()
		for _, size := range []int{64 << 10, 64 << 10, 1} { // the client's side makes room for a while
			for err := error(nil); err == nil; {
				_ = raw.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
				_, err = raw.Write(make([]byte, size))
			}
		}
		_ = raw.SetWriteDeadline(time.Time{})
		full <- time.Now()
	}})
	c := tls.Client(r.dial(t), &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	begin := <-full
	r.waitConns(t, 0)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestShutdown(t *testing.T) {
	t.Run("sessions say goodbye", func(t *testing.T) {
		r := start(t, Options{Handler: echo, Port: freeport.Take(t, 1)[0]}) // which nobody else has afterwards
		var open []net.Conn
		for range 5 {
			c := r.dial(t)
			say(t, c, "hello")
			open = append(open, c)
		}
		if err := r.stop(); err != nil {
			t.Errorf("error %v", err)
		}
		for _, c := range open {
			if got := rest(t, c); got != "goodbye" {
				t.Errorf("the end is %q", got)
			}
		}
		if _, err := net.Dial("tcp", r.Addr().String()); err == nil {
			t.Error("connections are still accepted")
		}
	})
	t.Run("those that do not end are cut", func(t *testing.T) {
		r := start(t, Options{Handler: func(_ context.Context, c net.Conn) { _, _ = io.Copy(io.Discard, c) }})
		r.dial(t)
		r.dial(t)
		r.waitConns(t, 2)
		r.grace = 500 * time.Millisecond
		begin := time.Now()
		err := r.stop()
		if err == nil || !strings.Contains(err.Error(), "TEST: cut 2 connections") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("in the middle of a handshake", func(t *testing.T) {
		r := start(t, Options{TLS: certificate(t).Config(), Handler: echo, TLSTimeout: time.Minute})
		r.dial(t)
		r.waitConns(t, 1)
		var err error
		took := clocktest.Took(func() { err = r.stop() })
		if err != nil {
			t.Errorf("error %v", err)
		}
		if took > 400*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("with nobody there", func(t *testing.T) {
		r := start(t, Options{Handler: echo})
		if err := r.stop(); err != nil {
			t.Errorf("error %v", err)
		}
	})
}

// One connection that fails does not take the others down.
func TestPanic(t *testing.T) {
	r := start(t, Options{Handler: func(ctx context.Context, c net.Conn) {
		b := make([]byte, 1)
		if _, err := io.ReadFull(c, b); err == nil && b[0] == '!' {
			panic("a fault of the program")
		}
		echo(ctx, c)
	}})
	good, bad := r.dial(t), r.dial(t)
	if _, err := io.WriteString(good, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(bad, "!"); err != nil {
		t.Fatal(err)
	}
	rest(t, bad)
	say(t, good, "still here")
	r.waitConns(t, 1)
	if log := r.log.String(); !strings.Contains(log, "a fault of the program") || !strings.Contains(log, "netserve_test.go") {
		t.Errorf("log %q", log)
	}
}

// faultyListener fails some times before it accepts.
type faultyListener struct {
	net.Listener
	mu       sync.Mutex
	failures int
}

func (l *faultyListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures > 0 {
		l.failures--
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// Without file descriptors the server waits and goes on.
func TestAcceptFailures(t *testing.T) {
	log := &logtest.Buffer{}
	s, err := Listen(Options{Name: "TEST", Host: "127.0.0.1", Handler: echo, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.listener = &faultyListener{Listener: s.listener, failures: 4}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, "hello")
	_ = c.Close()
	cancel()
	if err := errors.Join(s.Shutdown(context.Background()), <-served); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "accept connection"); n != 4 {
		t.Errorf("%d failures were logged:\n%s", n, log)
	}
}

func TestBindErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		name, host string
		port       int
		want       []string
		is         error
	}{
		{"taken", "127.0.0.1", port, []string{"IMAP cannot listen on 127.0.0.1:" + strconv.Itoa(port), "already uses that port; stop it, or set host and port in [imap]"}, syscall.EADDRINUSE},
		{"not ours", "192.0.2.1", 0, []string{"IMAP cannot listen on 192.0.2.1:0: this machine does not have that address; set host"}, syscall.EADDRNOTAVAIL},
		{"no address", "no.such.host.invalid", 0, []string{"IMAP cannot listen on no.such.host.invalid:0: set host and port in [imap]"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Listen(Options{Name: "IMAP", Setting: "set host and port in [imap]", Host: tt.host, Port: tt.port})
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not hold %q", err, w)
				}
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v is not %v", err, tt.is)
			}
			if me := fmt.Sprintf("(process %d)", os.Getpid()); tt.name == "taken" && runtime.GOOS == "linux" && !strings.Contains(err.Error(), me) {
				t.Errorf("error %q does not say whose port it is", err)
			}
		})
	}
	if got := reason(143, syscall.EACCES); !strings.Contains(got, "privileges") {
		t.Errorf("without privileges: %q", got)
	}
}

// Many clients that come and go leave nothing behind.
func TestManyClients(t *testing.T) {
	r := start(t, Options{Handler: echo, MaxConns: 8, MaxConnsPerIP: 8, Refusal: "full"})
	var wg sync.WaitGroup
	var mu sync.Mutex
	in, out := 0, 0
	for range 16 {
		wg.Go(func() {
			for range 25 {
				c, err := net.Dial("tcp", r.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				b := make([]byte, 4)
				_, _ = io.WriteString(c, "ping")
				n, _ := io.ReadFull(c, b)
				mu.Lock()
				if string(b[:n]) == "ping" {
					in++
				} else {
					out++
				}
				mu.Unlock()
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	if in == 0 || in+out != 16*25 {
		t.Errorf("%d served, %d refused", in, out)
	}
	r.waitConns(t, 0)
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	if r.gate.all != 0 || len(r.gate.perIP) != 0 {
		t.Errorf("left behind: %d, %v", r.gate.all, r.gate.perIP)
	}
}
