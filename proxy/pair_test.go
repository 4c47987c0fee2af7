package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair is a front and a back on loopback before an upstream.
type pair struct {
	front *Front
	back  *Back
	addr  string // of the front
	hop   string // of the back
}

func listenTCP(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func startBack(t testing.TB, ln net.Listener, cfg Config) *Back {
	t.Helper()
	cfg.Cleartext = cfg.ListenTLS == nil
	b, err := NewBack(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go b.Serve(ln)
	t.Cleanup(func() { b.Close() })
	return b
}

func startFront(t testing.TB, cfg Config) (*Front, string) {
	t.Helper()
	ln := listenTCP(t)
	f, err := NewFront(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go f.Serve(ln)
	t.Cleanup(func() { f.Close() })
	return f, ln.Addr().String()
}

func startPair(t testing.TB, upstream string, front, back Config) *pair {
	t.Helper()
	ln := listenTCP(t)
	if back.Handler == nil {
		back.To = []string{"http://" + upstream}
	}
	p := &pair{hop: ln.Addr().String()}
	p.back = startBack(t, ln, back)
	front.To = []string{"h2tpc://" + p.hop}
	p.front, p.addr = startFront(t, front)
	return p
}

func startUpstream(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// echoHandler tells what it got.
func echoHandler(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Target", r.RequestURI)
	w.Header().Set("X-Host", r.Host)
	w.Write(body)
}

func TestPairCarriesExchanges(t *testing.T) {
	up := startUpstream(t, echoHandler)
	for _, fc := range []Codec{Zstd, Snappy, Flate, None} {
		for _, bc := range []Codec{Zstd, Snappy, Flate, None} {
			t.Run(fc.String()+"-"+bc.String(), func(t *testing.T) {
				p := startPair(t, up, Config{Hop: Hop{Compress: fc}}, Config{Hop: Hop{Compress: bc}})
				var wg sync.WaitGroup
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
				defer client.CloseIdleConnections()
				for i := range 16 {
					wg.Go(func() {
						for j := range 20 {
							want := strings.Repeat(fmt.Sprintf("%d-%d ", i, j), j*100)
							resp, err := client.Post(fmt.Sprintf("http://%s/a/%d?b=%d", p.addr, i, j), "text/plain", strings.NewReader(want))
							if err != nil {
								t.Error(err)
								return
							}
							got, err := io.ReadAll(resp.Body)
							resp.Body.Close()
							if err != nil || string(got) != want || resp.StatusCode != 200 {
								t.Errorf("got %d, %d bytes, %v; want %d bytes", resp.StatusCode, len(got), err, len(want))
							}
							if x := resp.Header.Get("X-Target"); x != fmt.Sprintf("/a/%d?b=%d", i, j) {
								t.Errorf("target %q", x)
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// raw sends bytes to addr and returns all that comes until the peer closes or
// falls silent.
func raw(t testing.TB, addr, send string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.Write([]byte(send))
	nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	got, _ := io.ReadAll(nc)
	return string(got)
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{}, Config{})
	var b bytes.Buffer
	for i := range 20 {
		fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", i, i, strings.Repeat("b", i))
	}
	b.WriteString("GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	r := bufio.NewReader(strings.NewReader(raw(t, p.addr, b.String())))
	for i := range 21 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		want := fmt.Sprintf("/%d", i)
		if i == 20 {
			want = "/last"
		}
		if got := resp.Header.Get("X-Target"); got != want || len(body) != i%20 {
			t.Errorf("response %d: target %q, %d bytes", i, got, len(body))
		}
	}
}
