package bench

import (
	"net"
	"syscall"
)

// A quickConn acknowledges at once what it has read, which the kernel does only for a while by itself. A server that
// sends an answer in several small writes, with Nagle's algorithm, waits for that up to 40 ms each time.
type quickConn struct{ net.Conn }

func (c quickConn) Read(p []byte) (int, error) {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
		}
	}
	return c.Conn.Read(p)
}
