package netserve

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// What Await has read is read, errors are met again, and time-outs are not.
func TestAwait(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	_, c := Waitable(far)
	if again, same := Waitable(c); again != net.Conn(c) || same != c {
		t.Error("a Conn is wrapped again")
	}
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Await(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(near, "hello")
		_ = near.Close()
	}()
	for range 2 {
		if err := c.Await(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("reading nothing: %d, %v", n, err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	for range 2 {
		if err := c.Await(); err != io.EOF {
			t.Errorf("Await at the end: %v", err)
		}
		if n, err := c.Read(b); n != 0 || err != io.EOF {
			t.Errorf("Read at the end: %d, %v", n, err)
		}
	}
	if err := c.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("half of a pipe was closed: %v", err)
	}
}

// A client is waited for beneath its TLS.
func TestAwaitTLS(t *testing.T) {
	r := start(t, Options{TLS: certificate(t).Config(), Handler: func(_ context.Context, c net.Conn) {
		same, line := Waitable(c)
		if same != c || c.(*tls.Conn).NetConn() != net.Conn(line) {
			t.Error("it is not waited for beneath TLS")
		}
		b := make([]byte, 100)
		for {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			n, err := c.Read(b)
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
			if err == nil {
				continue
			}
			_ = c.SetReadDeadline(time.Time{})
			if !errors.Is(err, os.ErrDeadlineExceeded) || line.Await() != nil {
				return
			}
		}
	}})
	c := tls.Client(r.dial(t), &tls.Config{InsecureSkipVerify: true})
	for _, text := range []string{"hello", strings.Repeat("x", 1000), "bye"} {
		time.Sleep(5 * time.Millisecond)
		if got := say(t, c, text); got != text {
			t.Errorf("answer %q", got)
		}
	}
}

// What fails aside fails one connection, and the log tells where.
func TestPanicAside(t *testing.T) {
	r := start(t, Options{Handler: func(context.Context, net.Conn) {
		calm := false
		Aside(func() { calm = true })
		if calm {
			Aside(failing)
		}
	}})
	rest(t, r.dial(t))
	r.waitConns(t, 0)
	if log := r.log.String(); !strings.Contains(log, `panic="a fault aside"`) || !strings.Contains(log, "netserve.failing") {
		t.Errorf("log %q", log)
	}
	defer func() {
		if text := recover().(interface{ String() string }).String(); !strings.Contains(text, "a fault aside") || !strings.Contains(text, "failing") {
			t.Errorf("panic with %q", text)
		}
	}()
	Aside(failing)
}

func failing() { panic("a fault aside") }
