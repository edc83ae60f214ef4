//go:build e2e

package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mallard/internal/testserver/freeport"
)

// postgresUser is whom PostgreSQL runs as; it refuses root, and no account is needed.
const postgresUser = 5432

// instances counts the data directories of this process.
var instances = new(atomic.Int64)

// MongoOptions say how a server is started.
type MongoOptions struct {
	// Durable has every write on the disk before it is acknowledged. Without it what is acknowledged outlives Kill all the
	// same, but not the loss of power.
	Durable bool
	Port    int // default a free one
}

// A Mongo is a server of the MongoDB protocol: FerretDB in front of a PostgreSQL with DocumentDB. It has no transactions
// (it takes the commands and writes at once), no change streams and no collations, and asks for no password.
type Mongo struct {
	URL string // mongodb://host:port/

	t        T
	data     string
	postgres *process
	front    *process
}

// SharedMongo is the server that MALLARD_TEST_MONGO names, for tests that neither stop it nor ask which databases it
// has; where the variable is not set it is one of the test's own.
func SharedMongo(t T) string {
	t.Helper()
	if url := os.Getenv("MALLARD_TEST_MONGO"); url != "" {
		return url
	}
	return StartMongo(t, MongoOptions{}).URL
}

// StartMongo starts an empty server. It needs root.
func StartMongo(t T, o MongoOptions) *Mongo {
	t.Helper()
	home := filepath.Dir(filepath.Dir(cached(t, "mongo-wire", "mongo-wire", "bin", "ferretdb")))
	template := filepath.Dir(cached(t, "mongo-wire", "mongo-wire", "root", "data", "template", ".ok"))
	if os.Getuid() != 0 {
		Missing(t, "the server of the MongoDB protocol needs root")
	}
	removeLeftovers(filepath.Dir(template))
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), instances.Add(1))
	m := &Mongo{t: t, data: filepath.Join(filepath.Dir(template), name)}
	t.Cleanup(func() { os.RemoveAll(m.data) }) // after the processes have ended
	if out, err := exec.Command("cp", "-a", template, m.data).CombinedOutput(); err != nil {
		t.Fatalf("copy the empty database: %v\n%s", err, out)
	}
	ports := freeport.Take(t, 2)
	if o.Port != 0 {
		ports[0] = o.Port
	}
	m.prepare(home, name, ports[0], ports[1], o.Durable)
	m.Run()
	return m
}

func (m *Mongo) prepare(home, name string, port, postgresPort int, durable bool) {
	dir, number := m.t.TempDir(), strconv.Itoa(postgresPort)
	args := []string{"-D", "/data/" + name, "-p", number}
	if !durable {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off")
	}
	m.postgres = &process{
		t: m.t, name: "PostgreSQL", path: "/usr/lib/postgresql/18/bin/postgres", args: args, dir: "/",
		root: filepath.Join(home, "root"), user: postgresUser, end: syscall.SIGINT, log: filepath.Join(dir, "postgres.log"),
		env:   []string{"HOME=/tmp", "TZ=UTC", "LANG=C.UTF-8", "PATH=/usr/lib/postgresql/18/bin:/usr/bin:/bin"},
		ready: m.postgresReady,
	}
	m.URL = "mongodb://" + loopback(port) + "/"
	m.front = &process{
		t: m.t, name: "FerretDB", path: filepath.Join(home, "bin", "ferretdb"), dir: dir, end: syscall.SIGTERM,
		log: filepath.Join(dir, "ferretdb.log"), ready: func() bool { return pingMongo(m.URL) },
		args: []string{"--listen-addr=" + loopback(port), "--debug-addr=-", "--no-auth", "--telemetry=disable", "--log-level=warn",
			"--state-dir=" + dir, "--postgresql-url=postgres://postgres@" + loopback(postgresPort) + "/postgres"},
	}
	m.postgres.atEnd()
	m.front.atEnd()
}

// postgresReady reads the state that PostgreSQL keeps beside its data, in the eighth line.
func (m *Mongo) postgresReady() bool {
	b, err := os.ReadFile(filepath.Join(m.data, "postmaster.pid"))
	lines, own := strings.Split(string(b), "\n"), m.postgres.running()
	return err == nil && own != nil && len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" && lines[0] == strconv.Itoa(own.Pid)
}

func pingMongo(url string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(url).SetServerSelectionTimeout(2 * time.Second))
	if err != nil {
		return false
	}
	defer client.Disconnect(ctx)
	return client.Ping(ctx, nil) == nil
}

// PIDs are those of its main processes.
func (m *Mongo) PIDs() []int { return []int{m.front.running().Pid, m.postgres.running().Pid} }

// Run starts it on the data that is there, at the same address, and waits until it answers.
func (m *Mongo) Run() {
	m.t.Helper()
	if m.postgres.running() == nil {
		m.postgres.run()
	}
	if m.front.running() == nil {
		m.front.run()
	}
}

// Stop ends it in order.
func (m *Mongo) Stop() {
	m.t.Helper()
	m.front.stop()
	m.postgres.stop()
}

// Kill ends all of it with SIGKILL.
func (m *Mongo) Kill() {
	m.front.kill()
	m.postgres.kill()
}

// Pause stops it in its tracks: connections stay open and nothing is answered until Resume.
func (m *Mongo) Pause() { m.front.pause() }

// Resume ends Pause.
func (m *Mongo) Resume() { m.front.resume() }

// removeLeftovers removes the data of tests that were killed.
func removeLeftovers(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "test-*-*"))
	for _, path := range left {
		pid, err := strconv.Atoi(strings.Split(filepath.Base(path), "-")[1])
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(path)
		}
	}
}
