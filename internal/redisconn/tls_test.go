package redisconn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mallard/internal/redisconn"
	"mallard/internal/redisconn/redistest"
	"mallard/internal/testserver/freeport"
)

// certificate writes a certificate for 127.0.0.1 that is its own authority.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}

// A server with TLS that asks for a certificate, a user and a password, as the configuration names it.
func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	port := freeport.Take(t, 1)[0]
	redistest.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert,
		"--user", "me", "on", ">secret", "~*", "&*", "+@all")
	type keys = map[string]any
	for name, tc := range map[string]struct {
		value any
		err   string
	}{
		"everything":        {keys{"port": int64(port), "username": "me", "password": "secret", "tls": keys{"ca": cert, "cert": cert, "key": key}}, ""},
		"unknown authority": {keys{"port": int64(port), "tls": keys{"cert": cert, "key": key}}, "certificate signed by unknown authority"},
		"other name":        {keys{"port": int64(port), "tls": keys{"ca": cert, "cert": cert, "key": key, "servername": "other.test"}}, "other.test"},
		"not verified":      {keys{"port": int64(port), "tls": keys{"rejectUnauthorized": false, "cert": cert, "key": key}}, ""},
		"no certificate":    {keys{"port": int64(port), "tls": keys{"ca": cert}}, "certificate|reset|broken pipe"}, // the server hangs up without waiting for its alert to be read
		"wrong password":    {keys{"port": int64(port), "username": "me", "password": "x", "tls": keys{"ca": cert, "cert": cert, "key": key}}, "WRONGPASS"},
		"no TLS":            {"redis://127.0.0.1:" + strconv.Itoa(port), "EOF|reset"},
		"rediss":            {"rediss://127.0.0.1:" + strconv.Itoa(port), "certificate signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := redisconn.Parse(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			o.Timeout, o.DialTimeout = redistest.Patience, redistest.Patience
			c, err := redisconn.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			redistest.Eventually(t, "an answer", func() bool {
				_, err = c.State()
				return !errors.Is(err, redisconn.ErrNotTried)
			})
			switch {
			case tc.err == "" && err != nil:
				t.Error(err)
			case tc.err == "":
				if err := set(c, "k"); err != nil {
					t.Error(err)
				}
			case err == nil || !regexp.MustCompile(tc.err).MatchString(err.Error()):
				t.Errorf("%v, want %q", err, tc.err)
			case strings.Contains(err.Error(), "secret"):
				t.Errorf("%v: shows the password", err)
			}
		})
	}
}
