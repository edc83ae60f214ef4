package bench

import (
	"net"
	"syscall"
)

// batchReads asks the kernel to wake this connection's reader only when so many octets have come, or with 1 as soon as
// any has. It is an optimization: a failure is of no interest.
func batchReads(conn net.Conn, octets int) {
	if q, quick := conn.(quickConn); quick {
		conn = q.Conn
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return // TLS: what the kernel counts is not what is read
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, octets) })
}
