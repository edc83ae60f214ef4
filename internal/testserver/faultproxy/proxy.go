// Package faultproxy is a TCP proxy for tests that fails on purpose: it cuts, closes, half-closes, holds or delays the
// connections between a client and a database at a chosen request or octet, loses the answer to a request that the
// server has carried out, answers in place of the server, and refuses connections.
//
// Requests are counted over all connections, so that a test can let an operation fail at each of its requests in turn
// (Each). It knows only where messages end, nothing of what they mean, and must not import any package of the module.
package faultproxy

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mallard/internal/testserver/freeport"
)

// A Proxy stands before one server. Its methods may be called at any time.
type Proxy struct {
	Addr string // host:port that clients connect to

	target   string
	protocol Protocol
	work     sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener // nil while connections are refused
	conns    map[*conn]struct{}
	names    []string // of the requests seen
	plan     plan
	fired    bool
	held     bool
	delay    time.Duration
	left     [2]int64 // octets until a cut, by direction; negative: none
	closed   bool
}

// plan is the fault to come.
type plan struct {
	after int // requests that pass before
	fault Fault
	armed bool
	every bool
}

// Start starts a proxy before the server at target (host:port). It ends with the test.
func Start(t testing.TB, target string, protocol Protocol) *Proxy {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0]) // still its own after Refuse
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, protocol: protocol, listener: l, conns: map[*conn]struct{}{}, left: [2]int64{-1, -1}}
	p.changed = sync.NewCond(&p.mu)
	p.work.Go(func() { p.accept(l) })
	t.Cleanup(p.close)
	return p
}

// In puts the proxy's address into the URL of a server in place of its own.
func (p *Proxy) In(serverURL string) string {
	scheme, rest, _ := strings.Cut(serverURL, "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	user, _, ok := strings.Cut(rest[:end], "@")
	if ok {
		user += "@"
	} else {
		user = ""
	}
	return scheme + "://" + user + p.Addr + rest[end:]
}

// Count is how many requests were seen since Start or Forget.
func (p *Proxy) Count() int { return len(p.Names()) }

// Names are the commands of the requests seen since Start or Forget, in order.
func (p *Proxy) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.names...)
}

// Forget begins counting anew.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names = nil
}

// Fail lets the n-th request from now, on whichever connection (1 is the next), meet a fault, in place of one that was
// planned before. It happens once.
func (p *Proxy) Fail(n int, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.fired = plan{after: n - 1, fault: f, armed: true}, false
}

// FailAll lets every request from now on meet a fault, until Heal.
func (p *Proxy) FailAll(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.fired = plan{fault: f, armed: true, every: true}, false
}

// FailOctet resets the connection on which the n-th octet from now goes in a direction, before it is passed on: Request
// counts what clients send, Answer what the server sends.
func (p *Proxy) FailOctet(w Where, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left[w], p.fired = n-1, false
}

// Fired tells whether the fault that was planned last has happened.
func (p *Proxy) Fired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fired
}

// Cut resets all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

func (p *Proxy) cut() {
	for c := range p.conns {
		c.reset()
	}
}

// Refuse resets all connections and refuses new ones until Heal, as a host does on which no server runs.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.cut()
}

// Hold passes nothing on and keeps all connections open, new ones too, until Heal: a network that swallows everything.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// Delay lets every message wait, in each direction, until Heal or another Delay.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Heal ends all faults: what was held goes on, connections are accepted.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.held, p.delay, p.left = plan{}, false, 0, [2]int64{-1, -1}
	for c := range p.conns {
		c.held = false
	}
	p.changed.Broadcast()
	if p.listener != nil || p.closed {
		return
	}
	l := listenAgain(p.Addr)
	p.listener = l
	p.work.Go(func() { p.accept(l) })
}

// listenAgain may find the port in use for a moment by a connection that was given it.
func listenAgain(addr string) net.Listener {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return l
		}
		if time.Now().After(end) {
			panic(fmt.Sprintf("faultproxy: listen again: %v", err))
		}
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
	}
	p.cut()
	p.changed.Broadcast()
	p.mu.Unlock()
	p.work.Wait()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

// seen counts a request and tells which fault it meets, if any.
func (p *Proxy) seen(name string) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.count(name) || !p.plan.armed:
		return Fault{}, false
	case p.plan.after > 0:
		p.plan.after--
		return Fault{}, false
	}
	p.plan.armed = p.plan.every
	p.fired = true
	return p.plan.fault, true
}

// count notes a request and tells whether it is one that counts.
func (p *Proxy) count(name string) bool {
	if p.protocol.quiet(name) {
		return false
	}
	p.names = append(p.names, name)
	return true
}

// Each runs an operation over and over, with its first request failing, then its second, and so on, until it needs fewer
// requests. Each run is a subtest; it must leave what the next one starts from, and what it prepares must not go through
// the proxy. Each fails when there is no end after a few hundred requests, as with a client that polls.
func (p *Proxy) Each(t *testing.T, f Fault, run func(t *testing.T, n int)) {
	t.Helper()
	const enough = 500
	for n := 1; ; n++ {
		if n > enough {
			t.Fatalf("the operation has more than %d requests: %q", enough, p.Names()[:20])
		}
		p.Forget()
		p.Fail(n, f)
		ok := t.Run(fmt.Sprintf("%s at %d", f, n), func(t *testing.T) {
			run(t, n)
			if t.Failed() {
				t.Logf("requests seen: %q", p.Names())
			}
		})
		fired := p.Fired()
		p.Heal()
		if !ok || !fired {
			return
		}
	}
}
