package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/pool"
)

// FuzzExchange runs a program of operations on two ends. Each exchange has a number,
// of which its bodies are made: it ends once, with its own body or a part of it that
// is not taken for whole, and nothing is left when all is over.
func FuzzExchange(f *testing.F) {
	for _, seed := range []string{
		"\x00\x00\x00\x11\x12\x13\x24\x35\x17\x00\x01", // by the Go API
		"\x05\x05\x00\x15\x01\x35\x62\x05\x06\x00\x00\x00",
		"\x02\x03\x13\x04\x23\x03\x06\x03\x33\x07\x00",
		"\x0b\x00\x06\x01\x06\x12\x06\x03\x06\x05\x06\x16\x06\x00",
		"\x10\x08\x58\xa8\xf8\x09\x59\xa9\xf9\x0a\x5a\xaa\xfa\x07\x0d\xfd\x07\x00",         // streams of all sizes
		"\x30\xf8\xf9\xfa\xfc\xec\xfd\x55\xf8\xf9\xfa\xfc\xec\xfd\x55\xf5\x08",             // small windows, slow readers
		"\x13\xfb\x0b\x1b\x2b\x3b\x55\x4b\x5b\x6b\x7b\x8b\x07\x9b\xab\xbb\xcb\xdb\xeb\x08", // clients that leave
		"\x10\xf8\xf9\xfa\xfd\x06\xf8\xf9\xfa\xfd\x15\x06\xfa\x35\x06\x08\x07\x00",         // connections that end
		"\x30\xf8\xfa\x0e\xf8\xfa\x1e\xfa\xfa\x15\x2e\xf9\xf9\xfd\x25\x3e\xfa\x07\x00",     // streams that are reset
		"\x20\xf8\xfa\x0f\xf8\xfa\x15\x0f\xfc\xf9\xfd\x25\x0f\x1b\xfa\x07\x00",             // upstream connections that end
		"\x14\xf8\xf9\xfa\x2b\x01\x11\x07\x06\xf8\xf9\xea\x0b\x00",                         // a handler
		"%00000000000\xfa00000", // a batch that comes in parts
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 0 {
			bubble(t, func(t *testing.T) { newMachine(t, program[0], program[1:min(len(program), 49)]).run() })
		}
	})
}

// A handler answers a streamed request with more than a batch holds.
func TestHandlersLargeAnswerToAStreamedRequest(t *testing.T) {
	p := startPair(t, "", Config{}, Config{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBody(bodyOf(len(ctx.PostBody()), 4_000_000)) }})
	for _, body := range []io.Reader{bytes.NewReader(make([]byte, 100_000)), io.MultiReader(strings.NewReader("chunked"))} {
		resp, err := http.Post("http://"+p.addr+"/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || len(got) != 4_000_000 || !isPartOf(int(binary.BigEndian.Uint32(got)), got) {
			t.Errorf("got %d, %d bytes, %v; want 4000000", resp.StatusCode, len(got), err)
		}
	}
}

// What the operations mean: the low half of a byte. The high half is an argument.
const (
	opGet      = iota // by the Go API
	opPost            // by the Go API
	opPostMost        // by the Go API, more than a batch holds
	opSlow            // by the Go API; the answer takes 5 ms
	opTimeout         // the same, and the caller waits no longer than the argument says
	opPause
	opBreakHop // the hop's connection ends
	opSettle   // all goes on that can
	opUpload
	opDuplex // chunked both ways, in step
	opDownload
	opLeave    // a client leaves in the middle
	opSluggish // a client that reads slowly
	opTunnel
	opResetStream
	opBreakUpstream
)

// What the first byte of a program says: two bits are the codec.
const (
	withHandler   = 4
	withDelay     = 8
	withBatches   = 16 // BatchLimit is small
	withNoWindows = 32 // windows do not grow
)

// bodySizes are those of bodies, by an operation's argument.
var bodySizes = [16]int{0, 1, 100, 1023, 1024, 1025, 4096, 20_000, 65_535, 65_536, 65_537, 70_000, 100_000, 131_072, 200_000, 300_000}

// machine runs a program.
type machine struct {
	t       *testing.T
	program []byte

	isHandler       bool
	isBroken        bool // hop or upstream are, at times: an exchange may fail
	front           *Front
	back            *Back
	clients         *memNet
	lastHop, lastUp lastConn
	wg              sync.WaitGroup

	mu   sync.Mutex // guards seen
	seen map[string]int
}

// lastConn is the connection that was dialled last.
type lastConn struct {
	mu sync.Mutex // guards nc
	nc net.Conn
}

func (l *lastConn) dial(m *memNet) func(string, string, time.Duration) (net.Conn, error) {
	return func(network, addr string, d time.Duration) (net.Conn, error) {
		nc, err := m.dial(network, addr, d)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.nc = nc
		return nc, err
	}
}

func (l *lastConn) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nc != nil {
		l.nc.Close()
	}
}

func newMachine(t *testing.T, mode byte, program []byte) *machine {
	m := &machine{t: t, program: program, isHandler: mode&withHandler != 0, clients: newMemNet(), seen: make(map[string]int)}
	for _, op := range program {
		switch op & 15 {
		case opBreakHop, opResetStream, opBreakUpstream:
			m.isBroken = true
		}
	}
	cfg := func() Config {
		c := Config{Hop: Hop{Compress: Codec(mode & 3)}}
		if mode&withDelay != 0 {
			c.BatchDelay = time.Millisecond
		}
		if mode&withBatches != 0 {
			c.BatchLimit = 1024
		}
		if mode&withNoWindows != 0 {
			c.Windows = pool.NewWindows(1 << 20) // the least that --window-memory takes
		}
		return c
	}
	hop, up := newMemNet(), newMemNet()
	back := cfg()
	if m.isHandler {
		back.Handler = m.handle
	} else {
		back.To, back.Dial = []string{"http://up:1"}, m.lastUp.dial(up)
		srv := &http.Server{Handler: m, ErrorLog: nil}
		go srv.Serve(up)
		t.Cleanup(func() { srv.Close() })
	}
	m.back = startBack(t, hop, back)
	front := cfg()
	front.To, front.Dial = []string{"h2tpc://back:1"}, m.lastHop.dial(hop)
	var err error
	if m.front, err = NewFront(front); err != nil {
		t.Fatal(err)
	}
	go m.front.Serve(m.clients)
	t.Cleanup(func() { m.front.Close() })
	return m
}

// bodyOf is the body of an exchange: no piece of it is in another's, nor twice in its own.
func bodyOf(number, size int) []byte {
	b := make([]byte, 0, size+8)
	for at := 0; len(b) < size; at++ {
		b = binary.BigEndian.AppendUint32(b, uint32(number))
		b = binary.BigEndian.AppendUint32(b, uint32(at))
	}
	return b[:size]
}

func isPartOf(number int, got []byte) bool { return bytes.Equal(got, bodyOf(number, len(got))) }

// note counts a request, and tells its number and the size asked for.
func (m *machine) note(method, path string) (number, size int) {
	m.mu.Lock()
	m.seen[path]++
	if n := m.seen[path]; n > 1 && method != "GET" {
		m.t.Errorf("%s %s ran %d times", method, path, n)
	}
	m.mu.Unlock()
	parts := strings.Split(path, "/")
	number, _ = strconv.Atoi(parts[1])
	size, _ = strconv.Atoi(parts[2])
	return number, size
}

// handle answers in place of an upstream.
func (m *machine) handle(ctx *fasthttp.RequestCtx) {
	number, size := m.note(string(ctx.Method()), string(ctx.Path()))
	if d := ctx.QueryArgs().GetUintOrZero("sleep"); d > 0 {
		time.Sleep(time.Duration(d) * time.Millisecond)
	}
	if !isPartOf(number, ctx.PostBody()) {
		m.t.Errorf("%s: %d bytes that are not its own", ctx.Path(), len(ctx.PostBody()))
	}
	ctx.SetBody(bodyOf(number, size))
}

// ServeHTTP is the upstream: it answers with a body of the size asked for, and takes
// the request's as it comes.
func (m *machine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	number, size := m.note(r.Method, r.URL.Path)
	if d, _ := strconv.Atoi(r.URL.Query().Get("sleep")); d > 0 {
		time.Sleep(time.Duration(d) * time.Millisecond)
	}
	rc := http.NewResponseController(w)
	if r.Header.Get("Upgrade") != "" {
		m.tunnel(rc)
		return
	}
	rc.EnableFullDuplex()
	if r.URL.Query().Get("as") == "chunks" {
		rc.Flush()
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(size))
	}
	want, at := bodyOf(number, size), 0
	buf := make([]byte, 10_000)
	for {
		n, err := r.Body.Read(buf)
		if whole := bodyOf(number, at+n); !bytes.Equal(whole[at:], buf[:n]) {
			m.t.Errorf("%s: %d bytes after %d that are not its own", r.URL, n, at)
		}
		at += n
		if k := min(n, len(want)); k > 0 { // in step
			if _, err := w.Write(want[:k]); err != nil || rc.Flush() != nil {
				panic(http.ErrAbortHandler)
			}
			want = want[k:]
		}
		if err == io.EOF {
			break
		} else if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	if sent := r.URL.Query().Get("sent"); sent != strconv.Itoa(at) && sent != "" {
		m.t.Errorf("%s: a body of %d is taken for whole", r.URL, at)
	}
	w.Write(want)
}

// tunnel echoes what comes after an Upgrade.
func (m *machine) tunnel(rc *http.ResponseController) {
	nc, rw, err := rc.Hijack()
	if err != nil {
		m.t.Error(err)
		return
	}
	defer nc.Close()
	io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	io.Copy(nc, rw)
}

func (m *machine) run() {
	for i, op := range m.program {
		number, arg := i+1, int(op>>4)
		kind := op & 15
		if m.isHandler && kind == opTunnel {
			kind = opUpload
		}
		switch kind {
		case opGet:
			m.call(number, 0, 100, "", time.Minute, m.isBroken)
		case opPost:
			m.call(number, arg*100, arg*10, "", time.Minute, m.isBroken)
		case opPostMost:
			m.call(number, batchSize+arg, bodySizes[arg], "", time.Minute, m.isBroken)
		case opSlow:
			m.call(number, 0, 1000, "?sleep=5", time.Minute, m.isBroken)
		case opTimeout: // while it waits in the batch, on its way, or there
			m.call(number, 10, 1000, "?sleep=5", time.Duration(arg)*600*time.Microsecond+1, true)
		case opPause:
			time.Sleep(time.Duration(arg*arg) * 200 * time.Microsecond)
		case opBreakHop:
			m.lastHop.close()
		case opSettle:
			synctest.Wait()
		case opUpload:
			m.send(&httpClient{number: number, size: bodySizes[arg], want: 2})
		case opDuplex:
			m.send(&httpClient{number: number, size: bodySizes[arg], want: bodySizes[arg], isChunked: true})
		case opDownload:
			m.send(&httpClient{number: number, want: bodySizes[arg], isChunked: arg%2 == 1})
		case opLeave:
			m.send(&httpClient{number: number, size: bodySizes[15-arg], want: bodySizes[arg], isChunked: arg%2 == 1, leaveAfter: 1 + 20_000*(arg/4)})
		case opSluggish:
			m.send(&httpClient{number: number, size: bodySizes[arg], want: bodySizes[arg], isChunked: arg%2 == 1, pause: time.Millisecond})
		case opTunnel:
			m.send(&httpClient{number: number, size: bodySizes[arg], want: bodySizes[arg], isTunnel: true})
		case opResetStream:
			m.resetStream(arg)
		case opBreakUpstream:
			m.lastUp.close()
		}
	}
	m.wg.Wait()
	time.Sleep(10 * time.Second) // handlers end, and the hop is up again
	m.call(99, 10, 10, "", time.Minute, false)
	m.send(&httpClient{number: 100, size: 70_000, want: 70_000, isLast: true})
	m.wg.Wait()
	time.Sleep(time.Minute + 30*time.Second) // idle connections have ended
	for _, r := range []*route{m.front.route, m.back.route} {
		load := 0
		for _, d := range r.dests() {
			load += d.load()
		}
		if n := r.inflight.Load(); n != 0 || load != 0 {
			m.t.Errorf("in flight: %d, in charge of destinations: %d; want 0", n, load)
		}
		if held := r.memory.used.Load(); held != 0 {
			m.t.Errorf("held: %d; want 0", held)
		}
	}
	m.front.Close()
	m.back.Shutdown(context.Background())
	for _, h := range []*Hop{&m.front.cfg.Hop, &m.back.cfg.Hop} {
		if n, w := h.Memory.Used(), h.Windows.Used(); n != 0 || w != 0 {
			m.t.Errorf("memory of codecs: %d, of windows: %d; want 0", n, w)
		}
	}
	if f, b := m.front.route.memory.used.Load(), m.back.route.memory.used.Load(); f != 0 || b != 0 {
		m.t.Errorf("held after the end: %d and %d; want 0", f, b)
	}
}

// call makes an exchange by the Go API.
func (m *machine) call(number, size, want int, query string, timeout time.Duration, mayFail bool) {
	m.wg.Go(func() {
		var req fasthttp.Request
		var resp fasthttp.Response
		req.SetRequestURI(fmt.Sprintf("http://x/%d/%d%s", number, want, query))
		if size > 0 {
			req.Header.SetMethod("POST")
			req.SetBody(bodyOf(number, size))
		}
		err := m.front.DoTimeout(&req, &resp, timeout)
		isOwn := resp.StatusCode() == 200 && bytes.Equal(resp.Body(), bodyOf(number, want))
		if err == nil && !isOwn && !(mayFail && resp.StatusCode() >= 500) {
			m.t.Errorf("%d: got %d, %d bytes; want %d of its own", number, resp.StatusCode(), len(resp.Body()), want)
		}
		if err != nil && !mayFail {
			m.t.Errorf("%d: %v", number, err)
		}
	})
}

// resetStream resets the batched stream, or a ready one.
func (m *machine) resetStream(arg int) {
	p := m.front.route.dests()[0].(*peer)
	p.mu.Lock()
	ps := p.stream
	p.mu.Unlock()
	if ps == nil {
		return
	}
	if arg%2 == 0 {
		ps.stream.Reset(codeCancel)
		return
	}
	for _, bs := range m.back.list() {
		if s, _ := bs.ready.Acquire(); s != nil {
			s.Reset(codeCancel)
		}
	}
}

// httpClient is a client with a connection for one exchange.
type httpClient struct {
	number, size, want  int
	isChunked, isTunnel bool
	leaveAfter          int           // bytes of the response, 0 never
	pause               time.Duration // before each read
	isLast              bool          // all has to be well again
}

func (m *machine) send(c *httpClient) {
	nc, err := m.clients.dial("", "", 0)
	if err != nil {
		m.t.Error(err)
		return
	}
	m.wg.Go(func() {
		defer nc.Close()
		mayFail := m.isBroken && !c.isLast || c.leaveAfter > 0
		status, got, err := c.exchange(m, nc)
		switch {
		case !isPartOf(c.number, got) && status < 400:
			m.t.Errorf("%d: got %d, %d bytes that are not its own", c.number, status, len(got))
		case err == nil && status < 300 && len(got) != c.want:
			m.t.Errorf("%d: got %d, %d bytes taken for whole; want %d", c.number, status, len(got), c.want)
		case err != nil && !mayFail, err == nil && status >= 300 && !mayFail:
			m.t.Errorf("%d: got %d, %d bytes, %v; want %d", c.number, status, len(got), err, c.want)
		}
	})
}

// exchange sends the request, at once with reading the response.
func (c *httpClient) exchange(m *machine, nc net.Conn) (status int, got []byte, err error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer nc.Close()
	goOnc := make(chan struct{})
	defer func() {
		if goOnc != nil {
			close(goOnc)
		}
	}()
	wg.Go(func() { c.write(nc, goOnc) })
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, nil, err
	}
	body := io.Reader(resp.Body)
	if c.isTunnel {
		if resp.StatusCode != 101 {
			return resp.StatusCode, nil, nil
		}
		close(goOnc)
		goOnc = nil
		body = io.LimitReader(r, int64(c.size))
	}
	buf := make([]byte, 5000)
	for {
		if c.pause > 0 {
			time.Sleep(c.pause)
		}
		n, err := body.Read(buf)
		got = append(got, buf[:n]...)
		switch {
		case err == io.EOF && c.isTunnel && len(got) < c.size:
			return 101, got, io.ErrUnexpectedEOF
		case err == io.EOF && c.isTunnel:
			return 101, got, nil
		case err == io.EOF:
			if rest, _ := io.ReadAll(r); len(rest) > 0 {
				m.t.Errorf("%d: %d bytes behind the response", c.number, len(rest))
			}
			return resp.StatusCode, got, nil
		case err != nil:
			return resp.StatusCode, got, err
		case c.leaveAfter > 0 && len(got) >= c.leaveAfter:
			return resp.StatusCode, got, net.ErrClosed
		}
	}
}

// write sends the request; its errors are those of the response.
func (c *httpClient) write(nc net.Conn, goOnc <-chan struct{}) {
	method, query := "POST", fmt.Sprintf("?sent=%d", c.size)
	if c.isChunked {
		query += "&as=chunks"
	}
	head := fmt.Sprintf(" /%d/%d%s HTTP/1.1\r\nHost: x\r\n", c.number, c.want, query)
	switch {
	case c.isTunnel:
		io.WriteString(nc, "GET"+head+"Connection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		<-goOnc
	case c.size == 0:
		io.WriteString(nc, "GET"+head+"Connection: close\r\n\r\n")
		return
	case c.isChunked:
		io.WriteString(nc, method+head+"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
	default:
		fmt.Fprintf(nc, "%s%sConnection: close\r\nContent-Length: %d\r\n\r\n", method, head, c.size)
	}
	for p := bodyOf(c.number, c.size); len(p) > 0; {
		piece := p[:min(len(p), 7000)]
		p = p[len(piece):]
		out := piece
		if c.isChunked && !c.isTunnel {
			out = fmt.Appendf(nil, "%x\r\n%s\r\n", len(piece), piece)
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
	if c.isChunked && !c.isTunnel {
		io.WriteString(nc, "0\r\n\r\n")
	}
}
