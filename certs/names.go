package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// nameList are names that a certificate may carry.
type nameList struct {
	dns   []string // in lower case
	addrs []netip.Addr
	uris  []string
}

// readNames tells names of DNS, addresses and URIs apart. A wildcard stands for itself only: a list says what it allows.
func readNames(names []string) (*nameList, error) {
	l := new(nameList)
	for _, name := range names {
		addr, err := netip.ParseAddr(name)
		u, urlErr := url.Parse(name)
		switch {
		case err == nil && addr.Zone() == "":
			l.addrs = append(l.addrs, addr.Unmap())
		case isDNSName(strings.TrimPrefix(name, "*.")):
			l.dns = append(l.dns, strings.ToLower(name))
		case err != nil && urlErr == nil && u.Scheme != "" && (u.Host != "" || u.Scheme == "urn"): // name:80 is none
			l.uris = append(l.uris, u.String())
		default:
			return nil, fmt.Errorf("certs: %q is no name of DNS, no IP address and no URI", name)
		}
	}
	return l, nil
}

// isDNSName takes host names, and names with underscores, which are no host names but in use. What ends in a number is none:
// it is an address that is written wrong.
func isDNSName(name string) bool {
	if len(name) > 253 {
		return false
	}
	isOther := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	var last string
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, isOther) {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

// allow refuses a client whose certificate carries none of the names. It runs on resumed sessions too,
// which VerifyPeerCertificate does not.
func (l *nameList) allow(next func(tls.ConnectionState) error) func(tls.ConnectionState) error {
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
		if !l.has(leaf) {
			return fmt.Errorf("certs: peer's certificate for %q is not on the list", namesOf(leaf))
		}
		return nil
	}
}

// has reports whether one of the certificate's subject alternative names is on the list.
func (l *nameList) has(c *x509.Certificate) bool {
	for _, name := range c.DNSNames {
		if slices.Contains(l.dns, strings.ToLower(name)) {
			return true
		}
	}
	for _, ip := range c.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok && slices.Contains(l.addrs, addr.Unmap()) {
			return true
		}
	}
	for _, u := range c.URIs {
		if slices.Contains(l.uris, u.String()) {
			return true
		}
	}
	return false
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

// titleOf is what a log calls a certificate: authorities have no names.
func titleOf(c *x509.Certificate) []string {
	if names := namesOf(c); len(names) > 0 {
		return names
	}
	return []string{c.Subject.String()}
}
