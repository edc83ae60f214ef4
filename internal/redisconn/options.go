package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults of Options. The server and the database are those of WildDuck's table when a key is left out.
const (
	DefaultHost        = "127.0.0.1"
	DefaultPort        = 6379
	DefaultDB          = 3
	DefaultPoolSize    = 20
	DefaultTimeout     = time.Second
	DefaultDialTimeout = time.Second
	DefaultHeartbeat   = time.Second

	defaultSentinelPort = 26379
	maxDB               = 1 << 16
	maxPoolSize         = 10_000
)

// Options say which Redis to use and how.
type Options struct {
	// Network is tcp, tcp4, tcp6 or unix; empty means tcp.
	Network string
	// Addr is host:port, or the path of a socket. With Sentinels it is not used.
	Addr               string
	Username, Password string
	DB                 int
	TLS                *tls.Config // nil: no TLS

	// Master is the name under which the Sentinels know the server to use.
	Master                             string
	Sentinels                          []string // host:port
	SentinelUsername, SentinelPassword string
	SentinelTLS                        *tls.Config

	// PoolSize is the greatest number of connections for commands. Subscriptions have connections of their own.
	PoolSize int
	// Timeout bounds one call of Do, whatever happens.
	Timeout time.Duration
	// DialTimeout bounds the making of a connection.
	DialTimeout time.Duration
	// Heartbeat is the time between two questions whether Redis still answers.
	Heartbeat time.Duration
	Log       *slog.Logger
}

func (o *Options) setDefaults() {
	if o.Network == "" {
		o.Network = "tcp"
	}
	if o.PoolSize <= 0 {
		o.PoolSize = DefaultPoolSize
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = DefaultDialTimeout
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = DefaultHeartbeat
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Parse reads the value of the key redis in [dbs], as a TOML decoder gives it: a URL, a table, or nil for what WildDuck
// uses without the key. Its forms are those of WildDuck:
//
//   - a URL redis://[user]:password@host:port/db, rediss:// for TLS, unix:///path?db=n. As there, the database of a URL
//     that names none is 0.
//   - a table with host, port, path, username, password, db (3 without it), tls.
//   - a table with name and sentinels, and sentinelUsername, sentinelPassword, sentinelTLS.
//
// An error names the key, and never repeats a password.
func Parse(value any) (Options, error) { return parse(value, true) }

// Check says what Parse would, but reads no certificate: a configuration can be looked at where the files that it names
// are not. The error has a line for each key.
func Check(value any) error {
	_, err := parse(value, false)
	return err
}

func parse(value any, certificates bool) (Options, error) {
	switch v := value.(type) {
	case nil:
		return parseTable(nil, certificates)
	case string:
		return parseURL(v)
	case map[string]any:
		return parseTable(v, certificates)
	}
	return Options{}, errors.New("dbs.redis: this needs a URL such as \"redis://127.0.0.1:6379/3\", or a table")
}

func parseURL(text string) (Options, error) {
	const form = "dbs.redis: this is not a URL such as \"redis://:password@127.0.0.1:6379/3\""
	u, err := url.Parse(text)
	if err != nil { // its text would show the password
		return Options{}, errors.New(form)
	}
	o := Options{Network: "tcp"}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	db := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "redis":
	case "rediss":
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	case "unix":
		o.Network, o.Addr, db = "unix", u.Path, ""
		if o.Addr == "" {
			return Options{}, errors.New("dbs.redis: a unix URL needs the path of a socket")
		}
	default:
		return Options{}, errors.New(form)
	}
	if o.Network == "tcp" {
		if o.Addr, err = hostPort(u); err != nil {
			return Options{}, err
		}
	}
	for key, values := range u.Query() {
		if key != "db" {
			return Options{}, fmt.Errorf("dbs.redis: unknown parameter %q of the URL; allowed is db; other settings need the form of a table", key)
		}
		db = values[len(values)-1]
	}
	if db == "" {
		return o, nil
	}
	if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 || o.DB > maxDB {
		return Options{}, fmt.Errorf("dbs.redis: %q is not the number of a database", db)
	}
	return o, nil
}

func hostPort(u *url.URL) (string, error) {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = DefaultHost
	}
	if port == "" {
		port = strconv.Itoa(DefaultPort)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > math.MaxUint16 {
		return "", fmt.Errorf("dbs.redis: %q is not a port", port)
	}
	return net.JoinHostPort(host, port), nil
}

// A table is read key by key; what is left over is unknown.
type table struct {
	name         string
	rest         map[string]any
	certificates bool // are read
	err          error
}

func newTable(name string, keys map[string]any, certificates bool) *table {
	rest := maps.Clone(keys)
	if rest == nil {
		rest = map[string]any{}
	}
	return &table{name: name, rest: rest, certificates: certificates}
}

func (t *table) bad(key, format string, args ...any) {
	t.err = errors.Join(t.err, fmt.Errorf("%s.%s: %s", t.name, key, fmt.Sprintf(format, args...)))
}

func (t *table) take(key string) (any, bool) {
	v, ok := t.rest[key]
	delete(t.rest, key)
	return v, ok
}

func (t *table) text(key, otherwise string) string {
	v, ok := t.take(key)
	if !ok {
		return otherwise
	}
	s, ok := v.(string)
	if !ok {
		t.bad(key, "this needs a text")
	}
	return s
}

func (t *table) number(key string, otherwise, least, most int) int {
	v, ok := t.take(key)
	if !ok {
		return otherwise
	}
	n, ok := v.(int64)
	if i, isInt := v.(int); isInt {
		n, ok = int64(i), true
	}
	if !ok || n < int64(least) || n > int64(most) {
		t.bad(key, "this needs a number from %d to %d", least, most)
		return otherwise
	}
	return int(n)
}

func (t *table) boolean(key string, otherwise bool) bool {
	v, ok := t.take(key)
	if !ok {
		return otherwise
	}
	b, ok := v.(bool)
	if !ok {
		t.bad(key, "this needs true or false")
	}
	return b
}

// milliseconds reads a duration as WildDuck writes it.
func (t *table) milliseconds(key string) time.Duration {
	return time.Duration(t.number(key, 0, 1, 600_000)) * time.Millisecond
}

// refuse reports the keys that must not be there, each with its reason.
func (t *table) refuse(reasons map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(reasons)) {
		if v, ok := t.take(key); ok && v != "" {
			t.bad(key, "%s", reasons[key])
		}
	}
}

// end reports the keys that nobody took.
func (t *table) end(allowed string) error {
	for _, key := range slices.Sorted(maps.Keys(t.rest)) {
		t.bad(key, "unknown key; allowed are %s", allowed)
	}
	return t.err
}

func parseTable(keys map[string]any, certificates bool) (Options, error) {
	t := newTable("dbs.redis", keys, certificates)
	o := Options{
		Network:  "tcp",
		Username: t.text("username", ""), Password: t.text("password", ""),
		DB:          t.number("db", DefaultDB, 0, maxDB),
		Master:      t.text("name", ""),
		PoolSize:    t.number("poolSize", 0, 1, maxPoolSize),
		Timeout:     t.milliseconds("commandTimeout"),
		DialTimeout: t.milliseconds("connectTimeout"),
	}
	host, port := t.text("host", DefaultHost), t.number("port", DefaultPort, 1, math.MaxUint16)
	o.Addr = net.JoinHostPort(host, strconv.Itoa(port))
	switch t.number("family", 0, 0, 6) {
	case 4:
		o.Network = "tcp4"
	case 6:
		o.Network = "tcp6"
	}
	if path := t.text("path", ""); path != "" {
		o.Network, o.Addr = "unix", path
	}
	o.TLS = t.tls("tls")
	if o.TLS != nil && o.TLS.ServerName == "" {
		o.TLS.ServerName = host
	}
	t.sentinels(&o)
	t.refuse(map[string]string{
		"keyPrefix": "keys have no prefix: other nodes would not find them",
		"role":      "only the master can be used; leave it out",
		"natMap":    "the addresses that the Sentinels tell must be reachable; leave it out",
	})
	return o, t.end("host, port, path, family, username, password, db, tls, name, sentinels, sentinelUsername, sentinelPassword, sentinelTLS, enableTLSForSentinelMode, connectTimeout, commandTimeout, poolSize")
}

func (t *table) sentinels(o *Options) {
	o.SentinelUsername, o.SentinelPassword = t.text("sentinelUsername", ""), t.text("sentinelPassword", "")
	o.SentinelTLS = t.tls("sentinelTLS")
	serverTLS := t.boolean("enableTLSForSentinelMode", false)
	list, given := t.take("sentinels")
	switch {
	case given:
		o.Sentinels = t.sentinelList(list)
		if o.Master == "" {
			t.bad("name", "sentinels need the name of the master")
		}
		if !serverTLS && o.TLS != nil {
			t.bad("enableTLSForSentinelMode", "set it to true to use tls with the server that the Sentinels name, or leave tls out")
		}
		if o.TLS != nil && o.TLS.ServerName == DefaultHost {
			o.TLS.ServerName = "" // of each server its own, unless it was set
		}
	case o.Master != "":
		t.bad("sentinels", "name is for Sentinels, of which none is listed")
	}
}

func (t *table) sentinelList(v any) []string {
	list, ok := v.([]any)
	if tables, isTables := v.([]map[string]any); isTables {
		ok = true
		for _, one := range tables {
			list = append(list, one)
		}
	}
	if !ok || len(list) == 0 {
		t.bad("sentinels", "this needs a list such as [{host = \"10.0.0.1\", port = 26379}]")
		return nil
	}
	var out []string
	for i, v := range list {
		keys, ok := v.(map[string]any)
		one := newTable(fmt.Sprintf("%s.sentinels.%d", t.name, i+1), keys, t.certificates)
		host := one.text("host", "")
		if !ok || host == "" {
			one.bad("host", "each Sentinel needs a host")
		}
		out = append(out, net.JoinHostPort(host, strconv.Itoa(one.number("port", defaultSentinelPort, 1, math.MaxUint16))))
		t.err = errors.Join(t.err, one.end("host, port"))
	}
	return out
}

// tls reads true, false or a table of certificates, each as PEM text or the name of a file.
func (t *table) tls(key string) *tls.Config {
	v, ok := t.take(key)
	if !ok {
		return nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if on, isBool := v.(bool); isBool {
		if !on {
			return nil
		}
		return cfg
	}
	keys, ok := v.(map[string]any)
	if !ok {
		t.bad(key, "this needs true, false or a table")
		return nil
	}
	s := newTable(t.name+"."+key, keys, t.certificates)
	cfg.ServerName = s.text("servername", "")
	cfg.InsecureSkipVerify = !s.boolean("rejectUnauthorized", true)
	if pem := s.pem("ca"); pem != nil {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			s.bad("ca", "there is no certificate in it")
		}
	}
	cert, private := s.pem("cert"), s.pem("key")
	if cert != nil || private != nil {
		pair, err := tls.X509KeyPair(cert, private)
		if err != nil {
			s.bad("cert", "cert and key are not a pair: %v", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	t.err = errors.Join(t.err, s.end("ca, cert, key, servername, rejectUnauthorized"))
	return cfg
}

func (t *table) pem(key string) []byte {
	text := t.text(key, "")
	if !t.certificates {
		return nil
	}
	if text == "" || strings.Contains(text, "-----BEGIN ") {
		return textOrNil(text)
	}
	b, err := os.ReadFile(text)
	if err != nil {
		t.bad(key, "%v", err)
	}
	return b
}

func textOrNil(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
