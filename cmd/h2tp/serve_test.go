package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/h2tp/h2tp/certs"
)

// pemFiles are the names of a certificate's files.
type pemFiles struct{ ca, cert, key string }

func newAuthority(t *testing.T) *certs.DevCA {
	t.Helper()
	ca, err := certs.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func writePEM(t *testing.T, ca *certs.DevCA, name string) pemFiles {
	t.Helper()
	cert, err := ca.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return pemFiles{
		ca:   write("ca.pem", ca.PEM()),
		cert: write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
		key:  write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	}
}

// process is h2tp running in this one.
type process struct {
	out    *output // both outputs
	cancel context.CancelFunc
	codec  chan int
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &process{out: newOutput(), cancel: cancel, codec: make(chan int, 1)}
	go func() { p.codec <- run(ctx, args, p.out, p.out) }()
	t.Cleanup(func() {
		cancel()
		if code, ok := <-p.codec; ok && code != 0 {
			t.Errorf("h2tp %s: code %d, %s", strings.Join(args, " "), code, p.out)
		}
	})
	return p
}

// ended waits for the exit code.
func (p *process) ended() int {
	defer close(p.codec)
	return <-p.codec
}

// startServe returns once it serves.
func startServe(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, append([]string{"serve"}, args...)...)
	p.out.await(t, "msg=serving")
	return p
}

// url returns where it listens, of the one listener with that scheme.
func (p *process) url(t *testing.T, scheme string) string {
	t.Helper()
	return scheme + "://" + p.out.await(t, "url="+scheme+"://")
}

func startUpstream(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func hello(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", r.URL.Path) }

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func wantHello(t *testing.T, url string) {
	t.Helper()
	if code, body := get(t, url+"/x"); code != 200 || body != "hello /x" {
		t.Errorf("%s: got %d %q; want 200 and hello /x", url, code, body)
	}
}

func TestServeWiresEveryPairOfEnds(t *testing.T) {
	up := startUpstream(t, hello)
	ca := newAuthority(t)
	srv, cli := writePEM(t, ca, "127.0.0.1"), writePEM(t, ca, "front.example")
	serverFlags := []string{"--cert", srv.cert, "--key", srv.key, "--client-ca", srv.ca}
	clientFlags := []string{"--ca", srv.ca, "--client-cert", cli.cert, "--client-key", cli.key}

	back := startServe(t, append(serverFlags, "--listen", "h2tp://127.0.0.1:0/deep,h2tpc://127.0.0.1:0", "--to", up)...)
	tlsHop, plainHop := back.url(t, "h2tp"), back.url(t, "h2tpc")
	if !strings.HasSuffix(tlsHop, "/deep") {
		t.Errorf("%s has no prefix", tlsHop)
	}
	relay := startServe(t, append(clientFlags, "--listen", "h2tpc://127.0.0.1:0", "--to", tlsHop, "--compress", "snappy")...)
	for name, args := range map[string][]string{
		"edge":            {"--to", up},
		"front, clear":    {"--to", plainHop},
		"front, TLS":      append(clientFlags, "--to", tlsHop),
		"front and relay": {"--to", relay.url(t, "h2tpc"), "--compress", "none", "--log-format", "text"},
		"both":            append(clientFlags, "--to", plainHop+","+tlsHop, "--compress", "flate"),
		"skip verify":     {"--to", tlsHop, "--insecure-skip-verify", "--client-cert", cli.cert, "--client-key", cli.key},
	} {
		t.Run(name, func(t *testing.T) {
			front := startServe(t, append(args, "--listen", "http://127.0.0.1:0")...)
			wantHello(t, front.url(t, "http"))
			if isLoud := strings.Contains(front.out.String(), "INSECURE"); isLoud != (name == "skip verify") {
				t.Errorf("the log is %s", front.out)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", tlsHop, "--ca", srv.ca, "--queue-timeout", "100ms")
		if code, _ := get(t, front.url(t, "http")); code != 502 {
			t.Errorf("got %d; want 502", code)
		}
	})
}

func TestServeMixesListeners(t *testing.T) {
	up := startUpstream(t, hello)
	p := startServe(t, "--listen", "http://127.0.0.1:0,http://127.0.0.1:0,h2tpc://127.0.0.1:0/a,h2tpc://127.0.0.1:0/b", "--to", up)
	for line := range strings.Lines(p.out.String()) {
		_, url, ok := strings.Cut(strings.TrimSpace(line), "url=")
		switch {
		case !ok:
		case strings.HasPrefix(url, "http:"):
			wantHello(t, url)
		default:
			front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", url)
			wantHello(t, front.url(t, "http"))
		}
	}
	if n := strings.Count(p.out.String(), "msg=listening"); n != 4 {
		t.Errorf("%d listeners; want 4", n)
	}
}

// A file of destinations may come to have any kind of them: what they need was read at the start.
func TestServeFollowsAFileOfDestinations(t *testing.T) {
	ca := newAuthority(t)
	srv := writePEM(t, ca, "127.0.0.1")
	back := startServe(t, "--cert", srv.cert, "--key", srv.key, "--listen", "h2tp://127.0.0.1:0", "--to", startUpstream(t, hello))
	file := filepath.Join(t.TempDir(), "to")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# none yet\n" + startUpstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "other") }) + "\n")
	front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", "file://"+file, "--ca", srv.ca, "--policy", "round-robin", "--queue-timeout", "10s")
	if code, body := get(t, front.url(t, "http")); code != 200 || body != "other" {
		t.Errorf("got %d %q", code, body)
	}
	write("# one that is wrong\nhttp://a:99999\n")
	if got := front.out.await(t, "old ones stay"); !strings.Contains(got, file+":2: ") {
		t.Errorf("got %q; want the line", got)
	}
	if _, body := get(t, front.url(t, "http")); body != "other" {
		t.Errorf("got %q with a broken file", body)
	}
	write(back.url(t, "h2tp") + ";weight=2 # the back\n")
	front.out.await(t, "destinations reloaded")
	wantHello(t, front.url(t, "http"))
}

func TestLogIsJSONWhenAskedFor(t *testing.T) {
	p := start(t, "serve", "--listen", "http://127.0.0.1:0", "--to", "http://127.0.0.1:1", "--log-format", "json")
	p.out.await(t, `"msg":"listening","url":"http://127.0.0.1:`)
}

// slowUpstream answers when release is closed; it tells when a request has come.
func slowUpstream(t *testing.T) (url string, camec chan struct{}, release chan struct{}) {
	camec, release = make(chan struct{}, 1), make(chan struct{})
	return startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		camec <- struct{}{}
		<-release
		hello(w, r)
	}), camec, release
}

// fetchLater makes one request and tells its answer.
func fetchLater(url string, answerc chan<- string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		answerc <- err.Error()
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	answerc <- fmt.Sprint(resp.StatusCode, " ", string(body), " ", err)
}

func TestDrainFinishesWhatRuns(t *testing.T) {
	for _, who := range []string{"front", "back"} {
		t.Run(who, func(t *testing.T) {
			up, camec, release := slowUpstream(t)
			back := startServe(t, "--listen", "h2tpc://127.0.0.1:0", "--to", up)
			front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", back.url(t, "h2tpc"))
			answerc := make(chan string, 1)
			go fetchLater(front.url(t, "http")+"/x", answerc)
			<-camec
			p := map[string]*process{"front": front, "back": back}[who]
			p.cancel()
			p.out.await(t, "msg=draining")
			select {
			case code := <-p.codec:
				t.Fatalf("ended with code %d before what ran", code)
			default:
			}
			close(release)
			if got := <-answerc; got != "200 hello /x <nil>" {
				t.Errorf("got %s", got)
			}
			if code := p.ended(); code != 0 {
				t.Errorf("code %d; want 0\n%s", code, p.out)
			}
		})
	}
}

func TestDrainEndsInTime(t *testing.T) {
	up, camec, release := slowUpstream(t)
	defer close(release)
	p := startServe(t, "--listen", "http://127.0.0.1:0", "--to", up, "--drain-timeout", "50ms")
	answerc := make(chan string, 1)
	go fetchLater(p.url(t, "http"), answerc)
	<-camec
	p.cancel()
	if code := p.ended(); code != 1 {
		t.Errorf("code %d; want 1\n%s", code, p.out)
	}
	<-answerc
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	up, camec, release := slowUpstream(t)
	defer close(release)
	p := startServe(t, "--listen", "http://127.0.0.1:0", "--to", up, "--drain-timeout", "10m")
	answerc := make(chan string, 1)
	go fetchLater(p.url(t, "http"), answerc)
	<-camec
	for range 2 {
		if err := signalTo(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		p.out.await(t, "why=terminated")
	}
	if code := p.ended(); code != 1 {
		t.Errorf("code %d; want 1\n%s", code, p.out)
	}
	<-answerc
}
