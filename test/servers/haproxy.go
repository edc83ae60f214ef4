//go:build e2e

package servers

import (
	"os"
	"path/filepath"
	"syscall"
)

// A HAProxy is a load balancer with a configuration that the test has written.
type HAProxy struct {
	t T
	p *process
}

// StartHAProxy starts it with a configuration (the text, not a file) and waits until the given addresses, its frontends,
// answer.
func StartHAProxy(t T, config string, frontends ...string) *HAProxy {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatalf("%v", err)
	}
	h := &HAProxy{t: t, p: &process{
		t: t, name: "HAProxy", path: Need(t, "haproxy", "haproxy"), args: []string{"-db", "-f", file}, dir: dir,
		end: syscall.SIGTERM, log: filepath.Join(dir, "haproxy.log"),
		ready: func() bool {
			for _, addr := range frontends {
				if !answers(addr) {
					return false
				}
			}
			return true
		},
	}}
	h.p.atEnd()
	h.Run()
	return h
}

// Run starts it with the same configuration and waits until its frontends answer.
func (h *HAProxy) Run() { h.t.Helper(); h.p.run() }

// Stop ends it in order.
func (h *HAProxy) Stop() { h.t.Helper(); h.p.stop() }
