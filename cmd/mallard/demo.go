package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"mallard/internal/config"
	"mallard/internal/node"
)

// demonstrate makes the demo account and prints how to use it.
func demonstrate(ctx context.Context, w io.Writer, c *cli, cfg *config.Config, n *node.Node) error {
	d, err := n.Demo(ctx, c.invocation())
	if err != nil {
		return err
	}
	g := guide{cfg: cfg, account: d, fingerprint: n.Certificate().Fingerprint(), selfSigned: n.Certificate().SelfSigned, command: c.invocation()}
	for _, a := range n.Addresses() {
		g.add(a)
	}
	_, err = io.WriteString(w, g.text())
	return err
}

// guide says what a person does with the demo account. Addresses are "" where there
// are none.
type guide struct {
	cfg         *config.Config
	account     *node.DemoAccount
	fingerprint string
	selfSigned  bool
	command     string
	imaps, imap string
	api         string // URL
}

// add notes where a service is; of several ports of a kind it is the first.
func (g *guide) add(a node.Address) {
	addr := a.Addr
	if host, port, err := net.SplitHostPort(addr); err == nil {
		addr = net.JoinHostPort(reachable(host), port)
	}
	set := func(v *string, to string) {
		if *v == "" {
			*v = to
		}
	}
	switch {
	case a.Service == "IMAP" && a.Secure:
		set(&g.imaps, addr)
	case a.Service == "IMAP" && a.StartTLS:
		set(&g.imap, addr)
	case a.Service == "API" && a.Secure:
		set(&g.api, "https://"+addr)
	case a.Service == "API":
		set(&g.api, "http://"+addr)
	}
}

func (g *guide) text() string {
	var b strings.Builder
	secret := g.account.Password
	if secret == "" {
		secret = "(the one that you gave it; change it with: " + g.command + " user passwd demo)"
	}
	fmt.Fprintf(&b, "\nAccount    %s\nPassword   %s\n", g.account.Address, secret)
	g.client(&b)
	g.shell(&b)
	b.WriteString("\nPress Ctrl-C to stop. The next start finds everything that is here now.\n")
	return b.String()
}

// client says what to enter in a mail client.
func (g *guide) client(b *strings.Builder) {
	var ports []string
	host := ""
	for _, p := range []struct{ addr, how string }{{g.imaps, "SSL/TLS"}, {g.imap, "STARTTLS"}} {
		if p.addr == "" {
			continue
		}
		h, port, err := net.SplitHostPort(p.addr)
		if err != nil {
			continue
		}
		if host == "" {
			host = h
		}
		ports = append(ports, port+" with "+p.how)
	}
	if len(ports) == 0 {
		return
	}
	fmt.Fprintf(b, "\nRead it with a mail client, by IMAP:\n  Server     %s\n  Port       %s\n  User       %s\n", host, strings.Join(ports, ", or "), g.account.Address)
	if g.selfSigned {
		fmt.Fprintf(b, "  The client will ask about the certificate, which is self-signed; its SHA-256 is\n  %s\n", g.fingerprint)
	}
}

// shell says what to do on this machine.
func (g *guide) shell(b *strings.Builder) {
	b.WriteString("\nOr here and now, in another terminal:\n")
	secret := g.account.Password
	if secret == "" {
		secret = "PASSWORD"
	}
	switch {
	case g.imaps != "":
		fmt.Fprintf(b, "  curl -k --user '%s:%s' 'imaps://%s/INBOX;MAILINDEX=1'\n", g.account.Address, secret, g.imaps)
	case g.imap != "":
		fmt.Fprintf(b, "  curl -k --ssl-reqd --user '%s:%s' 'imap://%s/INBOX;MAILINDEX=1'\n", g.account.Address, secret, g.imap)
	}
	if g.api != "" {
		options := ""
		if strings.HasPrefix(g.api, "https:") {
			options = " -k"
		}
		if g.cfg.NeedsToken() {
			options += " -H 'X-Access-Token: TOKEN'"
		}
		fmt.Fprintf(b, "  curl%s '%s/users/%s/mailboxes?counters=true'\n", options, g.api, g.account.ID)
	}
	if g.cfg.LMTP.Enabled {
		fmt.Fprintf(b, "  %s send --to %s --subject Hello\n", g.command, g.account.Address)
	}
}
