package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

const (
	devLife = 365 * 24 * time.Hour
	devBack = time.Hour // for clocks that are behind ours
)

// DevCA is a certificate authority for development and tests. Its key is not written anywhere but by [WriteDev].
// All methods are safe for concurrent use.
type DevCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewDevCA makes an authority, valid for a year from an hour ago.
func NewDevCA() (*DevCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certs: development CA: %w", err)
	}
	t := template("h2tp development CA")
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certs: development CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certs: development CA: %w", err)
	}
	return &DevCA{cert: cert, key: key}, nil
}

// Issue makes a certificate with a key of its own, for servers and clients, valid for a year from an hour
// ago but no longer than the authority. Each name is a DNS name, *.SUFFIX too, or an IP address; there is at least one.
func (ca *DevCA) Issue(names ...string) (tls.Certificate, error) {
	if len(names) == 0 {
		return tls.Certificate{}, errors.New("certs: development certificate: no names")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: development certificate: %w", err)
	}
	t := template(names[0])
	t.NotAfter = ca.cert.NotAfter
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		switch ip := net.ParseIP(name); {
		case ip != nil:
			t.IPAddresses = append(t.IPAddresses, ip)
		case isDNSName(strings.TrimPrefix(name, "*.")):
			t.DNSNames = append(t.DNSNames, name)
		default:
			return tls.Certificate{}, fmt.Errorf("certs: development certificate: %q is no name of DNS and no IP address", name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: development certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: development certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Pool returns a new pool with the authority alone.
func (ca *DevCA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// PEM returns the authority's certificate, without its key, as a CAFile holds it.
func (ca *DevCA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// template has no serial number: x509 makes a random one.
func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-devBack),
		NotAfter:  now.Add(devLife - devBack),
	}
}
