package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pebble is a real ACME server (github.com/letsencrypt/pebble) with a DNS server that answers every name with
// 127.0.0.1. A fifth of the nonces is refused.
type pebble struct {
	dir        string // its directory URL
	caFile     string // who vouches for that
	roots      *x509.CertPool
	tls, plain string // where it verifies names
	cmd        *exec.Cmd
}

func startPebble(t *testing.T) *pebble {
	t.Helper()
	t.Parallel() // most of the time goes into waiting for it
	server, dns := program(t, "pebble"), program(t, "pebble-challtestsrv")
	p := &pebble{tls: freePort(t), plain: freePort(t)}
	listen, manage, dnsAddr := freePort(t), freePort(t), freePort(t)
	ca := newCA(t)
	p.caFile = write(t, "ca.pem", ca.PEM())
	certFile, keyFile := writePair(t, issue(t, ca, "127.0.0.1"))
	port := func(addr string) int {
		_, s, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(s)
		return n
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage, "certificate": certFile, "privateKey": keyFile,
		"httpPort": port(p.plain), "tlsPort": port(p.tls), "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "short", "validityPeriod": 3600}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, dns, nil, "-dnsserver", dnsAddr, "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", freePort(t))
	p.cmd = run(t, server, []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20", "PEBBLE_AUTHZREUSE=0"},
		"-config", write(t, "pebble.json", config), "-dnsserver", dnsAddr, "-strict")
	p.dir = "https://" + listen + "/dir"

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
	defer client.CloseIdleConnections()
	root := get(t, client, "https://"+manage+"/roots/0")
	block, _ := pem.Decode(root)
	awaitDNS(t, dnsAddr)
	if block == nil {
		t.Fatalf("no root from pebble: %q", root)
	}
	p.roots = x509.NewCertPool()
	p.roots.AppendCertsFromPEM(root)
	get(t, client, p.dir)
	return p
}

// program finds a program; outside CI a missing one skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("no ACME server here: go install github.com/letsencrypt/pebble/v2/cmd/%s@v2.10.1", name)
		}
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, path string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), out.String())
		}
	})
	return cmd
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// get waits for a server that starts.
func get(t *testing.T, client *http.Client, url string) []byte {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := client.Get(url)
		if err == nil {
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s: %s, %v", url, resp.Status, err)
			}
			return b
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // it gives no sign
	}
}

// awaitDNS waits for a DNS server that starts: a name that cannot be resolved has failed its challenge.
func awaitDNS(t *testing.T, addr string) {
	t.Helper()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := resolver.LookupNetIP(t.Context(), "ip4", "ready.example.com.")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // it gives no sign
	}
}

// edge is a listener that shows what an ACME obtains.
type edge struct {
	*ACME
	config *tls.Config
	asks   *counting    // requests to the authority
	ln     net.Listener // with TLS
}

// counting counts requests, and those that order. After an order its authorizations are looked at, in the background.
type counting struct {
	next        http.RoundTripper
	all, orders atomic.Int64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.all.Add(1)
	if r.URL.Path == "/order-plz" {
		c.orders.Add(1)
	}
	return c.next.RoundTrip(r)
}

// startEdge serves TLS where pebble verifies names, and port 80 too if isPlain.
func startEdge(t *testing.T, p *pebble, cfg ACMEConfig, isTLS, isPlain bool) *edge {
	t.Helper()
	cfg.DirectoryURL, cfg.CAFile = p.dir, p.caFile
	a, err := NewACME(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client := a.manager.Client.HTTPClient
	e := &edge{ACME: a, asks: &counting{next: client.Transport}}
	client.Transport = e.asks
	if e.config, err = Server(ServerConfig{ACME: a, Protocols: []string{"h2", "http/1.1"}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	if isTLS {
		ln, err := net.Listen("tcp", p.tls)
		if err != nil {
			t.Fatal(err)
		}
		e.ln = ln
		wg.Go(func() { serveTLS(ln, e.config) })
		t.Cleanup(func() { ln.Close() })
	}
	if isPlain {
		ln, err := net.Listen("tcp", p.plain)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { http.Serve(ln, a.HTTPHandler(http.NotFoundHandler())) })
		t.Cleanup(func() { ln.Close() })
	}
	t.Cleanup(func() { a.Close() })
	return e
}

func serveTLS(ln net.Listener, config *tls.Config) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			tls.Server(nc, config).Handshake()
		}()
	}
}

// await is show, once the order is through.
func (e *edge) await(t *testing.T, p *pebble, name string) *x509.Certificate {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		cert, err := e.show(t, p, name)
		if err == nil {
			return cert
		}
		if !e.isOrdered(name) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func (e *edge) isOrdered(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, isKnown := e.known[name]
	return isKnown || e.flights[name] != nil
}

// show returns the certificate that a client sees, verified up to pebble's root.
func (e *edge) show(t *testing.T, p *pebble, name string) (*x509.Certificate, error) {
	t.Helper()
	state, err := handshake(t, e.config, &tls.Config{RootCAs: p.roots, ServerName: name, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	return state.PeerCertificates[0], nil
}

func TestCertificatesAreObtainedKeptAndShared(t *testing.T) {
	p := startPebble(t)
	dir := filepath.Join(t.TempDir(), "cache")
	names := []string{"www.example.com", "api.example.com"}
	first := startEdge(t, p, ACMEConfig{Names: names, CacheDir: dir, Email: "ops@example.com"}, true, false)
	first.ObtainAll(t.Context())
	cert, err := first.show(t, p, "www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("cache: mode %v, %v; want 0700", fi.Mode(), err)
	}
	keys, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, key := range keys {
		if fi, err := os.Stat(key); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", key, fi.Mode(), err)
		}
	}
	if n := len(first.Expiries()); n != 2 {
		t.Errorf("got %d expiries; want 2", n)
	}

	ordered := first.asks.orders.Load()
	for i := range 10000 {
		if _, err := first.certificate(t.Context(), fmt.Sprintf("r%d.example.com", i)); err != nil {
			t.Fatalf("a name that is not listed: %v", err)
		}
	}
	if n := first.asks.orders.Load() - ordered; ordered < 2 || n != 0 {
		t.Errorf("10,000 names that are not listed caused %d orders after %d; want 0 after 2 at least", n, ordered)
	}

	p.cmd.Process.Kill() // the authority is down
	p.cmd.Wait()
	second := startEdge(t, p, ACMEConfig{Names: names, CacheDir: dir}, false, false)
	again, err := second.show(t, p, "www.example.com")
	if err != nil {
		t.Fatalf("a second process with the same cache, authority down: %v", err)
	}
	if !again.Equal(cert) || second.asks.all.Load() != 0 {
		t.Errorf("want the certificate in the cache and no request; got %d requests", second.asks.all.Load())
	}
}

func TestACertificateIsObtainedByHTTP(t *testing.T) {
	p := startPebble(t)
	e := startEdge(t, p, ACMEConfig{Names: []string{"www.example.com"}, CacheDir: filepath.Join(t.TempDir(), "c")}, false, true)
	e.await(t, p, "www.example.com")
}

func TestACertificateIsRenewed(t *testing.T) {
	p := startPebble(t)
	var log logBuffer
	e := startEdge(t, p, ACMEConfig{
		Names: []string{"www.example.com"}, CacheDir: filepath.Join(t.TempDir(), "c"), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		RenewBefore: 2 * time.Hour, // they live one: always due
	}, true, false)
	first := e.await(t, p, "www.example.com")
	for deadline := time.Now().Add(time.Minute); ; {
		next, err := e.show(t, p, "www.example.com")
		if err != nil {
			t.Fatal(err)
		}
		if !next.Equal(first) {
			e.lookAtAll(time.Now())
			if got := log.take(); !strings.Contains(got, `msg="certificate renewed" name=www.example.com`) {
				t.Errorf("got log %q", got)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not renewed within a minute")
		}
		time.Sleep(100 * time.Millisecond) // it gives no sign
	}
}

// With nobody who answers challenges.
func TestACertificateWhoseRenewalIsRefusedIsWarnedOf(t *testing.T) {
	p := startPebble(t)
	var log logBuffer
	e := startEdge(t, p, ACMEConfig{
		Names: []string{"www.example.com"}, CacheDir: filepath.Join(t.TempDir(), "c"),
		RenewBefore: 2 * time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, true, false)
	e.await(t, p, "www.example.com")
	e.ln.Close()
	var all strings.Builder
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // it gives no sign
		e.lookAtAll(time.Now().Add(renewTimeout))
		all.WriteString(log.take())
		if strings.Contains(all.String(), `err="the authority says unauthorized: Failed to connect`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got log %s", all.String())
		}
	}
	if !strings.Contains(all.String(), "certificate is not being renewed") {
		t.Errorf("got log %s", all.String())
	}
}

func TestNewNamesUnderASuffixHaveABudget(t *testing.T) {
	p := startPebble(t)
	e := startEdge(t, p, ACMEConfig{Names: []string{"*.example.com"}, NewNames: 2, CacheDir: filepath.Join(t.TempDir(), "c")}, true, false)
	for i := range 2 {
		e.await(t, p, fmt.Sprintf("n%d.example.com", i))
	}
	ordered := e.asks.orders.Load()
	for i := range 10000 {
		if _, err := e.certificate(t.Context(), fmt.Sprintf("m%d.example.com", i)); err != errBudget {
			t.Fatalf("beyond the budget: got %v; want %v", err, errBudget)
		}
	}
	if n := e.asks.orders.Load() - ordered; ordered < 2 || n != 0 {
		t.Errorf("beyond the budget: %d orders after %d; want 0 after 2 at least", n, ordered)
	}
	if _, err := e.show(t, p, "n0.example.com"); err != nil {
		t.Errorf("a name that has a certificate: %v", err)
	}
}

func TestANameThatFailsIsLeftAloneLongerEachTime(t *testing.T) {
	p := startPebble(t)
	dir := filepath.Join(t.TempDir(), "c")
	var log logBuffer
	e := startEdge(t, p, ACMEConfig{Names: []string{"www.example.com"}, CacheDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}, false, false)
	e.ObtainAll(t.Context()) // nobody answers challenges; a handshake waits no longer than orderWait
	if got := log.take(); !strings.Contains(got, "no certificate obtained") || !strings.Contains(got, "the authority says unauthorized: Failed to connect") {
		t.Errorf("got log %q; want why", got)
	}
	if _, err := e.certificate(t.Context(), "www.example.com"); err == nil {
		t.Fatal("got a certificate without a challenge answered")
	}
	e.Close()
	restarted := startEdge(t, p, ACMEConfig{Names: []string{"www.example.com"}, CacheDir: dir}, true, false)
	if _, err := restarted.certificate(t.Context(), "www.example.com"); err == nil || !strings.Contains(err.Error(), "tried again in") {
		t.Errorf("got %v; want it left alone", err)
	}
	if n := restarted.asks.all.Load(); n != 0 {
		t.Errorf("left alone: %d requests to the authority", n)
	}
}
