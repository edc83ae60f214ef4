//go:build e2e

package servers

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"mallard/internal/testserver/freeport"
)

// HarakaOptions say where mail goes.
type HarakaOptions struct {
	LMTP    string   // host:port that plugin queue/lmtp delivers to
	Domains []string // that it takes mail for
}

// A Haraka is an inbound MX. It takes mail into a queue of its own and delivers from there: what LMTP refuses for good it
// returns to the sender, for whom there is no way here, and what LMTP refuses for now it tries again each second.
type Haraka struct {
	SMTP string // host:port

	t T
	p *process
}

// StartHaraka starts it and waits until it answers.
func StartHaraka(t T, o HarakaOptions) *Haraka {
	t.Helper()
	node := Need(t, "node", "nodejs")
	program := cached(t, "haraka", "haraka", "node_modules", "Haraka", "bin", "haraka")
	host, port, err := net.SplitHostPort(o.LMTP)
	if err != nil {
		t.Fatalf("address of LMTP: %v", err)
	}
	dir, own := t.TempDir(), freeport.Take(t, 1)[0]
	config := filepath.Join(dir, "config")
	// Without the files that come with it some of its settings are undefined, and it falls over them.
	if err := os.CopyFS(config, os.DirFS(cached(t, "haraka", "haraka", "node_modules", "Haraka", "config"))); err != nil {
		t.Fatalf("copy the configuration of Haraka: %v", err)
	}
	for name, text := range map[string]string{
		"smtp.ini":  fmt.Sprintf("listen=%s\nnodes=0\n", loopback(own)),
		"me":        "mx.mallard.test\n",
		"plugins":   "rcpt_to.in_host_list\nqueue/lmtp\n",
		"host_list": strings.Join(o.Domains, "\n") + "\n",
		"lmtp.ini":  fmt.Sprintf("host=%s\nport=%s\n", host, port),
		"loglevel":  "INFO\n",
		// It delivers from a queue of its own, which tries again soon here.
		"outbound.ini": "temp_fail_intervals=1s*60\n",
	} {
		if err := os.WriteFile(filepath.Join(config, name), []byte(text), 0o644); err != nil {
			t.Fatalf("%v", err)
		}
	}
	h := &Haraka{t: t, SMTP: loopback(own)}
	h.p = &process{t: t, name: "Haraka", path: node, args: []string{program, "-c", dir}, dir: dir,
		end: syscall.SIGTERM, log: filepath.Join(dir, "haraka.log"), ready: func() bool { return answers(h.SMTP) }}
	h.p.atEnd()
	h.Run()
	return h
}

// Run starts it at the same address and waits until it answers.
func (h *Haraka) Run() { h.t.Helper(); h.p.run() }

// Stop ends it in order.
func (h *Haraka) Stop() { h.t.Helper(); h.p.stop() }

// Log is what it has written: the answers of LMTP are in it.
func (h *Haraka) Log() string { return h.p.tail() }
