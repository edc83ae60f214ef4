package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"mallard/internal/config"
	"mallard/internal/control"
	"mallard/internal/migrate"
	"mallard/internal/node"
)

type migrateCmd struct {
	From        string `required:"" enum:"embedded,mongo" help:"Where the mail is: embedded (the directory of [store]) or mongo (the databases of [dbs])."`
	To          string `required:"" enum:"embedded,mongo" help:"Where it goes: embedded or mongo."`
	Finish      bool   `help:"End the migration after this pass: nothing changes the source any more."`
	Verify      bool   `help:"Compare every field and every octet; with --finish before the migration is ended, else nothing is copied."`
	SkipDamaged bool   `help:"Leave out messages that cannot be read, and end the migration all the same."`
	Overwrite   bool   `help:"Replace settings, tokens and domain aliases of the target that are in the way."`
	Workers     int    `default:"4" help:"Users whose mail is copied at the same time."`
	JSON        bool   `name:"json" help:"Print JSON: a line for each problem, and one for the end."`
	progressFlag
}

// Help is shown by --help.
func (migrateCmd) Help() string {
	return `Examples:
  mallard migrate --config cluster.toml --from embedded --to mongo
  mallard migrate --config cluster.toml --from embedded --to mongo --finish --verify
  mallard migrate --config cluster.toml --from mongo --to embedded --verify

The configuration names both ends: path in [store], mongo and redis in [dbs].

Each call makes the target what the source is now: it copies what is missing or has
changed and removes what is gone. It can be interrupted at any moment and goes on
when it is called again. The source may be served meanwhile, the target not: copy
most of it while the old server runs, then stop it, call it once more with --finish,
and start the new one. After --finish nothing is copied from that source again.

Ids, UIDs, UIDVALIDITY, mod-sequences, flags, dates, passwords and octets stay what
they are. What the target holds besides is left alone.

The exit status is 1 when something could not be copied or differs.`
}

// Run migrates.
func (m migrateCmd) Run(ctx context.Context, c *cli) error {
	if m.From == m.To {
		return usageError{errors.New("--from and --to are the same")}
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if !cfg.Cluster() {
		return usageError{errors.New("the configuration names no cluster: set mongo and redis in [dbs]")}
	}
	server, err := m.server(ctx, cfg)
	if err != nil {
		return err
	}
	if server == nil {
		return m.alone(ctx, cfg)
	}
	defer server.Close()
	return m.beside(ctx, server, cfg)
}

// server is the server that has the embedded store open, nil when there is none.
func (m *migrateCmd) server(ctx context.Context, cfg *config.Config) (*control.Client, error) {
	client, err := control.Dial(ctx, cfg.Store.Path)
	if errors.Is(err, control.ErrNoServer) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m.To == node.EngineEmbedded {
		return nil, errors.Join(fmt.Errorf("a server is running in %s: stop it, or name another directory in [store]", cfg.Store.Path), client.Close())
	}
	if m.Finish || m.Verify {
		return nil, errors.Join(errors.New("a server is using the source: stop it first, so that nothing changes any more"), client.Close())
	}
	return client, nil
}

// alone migrates in this process.
func (m *migrateCmd) alone(ctx context.Context, cfg *config.Config) error {
	if err := rightUserFor(cfg); err != nil {
		return err
	}
	p, told := m.open(), error(nil)
	report, err := node.Migrate(ctx, cfg, node.MigrateOptions{
		From: m.From, To: m.To, Finish: m.Finish, Verify: m.Verify, SkipDamaged: m.SkipDamaged, Overwrite: m.Overwrite,
		Workers: m.Workers, Log: quiet(cfg),
		Progress: func(at migrate.Progress) { p.show(func() string { return migrateProgress(p, &at) }) },
		Problem: func(where, text string) {
			p.clear()
			told = errors.Join(told, m.problem(control.Problem{Where: where, Text: text}))
		},
	})
	p.clear()
	if err == nil {
		err = told
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return m.report(report, false)
}

// rightUserFor keeps root from making files that the server could not open.
func rightUserFor(cfg *config.Config) error {
	alone := *cfg
	alone.DBs = config.Default().DBs
	if there, err := node.StoreExists(&alone); err != nil || !there {
		return err
	}
	return rightUser(cfg.Store.Path)
}

// beside lets the running server make a pass.
func (m *migrateCmd) beside(ctx context.Context, server *control.Client, cfg *config.Config) error {
	var text bytes.Buffer
	if err := cfg.Print(&text, true); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	p, told := m.open(), error(nil)
	report, err := server.Migrate(ctx, control.MigrateRequest{
		To: m.To, Config: text.String(), Workers: m.Workers, SkipDamaged: m.SkipDamaged, Overwrite: m.Overwrite,
	}, func(l control.MigrateLine) {
		switch {
		case l.Progress != nil:
			p.show(func() string { return migrateProgress(p, l.Progress) })
		case l.Problem != nil:
			p.clear()
			told = errors.Join(told, m.problem(*l.Problem))
		}
	})
	p.clear()
	if err == nil {
		err = told
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return m.report(report, true)
}

func migrateProgress(p *progress, at *migrate.Progress) string {
	return fmt.Sprintf("%s: %d of %d users, %d messages, %s, %s", at.Stage, at.Accounts, at.Total, at.Messages, bytesText(at.Bytes),
		p.rate(int(at.Messages), at.Bytes, 0))
}

// problem prints what is wrong as part of the result, so on standard output.
func (m *migrateCmd) problem(q control.Problem) error {
	if m.JSON {
		return printJSON(control.MigrateLine{Problem: &q})
	}
	_, err := fmt.Printf("%s: %s\n", plain(q.Where), plain(q.Text))
	return err
}

func (m *migrateCmd) report(r *migrate.Report, serving bool) error {
	if m.JSON {
		if err := printJSON(control.MigrateLine{Report: r}); err != nil {
			return err
		}
	} else {
		m.tell(r, serving)
	}
	if r.Problems > 0 {
		return fmt.Errorf("%d problems; the migration is not ended", r.Problems)
	}
	return nil
}

// tell says in words what was done and what to do next.
func (m *migrateCmd) tell(r *migrate.Report, serving bool) {
	if m.Finish || !m.Verify {
		fmt.Printf("%d users, %d mailboxes (%d unchanged): %d messages copied (%s), %d updated, %d removed\n",
			r.Accounts, r.Mailboxes, r.Unchanged, r.Copied, bytesText(r.Bytes), r.Updated, r.Removed)
	}
	if r.Skipped > 0 {
		fmt.Printf("%d damaged messages were left out\n", r.Skipped)
	}
	if m.Verify {
		fmt.Printf("%d messages compared octet for octet\n", r.Compared)
	}
	switch {
	case r.Problems > 0:
	case r.Finished:
		fmt.Println("the migration is ended: start the new server")
	case m.Verify:
		fmt.Println("source and target are the same")
	case serving:
		fmt.Println("the server goes on: stop it, call this again with --finish, and start the new server")
	default:
		fmt.Println("call it again with --finish when nothing changes the source any more")
	}
	if r.Took > time.Minute {
		fmt.Println("it took", r.Took.Round(time.Second))
	}
}
