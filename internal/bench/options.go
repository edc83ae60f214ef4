package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
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

	// LMTP and IMAP are host:port, or one of each node with commas between them: connections take the nodes in turn.
	// Both are needed.
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

	// Workloads are names as Workloads() lists them, or of sets, in any order. Default: all that are of no set but
	// growth. Of a set, and of the default, what cannot be measured with these Options is left out.
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
	// NodePIDs are those of the other nodes. Memory with idle sessions is that of the first node, which is ServerPID.
	NodePIDs []int
	// DatabasePIDs are the main processes of the database that the server works on, for their CPU time.
	DatabasePIDs []int
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
	// IdleSessions is the number of sessions of the workload idle. Default 1000.
	IdleSessions int
	// InexactSearch is for a server that is known to search otherwise than RFC 3501 says: what it misses and what it
	// finds without reason is reported, and no error.
	InexactSearch bool
	// SkipVerify leaves out reading back, after the clock has stopped, what the delivery workloads have delivered.
	// The FETCH workloads compare always.
	SkipVerify bool

	// Progress receives a line for each step. Default: nothing is written.
	Progress io.Writer

	turn  *atomic.Uint64 // of the nodes
	quick bool           // connections acknowledge at once what they have read, see quickConn
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
	setDefault(&o.IdleSessions, 1000)
	o.turn = new(atomic.Uint64)
	o.Workloads = o.chosen()
	return o, o.validate()
}

// chosen puts in the place of a set what is in it.
func (o *Options) chosen() []string {
	named := o.Workloads
	if len(named) == 0 {
		named = []string{""}
	}
	var all []string
	for _, name := range named {
		found := false
		for _, w := range Workloads() {
			if w.Set != name {
				continue
			}
			found = true
			if w.Name != "growth" && o.lacks(w.Name) == "" {
				all = append(all, w.Name)
			}
		}
		if !found {
			all = append(all, name)
		}
	}
	return all
}

// lacks says what a workload needs that is not given.
func (o *Options) lacks(workload string) string {
	switch {
	case strings.HasPrefix(workload, "disk") && o.DiskPath == "" && o.DiskUsage == nil:
		return "the path of the server's data"
	case strings.HasPrefix(workload, "api-") && o.API == "":
		return "the HTTP API"
	case workload == "notify-other" && !strings.Contains(o.IMAP, ","):
		return "IMAP of two nodes"
	case workload == "idle" && o.ServerPID == 0:
		return "the server's process"
	}
	return ""
}

// dial connects to the server.
func (o *Options) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err == nil && o.quick {
		conn = quickConn{conn}
	}
	return conn, err
}

// nodes are the main processes of the server.
func (o *Options) nodes() processTree {
	if o.ServerPID == 0 {
		return nil
	}
	return append(processTree{o.ServerPID}, o.NodePIDs...)
}

func (o *Options) lmtp() string { return o.next(o.LMTP) }
func (o *Options) imap() string { return o.next(o.IMAP) }

// next gives one of several addresses, in turn.
func (o *Options) next(addresses string) string {
	all := strings.Split(addresses, ",")
	if o.turn == nil || len(all) == 1 {
		return all[0]
	}
	return all[o.turn.Add(1)%uint64(len(all))]
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
	if o.Runs < 0 || o.Scale < 0 || o.GrowthMessages < 0 || o.GrowthStep < 0 || o.NotifySamples < 0 || o.IdleSessions < 0 || o.FirstUser < 0 {
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
		if missing := o.lacks(name); missing != "" {
			bad("workload %s needs %s", name, missing)
		}
	}
	return errors.Join(errs...)
}

func (o *Options) scaled(count int) int { return max(int(float64(count)*o.Scale), 8) }

func (o *Options) tlsConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} // the server under test is the caller's own, on its own machine
}
