package redislock

import (
	"testing"
	"time"

	"mallard/internal/clocktest"
	"mallard/internal/mail"
	"mallard/internal/redisconn/redistest"
)

// Each request of taking and giving back a lock fails in turn, in every way. Whoever is told that he has it is alone, and
// afterwards it is free again within the time of a lease.
func TestFaults(t *testing.T) {
	s := redistest.Start(t)
	proxy, o := s.FaultyOptions(t)
	l, other := open(t, o), open(t, s.Patient())
	for _, f := range redistest.Faults() {
		proxy.Each(t, f, func(t *testing.T, _ int) {
			release, lost, err := l.Lock(within(t, redistest.Patience), name, MinTTL)
			if err == nil {
				if second, _, err := other.Lock(within(t, 50*time.Millisecond), name, MinTTL); err == nil {
					second()
					select {
					case <-lost:
					default:
						t.Error("two own the lock")
					}
				}
				release()
			} else if mail.CodeOf(err) != mail.CodeUnavailable {
				t.Errorf("lock: %v", err)
			}
			took := clocktest.Took(func() {
				third, _ := mustLock(t, other, MinTTL)
				third()
			})
			if took > 2*MinTTL {
				t.Errorf("the lock is free after %v", took)
			}
			redistest.Eventually(t, "Redis is back", l.conn.Up)
		})
	}
}
