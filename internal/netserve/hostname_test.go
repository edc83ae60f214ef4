package netserve

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHostNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		h := &HostNames{Timeout: time.Second, Lookup: func(ctx context.Context, addr string) ([]string, error) {
			asked.Add(1)
			switch addr {
			case "192.0.2.1":
				time.Sleep(time.Second / 2)
				return []string{"mx.remote.test.", "other.test."}, nil
			case "192.0.2.2":
				time.Sleep(time.Hour) // a resolver without manners
			case "192.0.2.3":
				return nil, errors.New("no such name")
			case "2001:db8::1":
				return []string{strings.Repeat("a", 256)}, nil
			}
			return nil, nil
		}}
		for _, tt := range []struct {
			addr, want string
			after      time.Duration
		}{
			{"192.0.2.1:25", "mx.remote.test", time.Second / 2},
			{"192.0.2.1:26", "mx.remote.test", 0}, // known
			{"192.0.2.2:25", "[192.0.2.2]", time.Second},
			{"192.0.2.3:25", "[192.0.2.3]", 0},
			{"192.0.2.3:25", "[192.0.2.3]", 0}, // that there is none is known as well
			{"192.0.2.4:25", "[192.0.2.4]", 0},
			{"[2001:db8::1]:25", "[2001:db8::1]", 0},
		} {
			addr, err := net.ResolveTCPAddr("tcp", tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if got := h.Find(addr)(); got != tt.want || time.Since(start) != tt.after {
				t.Errorf("%s: %q after %v, want %q after %v", tt.addr, got, time.Since(start), tt.want, tt.after)
			}
		}
		if got := h.Find(&net.UnixAddr{Name: "/run/socket"})(); got != "" {
			t.Errorf("a socket: %q", got)
		}
		if got := h.Find(nil)(); got != "" {
			t.Errorf("nobody: %q", got)
		}
		if n := asked.Load(); n != 5 {
			t.Errorf("%d questions, want 5", n)
		}
		time.Sleep(hostNameAge)
		h.Find(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 3), Port: 1})()
		if n := asked.Load(); n != 6 {
			t.Errorf("%d questions after a while, want 6", n)
		}
		time.Sleep(time.Hour)
	})
}
