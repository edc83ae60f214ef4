//go:build e2e

package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/testserver/freeport"
)

// MasterName is what Sentinels call their master.
const MasterName = "mallard"

// failoverTime is how long a master may be silent before the Sentinels agree on another. A machine that does other work as
// well keeps a master silent for some time, and what it has not told its replicas is lost then.
const failoverTime = 3 * time.Second

// A Sentinel is a Redis with two replicas and three Sentinels that watch it.
type Sentinel struct {
	Addrs    []string // of the Sentinels
	Password string   // of the Redis servers; the Sentinels have none

	t       T
	servers []*Redis
}

// StartSentinel starts them and waits until the Sentinels know each other and the replicas.
func StartSentinel(t T, password string) *Sentinel {
	t.Helper()
	path := Need(t, "redis-sentinel", "redis-sentinel")
	s := &Sentinel{t: t, Password: password}
	master := StartRedis(t, RedisOptions{Password: password})
	s.servers = []*Redis{master}
	host, port, _ := net.SplitHostPort(master.Addr)
	for range 2 {
		s.servers = append(s.servers, StartRedis(t, RedisOptions{Password: password, Args: []string{"--replicaof", host, port}}))
	}
	for _, p := range freeport.Take(t, 3) {
		s.startOne(path, p, host, port)
	}
	if !Until(startTime, s.settled) {
		t.Fatalf("the Sentinels do not find each other and the replicas")
	}
	return s
}

func (s *Sentinel) startOne(path string, port int, masterHost, masterPort string) {
	s.t.Helper()
	dir, addr := s.t.TempDir(), loopback(port)
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor %[3]s %[4]s %[5]s 2\nsentinel down-after-milliseconds %[3]s %[6]d\nsentinel failover-timeout %[3]s 5000\n",
		port, dir, MasterName, masterHost, masterPort, failoverTime.Milliseconds())
	if s.Password != "" {
		text += fmt.Sprintf("sentinel auth-pass %s %s\n", MasterName, s.Password)
	}
	conf := filepath.Join(dir, "sentinel.conf") // which it rewrites
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		s.t.Fatalf("%v", err)
	}
	p := &process{t: s.t, name: "Sentinel " + addr, path: path, args: []string{conf}, dir: dir, end: syscall.SIGTERM,
		log: filepath.Join(dir, "sentinel.log"), ready: func() bool { return pingRedis(addr, "") }}
	p.atEnd()
	p.run()
	s.Addrs = append(s.Addrs, addr)
}

// settled tells whether every Sentinel knows the two others and both replicas.
func (s *Sentinel) settled() bool {
	for _, addr := range s.Addrs {
		m := s.ask(addr)
		if m["num-other-sentinels"] != "2" || m["num-slaves"] != "2" || m["flags"] != "master" {
			return false
		}
	}
	return true
}

func (s *Sentinel) ask(addr string) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer c.Close()
	m, _ := c.Master(ctx, MasterName).Result()
	return m
}

// Master is the server that the Sentinels name now.
func (s *Sentinel) Master() *Redis {
	s.t.Helper()
	m := s.ask(s.Addrs[0])
	for _, r := range s.servers {
		if r.Addr == net.JoinHostPort(m["ip"], m["port"]) {
			return r
		}
	}
	s.t.Fatalf("the Sentinels name %s:%s, which is none of the servers", m["ip"], m["port"])
	return nil
}

// Failover kills the master and waits until the Sentinels name another. It returns how long that took.
func (s *Sentinel) Failover() time.Duration {
	s.t.Helper()
	old, begin := s.Master(), time.Now()
	old.Kill()
	if !Until(startTime, func() bool {
		m := s.ask(s.Addrs[0])
		return net.JoinHostPort(m["ip"], m["port"]) != old.Addr && s.role(m) == "master"
	}) {
		s.t.Fatalf("no other master after %s", startTime)
	}
	return time.Since(begin)
}

func (s *Sentinel) role(m map[string]string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	port, _ := strconv.Atoi(m["port"])
	c := redis.NewClient(&redis.Options{Addr: loopback(port), Password: s.Password, MaxRetries: -1})
	defer c.Close()
	role, err := c.Do(ctx, "ROLE").Slice()
	if err != nil || len(role) == 0 {
		return ""
	}
	name, _ := role[0].(string)
	return name
}
