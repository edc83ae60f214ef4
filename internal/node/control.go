package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"mallard/internal/config"
	"mallard/internal/control"
	"mallard/internal/httpapi"
	"mallard/internal/inspect"
	"mallard/internal/mail"
	"mallard/internal/store/mongostore"
	"mallard/internal/store/pebblestore"
)

// controlServer makes what answers the operator's commands.
func (n *Node) controlServer(log *slog.Logger) (*control.Server, *httpapi.API, error) {
	// Whoever reaches it is root: no token is asked for.
	c := n.cfg.API
	c.AccessToken, c.AccessControl.Enabled, c.CORS = "", false, config.CORS{Origins: []string{}}
	api, err := n.makeAPI(c, log)
	if err != nil {
		return nil, nil, fmt.Errorf("make HTTP API of the control socket: %w", err)
	}
	s, err := control.NewServer(control.Options{
		API: api, Accounts: n.accounts, Mailboxes: n.mailboxes, Receiver: n.receiver,
		Check: n.checker, Migrate: n.migrate, Log: log, Version: n.o.Version,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make control server: %w", err)
	}
	return s, api, nil
}

// checkEmbedded verifies the embedded store for the control server.
func checkEmbedded(st *pebblestore.Store) control.Checker {
	return func(ctx context.Context, repair bool, progress func(control.CheckProgress), problem func(control.Problem)) (*control.CheckReport, error) {
		if repair {
			return nil, mail.NewError(mail.CodeInvalid, "the embedded store is checked, not repaired")
		}
		r, err := st.Check(ctx, pebblestore.CheckOptions{
			Progress: func(stage string, done, total int64, unit string) {
				progress(control.CheckProgress{Stage: stage, Done: done, Total: total, Unit: unit})
			},
			Problem: func(where, text string) { problem(control.Problem{Where: where, Text: text}) },
		})
		if err != nil {
			return nil, fmt.Errorf("check the store: %w", err)
		}
		return &control.CheckReport{Problems: r.Problems, Seconds: r.Duration.Seconds(), Counts: r.Counts}, nil
	}
}

// checkCluster verifies what is in MongoDB by the storage contract, and the references to attachments, for the control
// server.
func checkCluster(st engine, mongo *mongostore.Store) control.Checker {
	return func(ctx context.Context, repair bool, progress func(control.CheckProgress), problem func(control.Problem)) (*control.CheckReport, error) {
		start := time.Now()
		r, err := inspect.Check(ctx, st, inspect.Options{
			Progress: func(stage string, done, total int64, unit string) {
				progress(control.CheckProgress{Stage: stage, Done: done, Total: total, Unit: unit})
			},
			Problem: func(where, text string) { problem(control.Problem{Where: where, Text: text}) },
		})
		if err != nil {
			return nil, fmt.Errorf("check the store: %w", err)
		}
		files, err := mongo.CheckFiles(ctx, mongostore.FileCheck{
			Repair: repair,
			Progress: func(done, total int64) {
				progress(control.CheckProgress{Stage: "attachments", Done: done, Total: total, Unit: "messages"})
			},
			Problem: func(file, text string) { problem(control.Problem{Where: file, Text: text}) },
		})
		if err != nil {
			return nil, fmt.Errorf("check the attachments: %w", err)
		}
		r.Counts["attachments"] = files.Files
		return &control.CheckReport{
			Problems: r.Problems + files.Unused, Repaired: files.Repaired, Seconds: time.Since(start).Seconds(), Counts: r.Counts,
		}, nil
	}
}

// Control is a client of the node itself, for commands that run without a server.
// It must be closed before the node.
func (n *Node) Control() (*control.Client, error) {
	// The command tells what failed; it needs no log of calls.
	s, _, err := n.controlServer(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return control.InProcess(s), nil
}

// listenControl makes the socket for the operator's commands. Mail is served also
// where there can be none.
func (n *Node) listenControl() {
	l, err := control.Listen(n.cfg.Store.Path)
	if err != nil {
		n.log.Warn("the operator's commands cannot reach this server while it runs", "error", err)
		return
	}
	s, api, err := n.controlServer(n.log)
	if err != nil {
		n.log.Error("the operator's commands cannot reach this server while it runs", "error", errors.Join(err, l.Close()))
		return
	}
	srv := s.HTTP()
	srv.RegisterOnShutdown(api.Close)
	n.listeners = append(n.listeners, listener{
		name: serviceControl, addr: l.Addr(),
		serve: func(context.Context) error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve control socket: %w", err)
			}
			return nil
		},
		stop: func(ctx context.Context) error {
			err := srv.Shutdown(ctx)
			if err != nil { // a check or an import goes on for longer than we wait
				_ = srv.Close()
			}
			return errors.Join(err, l.Close())
		},
	})
}

// serviceControl is the control socket in the list of listeners.
const serviceControl = "control"

// StoreExists reports whether there is a store: in the directory of the configuration, or
// in the databases of a cluster, which are always taken to be there.
func StoreExists(cfg *config.Config) (bool, error) {
	if cfg.Cluster() {
		return true, nil
	}
	_, err := os.Stat(filepath.Join(cfg.Store.Path, storeMarker))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// storeMarker is the file that every directory of the embedded engine has.
const storeMarker = "FORMAT"
