package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

func TestHopByHopFieldsOfAFasthttpServerStayThere(t *testing.T) {
	up, requestc := startRecorder(t, okResponse)
	f, err := NewFront(Config{To: []string{"http://" + up}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ln := listenTCP(t)
	srv := &fasthttp.Server{Handler: f.Handle}
	go srv.Serve(ln)
	defer srv.Shutdown()
	c := dialClient(t, ln.Addr().String())
	c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: X-First\r\nX-First: 1\r\nConnection: X-Second\r\nX-Second: 2\r\nProxy-Authorization: a\r\nX-Kept: 1\r\n\r\n")
	c.read("GET").want(t, 200, "a request by a fasthttp server")
	got := await(t, requestc, "request")
	for _, name := range []string{"X-First", "X-Second", "Proxy-Authorization", "Connection"} {
		if strings.Contains(got, "\r\n"+name+":") {
			t.Errorf("the upstream got %s in %q", name, got)
		}
	}
	if !strings.Contains(got, "X-Kept: 1\r\n") {
		t.Errorf("the upstream got %q", got)
	}
}

func TestEachFailureHasItsOwnError(t *testing.T) {
	for _, scheme := range []string{"http", "h2tpc"} {
		t.Run(scheme, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				errs := []error{errors.New("first reason"), errors.New("second reason")}
				var why atomic.Int64
				f, err := NewFront(Config{
					To:   []string{scheme + "://down:1"},
					Dial: func(string, string, time.Duration) (net.Conn, error) { return nil, errs[why.Load()] },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for i, want := range errs {
					why.Store(int64(i))
					time.Sleep(time.Second) // as long as a back-off may last
					if _, err := ask(f, "GET", "http://x/", ""); !errors.Is(err, ErrUpstream) || !errors.Is(err, want) {
						t.Errorf("got %v; want %v", err, want)
					}
				}
			})
		})
	}
}

func TestSlowPipelinedRequestIsAnswered408(t *testing.T) {
	bubble(t, func(t *testing.T) {
		releasec := make(chan struct{})
		f, _ := bubblePair(t, Config{Limits: Limits{ReadTimeout: 3 * time.Second}}, Config{Handler: func(*fasthttp.RequestCtx) { <-releasec }})
		c := serveBubble(t, f)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost:")
		synctest.Wait()
		close(releasec)
		c.read("GET").want(t, 200, "the first request")
		began := time.Now()
		c.read("GET").want(t, 408, "the second")
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("took %v; want about 3s", took)
		}
	})
}

func TestFullBatchDoesNotWaitForTheDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, _ := bubblePair(t, Config{Hop: Hop{BatchDelay: time.Second}}, Config{Handler: okHandler})
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { mustAsk(t, f, "GET", "http://x/small", "", "ok") })
		synctest.Wait() // the small one waits for company
		mustAsk(t, f, "POST", "http://x/large", strings.Repeat("b", 2*batchSize), "ok")
		wg.Wait()
		if got := time.Since(began); got != 0 {
			t.Errorf("a full batch waited %v; want 0", got)
		}
	})
}

func TestFrontRefusesLargerResponseThanItsLimit(t *testing.T) {
	const limit = 2048
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyString(strings.Repeat("b", limit+ctx.QueryArgs().GetUintOrZero("over")))
	}})
	_, addr := startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String()}, Limits: Limits{MaxBody: limit}})
	c := dialClient(t, addr)
	c.get("/").want(t, 200, "a response at the limit")
	c.get("/?over=1").want(t, 502, "a response over it")
	c.get("/").want(t, 200, "the next one")
}

// Code of a handler that answered by TimeoutError goes on with its RequestCtx: what
// it holds must be nobody else's by then.
func TestHandlerMayGoOnAfterTimeoutError(t *testing.T) {
	const n = 20
	var wg sync.WaitGroup
	gonec := make(chan struct{})
	var wrong atomic.Int64
	handler := func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) != "/late" {
			ctx.SetBody(ctx.PostBody())
			return
		}
		wg.Go(func() {
			<-gonec
			tag := string(ctx.Request.Header.Peek("X-Tag"))
			if string(ctx.PostBody()) != strings.Repeat(tag, 100) {
				wrong.Add(1)
			}
			ctx.SetBodyString("too late")
		})
		ctx.TimeoutError("took too long")
	}
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: handler})
	f, _ := startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String()}})
	for i := range n {
		var req fasthttp.Request
		var resp fasthttp.Response
		req.SetRequestURI("http://x/late")
		req.Header.SetMethod("POST")
		tag := fmt.Sprintf("tag-%d", i)
		req.Header.Set("X-Tag", tag)
		req.SetBodyString(strings.Repeat(tag, 100))
		if err := f.Do(&req, &resp); err != nil || resp.StatusCode() != 408 || string(resp.Body()) != "took too long" {
			t.Fatalf("got %d %q, %v; want 408", resp.StatusCode(), resp.Body(), err)
		}
		mustAsk(t, f, "POST", "http://x/", strings.Repeat("other", 300), strings.Repeat("other", 300))
	}
	close(gonec)
	for range n { // meanwhile
		mustAsk(t, f, "POST", "http://x/", strings.Repeat("third", 300), strings.Repeat("third", 300))
	}
	wg.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d handlers saw a body that was not theirs", n)
	}
}

func TestHandleAnswersAsServeDoes(t *testing.T) {
	const limit = 2048
	up := startScript(t, always("HTTP/1.1 200 OK\r\nContent-Length: 2049\r\n\r\n"+strings.Repeat("b", limit+1)))
	f, err := NewFront(Config{To: []string{"http://" + up}, Limits: Limits{MaxBody: limit}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ln := listenTCP(t)
	srv := &fasthttp.Server{Handler: f.Handle}
	go srv.Serve(ln)
	defer srv.Shutdown()
	c := dialClient(t, ln.Addr().String())
	c.get("/").want(t, 502, "a response over the limit")
	c.post("/", strings.Repeat("b", limit+1)).want(t, 413, "a request over the limit")
}

type leftReceiver struct {
	dec   *wire.Decoder
	leftc chan time.Duration
}

func (l *leftReceiver) Closed(error) {}
func (l *leftReceiver) Receive(p []byte) error {
	h, err := wire.ParseHeader(p, wire.DefaultBatch)
	if err != nil {
		return err
	}
	l.dec.Reset(p[wire.HeaderSize:wire.HeaderSize+h.Coded], p[wire.HeaderSize+h.Coded:], h.Clear)
	var rec wire.Record
	for l.dec.Next(&rec) == nil {
		if rec.Type == wire.TypeRequest {
			l.leftc <- rec.Request.TimeLeft
		}
	}
	return nil
}

func TestTimeLeftCrossesTheHop(t *testing.T) {
	leftc := make(chan time.Duration, 10)
	srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: func(s *pool.Stream) {
		s.SetReceiver(&leftReceiver{wire.NewDecoder(wire.DictLimits{}, wire.Limits{}), leftc})
		s.Respond(200, pool.Field{Name: "content-type", Value: contentType}, pool.Field{Name: "h2tp-version", Value: "1"},
			pool.Field{Name: "h2tp-codec", Value: "none"}, pool.Field{Name: "h2tp-limits", Value: "entries=0"}, pool.Field{Name: "h2tp-session", Value: strings.Repeat("0", 32)})
	}})
	if err != nil {
		t.Fatal(err)
	}
	ln := listenTCP(t)
	go srv.Serve(ln)
	defer srv.Close()
	_, addr := startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String()}, Limits: Limits{Timeout: 5 * time.Second}})
	c := dialClient(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := await(t, leftc, "request"); got <= 0 || got > 5*time.Second {
		t.Errorf("got %v; want at most 5s, and a bound", got)
	}
}

func TestDrainingFrontStillBoundsSlowRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, _ := bubblePair(t, Config{Limits: Limits{ReadTimeout: 3 * time.Second}}, Config{Handler: okHandler})
		c := serveBubble(t, f)
		c.send("GET / HTTP/1.1\r\nHost:")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		go io.Copy(io.Discard, c.nc)
		err := f.Shutdown(ctx)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("Shutdown took %v, %v; want about 3s", took, err)
		}
	})
}

// The queue's time begins when there is no connection, not with the exchange.
func TestRepeatedExchangeMayQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemNet()
		enteredc := make(chan struct{}, 10)
		var slow atomic.Bool
		slow.Store(true)
		h := func(ctx *fasthttp.RequestCtx) {
			enteredc <- struct{}{}
			if slow.Load() {
				time.Sleep(3 * time.Second)
			}
		}
		b := startBack(t, m, Config{Handler: h})
		var to atomic.Pointer[memNet]
		to.Store(m)
		f, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Limits: Limits{QueueTimeout: 2 * time.Second},
			Dial: func(a, b string, c time.Duration) (net.Conn, error) { return to.Load().dial(a, b, c) }})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		synctest.Wait()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := ask(f, "GET", "http://x/", ""); err != nil {
				t.Error(err)
			}
		})
		<-enteredc
		time.Sleep(2500 * time.Millisecond)
		slow.Store(false)
		wg.Go(func() { b.Close() })
		m2 := newMemNet()
		to.Store(m2)
		synctest.Wait()
		time.Sleep(300 * time.Millisecond)
		startBack(t, m2, Config{Handler: h})
		wg.Wait()
	})
}

func TestHandleKeepsALengthOfHead(t *testing.T) {
	up := startScript(t, always("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"))
	f, err := NewFront(Config{To: []string{"http://" + up}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, viaBack := startFront(t, Config{Handler: f.Handle})
	ln := listenTCP(t)
	srv := &fasthttp.Server{Handler: f.Handle}
	go srv.Serve(ln)
	defer srv.Shutdown()
	for name, addr := range map[string]string{"fasthttp server": ln.Addr().String(), "front with Handler": viaBack} {
		c := dialClient(t, addr)
		c.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
		if a := c.read("HEAD"); a.header.Get("Content-Length") != "12345" {
			t.Errorf("%s: got %v", name, a.header)
		}
	}
}
