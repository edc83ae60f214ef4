package netserve

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Bind binds the address and leaves serving it to others. Of the options it uses
// those about the address. The error names the service and the address, who has the
// port where that can be found out, and the setting that changes it.
func Bind(o Options) (net.Listener, error) {
	addr := net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s cannot listen on %s: %s%s: %w", o.Name, addr, reason(o.Port, err), o.Setting, cause(err))
	}
	return l, nil
}

// reason says why an address cannot be bound, and what could be done other than
// changing a setting.
func reason(port int, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := "another program"
		if name := portOwner(port); name != "" {
			who = name
		}
		return who + " already uses that port; stop it, or "
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 need privileges; give them, or "
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have that address; "
	}
	return ""
}

// cause leaves out what the text around it says already.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
