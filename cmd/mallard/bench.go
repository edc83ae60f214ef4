package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"mallard/internal/bench"
	"mallard/internal/config"
	"mallard/internal/control"
)

type benchCmd struct {
	LMTP          string   `name:"lmtp" placeholder:"HOST:PORT" help:"LMTP server, or one of each node with commas. Without it the one of the configuration."`
	IMAP          string   `name:"imap" placeholder:"HOST:PORT" help:"IMAP server, or one of each node with commas. Without it the one of the configuration."`
	TLS           string   `name:"tls" enum:",none,starttls,tls" default:"" placeholder:"MODE" help:"How IMAP is protected: none, starttls or tls. Without it as the configuration says, and none with --imap."`
	UserPattern   string   `default:"bench%d@bench.test" placeholder:"P" help:"Name and address of the users, with %d for their number."`
	Password      string   `default:"bench-password" placeholder:"P" help:"Password of the users."`
	FirstUser     int      `placeholder:"N" help:"Number of the first user: the users must have no mail."`
	API           string   `name:"api" placeholder:"URL" help:"Make the users by the HTTP API there. Without it they are made on the server of the configuration, or must exist when --lmtp is given."`
	AccessToken   string   `placeholder:"T" help:"Access token for --api."`
	Workload      []string `short:"w" placeholder:"W" help:"What to measure, comma separated; --list shows all, cluster stands for those that are marked so."`
	Runs          int      `default:"3" help:"Repeat each measurement so many times and take the median."`
	Scale         float64  `default:"1" help:"Multiply the number of messages."`
	Seed          uint64   `default:"1" help:"The same seed makes the same mail."`
	ServerPID     int      `name:"pid" placeholder:"PID" help:"Process of the server, for its processor time and memory."`
	NodePID       []int    `name:"node-pid" placeholder:"PID" help:"Processes of the other nodes."`
	DatabasePID   []int    `name:"database-pid" placeholder:"PID" help:"Processes of the database, for its processor time."`
	DiskPath      string   `name:"disk" placeholder:"DIR" type:"existingdir" help:"Directory of the server's data, for the use of the disk."`
	GrowthMsgs    int      `name:"growth-messages" default:"100000" help:"Messages of the workload growth."`
	GrowthStep    int      `default:"10000" help:"How often growth reports."`
	NotifySamples int      `default:"300" help:"Notifications that are timed."`
	IdleSessions  int      `default:"1000" help:"Sessions of the workload idle."`
	InexactSearch bool     `help:"Report what a search misses, and do not call it a failure."`
	SkipVerify    bool     `help:"Do not read back what was delivered."`
	Label         string   `placeholder:"NAME" help:"Name of the server in the report."`
	JSON          string   `name:"json" placeholder:"FILE" help:"Write the report to this file as well; - for standard output in place of the table."`
	List          bool     `help:"List the workloads."`
	Compare       bool     `help:"Compare two reports, of files that --json wrote: those of the first with the second."`
	Files         []string `arg:"" optional:"" name:"report" type:"existingfile" help:"Reports for --compare."`
	progressFlag
}

// Help is shown by --help.
func (benchCmd) Help() string {
	return `Examples:
  mallard bench                                the running server of the configuration
  mallard bench -w lmtp-8-1user,notify --runs 1 --json mallard.json
  mallard bench --lmtp 127.0.0.1:24 --imap 127.0.0.1:143 --label dovecot --json dovecot.json
  mallard bench --compare mallard.json dovecot.json

Run it against a server that was made for it: users and mail stay there. Every
octet that is read back is compared with what was sent.`
}

// Run measures, lists or compares.
func (b benchCmd) Run(ctx context.Context, c *cli) error {
	switch {
	case b.List:
		return table(os.Stdout, func(row func(...any)) {
			for _, w := range bench.Workloads() {
				row(w.Name, w.Set, w.Title)
			}
		})
	case b.Compare:
		return b.compare()
	case len(b.Files) > 0:
		return usageError{fmt.Errorf("unexpected argument %s; reports go with --compare", b.Files[0])}
	}
	o := bench.Options{
		Label: b.Label, LMTP: b.LMTP, IMAP: b.IMAP, TLS: bench.TLSMode(b.TLS), UserPattern: b.UserPattern,
		Password: b.Password, FirstUser: b.FirstUser, API: b.API, AccessToken: b.AccessToken, Workloads: b.Workload,
		Runs: b.Runs, Scale: b.Scale, Seed: b.Seed, ServerPID: b.ServerPID, DiskPath: b.DiskPath,
		GrowthMessages: b.GrowthMsgs, GrowthStep: b.GrowthStep, NotifySamples: b.NotifySamples, SkipVerify: b.SkipVerify,
		NodePIDs: b.NodePID, DatabasePIDs: b.DatabasePID, IdleSessions: b.IdleSessions, InexactSearch: b.InexactSearch,
	}
	if b.Progress || isTerminal(os.Stderr) {
		o.Progress = os.Stderr
	}
	if b.LMTP != "" && b.IMAP != "" {
		return b.run(ctx, o)
	}
	return b.ownServer(ctx, c, o)
}

// ownServer measures the server of the configuration.
func (b *benchCmd) ownServer(ctx context.Context, c *cli, o bench.Options) error {
	if b.LMTP != "" || b.IMAP != "" {
		return usageError{errors.New("--lmtp and --imap go together")}
	}
	return c.with(ctx, readStore, func(s *session) error {
		if !s.Online {
			return errors.New("no server is running: start it with `mallard serve`")
		}
		if err := ownPorts(s.cfg, &o); err != nil {
			return err
		}
		if o.ServerPID == 0 {
			o.ServerPID = s.Server.PID
		}
		if o.DiskPath == "" {
			o.DiskPath = s.cfg.Store.Path
		}
		if o.Label == "" {
			o.Label = "mallard"
		}
		if o.API == "" {
			o.CreateUser = s.createBenchUser
		}
		return b.run(ctx, o)
	})
}

// ownPorts takes ports and protection from the configuration.
func ownPorts(cfg *config.Config, o *bench.Options) error {
	at := func(l config.Listener) string { return net.JoinHostPort(reachable(l.Host), strconv.Itoa(l.Port)) }
	if !cfg.LMTP.Enabled || cfg.LMTP.Secure {
		return errors.New("LMTP is off or needs TLS in the configuration: the benchmark needs it without")
	}
	o.LMTP = at(cfg.LMTP.Listener)
	for _, i := range append([]config.Interface{cfg.IMAP.Interface}, cfg.IMAP.Interfaces...) {
		mode := bench.TLSStart
		switch {
		case !i.Enabled:
			continue
		case i.Secure:
			mode = bench.TLSImplicit
		case i.IgnoreSTARTTLS:
			mode = bench.TLSNone
		}
		if o.TLS == "" || o.TLS == mode || o.TLS == bench.TLSStart && !i.Secure {
			o.IMAP = at(i.Listener)
			if o.TLS == "" {
				o.TLS = mode
			}
			return nil
		}
	}
	return errors.New("no IMAP port of the configuration fits: name LMTP and IMAP with --lmtp and --imap")
}

func (s *session) createBenchUser(ctx context.Context, name, password, address string) error {
	// A user name has no @.
	local, _, _ := strings.Cut(name, "@")
	in := map[string]any{"username": local, "password": password, "address": address}
	err := s.Call(ctx, http.MethodPost, "/users", in, nil)
	if e, ok := errors.AsType[*control.Error](err); ok && e.Code == "UserExistsError" {
		err = fmt.Errorf("%w; %w", err, bench.ErrUserExists)
	}
	if err != nil {
		return fmt.Errorf("make user %s: %w", name, err)
	}
	return nil
}

// run measures and writes the report, also when a workload failed.
func (b *benchCmd) run(ctx context.Context, o bench.Options) error {
	report, err := bench.Run(ctx, o)
	if report == nil {
		return usageError{err}
	}
	if b.JSON != "" && b.JSON != "-" {
		err = errors.Join(err, writeReport(b.JSON, report))
	}
	if b.JSON == "-" {
		return errors.Join(err, report.WriteJSON(os.Stdout))
	}
	return errors.Join(err, report.WriteTable(os.Stdout))
}

func writeReport(name string, r *bench.Report) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return errors.Join(r.WriteJSON(f), f.Close())
}

func (b *benchCmd) compare() error {
	if len(b.Files) != 2 {
		return usageError{errors.New("--compare needs two reports")}
	}
	var reports [2]*bench.Report
	for i, name := range b.Files {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("read report: %w", err)
		}
		r, err := bench.ReadReport(io.LimitReader(f, 64<<20))
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read report %s: %w", name, err)
		}
		reports[i] = r
	}
	return bench.WriteComparison(os.Stdout, reports[0], reports[1])
}
