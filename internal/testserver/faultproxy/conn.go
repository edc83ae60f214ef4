package faultproxy

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// readSize is how much is read at once, and so the largest message of Raw.
const readSize = 64 << 10

// A conn is one client and its connection to the server.
type conn struct {
	p              *Proxy
	client, server *net.TCPConn

	held bool        // guarded by Proxy.mu
	over atomic.Bool // both connections were ended on purpose

	mu      sync.Mutex
	waiting int      // requests that are not answered yet (Redis)
	pending []struck // answers that meet a fault
}

// struck is a fault at an answer to come.
type struck struct {
	fault  Fault
	id     uint32 // Mongo: of the request
	before int    // Redis: answers that come first
}

func (p *Proxy) serve(client *net.TCPConn) {
	defer client.Close()
	if !p.gate(nil) {
		return
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	upstream, err := d.Dial("tcp", p.target)
	if err != nil {
		client.SetLinger(0)
		return
	}
	defer upstream.Close()
	c := &conn{p: p, client: client, server: upstream.(*net.TCPConn)}
	if !p.add(c) {
		return
	}
	defer p.remove(c)
	var both sync.WaitGroup
	both.Go(c.requests)
	both.Go(c.answers)
	both.Wait()
}

func (p *Proxy) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener == nil {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// reset ends both connections with RST.
func (c *conn) reset() {
	c.over.Store(true)
	for _, side := range []*net.TCPConn{c.client, c.server} {
		side.SetLinger(0)
		side.Close()
	}
}

func (c *conn) close() {
	c.over.Store(true)
	c.client.Close()
	c.server.Close()
}

// requests passes on what the client sends.
func (c *conn) requests() {
	r := bufio.NewReaderSize(c.client, readSize)
	for {
		f, err := c.p.protocol.request(r)
		if err != nil {
			c.rest(r, c.server, Request)
			return
		}
		fault, hit := c.p.seen(f.name)
		if hit && fault.Where == Request {
			if fault.How == Deny {
				if !f.noAnswer && !c.pass(denial(f.id, notPrimary), c.client, Answer) {
					return
				}
				continue
			}
			if !c.strike(fault, f.octets, c.server, Request) {
				c.swallow(r, Request)
				return
			}
			continue
		}
		c.expect(f, fault, hit)
		if !c.pass(f.octets, c.server, Request) {
			return
		}
	}
}

// answers passes on what the server sends.
func (c *conn) answers() {
	r := bufio.NewReaderSize(c.server, readSize)
	for {
		f, err := c.p.protocol.answer(r)
		if err != nil {
			c.rest(r, c.client, Answer)
			return
		}
		if fault, hit := c.answered(f); hit {
			if !c.strike(fault, f.octets, c.client, Answer) {
				c.swallow(r, Answer)
				return
			}
			continue
		}
		if !c.pass(f.octets, c.client, Answer) {
			return
		}
	}
}

// rest passes on what is left when one side has ended, and ends that direction on the other.
func (c *conn) rest(r *bufio.Reader, to *net.TCPConn, w Where) {
	if c.over.Load() { // an end in order would come before the reset
		return
	}
	if n := r.Buffered(); n > 0 {
		b, _ := r.Peek(n)
		c.pass(b, to, w)
	}
	to.CloseWrite()
}

// expect notes what will answer a request.
func (c *conn) expect(f frame, fault Fault, hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hit && !f.noAnswer {
		c.pending = append(c.pending, struck{fault: fault, id: f.id, before: c.waiting})
	}
	c.waiting++
}

// answered tells whether an answer meets a fault.
func (c *conn) answered(f frame) (Fault, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A push answers nothing, except that with RESP 3 a subscription is confirmed by one: then nothing else is waited for.
	if f.unasked && (c.waiting == 0 || len(c.pending) == 0 || c.pending[0].before > 0) {
		return Fault{}, false
	}
	c.waiting = max(0, c.waiting-1)
	for i := range c.pending {
		s := &c.pending[i]
		if !c.answerOf(f, s) {
			s.before--
			continue
		}
		fault := s.fault
		c.pending = append(c.pending[:i], c.pending[i+1:]...)
		for j := i; j < len(c.pending); j++ {
			c.pending[j].before--
		}
		return fault, true
	}
	return Fault{}, false
}

func (c *conn) answerOf(f frame, s *struck) bool {
	switch c.p.protocol {
	case Mongo:
		return f.answers == s.id
	case Redis:
		return s.before <= 0
	default:
		return true
	}
}

// strike lets a message meet a fault and tells whether its direction goes on.
func (c *conn) strike(f Fault, b []byte, to *net.TCPConn, w Where) bool {
	if f.How == Deny { // an answer: requests are denied where they come in
		return c.pass(denial(binary.LittleEndian.Uint32(b[8:]), interrupted), to, w)
	}
	if f.How == Wait {
		return c.p.sleep(f.Time) && c.pass(b, to, w)
	}
	n := f.Octets
	if n < 0 {
		n = len(b)
	}
	n = min(n, len(b))
	if !c.pass(b[:n], to, w) {
		return false
	}
	switch f.How {
	case Reset:
		c.reset()
	case Close:
		c.close()
	case HalfClose:
		to.CloseWrite()
	case Hold:
		c.hold()
		return c.pass(b[n:], to, w)
	}
	return false
}

// swallow reads on in a direction that is closed on the other side, so that the sender is not held up; it ends with the
// connection. Requests are counted, but meet no other fault than this.
func (c *conn) swallow(r *bufio.Reader, w Where) {
	for {
		if w == Answer {
			if _, err := r.Discard(1); err != nil {
				return
			}
			continue
		}
		f, err := c.p.protocol.request(r)
		if err != nil {
			return
		}
		c.p.mu.Lock()
		c.p.count(f.name)
		c.p.mu.Unlock()
	}
}

func (c *conn) hold() {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.held = true
}

// pass writes octets when they may go, up to the octet at which the connection is to be cut.
func (c *conn) pass(b []byte, to *net.TCPConn, w Where) bool {
	if len(b) == 0 {
		return true
	}
	if !c.p.sleep(c.p.latency()) || !c.p.gate(c) {
		return false
	}
	n, cut := c.p.take(w, len(b))
	if _, err := to.Write(b[:n]); err != nil {
		c.close()
		return false
	}
	if cut {
		c.reset()
	}
	return !cut
}

// take counts octets and tells how many may pass.
func (p *Proxy) take(w Where, n int) (pass int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch left := p.left[w]; {
	case left < 0:
		return n, false
	case left < int64(n):
		p.left[w], p.fired = -1, true
		return int(left), true
	default:
		p.left[w] -= int64(n)
		return n, false
	}
}

func (p *Proxy) latency() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

// gate waits while everything or a connection is held. It returns false when the proxy ends.
func (p *Proxy) gate(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.held || c != nil && c.held) && !p.closed {
		p.changed.Wait()
	}
	return !p.closed
}

// sleep waits; it returns false when the proxy ends meanwhile.
func (p *Proxy) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	end := time.Now().Add(d)
	wake := time.AfterFunc(d, func() {
		p.mu.Lock() // or it could come between a look at the clock and the wait
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer wake.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for time.Now().Before(end) && !p.closed {
		p.changed.Wait()
	}
	return !p.closed
}
