package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// An end without memory for a decoder says so before the stream is used: transfers go
// by a codec that needs none.
func TestStreamsFallBackWhenCodecMemoryIsSpent(t *testing.T) {
	up := startUpstream(t, echoHandler)
	text := strings.Repeat("text that a codec makes small. ", 40_000)
	for _, room := range []int64{1, 5 << 20} { // for none, and for some
		fm, bm := compress.NewMemory(room), compress.NewMemory(room)
		p := startPair(t, up, Config{Hop: Hop{Memory: fm}}, Config{Hop: Hop{Memory: bm}})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 3 {
					if a := dialClient(t, p.addr).post("/", text); a.status != 200 || a.body != text {
						t.Errorf("room %d: got %d, %d bytes", room, a.status, len(a.body))
					}
				}
			})
		}
		wg.Wait()
		p.front.Close()
		p.back.Close()
		if fm.Used() != 0 || bm.Used() != 0 {
			t.Errorf("codec memory in use after the end: %d and %d; want 0", fm.Used(), bm.Used())
		}
	}
}

// streamPair is a stream and its other end, over a connection in memory.
func streamPair(t testing.TB) (near, far *pool.Stream) {
	t.Helper()
	m := newMemNet()
	acceptc := make(chan *pool.Stream, 1)
	srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: func(s *pool.Stream) {
		s.Respond(200)
		acceptc <- s
	}})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(m)
	t.Cleanup(func() { srv.Close() })
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: "mem:1",
		Dial: func(context.Context, string, string) (net.Conn, error) { return m.dial("", "", 0) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	near, err = cl.Open(t.Context(), pool.Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return near, <-acceptc
}

// bulkPair is a writer and the reader of what it writes.
func bulkPair(t testing.TB, sends, takes *compress.Memory, memory int) (*bulkWriter, *bulkReader) {
	t.Helper()
	near, far := streamPair(t)
	cfg := Config{Limits: Limits{WriteTimeout: time.Minute, BodyMemory: memory}, Hop: Hop{Memory: sends}}
	rt := &route{cfg: &cfg.Limits, memory: &budget{limit: int64(memory)}}
	r := newBulkReader(&Hop{Memory: takes}, rt)
	w := newBulkWriter(near, &cfg, bulkTerms(rt, lightCodecs), r.own, nil)
	r.begin(far, bulkTerms(rt, lightCodecs))
	return w, r
}

func wantData(t testing.TB, r *bulkReader, want string) {
	t.Helper()
	for len(want) > 0 {
		rec, err := r.next()
		if err != nil || rec.Type != wire.TypeData || !strings.HasPrefix(want, string(rec.Data)) {
			t.Fatalf("got %v, %v; want %d bytes of data", rec, err, len(want))
		}
		want = want[len(rec.Data):]
	}
}

// A body that pauses holds no encoder; what comes after the pause begins anew.
func TestEncoderIsLetGoInAPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		mem := compress.NewMemory(1 << 26)
		w, r := bulkPair(t, mem, compress.NewMemory(1<<26), 1<<26)
		text := strings.Repeat("a line of a log\n", bulkPiece/16)
		for range 3 {
			for range 2 {
				w.write([]byte(text))
				wantData(t, r, text)
				time.Sleep(bulkIdle / 2)
				if mem.Used() == 0 {
					t.Fatal("the encoder was let go too soon")
				}
			}
			time.Sleep(bulkIdle)
			synctest.Wait()
			if n := mem.Used(); n != 0 {
				t.Fatalf("held after a pause: %d; want 0", n)
			}
		}
		w.end(nil)
		r.release()
	})
}

// A receiver that stops does not make the sender hold an encoder.
func TestEncoderIsLetGoWhileItsReceiverWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		mem := compress.NewMemory(1 << 26)
		w, r := bulkPair(t, mem, compress.NewMemory(1<<26), 1<<26)
		var lines strings.Builder
		for i := range 500_000 {
			fmt.Fprintf(&lines, "%x\n", uint64(i)*0x9e3779b97f4a7c15)
		}
		text := lines.String()
		done := make(chan error, 1)
		go func() { done <- w.write([]byte(text)) }()
		time.Sleep(2 * bulkIdle)
		synctest.Wait()
		if n := mem.Used(); n != 0 {
			t.Errorf("held by a writer that waits: %d; want 0", n)
		}
		wantData(t, r, text)
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.end(nil)
		r.release()
	})
}

// A first flush that fails leaves no encoder behind.
func TestEncoderIsLetGoWhenAFlushFails(t *testing.T) {
	mem := compress.NewMemory(1 << 26)
	w, r := bulkPair(t, mem, compress.NewMemory(1<<26), 1<<26)
	defer r.release()
	w.s.Reset(codeCancel)
	if err := w.write(make([]byte, bulkPiece)); err == nil {
		t.Fatal("a write to a stream that is over went well")
	}
	if mem.Used() == 0 {
		t.Fatal("no encoder was made: the test shows nothing")
	}
	w.abort(errCut)
	if n := mem.Used(); n != 0 {
		t.Errorf("held: %d; want 0", n)
	}
}

// What a peer sends in larger pieces than ours counts as memory of bodies.
func TestLargeBatchesOfStreamsAreAccounted(t *testing.T) {
	for _, memory := range []int{1 << 20, 50 << 10} {
		w, r := bulkPair(t, compress.NewMemory(0), compress.NewMemory(0), memory)
		w.tuned.codec = compress.None
		large := strings.Repeat("x", 100<<10)
		w.wenc.AppendData(&w.batch, []byte(large), false)
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		rec, err := r.next()
		if memory < len(large) {
			if re, ok := err.(*pool.ResetError); !ok || re.Code != codeCalm {
				t.Errorf("over the limit: got %v; want a reset", err)
			}
		} else if err != nil || len(rec.Data) != len(large) {
			t.Errorf("got %v, %d bytes", err, len(rec.Data))
		} else if n := r.route.memory.used.Load(); n < 50<<10 {
			t.Errorf("accounted: %d for a batch of %d", n, len(large))
		} else {
			w.write([]byte("small"))
			wantData(t, r, "small")
			if n := r.route.memory.used.Load(); n != 0 {
				t.Errorf("accounted after it was used: %d; want 0", n)
			}
		}
		r.release()
		if n := r.route.memory.used.Load(); n != 0 {
			t.Errorf("accounted after the end: %d; want 0", n)
		}
	}
}

// A streamed request over the limits of a record is answered as a batched one is.
func TestStreamedHeadOverTheLimitIsRefused(t *testing.T) {
	_, addr := startHandlerBack(t, okHandler)
	many := make([]wire.Field, 400)
	for i := range many {
		many[i] = wire.Field{Name: []byte("X-Many"), Value: []byte("1")}
	}
	for _, tc := range []struct {
		name   string
		fields []wire.Field
		target string
		want   string
	}{
		{"fields", many, "/", "failed 10"},
		{"target", nil, "/" + strings.Repeat("t", 17<<10), "response 414"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openBulk(t, addr)
			theirs, err := parseTerms(s.Header())
			if err != nil {
				t.Fatal(err)
			}
			rt := &route{memory: &budget{limit: 1 << 30}}
			r := newBulkReader(&Hop{Memory: compress.NewMemory(0)}, rt)
			defer r.release()
			r.begin(s, theirs)
			var b wire.Batch
			enc := wire.NewEncoder(wire.DictLimits{})
			enc.AppendRequest(&b, &wire.Request{Method: []byte("POST"), Target: []byte(tc.target), Authority: []byte("x"), Fields: tc.fields, BodyKind: wire.BodyFollows})
			writeBatch(s, &b)
			s.SetReadDeadline(time.Now().Add(patience))
			rec, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(rec.Type, " ", int(rec.Code))
			if rec.Type == wire.TypeResponse {
				got = fmt.Sprint(rec.Type, " ", rec.Response.Status)
			}
			if got != tc.want {
				t.Errorf("got %s; want %s", got, tc.want)
			}
		})
	}
}

// openBulk opens a bulk stream of a new session at a back.
func openBulk(t testing.TB, addr string) *pool.Stream {
	t.Helper()
	h := openHop(t, addr)
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	s, err := cl.Open(t.Context(), pool.Header{Path: pathBulk, Fields: append(bulkTerms(&route{}, lightCodecs).fields(),
		pool.Field{Name: "h2tp-session", Value: h.s.Header().Value("h2tp-session")})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A front that answers pings and reads nothing of a stream does not hold an
// upstream's connection.
func TestFrontThatReadsNothingIsCutOff(t *testing.T) {
	gone := make(chan struct{}, 1)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 1<<16)
		for {
			if _, err := w.Write(piece); err != nil {
				gone <- struct{}{}
				return
			}
		}
	})
	ln := listenTCP(t)
	b := startBack(t, ln, Config{To: []string{"http://" + up}, Limits: Limits{WriteTimeout: 100 * time.Millisecond}})
	s := openBulk(t, ln.Addr().String())
	var p wire.Batch
	wire.NewEncoder(wire.DictLimits{}).AppendRequest(&p, &wire.Request{Method: []byte("GET"), Target: []byte("/"), Authority: []byte("x")})
	writeBatch(s, &p)
	await(t, gone, "the upstream's end")
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Error("the stream lives on")
	}
	awaitNone(t, b.route)
}

// A back that answers pings and reads nothing of a body, or never answers, does not
// hold a client.
func TestBackThatReadsNothingTimesOut(t *testing.T) {
	for _, size := range []int{100 << 10, 64 << 20} { // what fits its window, and what does not
		b := startBodies(t)
		f, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}, Limits: Limits{WriteTimeout: 100 * time.Millisecond, Timeout: 200 * time.Millisecond}})
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		go func() {
			fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
			io.Copy(nc, bytes.NewReader(make([]byte, size)))
		}()
		s := await(t, b.openc, "the stream")
		s.Respond(200, bulkTerms(&route{}, lightCodecs).fields()...)
		c := newLineClient(t, nc)
		c.read("POST").want(t, 504, "a back that does not answer")
		select {
		case <-s.Done():
		case <-time.After(patience):
			t.Error("the stream lives on")
		}
		awaitNone(t, f.route)
	}
}

// An upstream that sends interim responses without end, to a client that reads none, is given up with that client.
func TestInterimResponsesThatNobodyReadsAreBounded(t *testing.T) {
	endc := make(chan struct{}, 1)
	hint := "HTTP/1.1 103 Early Hints\r\nLink: <" + strings.Repeat("a", 30_000) + ">\r\n\r\n"
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			for {
				if _, err := io.WriteString(nc, hint); err != nil {
					endc <- struct{}{}
					return
				}
			}
		}
	})
	little := Config{Limits: Limits{BodyMemory: 4 << 20}}
	p := startPair(t, up, little, Config{})
	little.To = []string{"http://" + up}
	alone, addr := startFront(t, little)
	for _, addr := range []string{p.addr, addr} {
		c := dialClient(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		await(t, endc, "the end of the flood")
	}
	for _, f := range []*Front{p.front, alone} {
		awaitNone(t, f.route)
		if n := f.Stats().OverMemory; n > 0 {
			t.Errorf("the memory of all was spent %d times for one client", n)
		}
	}
}

// A limit of one end holds for streamed bodies, and is said in time; it says nothing of the other end's health.
func TestStreamedBodiesAreBoundedByEitherEnd(t *testing.T) {
	const limit = 100 << 10
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		n := 0
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		w.Header().Set("Content-Length", fmt.Sprint(n))
		w.Write(bodyOf(1, n))
	})
	limited := Config{Limits: Limits{MaxBody: limit}}
	for name, p := range map[string]*pair{"front": startPair(t, up, limited, Config{}), "back": startPair(t, up, Config{}, limited)} {
		c := dialClient(t, p.addr)
		for _, n := range []int{limit, limit + 1, 2 * limit, 20 * limit} {
			status := 200
			if n > limit {
				status = 413
			}
			body := strings.Repeat("b", n)
			for _, send := range []string{
				fmt.Sprintf("Content-Length: %d\r\n\r\n%s", n, body),
				"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 10_000),
			} {
				c := dialClient(t, p.addr)
				go io.WriteString(c.nc, "POST / HTTP/1.1\r\nHost: x\r\n"+send) // it may be answered before all is taken
				c.read("POST").want(t, status, fmt.Sprintf("%s: %d bytes of %.20q", name, n, send))
			}
			if status == 413 {
				status = 502
			}
			c.get(fmt.Sprintf("/?n=%d", n)).want(t, status, fmt.Sprintf("%s: a response of %d bytes", name, n))
		}
		for _, d := range append(p.front.Stats().Destinations, p.back.Stats().Destinations...) {
			for _, f := range d.Failures {
				if f.N > 0 && f.What == "upstream" {
					t.Errorf("%s: %d exchanges failed by what %s is said to be", name, f.N, d.URL)
				}
			}
		}
	}
}
