package netserve

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Defaults of Options.
const (
	DefaultMaxConns      = 20000
	DefaultMaxConnsPerIP = 2000
)

// refuseTime is how long a client that is refused has to take the refusal.
const refuseTime = time.Second

// gate counts the connections that are open, and how many of them come from where.
type gate struct {
	max, maxPerIP int // 0 or less: no limit

	mu    sync.Mutex
	all   int
	perIP map[netip.Addr]int
}

// newGate makes a gate from options: 0 means the default, a negative number no
// limit.
func newGate(o Options) *gate {
	g := &gate{max: o.MaxConns, maxPerIP: o.MaxConnsPerIP, perIP: make(map[netip.Addr]int)}
	if g.max == 0 {
		g.max = DefaultMaxConns
	}
	if g.maxPerIP == 0 {
		g.maxPerIP = DefaultMaxConnsPerIP
	}
	return g
}

// enter counts a connection, or reports that there is no room for it.
func (g *gate) enter(ip netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.max > 0 && g.all >= g.max || g.maxPerIP > 0 && g.perIP[ip] >= g.maxPerIP {
		return false
	}
	g.all++
	g.perIP[ip]++
	return true
}

func (g *gate) leave(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.perIP[ip]--; g.perIP[ip] <= 0 {
		delete(g.perIP, ip)
	}
}

// refuse closes a connection for which there is no room, with a line of the protocol
// where the client can read it.
func refuse(c net.Conn, o Options) {
	if o.TLS == nil && o.Refusal != "" {
		_ = c.SetWriteDeadline(time.Now().Add(refuseTime))
		_, _ = c.Write([]byte(o.Refusal))
	}
	_ = c.Close()
}

// Limit bounds the open connections of a listener that something else serves. Of the
// options it uses those about the number of connections.
func Limit(l net.Listener, o Options) net.Listener {
	return &limited{l, o, newGate(o)}
}

type limited struct {
	net.Listener
	o    Options
	gate *gate
}

// Accept waits for the next connection for which there is room.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := remoteIP(c)
		if l.gate.enter(ip) {
			return &counted{Conn: c, leave: func() { l.gate.leave(ip) }}, nil
		}
		refuse(c, l.o)
	}
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close closes the connection.
func (c *counted) Close() error {
	c.once.Do(c.leave)
	return c.Conn.Close()
}

func remoteIP(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
