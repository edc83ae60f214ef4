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

// drainTime is how long open connections may finish what they do at shutdown.
const drainTime = 5 * time.Second

// listener is one bound port.
type listener struct {
	name   string
	addr   net.Addr
	secure bool
	serve  func(ctx context.Context) error
	stop   func(ctx context.Context) error
}

// Address is where a service can be reached.
type Address struct {
	Service string // LMTP, IMAP or API
	Addr    string
	Secure  bool // TLS from the first octet
}

// Listen binds all ports. An error names the service and the setting.
func (n *Node) Listen() error {
	if err := n.loadCertificate(); err != nil {
		return err
	}
	var errs []error
	if c := n.cfg.LMTP; c.Enabled {
		errs = append(errs, n.listenLMTP(c))
	}
	if c := n.cfg.IMAP; c.Enabled {
		errs = append(errs, n.listenIMAP(c.Interface, "imap"))
		for _, i := range c.Interfaces {
			if i.Enabled {
				errs = append(errs, n.listenIMAP(i, "imap.interface"))
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
	n.listenControl()
	return nil
}

// Addresses lists the bound ports.
func (n *Node) Addresses() []Address {
	var out []Address
	for _, l := range n.listeners {
		if l.name == serviceControl {
			continue
		}
		out = append(out, Address{Service: l.name, Addr: l.addr.String(), Secure: l.secure})
	}
	return out
}

// Certificate is the one in use; nil before Listen.
func (n *Node) Certificate() *tlsconf.Certificate { return n.certs }

func (n *Node) loadCertificate() (err error) {
	if n.cfg.TLS.Cert != "" {
		n.certs, err = tlsconf.Load(n.cfg.TLS.Key, n.cfg.TLS.Cert)
		return err
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append([]string{name}, hosts...)
	}
	n.certs, err = tlsconf.SelfSigned(n.cfg.Store.Path, hosts)
	return err
}

func (n *Node) startTLS(disabled bool) *tls.Config {
	if disabled {
		return nil
	}
	return n.certs.Config()
}

func (n *Node) listenLMTP(c config.LMTP) error {
	name := c.Name
	if name == "" {
		name = hostName()
	}
	srv := lmtp.New(lmtp.Options{
		Backend: n.delivery, Log: n.log, Name: name, Banner: c.Banner, TLS: n.startTLS(c.DisableSTARTTLS),
		MaxSize: int64(c.MaxMB) << 20, MaxRecipients: c.MaxRecipients, MaxLine: c.MaxLineLength, MaxErrors: c.MaxErrors,
		ReadTimeout: time.Duration(c.IdleTimeout), MaxDataTime: time.Duration(c.DataTimeout), MinRate: c.MinRate,
	})
	return n.listen("LMTP", "lmtp", c.Listener, srv.Serve, "421 4.3.2 Too many connections\r\n")
}

func (n *Node) listenIMAP(c config.Interface, section string) error {
	srv := imap.New(imap.Options{
		Auth: n.auth.Frontend("imap", "IMAP"), Accounts: n, Mailboxes: n.mailboxes, Receiver: n.receiver, Traffic: n, Log: n.log,
		TLS: n.startTLS(c.DisableSTARTTLS), AllowPlain: c.IgnoreSTARTTLS,
		Name: n.cfg.IMAP.Name, Version: n.o.Version, Vendor: n.cfg.IMAP.Vendor,
		MaxAppend: int64(n.cfg.IMAP.MaxMB) << 20, MaxLine: n.cfg.IMAP.MaxLineLength,
		IdleTimeout: time.Duration(n.cfg.IMAP.IdleTimeout),
	})
	return n.listen("IMAP", section, c.Listener, srv.Serve, "* BYE Too many connections\r\n")
}

// listen binds a port for a line protocol.
func (n *Node) listen(name, section string, c config.Listener, h netserve.Handler, refusal string) error {
	o := netserve.Options{
		Name: name, Section: section, Host: c.Host, Port: c.Port, Log: n.log, Handler: h, Refusal: refusal,
	}
	if c.Secure {
		o.TLS = n.certs.Config()
	}
	s, err := netserve.Listen(o)
	if err != nil {
		return err
	}
	n.listeners = append(n.listeners, listener{name: name, addr: s.Addr(), secure: c.Secure, serve: s.Serve, stop: s.Shutdown})
	return nil
}

// listenAPI binds the HTTP port. netserve binds it, so that errors are the same as
// elsewhere; net/http has its own way of serving connections.
func (n *Node) listenAPI(c config.API) error {
	l, err := netserve.Bind(netserve.Options{Name: "API", Section: "api", Host: c.Host, Port: c.Port})
	if err != nil {
		return err
	}
	srv := n.api.Server()
	inner := l
	if c.Secure {
		inner = tls.NewListener(l, n.certs.Config())
	}
	n.listeners = append(n.listeners, listener{
		name: "API", addr: l.Addr(), secure: c.Secure,
		serve: func(context.Context) error {
			if err := srv.Serve(inner); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve API: %w", err)
			}
			return nil
		},
		stop: func(ctx context.Context) error { return errors.Join(srv.Shutdown(ctx), l.Close()) },
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
		<-gctx.Done()
		cancel() // sessions say goodbye when they have nothing to do
		return n.drain()
	})
	return g.Wait()
}

func (n *Node) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
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
