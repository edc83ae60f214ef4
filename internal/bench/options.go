package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// TLSMode says how the IMAP connection is protected.
type TLSMode string

// The modes. Certificates are not verified: the server under test is the caller's own.
const (
	TLSNone     TLSMode = "none"
	TLSStart    TLSMode = "starttls"
	TLSImplicit TLSMode = "tls"
)

// Options say which server to drive, with what, and where its disk and memory are seen. The zero value of a field
// that is not marked as needed means the default.
type Options struct {
	// Label names the server in reports: "mallard", "dovecot mdbox". Default "server".
	Label string

	// LMTP and IMAP are host:port. Both are needed.
	LMTP string
	IMAP string
	// TLS protects the IMAP connections. Default TLSNone.
	TLS TLSMode

	// UserPattern makes a user's login name and address from its number: it must contain one %d and an @.
	// Default "bench%d@bench.test".
	UserPattern string
	// Password of every user. Default "bench-password".
	Password string
	// FirstUser is the number of the first user. Every workload and run uses users of its own, numbered upward,
	// whose INBOX must be empty: a second benchmark on the same data begins where Report.NextUser ended.
	FirstUser int
	// API is the base URL of a WildDuck-compatible HTTP API ("http://127.0.0.1:8080"). If given, users are made
	// through it (POST /users) before they are used. Else they must exist, or the server must accept any.
	API string
	// AccessToken is sent to the API as X-Access-Token, if not empty.
	AccessToken string
	// CreateUser is called for every user before it is used, in place of the API.
	CreateUser func(ctx context.Context, name, password, address string) error

	// Workloads are names as Workloads() lists them, in any order. Default: all but growth, and disk
	// only if DiskPath or DiskUsage is given.
	Workloads []string
	// Runs is how often each speed workload is repeated; results are medians. Default 3. Disk, growth and big run once.
	Runs int
	// Scale multiplies the number of messages of every workload. Default 1.
	Scale float64
	// Seed makes the mail. The same seed gives the same mail, octet for octet. Default 1.
	Seed uint64

	// ServerPID is the server's main process: CPU time and resident memory are summed over it and its descendants
	// (Linux). 0: not measured, and the workloads growth and big report no memory.
	ServerPID int
	// DiskPath is the directory in which the server keeps its data: disk usage is the blocks allocated below it.
	// It is also where the machine's fsync rate is measured. Without it and
	// DiskUsage the disk workloads are an error.
	DiskPath string
	// DiskUsage gives the bytes on disk in place of DiskPath.
	DiskUsage func(ctx context.Context) (int64, error)
	// Settle is called before disk usage is taken, for a server that must be told to write out what it holds.
	// Without it the usage is taken once it has not changed for two seconds (a minute at most).
	Settle func(ctx context.Context) error

	// GrowthMessages and GrowthStep: the workload growth delivers so many messages to one mailbox and reports at
	// every step. Defaults 100,000 and 10,000; Scale does not apply.
	GrowthMessages int
	GrowthStep     int
	// NotifySamples is the number of notifications that are timed. Default 300; it ends after 30 seconds with what
	// it has.
	NotifySamples int
	// SkipVerify leaves out reading back, after the clock has stopped, what the delivery workloads have delivered.
	// The FETCH workloads compare always.
	SkipVerify bool

	// Progress receives a line for each step. Default: nothing is written.
	Progress io.Writer
}

func (o Options) withDefaults() (Options, error) {
	setDefault(&o.Label, "server")
	setDefault(&o.TLS, TLSNone)
	setDefault(&o.UserPattern, "bench%d@bench.test")
	setDefault(&o.Password, "bench-password")
	setDefault(&o.Runs, 3)
	setDefault(&o.Scale, 1)
	setDefault(&o.Seed, 1)
	setDefault(&o.GrowthMessages, 100_000)
	setDefault(&o.GrowthStep, 10_000)
	setDefault(&o.NotifySamples, 300)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if len(o.Workloads) == 0 {
		for _, w := range Workloads() {
			noDisk := strings.HasPrefix(w.Name, "disk") && o.DiskPath == "" && o.DiskUsage == nil
			if w.Name != "growth" && !noDisk {
				o.Workloads = append(o.Workloads, w.Name)
			}
		}
	}
	return o, o.validate()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate reports everything that is wrong.
func (o *Options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.LMTP == "" || o.IMAP == "" {
		bad("the addresses of LMTP and IMAP are both needed")
	}
	if o.TLS != TLSNone && o.TLS != TLSStart && o.TLS != TLSImplicit {
		bad("TLS mode %q: allowed are none, starttls, tls", o.TLS)
	}
	if strings.Count(o.UserPattern, "%d") != 1 || strings.Count(o.UserPattern, "%") != 1 || !strings.Contains(o.UserPattern, "@") {
		bad("user pattern %q: it must contain one %%d and an @", o.UserPattern)
	}
	if o.Runs < 0 || o.Scale < 0 || o.GrowthMessages < 0 || o.GrowthStep < 0 || o.NotifySamples < 0 || o.FirstUser < 0 {
		bad("negative numbers are not allowed")
	}
	if o.DiskPath != "" {
		if _, err := os.Stat(o.DiskPath); err != nil {
			bad("disk path: %w", err)
		}
	}
	known := map[string]bool{}
	for _, w := range Workloads() {
		known[w.Name] = true
	}
	for _, name := range o.Workloads {
		if !known[name] {
			bad("no workload %q: allowed are %s", name, strings.Join(workloadNames(), ", "))
		}
		if strings.HasPrefix(name, "disk") && o.DiskPath == "" && o.DiskUsage == nil {
			bad("workload %s needs the path of the server's data", name)
		}
	}
	return errors.Join(errs...)
}

func (o *Options) scaled(count int) int { return max(int(float64(count)*o.Scale), 8) }

func (o *Options) tlsConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} // the server under test is the caller's own, on its own machine
}
