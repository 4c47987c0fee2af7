package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/acme"
)

// writeCached puts a certificate where autocert keeps it.
func writeCached(t *testing.T, dir, name string, cert tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})...)
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newTestACME(t *testing.T, cfg ACMEConfig) *ACME {
	t.Helper()
	cfg.DirectoryURL = "https://acme.invalid/dir"
	a, err := NewACME(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// The authority has no certificate to show, and may speak TLS 1.2; who comes for anything else is asked as ever.
func TestTheAuthorityNeedsNoClientCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token, err := (&acme.Client{Key: key}).TLSALPN01ChallengeCert("token", "www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeCached(t, dir, "www.example.com+token", token)
	ca := newCA(t)
	certFile, keyFile := writePair(t, issue(t, ca, "front.example"))
	cfg := ServerConfig{
		ACME:  newTestACME(t, ACMEConfig{Names: []string{"www.example.com"}, CacheDir: dir}),
		Pairs: []Pair{{certFile, keyFile}}, ClientCAFile: write(t, "ca.pem", ca.PEM()), ClientNames: []string{"front.example"},
	}
	fixed, err := Server(cfg)
	if err != nil {
		t.Fatal(err)
	}
	live, err := NewServer(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]*tls.Config{"fixed": fixed, "a hop's": live.Config(), "for browsers": live.ConfigFor("h2", "http/1.1")} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{ServerName: "www.example.com", InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}, MaxVersion: version}
			state, err := handshake(t, server, client)
			if err != nil || !IsChallenge(state) || len(state.PeerCertificates[0].DNSNames) != 1 {
				t.Errorf("%s, %s: got %q, %v; want the challenge met", name, tls.VersionName(version), state.NegotiatedProtocol, err)
			}
		}
		client := &tls.Config{ServerName: "front.example", RootCAs: ca.Pool(), NextProtos: []string{"h2", "acme-tls/1"}}
		if _, err := handshake(t, server, client); err == nil || !strings.Contains(err.Error(), "didn't provide a certificate") {
			t.Errorf("%s: without a certificate: got %v", name, err)
		}
	}
}
