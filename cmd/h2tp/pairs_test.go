package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/h2tp/h2tp/certs"
)

// rig has what every pair of ends needs: an upstream on each scheme, certificates, and a directory.
type rig struct {
	dir       string
	upstreams map[string]string // a --to URL by scheme
	roots     *x509.CertPool
}

func newRig(t *testing.T) *rig {
	r := &rig{dir: t.TempDir(), upstreams: make(map[string]string), roots: x509.NewCertPool()}
	if err := certs.WriteDev(r.dir); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(r.file(certs.DevCAFile))
	if err != nil {
		t.Fatal(err)
	}
	r.roots.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(r.file(certs.DevBackFile), r.file(certs.DevBackKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"http", "https", "unix"} {
		network, addr := "tcp", "127.0.0.1:0"
		if scheme == "unix" {
			network, addr = "unix", r.file("upstream.sock")
		}
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		r.upstreams[scheme] = scheme + "://" + ln.Addr().String()
		if scheme == "https" {
			ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
		}
		srv := &http.Server{Handler: http.HandlerFunc(gotBack)}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
	}
	return r
}

// gotBack answers with what it got.
func gotBack(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Got", r.Method+" "+r.Host+r.RequestURI+" "+r.Header.Get("X-Sent"))
	w.Header()["Date"] = nil
	io.Copy(w, r.Body)
}

func (r *rig) file(name string) string { return filepath.Join(r.dir, name) }

// serve runs "h2tp serve" with these ends and returns the URL it listens on.
func (r *rig) serve(t *testing.T, name, listen, to string, more ...string) string {
	t.Helper()
	args := []string{"serve", "--listen", listen, "--to", to}
	if strings.HasPrefix(listen, "https:") || strings.HasPrefix(listen, "h2tp:") {
		args = append(args, "--cert", r.file(certs.DevBackFile), "--key", r.file(certs.DevBackKeyFile))
	}
	if strings.HasPrefix(to, "https:") || strings.HasPrefix(to, "h2tp:") {
		args = append(args, "--ca", r.file(certs.DevCAFile))
	}
	out := newOutput()
	ctx, cancel := context.WithCancel(t.Context())
	donec := make(chan int, 1)
	go func() { donec <- run(ctx, append(args, more...), out, out) }()
	t.Cleanup(func() {
		cancel()
		if code := <-donec; code != 0 {
			t.Errorf("%s: code %d: %s", name, code, out)
		}
		if t.Failed() {
			t.Logf("%s: %s", name, out)
		}
	})
	url, _, _ := strings.Cut(out.await(t, "msg=listening url="), " ")
	return url
}

// listenURL is where an end with that scheme listens.
func (r *rig) listenURL(scheme, name string) string {
	if scheme == "unix" {
		return "unix://" + r.file(name+".sock")
	}
	return scheme + "://127.0.0.1:0"
}

// client speaks to an end that clients call.
func (r *rig) client(t *testing.T, url string, isHTTP2 bool) (*http.Client, string) {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, ForceAttemptHTTP2: isHTTP2}
	if path, ok := strings.CutPrefix(url, "unix://"); ok {
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		url = "http://socket.example"
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}, url
}

// mustServe sends a small and a large exchange and compares what comes back.
func mustServe(t *testing.T, c *http.Client, url string, proto int) {
	t.Helper()
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = byte(rand.Uint32())
	}
	for i, body := range [][]byte{nil, []byte("small"), large} {
		method := "POST"
		if body == nil {
			method = "GET"
		}
		req, err := http.NewRequest(method, fmt.Sprintf("%s/a//b?n=%d", url, i), bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Sent", "yes")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		want := fmt.Sprintf("%s %s/a//b?n=%d yes", method, req.Host, i)
		if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != proto || resp.Header.Get("X-Got") != want || sha256.Sum256(got) != sha256.Sum256(body) {
			t.Errorf("got %s %s, X-Got %q, %d bytes, %v; want 200 by HTTP/%d, %q, the %d bytes sent", resp.Proto, resp.Status, resp.Header.Get("X-Got"), len(got), err, proto, want, len(body))
		}
	}
}

// Every scheme as --listen with every scheme as --to: what is no HTTP/1.1 at an end gets a front or a back of its own
// in front of it or behind it.
func TestAllPairsOfEnds(t *testing.T) {
	schemes := []string{"http", "https", "unix", "h2tp", "h2tpc"}
	for _, from := range schemes {
		for _, to := range schemes {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				dest := r.upstreams[to]
				if dest == "" {
					dest = r.serve(t, "back", r.listenURL(to, "back"), r.upstreams["http"])
				}
				url := r.serve(t, "middle", r.listenURL(from, "middle"), dest)
				if strings.HasPrefix(from, "h2tp") {
					url = r.serve(t, "front", r.listenURL("http", "front"), url)
				}
				c, base := r.client(t, url, false)
				mustServe(t, c, base, 1)
				if from == "https" {
					c, base := r.client(t, url, true)
					mustServe(t, c, base, 2)
				}
			})
		}
	}
}
