package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // served only when [debug] profile is set
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

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

Ctrl-C stops the server within seconds. Starting it again finds everything. On
SIGHUP it takes new TLS certificates from their files.`
}

// Run serves until it is interrupted.
func (s serveCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	profile(cfg)
	log := logger(cfg)
	there, err := node.StoreExists(cfg)
	if err != nil {
		return fmt.Errorf("find the mail store: %w", err)
	}
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
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reload(ctx, n, log)
	done := make(chan error, 1)
	go func() { done <- n.Serve(ctx) }()
	greeted := s.greet(ctx, c, cfg, n, !there, log)
	if ctx.Err() != nil {
		greeted = nil // somebody did not want to wait for it
	}
	if greeted != nil {
		stop()
	}
	err = errors.Join(greeted, <-done)
	log.Info("stopped")
	return err
}

// profile serves Go profiles where the configuration asks for it. Elsewhere memory is
// not profiled either, which costs a percent of the time.
func profile(cfg *config.Config) {
	if cfg.Debug.Profile == "" {
		runtime.MemProfileRate = 0
		return
	}
	go func() {
		err := http.ListenAndServe(cfg.Debug.Profile, nil) //nolint:gosec // for developers, off by default
		fmt.Fprintln(os.Stderr, "mallard: profiles:", err)
	}()
}

// reload takes new certificates when the process is told that there are some.
func reload(ctx context.Context, n *node.Node, log *slog.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
			}
			if err := n.ReloadCertificates(); err != nil {
				log.Error("take new certificates", "error", err)
			}
		}
	}()
}

// greet tells what runs where, and what to do next.
func (s serveCmd) greet(ctx context.Context, c *cli, cfg *config.Config, n *node.Node, made bool, log *slog.Logger) error {
	for _, a := range n.Addresses() {
		kind := ""
		switch {
		case a.Secure:
			kind = " (TLS)"
		case a.StartTLS:
			kind = " (STARTTLS)"
		}
		fmt.Printf("%-5s listens on %s%s\n", a.Service, a.Addr, kind)
	}
	greetPlace(cfg, made)
	if s.Demo {
		return demonstrate(ctx, os.Stdout, c, cfg, n)
	}
	firstAccount(ctx, os.Stdout, n.CountAccounts, c.invocation(), log)
	return nil
}

// firstAccount tells how an account is made when there is none. A store that cannot say
// so, because a part of it is damaged, is served all the same.
func firstAccount(ctx context.Context, out io.Writer, count func(context.Context) (int64, error), program string, log *slog.Logger) {
	n, err := count(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		log.Error("count the accounts", "error", err)
	case err == nil && n == 0:
		fmt.Fprintf(out, "\nThere is no account yet. Make one, from another terminal:\n\n    %s user add jane --address jane@example.org\n\n", program)
	}
}

// greetPlace tells where mail is kept.
func greetPlace(cfg *config.Config, made bool) {
	dir, err := filepath.Abs(cfg.Store.Path)
	if err != nil {
		dir = cfg.Store.Path
	}
	switch {
	case cfg.Cluster():
		fmt.Println("Mail is kept in", config.WithoutPassword(cfg.DBs.Mongo))
	case made:
		fmt.Println("A new mail store was made in", dir)
	default:
		fmt.Println("Mail is kept in", dir)
	}
}

// invocation is how this program was called, for commands that are shown.
func (c *cli) invocation() string {
	name := os.Args[0]
	if strings.Contains(filepath.ToSlash(name), "/go-build") { // go run made it, and takes it away
		name = "go run ./cmd/mallard"
	}
	switch file := c.Config; {
	case file == "":
		return name
	case strings.ContainsAny(file, " \t'\"\\$&;|<>()*?[]#~`!"):
		return name + " --config '" + strings.ReplaceAll(file, "'", `'\''`) + "'"
	default:
		return name + " --config " + file
	}
}
