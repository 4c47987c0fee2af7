package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// patience bounds every wait of a test that has none of its own.
const patience = 30 * time.Second

// lineClient is one HTTP/1.1 connection whose answers are read one by one.
type lineClient struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// answer is one response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
	says   string // Connection
}

func dialClient(t testing.TB, addr string) *lineClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newLineClient(t, nc)
}

func newLineClient(t testing.TB, nc net.Conn) *lineClient {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &lineClient{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *lineClient) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal(err)
	}
}

// read reads the next response, an interim one too.
func (c *lineClient) read(method string) answer {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	says := resp.Header.Get("Connection")
	if resp.Close { // net/http takes the field away
		says = "close"
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(body), says: says}
}

// get asks for target and reads the response.
func (c *lineClient) get(target string) answer {
	c.t.Helper()
	c.send("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
	return c.read("GET")
}

// post sends body and reads the response.
func (c *lineClient) post(target, body string) answer {
	c.t.Helper()
	c.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body))
	return c.read("POST")
}

// want checks the status of the answer to what was done.
func (a answer) want(t testing.TB, status int, doing string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: got %d %.80q; want %d", doing, a.status, a.body, status)
	}
}

// wantEnd checks that the connection ends without another byte.
func (c *lineClient) wantEnd(after string) {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("after %s: got %q, %v; want the end", after, rest, err)
	}
}

// await receives from c within the test's patience.
func await[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: did not happen", what)
	}
	return v
}

// gate is what slow handlers wait at, after they said that they came. It opens at the
// end of the test at the latest.
type gate struct {
	t     testing.TB
	comec chan struct{}
	openc chan struct{}
	once  sync.Once
}

func newGate(t testing.TB) *gate {
	return &gate{t: t, comec: make(chan struct{}, 100), openc: make(chan struct{})}
}

func (g *gate) pass() {
	g.comec <- struct{}{}
	<-g.openc
}

// await waits until somebody came.
func (g *gate) await() {
	g.t.Helper()
	await(g.t, g.comec, "a request at the gate")
}

func (g *gate) open() { g.once.Do(func() { close(g.openc) }) }

// startScript starts an upstream whose connections are served by script.
func startScript(t testing.TB, script func(nc net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln := listenTCP(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				script(nc, bufio.NewReader(nc))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// readHead reads a head as it stands; empty at the end of the connection.
func readHead(r *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return ""
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// always answers each request without a body with response.
func always(response string) func(net.Conn, *bufio.Reader) {
	return func(nc net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			io.WriteString(nc, response)
		}
	}
}

// memNet is a network of pipes, for bubbles: it listens to what it dials.
type memNet struct {
	connc  chan net.Conn
	donec  chan struct{}
	once   sync.Once
	dials  atomic.Int64
	writes atomic.Int64 // of the ends that dialled
}

func newMemNet() *memNet { return &memNet{connc: make(chan net.Conn), donec: make(chan struct{})} }

func (m *memNet) Accept() (net.Conn, error) {
	select {
	case nc := <-m.connc:
		return nc, nil
	case <-m.donec:
		return nil, net.ErrClosed
	}
}

func (m *memNet) Close() error {
	m.once.Do(func() { close(m.donec) })
	return nil
}

func (m *memNet) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memNet) dial(string, string, time.Duration) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case m.connc <- far:
		m.dials.Add(1)
		return countedConn{near, &m.writes}, nil
	case <-m.donec:
		return nil, errors.New("connection refused")
	}
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// bubble runs f under a fake clock. Pooled calls hold channels and timers, which
// belong to one bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer func() { calls = sync.Pool{New: calls.New} }()
	calls = sync.Pool{New: calls.New}
	synctest.Test(t, f)
}

// bubblePair makes a front and a back in a bubble and waits until they are connected.
func bubblePair(t testing.TB, front, back Config) (*Front, *memNet) {
	t.Helper()
	m := newMemNet()
	startBack(t, m, back)
	front.Dial, front.To = m.dial, []string{"h2tpc://back:1"}
	f, err := NewFront(front)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	synctest.Wait()
	return f, m
}

// serveBubble serves clients of f in a bubble, and connects one.
func serveBubble(t testing.TB, f *Front) *lineClient {
	t.Helper()
	m := newMemNet()
	go f.Serve(m)
	nc, err := m.dial("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	c := newLineClient(t, nc)
	nc.SetDeadline(time.Time{})
	return c
}

// ask sends one request by the Go API and returns the body.
func ask(f *Front, method, uri, body string) (string, error) {
	var req fasthttp.Request
	var resp fasthttp.Response
	req.Header.SetMethod(method)
	req.SetRequestURI(uri)
	if body != "" {
		req.SetBodyString(body)
	}
	err := f.Do(&req, &resp)
	return string(resp.Body()), err
}

func mustAsk(t testing.TB, f *Front, method, uri, body, want string) {
	t.Helper()
	if got, err := ask(f, method, uri, body); err != nil || got != want {
		t.Errorf("%s %s: got %q, %v; want %q", method, uri, got, err, want)
	}
}

func TestBatchDelayIsExact(t *testing.T) {
	for _, tc := range []struct{ front, back time.Duration }{
		{0, 0}, {3 * time.Millisecond, 0}, {0, 5 * time.Millisecond}, {3 * time.Millisecond, 5 * time.Millisecond},
	} {
		bubble(t, func(t *testing.T) {
			f, _ := bubblePair(t, Config{Hop: Hop{BatchDelay: tc.front}}, Config{Handler: okHandler, Hop: Hop{BatchDelay: tc.back}})
			for range 3 {
				began := time.Now()
				mustAsk(t, f, "GET", "http://x/", "", "ok")
				if got, want := time.Since(began), tc.front+tc.back; got != want {
					t.Errorf("front %v, back %v: got %v; want %v", tc.front, tc.back, got, want)
				}
			}
		})
	}
}

func TestRecordsWithinTheDelayShareABatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, m := bubblePair(t, Config{Hop: Hop{BatchDelay: time.Millisecond}}, Config{Handler: okHandler, Hop: Hop{BatchDelay: time.Millisecond}})
		mustAsk(t, f, "GET", "http://x/", "", "ok")
		for _, n := range []int{1, 100} {
			synctest.Wait()
			before := m.writes.Load()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { mustAsk(t, f, "GET", "http://x/", "", "ok") })
			}
			wg.Wait()
			synctest.Wait()
			if got := m.writes.Load() - before; got != 1 {
				t.Errorf("%d requests made %d writes; want 1", n, got)
			}
		}
	})
}

func TestFastResponseOvertakesSlowOne(t *testing.T) {
	g := newGate(t)
	defer g.open()
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			g.pass()
		}
		io.WriteString(w, r.URL.Path)
	})
	p := startPair(t, up, Config{}, Config{})
	slow, fast := dialClient(t, p.addr), dialClient(t, p.addr)
	slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	g.await()
	for range 10 {
		if a := fast.get("/fast"); a.body != "/fast" {
			t.Errorf("got %q", a.body)
		}
	}
	g.open()
	if a := slow.read("GET"); a.body != "/slow" {
		t.Errorf("got %q", a.body)
	}
	if n := p.front.route.dests()[0].(*peer).client.Stats(); n.Streams != 1 || n.Dials != 1 {
		t.Errorf("%d streams, %d dials; want the batched one, and one dial", n.Streams, n.Dials)
	}
}

func TestExchangesOverTheLimitAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name        string
		front, back Config
	}{
		{"front", Config{Limits: Limits{MaxExchanges: 2}}, Config{}},
		{"back", Config{}, Config{Limits: Limits{MaxExchanges: 2}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := newGate(t)
			defer g.open()
			up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				g.pass()
				io.WriteString(w, "done")
			})
			p := startPair(t, up, tc.front, tc.back)
			var running []*lineClient
			for range 2 {
				c := dialClient(t, p.addr)
				c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				g.await()
				running = append(running, c)
			}
			over := dialClient(t, p.addr)
			for range 3 {
				a := over.get("/")
				a.want(t, 503, "one exchange too many")
				if a.header.Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
			}
			g.open()
			for _, c := range running {
				c.read("GET").want(t, 200, "exchange within the limit")
			}
			over.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			g.await()
			over.read("GET").want(t, 200, "after the others were done")
		})
	}
}

func TestLateResponseIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		releasec := make(chan struct{})
		f, m := bubblePair(t, Config{Limits: Limits{Timeout: time.Second}}, Config{Handler: func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/slow" {
				<-releasec
			}
			ctx.SetBody(ctx.Path())
		}})
		c := serveBubble(t, f)
		began := time.Now()
		c.get("/slow").want(t, 504, "a request that takes too long")
		if got := time.Since(began); got < time.Second || got > time.Second+sweepPeriod {
			t.Errorf("answered after %v; want 1s to 1.1s", got)
		}
		close(releasec)
		synctest.Wait() // the late response has come
		for range 3 {
			if a := c.get("/next"); a.status != 200 || a.body != "/next" {
				t.Errorf("got %d %q", a.status, a.body)
			}
		}
		if n := m.dials.Load(); n != 2 {
			t.Errorf("%d connections over the hop; want 2", n)
		}
	})
}

func TestTimeoutsOfBackAndOfOneCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		silent := newMemNet()
		defer silent.Close()
		go func() {
			for {
				nc, err := silent.Accept()
				if err != nil {
					return
				}
				go io.Copy(io.Discard, nc)
			}
		}()
		f, _ := bubblePair(t, Config{Limits: Limits{Timeout: -1}},
			Config{To: []string{"http://up"}, Dial: silent.dial, Limits: Limits{Timeout: time.Second}})
		began := time.Now()
		_, err := ask(f, "GET", "http://x/", "")
		if got := time.Since(began); !errors.Is(err, ErrTimeout) || got < time.Second || got > time.Second+sweepPeriod {
			t.Errorf("got %v after %v; want ErrTimeout after 1s", err, got)
		}
		var req fasthttp.Request
		var resp fasthttp.Response
		req.SetRequestURI("http://x/")
		began = time.Now()
		err = f.DoTimeout(&req, &resp, 70*time.Millisecond)
		if got := time.Since(began); !errors.Is(err, ErrTimeout) || got != 70*time.Millisecond {
			t.Errorf("got %v after %v; want ErrTimeout after 70ms", err, got)
		}
		began = time.Now()
		err = f.DoDeadline(&req, &resp, began.Add(30*time.Millisecond))
		if got := time.Since(began); !errors.Is(err, ErrTimeout) || got != 30*time.Millisecond {
			t.Errorf("got %v after %v; want ErrTimeout after 30ms", err, got)
		}
		if n := f.PendingRequests(); n != 0 {
			t.Errorf("%d pending; want 0", n)
		}
	})
}

// chunked is body in chunks of at most n bytes, with the last one.
func chunked(body string, n int) string {
	var b strings.Builder
	for len(body) > 0 {
		k := min(n, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", k, body[:k])
		body = body[k:]
	}
	return b.String() + "0\r\n\r\n"
}

func TestRequestLimits(t *testing.T) {
	const limit = 2048
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{Limits: Limits{MaxBody: limit, MaxHead: limit}}, Config{})
	body := func(n int) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("b", n))
	}
	chunks := func(n int) string {
		return "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(strings.Repeat("b", n), 700)
	}
	head := func(n int) string {
		const rest = "GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n"
		return strings.Replace(rest, "A: ", "A: "+strings.Repeat("a", n-len(rest)), 1)
	}
	for _, tc := range []struct {
		name   string
		send   string
		status int
	}{
		{"a body at the limit", body(limit), 200},
		{"a body over it", body(limit + 1), 413},
		{"a chunked body at the limit", chunks(limit), 200},
		{"a chunked body over it", chunks(limit + 1), 413},
		{"a head at the limit", head(limit), 200},
		{"a head over it", head(limit + 1), 431},
	} {
		c := dialClient(t, p.addr)
		c.send(tc.send)
		a := c.read("GET")
		a.want(t, tc.status, tc.name)
		if a.status != 200 {
			c.wantEnd(tc.name)
		}
	}
}

func TestHeadLimitMayBeRaisedAtBothEnds(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Cookie")) })
	limits := Limits{MaxHead: 128 << 10}
	p := startPair(t, up, Config{Limits: limits}, Config{Limits: limits})
	want := strings.Repeat("a=b; ", 24<<10) + "z=1"
	for _, n := range []int{1, 100 << 10} { // in a batch, and on a stream
		c := dialClient(t, p.addr)
		c.send(fmt.Sprintf("GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nContent-Length: %d\r\n\r\n%s", want, n, strings.Repeat("b", n)))
		if a := c.read("GET"); a.status != 200 || a.body != want {
			t.Errorf("got %d and %d bytes; want the cookies of %d bytes", a.status, len(a.body), len(want))
		}
	}
}

func TestTargetLimit(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{}, Config{})
	dialClient(t, p.addr).get("/"+strings.Repeat("t", wire.DefaultTarget-1)).want(t, 200, "a target at the limit")
	dialClient(t, p.addr).get("/"+strings.Repeat("t", wire.DefaultTarget)).want(t, 414, "a target over it")
}

func TestResponseLimits(t *testing.T) {
	const limit = 2048
	responses := map[string]string{}
	add := func(path, response string) { responses[path] = response }
	for _, n := range []int{limit, limit + 1} {
		body := strings.Repeat("b", n)
		add(fmt.Sprintf("/length/%d", n), fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n, body))
		add(fmt.Sprintf("/chunked/%d", n), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked(body, 700))
		add(fmt.Sprintf("/close/%d", n), "HTTP/1.1 200 OK\r\n\r\n"+body)
		const rest = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: \r\n\r\n"
		add(fmt.Sprintf("/head/%d", n), strings.Replace(rest, "A: ", "A: "+strings.Repeat("a", n-len(rest)), 1))
	}
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		target := strings.Fields(readHead(r) + " - -")[1]
		io.WriteString(nc, responses[target])
	})
	p := startPair(t, up, Config{}, Config{Limits: Limits{MaxBody: limit, MaxHead: limit}})
	c := dialClient(t, p.addr)
	for _, kind := range []string{"length", "chunked", "close", "head"} {
		a := c.get(fmt.Sprintf("/%s/%d", kind, limit))
		a.want(t, 200, kind+" at the limit")
		c.get(fmt.Sprintf("/%s/%d", kind, limit+1)).want(t, 502, kind+" over the limit")
	}
}

// hopScript is a front that sends records of the test's making on one batched stream.
type hopScript struct {
	t    testing.TB
	s    *pool.Stream
	enc  *wire.Encoder
	dec  *wire.Decoder
	buf  []byte      // of a batch that is not whole yet
	recc chan string // what came: type, id and code, or status and body
	endc chan error
}

func openHop(t testing.TB, addr string) *hopScript {
	t.Helper()
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	h := &hopScript{
		t: t, recc: make(chan string, 100), endc: make(chan error, 1),
		enc: wire.NewEncoder(wire.DictLimits{}), dec: wire.NewDecoder(wire.DictLimits{}, wire.Limits{}),
	}
	fields := []pool.Field{
		{Name: "content-type", Value: contentType}, {Name: "h2tp-version", Value: version},
		{Name: "h2tp-codec", Value: "none"}, {Name: "h2tp-limits", Value: "entries=0"},
	}
	if h.s, err = cl.Open(t.Context(), pool.Header{Path: pathBatch, Fields: fields}, h); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hopScript) Closed(err error) { h.endc <- err }

// Receive takes batches apart; the back sends them without a codec.
func (h *hopScript) Receive(p []byte) error {
	h.buf = append(h.buf, p...)
	for len(h.buf) >= wire.HeaderSize {
		head, err := wire.ParseHeader(h.buf, wire.DefaultBatch)
		if err != nil {
			return err
		}
		raw := wire.HeaderSize + head.Coded
		if len(h.buf) < raw+head.Raw {
			return nil
		}
		h.dec.Reset(h.buf[wire.HeaderSize:raw], h.buf[raw:raw+head.Raw], head.Clear)
		var rec wire.Record
		for err = h.dec.Next(&rec); err == nil; err = h.dec.Next(&rec) {
			h.tell(&rec)
		}
		if err != io.EOF {
			return err
		}
		h.buf = h.buf[raw+head.Raw:]
	}
	return nil
}

func (h *hopScript) tell(rec *wire.Record) {
	switch rec.Type {
	case wire.TypeResponse:
		h.recc <- fmt.Sprintf("%d: %d %s", rec.ID, rec.Response.Status, rec.Response.Body)
	case wire.TypeFailed, wire.TypeNotStarted:
		h.recc <- fmt.Sprintf("%d: %v %d", rec.ID, rec.Type, rec.Code)
	default:
		h.recc <- rec.Type.String()
	}
}

func (h *hopScript) request(r wire.Request) {
	h.t.Helper()
	r.Method, r.Authority = []byte("POST"), []byte("x")
	if r.Target == nil {
		r.Target = []byte("/")
	}
	var b wire.Batch
	h.enc.AppendRequest(&b, &r)
	h.write(b)
}

// write sends a batch as it is.
func (h *hopScript) write(b wire.Batch) {
	h.t.Helper()
	out := wire.AppendHeader(nil, wire.Header{Coded: len(b.Shared), Plain: len(b.Shared), Raw: len(b.Raw), Sum: wire.Checksum(b.Shared, b.Raw)})
	if _, err := h.s.Write(append(append(out, b.Shared...), b.Raw...)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hopScript) want(rec string) {
	h.t.Helper()
	select {
	case got := <-h.recc:
		if got != rec {
			h.t.Errorf("got %q; want %q", got, rec)
		}
	case err := <-h.endc:
		h.t.Fatalf("the stream ended, %v; want %q", err, rec)
	case <-time.After(patience):
		h.t.Fatalf("nothing came; want %q", rec)
	}
}

func TestLimitsHoldOnTheHop(t *testing.T) {
	const limit = 2048
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: okHandler, Limits: Limits{MaxBody: limit}})
	h := openHop(t, ln.Addr().String())
	fields := func(n, size int) []wire.Field {
		list := make([]wire.Field, n)
		for i := range list {
			list[i] = wire.Field{Name: []byte("A"), Value: bytes.Repeat([]byte("a"), size)}
		}
		return list
	}
	body := func(n int) wire.Request { return wire.Request{BodyKind: wire.BodyWhole, Body: make([]byte, n)} }
	for i, tc := range []struct {
		req  wire.Request
		want string
	}{
		{body(limit), "200 ok"},
		{body(limit + 1), "failed 6"},
		{wire.Request{Fields: fields(wire.DefaultFields+addedFields, 1)}, "200 ok"},
		{wire.Request{Fields: fields(wire.DefaultFields+addedFields+1, 1)}, "failed 10"},
		{wire.Request{Fields: fields(64, 1023)}, "200 ok"},
		{wire.Request{Fields: fields(65, 1024)}, "failed 10"},
		{wire.Request{Target: []byte("/" + strings.Repeat("t", wire.DefaultTarget-1))}, "200 ok"},
		{wire.Request{Target: []byte("/" + strings.Repeat("t", wire.DefaultTarget))}, "414 "},
		{body(1), "200 ok"},
	} {
		h.request(tc.req)
		h.want(fmt.Sprintf("%d: %s", i+1, tc.want))
	}
}

func TestOverlongBatchIsAStreamError(t *testing.T) {
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: okHandler})
	for _, h := range []wire.Header{
		{Coded: wire.DefaultBatch + 1, Plain: wire.DefaultBatch + 1},
		{Coded: 100, Plain: 100, Raw: wire.DefaultBatch},
		{Codec: uint8(compress.Zstd), Anew: true, Coded: 4096, Plain: 100},
	} {
		s := openHop(t, ln.Addr().String())
		s.s.Write(wire.AppendHeader(nil, h))
		if re, ok := errors.AsType[*pool.ResetError](await(t, s.endc, "end of the stream")); !ok || re.Code != codeCalm && re.Code != codeProtocol {
			t.Errorf("%+v: not a stream error", h)
		}
	}
}

func TestDecompressionStopsAtItsLimit(t *testing.T) {
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: okHandler})
	for _, id := range []compress.ID{compress.Zstd, compress.Snappy, compress.Flate} {
		enc, err := compress.NewMemory(1<<26).NewEncoder(id, compress.EncoderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		coded, err := enc.Encode(nil, make([]byte, 4<<20))
		if err != nil {
			t.Fatal(err)
		}
		s := openHop(t, ln.Addr().String())
		plain := max(1000, len(coded))
		s.s.Write(append(wire.AppendHeader(nil, wire.Header{Codec: uint8(id), Anew: true, Coded: len(coded), Plain: plain}), coded...))
		if _, ok := errors.AsType[*pool.ResetError](await(t, s.endc, "end of the stream")); !ok {
			t.Errorf("%v: not a stream error", id)
		}
	}
}

func TestClientAddressIsAppended(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Join(r.Header.Values("X-Forwarded-For"), "|"))
	})
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for _, tc := range []struct{ send, want string }{
		{"", "127.0.0.1"},
		{"X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1, 127.0.0.1"},
		{"x-forwarded-for: 192.0.2.1, 2001:db8::1\r\n", "192.0.2.1, 2001:db8::1, 127.0.0.1"},
		{"X-Forwarded-For: a\r\nX-Forwarded-For: b\r\n", "a|b, 127.0.0.1"},
	} {
		c.send("GET / HTTP/1.1\r\nHost: x\r\n" + tc.send + "\r\n")
		if a := c.read("GET"); a.body != tc.want {
			t.Errorf("%q: got %q; want %q", tc.send, a.body, tc.want)
		}
	}
}

func TestCustomDialReachesUpstreamsAndPeers(t *testing.T) {
	up := startUpstream(t, echoHandler)
	hop := listenTCP(t)
	var toUpstream, toPeer atomic.Int64
	dialTo := func(n *atomic.Int64, want, real string) func(string, string, time.Duration) (net.Conn, error) {
		return func(network, addr string, timeout time.Duration) (net.Conn, error) {
			if addr != want {
				return nil, fmt.Errorf("dialled %s; want %s", addr, want)
			}
			n.Add(1)
			return net.DialTimeout(network, real, timeout)
		}
	}
	startBack(t, hop, Config{To: []string{"http://up.test"}, Dial: dialTo(&toUpstream, "up.test:80", up)})
	_, addr := startFront(t, Config{Hop: Hop{Conns: 1}, To: []string{"h2tpc://back.test:8043"}, Dial: dialTo(&toPeer, "back.test:8043", hop.Addr().String())})
	c := dialClient(t, addr)
	for range 3 {
		c.get("/").want(t, 200, "through a custom dial")
	}
	if a, b := toUpstream.Load(), toPeer.Load(); a != 1 || b != 1 {
		t.Errorf("%d and %d dials; want 1 and 1", a, b)
	}
}

func TestCallerMayUseRequestAgainAfterTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		releasec := make(chan struct{})
		f, _ := bubblePair(t, Config{}, Config{Handler: func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/slow" {
				<-releasec
			}
			ctx.SetBody(ctx.PostBody())
		}})
		var req fasthttp.Request
		var resp fasthttp.Response
		for i := range 10 {
			req.Header.SetMethod("POST")
			req.SetRequestURI("http://x/slow")
			req.SetBodyString(strings.Repeat("slow", 10))
			if err := f.DoTimeout(&req, &resp, time.Millisecond); !errors.Is(err, ErrTimeout) {
				t.Errorf("got %v; want ErrTimeout", err)
			}
			want := fmt.Sprintf("fast %d", i)
			req.SetRequestURI("http://x/fast")
			req.SetBodyString(want)
			if err := f.DoTimeout(&req, &resp, time.Second); err != nil || string(resp.Body()) != want {
				t.Errorf("got %q, %v; want %q", resp.Body(), err, want)
			}
		}
		close(releasec)
		synctest.Wait()
		mustAsk(t, f, "POST", "http://x/", "last", "last")
	})
}

// wordHandler sends on c each message of the log.
type wordHandler struct {
	slog.Handler
	c chan string
}

func (h wordHandler) Handle(_ context.Context, rec slog.Record) error {
	select {
	case h.c <- rec.Message:
	default:
	}
	return nil
}

func awaitWord(t testing.TB, c <-chan string, want string) {
	t.Helper()
	for await(t, c, "log line "+want) != want {
	}
}

func TestBackMayGoAndComeAgain(t *testing.T) {
	up := startUpstream(t, echoHandler)
	hop := listenTCP(t)
	addr := hop.Addr().String()
	wordc := make(chan string, 100)
	f, clients := startFront(t, Config{
		Hop: Hop{Conns: 1}, To: []string{"h2tpc://" + addr}, Limits: Limits{QueueTimeout: patience},
		Logger: slog.New(wordHandler{slog.NewTextHandler(io.Discard, nil), wordc}),
	})
	b := startBack(t, hop, Config{To: []string{"http://" + up}})
	c := dialClient(t, clients)
	for range 3 {
		c.post("/", "before").want(t, 200, "before")
		b.Close()
		awaitWord(t, wordc, "connection lost")
		again, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		b = startBack(t, again, Config{To: []string{"http://" + up}})
		a := c.post("/", "after")
		a.want(t, 200, "after")
		if a.body != "after" {
			t.Errorf("got %q", a.body)
		}
	}
	if n := f.PendingRequests(); n != 0 {
		t.Errorf("%d pending; want 0", n)
	}
}

func TestExchangeWithoutBackFailsAfterQueueTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemNet()
		m.Close()
		f, err := NewFront(Config{Dial: m.dial, To: []string{"h2tpc://back:1"}, Limits: Limits{QueueTimeout: 2 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		began := time.Now()
		_, err = ask(f, "POST", "http://x/", "b")
		if got := time.Since(began); !errors.Is(err, ErrUpstream) || got < 2*time.Second || got > 2*time.Second+sweepPeriod {
			t.Errorf("got %v after %v; want ErrUpstream after 2s", err, got)
		}
	})
}

// What was compressed by the upstream arrives as it was sent.
func TestCompressedBodiesArriveUnchanged(t *testing.T) {
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	zw.Write(bytes.Repeat([]byte("compressed "), 1000))
	zw.Close()
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(body)
	})
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", z.Len(), z.Bytes()))
	if a := c.read("POST"); a.body != z.String() || a.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %d bytes, %q; want %d, gzip", len(a.body), a.header, z.Len())
	}
}
