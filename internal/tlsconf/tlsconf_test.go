package tlsconf

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
	if st, err := os.Stat(filepath.Join(dir, "selfsigned.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", st.Mode(), err)
	}
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, c.Config()).Handshake() }()
	tc := tls.Client(client, &tls.Config{ServerName: "127.0.0.1", InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := tc.ConnectionState().PeerCertificates[0].VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
}

func TestLoadNamesTheFiles(t *testing.T) {
	_, err := Load("/no/key", "/no/cert")
	if err == nil || !strings.Contains(err.Error(), "/no/cert") || !strings.Contains(err.Error(), "/no/key") {
		t.Errorf("error %v", err)
	}
}
