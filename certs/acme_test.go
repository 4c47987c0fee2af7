package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// roundTripper is an authority.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

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

// It lives for three days, so it is due a day before its end.
func TestWhatBecomesOfCertificatesOfACMEIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeCached(t, dir, "www.example.com", issueUntil(t, ca, time.Now().Add(72*time.Hour), "www.example.com"))
		var log logBuffer
		a := newTestACME(t, ACMEConfig{Names: []string{"www.example.com"}, CacheDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		a.heard.next = roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		if _, err := a.certificate(t.Context(), "www.example.com"); err != nil {
			t.Fatal(err)
		}
		go a.Follow(t.Context())
		for _, step := range []struct {
			sleep time.Duration
			want  string // the one line
		}{
			{53 * time.Hour, ""},
			{time.Hour, `level=WARN msg="certificate is not being renewed" name=www.example.com expires=2000-01-04T00:00:00.000Z left=18h15m0s err="connection refused"`},
			{17 * time.Hour, ""},
			{2 * time.Hour, `level=ERROR msg="certificate has expired" name=www.example.com expires=2000-01-04T00:00:00.000Z left=0s err="connection refused"`},
			{24 * time.Hour, `level=ERROR msg="certificate has expired"`},
		} {
			time.Sleep(step.sleep)
			synctest.Wait()
			if got := log.take(); !strings.Contains(got, step.want) || strings.Count(got, "\n") != min(1, len(step.want)) {
				t.Errorf("got log %q; want %q", got, step.want)
			}
		}
		// Another process has renewed it; this one finds it at its next attempt.
		writeCached(t, dir, "www.example.com", issueUntil(t, ca, time.Now().Add(72*time.Hour), "www.example.com"))
		time.Sleep(renewRetry + lookPeriod)
		synctest.Wait()
		if got := log.take(); !strings.Contains(got, `msg="certificate renewed" name=www.example.com`) || strings.Count(got, "\n") != 1 {
			t.Errorf("got log %q; want it renewed", got)
		}
		// A challenge that fails is no failure as long as another may be met.
		a.heard.note([]identifier{{"WWW.example.com"}}, "no such host")
		time.Sleep(renewTimeout - lookPeriod)
		synctest.Wait()
		if got := log.take(); got != "" {
			t.Errorf("got log %q of one challenge", got)
		}
		time.Sleep(2 * lookPeriod)
		synctest.Wait()
		if got := log.take(); !strings.Contains(got, `err="no such host"`) || strings.Count(got, "\n") != 1 {
			t.Errorf("got log %q; want why it is not renewed", got)
		}
	})
}

func TestWhyTheAuthorityRefusesIsHeard(t *testing.T) {
	const order = "{\"payload\":\"eyJpZGVudGlmaWVycyI6W3sidHlwZSI6ImRucyIsInZhbHVlIjoiYS5leGFtcGxlIn1dfQ\"}" // identifiers: a.example
	for _, tt := range []struct {
		name, asked, kind, body string
		status                  int
		err                     error
		named, all              string // what is heard
	}{
		{"a good one", order, "application/json", `{"status":"pending","identifiers":[{"type":"dns","value":"a.example"}]}`, 201, nil, "", ""},
		{"an order refused", order, "application/problem+json", `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many","status":429}`, 429, nil,
			"the authority says rateLimited: too many", ""},
		{"all refused", "", "application/problem+json", `{"type":"urn:ietf:params:acme:error:serverInternal","detail":"down","status":500}`, 500, nil,
			"", "the authority says serverInternal: down"},
		{"a nonce", order, "application/problem+json", `{"type":"urn:ietf:params:acme:error:badNonce","detail":"x","status":400}`, 400, nil, "", ""},
		{"a challenge", "", "application/json", `{"status":"invalid","identifier":{"type":"dns","value":"A.example"},"challenges":[{"status":"invalid",` +
			`"error":{"type":"urn:ietf:params:acme:error:connection","detail":"` + strings.Repeat("x", maxReason) + `","status":400}},{"status":"pending"}]}`, 200, nil,
			"the authority says connection: xxx", ""},
		{"another name's", "", "application/json", `{"status":"invalid","identifier":{"type":"dns","value":"b.example"},"challenges":[{"error":{"detail":"x"}}]}`, 200, nil, "", ""},
		{"an order", "", "application/json", `{"status":"invalid","identifiers":[{"value":"a.example"}],"error":{"type":"urn:ietf:params:acme:error:caa","detail":"no"}}`, 200, nil,
			"the authority says caa: no", ""},
		{"nobody", order, "", "", 0, errors.New("connection refused"), "", "connection refused"},
		{"closed", order, "", "", 0, errClosed, "", ""},
		{"no JSON", order, "application/json", "<html>", 500, nil, "", ""},
		{"a certificate", "", "application/pem-certificate-chain", `{"status":"invalid"}`, 500, nil, "", ""},
	} {
		h := &hearing{isListed: func(name string) bool { return name == "a.example" }, reasons: make(map[string]reason)}
		h.next = roundTripper(func(r *http.Request) (*http.Response, error) {
			if b, err := io.ReadAll(r.Body); err != nil || string(b) != tt.asked {
				t.Errorf("%s: the authority gets %q, %v", tt.name, b, err)
			}
			return &http.Response{StatusCode: tt.status, Header: http.Header{"Content-Type": {tt.kind}}, Body: io.NopCloser(strings.NewReader(tt.body))}, tt.err
		})
		req, err := http.NewRequest("POST", "https://acme.invalid/", strings.NewReader(tt.asked))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h.RoundTrip(req)
		if err != tt.err {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if err == nil {
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != tt.body {
				t.Errorf("%s: got body %q, %v; want it whole", tt.name, b, err)
			}
		}
		named, all := h.of("a.example")
		isAs := func(got, want string) bool {
			return (got == "") == (want == "") && strings.HasPrefix(got, want) && len(got) <= maxReason
		}
		if !isAs(named.text, tt.named) || !isAs(all.text, tt.all) {
			t.Errorf("%s: heard %q and %q; want %q and %q", tt.name, named.text, all.text, tt.named, tt.all)
		}
	}
	h := &hearing{isListed: func(string) bool { return true }, reasons: make(map[string]reason)}
	for i := range maxReasons + 1 {
		h.note([]identifier{{fmt.Sprint(i)}}, "no")
	}
	if _, ok := h.reasons[fmt.Sprint(maxReasons)]; !ok || len(h.reasons) != maxReasons {
		t.Errorf("%d reasons are kept; want the last %d", len(h.reasons), maxReasons)
	}
}
