// Package tlsconf provides the TLS configuration of all services: from the files
// that the operator names, or from a self-signed pair that is made once and kept,
// so that a first start is encrypted without any preparation.
//
// It imports the standard library only.
package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// selfSignedFor is how long a self-signed certificate is valid. Nothing renews
// it: who uses it has accepted it by its fingerprint.
const selfSignedFor = 10 * 365 * 24 * time.Hour

// Certificate is a certificate with where it came from. It is safe for concurrent
// use; Reload takes a new one from the same files.
type Certificate struct {
	SelfSigned        bool
	keyFile, certFile string
	pair              atomic.Pointer[tls.Certificate]
}

// Load reads a key and a certificate chain in PEM.
func Load(keyFile, certFile string) (*Certificate, error) {
	c := &Certificate{keyFile: keyFile, certFile: certFile}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files again. New connections get what is in them now; with an
// error everything stays as it is.
func (c *Certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair.Store(&pair)
	return nil
}

// File is the name of the file of the certificate.
func (c *Certificate) File() string { return c.certFile }

// Expires is the end of the certificate's validity.
func (c *Certificate) Expires() time.Time { return c.pair.Load().Leaf.NotAfter }

// SelfSigned returns the pair kept in dir, making it for the given host names and
// addresses when there is none. It is never replaced.
func SelfSigned(dir string, hosts []string) (*Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "selfsigned.crt"), filepath.Join(dir, "selfsigned.key")
	c, err := Load(keyFile, certFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makePair(certFile, keyFile, hosts); err != nil {
			return nil, fmt.Errorf("make self-signed certificate: %w", err)
		}
		c, err = Load(keyFile, certFile)
	}
	if err != nil {
		return nil, err
	}
	c.SelfSigned = true
	return c, nil
}

// Config returns the settings for servers: TLS 1.2 and up.
func (c *Certificate) Config() *tls.Config { return c.ConfigFrom(tls.VersionTLS12) }

// ConfigFrom is Config with another least version, one of crypto/tls; below TLS 1.2
// there is none.
func (c *Certificate) ConfigFrom(minVersion uint16) *tls.Config {
	return &tls.Config{
		MinVersion:     max(minVersion, tls.VersionTLS12),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}

// Fingerprint is the SHA-256 of the certificate as colon-separated hexadecimal
// digits, as clients show it.
func (c *Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.pair.Load().Certificate[0])
	var parts []string
	for _, b := range sum {
		parts = append(parts, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return strings.Join(parts, ":")
}

func makePair(certFile, keyFile string, hosts []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hosts[0], Organization: []string{"Mallard, self-signed"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would never be completed.
	if err := writePEM(keyFile, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", der, 0o644)
}

// writePEM writes a file that is there whole or not at all, also after a crash:
// half a key would be in the way of every later start.
func writePEM(file, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone when all went well
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
