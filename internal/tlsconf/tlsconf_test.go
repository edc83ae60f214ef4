package tlsconf

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// handshake connects a client to a server with the configuration.
func handshake(t *testing.T, server *tls.Config, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan error, 1)
	go func() {
		done <- tls.Server(theirs, server).Handshake()
		_ = theirs.Close()
	}()
	client.InsecureSkipVerify = true // the tests look at the certificate themselves
	tc := tls.Client(ours, client)
	err := tc.Handshake()
	return tc.ConnectionState(), errors.Join(err, <-done)
}

func TestSelfSignedIsMadeOnceAndWorks(t *testing.T) {
	dir := t.TempDir()
	c, err := SelfSigned(dir, []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := SelfSigned(dir, []string{"other"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Fingerprint() != again.Fingerprint() || !again.SelfSigned {
		t.Error("the certificate was not kept")
	}
	if left := time.Until(c.Expires()); left < 9*365*24*time.Hour {
		t.Errorf("it is valid for %s", left)
	}
	st, err := os.Stat(filepath.Join(dir, "selfsigned.key"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("key file has mode %v", st.Mode())
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("files %q, error %v", files, err)
	}
	state, err := handshake(t, c.Config(), &tls.Config{ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := state.PeerCertificates[0].VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
}

// Where no certificate can be kept there is none, and nothing is left behind.
func TestSelfSignedNeedsItsDirectory(t *testing.T) {
	_, err := SelfSigned(filepath.Join(t.TempDir(), "none"), []string{"localhost"})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestVersions(t *testing.T) {
	c, err := SelfSigned(t.TempDir(), []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		least, client uint16
		ok            bool
	}{
		{0, tls.VersionTLS10, false}, {0, tls.VersionTLS11, false}, {0, tls.VersionTLS12, true}, {0, tls.VersionTLS13, true},
		{tls.VersionTLS10, tls.VersionTLS11, false},
		{tls.VersionTLS13, tls.VersionTLS12, false}, {tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		state, err := handshake(t, c.ConfigFrom(tt.least), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tt.client})
		if (err == nil) != tt.ok || tt.ok && state.Version != tt.client {
			t.Errorf("least %x, client %x: version %x, error %v", tt.least, tt.client, state.Version, err)
		}
	}
}

// A certificate that was renewed is used without a restart; one that is broken is
// not, and the old one stays.
func TestReload(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	c, err := SelfSigned(dir, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	next, err := SelfSigned(other, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	conf := c.Config()
	serial := func() string {
		t.Helper()
		state, err := handshake(t, conf, &tls.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	for _, name := range []string{"selfsigned.crt", "selfsigned.key"} {
		b, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "selfsigned.crt" { // half of it is new
			if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "selfsigned.key") {
				t.Errorf("error %v", err)
			}
			if serial() != first {
				t.Error("the old certificate is gone")
			}
		}
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if serial() == first || c.Fingerprint() != next.Fingerprint() {
		t.Error("the new certificate is not used")
	}
}

func TestLoadNamesTheFiles(t *testing.T) {
	_, err := Load("/no/key", "/no/cert")
	if err == nil || !strings.Contains(err.Error(), "/no/cert") || !strings.Contains(err.Error(), "/no/key") {
		t.Errorf("error %v", err)
	}
}
