package lmtpclient

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// timedConn gives each read and write a term of its own and ends them all when
// the context of the running call ends.
type timedConn struct {
	net.Conn
	ctx atomic.Pointer[context.Context]
}

// follow ties the connection to a context until the result is called.
func (t *timedConn) follow(ctx context.Context) (stop func()) {
	t.ctx.Store(&ctx)
	end := context.AfterFunc(ctx, func() { _ = t.SetDeadline(time.Unix(1, 0)) })
	return func() { end() }
}

// term sets the deadline of one call. The context is looked at afterwards, too, so
// that its end is not overwritten.
func (t *timedConn) term() error {
	ctx := *t.ctx.Load()
	if err := t.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		_ = t.SetDeadline(time.Unix(1, 0))
		return context.Cause(ctx)
	}
	return nil
}

// Read reads within a term.
func (t *timedConn) Read(p []byte) (int, error) {
	if err := t.term(); err != nil {
		return 0, err
	}
	return t.Conn.Read(p)
}

// Write writes within a term.
func (t *timedConn) Write(p []byte) (int, error) {
	if err := t.term(); err != nil {
		return 0, err
	}
	return t.Conn.Write(p)
}
