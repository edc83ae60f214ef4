// Command mallard is a mail store: an IMAP and LMTP server with an HTTP API, and
// the tools of its operator.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"mallard/internal/config"
	"mallard/internal/node"
)

// cli is the grammar of the command line.
type cli struct {
	Config string `short:"c" placeholder:"FILE" help:"Read the configuration from this TOML file. Without it every service listens on loopback and mail is kept in ./mallard-data."`

	Serve   serveCmd   `cmd:"" help:"Run the mail server."`
	User    userCmds   `cmd:"" help:"Make, list, show, change and delete users."`
	Send    sendCmd    `cmd:"" help:"Send a message to the running server by LMTP."`
	Import  importCmd  `cmd:"" help:"Import mail from a Maildir or from mbox files."`
	Export  exportCmd  `cmd:"" help:"Export the mail of a user to a Maildir or to mbox files."`
	Check   checkCmd   `cmd:"" help:"Verify the whole store, checksums included."`
	Migrate migrateCmd `cmd:"" help:"Move all mail between the embedded store and a cluster."`
	Bench   benchCmd   `cmd:"" help:"Measure a server over LMTP and IMAP."`
	ConfigC configCmds `cmd:"" name:"config" help:"Show the configuration."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// exit statuses.
const (
	exitFailed = 1 // it was tried and did not work
	exitUsage  = 2 // the command line or the configuration is wrong
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("mallard"),
		kong.Description("A mail store: IMAP, LMTP and an HTTP API in one program. Start with `mallard serve --demo`."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mallard:", err)
		return exitFailed
	}
	exit := -1
	parser.Exit = func(code int) { exit = code }
	kctx, err := parser.Parse(args)
	if exit >= 0 {
		return exit // help was asked for and shown
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "mallard: %v\nRun `%s --help` to see what is possible.\n", err, wrongCommand(err))
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // who presses Ctrl-C again does not want to wait
	kctx.BindTo(ctx, (*context.Context)(nil))
	if err := kctx.Run(&c); err != nil {
		return report(err)
	}
	return 0
}

// wrongCommand is the command that was not understood, as far as it was.
func wrongCommand(err error) string {
	words := "mallard"
	if e, ok := errors.AsType[*kong.ParseError](err); ok && e.Context != nil {
		for _, p := range e.Context.Path {
			if p.Command != nil {
				words += " " + p.Command.Name
			}
		}
	}
	return words
}

// usageError is an error of what the operator wrote, not of what the program did.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func report(err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(os.Stderr, "mallard:", strings.TrimSuffix(line, "\n"))
	}
	_, usage := errors.AsType[usageError](err)
	if _, files := errors.AsType[*node.ConfigError](err); usage || files {
		return exitUsage
	}
	return exitFailed
}

// load reads the configuration that the command line names.
func (c *cli) load() (*config.Config, error) {
	cfg, err := config.Load(c.Config, config.Environ())
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// logger makes the log as the configuration wants it.
func logger(cfg *config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	switch cfg.Log.Level {
	case "silent":
		return slog.New(slog.DiscardHandler)
	case "debug", "verbose", "silly":
		o.Level = slog.LevelDebug
	case "warn":
		o.Level = slog.LevelWarn
	case "error":
		o.Level = slog.LevelError
	}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// version is set by the linker (make build); without it the Go tool knows.
var version = ""

// programVersion is the version of the program.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "0.1.0-dev" // built without version control
	}
	return info.Main.Version
}

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is shown by --help.
func (versionCmd) Help() string {
	return `Examples:
  mallard version
  mallard version --json | jq -r .version`
}

// Run prints the version.
func (v versionCmd) Run() error {
	if v.JSON {
		return printJSON(map[string]string{"version": programVersion(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
	}
	fmt.Println("mallard", programVersion())
	return nil
}

type configCmds struct {
	Print configPrintCmd `cmd:"" help:"Print the configuration in force, with explanations; secrets are left out."`
}

type configPrintCmd struct {
	Secrets bool `help:"Print secrets as well."`
}

// Help is shown by --help.
func (configPrintCmd) Help() string {
	return `Examples:
  mallard config print > mallard.toml
  mallard config print --config mallard.toml
  MALLARD_IMAP_PORT=1143 mallard config print | grep 1143

The output is a configuration file that says the same. Secrets that are set are
replaced by a word that the server refuses, until they are written there.`
}

// Run prints the configuration in force.
func (p configPrintCmd) Run(c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	return cfg.Print(os.Stdout, p.Secrets)
}
