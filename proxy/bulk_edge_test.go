package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// A client that leaves is noticed though the upstream says nothing that could fail
// to be written.
func TestClientThatLeavesASilentStreamEndsIt(t *testing.T) {
	gone := make(chan struct{}, 10)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "data: first\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		for range 6 { // more than there are ready streams
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(nc, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
			readHead(bufio.NewReader(nc))
			nc.Close()
			await(t, gone, "the upstream's end")
		}
	})
}

// A client whose connection is reset in the middle of its body does not leave the
// upstream waiting for the rest.
func TestResetUploadEndsItsUpstreamRequest(t *testing.T) {
	come, ended := make(chan struct{}, 10), make(chan error, 10)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 1000))
		come <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("b", 100_000))
		await(t, come, "the request")
		nc.(*net.TCPConn).SetLinger(0)
		nc.Close()
		if err := await(t, ended, "the upstream's end"); err == nil {
			t.Error("a body cut short was taken for whole")
		}
	})
}

// What follows an Upgrade that is declined is the next request, on the same connection.
func TestDeclinedUpgradeKeepsTheConnection(t *testing.T) {
	up := startUpstream(t, echoHandler)
	eachPair(t, up, func(t *testing.T, addr string) {
		c := dialClient(t, addr)
		for i := range 3 {
			c.send("GET /wire HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: telegraph\r\n\r\n")
			if i > 0 {
				c.send("GET /behind HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			if a := c.read("GET"); a.status != 200 || a.says != "" {
				t.Errorf("got %d, Connection %q; want 200 and no word of the connection", a.status, a.says)
			}
			if i > 0 {
				if a := c.read("GET"); a.header.Get("X-Target") != "/behind" {
					t.Errorf("got %v; want the answer to the request behind it", a)
				}
			}
			c.get("/next").want(t, 200, "the next request")
		}
	})
}

// The upstream may end its side of a tunnel first.
func TestTunnelEndsOneSideAtATime(t *testing.T) {
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: telegraph\r\nConnection: Upgrade\r\n\r\nlast words")
		nc.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(r)
		gotc <- fmt.Sprintf("%s %v", got, err)
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		c := dialClient(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: telegraph\r\n\r\n")
		readHead(c.r)
		if got, err := io.ReadAll(c.r); string(got) != "last words" {
			t.Fatalf("got %q, %v", got, err)
		}
		c.send("and an answer")
		c.nc.(*net.TCPConn).CloseWrite()
		if got := await(t, gotc, "the upstream's end"); got != "and an answer <nil>" {
			t.Errorf("the upstream got %q", got)
		}
	})
}

var gotc = make(chan string, 10)

// What asks for an Upgrade and has a body is a request with a body.
func TestUpgradeWithABodyIsARequest(t *testing.T) {
	up := startUpstream(t, echoHandler)
	eachPair(t, up, func(t *testing.T, addr string) {
		for _, framing := range []string{"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"} {
			c := dialClient(t, addr)
			c.send("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n" + framing)
			if a := c.read("POST"); a.status != 200 || a.body != "hello" {
				t.Errorf("got %v", a)
			}
			c.get("/again").want(t, 200, "the next request")
		}
	})
}

// A handler declines an Upgrade and takes streamed bodies whole, one after the
// other on one connection, at either end.
func TestHandlerTakesWhatIsStreamed(t *testing.T) {
	echo := func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }
	_, direct := startFront(t, Config{Handler: echo})
	p := startPair(t, "", Config{}, Config{Handler: echo})
	for _, addr := range []string{direct, p.addr} {
		c := dialClient(t, addr)
		long := strings.Repeat("long ", 140_000)
		for range 3 {
			if a := c.post("/", long); a.body != long {
				t.Errorf("got %d, %d bytes", a.status, len(a.body))
			}
			if a := c.post("/", "short"); a.body != "short" {
				t.Errorf("got %v", a)
			}
		}
		c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		c.read("GET").want(t, 200, "an Upgrade that a handler declines")
	}
}

// Streams count as connections to an upstream, and leave none waiting.
func TestStreamsShareTheBoundOnConnections(t *testing.T) {
	g := newGate(t)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gate" {
			io.Copy(io.Discard, r.Body)
			g.pass()
		}
		echoHandler(w, r)
	})
	f, addr := startFront(t, Config{To: []string{"http://" + up}, Limits: Limits{MaxUpstreamConns: 1}})
	u := f.route.dests()[0].(*upstream)
	idle := func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return len(u.free) == 1 || len(u.conns)+u.bulks == 0
	}
	long := strings.Repeat("x", 100_000)
	c := dialClient(t, addr)
	c.get("/").want(t, 200, "a request that leaves an idle connection")
	awaitTrue(t, idle, "an idle connection") // given back after its response was passed on
	c.post("/", long).want(t, 200, "a stream in its place")
	awaitTrue(t, idle, "the stream's end")
	done := make(chan answer, 1)
	go func() { done <- dialClient(t, addr).post("/gate", long) }()
	g.await()
	c.send("GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
	second := make(chan answer, 1)
	go func() { second <- dialClient(t, addr).post("/", long) }()
	awaitTrue(t, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.lobby.n == 2
	}, "two exchanges that wait")
	g.open()
	c.read("GET").want(t, 200, "a request that waited for a stream's end")
	await(t, done, "the stream").want(t, 200, "the stream")
	await(t, second, "the second stream").want(t, 200, "a stream that waited")
	awaitNone(t, f.route)
}

// A stream waits for a connection as long as it has time, its upstream is there, and
// its client.
func TestStreamThatWaitsInVainIsAnswered(t *testing.T) {
	for _, end := range []string{"timeout", "close", "leave"} {
		g := newGate(t)
		up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) { g.pass() })
		defer g.open()
		limits := Limits{MaxUpstreamConns: 1, Timeout: time.Minute}
		if end == "timeout" {
			limits.Timeout = 300 * time.Millisecond
		}
		f, addr := startFront(t, Config{To: []string{"http://" + up}, Limits: limits})
		first := dialClient(t, addr)
		first.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: telegraph\r\n\r\n")
		g.await()
		u := f.route.dests()[0].(*upstream)
		waiting := func(want int) func() bool {
			return func() bool {
				u.mu.Lock()
				defer u.mu.Unlock()
				return u.lobby.n == want
			}
		}
		c := dialClient(t, addr)
		body := strings.Repeat("x", 100_000)
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		switch end {
		case "timeout":
			c.read("POST").want(t, 504, "a stream that waited")
		case "close":
			awaitTrue(t, waiting(1), "an exchange that waits")
			u.close()
			c.read("POST").want(t, 503, "a stream that waited")
		case "leave":
			awaitTrue(t, waiting(1), "an exchange that waits")
			c.nc.Close()
			awaitTrue(t, waiting(0), "the end of the wait")
			first.nc.Close()
		}
		awaitNone(t, f.route)
	}
}

func TestGarbageInAChunkedBodyIsRefused(t *testing.T) {
	come, gone := make(chan struct{}, 10), make(chan error, 10)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		come <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		gone <- err
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		c := dialClient(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("3e8\r\n"+strings.Repeat("x", 1000)+"\r\n", 20))
		await(t, come, "the request")
		c.send("zz\r\n")
		c.read("POST").want(t, 400, "garbage behind twenty chunks")
		c.wantEnd("garbage")
		if err := await(t, gone, "the upstream's end"); err == nil {
			t.Error("a broken body was taken for whole")
		}
	})
}

func TestTrailersCrossStreams(t *testing.T) {
	gotc := make(chan string, 10)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		n, err := io.Copy(w, r.Body)
		gotc <- fmt.Sprint(n, " ", r.Trailer.Get("X-End"), " ", err)
		w.Header().Set("X-Sum", fmt.Sprint(n))
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		body := strings.Repeat("t", 300_000)
		var resp *http.Response
		req, _ := http.NewRequest("POST", "http://"+addr+"/", io.MultiReader(strings.NewReader(body)))
		req.Trailer = http.Header{"X-End": {"of the request"}}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != body || resp.Trailer.Get("X-Sum") != "300000" {
			t.Errorf("got %d bytes, %v, trailers %v", len(got), err, resp.Trailer)
		}
		if got := await(t, gotc, "the request"); got != "300000 of the request <nil>" {
			t.Errorf("the upstream got %q", got)
		}
	})
}

// Streamed exchanges whose response has no body, and a pipelined request behind.
func TestStreamedRequestsKeepTheConnection(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Got", fmt.Sprint(n))
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		case "/103":
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(103)
			io.WriteString(w, strings.Repeat("late", 50_000))
		default:
			io.WriteString(w, strings.Repeat("body", 50_000))
		}
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		c := dialClient(t, addr)
		body := strings.Repeat("x", 100_000)
		for _, tc := range []struct {
			method, path string
			status, size int
		}{{"POST", "/204", 204, 0}, {"POST", "/304", 304, 0}, {"HEAD", "/", 200, 0}, {"POST", "/", 200, 200_000}, {"POST", "/103", 200, 200_000}} {
			for _, framing := range []string{"Content-Length: 100000\r\n\r\n" + body, "Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 7000)} {
				c.send(tc.method + " " + tc.path + " HTTP/1.1\r\nHost: x\r\n" + framing + "GET /204 HTTP/1.1\r\nHost: x\r\n\r\n")
				a := c.read(tc.method)
				for a.status == 103 && tc.path == "/103" {
					a = c.read(tc.method)
				}
				a.want(t, tc.status, tc.method+" "+tc.path)
				if len(a.body) != tc.size || a.header.Get("X-Got") != "100000" {
					t.Errorf("%s %s: got %d bytes, upstream %s", tc.method, tc.path, len(a.body), a.header.Get("X-Got"))
				}
				c.read("GET").want(t, 204, "the request behind "+tc.path)
			}
		}
	})
}

// The bytes behind a streamed request are its successor's, whoever uses the buffer
// they came in.
func TestPipelinedBehindStreamIsNotOverwritten(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{Limits: Limits{BatchLimit: 1 << 10}}, Config{})
	hello := strings.Repeat("hello", 300)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := dialClient(t, p.addr)
			for j := range 30 {
				a, b := fmt.Sprintf("/a/%d/%d", i, j), fmt.Sprintf("/b/%d/%d", i, j)
				c.send("POST " + a + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1500\r\n\r\n" + hello + "GET " + b + " HTTP/1.1\r\nHost: x\r\n\r\n")
				if got := c.read("POST"); got.header.Get("X-Target") != a || got.body != hello {
					t.Errorf("got %v", got)
				}
				if got := c.read("GET"); got.header.Get("X-Target") != b {
					t.Errorf("got %v; want %s", got, b)
				}
			}
		})
	}
	wg.Wait()
}

func TestCallHasATimeoutForTheBodyToo(t *testing.T) {
	var came atomic.Int64
	gone := make(chan struct{}, 1000)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		came.Add(1)
		io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	})
	p := startPair(t, up, Config{}, Config{})
	q := startPair(t, up, Config{Limits: Limits{Timeout: 50 * time.Millisecond}}, Config{})
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://x/")
	for _, ask := range []func() error{
		func() error { return p.front.DoTimeout(&req, &resp, 50*time.Millisecond) },
		func() error { return q.front.Do(&req, &resp) },
	} {
		for before := came.Load(); came.Load() == before; { // the time may be over before the upstream was asked
			errc := make(chan error, 1)
			go func() { errc <- ask() }()
			if err := await(t, errc, "the timeout"); !errors.Is(err, ErrTimeout) {
				t.Errorf("got %v; want ErrTimeout", err)
			}
		}
		await(t, gone, "the upstream's end")
	}
}

// An upstream that takes no more of a body is bounded by Timeout all the same.
func TestUpstreamThatTakesNothingTimesOut(t *testing.T) {
	hold := make(chan struct{})
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) { <-hold })
	defer close(hold)
	_, addr := startFront(t, Config{To: []string{"http://" + up}, Limits: Limits{WriteTimeout: 100 * time.Millisecond, Timeout: 100 * time.Millisecond}})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() {
		io.WriteString(nc, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
		piece := make([]byte, 1<<16)
		for {
			if _, err := nc.Write(piece); err != nil {
				return
			}
		}
	}()
	nc.SetReadDeadline(time.Now().Add(patience))
	if head := readHead(bufio.NewReader(nc)); !strings.HasPrefix(head, "HTTP/1.1 504 ") {
		t.Errorf("got %q; want 504", head)
	}
}

// wsFrame makes a frame of RFC 6455 section 5.2.
func wsFrame(isFinal bool, opcode byte, mask []byte, lengthSize int, payload []byte) []byte {
	var b []byte
	if isFinal {
		opcode |= 0x80
	}
	var m byte
	if mask != nil {
		m = 0x80
	}
	switch lengthSize {
	case 8:
		b = binary.BigEndian.AppendUint64([]byte{opcode, m | 127}, uint64(len(payload)))
	case 2:
		b = binary.BigEndian.AppendUint16([]byte{opcode, m | 126}, uint16(len(payload)))
	default:
		b = []byte{opcode, m | byte(len(payload))}
	}
	b = append(b, mask...)
	for i, p := range payload {
		if mask != nil {
			p ^= mask[i%4]
		}
		b = append(b, p)
	}
	return b
}

// writeAwkwardly writes in pieces of sizes at which something begins, ends or is full,
// the first of them one byte each, and ends its side.
func writeAwkwardly(nc net.Conn, p []byte) {
	sizes := []int{2, 3, 5, 6, 7, 13, 14, 15, 125, 126, 127, 128, 4095, 4096, 4097, bulkPiece - 1, bulkPiece, bulkPiece + 1, 1<<16 - 1, 1 << 16, 1<<16 + 1}
	for i := 0; len(p) > 0; i++ {
		n := 1
		if i >= 500 {
			n = min(len(p), sizes[i%len(sizes)])
		}
		if _, err := nc.Write(p[:n]); err != nil {
			return
		}
		p = p[n:]
	}
	nc.(*net.TCPConn).CloseWrite()
}

func TestWebSocketFramesCrossUnchanged(t *testing.T) {
	frames := func(mask []byte) []byte {
		var b []byte
		add := func(isFinal bool, opcode byte, size int, payload string) {
			b = append(b, wsFrame(isFinal, opcode, mask, size, []byte(payload))...)
		}
		for opcode := range byte(16) { // the reserved ones are bytes too
			add(true, opcode, 1, "Hello")
		}
		add(false, 1, 1, "Hel") // a text in fragments, a ping between
		add(true, 9, 1, "ping")
		add(false, 0, 1, "")
		add(true, 0, 1, "lo")
		add(true, 10, 1, "pong")
		add(true, 2, 1, strings.Repeat("\x00", 125))
		add(true, 2, 2, strings.Repeat("\xff", 126))
		add(true, 2, 2, strings.Repeat("\x7f", 1<<16-1))
		add(true, 2, 8, strings.Repeat("16", 1<<15))
		add(true, 2, 8, strings.Repeat("\r\n0\r\n\r\n", 1<<16))
		for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999} {
			add(true, 8, 1, string(binary.BigEndian.AppendUint16(nil, code))+"bye")
		}
		for _, n := range []uint64{1<<63 - 1, 1 << 16, 1 << 32} { // headers that promise much, and the end
			b = binary.BigEndian.AppendUint64(append(b, 0x82, 0xff), n)
		}
		return append(b, 1, 2, 3, 4)
	}
	down, upwards := frames(nil), frames([]byte{0x37, 0xfa, 0x21, 0x3d})
	gotc := make(chan []byte, 10)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if !strings.Contains(head, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n") || !strings.Contains(head, "Sec-WebSocket-Version: 13\r\n") {
			return
		}
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		var wg sync.WaitGroup
		wg.Go(func() { writeAwkwardly(nc, down) })
		got, _ := io.ReadAll(r)
		wg.Wait()
		gotc <- got
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		c := dialClient(t, addr)
		// The first frame comes with the head: it is not the front's.
		c.send("GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + string(upwards[:7]))
		head := readHead(c.r)
		if !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") {
			t.Fatalf("got %q", head)
		}
		go writeAwkwardly(c.nc, upwards[7:])
		if got, err := io.ReadAll(c.r); err != nil || !bytes.Equal(got, down) {
			t.Errorf("the client got %d bytes, %v; want %d", len(got), err, len(down))
		}
		if got := await(t, gotc, "the upstream's end"); !bytes.Equal(got, upwards) {
			t.Errorf("the upstream got %d bytes; want %d", len(got), len(upwards))
		}
	})
}

// bodyScript is a back that opens, names and fills streams as a test says.
type bodyScript struct {
	t    testing.TB
	srv  *pool.Server
	addr string

	batchc chan *scriptStream // batched streams, in the order they came
	readyc chan *pool.Stream  // not answered yet
	openc  chan *pool.Stream  // opened for an exchange, not answered yet
}

// scriptStream is a batched stream at a bodyScript.
type scriptStream struct {
	b    *bodyScript
	s    *pool.Stream
	enc  *wire.Encoder
	u    unbatcher
	recc chan string // type of each record, target of a request
}

func startBodies(t testing.TB) *bodyScript {
	t.Helper()
	b := &bodyScript{t: t, batchc: make(chan *scriptStream, 10), readyc: make(chan *pool.Stream, 100), openc: make(chan *pool.Stream, 100)}
	var err error
	if b.srv, err = pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: b.accept}); err != nil {
		t.Fatal(err)
	}
	ln := listenTCP(t)
	b.addr = ln.Addr().String()
	go b.srv.Serve(ln)
	t.Cleanup(func() { b.srv.Close() })
	return b
}

func (b *bodyScript) accept(s *pool.Stream) {
	switch s.Header().Path {
	case pathReady:
		b.readyc <- s
	case pathBulk:
		b.openc <- s
	default:
		ss := &scriptStream{b: b, s: s, enc: wire.NewEncoder(wire.DictLimits{}), recc: make(chan string, 100)}
		h := Hop{Memory: compress.NewMemory(1 << 26)}
		theirs, _ := parseTerms(s.Header())
		ss.u.init(&h, &route{memory: &budget{limit: 1 << 30}}, ownTerms(), theirs, ss.onRecord)
		s.SetReceiver(ss)
		own := ownTerms()
		s.Respond(200, append(own.fields(), pool.Field{Name: "h2tp-session", Value: "session"})...)
		b.batchc <- ss
	}
}

func (ss *scriptStream) Receive(p []byte) error { return ss.u.receive(p) }
func (ss *scriptStream) Closed(error)           { close(ss.recc) }
func (ss *scriptStream) onRecord(rec *wire.Record) error {
	text := rec.Type.String()
	if rec.Type == wire.TypeRequest {
		text = string(rec.Request.Target)
	}
	ss.recc <- text
	return nil
}

func (ss *scriptStream) want(rec string) {
	ss.b.t.Helper()
	if got := await(ss.b.t, ss.recc, rec); got != rec {
		ss.b.t.Errorf("got %q; want %q", got, rec)
	}
}

func writeBatch(s *pool.Stream, b *wire.Batch) error {
	out := wire.AppendHeader(nil, wire.Header{Clear: b.Clear, Coded: len(b.Shared), Plain: len(b.Shared), Raw: len(b.Raw), Sum: wire.Checksum(b.Shared, b.Raw)})
	_, err := s.Write(append(append(out, b.Shared...), b.Raw...))
	return err
}

// name announces a response to exchange id whose body comes on stream.
func (ss *scriptStream) name(id, stream uint32) {
	var b wire.Batch
	ss.enc.AppendBodyOnStream(&b, id, &wire.Response{Status: 200, BodyKind: wire.BodyFollows, Stream: stream})
	writeBatch(ss.s, &b)
}

// ask asks for a stream for exchange id.
func (ss *scriptStream) ask(id uint32) {
	var b wire.Batch
	ss.enc.AppendOpenForExchange(&b, id, &wire.Response{Status: 200, BodyKind: wire.BodyFollows})
	writeBatch(ss.s, &b)
}

// fill accepts a stream and sends a body on it, whole or not.
func fill(s *pool.Stream, id uint32, body string, isWhole bool) {
	fields := bulkTerms(&route{}, allCodecs).fields()
	if id != 0 {
		fields = append(fields, pool.Field{Name: "h2tp-stream", Value: fmt.Sprintf("%08x", id)})
	}
	s.Respond(200, fields...)
	var b wire.Batch
	enc := wire.NewEncoder(wire.DictLimits{})
	enc.AppendData(&b, []byte(body), false)
	if isWhole {
		enc.AppendEnd(&b, nil)
	}
	writeBatch(s, &b)
	if isWhole {
		s.CloseWrite()
	}
}

// asked sends a GET through a front and returns its response, or "" when it was
// cut short, by a channel.
func asked(t testing.TB, addr string) <-chan string {
	c := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/it")
		if err != nil {
			c <- ""
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			c <- fmt.Sprintf("%d cut", resp.StatusCode)
			return
		}
		c <- fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
	}()
	return c
}

// The ways in which a response and its stream can meet, or not: the back is a script.
func TestBodyFindsItsResponse(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, b *bodyScript, ss *scriptStream)
		want string
	}{
		{"id before data", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			s := await(t, b.readyc, "a ready stream")
			ss.name(1, 7)
			fill(s, 7, "body", true)
		}, "200 body"},
		{"data before id", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			fill(await(t, b.readyc, "a ready stream"), 7, "body", true)
			await(t, b.readyc, "the next ready stream") // so the first is known to be one
			ss.name(1, 7)
		}, "200 body"},
		{"stream dies before its record", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			s := await(t, b.readyc, "a ready stream")
			fill(s, 7, "bo", false)
			await(t, b.readyc, "the next ready stream")
			s.Reset(codeCancel)
			ss.name(1, 7)
		}, "502 Bad Gateway or 200 cut"}, // on two connections: the record may be seen first
		{"stream dies after its record", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			s := await(t, b.readyc, "a ready stream")
			fill(s, 7, "bo", false)
			ss.name(1, 7)
			s.Reset(codeCancel)
		}, "200 cut or 502 Bad Gateway"},
		{"stream ends without the body's end", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			s := await(t, b.readyc, "a ready stream")
			fill(s, 7, "bo", false)
			ss.name(1, 7)
			s.CloseWrite()
		}, "200 cut"},
		{"a stream that never comes", func(t *testing.T, b *bodyScript, ss *scriptStream) { ss.name(1, 7) }, "502 Bad Gateway"},
		{"none ready", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			ss.ask(1)
			s := await(t, b.openc, "a stream for the exchange")
			if id := s.Header().Value("h2tp-exchange"); id != "1" {
				t.Errorf("opened for exchange %q; want 1", id)
			}
			fill(s, 0, "body", true)
		}, "200 body"},
		{"none ready, and the exchange unknown", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			ss.ask(1)
			await(t, b.openc, "a stream for the exchange").Refuse(400, "no such exchange\n")
		}, "502 Bad Gateway"},
		{"back gone between record and stream", func(t *testing.T, b *bodyScript, ss *scriptStream) {
			ss.name(1, 7)
			ss.ask(2) // of nobody: the front must have read the record before
			awaitFuture(t, ss)
		}, "502 Bad Gateway"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := startBodies(t)
			f, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}})
			got := asked(t, addr)
			ss := await(t, b.batchc, "a batched stream")
			ss.want("/it")
			tc.do(t, b, ss)
			if got := await(t, got, "the answer"); !slices.Contains(strings.Split(tc.want, " or "), got) {
				t.Errorf("got %q; want %q", got, tc.want)
			}
			awaitNone(t, f.route)
		})
	}
}

// awaitFuture waits until the front has ended the stream for an id it never used.
func awaitFuture(t testing.TB, ss *scriptStream) {
	t.Helper()
	select {
	case <-ss.s.Done():
	case <-time.After(patience):
		t.Fatal("the stream lives on")
	}
}

// awaitTrue waits for what gives no sign.
func awaitTrue(t testing.TB, isDone func() bool, what string) {
	t.Helper()
	end := time.After(patience)
	for !isDone() {
		select {
		case <-end:
			t.Fatalf("%s: did not happen", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// awaitNone waits until a route has no exchange in flight, nor its destinations, and
// holds no memory.
func awaitNone(t testing.TB, r *route) {
	t.Helper()
	end := time.After(patience)
	for {
		n, held, load := r.inflight.Load(), r.memory.used.Load(), 0
		for _, d := range r.dests() {
			load += d.load()
		}
		if n == 0 && held == 0 && load == 0 {
			return
		}
		select {
		case <-end:
			t.Errorf("in flight: %d, in charge of destinations: %d, held: %d; want 0", n, load, held)
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// A response that was cancelled before its stream was seen leaves no stream behind
// that is taken for a ready one.
func TestCancelledBodyLeavesNoReadyStream(t *testing.T) {
	b := startBodies(t)
	f, _ := startFront(t, Config{To: []string{"h2tpc://" + b.addr}})
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://x/it")
	errc := make(chan error, 1)
	go func() { errc <- f.DoTimeout(&req, &resp, 50*time.Millisecond) }()
	ss := await(t, b.batchc, "a batched stream")
	ss.want("/it")
	if err := await(t, errc, "the timeout"); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	s := await(t, b.readyc, "a ready stream")
	ss.name(1, 7)
	var p wire.Batch
	ss.enc.AppendPing(&p, [8]byte{})
	writeBatch(ss.s, &p)
	for rec := ""; rec != wire.TypePong.String(); { // the record was read
		rec = await(t, ss.recc, "a pong")
	}
	fill(s, 7, "body", false)
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Error("the stream of a response that nobody waits for lives on")
	}
}

func TestUnknownSessionIsAnswered421(t *testing.T) {
	_, addr := startHandlerBack(t, okHandler)
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, path := range []string{pathReady, pathBulk} {
		fields := append(bulkTerms(&route{}, allCodecs).fields(), pool.Field{Name: "h2tp-session", Value: "unknown"})
		_, err := cl.Open(t.Context(), pool.Header{Path: path, Fields: fields}, nil)
		if se, ok := errors.AsType[*pool.StatusError](err); !ok || se.Header.Status != 421 {
			t.Errorf("%s: got %v; want 421", path, err)
		}
	}
}

// lyingFront opens a bulk stream at a back and sends a request and a body.
func lyingFront(t testing.TB, addr string, fields []wire.Field, body string) *pool.Stream {
	t.Helper()
	h := openHop(t, addr)
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	s, err := cl.Open(t.Context(), pool.Header{Path: pathBulk, Fields: append(bulkTerms(&route{}, allCodecs).fields(),
		pool.Field{Name: "h2tp-session", Value: h.s.Header().Value("h2tp-session")})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b wire.Batch
	enc := wire.NewEncoder(wire.DictLimits{})
	enc.AppendRequest(&b, &wire.Request{Method: []byte("POST"), Target: []byte("/"), Authority: []byte("x"), Fields: fields, BodyKind: wire.BodyFollows})
	enc.AppendData(&b, []byte(body), false)
	enc.AppendEnd(&b, nil)
	writeBatch(s, &b) // the back may have seen enough before it is all written
	s.CloseWrite()
	return s
}

// A front that lies about a length makes neither two requests out of one, nor half
// of one.
func TestStreamedLengthIsNotAFrontsWord(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	field := func(v string) wire.Field { return wire.Field{Name: []byte("Content-Length"), Value: []byte(v)} }
	for _, tc := range []struct {
		name   string
		fields []wire.Field
		body   string // as the upstream may see it, if at all
	}{
		{"too short", []wire.Field{field("5")}, "cut"},
		{"too long", []wire.Field{field("500")}, "cut"},
		{"twice", []wire.Field{field("5"), field("38")}, "hello" + smuggled},
		{"no number", []wire.Field{field("+5")}, "hello" + smuggled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			type seen struct{ target, body string }
			seenc := make(chan seen, 100)
			up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					body = []byte("cut")
				}
				seenc <- seen{r.RequestURI, string(body)}
			})
			ln := listenTCP(t)
			startBack(t, ln, Config{To: []string{"http://" + up}})
			s := lyingFront(t, ln.Addr().String(), tc.fields, "hello"+smuggled)
			s.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the exchange lives on")
			}
			for {
				select {
				case got := <-seenc:
					if got.target != "/" || got.body != tc.body {
						t.Errorf("the upstream saw %q", got)
					}
					continue
				default:
				}
				break
			}
		})
	}
}

// A back that lies about a length does not make two responses out of one.
func TestStreamedLengthIsNotABacksWord(t *testing.T) {
	for _, length := range []string{"2", "20"} {
		b := startBodies(t)
		_, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}})
		got := asked(t, addr)
		ss := await(t, b.batchc, "a batched stream")
		ss.want("/it")
		s := await(t, b.readyc, "a ready stream")
		var p wire.Batch
		ss.enc.AppendBodyOnStream(&p, 1, &wire.Response{Status: 200, BodyKind: wire.BodyFollows, Stream: 7,
			Fields: []wire.Field{{Name: []byte("Content-Length"), Value: []byte(length)}}})
		writeBatch(ss.s, &p)
		fill(s, 7, "body", true)
		if got := await(t, got, "the answer"); got != "200 cut" {
			t.Errorf("length %s for 4 bytes: got %q; want it cut", length, got)
		}
	}
}

// A back that drains finishes the streams that run, and a front does.
func TestDrainingLetsStreamsFinish(t *testing.T) {
	g := newGate(t)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		piece := bytes.Repeat([]byte("x"), 100_000)
		w.Write(piece)
		w.(http.Flusher).Flush()
		g.pass()
		w.Write(piece)
	})
	for _, isBack := range []bool{true, false} {
		p := startPair(t, up, Config{}, Config{})
		done := make(chan string, 2)
		ask := func(method string, body io.Reader) {
			req, _ := http.NewRequest(method, "http://"+p.addr+"/", body)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				done <- err.Error()
				return
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			done <- fmt.Sprint(n, " ", err)
		}
		go ask("GET", nil)
		go ask("POST", io.MultiReader(strings.NewReader(strings.Repeat("y", 100_000))))
		g.await()
		g.await()
		ended := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if isBack {
				ended <- p.back.Shutdown(ctx)
			} else {
				ended <- p.front.Shutdown(ctx)
			}
		}()
		for range 2 {
			g.openc <- struct{}{}
		}
		for range 2 {
			if got := await(t, done, "a response"); got != "200000 <nil>" {
				t.Errorf("back %v: got %s", isBack, got)
			}
		}
		if err := await(t, ended, "the drain's end"); err != nil {
			t.Errorf("back %v: %v", isBack, err)
		}
		awaitNone(t, p.front.route)
		awaitNone(t, p.back.route)
	}
}

// Many exchanges of all kinds with clients that leave at random: each that stays has
// its own body, and nothing is left.
func TestMixedExchangesLeaveNothing(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Target", r.RequestURI)
		if strings.HasPrefix(r.URL.Path, "/early") {
			w.WriteHeader(403)
			return
		}
		http.NewResponseController(w).EnableFullDuplex()
		if strings.HasPrefix(r.URL.Path, "/slow") {
			w.(http.Flusher).Flush()
		}
		buf := make([]byte, 10_000)
		for {
			n, err := r.Body.Read(buf)
			if _, werr := w.Write(buf[:n]); werr != nil || err != nil && err != io.EOF {
				panic(http.ErrAbortHandler)
			}
			if err == io.EOF {
				return
			}
		}
	})
	kinds := []string{"/plain", "/slow", "/early"}
	eachRoute := func(t *testing.T, addr string, routes func() []*route, windows ...*pool.Windows) {
		var whole atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 1))
				tr := &http.Transport{}
				defer tr.CloseIdleConnections()
				for j := range 25 {
					target := fmt.Sprintf("%s/%d/%d", kinds[rnd.IntN(3)], i, j)
					want := bytes.Repeat([]byte(target), rnd.IntN(30_000))
					ctx, cancel := context.WithCancel(t.Context())
					if rnd.IntN(3) == 0 {
						time.AfterFunc(time.Duration(rnd.IntN(3000))*time.Microsecond, cancel)
					}
					var body io.Reader = bytes.NewReader(want)
					if rnd.IntN(2) == 0 {
						body = io.MultiReader(body)
					}
					req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+addr+target, body)
					resp, err := tr.RoundTrip(req)
					if err == nil {
						var got []byte
						got, err = io.ReadAll(resp.Body)
						resp.Body.Close()
						isEarly := strings.HasPrefix(target, "/early")
						if err == nil && (resp.Header.Get("X-Target") != target || !isEarly && !bytes.Equal(got, want)) {
							t.Errorf("%s: got %d, %s, %d bytes; want %d", target, resp.StatusCode, resp.Header.Get("X-Target"), len(got), len(want))
						}
						if err == nil {
							whole.Add(1)
						}
					}
					if err != nil && ctx.Err() == nil && !strings.HasPrefix(target, "/early") {
						t.Errorf("%s: %v", target, err)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if whole.Load() < 40 {
			t.Errorf("only %d exchanges of 200 came whole", whole.Load())
		}
		for _, r := range routes() {
			awaitNone(t, r)
		}
	}
	t.Run("pair", func(t *testing.T) {
		fm, bm := compress.NewMemory(1<<27), compress.NewMemory(1<<27)
		p := startPair(t, up, Config{Hop: Hop{Memory: fm}}, Config{Hop: Hop{Memory: bm}})
		eachRoute(t, p.addr, func() []*route { return []*route{p.front.route, p.back.route} })
		p.front.Close()
		p.back.Close()
		if fm.Used() != 0 || bm.Used() != 0 {
			t.Errorf("codec memory in use after the end: %d and %d; want 0", fm.Used(), bm.Used())
		}
		if f, b := p.front.cfg.Windows.Used(), p.back.cfg.Windows.Used(); f != 0 || b != 0 {
			t.Errorf("window memory in use after the end: %d and %d; want 0", f, b)
		}
	})
	t.Run("edge", func(t *testing.T) {
		f, addr := startFront(t, Config{To: []string{"http://" + up}})
		eachRoute(t, addr, func() []*route { return []*route{f.route} })
	})
}
