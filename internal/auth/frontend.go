package auth

import (
	"context"
	"net"
	"net/netip"

	"mallard/internal/mail"
)

// Frontend checks the logins of one protocol.
type Frontend struct {
	service  *Service
	scope    string
	protocol string
}

// Frontend returns the checker for a service: its scope, and its name for logs.
func (s *Service) Frontend(scope, protocol string) *Frontend {
	return &Frontend{service: s, scope: scope, protocol: protocol}
}

// Login returns the account for a name and a password. session names the connection
// in logs. A login that still needs a second factor is refused. Errors: AuthFailed,
// AuthScope, RateLimited, Unavailable.
func (f *Frontend) Login(ctx context.Context, username, password string, remote net.Addr, session string) (*mail.Account, error) {
	res, err := f.service.Authenticate(ctx, Request{
		Username: username, Password: password, Scope: f.scope, Protocol: f.protocol, IP: RemoteIP(remote), Session: session,
	})
	if err != nil {
		return nil, err
	}
	if len(res.Require2FA) > 0 {
		return nil, scopeInvalid()
	}
	return res.Account, nil
}

// RemoteIP returns the IP address of a peer, the zero Addr when it has none.
func RemoteIP(remote net.Addr) netip.Addr {
	switch a := remote.(type) {
	case nil:
		return netip.Addr{}
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	ap, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
