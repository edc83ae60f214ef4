package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mallard/internal/clocktest"
	"mallard/internal/config"
	"mallard/internal/logtest"
	"mallard/internal/testserver/freeport"
	"mallard/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig is a configuration with a directory of its own and free ports.
func testConfig(t *testing.T) *config.Config {
	t.Helper()
	c := config.Default()
	c.Store.Path = filepath.Join(t.TempDir(), "data")
	c.Store.CacheMB, c.Store.MemTableMB = 8, 4
	c.IMAP.Port, c.IMAP.Interfaces[0].Port, c.LMTP.Port, c.API.Port = 0, 0, 0, 0
	return c
}

// server is a node that serves.
type server struct {
	*Node
	t    *testing.T
	log  *logtest.Buffer
	stop func() error // ends serving and closes the store
}

func serve(t *testing.T, c *config.Config) *server {
	t.Helper()
	s := &server{t: t, log: &logtest.Buffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	n, err := Open(ctx, c, Options{Log: slog.New(slog.NewTextHandler(s.log, nil)), Version: "test"})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	s.Node = n
	if err := n.Listen(); err != nil {
		cancel()
		t.Fatal(errors.Join(err, n.Close()))
	}
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx) }()
	var once sync.Once
	s.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = errors.Join(<-served, n.Close())
		})
		return err
	}
	t.Cleanup(func() { _ = s.stop() })
	return s
}

// address of the first port of a service, with TLS or not.
func (s *server) address(service string, secure bool) string {
	s.t.Helper()
	for _, a := range s.Addresses() {
		if a.Service == service && a.Secure == secure {
			return a.Addr
		}
	}
	s.t.Fatalf("%s is not served", service)
	return ""
}

// conn is a connection that speaks lines.
type conn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (s *server) dial(service string, secure bool) *conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address(service, secure))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &conn{Conn: c, t: s.t, r: bufio.NewReader(c)}
}

// expect reads lines up to one with this start and returns it.
func (c *conn) expect(start string) string {
	c.t.Helper()
	var all []string
	for {
		line, err := c.r.ReadString('\n')
		if strings.HasPrefix(line, start) {
			return line
		}
		all = append(all, line)
		if err != nil {
			c.t.Fatalf("no %q in %q: %v", start, all, err)
		}
	}
}

func (c *conn) say(text, answer string) string {
	c.t.Helper()
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.expect(answer)
}

func (s *server) get(path string) (*http.Response, error) {
	tr := &http.Transport{DisableKeepAlives: true}
	return (&http.Client{Transport: tr}).Get("http://" + s.address(serviceAPI, false) + path)
}

// A node with sessions of every kind, some of them hanging, stops within the time
// that is set, and the next one finds what was there.
func TestStopAndStartAgain(t *testing.T) {
	c := testConfig(t)
	c.ShutdownTimeout = config.Duration(time.Second)
	s := serve(t, c)
	ctx := context.Background()
	d, err := s.Demo(ctx, "mallard")
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := s.Certificate().Fingerprint()

	idle := s.dial(serviceIMAP, true)
	idle.expect("* OK")
	idle.say("a LOGIN "+d.Address+" "+d.Password, "a OK")
	if got := idle.say("b SELECT INBOX", "* 3 EXISTS"); got == "" {
		t.Error("the samples are not there")
	}
	idle.expect("b OK")
	idle.say("c IDLE", "+ ")
	lmtp := s.dial(serviceLMTP, false)
	lmtp.expect("220")
	lmtp.say("LHLO test", "250 ")
	lmtp.say("MAIL FROM:<>", "250")
	lmtp.say("RCPT TO:<"+d.Address+">", "250")
	lmtp.say("DATA", "354")
	if _, err := io.WriteString(lmtp, "Subject: half of it\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	events, err := s.get("/users/" + d.ID.String() + "/updates")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	half, err := net.Dial("tcp", s.address(serviceIMAP, true)) // no handshake
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()

	took := clocktest.Took(func() { err = s.stop() })
	if err != nil {
		t.Error(err)
	}
	if took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
	idle.expect("* BYE")
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the event stream ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Store.Path, "control.sock")); err == nil {
		t.Error("the control socket was left behind")
	}

	again := serve(t, c)
	if again.Certificate().Fingerprint() != fingerprint {
		t.Error("there is another certificate")
	}
	key, err := os.Stat(filepath.Join(c.Store.Path, "selfsigned.key"))
	if err != nil {
		t.Fatal(err)
	}
	if key.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v", key.Mode())
	}
	d2, err := again.Demo(ctx, "mallard")
	if err != nil {
		t.Fatal(err)
	}
	if *d2 != *d {
		t.Errorf("demo account %+v, before %+v", d2, d)
	}
	reader := again.dial(serviceIMAP, true)
	reader.say("a LOGIN "+d.Address+" "+d.Password, "a OK")
	reader.say("b SELECT INBOX", "* 3 EXISTS")
	if n, err := again.CountAccounts(ctx); err != nil || n != 1 {
		t.Errorf("%d accounts, error %v", n, err)
	}
}

// What the first start was interrupted in, the next one finishes.
func TestDemoIsFinished(t *testing.T) {
	c := testConfig(t)
	c.LMTP.Enabled = false
	s := serve(t, c)
	ctx := context.Background()
	d, err := s.Demo(ctx, "mallard")
	if err != nil || d.Password == "" {
		t.Fatalf("account %+v, error %v", d, err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	c.LMTP.Enabled, c.LMTP.Secure = true, true
	s = serve(t, c)
	for range 2 {
		if d2, err := s.Demo(ctx, "mallard"); err != nil || *d2 != *d {
			t.Errorf("account %+v, error %v", d2, err)
		}
	}
	box, err := s.mailboxes.Lookup(ctx, d.ID, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.mailboxes.Counters(ctx, d.ID, box.ID); err != nil || c[box.ID].Messages != 3 {
		t.Errorf("counters %+v, error %v", c, err)
	}
	// A user of this name whom somebody else made keeps password and mail.
	if err := os.Remove(filepath.Join(c.Store.Path, demoFile)); err != nil {
		t.Fatal(err)
	}
	if d2, err := s.Demo(ctx, "mallard"); err != nil || d2.Password != "" {
		t.Errorf("account %+v, error %v", d2, err)
	}
}

// When one port is taken the others are given back, and every one that is taken is
// told.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := testConfig(t)
	c.LMTP.Port = freeport.Take(t, 1)[0]
	c.API.Port = taken.Addr().(*net.TCPAddr).Port
	c.IMAP.Interfaces[0].Port = c.API.Port
	n, err := Open(context.Background(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	err = n.Listen()
	for _, want := range []string{
		fmt.Sprintf("API cannot listen on 127.0.0.1:%d", c.API.Port), "set host and port in [api] (or MALLARD_API_PORT)",
		"IMAP cannot listen on", "[[imap.interface]] (or MALLARD_IMAP_INTERFACE_1_PORT)",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not hold %q", err, want)
		}
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.LMTP.Port))
	if err != nil {
		t.Fatalf("the port of LMTP was kept: %v", err)
	}
	_ = l.Close()
}

// A store can be open once; the second one says so.
func TestTwoNodes(t *testing.T) {
	c := testConfig(t)
	serve(t, c)
	n, err := Open(context.Background(), c, Options{})
	if err == nil {
		_ = n.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("error %v", err)
	}
}

func TestDirectories(t *testing.T) {
	c := testConfig(t)
	dir := t.TempDir()
	c.Store.Path = filepath.Join(dir, "a", "b", "c") // parents are made, for the owner alone
	n, err := Open(context.Background(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(c.Store.Path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "x")} {
		c.Store.Path = path
		if _, err := Open(context.Background(), c, Options{}); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "path in [store]") {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

func TestLimitsOfTheConfiguration(t *testing.T) {
	c := testConfig(t)
	c.IMAP.MaxClients, c.LMTP.MaxClientsPerIP, c.API.MaxClients = 1, 1, 1
	c.IMAP.Interfaces[0].MaxLineLength = 1024
	s := serve(t, c)

	first := s.dial(serviceIMAP, false)
	first.expect("* OK")
	s.dial(serviceIMAP, false).expect("* BYE Too many connections")

	lmtp := s.dial(serviceLMTP, false)
	lmtp.expect("220")
	s.dial(serviceLMTP, false).expect("421 4.3.2 Too many connections")

	api, err := net.Dial("tcp", s.address(serviceAPI, false))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if _, err := io.WriteString(api, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(api).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("answer %q, error %v", line, err)
	}
	s.dial(serviceAPI, false).expect("HTTP/1.1 503 ")

	_ = first.Close()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		line, _ := s.dial(serviceIMAP, false).r.ReadString('\n')
		if strings.HasPrefix(line, "* OK") {
			return
		}
	}
	t.Error("a connection that is over still counts")
}

func TestTimeToLogIn(t *testing.T) {
	c := testConfig(t)
	c.IMAP.LoginTimeout = config.Duration(300 * time.Millisecond)
	client := serve(t, c).dial(serviceIMAP, false)
	client.expect("* OK")
	client.expect("* BYE")
}

func TestCapabilitiesOfPorts(t *testing.T) {
	c := testConfig(t)
	c.IMAP.Interfaces = append(c.IMAP.Interfaces, c.IMAP.Interfaces[0], c.IMAP.Interfaces[0])
	c.IMAP.Interfaces[1].Secured = true
	c.IMAP.Interfaces[2].DisableSTARTTLS = true
	c.IMAP.Enabled = true
	s := serve(t, c)
	var start []bool
	for _, a := range s.Addresses() {
		if a.Service != serviceIMAP || a.Secure {
			continue
		}
		nc, err := net.Dial("tcp", a.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
		cc := &conn{Conn: nc, t: t, r: bufio.NewReader(nc)}
		cc.expect("* OK")
		offered := strings.Contains(cc.say("a CAPABILITY", "* CAPABILITY"), "STARTTLS")
		if offered != a.StartTLS {
			t.Errorf("%s: STARTTLS %v, told %v", a.Addr, offered, a.StartTLS)
		}
		start = append(start, offered)
	}
	if fmt.Sprint(start) != "[true false false]" {
		t.Errorf("STARTTLS is offered: %v", start)
	}
}

// Each service can have a certificate of its own, and takes a new one while it runs.
func TestCertificates(t *testing.T) {
	own := t.TempDir()
	if _, err := tlsconf.SelfSigned(own, []string{"imap.example.org"}); err != nil {
		t.Fatal(err)
	}
	c := testConfig(t)
	c.IMAP.TLS = config.Pair{Key: filepath.Join(own, "selfsigned.key"), Cert: filepath.Join(own, "selfsigned.crt")}
	c.LMTP.Secure, c.API.Secure = true, true
	c.TLS.MinVersion = "1.3"
	s := serve(t, c)
	name := func(service string) string {
		t.Helper()
		tc, err := tls.Dial("tcp", s.address(service, true), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer tc.Close()
		if v := tc.ConnectionState().Version; v != tls.VersionTLS13 {
			t.Errorf("%s: TLS version %x", service, v)
		}
		return tc.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if name(serviceIMAP) != "imap.example.org" || name(serviceLMTP) == "imap.example.org" || name(serviceAPI) != name(serviceLMTP) {
		t.Errorf("certificates of %s, %s, %s", name(serviceIMAP), name(serviceLMTP), name(serviceAPI))
	}
	if _, err := tls.Dial("tcp", s.address(serviceIMAP, true), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
	for _, file := range []string{c.IMAP.TLS.Key, c.IMAP.TLS.Cert} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.ReloadCertificates(); err == nil || !strings.Contains(err.Error(), c.IMAP.TLS.Cert) {
		t.Errorf("error %v", err)
	}
	if name(serviceIMAP) != "imap.example.org" {
		t.Error("the certificate is gone")
	}
	if _, err := tlsconf.SelfSigned(own, []string{"new.example.org"}); err != nil {
		t.Fatal(err)
	}
	if err := s.ReloadCertificates(); err != nil {
		t.Error(err)
	}
	if name(serviceIMAP) != "new.example.org" {
		t.Error("the new certificate is not used")
	}
}

// A certificate that is not there is an error that names the table.
func TestCertificateErrors(t *testing.T) {
	for _, tt := range []struct {
		set   func(c *config.Config, p config.Pair)
		table string
	}{
		{func(c *config.Config, p config.Pair) { c.IMAP.TLS = p }, "[imap.tls]"},
		{func(c *config.Config, p config.Pair) { c.LMTP.TLS = p }, "[lmtp.tls]"},
		{func(c *config.Config, p config.Pair) { c.API.TLS = p }, "[api.tls]"},
		{func(c *config.Config, p config.Pair) { c.TLS.Key, c.TLS.Cert = p.Key, p.Cert }, "[tls]"},
	} {
		c := testConfig(t)
		tt.set(c, config.Pair{Key: "/no/key", Cert: "/no/cert"})
		n, err := Open(context.Background(), c, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = n.Listen()
		if err == nil || !strings.Contains(err.Error(), "/no/cert") || !strings.Contains(err.Error(), tt.table) {
			t.Errorf("%s: error %v", tt.table, err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is configured and probably not meant is in the log.
func TestWarningsAreLogged(t *testing.T) {
	c := testConfig(t)
	c.LMTP.Host = "0.0.0.0"
	s := serve(t, c)
	if !strings.Contains(s.log.String(), "can deliver mail without a password") {
		t.Errorf("log %q", s.log)
	}
}

// A store that is opened to be read serves commands, and cannot be changed.
func TestReadOnly(t *testing.T) {
	c := testConfig(t)
	if _, err := Open(context.Background(), c, Options{ReadOnly: true}); err == nil {
		t.Error("there is nothing to read")
	}
	if _, err := os.Stat(c.Store.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	n, err := Open(context.Background(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n, err = Open(context.Background(), c, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	cl, err := n.Control()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Call(context.Background(), http.MethodGet, "/users", nil, nil); err != nil {
		t.Error(err)
	}
	in := map[string]string{"username": "jane", "password": "secret"}
	if err := cl.Call(context.Background(), http.MethodPost, "/users", in, nil); err == nil {
		t.Error("a user was made")
	}
}
