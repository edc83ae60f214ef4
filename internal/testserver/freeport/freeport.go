// Package freeport finds ports for the servers of tests that cannot listen on port 0: a program that is told its port on
// the command line or in a file, one that is stopped and started again, one that must not be there at all.
//
// A port that the system gives for port 0 is anybody's again once it is let go: the next connection of another test may
// leave from it. The ports given here lie below those that the system gives by itself, and each is marked as taken, for the
// other processes that test at the same time as well, until the test ends.
//
// Only tests import it.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
)

const (
	// first is the lowest port that is given. What is below are the well-known ports of servers that may run here.
	first = 10000
	// usualEnd is where the ports begin that Linux gives by itself, unless it is told otherwise.
	usualEnd = 32768
	// tries is how many ports are tried for each that is wanted.
	tries = 1000
)

// T is the part of testing.TB that is used here, so that a program can start servers as a test does.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Take returns n ports of 127.0.0.1 that nobody listens on. They are given to nobody else until the test ends.
func Take(t T, n int) []int {
	t.Helper()
	ports, release, err := Reserve(n)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(release)
	return ports
}

// Reserve is Take where there is no test: the caller calls release in its place.
func Reserve(n int) (ports []int, release func(), err error) {
	var marks []net.PacketConn
	release = func() {
		for _, m := range marks {
			_ = m.Close()
		}
	}
	end := systemPorts()
	for range n * tries {
		if len(ports) == n {
			return ports, release, nil
		}
		port := first + rand.IntN(end-first)
		mark, err := take(port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("find a free port: %w", err)
		}
		marks, ports = append(marks, mark), append(ports, port)
	}
	release()
	return nil, nil, fmt.Errorf("find a free port: none of %d ports between %d and %d is free", n*tries, first, end)
}

// take marks a port that nobody listens on. The mark is the port of the same number of UDP, which servers of mail and
// databases do not use: the system lets it go when the process ends, however it ends. Whether somebody listens is found out
// by asking, not by listening: a program that this process starts in that moment has the listener too, for a moment longer.
func take(port int) (net.PacketConn, error) {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	mark, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	c, err := net.Dial("tcp", addr)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return mark, nil
	case err == nil:
		_ = c.Close()
		err = syscall.EADDRINUSE
	}
	_ = mark.Close()
	return nil, err
}

// systemPorts returns where the ports begin that the system gives by itself.
func systemPorts() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usualEnd // not Linux
	}
	var low int
	if _, err := fmt.Fscan(strings.NewReader(string(b)), &low); err != nil || low <= 2*first {
		return usualEnd
	}
	return low
}
