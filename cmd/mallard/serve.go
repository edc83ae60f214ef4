package main

import (
	"context"
	"fmt"
	"net/http"
	_ "net/http/pprof" // served only when [debug] profile is set
	"os"

	"mallard/internal/config"
	"mallard/internal/node"
)

type serveCmd struct {
	Demo bool `help:"Make an account with a generated password, deliver sample messages, and print how to read them."`
}

// Help is shown by --help.
func (serveCmd) Help() string {
	return `Examples:
  mallard serve --demo                 try it: everything on loopback, an account, some mail
  mallard serve                        the same without account and mail
  mallard serve --config mallard.toml  as configured; see mallard config print
  MALLARD_IMAP_PORT=1143 mallard serve a key overridden by the environment

Ctrl-C stops the server within seconds. Starting it again finds everything.`
}

// Run serves until it is interrupted.
func (s serveCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log := logger(cfg)
	n, err := node.Open(ctx, cfg, node.Options{Log: log, Version: programVersion()})
	if err != nil {
		return err
	}
	defer func() {
		if err := n.Close(); err != nil {
			log.Error("close the store", "error", err)
		}
	}()
	if err := n.Listen(); err != nil {
		return err
	}
	profile(cfg)
	done := make(chan error, 1)
	go func() { done <- n.Serve(ctx) }()
	if err := s.greet(ctx, cfg, n); err != nil {
		log.Error("demo", "error", err)
	}
	err = <-done
	log.Info("stopped")
	return err
}

// profile serves Go profiles where the configuration asks for it.
func profile(cfg *config.Config) {
	if cfg.Debug.Profile != "" {
		go func() {
			err := http.ListenAndServe(cfg.Debug.Profile, nil) //nolint:gosec // for developers, off by default
			fmt.Fprintln(os.Stderr, "mallard: profiles:", err)
		}()
	}
}

// greet tells what runs where, and with --demo what to do next.
func (s serveCmd) greet(ctx context.Context, cfg *config.Config, n *node.Node) error {
	for _, a := range n.Addresses() {
		kind := ""
		switch {
		case a.Secure:
			kind = " (TLS)"
		case a.Service == "IMAP":
			kind = " (STARTTLS)"
		}
		fmt.Printf("%-5s listens on %s%s\n", a.Service, a.Addr, kind)
	}
	fmt.Println("Mail is kept in", cfg.Store.Path)
	if s.Demo {
		return demonstrate(ctx, n)
	}
	count, err := n.CountAccounts(ctx)
	if err == nil && count == 0 {
		fmt.Print("\nThere is no account yet. Make one, from another terminal:\n\n    mallard user add jane --address jane@example.org\n\n")
	}
	return err
}
