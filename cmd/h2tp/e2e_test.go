package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests named EndToEnd start the real binary, as a user would, between real clients and upstreams.

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// signalTo is syscall.Kill where there is none too.
func signalTo(pid int, sig os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Signal(sig)
}

// binary is h2tp, built once, with the race detector when the tests have it.
var binary struct {
	once      sync.Once
	dir, path string
	err       error
}

func h2tp(t *testing.T) string {
	t.Helper()
	b := &binary
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "h2tp"); b.err != nil {
			return
		}
		b.path = filepath.Join(b.dir, "h2tp")
		args := []string{"build", "-o", b.path}
		if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
			b.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// program returns the path of a program. Without it the test is skipped, but not where everything has to pass.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, path := range []string{name, "/usr/sbin/" + name} {
			if path, err := exec.LookPath(path); err == nil {
				return path
			}
		}
	}
	missing(t, strings.Join(names, " or "))
	return ""
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("missing: ", what)
	}
	t.Skip("missing: ", what)
}

// spawn starts a program that is ended by SIGTERM with the test, and tells what it writes.
func spawn(t *testing.T, path string, args ...string) *output {
	t.Helper()
	out := newOutput()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.pid = cmd.Process.Pid
	endc := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		fmt.Fprintln(out, "ended:", err)
		endc <- err
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
		if err := <-endc; err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(path), err, out)
		}
		if s := out.String(); strings.Contains(s, "DATA RACE") {
			t.Errorf("%s: %s", filepath.Base(path), s)
		}
	})
	return out
}

// spawnServe starts h2tp serve and returns where it listens.
func spawnServe(t *testing.T, args ...string) string {
	t.Helper()
	out := spawn(t, h2tp(t), append([]string{"serve"}, args...)...)
	out.await(t, "msg=serving")
	return out.await(t, "msg=listening url=")
}

// A span is the way from a front to a back.
type span struct{ scheme, codec string }

var spans = []span{{"h2tp", "zstd"}, {"h2tp", "none"}, {"h2tpc", "zstd"}, {"h2tpc", "none"}}

// start starts a back before an upstream and a front, and returns the front's host and port.
func (s span) start(t *testing.T, upstream string, flags ...string) string {
	t.Helper()
	back := []string{"--listen", s.scheme + "://127.0.0.1:0", "--to", upstream, "--compress", s.codec}
	front := []string{"--listen", "http://127.0.0.1:0", "--compress", s.codec}
	if s.scheme == "h2tp" {
		pem := writePEM(t, newAuthority(t), "127.0.0.1")
		back = append(back, "--cert", pem.cert, "--key", pem.key)
		front = append(front, "--ca", pem.ca)
	}
	hop := spawnServe(t, append(back, flags...)...)
	return strings.TrimPrefix(spawnServe(t, append(append(front, "--to", hop), flags...)...), "http://")
}

// eachSpan runs a test over all spans, before an upstream.
func eachSpan(t *testing.T, h http.Handler, f func(t *testing.T, addr string)) {
	for _, s := range spans {
		t.Run(s.scheme+"/"+s.codec, func(t *testing.T) {
			f(t, s.start(t, startUpstream(t, h.ServeHTTP)))
		})
	}
}

// newClient is a client with connections of its own.
func newClient(t *testing.T) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true, ExpectContinueTimeout: patience}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 3 * patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do sends a request and reads all of its response.
func do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func newRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// content is n bytes, half of which compress, that differ by seed.
type content struct {
	block    []byte
	at, left int
}

func newContent(seed byte, n int) *content {
	block := make([]byte, 100_003)
	rand.NewChaCha8([32]byte{seed}).Read(block[:len(block)/2])
	return &content{block: block, left: n}
}

func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.left)], c.block[c.at:])
	c.at = (c.at + n) % len(c.block)
	c.left -= n
	return n, nil
}

func contentSum(seed byte, n int) string {
	sum, _ := checksum(newContent(seed, n))
	return sum
}

// checksum reads all.
func checksum(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// rawConn opens a connection on which bytes are sent as they are.
func rawConn(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// await receives from c within the tests' patience.
func await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: did not happen", what)
	}
	return v
}

// spread tells the median and the largest of what was measured.
func spread(times []time.Duration) (median, most time.Duration) {
	slices.SortFunc(times, cmp.Compare)
	return times[len(times)/2], times[len(times)-1]
}
