package netserve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
)

// Conn is a connection on which one can wait for the client without reading: with
// nothing in memory but the connection, also beneath TLS. It is used by one reader at a
// time.
type Conn struct {
	net.Conn
	first [1]byte // what Await has read
	has   bool
	err   error // what it has met
}

// Waitable returns a connection to be used in place of c, and the Conn on which to wait
// for its client: c itself or what is beneath its TLS, or a new one around c.
func Waitable(c net.Conn) (net.Conn, *Conn) {
	switch t := c.(type) {
	case *Conn:
		return t, t
	case *tls.Conn:
		if beneath, ok := t.NetConn().(*Conn); ok {
			return t, beneath
		}
	}
	around := &Conn{Conn: c}
	return around, around
}

// Plain reports whether the proxy before a connection has said that its client came
// without TLS; told is false where nothing has come before it from a proxy.
func Plain(c net.Conn) (plain, told bool) {
	if around, ok := c.(*Conn); ok {
		c = around.Conn
	}
	p, told := c.(interface{ Plain() bool })
	return told && p.Plain(), told
}

// Await returns when the client has sent something, which Read returns afterwards, or
// when reading fails, then with the error: that the time of SetReadDeadline is over, or
// what every Read returns from then on. It knows nothing of what TLS has read already:
// a Read of a TLS connection whose time is over tells that there is nothing.
func (c *Conn) Await() error {
	if c.has || c.err != nil {
		return c.err
	}
	n, err := c.Conn.Read(c.first[:])
	if c.has = n > 0; c.has {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.err = err
	}
	return err
}

// Read reads from the connection, after what Await has read.
func (c *Conn) Read(p []byte) (int, error) {
	switch {
	case c.has && len(p) > 0:
		c.has = false
		return copy(p, c.first[:]), nil
	case c.err != nil:
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// CloseWrite ends what is sent, as for a TCP connection.
func (c *Conn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Aside calls f on a goroutine of its own and waits for it. Go's stacks grow and hardly
// ever shrink: who waits for long lets others do what takes a large one. A panic of f is
// one of the caller.
func Aside(f func()) {
	done := make(chan *aside)
	go func() {
		var failed *aside
		defer func() { done <- failed }()
		defer func() {
			if p := recover(); p != nil {
				failed = &aside{p, debug.Stack()}
			}
		}()
		f()
	}()
	if failed := <-done; failed != nil {
		panic(failed)
	}
}

// aside is a panic of what was called by Aside.
type aside struct {
	value any
	stack []byte
}

// String is what a program says that dies of it.
func (a *aside) String() string { return fmt.Sprintf("%v\n%s", a.value, a.stack) }
