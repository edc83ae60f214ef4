//go:build e2e

// Command with runs a command beside an empty server of the MongoDB protocol and an empty Redis, which it names in
// MALLARD_TEST_MONGO and MALLARD_TEST_REDIS, and ends them afterwards. Variables that are set already are left alone,
// and no server is started for them.
//
//	go run -tags e2e ./test/servers/with COMMAND [ARGUMENT...]
//
// Where a server cannot be started the command runs without it, unless MALLARD_CI=1. The exit status is the command's,
// or 1. It must not import any package of the module but test/servers.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"mallard/test/servers"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: with COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	os.Exit(run(os.Args[1], os.Args[2:]))
}

func run(command string, args []string) (status int) {
	h := &host{}
	defer func() {
		h.clean()
		if h.failed {
			status = 1
		}
	}()
	h.provide("MALLARD_TEST_MONGO", servers.SharedMongo)
	h.provide("MALLARD_TEST_REDIS", servers.SharedRedis)
	if h.failed {
		return 1
	}
	return h.wait(command, args)
}

// A host is what a test is for the servers: it ends them.
type host struct {
	cleanups []func()
	failed   bool
}

// ended is what Fatalf and Skipf panic with, which end the start of one server.
type ended struct{}

// provide starts a server and names it in a variable.
func (h *host) provide(variable string, start func(servers.T) string) {
	defer func() {
		if r := recover(); r != nil && r != (ended{}) {
			panic(r)
		}
	}()
	os.Setenv(variable, start(h))
}

// wait runs the command to its end. Signals are the command's: it ends, and then the servers do.
func (h *host) wait(command string, args []string) int {
	cmd := exec.Command(command, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "with: %v\n", err)
		return 1
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		fmt.Fprintf(os.Stderr, "with: %v\n", err)
		return 1
	}
}

func (h *host) clean() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
}

func (h *host) Helper()          {}
func (h *host) Failed() bool     { return h.failed }
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *host) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "with: "+format+"\n", args...)
}

func (h *host) Fatalf(format string, args ...any) {
	h.failed = true
	h.Skipf(format, args...)
}

func (h *host) Skipf(format string, args ...any) {
	h.Logf(format, args...)
	panic(ended{})
}

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "mallard-servers-")
	if err != nil {
		h.Fatalf("%v", err)
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
