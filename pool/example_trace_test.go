package pool_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// A cold client makes three pings at once, over mutual TLS with a private authority:
// one dial, one new connection, two streams that share it.
func Example_coldStart() {
	ca, issue := privateAuthority()
	srv, err := pool.NewServer(pool.ServerConfig{
		Common: pool.Common{TLS: &tls.Config{
			Certificates: []tls.Certificate{issue("back.example")},
			ClientCAs:    ca,
			ClientAuth:   tls.RequireAndVerifyClientCert,
		}},
		Accept: func(s *pool.Stream) {
			s.Respond(200, pool.Field{Name: "hello", Value: s.TLS().PeerCertificates[0].Subject.CommonName})
			s.CloseWrite()
		},
	})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go srv.Serve(ln)
	defer srv.Close()

	cl, err := pool.NewClient(pool.ClientConfig{
		Addr:    "back.example:443",
		Resolve: func(context.Context) (string, error) { return ln.Addr().String(), nil },
		Common: pool.Common{
			TLS: &tls.Config{RootCAs: ca, Certificates: []tls.Certificate{issue("front.example")}},
			Trace: &pool.Trace{
				Dialing:   func(string) { fmt.Println("dialling") },
				Connected: func(_ string, _ time.Duration, err error) { fmt.Println("connected", err) },
				Opened: func(_ *pool.Stream, isReused bool) {
					fmt.Println("stream on", map[bool]string{false: "a new", true: "a reused"}[isReused], "connection")
				},
			},
		},
	})
	if err != nil {
		panic(err)
	}
	defer cl.Close()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := cl.Open(context.Background(), pool.Header{Path: "/ping"}, nil)
			if err != nil {
				panic(err)
			}
			defer s.Close()
			fmt.Println("hello", s.Header().Value("hello"))
		})
	}
	wg.Wait()
	// Unordered output:
	// dialling
	// connected <nil>
	// stream on a new connection
	// stream on a reused connection
	// stream on a reused connection
	// hello front.example
	// hello front.example
	// hello front.example
}

// privateAuthority makes a certificate authority for this process only, and returns
// it and what issues certificates in its name.
func privateAuthority() (*x509.CertPool, func(name string) tls.Certificate) {
	caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		panic(err)
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return roots, func(name string) tls.Certificate {
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, ca, &key.PublicKey, caKey)
		if err != nil {
			panic(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
}
