package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"mallard/internal/config"
	"mallard/internal/imap"
	"mallard/internal/lmtp"
	"mallard/internal/netserve"
	"mallard/internal/tlsconf"
)

// listener is one bound port.
type listener struct {
	name   string
	addr   net.Addr
	secure bool
	start  bool       // STARTTLS
	conns  func() int // that are open; nil for who does not count
	serve  func(ctx context.Context) error
	stop   func(ctx context.Context) error
}

// The names of the services, for people.
const (
	serviceLMTP = "LMTP"
	serviceIMAP = "IMAP"
	serviceAPI  = "API"
)

// Address is where a service can be reached.
type Address struct {
	Service  string // LMTP, IMAP or API
	Addr     string
	Secure   bool // TLS from the first octet
	StartTLS bool // TLS when the client asks for it
}

// Listen binds all ports. An error names the service and the setting. What is
// configured and probably not meant is logged.
func (n *Node) Listen() error {
	if err := n.loadCertificates(); err != nil {
		return err
	}
	var errs []error
	if c := n.cfg.LMTP; c.Enabled {
		errs = append(errs, n.listenLMTP(c))
	}
	if c := n.cfg.IMAP; c.Enabled {
		errs = append(errs, n.listenIMAP(c.Interface, "[imap]", "imap"))
		for i, l := range c.Interfaces {
			if l.Enabled {
				errs = append(errs, n.listenIMAP(l, "[[imap.interface]]", fmt.Sprintf("imap.interface.%d", i+1)))
			}
		}
	}
	if c := n.cfg.API; c.Enabled {
		errs = append(errs, n.listenAPI(c))
	}
	if err := errors.Join(errs...); err != nil {
		n.stopListening()
		return err
	}
	n.warn()
	n.listenControl()
	return nil
}

// warn logs what is configured and probably not meant.
func (n *Node) warn() {
	for _, text := range n.cfg.Warnings() {
		n.log.Warn(text)
	}
	for _, c := range n.certificates() {
		if left := time.Until(c.Expires()); left < expirySoon {
			n.log.Warn("a TLS certificate expires soon or has expired", "file", c.File(), "expires", c.Expires())
		}
	}
}

// setting tells how the address of a service is changed.
func setting(table, path string) string {
	return fmt.Sprintf("set host and port in %s (or %s)", table, config.EnvName(path+".port"))
}

// Addresses lists the bound ports.
func (n *Node) Addresses() []Address {
	var out []Address
	for _, l := range n.listeners {
		if l.name == serviceControl {
			continue
		}
		out = append(out, Address{Service: l.name, Addr: l.addr.String(), Secure: l.secure, StartTLS: l.start})
	}
	return out
}

func (n *Node) listenLMTP(c config.LMTP) error {
	name := c.Name
	if name == "" {
		name = hostName()
	}
	var hostName func(net.Addr) func() string
	if c.LookupTimeout > 0 {
		hostName = (&netserve.HostNames{Timeout: time.Duration(c.LookupTimeout)}).Find
	}
	srv := lmtp.New(lmtp.Options{
		HostName: hostName,
		Backend:  n.delivery, Log: n.log, Name: name, Banner: c.Banner,
		TLS:     n.startTLS(n.certs.lmtp, c.DisableSTARTTLS || c.Secured),
		MaxSize: int64(c.MaxMB) << 20, MaxRecipients: c.MaxRecipients, MaxErrors: c.MaxErrors, MaxLine: c.MaxLineLength,
		ReadTimeout: time.Duration(c.IdleTimeout), WriteTimeout: time.Duration(c.WriteTimeout),
		MaxDataTime: time.Duration(c.DataTimeout), MinRate: c.MinRate, TLSTimeout: time.Duration(n.cfg.TLS.HandshakeTimeout),
	})
	o, err := n.listenOptions(serviceLMTP, "[lmtp]", "lmtp", c.Listener, c.Clients)
	if err != nil {
		return err
	}
	o.Handler, o.Refusal, o.ProxyRefusal = srv.Serve, "421 4.3.2 Too many connections\r\n", "421 4.7.0 Invalid PROXY header\r\n"
	return n.listen(o, c.Secure, !c.DisableSTARTTLS && !c.Secured, n.certs.lmtp)
}

func (n *Node) listenIMAP(c config.Interface, table, path string) error {
	i := n.cfg.IMAP
	version := i.Version
	if version == "" {
		version = n.o.Version
	}
	line := c.MaxLineLength
	if line == 0 {
		line = i.MaxLineLength
	}
	srv := imap.New(imap.Options{
		Auth: n.auth.Frontend("imap", "IMAP"), Accounts: n, Mailboxes: n.mailboxes, Receiver: n.receiver, Traffic: n, Log: n.log,
		TLS: n.startTLS(n.certs.imap, c.DisableSTARTTLS || c.Secured), AllowPlain: c.IgnoreSTARTTLS,
		Secured: c.Secured, Proxied: len(c.UseProxy) > 0,
		Name: i.Name, Version: version, Vendor: i.Vendor,
		MaxAppend: int64(i.MaxMB) << 20, MaxLine: line, MaxErrors: i.MaxErrors, MaxLogins: i.MaxLogins,
		LoginTimeout: time.Duration(i.LoginTimeout), IdleTimeout: time.Duration(i.IdleTimeout),
		WriteTimeout: time.Duration(i.WriteTimeout), KeepAlive: offWhenZero(time.Duration(i.KeepAlive)),
		Grace: offWhenZero(time.Duration(n.cfg.ShutdownTimeout)), TLSTimeout: time.Duration(n.cfg.TLS.HandshakeTimeout),
	})
	o, err := n.listenOptions(serviceIMAP, table, path, c.Listener, i.Clients)
	if err != nil {
		return err
	}
	o.Handler, o.Refusal, o.ProxyRefusal = srv.Serve, "* BYE Too many connections\r\n", "* BAD Invalid PROXY header\r\n"
	return n.listen(o, c.Secure, !c.DisableSTARTTLS && !c.Secured, n.certs.imap)
}

// listenOptions are the options of a listener that come from the configuration.
func (n *Node) listenOptions(name, table, path string, l config.Listener, c config.Clients) (netserve.Options, error) {
	proxies, err := l.Proxies()
	if err != nil {
		return netserve.Options{}, fmt.Errorf("useProxy in %s: %w", table, err)
	}
	return netserve.Options{
		Name: name, Setting: setting(table, path), Host: l.Host, Port: l.Port, Log: n.log,
		MaxConns: offWhenZero(c.MaxClients), MaxConnsPerIP: offWhenZero(c.MaxClientsPerIP),
		TLSTimeout: time.Duration(n.cfg.TLS.HandshakeTimeout),
		Proxies:    proxies, ProxyTimeout: time.Duration(n.cfg.ProxyTimeout),
	}, nil
}

// listen binds a port for a line protocol: secure with TLS from the first octet, start
// with STARTTLS otherwise.
func (n *Node) listen(o netserve.Options, secure, start bool, cert *tlsconf.Certificate) error {
	if secure {
		o.TLS = n.tlsConfig(cert)
	}
	s, err := netserve.Listen(o)
	if err != nil {
		return err
	}
	n.listeners = append(n.listeners, listener{name: o.Name, addr: s.Addr(), secure: secure, start: start && !secure, serve: s.Serve, stop: s.Shutdown, conns: s.Conns})
	return nil
}

// listenAPI binds the HTTP port. netserve binds it, so that errors and limits are the
// same as elsewhere; net/http has its own way of serving connections.
func (n *Node) listenAPI(c config.API) error {
	o, err := n.listenOptions(serviceAPI, "[api]", "api", c.Listener, c.Clients)
	if err != nil {
		return err
	}
	o.Refusal = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	o.ProxyRefusal = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	if c.Secure {
		o.TLS = n.tlsConfig(n.certs.api)
	}
	l, err := netserve.Bind(o)
	if err != nil {
		return err
	}
	srv := n.api.Server()
	inner := netserve.Limit(l, o)
	if c.Secure {
		inner = tls.NewListener(inner, o.TLS)
	}
	n.listeners = append(n.listeners, listener{
		name: serviceAPI, addr: l.Addr(), secure: c.Secure,
		serve: func(context.Context) error {
			if err := srv.Serve(inner); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve API: %w", err)
			}
			return nil
		},
		stop: func(ctx context.Context) error {
			err := srv.Shutdown(ctx)
			if err != nil { // a call goes on for longer than we wait
				_ = srv.Close()
			}
			return errors.Join(err, inner.Close())
		},
	})
	return nil
}

// Serve answers on all ports until the context ends. Then it stops accepting, lets
// connections finish what they do for a few seconds and returns.
func (n *Node) Serve(ctx context.Context) error {
	connCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	for _, l := range n.listeners {
		g.Go(func() error { return l.serve(connCtx) })
	}
	g.Go(func() error {
		n.serveTasks(gctx)
		return nil
	})
	if n.cluster != nil {
		g.Go(func() error {
			paceHeap(gctx, n.cfg.DBs.HeadroomMB<<20, n.conns)
			return nil
		})
	}
	g.Go(func() error {
		<-gctx.Done()
		cancel() // sessions say goodbye when they have nothing to do
		return n.drain()
	})
	return g.Wait()
}

// conns is the number of open connections of mail.
func (n *Node) conns() int {
	all := 0
	for _, l := range n.listeners {
		if l.conns != nil {
			all += l.conns()
		}
	}
	return all
}

func (n *Node) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n.cfg.ShutdownTimeout))
	defer cancel()
	var g errgroup.Group
	for _, l := range n.listeners {
		g.Go(func() error {
			if err := l.stop(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
				n.log.Warn("connections were cut at shutdown", "service", l.name, "error", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// stopListening releases the ports that were bound before another one failed.
func (n *Node) stopListening() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, l := range n.listeners {
		_ = l.stop(ctx)
	}
	n.listeners = nil
}

func hostName() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}
