package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"mallard/internal/config"
	"mallard/internal/tlsconf"
)

// expirySoon is how long before the end of a certificate it is warned of.
const expirySoon = 14 * 24 * time.Hour

// ConfigError is the error of a configuration that names files that are not what they should be.
type ConfigError struct{ error }

// Unwrap returns what is wrong.
func (e *ConfigError) Unwrap() error { return e.error }

// certs are the certificates of the services, several of which may be the same.
type certs struct {
	imap, lmtp, api *tlsconf.Certificate
}

// Certificate is that of IMAP; nil before Listen.
func (n *Node) Certificate() *tlsconf.Certificate { return n.certs.imap }

// loadCertificates loads the certificate of each service: its own, that of [tls], or
// a self-signed one that is made once.
func (n *Node) loadCertificates() error {
	var common *tlsconf.Certificate
	load := func(pair config.Pair, table string) (*tlsconf.Certificate, error) {
		if pair.Cert == "" {
			var err error
			if common == nil {
				common, err = n.commonCertificate()
			}
			return common, err
		}
		c, err := tlsconf.Load(pair.Key, pair.Cert)
		if err != nil {
			return nil, &ConfigError{fmt.Errorf("%w (key and cert in [%s])", err, table)}
		}
		return c, nil
	}
	var err error
	if n.certs.imap, err = load(n.cfg.IMAP.TLS, "imap.tls"); err != nil {
		return err
	}
	if n.certs.lmtp, err = load(n.cfg.LMTP.TLS, "lmtp.tls"); err != nil {
		return err
	}
	n.certs.api, err = load(n.cfg.API.TLS, "api.tls")
	return err
}

func (n *Node) commonCertificate() (*tlsconf.Certificate, error) {
	if n.cfg.TLS.Cert != "" {
		c, err := tlsconf.Load(n.cfg.TLS.Key, n.cfg.TLS.Cert)
		if err != nil {
			return nil, &ConfigError{fmt.Errorf("%w (key and cert in [tls])", err)}
		}
		return c, nil
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" && name != "localhost" {
		hosts = append([]string{name}, hosts...)
	}
	return tlsconf.SelfSigned(n.cfg.Store.Path, hosts)
}

// certificates lists those in use, each once.
func (n *Node) certificates() []*tlsconf.Certificate {
	var out []*tlsconf.Certificate
	for _, c := range []*tlsconf.Certificate{n.certs.imap, n.certs.lmtp, n.certs.api} {
		if c != nil && (len(out) == 0 || out[len(out)-1] != c) {
			out = append(out, c)
		}
	}
	return out
}

// ReloadCertificates reads the files of all certificates again. New connections use
// what is in them now; one that cannot be read stays as it was.
func (n *Node) ReloadCertificates() error {
	var errs []error
	for _, c := range n.certificates() {
		if err := c.Reload(); err != nil {
			errs = append(errs, err)
			continue
		}
		n.log.Info("TLS certificate loaded", "file", c.File(), "expires", c.Expires())
	}
	return errors.Join(errs...)
}

// tlsConfig is how a server uses a certificate.
func (n *Node) tlsConfig(c *tlsconf.Certificate) *tls.Config {
	least := uint16(tls.VersionTLS12)
	if n.cfg.TLS.MinVersion == "1.3" {
		least = tls.VersionTLS13
	}
	return c.ConfigFrom(least)
}

func (n *Node) startTLS(c *tlsconf.Certificate, disabled bool) *tls.Config {
	if disabled {
		return nil
	}
	return n.tlsConfig(c)
}
