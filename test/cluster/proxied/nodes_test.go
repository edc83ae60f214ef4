//go:build e2e

package proxied

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mallard/internal/testserver/freeport"
	"mallard/test/e2e/harness"
	"mallard/test/servers"
)

// The secrets of docs/ops/cluster.md.
const (
	apiToken      = "api-secret"
	redisPassword = "redis-secret"
)

// guide returns the blocks of docs/ops/cluster.md in a language.
func guide(t testing.TB, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "ops", "cluster.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("docs/ops/cluster.md has no block in %s", language)
	}
	return out
}

// databases are what the nodes share.
type databases struct {
	mongo     string
	sentinels []string
}

// clusters counts those of this process.
var clusters atomic.Int64

func startDatabases(t *testing.T) databases {
	t.Helper()
	name := fmt.Sprintf("cluster_%d_%d", os.Getpid(), clusters.Add(1))
	return databases{mongo: servers.SharedMongo(t) + name, sentinels: servers.StartSentinel(t, redisPassword).Addrs}
}

// node is a server of the cluster with the configuration of the guide; only addresses and files differ.
type node struct {
	t      testing.TB
	name   string
	dir    string
	config string
	ports  map[string]int // of the guide: "993" and so on

	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

// services are the ports of the guide.
func services() []string { return []string{"993", "143", "24", "8080"} }

func newNode(t *testing.T, name string, d databases, key, cert string) *node {
	t.Helper()
	return newNodeWith(t, name, d, key, cert, guide(t, "toml")[0], services())
}

// newNodeWith is newNode with another configuration, and the ports that stand in it.
func newNodeWith(t *testing.T, name string, d databases, key, cert, text string, ports []string) *node {
	t.Helper()
	n := &node{t: t, name: name, dir: t.TempDir(), ports: map[string]int{}}
	free := freeport.Take(t, len(ports))
	for i, port := range ports {
		n.ports[port] = free[i]
		text = swap(t, text, `(?m)^port = `+port+`$`, fmt.Sprintf("port = %d", free[i]))
	}
	var sentinels []string
	for _, addr := range d.sentinels {
		host, port, _ := strings.Cut(addr, ":")
		sentinels = append(sentinels, fmt.Sprintf("{host = %q, port = %s}", host, port))
	}
	text = swap(t, text, `mongo = ".*"`, fmt.Sprintf("mongo = %q", d.mongo))
	text = swap(t, text, `sentinels = \[.*?\]`, "sentinels = ["+strings.Join(sentinels, ", ")+"]")
	text = swap(t, text, `name = "mail"`, fmt.Sprintf("name = %q", servers.MasterName))
	text = swap(t, text, `/var/lib/mallard`, filepath.Join(n.dir, "data"))
	text = swap(t, text, `"0\.0\.0\.0"`, `"127.0.0.1"`)
	text = swap(t, text, `"10\.0\.0\.10"`, `"127.0.0.1"`)
	text = swap(t, text, `/etc/mallard/mail\.example\.org\.key`, key)
	text = swap(t, text, `/etc/mallard/mail\.example\.org\.pem`, cert)
	n.config = filepath.Join(n.dir, "mallard.toml")
	var err error
	if err = os.WriteFile(n.config, []byte(text), 0o600); err == nil {
		n.log, err = os.Create(filepath.Join(n.dir, "log"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.cleanup)
	return n
}

// swap replaces what must be there.
func swap(t testing.TB, text, pattern, with string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	if !re.MatchString(text) {
		t.Fatalf("the guide has no %s", pattern)
	}
	return re.ReplaceAllLiteralString(text, with)
}

func (n *node) addr(port string) string { return fmt.Sprintf("127.0.0.1:%d", n.ports[port]) }

// start starts the server and waits until it is healthy.
func (n *node) start() {
	n.t.Helper()
	n.cmd = exec.Command(harness.Binary(n.t), "serve", "--config", n.config)
	n.cmd.Dir, n.cmd.Stdout, n.cmd.Stderr = n.dir, n.log, n.log
	n.cmd.Env = harness.Environment()
	var err error
	if n.done, err = harness.Background(n.cmd); err != nil {
		n.t.Fatal(err)
	}
	last := ""
	healthy := servers.Until(2*time.Minute, func() bool {
		select {
		case <-n.done:
			n.t.Fatalf("%s ended at once: %v\n%s", n.name, n.cmd.ProcessState, n.text())
		default:
		}
		status, body, err := n.call(http.MethodGet, "/health", nil)
		last = fmt.Sprint(status, " ", string(body), " ", err)
		return err == nil && status == http.StatusOK
	})
	if !healthy {
		n.t.Fatalf("%s is not healthy: %s\n%s", n.name, last, n.text())
	}
}

// kill ends the server with SIGKILL.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.done
}

// stop ends the server with SIGTERM and returns how long that took.
func (n *node) stop() time.Duration {
	n.t.Helper()
	begin := time.Now()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-n.done:
	case <-time.After(20 * time.Second):
		n.t.Fatalf("%s did not stop\n%s", n.name, n.text())
	}
	if !n.cmd.ProcessState.Success() {
		n.t.Fatalf("%s ended with %v\n%s", n.name, n.cmd.ProcessState, n.text())
	}
	return time.Since(begin)
}

func (n *node) cleanup() {
	if n.cmd != nil {
		n.kill()
	}
	if n.t.Failed() {
		text := n.text()
		n.t.Logf("the log of %s:\n%s", n.name, text[max(0, len(text)-8000):])
	}
	_ = n.log.Close()
}

// text is the server's log.
func (n *node) text() string {
	b, _ := os.ReadFile(filepath.Join(n.dir, "log"))
	return string(b)
}

// run runs a command of the operator on the node's configuration.
func (n *node) run(args ...string) string {
	n.t.Helper()
	args = append([]string{"--config", n.config}, args...)
	r := harness.Command{Program: harness.Binary(n.t), Args: args, Dir: n.dir}.Run(n.t)
	if r.Status != 0 {
		n.t.Fatalf("mallard %q: status %d\n%s%s", args, r.Status, r.Out, r.Err)
	}
	return r.Out
}

func (n *node) call(method, path string, body any) (int, []byte, error) {
	return call("http://"+n.addr("8080"), method, path, body)
}

// call calls the API of a node or of the proxy.
func call(base, method, path string, body any) (int, []byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, base+path, in)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-Access-Token", apiToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	return resp.StatusCode, out, err
}

// cluster is two nodes behind HAProxy, all as the guide has it.
type cluster struct {
	t     *testing.T
	nodes []*node
	proxy *servers.HAProxy
	ports map[string]int // of the proxy, by those of the guide
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	servers.Need(t, "haproxy", "haproxy")
	d := startDatabases(t)
	key, cert := certificate(t)
	c := &cluster{t: t, ports: map[string]int{}}
	for i := range 2 {
		n := newNode(t, fmt.Sprintf("node %d", i+1), d, key, cert)
		n.start()
		c.nodes = append(c.nodes, n)
	}
	text := balancer(t)
	var frontends []string
	for i, port := range freeport.Take(t, len(services())) {
		service := services()[i]
		c.ports[service] = port
		text = swap(t, text, `bind 10\.0\.0\.10:`+service+`\b`, fmt.Sprintf("bind 127.0.0.1:%d", port))
		for j, n := range c.nodes {
			text = swap(t, text, fmt.Sprintf(`10\.0\.0\.1%d:%s\b`, j+1, service), n.addr(service))
		}
		frontends = append(frontends, c.addr(service))
	}
	c.proxy = servers.StartHAProxy(t, text, frontends...)
	return c
}

// balancer is HAProxy's configuration in the guide, but for what depends on the machine of the test.
func balancer(t *testing.T) string {
	t.Helper()
	text := swap(t, guide(t, "haproxy")[0], `maxconn 40000`, "maxconn 1000") // as many files as a test may open
	if os.Getuid() != 0 {
		text = swap(t, text, `(?m)^    (user|group) haproxy$`, "")
	}
	return text
}

func (c *cluster) addr(service string) string { return fmt.Sprintf("127.0.0.1:%d", c.ports[service]) }

// user makes a user by the proxy's API.
func (c *cluster) user(name string) harness.User {
	c.t.Helper()
	return newUser(c.t, "http://"+c.addr("8080"), name)
}

// user makes a user by the node's API.
func (n *node) user(name string) harness.User {
	n.t.Helper()
	return newUser(n.t, "http://"+n.addr("8080"), name)
}

func newUser(t testing.TB, base, name string) harness.User {
	t.Helper()
	u := harness.User{Name: name, Password: harness.Password, Address: name + "@" + harness.Domain}
	status, out, err := call(base, http.MethodPost, "/users", map[string]any{"username": u.Name, "password": u.Password, "address": u.Address})
	var answer struct{ ID string }
	if err != nil || status != http.StatusOK || json.Unmarshal(out, &answer) != nil || answer.ID == "" {
		t.Fatalf("POST /users: %d %s %v", status, out, err)
	}
	u.ID = answer.ID
	return u
}

// certificate makes a certificate for the test.
func certificate(t *testing.T) (keyFile, certFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.org"}, DNSNames: []string{"mail.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile, certFile = filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	for file, block := range map[string]*pem.Block{keyFile: {Type: "PRIVATE KEY", Bytes: private}, certFile: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return keyFile, certFile
}
