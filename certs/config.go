// Package certs gives listeners and the two ends of the hop their *tls.Config: from files, which it follows
// when they change, from an ACME authority such as Let's Encrypt, or made for development.
//
// The hop speaks TLS 1.3 with ALPN h2 and nothing else (PROTOCOL section 2); a listener for browsers speaks
// TLS 1.2 and up. What is returned is not changed afterwards and may be used by any number of connections.
package certs

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Pair names the PEM files of a certificate, with those between it and the root after it, and of its key.
type Pair struct {
	CertFile, KeyFile string
}

// ServerConfig is a listener's side.
type ServerConfig struct {
	// Pairs are the certificates shown: the first whose names hold what the client asks for (SNI), else the
	// first. One at least is given, or Certificate, or ACME.
	Pairs []Pair

	// Certificate is a certificate in memory, behind those of Pairs.
	Certificate *tls.Certificate

	// ACME obtains the certificates of its names. Its names go before those of Pairs.
	ACME *ACME

	// ClientCAFile names a PEM file of certificate authorities, one of which at least is valid now. When it is set, a
	// client must show a certificate that one of them vouches for. If empty, clients are not asked for one.
	ClientCAFile string

	// ClientNames are the only names a client's certificate may carry, among its subject alternative names: DNS
	// names, in any case, IP addresses, and URIs as they stand there. If empty, any name may. It needs ClientCAFile.
	ClientNames []string

	// TicketKeyFile names a file of 32 random bytes or more. Processes that have the same resume each
	// other's sessions; the keys made from it change each 12 hours, and the last one is still taken. If
	// empty, each process has keys of its own.
	TicketKeyFile string

	// Protocols makes it a listener for browsers and programs, with TLS 1.2 and up and these ALPN
	// protocols, best first. If empty, it is a hop's: TLS 1.3 and h2.
	Protocols []string
}

// ClientConfig is the side of who dials: a front to a back, or a proxy to an https upstream.
type ClientConfig struct {
	// CAFile names a PEM file of the certificate authorities that may vouch for the server, and RootCAs
	// is the same in memory; at most one is given. If both are empty, the system's are used.
	CAFile  string
	RootCAs *x509.CertPool

	// CertFile and KeyFile name PEM files of the certificate shown to a server that asks for one. If
	// both are empty, none is shown.
	CertFile, KeyFile string

	// ServerName is the name the server's certificate must carry, and the SNI. If empty, whoever dials
	// has to set it in a clone, as tls.Dial does from the address.
	ServerName string

	// InsecureSkipVerify takes any certificate for any name: whoever is on the way reads everything.
	InsecureSkipVerify bool

	// Protocols are the ALPN protocols offered to an HTTPS server, with TLS 1.2 and up; it may know none of
	// them. If empty, it is a hop's: TLS 1.3 and h2.
	Protocols []string
}

// Server reads the files and returns the listener's configuration, which does not follow them; see [NewServer].
func Server(cfg ServerConfig) (*tls.Config, error) {
	l, err := cfg.load(nil)
	if err != nil {
		return nil, err
	}
	return l.config(cfg.Protocols), nil
}

// Client reads the files and returns the configuration of who dials, which does not follow them; see [NewClient].
func Client(cfg ClientConfig) (*tls.Config, error) {
	l, err := cfg.load(nil)
	if err != nil {
		return nil, err
	}
	return l.config(cfg.Protocols), nil
}

// loaded is what the files say at one time.
type loaded struct {
	config      func(protocols []string) *tls.Config // another one each time
	pairs       []tls.Certificate                    // of this end
	certs       []*x509.Certificate                  // their leaves
	authorities []*x509.Certificate                  // of clients
}

// sealing are the cipher suites of TLS 1.2 with forward secrecy and authenticated encryption. Those of 1.3 all are so.
var sealing = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// load reads the files. What was shown before, nil at the start, may have expired meanwhile.
func (cfg *ServerConfig) load(before *loaded) (*loaded, error) {
	l := new(loaded)
	switch {
	case len(cfg.Pairs) == 0 && cfg.Certificate == nil && cfg.ACME == nil:
		return nil, errors.New("certs: no certificate: Pairs, Certificate and ACME are empty")
	case len(cfg.ClientNames) > 0 && cfg.ClientCAFile == "":
		return nil, errors.New("certs: ClientNames has no effect without ClientCAFile")
	}
	for _, p := range cfg.Pairs {
		if err := l.add(p, before); err != nil {
			return nil, err
		}
	}
	if cfg.Certificate != nil {
		l.pairs = append(l.pairs, *cfg.Certificate)
	}
	var clientCAs *x509.CertPool
	if cfg.ClientCAFile != "" {
		if err := l.addAuthorities(cfg.ClientCAFile, before); err != nil {
			return nil, err
		}
		clientCAs = x509.NewCertPool()
		for _, c := range l.authorities {
			clientCAs.AddCert(c)
		}
	}
	names, err := readNames(cfg.ClientNames)
	if err != nil {
		return nil, err
	}
	l.config = func(protocols []string) *tls.Config {
		c := base(protocols)
		c.Certificates = l.pairs
		if len(protocols) > 0 {
			c.CipherSuites = sealing
		}
		if clientCAs != nil {
			c.ClientCAs, c.ClientAuth = clientCAs, tls.RequireAndVerifyClientCert
		}
		if len(cfg.ClientNames) > 0 {
			c.VerifyConnection = names.allow(c.VerifyConnection)
		}
		if cfg.ACME != nil {
			cfg.ACME.join(c)
		}
		return c
	}
	return l, nil
}

func (cfg *ClientConfig) load(before *loaded) (*loaded, error) {
	l := new(loaded)
	roots := cfg.RootCAs
	if cfg.CAFile != "" {
		if cfg.RootCAs != nil {
			return nil, errors.New("certs: both CAFile and RootCAs are set")
		}
		var err error
		if roots, err = pool("CAFile", cfg.CAFile); err != nil {
			return nil, err
		}
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		if err := l.add(Pair{cfg.CertFile, cfg.KeyFile}, before); err != nil {
			return nil, err
		}
	}
	l.config = func(protocols []string) *tls.Config {
		c := base(protocols)
		c.Certificates, c.RootCAs = l.pairs, roots
		c.ServerName, c.InsecureSkipVerify = cfg.ServerName, cfg.InsecureSkipVerify
		return c
	}
	return l, nil
}

// add reads a pair. It is to be valid, or was shown before: one that has expired must not keep others from being renewed.
func (l *loaded) add(p Pair, before *loaded) error {
	cert, err := keyPair(p.CertFile, p.KeyFile)
	if err != nil {
		return err
	}
	if why := datesOf(cert.Leaf, time.Now()); why != "" && !(before != nil && slices.ContainsFunc(before.certs, cert.Leaf.Equal)) {
		return fmt.Errorf("certs: CertFile %q: %s", p.CertFile, why)
	}
	l.pairs = append(l.pairs, cert)
	l.certs = append(l.certs, cert.Leaf)
	return nil
}

// addAuthorities reads those that vouch for clients. One that is valid is enough: where one takes the place of another, both
// are there for a while.
func (l *loaded) addAuthorities(file string, before *loaded) error {
	b, err := read("ClientCAFile", file)
	if err != nil {
		return err
	}
	var why string
	isOne := false
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("certs: ClientCAFile %q: %w", file, err)
		}
		if !isAuthority(c) {
			return fmt.Errorf("certs: ClientCAFile %q: the certificate of %s is no authority's", file, strings.Join(titleOf(c), ", "))
		}
		dates := datesOf(c, time.Now())
		isOne = isOne || dates == "" || before != nil && slices.ContainsFunc(before.authorities, c.Equal)
		why = cmp.Or(why, dates)
		l.authorities = append(l.authorities, c)
	}
	switch {
	case len(l.authorities) == 0:
		return fmt.Errorf("certs: ClientCAFile %q: no certificate in PEM form", file)
	case !isOne:
		return fmt.Errorf("certs: ClientCAFile %q: %s", file, why)
	}
	return nil
}

// isAuthority reports whether c may vouch for others, as crypto/x509 does: certificates of version 1 do not say.
func isAuthority(c *x509.Certificate) bool {
	return (c.IsCA || c.Version < 3) && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0)
}

// datesOf says why a certificate is not valid at that time, or nothing.
func datesOf(c *x509.Certificate, now time.Time) string {
	switch {
	case now.Before(c.NotBefore):
		return "not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
	case now.After(c.NotAfter):
		return "expired " + c.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

// isDue reports whether a certificate is about to expire, or has.
func isDue(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < min(warnBefore, c.NotAfter.Sub(c.NotBefore)/3)
}

func base(protocols []string) *tls.Config {
	if len(protocols) > 0 {
		return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols}
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, VerifyConnection: checkALPN}
}

// checkALPN refuses a peer that does not negotiate at all, or offers only http/1.1, which crypto/tls
// lets through.
func checkALPN(s tls.ConnectionState) error {
	if s.NegotiatedProtocol != "h2" {
		return errors.New("certs: peer has no ALPN protocol h2")
	}
	return nil
}

func keyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := read("CertFile", certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := read("KeyFile", keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: CertFile %q and KeyFile %q: %w", certFile, keyFile, err)
	}
	return pair, nil
}

func pool(field, name string) (*x509.CertPool, error) {
	b, err := read(field, name)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("certs: %s %q: no certificate in PEM form", field, name)
	}
	return p, nil
}

// read says the field and the file once, which the error of os.ReadFile would repeat.
func read(field, name string) ([]byte, error) {
	if name == "" {
		return nil, fmt.Errorf("certs: %s is empty", field)
	}
	b, err := os.ReadFile(name)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, fmt.Errorf("certs: %s %q: %w", field, name, err)
	}
	return b, nil
}
