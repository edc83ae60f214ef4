//go:build e2e

package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTime = 3 * time.Minute // far more than any of them takes on a machine of its own
	stopTime  = time.Minute
	logTail   = 8_000 // octets of a log that a failed test shows
)

// A process is one program that can be ended and started again.
type process struct {
	t     T
	name  string
	path  string
	args  []string
	dir   string         // it runs here
	env   []string       // all of its environment; nil for this process's own
	root  string         // a directory that is / for it
	user  uint32         // it runs as, with root
	end   syscall.Signal // asks it to end
	log   string         // a file, of all runs
	ready func() bool

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// run starts it and waits until it is ready.
func (p *process) run() {
	p.t.Helper()
	if err := p.start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	ok := Until(startTime, func() bool { return p.running() == nil || p.ready() })
	if p.running() == nil {
		p.t.Fatalf("%s ended at once: %v\n%s", p.name, p.cmd.ProcessState, p.tail())
	}
	if !ok {
		p.t.Fatalf("%s is not ready after %s\n%s", p.name, startTime, p.tail())
	}
}

// start starts it. The kernel ends it when the thread that started it does, so that nothing is left of a test that was
// killed; the thread is kept for as long as it runs.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.root != "" {
		cmd.SysProcAttr.Chroot = p.root
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: p.user, Gid: p.user}
	}
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		cmd.Wait()
		close(done)
	}()
	if err := <-started; err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.done = cmd, done
	return nil
}

// running returns the process, or nil when it was not started or has ended.
func (p *process) running() *os.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
		return p.cmd.Process
	}
}

// stop asks it to end and waits; it fails the test when it has to be killed.
func (p *process) stop() {
	p.t.Helper()
	r := p.running()
	if r == nil {
		return
	}
	r.Signal(p.end)
	select {
	case <-p.done:
	case <-time.After(stopTime):
		p.kill()
		p.t.Fatalf("%s did not stop within %s\n%s", p.name, stopTime, p.tail())
	}
}

// kill ends it at once, with the processes it has made.
func (p *process) kill() {
	r := p.running()
	if r == nil {
		return
	}
	children := freeze(r)
	r.Kill()
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
	for _, pid := range children {
		Until(stopTime, func() bool { return ended(pid) })
	}
}

// pause stops it in its tracks, so that connections stay open and nothing is answered; resume lets it go on.
func (p *process) pause() {
	r := p.running()
	if r == nil {
		return
	}
	children := freeze(r)
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	for _, pid := range children {
		Until(stopTime, func() bool { return stopped(pid) })
	}
}

func (p *process) resume() {
	r := p.running()
	if r == nil {
		return
	}
	for _, pid := range childrenOf(r.Pid) {
		syscall.Kill(pid, syscall.SIGCONT)
	}
	r.Signal(syscall.SIGCONT)
}

// freeze stops a process and returns the processes that it has made. One that runs could make another meanwhile, which
// would be left behind and keep the memory that they share: PostgreSQL does not start beside it.
func freeze(r *os.Process) []int {
	r.Signal(syscall.SIGSTOP)
	Until(stopTime, func() bool { return stopped(r.Pid) })
	return childrenOf(r.Pid)
}

// stopped tells whether all threads of a process stand still or are there no more: a signal is sent before it is received.
func stopped(pid int) bool { return allThreads(pid, "TtZX") }

// ended tells whether a process is there no more. One that nobody has waited for has ended, too.
func ended(pid int) bool { return allThreads(pid, "ZX") }

// allThreads tells whether the kernel has one of these letters for the state of each thread of a process.
func allThreads(pid int, states string) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range threads {
		b, err := os.ReadFile(file)
		_, state, ok := strings.Cut(string(b), ") ") // the name is in parentheses
		if err == nil && ok && !strings.Contains(states, state[:1]) {
			return false
		}
	}
	return true
}

// childrenOf lists the processes that a process has made.
func childrenOf(pid int) []int {
	id := strconv.Itoa(pid)
	b, err := os.ReadFile(filepath.Join("/proc", id, "task", id, "children"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// tail is the end of what it has written.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-logTail):])
}

// atEnd ends it with the test, and shows what it wrote when the test failed.
func (p *process) atEnd() {
	p.t.Cleanup(func() {
		p.kill()
		if p.t.Failed() {
			p.t.Logf("the log of %s:\n%s", p.name, p.tail())
		}
	})
}
