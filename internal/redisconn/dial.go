package redisconn

import (
	"context"
	"crypto/tls"
	"net"
)

// sentinelDialer gives the Sentinels and the servers the TLS that each has: the library knows one for both. A Sentinel
// is known by being listed; where the two differ, those that the library finds by itself cannot be used.
func sentinelDialer(o Options) func(ctx context.Context, network, addr string) (net.Conn, error) {
	listed := make(map[string]bool, len(o.Sentinels))
	for _, addr := range o.Sentinels {
		listed[addr] = true
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		cfg := o.TLS
		if listed[addr] {
			cfg = o.SentinelTLS
		}
		d := &net.Dialer{Timeout: o.DialTimeout}
		if cfg == nil {
			return d.DialContext(ctx, network, addr)
		}
		return (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext(ctx, network, addr)
	}
}
