package httpapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// keyInfo is what an OpenPGP key says about itself.
type keyInfo struct {
	Name        string `json:"name" doc:"Name of the first identity"`
	Address     string `json:"address" doc:"Address of the first identity"`
	Fingerprint string `json:"fingerprint" doc:"Fingerprint in hexadecimal digits"`
}

// certInfo is what an S/MIME certificate says about itself.
type certInfo struct {
	Subject     string `json:"subject" doc:"Subject"`
	Serial      string `json:"serial" doc:"Serial number in hexadecimal digits"`
	Fingerprint string `json:"fingerprint" doc:"SHA-256 of the certificate"`
}

// checkKeys reports keys that nothing could be encrypted to.
func checkKeys(pgp *string, certs []string) error {
	if pgp != nil && *pgp != "" && len(certs) > 0 {
		return invalid("pubKey (PGP) and smimeCerts are mutually exclusive")
	}
	if pgp != nil && *pgp != "" {
		if _, err := readKey(*pgp); err != nil {
			return invalid("PGP key validation failed. " + upperFirst(err.Error()))
		}
	}
	for i, c := range certs {
		if _, err := readCert(c); err != nil {
			return invalid(fmt.Sprintf("S/MIME certificate validation failed. Certificate #%d: %s", i+1, err))
		}
	}
	return nil
}

// minRSA and maxRSA bound RSA keys in bits.
const (
	minRSA = 2048
	maxRSA = 4096
)

func readKey(text string) (*openpgp.Entity, error) {
	ring, err := openpgp.ReadArmoredKeyRing(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	if len(ring) == 0 {
		return nil, errors.New("there is no key")
	}
	key := ring[0]
	if key.PrivateKey != nil {
		return nil, errors.New("this is a private key")
	}
	if bits, err := key.PrimaryKey.BitLength(); key.PrimaryKey.PubKeyAlgo.CanEncrypt() && err == nil && bits < minRSA {
		return nil, fmt.Errorf("RSA keys need at least %d bits", minRSA)
	}
	return key, nil
}

func readCert(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("the certificate cannot be read")
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < minRSA || n > maxRSA || n%8 != 0 {
			return nil, fmt.Errorf("RSA keys have %d to %d bits", minRSA, maxRSA)
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return nil, errors.New("this elliptic curve is not supported")
		}
	default:
		return nil, errors.New("this kind of key is not supported")
	}
	return cert, nil
}

func describeKey(text string) orFalse[keyInfo] {
	if text == "" {
		return orFalse[keyInfo]{}
	}
	key, err := readKey(text)
	if err != nil {
		return orFalse[keyInfo]{}
	}
	info := keyInfo{Fingerprint: hex.EncodeToString(key.PrimaryKey.Fingerprint)}
	if id := key.PrimaryIdentity(); id != nil && id.UserId != nil {
		info.Name, info.Address = id.UserId.Name, id.UserId.Email
	}
	return some(info)
}

func describeCerts(texts []string) []certInfo {
	out := []certInfo{}
	for _, t := range texts {
		cert, err := readCert(t)
		if err != nil {
			continue
		}
		sum := sha256.Sum256(cert.Raw)
		pairs := make([]string, 0, len(sum))
		for _, b := range sum {
			pairs = append(pairs, fmt.Sprintf("%02X", b))
		}
		out = append(out, certInfo{
			Subject: cert.Subject.String(), Serial: strings.ToUpper(cert.SerialNumber.Text(16)), Fingerprint: strings.Join(pairs, ":"),
		})
	}
	return out
}
