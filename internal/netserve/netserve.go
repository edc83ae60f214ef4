// Package netserve runs the listeners of the mail protocols: it accepts
// connections, bounds their number, wraps them in TLS where a listener asks for
// it, gives each a context, and ends them in an orderly way.
//
// It knows no protocol. It must not import a protocol, a service or the store.
package netserve

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultTLSTimeout bounds the handshake of implicit TLS.
const DefaultTLSTimeout = 15 * time.Second

// Handler serves one connection and returns when it is over; netserve closes it
// then. The context ends when the server shuts down: the handler should finish
// what it is doing, say goodbye and return.
type Handler func(ctx context.Context, c net.Conn)

// Options configures a Server.
type Options struct {
	// Name is what people call the service, such as "IMAP"; Setting says how its
	// address is changed, such as "set host and port in [imap]". Both are used in
	// errors.
	Name, Setting string
	Host          string
	Port          int
	// TLS, when set, is used from the first octet on.
	TLS *tls.Config
	// MaxConns and MaxConnsPerIP bound the open connections; 0 means the default,
	// a negative number no limit. A connection beyond is closed after Refusal,
	// a complete line of the protocol, has been sent (not over implicit TLS).
	MaxConns, MaxConnsPerIP int
	Refusal                 string
	TLSTimeout              time.Duration
	// Proxies are the networks of proxies that put a PROXY header (versions 1 and 2)
	// before what their client says, and before TLS. A connection from there must begin
	// with one within ProxyTimeout, or it is closed after ProxyRefusal, a complete line of
	// the protocol, has been sent (not over implicit TLS). Its client's address is that
	// of the connection, and the one that MaxConnsPerIP counts.
	Proxies      []netip.Prefix
	ProxyTimeout time.Duration // DefaultProxyTimeout when zero
	ProxyRefusal string
	Log          *slog.Logger
	Handler      Handler
}

// Server is a bound listener.
type Server struct {
	o        Options
	listener net.Listener
	closing  atomic.Bool

	gate *gate

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// Listen binds the address, so that a taken port is known before anything is
// served. The error names the service, who has the port where that can be found
// out, and the setting that changes it.
func Listen(o Options) (*Server, error) {
	if o.TLSTimeout == 0 {
		o.TLSTimeout = DefaultTLSTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l, err := Bind(o)
	if err != nil {
		return nil, err
	}
	return &Server{o: o, listener: l, gate: newGate(o), conns: make(map[net.Conn]struct{})}, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve accepts connections until Shutdown. The context is the parent of each
// connection's context.
func (s *Server) Serve(ctx context.Context) error {
	var delay time.Duration
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if s.closing.Load() {
				return nil
			}
			// Out of file descriptors, most likely: wait and go on, since the
			// connections that are open must not suffer.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.o.Log.WarnContext(ctx, "accept connection", "service", s.o.Name, "error", err, "retry", delay)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(delay):
			}
			continue
		}
		delay = 0
		e, ok := s.admit(c)
		if !ok {
			refuse(c, s.o, s.o.Refusal)
			continue
		}
		go s.serve(ctx, c, e)
	}
}

func (s *Server) admit(c net.Conn) (*entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return nil, false
	}
	e, ok := s.gate.admit(c, &s.o)
	if ok {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
	}
	return e, ok
}

// serve and those that it calls keep the stack small on which the handler runs: what
// takes more is called aside.
func (s *Server) serve(ctx context.Context, raw net.Conn, e *entry) {
	defer s.release(raw, e)
	c := raw
	if e.proxy {
		Aside(func() { c = s.identify(ctx, raw, e) })
	}
	if c != nil {
		s.handle(ctx, &Conn{Conn: c})
	}
}

// identify returns the connection as its client has it, nil when it is not served.
func (s *Server) identify(ctx context.Context, raw net.Conn, e *entry) net.Conn {
	c, refusal, err := e.identify(ctx, raw, &s.o)
	if err != nil {
		logRefused(ctx, &s.o, raw, err)
		dismiss(ctx, raw, s.o, refusal)
		return nil
	}
	return c
}

func (s *Server) handle(ctx context.Context, c net.Conn) {
	defer linger(ctx, c)
	defer func() {
		if p := recover(); p != nil { // one connection must not take the others down
			s.failed(ctx, c, p)
		}
	}()
	if s.o.TLS == nil {
		s.o.Handler(ctx, c)
		return
	}
	tc := tls.Server(c, s.o.TLS)
	var ok bool
	Aside(func() { ok = s.handshake(ctx, tc) })
	if !ok {
		return
	}
	defer closeTLS(tc)
	s.o.Handler(ctx, tc)
}

func (s *Server) failed(ctx context.Context, c net.Conn, p any) {
	stack := debug.Stack()
	if a, ok := p.(*aside); ok {
		p, stack = a.value, a.stack
	}
	s.o.Log.ErrorContext(ctx, "connection failed", "service", s.o.Name, "remote", c.RemoteAddr().String(), "panic", p, "stack", string(stack))
}

func (s *Server) handshake(ctx context.Context, tc *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, s.o.TLSTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		s.o.Log.DebugContext(ctx, "TLS handshake", "service", s.o.Name, "remote", tc.RemoteAddr().String(), "error", err)
		return false
	}
	return true
}

// closeTime is how long a client has to take the close alert.
const closeTime = time.Second

// closeTLS sends the close alert, which some clients insist on, without waiting
// for a client that does not read: crypto/tls would give it 5 seconds.
func closeTLS(tc *tls.Conn) {
	cut := time.AfterFunc(closeTime, func() { _ = tc.NetConn().Close() })
	defer cut.Stop()
	_ = tc.CloseWrite()
}

// What a client may still send after the last word to it, in time and octets.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 1 << 20
)

// linger waits a moment for the client to close, too. A connection that is closed with
// octets unread is reset, and a reset takes away what the client has not read yet: it
// would not learn why it was cut off.
func linger(ctx context.Context, c net.Conn) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || ctx.Err() != nil || half.CloseWrite() != nil {
		return
	}
	if c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, lingerBytes)) // only its end matters
	}
}

func (s *Server) release(c net.Conn, e *entry) {
	_ = c.Close()
	e.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.wg.Done()
}

// Conns is the number of open connections.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// StopAccepting closes the listener; open connections go on.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	s.closing.Store(true)
	s.mu.Unlock()
	_ = s.listener.Close()
}

// Shutdown stops accepting and waits until all handlers have returned. The
// context given to Serve should end before. When ctx ends first, the remaining
// connections are cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.StopAccepting()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	n := len(s.conns)
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	<-done
	return fmt.Errorf("%s: cut %d connections: %w", s.o.Name, n, ctx.Err())
}
