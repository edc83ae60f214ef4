//go:build e2e

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mallard/internal/testserver/freeport"
	"mallard/test/servers"
)

// Password of every user that User makes.
const Password = "e2e-password-1"

// Domain of every user that User makes.
const Domain = "mallard.test"

const (
	startTime = 2 * time.Minute
	stopTime  = 15 * time.Second
)

// Options change what Start writes into the configuration file. Zero values are the server's defaults.
type Options struct {
	Dir       string // an empty directory for everything; default a temporary one
	LMTPMaxMB int
	LMTP      string // more keys of [lmtp], in TOML
	IMAP      string // more keys of [imap], in TOML
	DBs       string // the keys of [dbs], in TOML: the node keeps its data there, and none in Dir
	Extra     string // TOML that is put at the end
}

// A Server is one server on one data directory. It is stopped when the test ends.
type Server struct {
	Dir    string // of everything; the data is in Dir/data
	Config string // the configuration file
	LMTP   string // host:port
	IMAP   string // host:port, no TLS, login allowed
	IMAPS  string // host:port, TLS; empty for Dovecot
	API    string // http://host:port; empty for Dovecot

	t       testing.TB
	dovecot bool
	log     *os.File
	process *exec.Cmd
	done    chan struct{}
}

// Dovecot tells whether the tests run against Dovecot in Mallard's place.
func Dovecot() bool { return os.Getenv("MALLARD_E2E_DOVECOT") == "1" }

// OnlyMallard leaves out a test of something that Dovecot does not have or does otherwise.
func OnlyMallard(t testing.TB) {
	t.Helper()
	if Dovecot() {
		t.Skip("not a test for Dovecot")
	}
}

// CI tells whether nothing may be left out.
func CI() bool { return servers.CI() }

// Need returns the path of a program. Where nothing may be left out a missing one fails the test, elsewhere the test is
// skipped and says what to install.
func Need(t testing.TB, program, debianPackage string) string {
	t.Helper()
	return servers.Need(t, program, debianPackage)
}

// Missing ends a test for which something is not there.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	servers.Missing(t, format, args...)
}

// Cache is where test/rig/install.sh puts what is not a package of the system.
func Cache(t testing.TB) string {
	t.Helper()
	return servers.Cache(t)
}

// Root is the top of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

var build struct {
	sync.Once
	path string
	err  error
}

// Binary builds cmd/mallard once in a test process, or takes the one that MALLARD_BIN names.
func Binary(t testing.TB) string {
	t.Helper()
	build.Do(func() {
		if build.path = os.Getenv("MALLARD_BIN"); build.path != "" {
			return
		}
		removeLeftovers()
		dir, err := os.MkdirTemp("", fmt.Sprintf("mallard-e2e-%d-", os.Getpid()))
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "mallard")
		cmd := exec.Command("go", "build", "-o", build.path, "./cmd/mallard")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the released program is built
		cmd.Dir = Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("go build ./cmd/mallard: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// removeLeftovers removes the binaries of test processes that have ended: no test knows that it is the last one.
func removeLeftovers() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "mallard-e2e-*-*"))
	for _, dir := range left {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "mallard-e2e-%d-", &pid); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(dir)
		}
	}
}

// Start starts a server with an empty data directory and waits until it is healthy.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{t: t, Dir: o.Dir}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	p := freeport.Take(t, 4)
	addr := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	s.LMTP, s.IMAP = addr(p[0]), addr(p[1])
	if Dovecot() {
		s.startDovecot(p[1], p[0])
		return s
	}
	s.IMAPS, s.API = addr(p[2]), "http://"+addr(p[3])
	s.Config = filepath.Join(s.Dir, "mallard.toml")
	s.writeConfig(o, p)
	var err error
	if s.log, err = os.Create(filepath.Join(s.Dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanup)
	s.Run()
	return s
}

func (s *Server) writeConfig(o Options, ports []int) {
	s.t.Helper()
	lmtpLimit := o.LMTP
	if o.LMTPMaxMB > 0 {
		lmtpLimit += fmt.Sprintf("\nmaxMB = %d\n", o.LMTPMaxMB)
	}
	store := fmt.Sprintf("[store]\npath = %q\n", filepath.Join(s.Dir, "data"))
	if o.DBs != "" {
		store = "[dbs]\n" + o.DBs
	}
	text := fmt.Sprintf(`%s
[lmtp]
enabled = true
host = "127.0.0.1"
port = %d
%s
[api]
enabled = true
host = "127.0.0.1"
port = %d

[imap]
enabled = true
host = "127.0.0.1"
port = %d
secure = false
ignoreSTARTTLS = true
%s
[[imap.interface]]
enabled = true
host = "127.0.0.1"
port = %d
secure = true

%s`, store, ports[0], lmtpLimit, ports[3], ports[1], o.IMAP, ports[2], o.Extra)
	if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Run starts the server on the data that is there and waits until it is healthy.
func (s *Server) Run() {
	s.t.Helper()
	s.start([]string{"serve", "--config", s.Config})
}

func (s *Server) start(args []string) {
	s.t.Helper()
	cmd := exec.Command(Binary(s.t), args...)
	cmd.Dir = s.Dir
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.Env = append(Environment(), "HOME="+s.Dir)
	done, err := Background(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process, s.done = cmd, done
	s.waitHealthy()
}

// Background starts a program and returns what is closed when it has ended. Nothing is left of it when the test is killed:
// the kernel ends it with the thread that started it, which is kept for as long as it runs.
func Background(cmd *exec.Cmd) (done chan struct{}, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		cmd.Wait()
		close(done)
	}()
	return done, <-started
}

func (s *Server) waitHealthy() {
	s.t.Helper()
	var last error
	ok := Until(startTime, func() bool {
		select {
		case <-s.done:
			s.t.Fatalf("the server ended at once: %v\n%s", s.process.ProcessState, s.Log())
		default:
		}
		resp, err := http.Get(s.API + "/health")
		if err != nil {
			last = err
			return false
		}
		resp.Body.Close()
		last = fmt.Errorf("GET /health: %s", resp.Status)
		return resp.StatusCode == http.StatusOK
	})
	if !ok {
		s.t.Fatalf("the server is not healthy after %s: %v\n%s", startTime, last, s.Log())
	}
}

// Log is what the server has written.
func (s *Server) Log() string {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	if len(b) > 20_000 {
		b = b[len(b)-20_000:]
	}
	return string(b)
}

// PID of the running server.
func (s *Server) PID() int { return s.process.Process.Pid }

// Stop asks the server to end, as Ctrl-C does, and fails the test if it does not end cleanly within seconds.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(stopTime):
		s.process.Process.Kill()
		<-s.done
		s.t.Fatalf("the server did not stop within %s\n%s", stopTime, s.Log())
	}
	if !s.process.ProcessState.Success() {
		s.t.Fatalf("the server stopped with %v\n%s", s.process.ProcessState, s.Log())
	}
}

// Kill ends the server as a power cut of the process does: SIGKILL, at any instant.
func (s *Server) Kill() {
	s.process.Process.Kill()
	<-s.done
}

func (s *Server) cleanup() {
	if s.process != nil {
		s.process.Process.Kill()
		<-s.done
	}
	if s.t.Failed() {
		s.t.Logf("the server's log:\n%s", s.Log())
	}
	s.log.Close()
}

// A User is an account with an address.
type User struct {
	ID       string
	Name     string
	Password string
	Address  string
}

// User makes an account whose mailbox may hold quota octets (0: the default).
func (s *Server) User(name string, quota int64) User {
	s.t.Helper()
	u := User{Name: name, Password: Password, Address: name + "@" + Domain}
	if s.dovecot {
		u.Name = u.Address
		return u
	}
	body := map[string]any{"username": name, "password": Password, "address": u.Address}
	if quota > 0 {
		body["quota"] = quota
	}
	var answer struct {
		Success bool   `json:"success"`
		ID      string `json:"id"`
	}
	s.Call(http.MethodPost, "/users", body, &answer)
	if !answer.Success || answer.ID == "" {
		s.t.Fatalf("POST /users gave %+v", answer)
	}
	u.ID = answer.ID
	return u
}

// Call calls the API and fails the test unless the answer is 200.
func (s *Server) Call(method, path string, body, answer any) {
	s.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, s.API+path, in)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s %v\n%s", method, path, resp.Status, err, out)
	}
	if answer != nil {
		if err := json.Unmarshal(out, answer); err != nil {
			s.t.Fatalf("%s %s: %v\n%s", method, path, err, out)
		}
	}
}

// Check runs "mallard check" and fails the test unless all is well.
func (s *Server) Check() {
	s.t.Helper()
	r := Command{Program: Binary(s.t), Args: []string{"check", "--config", s.Config}}.Run(s.t)
	if r.Status != 0 {
		s.t.Fatalf("mallard check ended with status %d:\n%s%s", r.Status, r.Out, r.Err)
	}
}

// CheckWithin is Check for a server that may still be repairing what an outage has left; it has so long for that.
func (s *Server) CheckWithin(limit time.Duration) {
	s.t.Helper()
	Until(limit, func() bool {
		return Command{Program: Binary(s.t), Args: []string{"check", "--config", s.Config}}.Run(s.t).Status == 0
	})
	s.Check()
}

// Environment is this process's own without what Mallard would take for its configuration.
func Environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MALLARD_") })
}

// Until calls f over and over until it is true; it returns false when it was not within the time.
func Until(limit time.Duration, f func() bool) bool { return servers.Until(limit, f) }

// A Command is a program to run to its end.
type Command struct {
	Program string
	Args    []string
	Dir     string
	Env     []string // in addition
	In      string
	Limit   time.Duration // default five minutes, which is for a program that hangs
}

// A Ran is what a program gave.
type Ran struct {
	Status   int
	Out, Err string
}

// Run runs it. It fails the test if it cannot be run or does not end in time; the status is the caller's to judge.
func (c Command) Run(t testing.TB) Ran {
	t.Helper()
	if c.Limit == 0 {
		c.Limit = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Program, c.Args...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.Dir, append(Environment(), c.Env...), strings.NewReader(c.In)
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end within %s:\n%s%s", c.Program, c.Limit, out.String(), errs.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", c.Program, err)
	}
	return Ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// Must runs it and fails the test unless its status is 0.
func (c Command) Must(t testing.TB) Ran {
	t.Helper()
	r := c.Run(t)
	if r.Status != 0 {
		t.Fatalf("%s %q ended with status %d:\n%s%s", c.Program, c.Args, r.Status, r.Out, r.Err)
	}
	return r
}

// StartDemo runs "mallard serve --demo" in an empty directory, as a newcomer does but for the ports, which are free ones.
func StartDemo(t testing.TB) *Server {
	t.Helper()
	p := freeport.Take(t, 4)
	addr := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	s := &Server{t: t, Dir: t.TempDir(), LMTP: addr(p[0]), IMAP: addr(p[1]), API: "http://" + addr(p[3])}
	s.Config = filepath.Join(s.Dir, "ports.toml")
	text := fmt.Sprintf("[lmtp]\nport = %d\n[api]\nport = %d\n[imap]\nport = %d\n[[imap.interface]]\nenabled = true\nport = %d\n", p[0], p[3], p[2], p[1])
	if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.log, err = os.Create(filepath.Join(s.Dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanup)
	s.start([]string{"serve", "--demo", "--config", s.Config})
	return s
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }
