//go:build e2e

package servers

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"mallard/internal/testserver/freeport"
)

// databases is how many each Redis has, so that every test of a run can have one.
const databases = 1024

// RedisOptions say how a Redis is started.
type RedisOptions struct {
	Password string
	Persist  bool     // what was written is there again after Kill and Run, but for the last second
	Port     int      // default a free one
	Args     []string // more of them
}

// A Redis is a server of the test's own. Without RedisOptions.Persist it is empty after every start.
type Redis struct {
	Addr     string // host:port
	URL      string // redis://[:password@]host:port
	Password string

	t T
	p *process
}

// SharedRedis is the server that MALLARD_TEST_REDIS names; where the variable is not set it is one of the test's own.
func SharedRedis(t T) string {
	t.Helper()
	if url := os.Getenv("MALLARD_TEST_REDIS"); url != "" {
		return url
	}
	return StartRedis(t, RedisOptions{}).URL
}

// StartRedis starts an empty Redis.
func StartRedis(t T, o RedisOptions) *Redis {
	t.Helper()
	if o.Port == 0 {
		o.Port = freeport.Take(t, 1)[0]
	}
	dir := t.TempDir()
	r := &Redis{t: t, Addr: loopback(o.Port), Password: o.Password}
	u := url.URL{Scheme: "redis", Host: r.Addr}
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(o.Port), "--dir", dir, "--save", "", "--databases", strconv.Itoa(databases)}
	if o.Persist {
		args = append(args, "--appendonly", "yes")
	}
	if o.Password != "" {
		u.User = url.UserPassword("", o.Password)
		args = append(args, "--requirepass", o.Password, "--masterauth", o.Password)
	}
	r.URL = u.String()
	r.p = &process{
		t: t, name: "Redis", path: Need(t, "redis-server", "redis-server"), args: append(args, o.Args...), dir: dir,
		end: syscall.SIGTERM, log: filepath.Join(dir, "redis.log"), ready: func() bool { return pingRedis(r.Addr, o.Password) },
	}
	r.p.atEnd()
	r.Run()
	return r
}

func pingRedis(addr, password string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := redis.NewClient(&redis.Options{Addr: addr, Password: password, MaxRetries: -1})
	defer c.Close()
	return c.Ping(ctx).Err() == nil
}

// Database is the URL of a numbered database.
func (r *Redis) Database(n int) string { return fmt.Sprintf("%s/%d", r.URL, n) }

// Run starts it at the same address and waits until it answers.
func (r *Redis) Run() { r.t.Helper(); r.p.run() }

// Stop ends it in order.
func (r *Redis) Stop() { r.t.Helper(); r.p.stop() }

// Kill ends it with SIGKILL.
func (r *Redis) Kill() { r.p.kill() }

// Pause stops it in its tracks: connections stay open and nothing is answered until Resume.
func (r *Redis) Pause() { r.p.pause() }

// Resume ends Pause.
func (r *Redis) Resume() { r.p.resume() }
