package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// browser is a front that speaks HTTP/2 with the client of a test, in a bubble.
type browser struct {
	t      *testing.T
	f      *Front
	tr     *http.Transport
	client *http.Client
}

// inBrowserBubble runs f with a front before the upstream h: directly, and with a hop between.
func inBrowserBubble(t *testing.T, front Config, h http.HandlerFunc, f func(t *testing.T, b *browser)) {
	server, client := testTLS(t)
	for _, way := range []string{"direct", "hop"} {
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) { f(t, startBrowser(t, way, front, h, server.Clone(), client.Clone())) })
		})
	}
}

func startBrowser(t *testing.T, way string, cfg Config, h http.HandlerFunc, server, client *tls.Config) *browser {
	upstream, hop, web := newMemNet(), newMemNet(), newMemNet()
	srv := &http.Server{Handler: h}
	go srv.Serve(upstream)
	t.Cleanup(func() { srv.Close() })
	cfg.To, cfg.Dial = []string{"http://up:1"}, upstream.dial
	if way == "hop" {
		startBack(t, hop, Config{To: cfg.To, Dial: cfg.Dial})
		cfg.To, cfg.Dial = []string{"h2tpc://back:1"}, hop.dial
	}
	server.NextProtos = []string{"h2", "http/1.1"}
	cfg.ListenTLS = server
	front, err := NewFront(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close() })
	go front.Serve(web)
	tr := &http.Transport{
		TLSClientConfig: client, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return web.dial("", "", 0) },
	}
	t.Cleanup(tr.CloseIdleConnections)
	synctest.Wait()
	return &browser{t: t, f: front, tr: tr, client: &http.Client{Transport: tr}}
}

func (b *browser) do(method, target string, body io.Reader, edit ...func(*http.Request)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(b.t.Context(), method, "https://example.com"+target, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range edit {
		f(req)
	}
	return b.client.Do(req)
}

// must returns the whole response.
func (b *browser) must(status int, method, target string, body io.Reader, edit ...func(*http.Request)) (*http.Response, []byte) {
	b.t.Helper()
	resp, err := b.do(method, target, body, edit...)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || resp.ProtoMajor != 2 {
		b.t.Fatalf("%s %s: got %s %d, %d bytes, %v; want %d", method, target, resp.Proto, resp.StatusCode, len(got), err, status)
	}
	return resp, got
}

func TestHTTP2ExchangesCrossWhole(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		if r.URL.Path == "/chunked" {
			w.Header().Set("Trailer", "X-Sum")
		} else {
			w.Header().Set("Content-Length", r.Header.Get("Content-Length"))
		}
		w.Header().Set("X-Got", fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", r.ContentLength, " ", r.Header["Cookie"], r.Header["Via"]))
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer))
	}
	inBrowserBubble(t, Config{}, echo, func(t *testing.T, b *browser) {
		for _, size := range []int{0, 1, 5000, 64 << 10, 64<<10 + 1, 3 << 20} {
			body := bodyOf(size, size)
			resp, got := b.must(200, "POST", "/fixed", bytes.NewReader(body), func(r *http.Request) {
				r.Header["Cookie"] = []string{"a=b; c=d"}
			})
			want := fmt.Sprintf("POST /fixed example.com %d [a=b; c=d] [2.0 ", size)
			if !bytes.Equal(got, body) || resp.ContentLength != int64(size) || !strings.HasPrefix(resp.Header.Get("X-Got"), want) {
				t.Errorf("%d bytes: got %d, length %d, %q; want %q", size, len(got), resp.ContentLength, resp.Header.Get("X-Got"), want)
			}
			resp, got = b.must(200, "PUT", "/chunked", struct{ io.Reader }{bytes.NewReader(body)}, func(r *http.Request) {
				r.Trailer = http.Header{"X-End": {"yes"}}
			})
			sum := fmt.Sprint(size, http.Header{"X-End": {"yes"}})
			if !bytes.Equal(got, body) || resp.Trailer.Get("X-Sum") != sum {
				t.Errorf("%d bytes without a length: got %d, trailers %v; want %q", size, len(got), resp.Trailer, sum)
			}
		}
	})
}

func TestHTTP2ResponsesWithoutABody(t *testing.T) {
	inBrowserBubble(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		switch r.URL.Path {
		case "/head":
			w.Header().Set("Content-Length", "100000")
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		case "/hints":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			w.Header().Set("Content-Length", "200000")
			w.Write(make([]byte, 200000))
		}
	}, func(t *testing.T, b *browser) {
		for _, tt := range []struct {
			method, target string
			status         int
			length         int64
		}{{"HEAD", "/head", 200, 100000}, {"GET", "/204", 204, 0}, {"GET", "/304", 304, 0}, {"GET", "/empty", 200, 0}, {"DELETE", "/empty", 200, 0}} {
			resp, got := b.must(tt.status, tt.method, tt.target, nil)
			if len(got) > 0 || resp.ContentLength != tt.length || resp.Header.Get("ETag") != `"1"` {
				t.Errorf("%s %s: got %d bytes, length %d, %v; want length %d", tt.method, tt.target, len(got), resp.ContentLength, resp.Header, tt.length)
			}
		}
		for range 20 { // the head after an interim one is another goroutine's
			hints := 0
			_, got := b.must(200, "GET", "/hints", nil, func(r *http.Request) {
				*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
						if code == 103 && h.Get("Link") == "</a>" {
							hints++
						}
						return nil
					},
				}))
			})
			if len(got) != 200000 || hints != 1 {
				t.Fatalf("got %d bytes after %d hints; want 200000 after 1", len(got), hints)
			}
		}
	})
}

// A request with no body says so where its client did: 411 is what some upstreams answer else.
func TestHTTP2EmptyBodyIsSaidToBeEmpty(t *testing.T) {
	up, requestc := startRecorder(t, okResponse)
	server, client := testTLS(t)
	server.NextProtos = []string{"h2"}
	_, addr := startFront(t, Config{To: []string{"http://" + up}, ListenTLS: server})
	tr := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequest("POST", "https://"+addr+"/", http.NoBody)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := await(t, requestc, "request"); !strings.Contains(got, "\r\nContent-Length: 0\r\n") {
		t.Errorf("the upstream got %q", got)
	}
}

// One who leaves is noticed wherever the exchange stands, at once.
func TestHTTP2ClientThatLeavesIsNoticed(t *testing.T) {
	camec, gonec := make(chan struct{}, 1), make(chan struct{}, 1)
	hold := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/streamed":
			w.(http.Flusher).Flush()
		case "/upload":
			io.ReadFull(r.Body, make([]byte, 5))
		}
		camec <- struct{}{}
		if r.URL.Path == "/upload" {
			io.Copy(io.Discard, r.Body)
		} else {
			<-r.Context().Done()
		}
		gonec <- struct{}{}
	}
	server, client := testTLS(t)
	for _, way := range []string{"direct", "hop"} {
		for _, target := range []string{"/waits", "/streamed", "/upload"} {
			t.Run(way+target, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					camec, gonec = make(chan struct{}, 1), make(chan struct{}, 1)
					b := startBrowser(t, way, Config{}, hold, server.Clone(), client.Clone())
					ctx, cancel := context.WithCancel(t.Context())
					body, input := io.Pipe()
					defer input.Close()
					go func() {
						defer body.Close()
						resp, err := b.do("POST", target, body, func(r *http.Request) {
							*r = *r.WithContext(ctx)
							if target != "/upload" {
								r.Body = http.NoBody
							}
						})
						if err == nil {
							io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
					}()
					if target == "/upload" {
						input.Write([]byte("first"))
					}
					<-camec
					time.Sleep(10 * time.Millisecond)
					began := time.Now()
					cancel()
					<-gonec
					if took := time.Since(began); took > time.Second {
						t.Errorf("it took %v; want less than 1s", took)
					}
					time.Sleep(time.Second)
					if n := b.f.Stats().InFlight; n != 0 {
						t.Errorf("%d exchanges in flight; want 0", n)
					}
				})
			})
		}
	}
}

// Neither end's silence, nor an upstream that takes nothing for long, is a client's fault.
func TestHTTP2StreamsMayBeSilent(t *testing.T) {
	cfg := Config{Limits: Limits{ReadTimeout: time.Second, WriteTimeout: 25 * time.Second}}
	inBrowserBubble(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			time.Sleep(20 * time.Second)
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
			return
		}
		for range 3 {
			io.WriteString(w, "data: x\n\n")
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Second)
		}
	}, func(t *testing.T, b *browser) {
		if _, got := b.must(200, "GET", "/events", nil); len(got) != 27 {
			t.Errorf("got %d bytes of events; want 27", len(got))
		}
		body := struct{ io.Reader }{bytes.NewReader(make([]byte, 4<<20))}
		if _, got := b.must(200, "POST", "/upload", body); string(got) != strconv.Itoa(4<<20)+" <nil>" {
			t.Errorf("got %s of the upload", got)
		}
	})
}

// A client that takes nothing of its response is cut off, and its upstream let go.
func TestHTTP2ClientThatTakesNothingIsCutOff(t *testing.T) {
	donec := make(chan struct{})
	for _, size := range []int{60 << 10, 64 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			inBrowserBubble(t, Config{Limits: Limits{WriteTimeout: 3 * time.Second}}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(size))
				w.Write(make([]byte, size))
				close(donec)
			}, func(t *testing.T, b *browser) {
				donec = make(chan struct{})
				b.tr.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 4 << 10}
				resp, err := b.do("GET", "/", nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				time.Sleep(5 * time.Second)
				<-donec
				if _, err := io.ReadAll(resp.Body); err == nil {
					t.Error("the body is whole; want it cut")
				}
				if n := b.f.webCalls.Load(); n != 0 {
					t.Errorf("%d calls run; want 0", n)
				}
			})
		})
	}
}

func TestHTTP2ErrorsAreThoseOfHTTP1(t *testing.T) {
	cfg := Config{Limits: Limits{MaxBody: 100 << 10, ReadTimeout: 3 * time.Second, Timeout: 5 * time.Second}}
	inBrowserBubble(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-r.Context().Done()
		case "/large":
			w.Write(make([]byte, 200<<10))
		case "/die":
			panic(http.ErrAbortHandler)
		default:
			io.Copy(io.Discard, r.Body)
		}
	}, func(t *testing.T, b *browser) {
		_, got := b.must(502, "POST", "/die", nil)
		if string(got) != "Bad Gateway\n" {
			t.Errorf("got %q", got)
		}
		b.must(504, "GET", "/slow", nil)
		b.must(413, "POST", "/", bytes.NewReader(make([]byte, 100<<10+1)))
		b.must(413, "POST", "/", struct{ io.Reader }{bytes.NewReader(make([]byte, 150<<10))})
		b.must(200, "POST", "/", struct{ io.Reader }{bytes.NewReader(make([]byte, 100<<10))})
		b.must(508, "GET", "/", nil, func(r *http.Request) { r.Header.Set("Via", "1.1 "+string(b.f.route.via)) })
		for _, length := range []int64{-1, 10} {
			body, input := io.Pipe()
			go input.Write([]byte("half"))
			b.must(408, "POST", "/", body, func(r *http.Request) { r.ContentLength = length })
			body.Close()
		}
		if resp, err := b.do("GET", "/large", nil); err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != 502 {
				t.Errorf("a response over MaxBody: got %d and all of it", resp.StatusCode)
			}
		}
		b.must(200, "GET", "/", nil) // the connection goes on
	})
}

// Requests that come slowly hold a goroutine each: they are bounded as exchanges are.
func TestHTTP2RequestsAreBounded(t *testing.T) {
	inBrowserBubble(t, Config{Limits: Limits{MaxExchanges: 2}}, func(http.ResponseWriter, *http.Request) {}, func(t *testing.T, b *browser) {
		var wg sync.WaitGroup
		bodies := make([]*io.PipeWriter, 2)
		for i := range bodies {
			var body *io.PipeReader
			body, bodies[i] = io.Pipe()
			wg.Go(func() { b.must(200, "POST", "/", body, func(r *http.Request) { r.ContentLength = 10 }) })
		}
		synctest.Wait()
		resp, _ := b.must(503, "GET", "/", nil)
		if resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		for _, w := range bodies {
			w.Write(make([]byte, 10))
			w.Close()
		}
		wg.Wait()
		b.must(200, "GET", "/", nil)
	})
}

func TestHTTP2DrainFinishesWhatRuns(t *testing.T) {
	releasec := make(chan struct{})
	inBrowserBubble(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		if r.URL.Path == "/long" {
			<-releasec
		}
		io.WriteString(w, "whole")
	}, func(t *testing.T, b *browser) {
		releasec = make(chan struct{})
		resp, err := b.do("GET", "/long", nil)
		if err != nil {
			t.Fatal(err)
		}
		donec := make(chan error, 1)
		go func() { donec <- b.f.Shutdown(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-donec:
			t.Fatalf("Shutdown returned %v before what ran", err)
		default:
		}
		close(releasec)
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != "whole" || err != nil {
			t.Errorf("got %q, %v; want the whole body", got, err)
		}
		began := time.Now()
		if err := <-donec; err != nil || time.Since(began) > 5*time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(began))
		}
		if resp, err := b.do("GET", "/", nil); err == nil {
			resp.Body.Close()
			t.Error("served after Shutdown")
		}
	})
}

// A peer's word is not enough: a body is as long as its Content-Length, or cut.
func TestHTTP2BodyIsHeldToItsLength(t *testing.T) {
	for _, tt := range []struct {
		length string
		pieces []string
		want   error
	}{
		{"4", []string{"four"}, nil},
		{"5", []string{"four"}, errFraming},
		{"4", []string{"four", "x"}, errFraming},
		{"", []string{"any", "thing"}, nil},
	} {
		b := webBody{left: -1, c: &webCall{f: &Front{route: new(route)}, changed: make(chan struct{}, 1)}}
		if tt.length != "" {
			n, _ := strconv.Atoi(tt.length)
			b.left = int64(n)
		}
		w := &plainWriter{}
		b.c.w, b.c.rc = w, http.NewResponseController(w)
		var err error
		for _, p := range tt.pieces {
			if err == nil {
				err = b.write([]byte(p))
			}
		}
		if err == nil {
			err = b.end(nil)
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%q as %s bytes: got %v; want %v", tt.pieces, tt.length, err, tt.want)
		}
	}
}

type plainWriter struct{ bytes.Buffer }

func (*plainWriter) Header() http.Header              { return http.Header{} }
func (*plainWriter) WriteHeader(int)                  {}
func (*plainWriter) FlushError() error                { return nil }
func (*plainWriter) SetWriteDeadline(time.Time) error { return nil }
