package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/h2tp/h2tp/certs"
)

func TestHostOfARedirect(t *testing.T) {
	for in, want := range map[string]string{
		"a.example": "a.example", "A.Example.:80": "a.example", "a.example:8080": "a.example", "192.0.2.1:80": "192.0.2.1",
		"[2001:db8::1]:80": "2001:db8::1", "[::1]": "::1", "x_y.example": "x_y.example",
		"": "", "a b": "", "a/b": "", "a@b": "", "a:b:c": "", "[fe80::1%eth0]": "", "a\\b": "", "?": "", ".": "", strings.Repeat("a", 254): "",
	} {
		got, ok := hostOf(in)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%q: got %q; want %q", in, got, want)
		}
	}
}

// askRedirect sends bytes to a redirecting listener and returns the answer.
func askRedirect(t *testing.T, addr, head string) *http.Response {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, head)
	got, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(head, " ")
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %q, %v", head, got, err)
	}
	return resp
}

func TestRedirectSendsToHTTPSAndNowhereElse(t *testing.T) {
	r := newRig(t)
	p := startServe(t, "--listen", "https://127.0.0.1:0", "--to", r.upstreams["http"], "--redirect", "127.0.0.1:0",
		"--cert", r.file(certs.DevBackFile), "--key", r.file(certs.DevBackKeyFile), "--hsts", "1h")
	https := strings.TrimPrefix(p.url(t, "https"), "https://")
	addr := strings.TrimPrefix(p.url(t, "redirect"), "redirect://")
	_, port, _ := net.SplitHostPort(https)
	for _, tt := range []struct {
		head, want string
		status     int
	}{
		{"GET /a//b?c=%2F HTTP/1.1\r\nHost: localhost\r\n\r\n", "https://localhost:" + port + "/a//b?c=%2F", 301},
		{"HEAD / HTTP/1.1\r\nHost: LOCALHOST.:8080\r\n\r\n", "https://localhost:" + port + "/", 301},
		{"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", "https://127.0.0.1:" + port + "/x", 308},
		{"GET //evil.example/ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "https://[::1]:" + port + "//evil.example/", 301},
		{"GET http://localhost/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", "https://localhost:" + port + "/x", 301},
		{"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "", 400},
		{"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "", 400},
		{"GET / HTTP/1.1\r\nHost: evil.example/@localhost\r\n\r\n", "", 400},
		{"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "", 400},
		{"GET / HTTP/1.0\r\n\r\n", "", 400},
	} {
		resp := askRedirect(t, addr, tt.head)
		if got := resp.Header.Get("Location"); resp.StatusCode != tt.status || got != tt.want {
			if tt.head[:7] == "OPTIONS" && resp.StatusCode == 200 && got == "" {
				continue // net/http's own answer
			}
			t.Errorf("%q: got %d to %q; want %d to %q", tt.head, resp.StatusCode, got, tt.status, tt.want)
		}
	}
	c, _ := r.client(t, p.url(t, "https"), true)
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, dialled string) (net.Conn, error) {
		if strings.HasSuffix(dialled, ":80") {
			dialled = addr
		}
		return new(net.Dialer).DialContext(ctx, network, dialled)
	}
	resp, err := c.Get("http://127.0.0.1/x")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.Request.URL.Scheme != "https" || resp.Header.Get("Strict-Transport-Security") != "max-age=3600" {
		t.Errorf("got %s from %s, %v", resp.Status, resp.Request.URL, resp.Header)
	}
}

func TestRedirectOfWhatIsNotThere(t *testing.T) {
	for args, want := range map[string]string{
		"--listen http://127.0.0.1:0 --redirect :80":          "flag --redirect has no effect: no --listen URL has scheme https",
		"--listen https://127.0.0.1:0 --redirect 80":          `is not HOST:PORT`,
		"--listen https://127.0.0.1:0 --redirect http://:80/": `is not HOST:PORT`,
	} {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"check", "--to", "http://a"}, strings.Fields(args)...), &out, &out)
		if code != 2 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: got code %d, %s; want 2 and %s", args, code, &out, want)
		}
	}
}
