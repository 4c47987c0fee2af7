package pool

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// way is how the two ends of a test speak: over TLS, or in the clear if both are nil.
type way struct{ server, client *tls.Config }

// eachWay runs a test in the clear and over TLS; the other implementation of HTTP/2
// is net/http's.
func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	ours := newAuthority()
	t.Run("cleartext", func(t *testing.T) { test(t, way{}) })
	t.Run("TLS", func(t *testing.T) {
		test(t, way{&tls.Config{Certificates: []tls.Certificate{ours.issue("back")}}, &tls.Config{RootCAs: ours.pool}})
	})
}

func (w way) protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP2(w.server != nil)
	p.SetUnencryptedHTTP2(w.server == nil)
	return p
}

// serve starts a Server and net/http's client, whose URL of it is returned.
func (w way) serve(t *testing.T, accept func(*Stream)) (srv *Server, ln *countingListener, hc *http.Client, url string) {
	t.Helper()
	srv, err := NewServer(ServerConfig{Common: Common{TLS: w.server, Cleartext: w.server == nil}, Accept: accept})
	if err != nil {
		t.Fatal(err)
	}
	ln = listen(t)
	go srv.Serve(ln)
	tr := &http.Transport{Protocols: w.protocols(), TLSClientConfig: w.client.Clone()}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		srv.Close()
	})
	url = "http://"
	if w.server != nil {
		url = "https://"
	}
	return srv, ln, &http.Client{Transport: tr, Timeout: 20 * time.Second}, url + ln.Addr().String()
}

// wantBody reads a body to its end.
func wantBody(t *testing.T, from io.Reader, want string) {
	t.Helper()
	got, err := io.ReadAll(from)
	if err != nil || string(got) != want {
		t.Errorf("got %.20q of %d bytes, %v; want %.20q of %d", got, len(got), err, want, len(want))
	}
}

func TestHTTPClientIsAnswered(t *testing.T) {
	large := make([]byte, 8<<20)
	rand.Read(large)
	eachWay(t, func(t *testing.T, w way) {
		_, ln, hc, url := w.serve(t, func(s *Stream) {
			if s.Header().Method == "POST" {
				echo(s)
				return
			}
			s.Respond(200, Field{Name: "x-path", Value: s.Header().Path})
			go func() {
				if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("GET: read %d, %v; want EOF", n, err)
				}
				io.WriteString(s, "hello")
				s.CloseWrite()
			}()
		})
		res, err := hc.Get(url + "/a?b")
		if err != nil {
			t.Fatal(err)
		}
		if res.ProtoMajor != 2 || res.Header.Get("x-path") != "/a?b" {
			t.Errorf("got %s, %v", res.Proto, res.Header)
		}
		wantBody(t, res.Body, "hello")

		req, _ := http.NewRequest("POST", url, io.NopCloser(bytes.NewReader(large)))
		req.Trailer = http.Header{"X-Sum": {"nobody looks"}}
		if res, err = hc.Do(req); err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if n, err := io.Copy(sum, res.Body); err != nil || [32]byte(sum.Sum(nil)) != sha256.Sum256(large) {
			t.Errorf("got %d bytes, %v; want the %d that were sent", n, err, len(large))
		}
		if n := ln.n.Load(); n != 1 {
			t.Errorf("got %d connections; want 1", n)
		}
	})
}

func TestHTTPClientHasManyStreamsOnOneConnection(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		const n = 200
		var waiting []*Stream
		_, ln, hc, url := w.serve(t, func(s *Stream) {
			if s.Header().Path == "/first" {
				echo(s)
				return
			}
			if waiting = append(waiting, s); len(waiting) == n { // none is answered before all are open
				for _, s := range waiting {
					echo(s)
				}
			}
		})
		var wg sync.WaitGroup
		post := func(path string) {
			res, err := hc.Post(url+path, "text/plain", strings.NewReader(path))
			if err != nil {
				t.Error(err)
				return
			}
			wantBody(t, res.Body, path)
		}
		post("/first")
		for i := range n {
			wg.Go(func() { post(fmt.Sprintf("/%d", i)) })
		}
		wg.Wait()
		if n := ln.n.Load(); n != 1 {
			t.Errorf("got %d connections; want 1", n)
		}
	})
}

func TestHTTPClientThatCancelsResetsItsStream(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		ended := make(chan error, 1)
		_, _, hc, url := w.serve(t, func(s *Stream) {
			s.Respond(200)
			go func() {
				<-s.Done()
				ended <- s.Err()
			}()
		})
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
		if _, err := hc.Do(req); err != nil {
			t.Fatal(err)
		}
		cancel()
		err := <-ended
		if re, ok := errors.AsType[*ResetError](err); !ok || re.Local || re.Code != http2.ErrCodeCancel {
			t.Errorf("got %v; want the peer's CANCEL", err)
		}
	})
}

func TestHTTPClientFinishesWhileTheServerDrains(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		var srv *Server
		srv, _, hc, url := w.serve(t, func(s *Stream) {
			if s.Header().Path == "/drain" { // what Shutdown begins with; the answer comes behind GOAWAY
				for _, c := range srv.stop() {
					c.drain()
				}
			}
			echo(s)
		})
		body, pw := io.Pipe()
		res, err := hc.Post(url, "", body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hc.Get(url + "/drain"); err != nil {
			t.Fatal(err)
		}
		if _, err := hc.Get(url); err == nil {
			t.Error("a request after GOAWAY was answered")
		}
		io.WriteString(pw, "to the end")
		pw.Close()
		wantBody(t, res.Body, "to the end")
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
