// Package redistest starts Redis for tests: real servers with a directory and a port of their own, which a test can kill,
// pause and start again, Sentinels, and miniredis where no server is installed. Only tests import it.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"mallard/internal/redisconn"
	"mallard/internal/testserver/freeport"
)

// Patience is how long a server may take to start, and to become what it shall be.
const Patience = time.Minute

// Server is a process of redis-server or redis-sentinel.
type Server struct {
	t      testing.TB
	binary string
	args   []string
	Port   int
	log    bytes.Buffer
	cmd    *exec.Cmd
}

// Need returns the path of a program of Debian's packages redis-server and redis-sentinel. Without it the test is
// skipped, or fails where everything is expected to be installed.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	switch {
	case err == nil:
		return path
	case os.Getenv("MALLARD_CI") == "1":
		t.Fatalf("%s is needed: %v", program, err)
	default:
		t.Skipf("%s is not installed", program)
	}
	return ""
}

// Start starts a server without persistence, which ends with the test. The arguments are further settings, in the form of
// the command line.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, binary: Need(t, "redis-server"), Port: freeport.Take(t, 1)[0]}
	s.args = append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.Port), "--dir", t.TempDir(), "--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0",
	}, args...)
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Run starts the process and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	s.log.Reset()
	s.cmd = exec.Command(s.binary, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", s.Addr())
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			s.Kill()
			s.t.Fatalf("%s does not listen: %v\n%s", s.binary, err, s.log.String())
		}
	}
}

// Kill ends the process as a power cut would.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Pause stops the process, which keeps its connections and answers nothing, until Resume.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Options are those of a connection to the server, with times that suit a test.
func (s *Server) Options() redisconn.Options { return Options(s.Addr()) }

// Options are those of a connection to an address.
func Options(addr string) redisconn.Options {
	return redisconn.Options{Addr: addr, DB: redisconn.DefaultDB, Timeout: 500 * time.Millisecond, Heartbeat: 250 * time.Millisecond}
}

// Options are those of a connection to a server that runs as long as the test does.
func (b Backend) Options() redisconn.Options { return patient(b.Addr) }

// Patient are Options of a connection for which the server is there as long as the test runs.
func (s *Server) Patient() redisconn.Options { return patient(s.Addr()) }

// patient are Options with which a machine that has too much to do is no error. Where a server goes, the times of Options
// are those that a test waits.
func patient(addr string) redisconn.Options {
	o := Options(addr)
	o.Timeout, o.DialTimeout = Patience, Patience
	return o
}

// Client returns a plain client for looking at what is in the server.
func (s *Server) Client(t testing.TB) *redis.Client { return Client(t, s.Addr()) }

// Client returns a plain client of a server.
func Client(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, DB: redisconn.DefaultDB, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Open makes a connection, waits until it works, and closes it with the test.
func Open(t testing.TB, o redisconn.Options) *redisconn.Conn {
	t.Helper()
	c, err := redisconn.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the connection: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// Each runs a test against miniredis and against a real server. What is in them is lost between two calls of fresh.
func Each(t *testing.T, run func(t *testing.T, b Backend)) {
	t.Run("miniredis", func(t *testing.T) {
		m := miniredis.RunT(t)
		run(t, Backend{
			Addr:    m.Addr(),
			Clear:   func(testing.TB) { m.FlushAll() },
			Advance: m.FastForward,
		})
	})
	t.Run("redis", func(t *testing.T) {
		s := Start(t)
		c := s.Client(t)
		run(t, Backend{
			Addr: s.Addr(), Real: true,
			Clear: func(t testing.TB) {
				if err := c.FlushAll(context.Background()).Err(); err != nil {
					t.Fatal(err)
				}
			},
			Advance: func(d time.Duration) { advance(t, c, d) },
		})
	})
}

// Backend is a server that a test runs against.
type Backend struct {
	Addr string
	// Real says that it is Redis itself.
	Real bool
	// Clear forgets all that is in the server.
	Clear func(t testing.TB)
	// Advance lets time pass for the keys that expire.
	Advance func(d time.Duration)
}

// advance shortens the life of all keys, which is what passing time does to them.
func advance(t testing.TB, c *redis.Client, d time.Duration) {
	const script = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, left - tonumber(ARGV[1])) end
end`
	err := c.Eval(context.Background(), script, nil, d.Milliseconds()).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
}

// Eventually waits until something is so.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}

// Cluster is a master with a replica, watched by Sentinels.
type Cluster struct {
	Master, Replica *Server
	Sentinels       []*Server
}

// MasterName is the name under which the Sentinels of StartCluster know the master.
const MasterName = "mymaster"

// StartCluster starts a master, a replica and three Sentinels.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	program := Need(t, "redis-sentinel")
	c := &Cluster{Master: Start(t)}
	c.Replica = Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(c.Master.Port))
	for range 3 {
		c.Sentinels = append(c.Sentinels, startSentinel(t, program, c.Master.Port))
	}
	for _, s := range c.Sentinels {
		client := redis.NewSentinelClient(&redis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
		defer client.Close()
		Eventually(t, "Sentinels know the replica and each other", func() bool {
			info, err := client.Master(context.Background(), MasterName).Result()
			return err == nil && info["num-slaves"] == "1" && info["num-other-sentinels"] == "2"
		})
	}
	return c
}

func startSentinel(t testing.TB, program string, master int) *Server {
	t.Helper()
	s := &Server{t: t, binary: program, Port: freeport.Take(t, 1)[0]}
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := strings.Join([]string{
		"bind 127.0.0.1", fmt.Sprintf("port %d", s.Port), "dir " + filepath.Dir(file),
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", MasterName, master),
		"sentinel down-after-milliseconds " + MasterName + " 500",
		"sentinel failover-timeout " + MasterName + " 5000", "",
	}, "\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{file}
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// Options are those of a connection by way of the Sentinels.
func (c *Cluster) Options() redisconn.Options {
	o := Options("")
	o.Master = MasterName
	for _, s := range c.Sentinels {
		o.Sentinels = append(o.Sentinels, s.Addr())
	}
	return o
}
