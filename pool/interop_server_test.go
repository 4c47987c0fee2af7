package pool

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// serveHTTP starts net/http's server and returns its address.
func (w way) serveHTTP(t *testing.T, h http.HandlerFunc, cfg *http.HTTP2Config) (*http.Server, string) {
	t.Helper()
	hs := &http.Server{Handler: h, Protocols: w.protocols(), HTTP2: cfg, TLSConfig: w.server.Clone(), ErrorLog: log.New(io.Discard, "", 0)}
	ln := listen(t)
	if w.server == nil {
		go hs.Serve(ln)
	} else {
		go hs.ServeTLS(ln, "", "")
	}
	t.Cleanup(func() { hs.Close() })
	return hs, ln.Addr().String()
}

func (w way) dial(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	cfg.TLS, cfg.Cleartext = w.client, w.client == nil
	cl, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

// echoHTTP is what echo is, in net/http.
func echoHTTP(w http.ResponseWriter, r *http.Request) {
	for _, status := range []int{100, 103, 200} { // the first two are for nobody here
		w.WriteHeader(status)
	}
	for buf, rc := make([]byte, 32<<10), http.NewResponseController(w); ; {
		rc.Flush()
		n, err := r.Body.Read(buf)
		w.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

func TestHTTPServerEchoesBothWaysAtOnce(t *testing.T) {
	large := make([]byte, 8<<20)
	rand.Read(large)
	eachWay(t, func(t *testing.T, w way) {
		_, addr := w.serveHTTP(t, echoHTTP, nil)
		s, err := w.dial(t, ClientConfig{Addr: addr}).Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 { // each waits for the one before
			got := make([]byte, 1)
			s.Write([]byte{byte(i)})
			if _, err := io.ReadFull(s, got); err != nil || got[0] != byte(i) {
				t.Fatalf("got %v, %v; want %d", got, err, i)
			}
		}
		go func() {
			s.Write(large)
			s.CloseWrite()
		}()
		sum := sha256.New()
		if n, err := io.Copy(sum, s); err != nil || [32]byte(sum.Sum(nil)) != sha256.Sum256(large) {
			t.Errorf("got %d bytes, %v; want the %d that were sent", n, err, len(large))
		}
	})
}

func TestHTTPServersEndsOfAStreamAreTold(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		_, addr := w.serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/404":
				http.Error(w, "no such thing", 404)
			case "/trailers":
				w.Header().Set("Trailer", "X-Sum")
				io.WriteString(w, "body")
				w.Header().Set("X-Sum", "nobody looks")
			case "/panic":
				panic(http.ErrAbortHandler)
			case "/panic-later":
				io.WriteString(w, "bo")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		}, nil)
		cl := w.dial(t, ClientConfig{Addr: addr})
		wantReset := func(err error) {
			t.Helper()
			if re, ok := errors.AsType[*ResetError](err); !ok || re.Local || re.Code != http2.ErrCodeInternal {
				t.Errorf("got %v; want the peer's INTERNAL_ERROR", err)
			}
		}
		_, err := cl.Open(t.Context(), Header{Path: "/404"}, nil)
		if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != 404 {
			t.Errorf("got %v; want a StatusError of 404", err)
		}
		_, err = cl.Open(t.Context(), Header{Path: "/panic"}, nil)
		wantReset(err)
		s, err := cl.Open(t.Context(), Header{Path: "/panic-later"}, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, s)
		}
		wantReset(err)
		if s, err = cl.Open(t.Context(), Header{Path: "/trailers"}, nil); err != nil {
			t.Fatal(err)
		}
		wantBody(t, s, "body")
		if st := cl.Stats(); st.Dials != 1 {
			t.Errorf("got %d dials; want all on one connection", st.Dials)
		}
	})
}

func TestHTTPServersStreamLimitIsKept(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		_, addr := w.serveHTTP(t, echoHTTP, &http.HTTP2Config{MaxConcurrentStreams: 3})
		cl := w.dial(t, ClientConfig{Addr: addr, MaxConns: 2})
		var streams []*Stream
		for range 6 {
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		if st := cl.Stats(); st.Conns != 2 {
			t.Errorf("got %d connections for 6 streams; want 2", st.Conns)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := cl.Open(ctx, Header{Path: "/"}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a seventh: got %v; want that it waits", err)
		}
		streams[0].Reset(http2.ErrCodeCancel)
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.CloseWrite()
		wantBody(t, s, "")
	})
}

// Streams that meet the GOAWAY of a server are opened at the next one; none runs
// twice, and what runs ends.
func TestHTTPServersShutdownLosesNoStream(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		var ran sync.Map
		var served [2]atomic.Int64
		enough := make(chan struct{})
		handler := func(i int) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if _, isTwice := ran.LoadOrStore(r.URL.Path, true); isTwice {
					t.Errorf("%s ran twice", r.URL.Path)
				}
				if served[i].Add(1) == 50 && i == 0 {
					close(enough)
				}
				echoHTTP(w, r)
			}
		}
		old, oldAddr := w.serveHTTP(t, handler(0), nil)
		_, newAddr := w.serveHTTP(t, handler(1), nil)
		var addr atomic.Value
		addr.Store(oldAddr)
		cl := w.dial(t, ClientConfig{Addr: oldAddr, Resolve: func(context.Context) (string, error) { return addr.Load().(string), nil }})
		held, err := cl.Open(t.Context(), Header{Path: "/held"}, nil) // an idle connection would be cut without a word
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := 0; served[1].Load() < 50 && !t.Failed(); j++ {
					exchange(t, cl, fmt.Sprintf("/%d-%d", i, j), i%2 == 0)
				}
			})
		}
		done := make(chan struct{})
		go func() {
			wg.Wait()
			close(done)
		}()
		select {
		case <-enough:
		case <-done:
			return // the exchanges failed
		}
		addr.Store(newAddr)
		down := make(chan error, 1)
		go func() { down <- old.Shutdown(t.Context()) }()
		<-done
		io.WriteString(held, "to the end")
		held.CloseWrite()
		wantBody(t, held, "to the end")
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

// exchange sends a path and wants it back; with a Receiver it does itself again what
// was not started.
func exchange(t *testing.T, cl *Client, path string, hasReceiver bool) {
	var r Receiver
	k := newSink()
	if hasReceiver {
		r = k
	}
	s, err := cl.Open(t.Context(), Header{Path: path}, r)
	for hasReceiver && errors.Is(err, ErrNotStarted) {
		k = newSink()
		s, err = cl.Open(t.Context(), Header{Path: path}, k)
	}
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	io.WriteString(s, path)
	s.CloseWrite()
	if !hasReceiver {
		wantBody(t, s, path)
	} else if err := <-k.closed; err != io.EOF || string(k.data) != path {
		t.Errorf("%s: got %q, %v", path, k.data, err)
	}
}
