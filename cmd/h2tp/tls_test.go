package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/h2tp/h2tp/certs"
)

// writeCert writes a self-signed certificate for back.example that ends then, and its key.
func writeCert(t *testing.T, end time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{NotBefore: end.Add(-time.Hour), NotAfter: end, DNSNames: []string{"back.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return certFile, keyFile
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What cannot be right ends the process before anything listens, with one line that names the flag and the file.
func TestBrokenTLSInputIsOneLineAndExitCode2(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCert(t, time.Now().Add(time.Minute))
	_, otherKey := writeCert(t, time.Now().Add(time.Minute))
	oldCert, oldKey := writeCert(t, time.Now().Add(-time.Minute))
	garbage, missing := filepath.Join(dir, "garbage.pem"), filepath.Join(dir, "missing.pem")
	writeFile(t, garbage, []byte("garbage"))
	authority := filepath.Join(dir, "ca.pem")
	writeFile(t, authority, newAuthority(t).PEM())
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	back := func(args ...string) []string {
		return append([]string{"serve", "--listen", "h2tp://127.0.0.1:0", "--to", "http://127.0.0.1:1"}, args...)
	}
	good := func(args ...string) []string { return append(back("--cert", cert, "--key", key), args...) }
	front := func(args ...string) []string {
		return append([]string{"serve", "--listen", "http://127.0.0.1:0", "--to", "h2tp://127.0.0.1:1"}, args...)
	}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"a key of another certificate", back("--cert", cert, "--key", otherKey), []string{"--cert and --key", otherKey, "does not match"}},
		{"expired", back("--cert", oldCert, "--key", oldKey), []string{"--cert", oldCert, "expired"}},
		{"a certificate that is none", back("--cert", garbage, "--key", key), []string{"--cert", garbage}},
		{"a certificate that is not there", back("--cert", missing, "--key", key), []string{"--cert", missing, "no such file"}},
		{"a certificate that is a directory", back("--cert", dir, "--key", key), []string{"--cert", dir, "is a directory"}},
		{"two certificates, one bad", back("--cert", cert+","+garbage, "--key", key+","+key), []string{"--cert", garbage}},
		{"a listener's name without a certificate", []string{"serve", "--listen", "h2tp://localhost:0", "--to", "http://x", "--cert", cert, "--key", key},
			[]string{"--cert", "localhost"}},
		{"authorities that are not there", good("--client-ca", missing), []string{"--client-ca", missing, "no such file"}},
		{"an authority that is none", good("--client-ca", cert), []string{"--client-ca", cert, "no authority's"}},
		{"a client's name that is none", good("--client-ca", authority, "--client-names", "a.example,b example"), []string{"--client-names", "b example"}},
		{"authorities that are none", good("--client-ca", garbage), []string{"--client-ca", garbage, "no certificate"}},
		{"ticket keys that are too short", good("--ticket-keys", garbage), []string{"--ticket-keys", garbage, "7 bytes"}},
		{"a cache that others may write to", back("--acme-names", "a.example", "--acme-cache", open), []string{"--acme-", open, "0777"}},
		{"a cache that is a file", back("--acme-names", "a.example", "--acme-cache", garbage), []string{"--acme-", garbage, "is no directory"}},
		{"a cache below a file", back("--acme-names", "a.example", "--acme-cache", filepath.Join(garbage, "a")), []string{"--acme-", garbage, "not a directory"}},
		{"an address for a name", back("--acme-names", "a.example,192.0.2.1", "--acme-cache", dir), []string{"--acme-", `"192.0.2.1" is no DNS name`}},
		{"new names of none", back("--acme-names", "a.example", "--acme-cache", dir, "--acme-new-names", "5"), []string{"--acme-new-names has no effect"}},
		{"new names without any", back("--cert", cert, "--key", key, "--acme-new-names", "5"), []string{"--acme-names is missing"}},
		{"a directory that is no URL", back("--acme-names", "a.example", "--acme-cache", dir, "--acme-directory", "http://x"), []string{"--acme-", "https"}},
		{"destination's authorities not there", front("--ca", missing), []string{"--ca", missing, "no such file"}},
		{"a client's key that does not match", front("--client-cert", cert, "--client-key", otherKey), []string{"--client-cert", otherKey}},
		{"contradiction", front("--ca", cert, "--insecure-skip-verify"), []string{"--insecure-skip-verify and --ca contradict"}},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), c.args, &stdout, &stderr)
		line := stderr.String()
		if code != exitUsage || strings.Count(line, "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("%s: got code %d, %q, %q; want 2 and one line", c.name, code, line, &stdout)
		}
		for _, want := range c.want {
			if !strings.Contains(line, want) {
				t.Errorf("%s: got %q; want %q in it", c.name, line, want)
			}
		}
	}
}

// Who asks what a configuration comes to finds nothing made.
func TestCheckMakesNothing(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "a", "cache")
	args := []string{"--listen", "https://127.0.0.1:0", "--to", "http://127.0.0.1:1", "--acme-names", "*.a.example", "--acme-new-names", "5", "--acme-cache", cache,
		"--acme-directory", "https://127.0.0.1:1/dir", "--access-log", filepath.Join(dir, "log"), "--admin", "http://127.0.0.1:0"}
	if code, _, errs := checkWith(t, args...); code != 0 {
		t.Errorf("code %d, %s", code, errs)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("got %v, %v; want nothing made", list, err)
	}
	p := startServe(t, args...)
	awaitGoroutines(t, "http://"+p.out.await(t, "addr=http://"), map[string]int{"certs.(*ACME).Follow": 1, "certs.(*Live).Follow": 1})
	if fi, err := os.Stat(cache); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("serve: got %v, %v; want a directory of mode 0700", fi, err)
	}
}

// Whatever number of listeners and destinations have it.
func TestACertificateIsSpokenOfOnce(t *testing.T) {
	cert, key := writeCert(t, time.Now().Add(time.Minute))
	p := startServe(t, "--listen", "https://127.0.0.1:0,h2tp://127.0.0.1:0", "--cert", cert, "--key", key,
		"--to", "https://127.0.0.1:1,h2tp://127.0.0.1:1", "--client-cert", cert, "--client-key", key, "--admin", "http://127.0.0.1:0")
	operate := "http://" + p.out.await(t, "addr=http://")
	awaitCount(t, p.out, "certificate expires soon", 2)
	writeFile(t, cert, []byte("garbage"))
	resp, body := do(t, newClient(t), newRequest(t, "POST", operate+"/reload", nil))
	if n := strings.Count(body, "certificates not reloaded"); resp.StatusCode != 500 || n != 2 {
		t.Errorf("got %s, with %d of the listeners' file and the destinations'; want 500 and 2: %s", resp.Status, n, body)
	}
	p.cancel()
	p.ended()
	if n := strings.Count(p.out.String(), "certificate expires soon"); n != 2 {
		t.Errorf("said %d times that it expires; want 2:\n%s", n, p.out)
	}
}

// The README's way from nothing to mutual TLS, and a renewal that SIGHUP puts to use.
func TestEndToEndMutualTLSAndRenewal(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(t.TempDir(), "tls")
	file := func(name string) string { return filepath.Join(dir, name) }
	var out bytes.Buffer
	if code := run(t.Context(), []string{"certs", "init", dir}, &out, &out); code != 0 {
		t.Fatal(out.String())
	}
	back := spawn(t, h2tp(t), "serve", "--listen", "h2tp://127.0.0.1:0", "--to", r.upstreams["http"],
		"--cert", file("back.pem"), "--key", file("back-key.pem"), "--client-ca", file("ca.pem"))
	back.await(t, "msg=serving")
	hop := back.await(t, "msg=listening url=")
	front := spawnServe(t, "--listen", "http://127.0.0.1:0", "--to", hop,
		"--ca", file("ca.pem"), "--client-cert", file("front.pem"), "--client-key", file("front-key.pem"))
	mustServe(t, newClient(t), front, 1)

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := certs.WriteDev(dir); err != nil { // another authority
		t.Fatal(err)
	}
	if err := signalTo(back.pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	back.await(t, "msg=reloaded")
	u, err := url.Parse(hop)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(file("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(file("front.pem"), file("front-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatalf("with the new authority: %v", err)
	}
	nc.Close()
	mustServe(t, newClient(t), front, 1) // the connection that was there goes on
}

// Fronts that may not enter are refused before any request, with a line that has their address, and disturb nobody.
func TestEndToEndBadFrontsAreRefused(t *testing.T) {
	r := newRig(t)
	other := t.TempDir() // another authority
	if err := certs.WriteDev(other); err != nil {
		t.Fatal(err)
	}
	token, wrong := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "wrong")
	writeFile(t, token, []byte("0123456789abcdef0123\n"))
	writeFile(t, wrong, []byte("0123456789abcdef0124\n"))
	ca := []string{"--ca", r.file("ca.pem")}
	own := append(ca, "--client-cert", r.file("front.pem"), "--client-key", r.file("front-key.pem"))
	back := func(args ...string) (*output, string) {
		out := spawn(t, h2tp(t), append([]string{"serve", "--listen", "h2tp://127.0.0.1:0", "--to", r.upstreams["http"],
			"--cert", r.file("back.pem"), "--key", r.file("back-key.pem")}, args...)...)
		out.await(t, "msg=serving")
		return out, out.await(t, "msg=listening url=")
	}
	mutual, mutualURL := back("--client-ca", r.file("ca.pem"))
	listed, listedURL := back("--client-ca", r.file("ca.pem"), "--client-names", "other.example")
	tokened, tokenedURL := back("--token-file", token)
	again, againURL := back("--token-file", token) // lines of one address come once a second
	good := spawnServe(t, append([]string{"--listen", "http://127.0.0.1:0", "--to", mutualURL}, own...)...)
	mustServe(t, newClient(t), good, 1)

	for _, c := range []struct {
		name string
		log  *output
		url  string
		args []string
	}{
		{"no certificate", mutual, mutualURL, ca},
		{"another authority's", mutual, mutualURL, append(ca, "--client-cert", filepath.Join(other, "front.pem"), "--client-key", filepath.Join(other, "front-key.pem"))},
		{"a name not on the list", listed, listedURL, own},
		{"no token", tokened, tokenedURL, ca},
		{"a wrong token", again, againURL, append(ca, "--token-file", wrong)},
	} {
		before := strings.Count(c.log.String(), "127.0.0.1")
		front := spawnServe(t, append([]string{"--listen", "http://127.0.0.1:0", "--to", c.url}, c.args...)...)
		resp, err := newClient(t).Get(front)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 502 && resp.StatusCode != 503 {
			t.Errorf("%s: got %d; want 502 or 503", c.name, resp.StatusCode)
		}
		if strings.Count(c.log.String(), "127.0.0.1") == before {
			t.Errorf("%s: the back's log has no line with the address:\n%s", c.name, c.log)
		}
		mustServe(t, newClient(t), good, 1)
	}
}
