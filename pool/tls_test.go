package pool

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme"
)

// authority is a private certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "private CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, key)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// issue makes a certificate for either end, for a name or 127.0.0.1.
func (a *authority) issue(name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	cert := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// Who is not vouched for, at either end, does not get a stream, and the error says
// why; development and cleartext have to be named.
func TestPeersAreVerifiedUnlessSaidOtherwise(t *testing.T) {
	ours, others := newAuthority(), newAuthority()
	server := &tls.Config{
		Certificates: []tls.Certificate{ours.issue("back")}, ClientCAs: ours.pool, ClientAuth: tls.VerifyClientCertIfGiven,
	}
	mutual := server.Clone()
	mutual.ClientAuth = tls.RequireAndVerifyClientCert
	old := &tls.Config{RootCAs: ours.pool, MaxVersion: tls.VersionTLS12}
	for _, tt := range []struct {
		name           string
		server, client *tls.Config
		isOK           bool
	}{
		{"vouched for", server, &tls.Config{RootCAs: ours.pool}, true},
		{"mutual", mutual, &tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{ours.issue("front")}}, true},
		{"development", server, &tls.Config{InsecureSkipVerify: true}, true},
		{"no configuration", server, nil, false},
		{"another authority", server, &tls.Config{RootCAs: others.pool}, false},
		{"another name", server, &tls.Config{RootCAs: ours.pool, ServerName: "elsewhere"}, false},
		{"client without a certificate", mutual, &tls.Config{RootCAs: ours.pool}, false},
		{"client of another authority", mutual, &tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{others.issue("front")}}, false},
		{"TLS 1.2", server, old, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln := listen(t)
			srv, err := NewServer(ServerConfig{Common: Common{TLS: tt.server}, Accept: echo})
			if err != nil {
				t.Fatal(err)
			}
			go srv.Serve(ln)
			defer srv.Close()
			failc := make(chan error, 1)
			cl, err := NewClient(ClientConfig{Addr: ln.Addr().String(), Common: Common{TLS: tt.client, Trace: &Trace{
				Connected: func(_ string, _ time.Duration, err error) {
					select {
					case failc <- err:
					default:
					}
				},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if err := <-failc; (err == nil) != tt.isOK {
				t.Errorf("dial: got %v", err)
			}
			if !tt.isOK {
				return
			}
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if st := s.TLS(); st == nil || st.Version != tls.VersionTLS13 {
				t.Errorf("got %v; want TLS 1.3", st)
			}
		})
	}
}

func TestConfigsThatSayTwoThingsAreErrors(t *testing.T) {
	both := Common{TLS: &tls.Config{}, Cleartext: true}
	if _, err := NewClient(ClientConfig{Common: both, Addr: "x:1"}); err == nil {
		t.Error("a client with TLS and cleartext: no error")
	}
	if _, err := NewServer(ServerConfig{Common: both}); err == nil {
		t.Error("a server with TLS and cleartext: no error")
	}
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("a server with neither TLS nor cleartext: no error")
	}
	if _, err := NewClient(ClientConfig{}); err == nil {
		t.Error("a client without Addr: no error")
	}
}

// A mistake is named when the client or server is made, not found when it is used.
func TestConfigsOutOfBoundsAreErrors(t *testing.T) {
	common := func(c Common) Common { c.Cleartext = c.TLS == nil; return c }
	for want, c := range map[string]Common{
		"HandshakeTimeout is": {HandshakeTimeout: -1},
		"PingTimeout is":      {PingTimeout: -1},
		"MaxStreams is":       {MaxStreams: -1},
		"MaxHeaderBytes is":   {MaxHeaderBytes: -1},
		"no certificate":      {TLS: new(tls.Config)},
	} {
		if _, err := NewServer(ServerConfig{Common: common(c)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("server: got %v; want an error with %q", err, want)
		}
	}
	for want, c := range map[string]ClientConfig{
		"has no port":       {Addr: "back"},
		"DialTimeout is":    {Addr: "back:1", DialTimeout: -1},
		"BackoffMin":        {Addr: "back:1", BackoffMin: -1},
		"MaxHeaderBytes is": {Addr: "back:1", Common: Common{MaxHeaderBytes: -1}},
		"MaxConns is less":  {Addr: "back:1", MaxConns: -1},
		"Conns is negative": {Addr: "back:1", Conns: -1, MaxConns: 1},
	} {
		c.Cleartext = true
		if _, err := NewClient(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("client: got %v; want an error with %q", err, want)
		}
	}
}

// A client that connects and says nothing is closed at the deadline, and others are
// served meanwhile.
func TestStalledHandshakeBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority() // the bubble has its own clock
		ln := newPipeListener()
		srv, err := NewServer(ServerConfig{Common: Common{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("back")}}}, Accept: echo})
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(ln)
		defer srv.Close()
		began := time.Now()
		stalled, err := ln.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		cl, err := NewClient(ClientConfig{Common: Common{TLS: &tls.Config{RootCAs: ca.pool}}, Addr: "back", Dial: ln.dial})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if _, err := cl.Open(t.Context(), Header{Path: "/"}, nil); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the other waited %v", d)
		}
		if _, err := stalled.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v; want the end", err)
		}
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("closed after %v; want 10s", d)
		}
	})
}

// The handshake is all of it (RFC 8737), and no peer's mistake.
func TestAChallengeIsNoBadHandshake(t *testing.T) {
	ca := newAuthority()
	challenge := &tls.Config{Certificates: []tls.Certificate{ca.issue("back")}, NextProtos: []string{acme.ALPNProto}}
	config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return challenge, nil }}
	srv, err := NewServer(ServerConfig{Common: Common{TLS: config, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, Accept: echo})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	go srv.Serve(ln)
	defer srv.Close()
	nc, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: ca.pool, ServerName: "back", NextProtos: challenge.NextProtos})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("got a byte; want the end")
	}
	if n := srv.Stats().BadHandshakes; n != 0 {
		t.Errorf("got %d bad handshakes; want none", n)
	}
}
