package netserve

import (
	"context"
	"net"
	"sync"
)

// Limit bounds the open connections of a listener that something else serves, and reads
// the headers of proxies. Of the options it uses those about the number of connections
// and about proxies. The listener must be closed.
func Limit(l net.Listener, o Options) net.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	return &limited{Listener: l, o: o, gate: newGate(o), ctx: ctx, cancel: cancel, ready: make(chan net.Conn), failed: make(chan error)}
}

// limited is such a listener. Without proxies Accept does everything; with them
// connections are accepted in the background, as Accept must not wait for the header of
// one of them while others come.
type limited struct {
	net.Listener
	o    Options
	gate *gate

	ctx    context.Context // of the listener; it ends with Close
	cancel context.CancelFunc
	start  sync.Once
	wg     sync.WaitGroup
	ready  chan net.Conn
	failed chan error
}

// Accept waits for the next connection for which there is room.
func (l *limited) Accept() (net.Conn, error) {
	if len(l.o.Proxies) == 0 {
		c, e, err := l.next()
		if err != nil {
			return nil, err
		}
		return &counted{c, e}, nil
	}
	if l.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	l.start.Do(func() { l.wg.Go(l.run) })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l *limited) next() (net.Conn, *entry, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, nil, err
		}
		e, ok := l.gate.admit(c, &l.o)
		if ok {
			return c, e, nil
		}
		refuse(c, l.o, l.o.Refusal)
	}
}

// run accepts connections until the listener is closed.
func (l *limited) run() {
	for {
		c, e, err := l.next()
		if err == nil {
			l.wg.Go(func() { l.present(c, e) })
			continue
		}
		select {
		case l.failed <- err: // who asks knows whether to go on
		case <-l.ctx.Done():
			return
		}
	}
}

// present gives a connection to Accept when it is known whose it is.
func (l *limited) present(raw net.Conn, e *entry) {
	c, refusal, err := e.identify(l.ctx, raw, &l.o)
	if err != nil {
		logRefused(l.ctx, &l.o, raw, err)
		dismiss(l.ctx, raw, l.o, refusal)
		e.leave()
		return
	}
	select {
	case l.ready <- &counted{c, e}:
	case <-l.ctx.Done():
		_ = (&counted{c, e}).Close()
	}
}

// Close closes the listener and the connections that nobody has accepted.
func (l *limited) Close() error {
	err := l.Listener.Close()
	l.cancel()
	l.wg.Wait()
	return err
}
