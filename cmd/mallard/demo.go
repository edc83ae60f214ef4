package main

import (
	"context"
	"fmt"
	"strings"

	"mallard/internal/node"
)

// demonstrate makes the demo account and prints how to use it.
func demonstrate(ctx context.Context, n *node.Node) error {
	d, err := n.Demo(ctx)
	if err != nil {
		return err
	}
	var imaps, imap, api string
	for _, a := range n.Addresses() {
		switch {
		case a.Service == "IMAP" && a.Secure:
			imaps = a.Addr
		case a.Service == "IMAP":
			imap = a.Addr
		case a.Service == "API":
			api = a.Addr
		}
	}
	fmt.Printf(`
Account    %s
Password   %s

Read it with a mail client:
  Server     %s
  Port       %s with SSL/TLS, or %s with STARTTLS
  User       %s
  Certificate is self-signed; its SHA-256 is
  %s

Or here and now:
  curl -k --user '%s:%s' 'imaps://%s/INBOX;MAILINDEX=1'
  curl 'http://%s/users/%s/mailboxes?counters=true'

Press Ctrl-C to stop.
`, d.Address, d.Password, host(imaps), port(imaps), port(imap), d.Address, n.Certificate().Fingerprint(),
		d.Address, d.Password, imaps, api, d.ID)
	return nil
}

func host(addr string) string { return addr[:max(strings.LastIndexByte(addr, ':'), 0)] }
func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
