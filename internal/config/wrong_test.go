package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Mistakes that people make, and what they are told.
func TestErrorsNameFileLineAndWhatIsAllowed(t *testing.T) {
	for _, tt := range []struct {
		text string
		env  string
		want []string
	}{
		// unknown keys and tables
		{"[imap]\nprot = 3\n", "", []string{"mallard.toml:2: unknown key \"imap.prot\" in [imap]; allowed are: ", "[[imap.interface]], [imap.tls]", "port, secure"}},
		{"\n\nport = 3\n", "", []string{"mallard.toml:3: unknown key \"port\" at the top level", "[imap]", "emailDomain"}},
		{"[nonsense]\na = 1\n", "", []string{"mallard.toml:", "nonsense", "[imap]"}},
		{"[IMAP]\nport = 1\n", "", []string{"mallard.toml:1: unknown key \"IMAP\" at the top level", "[imap]"}},
		{"[imap]\nport = 1\nPort = 2\n", "", []string{"mallard.toml:3: unknown key \"imap.Port\" in [imap]", "port"}},
		{"[[imap.interface]]\nport = 1\n[[imap.interface]]\nPort = 2\n", "", []string{"mallard.toml:4: unknown key \"imap.interface.Port\""}},
		{"imap = {Port = 2}\n", "", []string{"mallard.toml:", "imap.Port"}},
		{"[[imap.interface]]\nport = 1\nmaxMB = 3\n", "", []string{"mallard.toml:3", "imap.interface.maxMB", "disableSTARTTLS, enabled, host"}},
		{"[imap.tls]\nkeys = \"x\"\n", "", []string{"mallard.toml:2", "[imap.tls]", "cert, key"}},
		{"a = 1\nb = 2\n", "", []string{"mallard.toml:1: unknown key \"a\"", "mallard.toml:2: unknown key \"b\""}},
		// wrong types
		{"[imap]\nport = \"x\"\n", "", []string{"mallard.toml:2:", "imap.port: this needs a whole number from 0 to 65535"}},
		{"[imap]\nport = 9.5\n", "", []string{"mallard.toml:2:", "imap.port: this needs a whole number"}},
		{"[imap]\nport = [1]\n", "", []string{"mallard.toml:2:", "imap.port"}},
		{"[imap]\nsecure = \"yes\"\n", "", []string{"mallard.toml:2:", "imap.secure: this needs true or false"}},
		{"[imap]\nsecure = 1\n", "", []string{"mallard.toml:2:", "true or false"}},
		{"[imap]\nidleTimeout = \"soon\"\n", "", []string{"mallard.toml:2:", "imap.idleTimeout: this needs a time such as \"90s\"", "1m to 168h"}},
		{"[imap]\nidleTimeout = 35\n", "", []string{"mallard.toml:2:", "imap.idleTimeout: this needs a time"}},
		{"[lmtp]\nname = false\n", "", []string{"mallard.toml:2:", "lmtp.name: this needs a text in quotes"}},
		{"[api.cors]\norigins = \"*\"\n", "", []string{"mallard.toml:2:", "api.cors.origins: this needs a list of texts"}},
		{"[[imap.interface]]\nport = \"x\"\n", "", []string{"mallard.toml:2:", "imap.interface.port: this needs a whole number"}},
		{"imap = 3\n", "", []string{"mallard.toml:1:", "imap: this is a table: write [imap]"}},
		{"[store]\ncacheMB = 99999999999999999999\n", "", []string{"mallard.toml:2:"}},
		// no TOML
		{"x = = 2\n", "", []string{"mallard.toml:1:", "not TOML"}},
		{"[imap\nport = 1\n", "", []string{"mallard.toml:1:", "not TOML"}},
		{"[imap]\nport = 1\nport = 2\n", "", []string{"mallard.toml:"}},
		{"port: 3\n", "", []string{"mallard.toml:1:", "not TOML"}},
		{"\xff\xfe", "", []string{"mallard.toml"}},
		// values
		{"[imap]\nport = 99999\n", "", []string{"mallard.toml:2: imap.port: 99999 is not a port; use 0 to 65535"}},
		{"[[imap.interface]]\nport = 1\n[[imap.interface]]\n\nport = 65536\n", "", []string{"mallard.toml:5: imap.interface.2.port: 65536 is not a port"}},
		{"[imap]\nport = -1\n", "", []string{"mallard.toml:2: imap.port: -1 is not a port"}},
		{"[imap]\nmaxLineLength = 10\n", "", []string{"mallard.toml:2: imap.maxLineLength: 10 is out of range; use 1024 to"}},
		{"[[imap.interface]]\nport = 1\nmaxLineLength = 10\n", "", []string{"mallard.toml:3: imap.interface.1.maxLineLength: 10 is out of range; use 1024 to"}},
		{"[imap]\nidleTimeout = \"1ms\"\n", "", []string{"mallard.toml:2: imap.idleTimeout: 1ms is out of range; use 1m to 168h"}},
		{"[log]\nlevel = \"loud\"\n", "", []string{"mallard.toml:2: log.level: \"loud\" is not allowed; use one of debug, info, warn, error"}},
		{"[log]\nformat = \"xml\"\n", "", []string{"mallard.toml:2", "text, json"}},
		{"[tls]\nminVersion = \"1.0\"\n", "", []string{"mallard.toml:2", "1.2, 1.3"}},
		{"[store]\nmemTableMB = 1\n", "", []string{"mallard.toml:2: store.memTableMB: 1 is out of range; use 4 to"}},
		{"[store]\npath = \"\"\n", "", []string{"mallard.toml:2: store.path: a directory is needed"}},
		{"[tls]\nkey = \"a\"\n", "", []string{"mallard.toml:2: tls.key", "go together"}},
		{"[tls]\ncert = \"a\"\n", "", []string{"mallard.toml:2: tls.cert", "go together"}},
		{"[imap.tls]\nkey = \"a\"\n", "", []string{"mallard.toml:2: imap.tls.key", "go together"}},
		{"[imap]\nsecured = true\n", "", []string{"mallard.toml:2: imap.secured"}},
		{"[api.accessControl]\ntokenTTL = 10\ntokenLifetime = 5\n", "", []string{"mallard.toml:2: api.accessControl.tokenTTL", "tokenLifetime"}},
		{"[auth]\nipExempt = [\"here\"]\n", "", []string{"mallard.toml:2: auth.ipExempt", "192.0.2.0/24"}},
		{"[debug]\nprofile = \"0.0.0.0:6060\"\n", "", []string{"mallard.toml:2: debug.profile", "loopback"}},
		{"[debug]\nprofile = \"6060\"\n", "", []string{"mallard.toml:2: debug.profile", "127.0.0.1:6060"}},
		{"[api]\nport = 2424\n", "", []string{"mallard.toml:2: api.port: 127.0.0.1:2424 is also the address of lmtp"}},
		{"[[imap.interface]]\nport = 9993\n", "", []string{"mallard.toml:2: imap.interface.1.port", "imap"}},
		// doors that are open
		{"[api]\nhost = \"0.0.0.0\"\n", "", []string{"mallard.toml:2: api.host", "accessToken in [api]"}},
		{"[api]\nhost = \"::\"\n", "", []string{"mallard.toml:2: api.host"}},
		{"[api]\nhost = \"\"\n", "", []string{"mallard.toml:2: api.host"}},
		{"[api]\nhost = \"mail.example.org\"\n", "", []string{"mallard.toml:2: api.host"}},
		{"[api]\naccessToken = \"[redacted]\"\n", "", []string{"mallard.toml:2: api.accessToken", "--secrets"}},
		// WildDuck's
		{"[imap]\n# @include \"imap.toml\"\n", "", []string{"mallard.toml:2", "\"imap.toml\"", "docs/configuration.md"}},
		{"processes = 2\n", "", []string{"mallard.toml:1: \"processes\" is a key of WildDuck: one process uses all processors"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\n", "", []string{"dbs.redis: a cluster needs Redis", "redis://127.0.0.1:6379/3"}},
		{"[dbs]\nredis = \"redis://127.0.0.1\"\n", "", []string{"mallard.toml:2: dbs.redis: it goes with mongo", "mongodb://127.0.0.1:27017/wildduck"}},
		{"[dbs]\nmongo = \"127.0.0.1\"\nredis = \"redis://127.0.0.1\"\n", "", []string{"mallard.toml:2: dbs.mongo: this needs a URL"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/\"\nredis = \"redis://127.0.0.1\"\n", "", []string{"mallard.toml:2: dbs.mongo: the URL names no database"}},
		{"[dbs]\nmongo = \"mongodb://a:b/c@127.0.0.1,127.0.0.2?x=/y\"\nredis = \"redis://127.0.0.1\"\n", "", []string{"mallard.toml:2: dbs.mongo: the URL names no database"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\nredis = \"redis://127.0.0.1\"\nusers = \"mongodb://127.0.0.1\"\n", "", []string{"mallard.toml:4: dbs.users: the URL names no database"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\nredis = \"redis://127.0.0.1\"\ngridfs = \"127.0.0.1:27017/x\"\n", "", []string{"mallard.toml:4: dbs.gridfs: this needs a URL"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\nredis = \"redis://127.0.0.1\"\n", "MALLARD_DBS_SENDER=mongodb://127.0.0.1/?a=b", []string{"environment: MALLARD_DBS_SENDER: the URL names no database"}},
		{"[dbs]\nmongo = \"mongodb://a:[redacted]@127.0.0.1/x\"\nredis = \"redis://127.0.0.1\"\n", "", []string{"mallard.toml:2: dbs.mongo: [redacted] stands for a secret"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\nredis = {host = \"a\", password = \"[redacted]\"}\n", "", []string{"mallard.toml:3: dbs.redis: [redacted] stands for a secret"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\nredis = \"localhost\"\n", "", []string{"mallard.toml:3: dbs.redis: this is not a URL such as"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\nredis = 6379\n", "", []string{"mallard.toml:3: dbs.redis: this needs a URL", "or a table"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\nredis = {hots = \"a\", db = \"3\"}\n", "", []string{"mallard.toml:3: dbs.redis: dbs.redis.hots: unknown key; allowed are host, port", "mallard.toml:3: dbs.redis: dbs.redis.db: this needs a number"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\n[dbs.redis]\nhost = \"a\"\nprot = 1\n", "", []string{"mallard.toml:5: dbs.redis.prot: unknown key; allowed are host, port"}},
		{"[dbs]\nmongo = \"mongodb://127.0.0.1/x\"\n", "MALLARD_DBS_REDIS=redis://a:x", []string{"environment: MALLARD_DBS_REDIS: this is not a URL"}},
		{"[dbs]\ndeadAfter = \"33s\"\n", "", []string{"mallard.toml:2: dbs.deadAfter: a node that waits for MongoDB", "33s"}},
		{"[dbs]\ndeadAfter = \"34s\"\nlease = \"5s\"\n", "", []string{"mallard.toml:2: dbs.deadAfter", "35s"}},
		{"[dbs]\nqueued = 1\n", "", []string{"mallard.toml:2: \"dbs.queued\" is a key of WildDuck"}},
		{"[dbs]\nMongo = \"x\"\n", "", []string{"mallard.toml:2: unknown key \"dbs.Mongo\" in [dbs]", "mongo, redis"}},
		{"[attachments]\ntype = \"s3\"\n", "", []string{"mallard.toml:2: attachments.type", "gridstore"}},
		{"[imap]\nuseProxy = true\n", "", []string{"mallard.toml:2:", "imap.useProxy: this needs a list such as [\"192.0.2.10\""}},
		{"[imap]\nuseProxy = [\"haproxy\"]\n", "", []string{"mallard.toml:2: imap.useProxy: \"haproxy\" is not an address or a network, such as 192.0.2.10"}},
		{"[[imap.interface]]\nport = 1\nuseProxy = [\"10.0.0.0/33\"]\n", "", []string{"mallard.toml:3: imap.interface.1.useProxy"}},
		{"", "MALLARD_LMTP_USEPROXY=10.0.0.1,x", []string{"environment: MALLARD_LMTP_USEPROXY", "\"x\" is not an address"}},
		// environment
		{"", "MALLARD_IMAP_PROT=1", []string{"MALLARD_IMAP_PROT", "names no key"}},
		{"", "MALLARD_IMAP_PORT=x", []string{"MALLARD_IMAP_PORT", "whole number from 0 to 65535"}},
		{"", "MALLARD_IMAP_PORT=", []string{"MALLARD_IMAP_PORT", "whole number"}},
		{"", "MALLARD_IMAP_SECURE=ja", []string{"MALLARD_IMAP_SECURE", "true or false"}},
		{"", "MALLARD_IMAP_IDLETIMEOUT=35", []string{"MALLARD_IMAP_IDLETIMEOUT", "90s"}},
		{"", "MALLARD_IMAP_PORT=70000", []string{"environment: MALLARD_IMAP_PORT: 70000"}},
		{"[imap]\nport = 1\n", "MALLARD_IMAP_PORT=70000", []string{"environment: MALLARD_IMAP_PORT: 70000"}},
		{"", "MALLARD_IMAP_INTERFACE_1_PORT=70000", []string{"environment: MALLARD_IMAP_INTERFACE_1_PORT: 70000"}},
		{"", "MALLARD_IMAP_INTERFACE=1", []string{"names no key"}},
	} {
		_, err := load(t, tt.text, tt.env)
		if err == nil {
			t.Errorf("%q %q: no error", tt.text, tt.env)
			continue
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q %q: error %q does not hold %q", tt.text, tt.env, err, w)
			}
		}
		if strings.Contains(err.Error(), "config.") {
			t.Errorf("%q %q: error %q speaks of the program", tt.text, tt.env, err)
		}
	}
}

// The limits of every number and every time hold at both ends, and the error names
// the line and the limits.
func TestEveryRange(t *testing.T) {
	numbers := 0
	for _, k := range Default().keys() {
		switch k.value.Interface().(type) {
		case int, int64, Duration:
			numbers++
			testRange(t, k)
		}
	}
	if numbers < 40 {
		t.Errorf("only %d numbers were found", numbers)
	}
}

func testRange(t *testing.T, k key) {
	t.Helper()
	low, high, ok := strings.Cut(k.field.Tag.Get("range"), "..")
	if !ok {
		t.Errorf("%s has no range", k.path)
		return
	}
	below, above := before(t, k, low), after(t, k, high)
	table, name := "", k.path
	if i := strings.LastIndexByte(k.path, '.'); i >= 0 {
		table, name = k.path[:i], k.path[i+1:]
	}
	header := "[" + table + "]"
	switch {
	case table == "":
		header = "# top"
	case strings.HasPrefix(table, interfaceTable):
		header = "[[" + interfaceTable + "]]"
	}
	for _, value := range []string{below, above} {
		_, err := load(t, fmt.Sprintf("%s\n%s = %s\n", header, name, value))
		if err == nil || !strings.Contains(err.Error(), "mallard.toml:2: "+k.path+": ") || !strings.Contains(err.Error(), high) {
			t.Errorf("%s = %s: error %v", k.path, value, err)
		}
	}
	if _, err := load(t, fmt.Sprintf("%s\n%s = %s\n", header, name, quoted(k, high))); err != nil && !strings.Contains(err.Error(), "tokenLifetime") && !strings.Contains(err.Error(), "dbs.timeout") {
		t.Errorf("%s = %s: error %v", k.path, high, err)
	}
}

func quoted(k key, value string) string {
	if k.value.Type() == reflect.TypeFor[Duration]() {
		return strconv.Quote(value)
	}
	return value
}

func before(t *testing.T, k key, low string) string { return step(t, k, low, -1) }
func after(t *testing.T, k key, high string) string { return step(t, k, high, 1) }

func step(t *testing.T, k key, bound string, by int64) string {
	t.Helper()
	if k.value.Type() == reflect.TypeFor[Duration]() {
		d, err := time.ParseDuration(bound)
		if err != nil {
			t.Fatal(err)
		}
		return strconv.Quote((d + time.Duration(by)).String())
	}
	n, err := strconv.ParseInt(bound, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(n+by, 10)
}
