package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"mallard/internal/config"
	"mallard/internal/control"
	"mallard/internal/node"
)

// access says what a command does with a store that no server has open.
type access int

const (
	readStore access = iota // look at it, and change nothing on the disk
	changeStore
	makeStore // change it, and make it where there is none
)

// session is a connection to the mail store: to the server that has it open, or
// to a node in this process when there is none.
type session struct {
	*control.Client
	node *node.Node
	cfg  *config.Config
}

// connect finds the mail store of the configuration.
func (c *cli) connect(ctx context.Context, mode access) (*session, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	client, err := control.Dial(ctx, cfg.Store.Path)
	if err == nil {
		return &session{Client: client, cfg: cfg}, nil
	}
	if !errors.Is(err, control.ErrNoServer) {
		return nil, err
	}
	n, err := openStore(ctx, cfg, mode)
	if err != nil {
		return nil, err
	}
	if client, err = n.Control(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return &session{client, n, cfg}, nil
}

// openStore opens the store in this process.
func openStore(ctx context.Context, cfg *config.Config, mode access) (*node.Node, error) {
	dir, err := filepath.Abs(cfg.Store.Path)
	if err != nil {
		return nil, fmt.Errorf("find the mail store: %w", err)
	}
	there, err := node.StoreExists(cfg)
	if err != nil {
		return nil, fmt.Errorf("find the mail store: %w", err)
	}
	if !there && mode != makeStore {
		return nil, fmt.Errorf("there is no mail store in %s: name the right one with --config (path in [store]), or make one with `mallard serve` or `mallard user add`", dir)
	}
	if there && mode != readStore && !cfg.Cluster() {
		if err := rightUser(dir); err != nil {
			return nil, err
		}
	}
	n, err := node.Open(ctx, cfg, node.Options{Log: quiet(cfg), Version: programVersion(), ReadOnly: mode == readStore, Command: true})
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("the mail store in %s is in use by another process that does not answer on its control socket, or this user may not open it: %w", dir, err)
	}
	return n, err
}

// rightUser keeps root from leaving files in a store that the user whose store it
// is could not open afterwards.
func rightUser(dir string) error {
	owner, ok := ownerOf(dir)
	if !ok || os.Geteuid() != 0 || owner == 0 {
		return nil
	}
	return fmt.Errorf("the mail store in %s belongs to user id %d and its server is not running: run this command as that user, for example with `sudo -u '#%d'`, or start the server", dir, owner, owner)
}

// quiet is the log of a command: what a server would log at level info is not of
// interest here.
func quiet(cfg *config.Config) *slog.Logger {
	if cfg.Log.Level == "info" || cfg.Log.Level == "http" {
		quiet := *cfg
		quiet.Log.Level = "warn"
		cfg = &quiet
	}
	return logger(cfg)
}

// Close ends the connection.
func (s *session) Close() error {
	err := s.Client.Close()
	if s.node != nil {
		err = errors.Join(err, s.node.Close())
	}
	return err
}

// with runs f on the mail store.
func (c *cli) with(ctx context.Context, mode access, f func(s *session) error) error {
	s, err := c.connect(ctx, mode)
	if err != nil {
		return err
	}
	err = f(s)
	if cerr := s.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close the mail store: %w", cerr)
	}
	return err
}
