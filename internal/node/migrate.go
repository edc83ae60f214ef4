package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"mallard/internal/config"
	"mallard/internal/control"
	"mallard/internal/migrate"
	"mallard/internal/store"
)

// The kinds of engines that mail can be moved from and to.
const (
	EngineEmbedded = "embedded" // the directory of [store]
	EngineMongo    = "mongo"    // the databases of [dbs]
)

// MigrateOptions are what to move where, and how. The configuration names both ends.
type MigrateOptions struct {
	From, To string // the kinds of engines
	// Finish ends the migration when everything was copied: nothing may change the source
	// any more. Verify compares everything first.
	Finish, Verify         bool
	SkipDamaged, Overwrite bool
	Workers                int
	Log                    *slog.Logger
	Progress               func(migrate.Progress)
	Problem                func(where, text string)
}

// Migrate moves mail between two engines of which no server has one open that must be
// open alone: one pass, and the comparison, as the options say.
func Migrate(ctx context.Context, cfg *config.Config, o MigrateOptions) (report *migrate.Report, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	from, err := openEnd(ctx, cfg, o.From, o.Log, true)
	if err != nil {
		return nil, fmt.Errorf("open the source: %w", err)
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := openEnd(ctx, cfg, o.To, o.Log, false)
	if err != nil {
		return nil, fmt.Errorf("open the target: %w", err)
	}
	defer func() { err = errors.Join(err, to.close()) }()
	m := migrate.Options{
		From: from.Engine, To: to.Engine, FromRecents: from.recents, ToRecents: to.recents, Name: from.name, Receiver: newReceiver(cfg), Workers: o.Workers,
		SkipDamaged: o.SkipDamaged, Overwrite: o.Overwrite, Progress: o.Progress, Problem: o.Problem,
	}
	return runMigration(ctx, m, o.Finish, o.Verify)
}

// runMigration makes a pass, compares and ends the migration, in this order, so that it
// ends only with an exact copy.
func runMigration(ctx context.Context, m migrate.Options, finish, verify bool) (*migrate.Report, error) {
	if !verify {
		m.Final = finish
		return migrate.Run(ctx, m)
	}
	if !finish {
		return migrate.Verify(ctx, m)
	}
	first, err := migrate.Run(ctx, m)
	if err != nil || first.Problems > 0 {
		return first, err
	}
	compared, err := migrate.Verify(ctx, m)
	if err != nil {
		return nil, err
	}
	first.Compared, first.Problems = compared.Compared, compared.Problems
	if compared.Problems > 0 {
		return first, nil
	}
	m.Final = true
	last, err := migrate.Run(ctx, m)
	if err != nil {
		return nil, err
	}
	first.Finished, first.Problems = last.Finished, last.Problems
	return first, nil
}

// end is an engine that mail is moved from or to.
type end struct {
	migrate.Engine
	name    string
	recents store.Recents // nil for the engine's
	closers []func() error
}

func (e *end) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	return errors.Join(errs...)
}

// openEnd opens an engine; a source is not changed.
func openEnd(ctx context.Context, cfg *config.Config, kind string, log *slog.Logger, source bool) (*end, error) {
	if kind == EngineMongo {
		return openMongoEnd(ctx, cfg, log)
	}
	alone := *cfg
	alone.DBs = config.Default().DBs
	if source {
		if there, err := StoreExists(&alone); err != nil || !there {
			return nil, errors.Join(err, fmt.Errorf("there is no mail store in %s, path in [store]", cfg.Store.Path))
		}
	} else if err := os.MkdirAll(cfg.Store.Path, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the store, path in [store]: %w", err)
	}
	st, err := openEmbedded(ctx, &alone, Options{Log: log, ReadOnly: source})
	if err != nil {
		return nil, err
	}
	return &end{Engine: st, name: embeddedName(cfg), closers: []func() error{st.Close}}, nil
}

// embeddedName tells the store of a directory from those of others.
func embeddedName(cfg *config.Config) string {
	dir, err := filepath.Abs(cfg.Store.Path)
	if err != nil {
		dir = cfg.Store.Path
	}
	return "the store in " + dir + " on " + hostName()
}

func openMongoEnd(ctx context.Context, cfg *config.Config, log *slog.Logger) (*end, error) {
	if !cfg.Cluster() {
		return nil, errors.New("the configuration names no databases: set mongo and redis in [dbs]")
	}
	n := &Node{cfg: cfg, o: Options{Log: log, Command: true}, log: log}
	if err := n.connectCluster(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	e, ok := n.engine.(migrate.Engine)
	if !ok {
		return nil, errors.Join(errors.New("mail cannot be moved from or to MongoDB in this version"), n.Close())
	}
	return &end{Engine: e, name: config.WithoutPassword(cfg.DBs.Mongo), recents: n.recents(), closers: n.closers}, nil
}

// migrate makes a pass from this node's engine while it serves.
func (n *Node) migrate(ctx context.Context, in control.MigrateRequest, progress func(migrate.Progress), problem func(control.Problem)) (report *migrate.Report, err error) {
	from, ok := n.engine.(migrate.Engine)
	if !ok || n.cluster != nil || in.To != EngineMongo {
		return nil, errors.New("this server's mail cannot be moved there while it runs")
	}
	cfg, err := config.Read("configuration of the target", []byte(in.Config))
	if err != nil {
		return nil, err
	}
	to, err := openEnd(ctx, cfg, in.To, n.log, false)
	if err != nil {
		return nil, fmt.Errorf("open the target: %w", err)
	}
	defer func() { err = errors.Join(err, to.close()) }()
	return migrate.Run(ctx, migrate.Options{
		From: from, To: to.Engine, ToRecents: to.recents, Name: embeddedName(n.cfg), Receiver: n.receiver, Workers: in.Workers,
		SkipDamaged: in.SkipDamaged, Overwrite: in.Overwrite, Progress: progress,
		Problem: func(where, text string) { problem(control.Problem{Where: where, Text: text}) },
	})
}
