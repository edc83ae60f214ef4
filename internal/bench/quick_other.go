//go:build !linux

package bench

import "net"

// A quickConn is an ordinary connection here.
type quickConn struct{ net.Conn }
