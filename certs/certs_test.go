package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHandshakes(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	cert := issue(t, ca, "back.example", "127.0.0.1", "::1")
	caFile := write(t, "ca.pem", ca.PEM())
	certFile, keyFile := writePair(t, issue(t, ca, "front.example"))
	otherCert, otherKey := writePair(t, issue(t, other, "front.example"))
	plain := ServerConfig{Certificate: &cert}
	mutual := ServerConfig{Certificate: &cert, ClientCAFile: caFile}
	ok := ClientConfig{RootCAs: ca.Pool(), ServerName: "back.example"}

	for _, c := range []struct {
		name   string
		server ServerConfig
		client func(*ClientConfig)
		tls    func(*tls.Config)
		want   string // in the error of either end; empty is success
	}{
		{"verified", plain, nil, nil, ""},
		{"verified by file", plain, func(c *ClientConfig) { c.RootCAs, c.CAFile = nil, caFile }, nil, ""},
		{"verified by IPv4 address", plain, func(c *ClientConfig) { c.ServerName = "127.0.0.1" }, nil, ""},
		{"verified by IPv6 address", plain, func(c *ClientConfig) { c.ServerName = "::1" }, nil, ""},
		{"wrong name", plain, func(c *ClientConfig) { c.ServerName = "other.example" }, nil, "not other.example"},
		{"wrong authority", plain, func(c *ClientConfig) { c.RootCAs = other.Pool() }, nil, "unknown authority"},
		{"anything goes", plain, func(c *ClientConfig) { c.RootCAs, c.InsecureSkipVerify = nil, true }, nil, ""},
		{"TLS 1.2", plain, nil, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, "unsupported versions"},
		{"another protocol", plain, nil, func(c *tls.Config) { c.NextProtos = []string{"h3"} }, "no application protocol"},
		{"only HTTP/1.1", plain, nil, func(c *tls.Config) { c.NextProtos, c.VerifyConnection = []string{"http/1.1"}, nil }, "no ALPN protocol h2"},
		{"no protocol", plain, nil, func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }, "no ALPN protocol h2"},
		{"mutual", mutual, func(c *ClientConfig) { c.CertFile, c.KeyFile = certFile, keyFile }, nil, ""},
		{"mutual without a certificate", mutual, nil, nil, "didn't provide a certificate"},
		{"mutual with another authority's", mutual, func(c *ClientConfig) { c.CertFile, c.KeyFile = otherCert, otherKey }, nil, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, err := Server(c.server)
			if err != nil {
				t.Fatal(err)
			}
			cfg := ok
			if c.client != nil {
				c.client(&cfg)
			}
			client, err := Client(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if c.tls != nil {
				c.tls(client)
			}
			state, err := handshake(t, server, client)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v; want %q in it", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
				t.Errorf("got version %x, protocol %q; want TLS 1.3 and h2", state.Version, state.NegotiatedProtocol)
			}
		})
	}
}

func TestServerFromFiles(t *testing.T) {
	ca := newCA(t)
	certFile, keyFile := writePair(t, issue(t, ca, "back.example"))
	server, err := Server(ServerConfig{Pairs: []Pair{{certFile, keyFile}}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := Client(ClientConfig{RootCAs: ca.Pool(), ServerName: "back.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, client); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsNameFieldAndFile(t *testing.T) {
	ca := newCA(t)
	cert := issue(t, ca, "back.example")
	certFile, keyFile := writePair(t, cert)
	_, otherKey := writePair(t, issue(t, ca, "back.example"))
	garbage := write(t, "garbage.pem", []byte("garbage\n"))
	missing := filepath.Join(t.TempDir(), "x.pem")
	oldCert, oldKey := writePair(t, issueUntil(t, ca, time.Now().Add(-time.Minute), "back.example"))
	earlyCert, earlyKey := writePair(t, issueFrom(t, ca, time.Now().Add(time.Hour), "back.example"))
	var oldCA *DevCA
	synctest.Test(t, func(t *testing.T) { oldCA = newCA(t) }) // of the year 2000
	oldAuthority := write(t, "ca.pem", oldCA.PEM())
	clientCA := func(file string, names ...string) ServerConfig {
		return ServerConfig{Certificate: &cert, ClientCAFile: file, ClientNames: names}
	}
	pair := func(cert, key string) ServerConfig { return ServerConfig{Pairs: []Pair{{cert, key}}} }
	server := func(c ServerConfig) error { _, err := Server(c); return err }
	client := func(c ClientConfig) error { _, err := Client(c); return err }

	for _, c := range []struct {
		err  error
		want []string
	}{
		{server(ServerConfig{}), []string{"certs: no certificate"}},
		{server(pair(certFile, "")), []string{"certs: KeyFile is empty"}},
		{server(pair("", keyFile)), []string{"certs: CertFile is empty"}},
		{server(pair(missing, keyFile)), []string{"certs: CertFile \"" + missing + "\": no such file"}},
		{server(pair(certFile, missing)), []string{"certs: KeyFile \"" + missing + "\": no such file"}},
		{server(pair(garbage, keyFile)), []string{"CertFile", garbage}},
		{server(pair(certFile, garbage)), []string{"KeyFile", garbage}},
		{server(pair(certFile, otherKey)), []string{"KeyFile", otherKey, "does not match"}},
		{server(pair(oldCert, oldKey)), []string{"CertFile", oldCert, "expired"}},
		{server(ServerConfig{Certificate: &cert, ClientNames: []string{"a"}}), []string{"ClientNames", "ClientCAFile"}},
		{server(pair(earlyCert, earlyKey)), []string{"CertFile", earlyCert, "not valid before"}},
		{client(ClientConfig{CertFile: earlyCert, KeyFile: earlyKey}), []string{"CertFile", earlyCert, "not valid before"}},
		{server(clientCA(garbage)), []string{"ClientCAFile", garbage, "no certificate"}},
		{server(clientCA(missing)), []string{"ClientCAFile", missing, "no such file"}},
		{server(clientCA(certFile)), []string{"ClientCAFile", certFile, "of back.example is no authority's"}},
		{server(clientCA(oldAuthority)), []string{"ClientCAFile", oldAuthority, "expired 200"}},
		{server(clientCA(write(t, "ca.pem", ca.PEM()), "a b")), []string{`"a b" is no name of DNS, no IP address and no URI`}},
		{client(ClientConfig{CAFile: garbage}), []string{"certs: CAFile", garbage, "no certificate"}},
		{client(ClientConfig{CAFile: missing}), []string{"certs: CAFile", missing, "no such file"}},
		{client(ClientConfig{CAFile: certFile, RootCAs: ca.Pool()}), []string{"both CAFile and RootCAs"}},
		{client(ClientConfig{CertFile: certFile}), []string{"certs: KeyFile is empty"}},
		{client(ClientConfig{CertFile: garbage, KeyFile: keyFile}), []string{"CertFile", garbage}},
	} {
		if c.err == nil {
			t.Errorf("got no error; want %q", c.want)
			continue
		}
		got := c.err.Error()
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("got %q; want %q in it", got, want)
			}
		}
		if strings.Contains(got, "\n") || strings.Count(got, missing) > 1 {
			t.Errorf("got %q; want one line that names the file once", got)
		}
	}
	if err := server(clientCA(write(t, "ca.pem", append(oldCA.PEM(), ca.PEM()...)))); err != nil {
		t.Errorf("an authority beside its successor: %v", err)
	}
	if err := client(ClientConfig{CAFile: missing}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v; want fs.ErrNotExist below it", err)
	}
}

func TestDevCertificate(t *testing.T) {
	ca := newCA(t)
	now := time.Now()
	leaf := issue(t, ca, "a.example", "b.example", "10.0.0.1").Leaf
	if leaf.IsCA || len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != 1 {
		t.Errorf("got CA %v, names %v, addresses %v", leaf.IsCA, leaf.DNSNames, leaf.IPAddresses)
	}
	if back := now.Sub(leaf.NotBefore); back < 59*time.Minute || back > 61*time.Minute {
		t.Errorf("begins %v ago; want an hour", back)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life < 364*24*time.Hour || life > 366*24*time.Hour {
		t.Errorf("lasts %v; want a year", life)
	}
	if _, err := ca.Issue(); err == nil {
		t.Error("without names: got no error")
	}
	for _, name := range []string{"", "a b", "--help", "[::1]", "1.2.3"} {
		if _, err := ca.Issue("a.example", name); err == nil {
			t.Errorf("a certificate for %q is issued", name)
		}
	}
	if block, rest := pem.Decode(ca.PEM()); block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Errorf("PEM: got %v", block)
	}
}

// handshake runs both ends and says a byte each way: in TLS 1.3 a client learns only from its first
// read that its certificate was refused.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	errc := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			errc <- err
			return
		}
		defer nc.Close()
		_, err = tls.Server(nc, server).Write([]byte("x"))
		errc <- err
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(nc, client)
	_, err = c.Read(make([]byte, 1))
	nc.Close()
	return c.ConnectionState(), errors.Join(err, <-errc)
}

func newCA(t *testing.T) *DevCA {
	t.Helper()
	ca, err := NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *DevCA, names ...string) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(names...)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issueUntil issues a certificate that began an hour ago and ends at that time.
func issueUntil(t *testing.T, ca *DevCA, end time.Time, names ...string) tls.Certificate {
	t.Helper()
	short := *ca.cert
	short.NotAfter = end
	return issue(t, &DevCA{cert: &short, key: ca.key}, names...)
}

// issueFrom issues a certificate that is valid from that time on.
func issueFrom(t *testing.T, ca *DevCA, from time.Time, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{NotBefore: from, NotAfter: from.Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePair(t *testing.T, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
		write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
