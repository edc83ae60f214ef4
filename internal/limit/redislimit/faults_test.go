package redislimit

import (
	"context"
	"testing"
	"time"

	"mallard/internal/mail"
	"mallard/internal/redisconn/redistest"
)

// Each request of taking a place, giving it back and counting fails in turn, in every way. Who is refused is told that it is
// temporary, no place stays taken, and what was counted is counted: once, or twice where the answer was lost.
func TestFaults(t *testing.T) {
	s := redistest.Start(t)
	proxy, o := s.FaultyOptions(t)
	l, other := openWith(t, o, Options{}), openWith(t, s.Patient(), Options{})
	ctx := context.Background()
	for _, f := range redistest.Faults() {
		proxy.Each(t, f, func(t *testing.T, _ int) {
			must := s.Client(t)
			if err := must.Del(ctx, "wdf:5f").Err(); err != nil {
				t.Fatal(err)
			}
			release, err := l.Acquire(ctx, "imap", "5f", 5)
			if err == nil {
				release()
			} else if mail.CodeOf(err) != mail.CodeUnavailable {
				t.Errorf("acquire: %v", err)
			}
			redistest.Eventually(t, "Redis is back", l.o.Conn.Up)
			redistest.Eventually(t, "the place is free", func() bool { return held(t, other, "5f") == 0 })
			counted, err := l.Add(ctx, "wdf:5f", 3, 100, time.Hour)
			if err != nil && mail.CodeOf(err) != mail.CodeUnavailable {
				t.Errorf("count: %v", err)
			}
			redistest.Eventually(t, "Redis is back", l.o.Conn.Up)
			n, _ := must.Get(ctx, "wdf:5f").Int()
			if ok := err == nil && (n == 3 || n == 6) || err != nil && (n == 0 || n == 3 || n == 6); !ok {
				t.Errorf("counted are %d (%+v, %v)", n, counted, err)
			}
		})
	}
}
