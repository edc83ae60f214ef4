package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

func TestErrorsNameFileLineAndWhatIsAllowed(t *testing.T) {
	for _, tt := range []struct {
		text string
		env  string
		want []string
	}{
		{"[imap]\nprot = 3\n", "", []string{"mallard.toml:2", `"imap.prot"`, "port, secure"}},
		{"[imap]\nport = \"x\"\n", "", []string{"mallard.toml:2", "imap.port"}},
		{"[imap]\nport = 99999\n", "", []string{"mallard.toml:2: imap.port: 99999 is not a port"}},
		{"[log]\nlevel = \"loud\"\n", "", []string{"mallard.toml:2", "debug, info, warn, error"}},
		{"[nonsense]\na = 1\n", "", []string{"mallard.toml:", "nonsense", "[imap]"}},
		{"x = = 2\n", "", []string{"mallard.toml:1"}},
		{"", "MALLARD_IMAP_PROT=1", []string{"MALLARD_IMAP_PROT", "names no key"}},
		{"", "MALLARD_IMAP_PORT=x", []string{"MALLARD_IMAP_PORT", "whole number"}},
		{"", "MALLARD_IMAP_PORT=70000", []string{"MALLARD_IMAP_PORT: 70000"}},
		{"[tls]\nkey = \"a\"\n", "", []string{"mallard.toml:2", "go together"}},
		{"[store]\ncacheMB = 1\n", "", []string{"store.cacheMB", "8 to"}},
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
	}
}

// What is printed can be read again and gives the same configuration, and holds
// no secret.
func TestPrintRoundTrip(t *testing.T) {
	c := Default()
	c.API.AccessToken = "very secret"
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "very secret") {
		t.Error("a secret was printed")
	}
	c.API.AccessToken = "[redacted]"
	again, err := load(t, b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	var b2 bytes.Buffer
	if err := again.Print(&b2); err != nil {
		t.Fatal(err)
	}
	if b.String() != b2.String() {
		t.Errorf("first:\n%s\nsecond:\n%s", b.String(), b2.String())
	}
}
