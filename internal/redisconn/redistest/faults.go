package redistest

import (
	"context"
	"testing"
	"time"

	"mallard/internal/redisconn"
	"mallard/internal/testserver/faultproxy"
)

// FaultyOptions is a connection to a server through a proxy whose requests a test lets fail.
func (s *Server) FaultyOptions(t testing.TB) (*faultproxy.Proxy, redisconn.Options) {
	t.Helper()
	p := faultproxy.Start(t, s.Addr(), faultproxy.Redis)
	return p, Options(p.Addr)
}

// Faults are the ways in which a request fails: the connection is cut or half closed, or so slow that the client gives up,
// before the server has seen the request and after it has carried it out.
func Faults() []faultproxy.Fault {
	slow := Options("").Timeout * 3 / 2
	return append(faultproxy.Cuts(),
		faultproxy.Fault{Where: faultproxy.Request, How: faultproxy.Wait, Time: slow},
		faultproxy.Fault{Where: faultproxy.Answer, How: faultproxy.Wait, Time: slow},
	)
}

// late is a context that does not say that its time is over.
type late struct {
	context.Context
	end time.Time
}

func (c late) Deadline() (time.Time, bool) { return c.end, true }

// Late is ctx with a deadline that a connection keeps, while the context itself does not end: a call whose connection notices
// the deadline first.
func Late(ctx context.Context, end time.Time) context.Context { return late{ctx, end} }
