package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
)

// allowNames refuses a client whose certificate carries none of the names. It runs on resumed sessions too,
// which VerifyPeerCertificate does not.
func allowNames(names []string, next func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if next != nil {
			if err := next(s); err != nil {
				return err
			}
		}
		if len(s.PeerCertificates) == 0 {
			return fmt.Errorf("certs: peer has no certificate")
		}
		leaf := s.PeerCertificates[0]
		if !slices.ContainsFunc(names, func(name string) bool { return hasName(leaf, name) }) {
			return fmt.Errorf("certs: peer's certificate for %q is not on the list", namesOf(leaf))
		}
		return nil
	}
}

// hasName reports whether name is among the certificate's subject alternative names. A wildcard stands for
// itself only: a list says what it allows.
func hasName(c *x509.Certificate, name string) bool {
	return slices.Contains(namesOf(c), name)
}

// namesOf returns the subject alternative names but for mail addresses.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}
