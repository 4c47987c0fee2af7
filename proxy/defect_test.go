package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/rawconn"
)

// startRecorder starts an upstream that answers each request with response, and
// returns the channel of the requests as they came, head and body.
func startRecorder(t testing.TB, response string) (addr string, requestc <-chan string) {
	t.Helper()
	c := make(chan string, 100)
	return startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for {
			head := readHead(r)
			if head == "" {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), r)))
			if err != nil {
				c <- err.Error()
				return
			}
			body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
			if err != nil {
				c <- err.Error()
				return
			}
			c <- head + string(body)
			io.WriteString(nc, response)
		}
	}), c
}

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// withoutOwn removes what a proxy has to add.
func withoutOwn(head string) string {
	var b strings.Builder
	_, host, _ := strings.Cut(head, "\r\nHost: ")
	host, _, _ = strings.Cut(host, "\r\n")
	for line := range strings.SplitAfterSeq(head, "\r\n") {
		isOwn := line == "X-Forwarded-Proto: http\r\n" || line == "X-Forwarded-Host: "+host+"\r\n"
		if !isOwn && !strings.HasPrefix(line, "X-Forwarded-For: ") && !strings.HasPrefix(line, "Via: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestExpectedBodyArrivesWhole(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{}, Config{})
	for _, tc := range []struct{ name, framing, body string }{
		{"length", fmt.Sprintf("Content-Length: %d", len(smuggled)), smuggled},
		{"chunked", "Transfer-Encoding: chunked", chunked(smuggled, 10)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			head := "POST /first HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + tc.framing + "\r\n\r\n"
			c := dialClient(t, p.addr)
			check := func() {
				t.Helper()
				if a := c.read("POST"); a.header.Get("X-Target") != "/first" || a.body != smuggled {
					t.Errorf("got %v %q", a.header, a.body)
				}
				if a := c.read("GET"); a.header.Get("X-Target") != "/second" || a.header.Get("X-Method") != "GET" {
					t.Errorf("got %v", a.header)
				}
			}
			c.send(head)
			c.read("POST").want(t, 100, "a body that is awaited")
			c.send(tc.body + "GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
			check()
			c.send(head + tc.body + "GET /second HTTP/1.1\r\nHost: x\r\n\r\n") // without waiting
			check()
		})
	}
}

func TestRefusedExpectClosesWithoutContinue(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{Limits: Limits{MaxBody: 1000}}, Config{})
	for _, tc := range []struct {
		name, fields string
		status       int
	}{
		{"a body over the limit", "Expect: 100-continue\r\nContent-Length: 1001\r\n", 413},
		{"an unknown expectation", "Expect: the-impossible\r\nContent-Length: 10\r\n", 417},
	} {
		c := dialClient(t, p.addr)
		c.send("POST / HTTP/1.1\r\nHost: x\r\n" + tc.fields + "\r\n")
		a := c.read("POST")
		a.want(t, tc.status, tc.name)
		if a.says != "close" {
			t.Errorf("%s: the refusal does not say close", tc.name)
		}
		c.wantEnd(tc.name)
	}
}

// testTLS makes the two configurations of a hop with a certificate for example.com.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	return &tls.Config{Certificates: srv.TLS.Certificates, MinVersion: tls.VersionTLS13},
		&tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
}

func TestHopKeepsTLSAndCleartextApart(t *testing.T) {
	server, client := testTLS(t)
	secret, clear := listenTCP(t), listenTCP(t)
	startBack(t, secret, Config{Handler: okHandler, ListenTLS: server})
	startBack(t, clear, Config{Handler: okHandler})
	open := func(addr string, cfg *tls.Config) {
		t.Helper()
		cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{TLS: cfg, Cleartext: cfg == nil}, Addr: addr})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if _, err := cl.Open(t.Context(), pool.Header{Path: pathBatch, Fields: ownTerms().fields()}, nil); err != nil {
			t.Error(err)
		}
	}
	open(secret.Addr().String(), client)
	open(clear.Addr().String(), nil)
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	if got := raw(t, secret.Addr().String(), preface); len(got) > 0 && got[0] != 0x15 { // a TLS alert
		t.Errorf("a TLS listener told a cleartext front %q", got)
	}
	nc, err := net.Dial("tcp", clear.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if err := tls.Client(nc, client).Handshake(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a cleartext listener answered TLS with %v", err)
	}
	if _, err := NewBack(Config{Handler: okHandler}); err == nil {
		t.Error("a back serves cleartext unasked")
	}
	f, _ := startFront(t, Config{To: []string{"h2tp://" + secret.Addr().String()}, Hop: Hop{TLS: func() *tls.Config { return client }}})
	mustAsk(t, f, "GET", "http://x/", "", "ok")
}

func TestHopByHopFieldsStayOnTheirHop(t *testing.T) {
	up, requestc := startRecorder(t, "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nConnection: X-Named, keep-alive\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\n"+
		"Proxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Also: 2\r\nTE: x\r\nContent-Length: 2\r\nConnection: X-Also\r\n\r\nok")
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	c.send("GET / HTTP/1.1\r\nHost: x\r\nX-Kept: 1\r\nConnection: x-NAMED , keep-alive\r\nX-Named: 1\r\nX-Also: 2\r\nKeep-Alive: 5\r\nTE: trailers\r\n" +
		"Proxy-Authorization: Basic YTpi\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\nConnection: TE, x-also\r\nX-Last: 1\r\n\r\n")
	a := c.read("GET")
	if got, want := withoutOwn(await(t, requestc, "request")), "GET / HTTP/1.1\r\nHost: x\r\nX-Kept: 1\r\nX-Last: 1\r\nTE: trailers\r\nConnection: TE\r\n\r\n"; got != want {
		t.Errorf("the upstream got %q; want %q", got, want)
	}
	if len(a.header) != 2 || a.header.Get("X-Kept") != "1" || a.body != "ok" {
		t.Errorf("the client got %v", a.header)
	}
}

func TestNoInternalAddressInErrors(t *testing.T) {
	gone := listenTCP(t)
	gone.Close()
	garbage := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(nc, "garbage from "+nc.LocalAddr().String()+"\r\n\r\n")
	})
	for _, up := range []string{gone.Addr().String(), garbage} {
		p := startPair(t, up, Config{}, Config{})
		c := dialClient(t, p.addr)
		a := c.get("/")
		a.want(t, 502, "no upstream")
		all := fmt.Sprint(a.header, a.body)
		for _, secret := range []string{up, p.hop, "127.0.0.1", "refused", "dial", "garbage"} {
			if strings.Contains(all, secret) {
				t.Errorf("%q tells %q", all, secret)
			}
		}
	}
}

func TestIPv6(t *testing.T) {
	listen6 := func() net.Listener {
		ln, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Skip("no IPv6 here: ", err)
		}
		return ln
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	}))
	srv.Listener.Close()
	srv.Listener = listen6()
	srv.Start()
	defer srv.Close()
	hop, ln := listen6(), listen6()
	startBack(t, hop, Config{To: []string{"http://" + srv.Listener.Addr().String()}})
	f, err := NewFront(Config{To: []string{"h2tpc://" + hop.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	go f.Serve(ln)
	if a := dialClient(t, ln.Addr().String()).get("/"); a.status != 200 || a.body != "::1" {
		t.Errorf("got %d %q; want 200 ::1", a.status, a.body)
	}
}

func TestPanicOfAHandlerEndsOneExchangeOnly(t *testing.T) {
	g := newGate(t)
	defer g.open()
	p := startPair(t, "", Config{}, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/panic":
			ctx.SetBodyString("half")
			panic("the handler's fault")
		case "/slow":
			g.pass()
		}
		ctx.SetBody(ctx.Path())
	}})
	slow, c := dialClient(t, p.addr), dialClient(t, p.addr)
	slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	g.await()
	for range 5 {
		a := c.get("/panic")
		a.want(t, 502, "a panic")
		if strings.Contains(a.body, "fault") {
			t.Errorf("the client was told %q", a.body)
		}
		if a := c.get("/fine"); a.body != "/fine" {
			t.Errorf("got %q", a.body)
		}
	}
	g.open()
	if a := slow.read("GET"); a.body != "/slow" {
		t.Errorf("got %q", a.body)
	}
}

func TestInstantAnswersFindTheirExchange(t *testing.T) {
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.RequestURI()) }})
	f, err := NewFront(Config{To: []string{"h2tpc://" + ln.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 200 {
				uri := fmt.Sprintf("/%d/%d", i, j)
				mustAsk(t, f, "GET", "http://x"+uri, "", uri)
			}
		})
	}
	wg.Wait()
	if n := f.PendingRequests(); n != 0 {
		t.Errorf("%d pending; want 0", n)
	}
}

func TestConnectionOverTheLimitIsTurnedAway(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{Limits: Limits{MaxConns: 2}}, Config{})
	a, b := dialClient(t, p.addr), dialClient(t, p.addr)
	a.get("/").want(t, 200, "first connection")
	b.get("/").want(t, 200, "second connection")
	for range 2 * maxAway {
		c := dialClient(t, p.addr)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if got := c.read("GET"); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("one connection too many: got %d, %v", got.status, got.header)
		}
		c.wantEnd("the refusal")
		c.nc.Close()
	}
	var many []*lineClient
	for range 2 * maxAway { // that stay, and say nothing
		many = append(many, dialClient(t, p.addr))
	}
	for _, c := range many {
		io.Copy(io.Discard, c.r)
	}
	a.get("/").want(t, 200, "first connection, after the refusals")
}

// acceptCounter counts the connections it hands out.
type acceptCounter struct {
	net.Listener
	n atomic.Int64
}

func (l *acceptCounter) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return nc, err
}

func TestColdRequestsShareOneConnection(t *testing.T) {
	const n = 1000
	ln := &acceptCounter{Listener: listenTCP(t)}
	startBack(t, ln, Config{Handler: okHandler})
	f, err := NewFront(Config{Hop: Hop{Conns: 1}, To: []string{"h2tpc://" + ln.Addr().String()}, Limits: Limits{QueueTimeout: patience}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { mustAsk(t, f, "GET", "http://x/", "", "ok") })
	}
	wg.Wait()
	if got := ln.n.Load(); got != 1 {
		t.Errorf("%d connections; want 1", got)
	}
}

func TestMessagesCrossUnchanged(t *testing.T) {
	const (
		request = "GET //a/./b/%2F/../c?x=%20&&y HTTP/1.1\r\nHost: Example.COM:8080\r\nx-lower: a\r\nX-Twice: 1\r\nACCEPT: */*\r\n" +
			"X-Twice: 2\r\nCookie: a=b; c=\"d\"\r\nx-Empty: \r\nX-Bytes: \x80\xff\r\nCookie: second=1\r\n\r\n"
		response = "HTTP/1.1 299 Own Words\r\nx-lower: a\r\nSet-Cookie: a=b; Path=/\r\nX-Twice: 1\r\nset-cookie: c=d\r\n" +
			"CONTENT-LENGTH: 2\r\nX-Twice: 2\r\nETag: W/\"x\"\r\n\r\nok"
	)
	up, requestc := startRecorder(t, response)
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for range 3 { // the dictionary knows it by then
		c.send(request)
		got := make([]byte, len(response))
		if _, err := io.ReadFull(c.r, got); err != nil || string(got) != response {
			t.Errorf("the client got %q, %v; want %q", got, err, response)
		}
		if got := withoutOwn(await(t, requestc, "request")); got != request {
			t.Errorf("the upstream got %q; want %q", got, request)
		}
	}
}

func TestBodylessRequestsAndEmptyBodiesStayApart(t *testing.T) {
	up, requestc := startRecorder(t, okResponse)
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nget",
		"DELETE / HTTP/1.1\r\nHost: x\r\nx: y\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		c.send(request)
		c.read("GET").want(t, 200, request)
		if got := withoutOwn(await(t, requestc, "request")); got != request {
			t.Errorf("the upstream got %q; want %q", got, request)
		}
	}
}

func TestResponsesWithoutBody(t *testing.T) {
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			switch {
			case strings.HasPrefix(head, "HEAD /length"):
				io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
			case strings.HasPrefix(head, "HEAD"):
				io.WriteString(nc, "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n")
			case strings.Contains(head, " /304 "):
				io.WriteString(nc, "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: x\r\n\r\n")
			case strings.Contains(head, " /204 "):
				io.WriteString(nc, "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n")
			default:
				io.WriteString(nc, okResponse)
			}
		}
	})
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for range 2 {
		for _, tc := range []struct {
			method, target string
			status         int
			length         string
		}{
			{"HEAD", "/length", 200, "12345"},
			{"HEAD", "/none", 200, ""},
			{"GET", "/304", 304, "99"},
			{"GET", "/204", 204, ""},
			{"GET", "/", 200, "2"},
		} {
			c.send(tc.method + " " + tc.target + " HTTP/1.1\r\nHost: x\r\n\r\n")
			a := c.read(tc.method)
			if got := a.header.Get("Content-Length"); a.status != tc.status || got != tc.length {
				t.Errorf("%s %s: got %d, length %q; want %d, %q", tc.method, tc.target, a.status, got, tc.status, tc.length)
			}
		}
	}
	if n := p.front.route.dests()[0].(*peer).client.Stats().Dials; n != 1 {
		t.Errorf("%d dials; want 1", n)
	}
}

func TestConnectionIsAListInAnyCase(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{}, Config{})
	for _, tc := range []struct {
		version, fields string
		says            string
		isKept          bool
	}{
		{"1.1", "", "", true},
		{"1.1", "Connection: close\r\n", "close", false},
		{"1.1", "Connection: Close\r\n", "close", false},
		{"1.1", "Connection: TE, close\r\nTE: trailers\r\n", "close", false},
		{"1.1", "connection: keep-alive\r\nCONNECTION: CLOSE\r\n", "close", false},
		{"1.1", "Connection: disclose\r\n", "", true},
		{"1.0", "", "close", false},
		{"1.0", "Connection: Keep-Alive\r\n", "keep-alive", true},
		{"1.0", "Connection: keep-alive, close\r\n", "close", false},
	} {
		name := fmt.Sprintf("HTTP/%s %q", tc.version, tc.fields)
		c := dialClient(t, p.addr)
		request := "GET / HTTP/" + tc.version + "\r\nHost: x\r\n" + tc.fields + "\r\n"
		c.send(request)
		a := c.read("GET")
		a.want(t, 200, name)
		if a.says != tc.says {
			t.Errorf("%s: the response says %q; want %q", name, a.says, tc.says)
		}
		if !tc.isKept {
			c.wantEnd(name)
			continue
		}
		c.send(request)
		c.read("GET").want(t, 200, name+", again")
	}
}

func TestChunkedResponseForHTTP10HasALength(t *testing.T) {
	up := startScript(t, always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked("a chunked body", 5)))
	p := startPair(t, up, Config{}, Config{})
	got := raw(t, p.addr, "GET / HTTP/1.0\r\n\r\n")
	if want := "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\na chunked body"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestInterimResponsesPassInOrder(t *testing.T) {
	up := startScript(t, always("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+okResponse))
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for range 3 {
		early := c.get("/")
		early.want(t, 103, "early hints")
		if early.header.Get("Link") != "</a.css>" {
			t.Errorf("got %v", early.header)
		}
		c.read("GET").want(t, 102, "processing")
		if a := c.read("GET"); a.status != 200 || a.body != "ok" {
			t.Errorf("got %d %q", a.status, a.body)
		}
	}
	if got := raw(t, p.addr, "GET / HTTP/1.0\r\n\r\n"); strings.Contains(got, "103") || !strings.HasSuffix(got, "\r\n\r\nok") {
		t.Errorf("HTTP/1.0: got %q", got)
	}
	mustAsk(t, p.front, "GET", "http://x/", "", "ok")
}

// An upstream that reads a request and goes may have done what it was asked.
func TestOnlySafeRequestsAreRepeatedAndOnlyOnce(t *testing.T) {
	countc := make(chan string, 100)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) { countc <- strings.Fields(readHead(r) + " -")[0] })
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for _, tc := range []struct {
		request  string
		requests int
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2},
		{"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 2},
		{"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 1},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 1},
		{"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 1},
		{"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 1},
		{"PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb", 1},
	} {
		c.send(tc.request)
		method := strings.Fields(tc.request)[0]
		c.read(method).want(t, 502, tc.request)
		if n := len(countc); n != tc.requests {
			t.Errorf("%s reached the upstream %d times; want %d", method, n, tc.requests)
		}
		for len(countc) > 0 {
			if got := <-countc; got != method {
				t.Errorf("the upstream got %q; want %q", got, method)
			}
		}
	}
}

func TestResponseCutShortIsNeverWhole(t *testing.T) {
	for name, response := range map[string]string{
		"in the body":      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"in a chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
		"without its last": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nha\r\n",
		"in the head":      "HTTP/1.1 200 OK\r\nContent-",
	} {
		var n atomic.Int64
		up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
			n.Add(1)
			readHead(r)
			io.WriteString(nc, response)
		})
		p := startPair(t, up, Config{}, Config{})
		dialClient(t, p.addr).get("/").want(t, 502, name)
		if got := n.Load(); got != 1 {
			t.Errorf("%s: asked %d times; want once", name, got)
		}
	}
}

func TestRequestCutShortIsNeverWhole(t *testing.T) {
	up, requestc := startRecorder(t, okResponse)
	p := startPair(t, up, Config{}, Config{})
	for _, request := range []string{
		"POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
		"POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nha",
	} {
		c := dialClient(t, p.addr)
		c.send(request)
		c.nc.(*net.TCPConn).CloseWrite()
		c.wantEnd(request)
	}
	dialClient(t, p.addr).get("/whole").want(t, 200, "a whole one")
	for { // one that came in pieces ended in pieces
		got := await(t, requestc, "request")
		if strings.HasPrefix(got, "GET /whole ") {
			break
		}
		if got != io.ErrUnexpectedEOF.Error() {
			t.Errorf("the upstream got %q", got)
		}
	}
}

func TestPostAfterUpstreamClosedIsNotLost(t *testing.T) {
	closedc := make(chan struct{}, 1)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		io.CopyN(io.Discard, r, 4)
		io.WriteString(nc, okResponse)
		nc.Close() // idle now, and closed without a word
		closedc <- struct{}{}
	})
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for range 50 {
		c.post("/", "body").want(t, 200, "a post after the upstream closed")
		await(t, closedc, "close")
	}
}

// The connection's own goroutine usually notices first that the upstream closed;
// here none reads, and only the look before use is left.
func TestIdleConnectionIsLookedAtBeforeUse(t *testing.T) {
	up := startScript(t, always(okResponse))
	f, err := NewFront(Config{To: []string{"http://" + up}, Limits: Limits{Timeout: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gone := listenTCP(t)
	defer gone.Close()
	u := f.route.dests()[0].(*upstream)
	for _, unasked := range []string{"", "HTTP/1.1 408 Request Timeout\r\n\r\n"} {
		nc, err := net.Dial("tcp", gone.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := gone.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		io.WriteString(far, unasked)
		if unasked == "" {
			far.Close()
		}
		c := newUpstreamConn(u)
		c.nc = rawconn.Wrap(nc)
		c.raw = c.nc.(*rawconn.Conn)
		c.socket = c.raw
		u.mu.Lock()
		u.conns[c] = struct{}{}
		u.free = append(u.free, c)
		u.mu.Unlock()
		mustAsk(t, f, "POST", "http://x/", "", "ok")
	}
}

func TestLoopIsAnswered508(t *testing.T) {
	hop, clients := listenTCP(t), listenTCP(t)
	startBack(t, hop, Config{To: []string{"http://" + clients.Addr().String()}})
	f, err := NewFront(Config{To: []string{"h2tpc://" + hop.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	go f.Serve(clients)
	c := dialClient(t, clients.Addr().String())
	c.get("/").want(t, 508, "a loop")
	c.post("/", "body").want(t, 508, "a loop")
	if n := f.Stats().Exchanges; n != 2 {
		t.Errorf("%d exchanges; want 2", n)
	}
}

func TestBackThatIsItsOwnPeerAnswers508(t *testing.T) {
	hop := listenTCP(t)
	url := "h2tpc://" + hop.Addr().String()
	startBack(t, hop, Config{To: []string{url}})
	_, addr := startFront(t, Config{To: []string{url}})
	c := dialClient(t, addr)
	c.get("/").want(t, 508, "a loop")
	c.post("/", "body").want(t, 508, "a loop")
}

var notHTTP1 = []struct{ name, bytes string }{
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 500)},
	{"zeros", strings.Repeat("\x00", 100)},
	{"a line of noise", "\x80\xff\x01\x02 \r\n"},
	{"HTTP/0.9", "GET /\r\n"},
	{"a bare line feed", "GET / HTTP/1.1\nHost: x\n\n"},
	{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"},
	{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"},
	{"two framings", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a folded field", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"},
}

func TestGarbageAtTheFrontIsRefusedAtOnce(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{}, Config{})
	good := dialClient(t, p.addr)
	for _, tc := range notHTTP1 {
		c := dialClient(t, p.addr)
		c.send(tc.bytes)
		a := c.read("GET")
		if a.status != 400 && a.status != 505 {
			t.Errorf("%s: got %d %q; want 400 or 505", tc.name, a.status, a.body)
		}
		c.wantEnd(tc.name)
		good.get("/").want(t, 200, "another client after "+tc.name)
	}
}

// A bubble does not end while a goroutine of it is left.
func TestGarbageLeavesNoGoroutine(t *testing.T) {
	for _, tc := range notHTTP1 {
		bubble(t, func(t *testing.T) {
			f, _ := bubblePair(t, Config{}, Config{Handler: okHandler})
			c := serveBubble(t, f)
			go io.WriteString(c.nc, tc.bytes) // the front need not take all
			began := time.Now()
			rest, _ := io.ReadAll(c.r)
			if took := time.Since(began); took > 0 || !strings.HasPrefix(string(rest), "HTTP/1.1 ") {
				t.Errorf("%s: got %q after %v", tc.name, rest, took)
			}
			synctest.Wait()
			if n := len(f.list()); n != 0 {
				t.Errorf("%s: %d connections left", tc.name, n)
			}
		})
	}
}

func TestSlowRequestIsAnswered408(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, _ := bubblePair(t, Config{Limits: Limits{ReadTimeout: 3 * time.Second}}, Config{Handler: okHandler})
		c := serveBubble(t, f)
		c.get("/").want(t, 200, "a quick request")
		synctest.Wait()
		c.send("GET / HTTP/1.1\r\nHost:")
		began := time.Now()
		c.read("GET").want(t, 408, "a slow one")
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("took %v; want about 3s", took)
		}
		c.wantEnd("408")
	})
}

func TestClientThatLeavesEndsItsUpstreamRequest(t *testing.T) {
	enteredc, leftc := make(chan struct{}, 1), make(chan struct{}, 1)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		enteredc <- struct{}{}
		r.ReadByte()
		leftc <- struct{}{}
	})
	p := startPair(t, up, Config{}, Config{})
	for range 3 {
		c := dialClient(t, p.addr)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		await(t, enteredc, "request")
		c.nc.Close()
		await(t, leftc, "end of the upstream's connection")
	}
}
