package redistest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a way to a server that can be cut, blocked and slowed, for one node among several.
type Proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	open    sync.Cond
	blocked bool
	delay   time.Duration
	conns   map[net.Conn]struct{}
	workers sync.WaitGroup
}

// StartProxy starts a proxy to an address, which ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	p.open.L = &p.mu
	p.workers.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.Unblock()
		p.Cut()
		p.workers.Wait()
	})
	return p
}

// Addr is host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Block lets nothing through any more; connections stay and are taken.
func (p *Proxy) Block() { p.setBlocked(true) }

// Unblock lets through what came meanwhile, and all that follows.
func (p *Proxy) Unblock() { p.setBlocked(false) }

func (p *Proxy) setBlocked(blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = blocked
	p.open.Broadcast()
}

// Delay holds back everything for a time, in each direction.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut ends the connections that there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// CutWrites ends the direction to the client of the connections that there are, as a half-closed connection has it.
func (p *Proxy) CutWrites() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.(*net.TCPConn).CloseWrite()
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[up] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.workers.Go(func() { p.forward(c, up) })
		p.workers.Go(func() { p.forward(up, c) })
	}
}

func (p *Proxy) forward(to, from net.Conn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.blocked {
			p.open.Wait()
		}
		delay := p.delay
		p.mu.Unlock()
		time.Sleep(delay)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				return
			}
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}
