package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, text string, env ...string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mallard.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file, env)
}

func TestLoad(t *testing.T) {
	c, err := load(t, `
maxStorage = 5
[imap]
port = 1143
secure = false
ignoreSTARTTLS = true
idleTimeout = "40m"
[[imap.interface]]
enabled = true
host = "::1"
port = 1993
secure = true
[store]
path = "/var/lib/mallard"
`, "MALLARD_IMAP_PORT=2143", "MALLARD_API_ACCESSCONTROL_ENABLED=true", "HOME=/", "MALLARD_CI=1")
	if err != nil {
		t.Fatal(err)
	}
	if c.IMAP.Port != 2143 || c.IMAP.Secure || !c.IMAP.IgnoreSTARTTLS || !c.API.AccessControl.Enabled {
		t.Errorf("imap %+v api %+v", c.IMAP, c.API)
	}
	if len(c.IMAP.Interfaces) != 1 || c.IMAP.Interfaces[0].Port != 1993 {
		t.Errorf("interfaces %+v", c.IMAP.Interfaces)
	}
	if c.LMTP.Port != 2424 {
		t.Error("a default was lost")
	}
}

// What is printed can be read again and gives the same configuration, secrets apart.
func TestPrintRoundTrip(t *testing.T) {
	c := Default()
	c.API.AccessToken = "very secret"
	c.API.CORS.Origins = []string{"https://a.example", "https://b.example"}
	c.Auth.IPExempt = []string{"192.0.2.0/24"}
	c.IMAP.Interfaces = append(c.IMAP.Interfaces, Interface{Listener: Listener{Host: "::1", Port: 1993, Secure: true, UseProxy: []string{"*"}}, MaxLineLength: 2000})
	var b bytes.Buffer
	if err := c.Print(&b, false); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "very secret") {
		t.Error("a secret was printed")
	}
	// What stands for it must never become a token that everybody knows.
	if _, err := load(t, b.String()); err == nil || !strings.Contains(err.Error(), "api.accessToken: [redacted] stands for a secret") {
		t.Errorf("what stands for a secret was taken for one: %v", err)
	}
	b.Reset()
	if err := c.Print(&b, true); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if !reflect.DeepEqual(c, again) {
		t.Errorf("printed:\n%s\nread: %+v", b.String(), again)
	}
}

// Passwords in URLs and tables are not printed, and what is printed says everything else.
func TestPrintDatabases(t *testing.T) {
	const file = `[dbs]
mongo = "mongodb://jane:p%%40ss@10.0.0.1:27017,10.0.0.2:27017/wildduck?replicaSet=rs0"
users = "mongodb://x:y:z/@w@10.0.0.3/users"
gridfs = "attachments"
redis = %s
`
	for _, tt := range []struct {
		redis  string
		hidden []string
		shown  []string
	}{
		{`"rediss://:hushhush@10.0.0.1:6379/3"`, []string{"hushhush"}, []string{"redis = 'rediss://:[redacted]@10.0.0.1:6379/3'"}},
		{`"redis://10.0.0.1:6379/3"`, nil, []string{"redis = 'redis://10.0.0.1:6379/3'"}},
		{`{host = "10.0.0.1", port = 6379, password = "hushhush", db = 3}`, []string{"hushhush"}, []string{"host = '10.0.0.1'", "password = '[redacted]'", "db = 3"}},
		{"{name = \"mymaster\", sentinelPassword = \"hush1\", password = \"hush2\", sentinels = [{host = \"10.0.0.1\", port = 26379}], tls = {key = \"hush3\", ca = \"/ca\"}, enableTLSForSentinelMode = true}",
			[]string{"hush1", "hush2", "hush3"}, []string{"sentinels = [{host = '10.0.0.1', port = 26379}]", "ca = '/ca'"}},
	} {
		c, err := load(t, fmt.Sprintf(file, tt.redis))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := c.Print(&b, false); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		for _, secret := range append(tt.hidden, "p%40ss", "y:z", "@w@") {
			if strings.Contains(out, secret) {
				t.Errorf("%s: %q was printed", tt.redis, secret)
			}
		}
		for _, want := range append(tt.shown, "mongodb://jane:[redacted]@10.0.0.1:27017,10.0.0.2:27017/wildduck?replicaSet=rs0", "mongodb://x:[redacted]@10.0.0.3/users", "gridfs = 'attachments'") {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", tt.redis, want, out)
			}
		}
		if _, err := load(t, out); err == nil {
			t.Errorf("%s: what stands for a secret was taken for one", tt.redis)
		}
		b.Reset()
		if err := c.Print(&b, true); err != nil {
			t.Fatal(err)
		}
		again, err := load(t, b.String())
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%s: printed\n%s\nread %+v, error %v", tt.redis, b.String(), again, err)
		}
	}
	if c, err := load(t, "", "MALLARD_DBS_MONGO=mongodb://127.0.0.1/x", "MALLARD_DBS_REDIS=redis://127.0.0.1/3"); err != nil || !c.Cluster() || c.DBs.Redis != "redis://127.0.0.1/3" {
		t.Errorf("from the environment: %+v, error %v", c, err)
	}
}

// Every key can be set in the file and by a variable, and both say the same.
func TestEveryKeyInFileAndEnvironment(t *testing.T) {
	c := Default()
	for _, k := range c.keys() {
		switch v := k.value; k.value.Kind() {
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.String:
			if k.field.Tag.Get("allow") == "" && v.String() != "" {
				v.SetString(v.String() + "x")
			}
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		default:
		}
	}
	c.Log.Format, c.TLS.MinVersion = "json", "1.3"
	c.API.Host, c.IMAP.Host, c.LMTP.Host, c.IMAP.Interfaces[0].Host = "::1", "::1", "::1", "::1"
	c.IMAP.Interfaces[0].MaxLineLength = 2000
	for _, k := range c.keys() {
		if d, ok := k.value.Interface().(Duration); ok { // a nanosecond is nothing that people write
			k.value.SetInt(int64(d / 1e6 * 1e6))
		}
	}
	c.IMAP.Secured, c.LMTP.Secured, c.IMAP.Interfaces[0].Secured = true, false, false
	c.DBs.Mongo, c.DBs.Redis, c.Attachments.Bucket = "mongodb://a/b", "redis://c", "d"
	c.API.AccessToken, c.Debug.Profile = "t", "127.0.0.1:6060"
	c.API.CORS.Origins, c.Auth.IPExempt = []string{"a", "b"}, []string{"192.0.2.1"}
	c.IMAP.UseProxy, c.LMTP.UseProxy = []string{"192.0.2.1", "2001:db8::/32"}, []string{"*"}

	var file bytes.Buffer
	if err := c.Print(&file, true); err != nil {
		t.Fatal(err)
	}
	fromFile, err := load(t, file.String())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, fromFile) {
		t.Errorf("want %+v\nfile %+v", c, fromFile)
	}
	var env []string
	for _, k := range c.keys() {
		text := fmt.Sprint(k.value.Interface())
		switch v := k.value.Interface().(type) {
		case []string:
			text = strings.Join(v, ",")
		case Duration:
			text = time.Duration(v).String()
		}
		env = append(env, EnvName(k.path)+"="+text)
	}
	fromEnv, err := load(t, "", env...)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, fromEnv) {
		t.Errorf("want %+v\nenv  %+v", c, fromEnv)
	}
}

func TestInterfaces(t *testing.T) {
	// What a port leaves out is not "off" and not "for everybody".
	c, err := load(t, "[[imap.interface]]\nport = 1\n[[imap.interface]]\nport = 2\nhost = \"::\"\nenabled = false\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Interface{
		{Listener: Listener{Enabled: true, Host: "127.0.0.1", Port: 1, UseProxy: []string{}}},
		{Listener: Listener{Enabled: false, Host: "::", Port: 2, UseProxy: []string{}}},
	}
	if !reflect.DeepEqual(c.IMAP.Interfaces, want) {
		t.Errorf("interfaces %+v", c.IMAP.Interfaces)
	}
	// Variables change what is there and add to it.
	c, err = load(t, "", "MALLARD_IMAP_INTERFACE_1_PORT=7", "MALLARD_IMAP_INTERFACE_2_PORT=8", "MALLARD_IMAP_INTERFACE_2_SECURE=true")
	if err != nil {
		t.Fatal(err)
	}
	want = []Interface{
		{Listener: Listener{Enabled: true, Host: "127.0.0.1", Port: 7, UseProxy: []string{}}},
		{Listener: Listener{Enabled: true, Host: "127.0.0.1", Port: 8, Secure: true, UseProxy: []string{}}},
	}
	if !reflect.DeepEqual(c.IMAP.Interfaces, want) {
		t.Errorf("interfaces %+v", c.IMAP.Interfaces)
	}
	if _, err = load(t, "", "MALLARD_IMAP_INTERFACE_3_PORT=8"); err == nil {
		t.Error("a number was left out")
	}
	// An empty list is a list.
	c, err = load(t, "[imap]\ninterface = []\n")
	if err != nil || len(c.IMAP.Interfaces) != 0 {
		t.Errorf("interfaces %+v, error %v", c.IMAP.Interfaces, err)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"[imap]\nhost = \"0.0.0.0\"\n[[imap.interface]]\nhost = \"0.0.0.0\"\nport = 143\n", nil}, // TLS and STARTTLS
		{"[lmtp]\nhost = \"0.0.0.0\"\n", []string{"lmtp: whoever reaches 0.0.0.0:2424"}},
		{"[lmtp]\nhost = \"0.0.0.0\"\nenabled = false\n", nil},
		{"[imap]\nhost = \"0.0.0.0\"\nuseProxy = [\"192.0.2.1\"]\n", nil},
		{"[imap]\nuseProxy = [\"*\"]\n", nil},
		{"[imap]\nhost = \"0.0.0.0\"\nuseProxy = [\"*\"]\n", []string{"imap: whoever reaches 0.0.0.0:9993 can pretend"}},
		{"[imap]\nhost = \"::\"\nsecure = false\nignoreSTARTTLS = true\n", []string{"imap: passwords and mail cross"}},
		{"[imap]\nhost = \"::\"\nsecure = false\ndisableSTARTTLS = true\n", []string{"imap: nobody can log in"}},
		{"[imap]\nhost = \"::\"\nsecure = false\nsecured = true\n", nil},
		{"[[imap.interface]]\nhost = \"::\"\nignoreSTARTTLS = true\n", []string{"imap.interface.1: passwords"}},
		{"[api]\nhost = \"::\"\naccessToken = \"x\"\n", []string{"api: tokens and mail cross"}},
		{"[api]\nhost = \"::\"\nsecure = true\naccessToken = \"x\"\n", nil},
		{"[api.cors]\norigins = [\"*\"]\n", []string{"api.cors: every web page"}},
		{"[api]\naccessToken = \"x\"\ncors.origins = [\"*\"]\n", nil},
	} {
		c, err := load(t, tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		got := c.Warnings()
		if len(got) != len(tt.want) {
			t.Errorf("%q: warnings %q, want %q", tt.text, got, tt.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], tt.want[i]) {
				t.Errorf("%q: warning %q, want %q", tt.text, got[i], tt.want[i])
			}
		}
	}
}

func TestProxies(t *testing.T) {
	c, err := load(t, "[imap]\nuseProxy = [\"192.0.2.1\", \"2001:db8::5/32\"]\n[lmtp]\nuseProxy = [\"*\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		l    Listener
		want string
	}{{c.IMAP.Listener, "[192.0.2.1/32 2001:db8::/32]"}, {c.LMTP.Listener, "[0.0.0.0/0 ::/0]"}, {c.API.Listener, "[]"}, {c.IMAP.Interfaces[0].Listener, "[]"}} {
		if got, err := tt.l.Proxies(); err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%v, error %v, want %s", got, err, tt.want)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.9/24": "192.0.2.0/24", "2001:db8::1": "2001:db8::1/128", "::ffff:192.0.2.1": "192.0.2.1/32",
	} {
		if p, err := ParsePrefix(in); err != nil || p.String() != want {
			t.Errorf("%s: %v, error %v, want %s", in, p, err, want)
		}
	}
}
