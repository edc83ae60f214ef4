package netserve

import (
	"context"
	"errors"
	"fmt"
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

// errTooMany refuses a client behind a proxy; others are refused before they are served.
var errTooMany = errors.New("too many connections from one address")

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

// entry is a connection that is counted until it leaves.
type entry struct {
	gate  *gate
	proxy bool // a header is to come; until then nobody knows whose connection it is

	ip    netip.Addr
	known bool // it is counted for its address
	gone  bool
}

// admit counts a connection, or reports that there is no room for it.
func (g *gate) admit(c net.Conn, o *Options) (*entry, bool) {
	ip := remoteIP(c)
	e := &entry{gate: g, proxy: o.fromProxy(ip)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.max > 0 && g.all >= g.max || !e.proxy && !e.count(ip) {
		return nil, false
	}
	g.all++
	return e, true
}

// count counts the connection for its address, unless that has too many. The gate is
// locked.
func (e *entry) count(ip netip.Addr) bool {
	if e.gate.maxPerIP > 0 && e.gate.perIP[ip] >= e.gate.maxPerIP {
		return false
	}
	e.gate.perIP[ip]++
	e.ip, e.known = ip, true
	return true
}

// identify finds out whose connection it is: for one that comes from a proxy it waits for
// the header. A connection that fails is to be refused with that line.
func (e *entry) identify(ctx context.Context, c net.Conn, o *Options) (_ net.Conn, refusal string, _ error) {
	if !e.proxy {
		return c, "", nil
	}
	client, err := behindProxy(ctx, c, o.ProxyTimeout)
	if err != nil {
		return nil, o.ProxyRefusal, err
	}
	e.gate.mu.Lock()
	defer e.gate.mu.Unlock()
	if !e.count(remoteIP(client)) {
		return nil, o.Refusal, fmt.Errorf("%w: %s", errTooMany, remoteIP(client))
	}
	return client, "", nil
}

// leave makes room for another connection; doing it again changes nothing.
func (e *entry) leave() {
	g := e.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.gone {
		return
	}
	e.gone = true
	g.all--
	if !e.known {
		return
	}
	if g.perIP[e.ip]--; g.perIP[e.ip] <= 0 {
		delete(g.perIP, e.ip)
	}
}

// refuse closes a connection that is not served, with a line of the protocol where the
// client can read it.
func refuse(c net.Conn, o Options, line string) {
	if o.TLS == nil && line != "" {
		_ = c.SetWriteDeadline(time.Now().Add(refuseTime))
		_, _ = c.Write([]byte(line))
	}
	_ = c.Close()
}

// dismiss is refuse for a connection with a goroutine of its own: the client gets time to
// read the line, whatever else it has sent.
func dismiss(ctx context.Context, c net.Conn, o Options, line string) {
	if o.TLS == nil && line != "" {
		_ = c.SetWriteDeadline(time.Now().Add(refuseTime))
		_, _ = c.Write([]byte(line))
		linger(ctx, c)
	}
	_ = c.Close()
}

// logRefused logs why a connection that a proxy made is not served.
func logRefused(ctx context.Context, o *Options, c net.Conn, err error) {
	if o.Log == nil || ctx.Err() != nil {
		return
	}
	if errors.Is(err, errTooMany) || errors.Is(err, errNothingSent) { // the latter is how monitors look whether a port is open
		o.Log.DebugContext(ctx, "connection of a proxy is not served", "service", o.Name, "proxy", c.RemoteAddr().String(), "error", err)
		return
	}
	o.Log.WarnContext(ctx, "connection of a proxy is not served: is it told to send the PROXY header?", "service", o.Name, "proxy", c.RemoteAddr().String(), "error", err)
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	entry *entry
}

// Close closes the connection.
func (c *counted) Close() error {
	c.entry.leave()
	return c.Conn.Close()
}

func remoteIP(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
