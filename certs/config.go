// Package certs gives the two ends of the hop their *tls.Config, and makes certificates for
// development.
//
// The hop speaks TLS 1.3 with ALPN h2 and nothing else (PROTOCOL section 2). What is returned is not
// changed afterwards and may be used by any number of connections.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ServerConfig is the back's side.
type ServerConfig struct {
	// CertFile and KeyFile name PEM files: the certificate, with those between it and the root after it,
	// and its key. Both are given, or Certificate.
	CertFile, KeyFile string

	// Certificate is a certificate in memory, instead of the two files.
	Certificate *tls.Certificate

	// ClientCAFile names a PEM file of certificate authorities. When it is set, a client must show a
	// certificate that one of them vouches for. If empty, clients are not asked for one.
	ClientCAFile string
}

// ClientConfig is the front's side.
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
}

// Server reads the files and returns the back's configuration.
func Server(cfg ServerConfig) (*tls.Config, error) {
	c := base()
	switch {
	case cfg.Certificate != nil && (cfg.CertFile != "" || cfg.KeyFile != ""):
		return nil, errors.New("certs: both Certificate and CertFile or KeyFile are set")
	case cfg.Certificate != nil:
		c.Certificates = []tls.Certificate{*cfg.Certificate}
	default:
		cert, err := keyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	if cfg.ClientCAFile != "" {
		pool, err := pool("ClientCAFile", cfg.ClientCAFile)
		if err != nil {
			return nil, err
		}
		c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// Client reads the files and returns the front's configuration.
func Client(cfg ClientConfig) (*tls.Config, error) {
	c := base()
	c.RootCAs = cfg.RootCAs
	c.ServerName = cfg.ServerName
	c.InsecureSkipVerify = cfg.InsecureSkipVerify
	if cfg.CAFile != "" {
		if cfg.RootCAs != nil {
			return nil, errors.New("certs: both CAFile and RootCAs are set")
		}
		pool, err := pool("CAFile", cfg.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		cert, err := keyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

func base() *tls.Config {
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
