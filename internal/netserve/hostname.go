package netserve

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// hostNameAge is how long a name, or that there is none, is remembered.
	hostNameAge = 10 * time.Minute
	// maxHostNames is how many are.
	maxHostNames = 10_000
)

// HostNames finds the host names of clients by their addresses. It is safe for
// concurrent use.
type HostNames struct {
	// Timeout bounds a look-up, and with it the wait for a name.
	Timeout time.Duration
	// Lookup is net.Resolver.LookupAddr; nil for that of the default resolver.
	Lookup func(ctx context.Context, addr string) ([]string, error)

	mu    sync.Mutex
	known map[netip.Addr]*hostName
}

type hostName struct {
	done  chan struct{}
	name  string // once done is closed
	since time.Time
}

// Find begins to look for the name of a client and returns a function that waits for
// it: the address in brackets where there is none in time, "" for what has no address.
func (h *HostNames) Find(remote net.Addr) func() string {
	ap, err := netip.ParseAddrPort(addrText(remote))
	if err != nil {
		return func() string { return "" }
	}
	n := h.find(ap.Addr().Unmap().WithZone(""))
	return func() string {
		<-n.done
		return n.name
	}
}

func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

func (h *HostNames) find(ip netip.Addr) *hostName {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.known[ip]; n != nil && time.Since(n.since) < hostNameAge {
		return n
	}
	if h.known == nil || len(h.known) >= maxHostNames {
		h.known = make(map[netip.Addr]*hostName)
	}
	n := &hostName{done: make(chan struct{}), since: time.Now()}
	h.known[ip] = n
	go h.lookUp(ip, n)
	return n
}

func (h *HostNames) lookUp(ip netip.Addr, n *hostName) {
	ctx, cancel := context.WithTimeout(context.Background(), h.Timeout)
	defer cancel()
	lookup := h.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupAddr
	}
	found := make(chan string, 1) // some resolvers do not end in time
	go func() {
		names, err := lookup(ctx, ip.String())
		if err != nil || len(names) == 0 {
			names = []string{""}
		}
		found <- strings.TrimSuffix(names[0], ".")
	}()
	n.name = "[" + ip.String() + "]"
	select {
	case name := <-found:
		if name != "" && len(name) <= maxHostName {
			n.name = name
		}
	case <-ctx.Done():
	}
	close(n.done)
}

// maxHostName is the length of the longest host name (RFC 1035, 2.3.4).
const maxHostName = 255
