package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// dialThin is dial over a link that passes so many bytes a second, each way.
func (m *memNet) dialThin(wg *sync.WaitGroup, rate int) func(string, string, time.Duration) (net.Conn, error) {
	pass := func(dst, src net.Conn) {
		defer dst.Close()
		defer src.Close()
		buf := make([]byte, rate/20)
		for {
			n, err := src.Read(buf)
			if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
				return
			}
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
	}
	return func(network, addr string, timeout time.Duration) (net.Conn, error) {
		far, err := m.dial(network, addr, timeout)
		if err != nil {
			return nil, err
		}
		near, mid := net.Pipe()
		wg.Go(func() { pass(far, mid) })
		wg.Go(func() { pass(mid, far) })
		return near, nil
	}
}

// A batch, the ping behind it and its answer may be minutes on their way: no exchange fails for
// that, small or large, batched or streamed.
func TestThinHopLosesNoExchange(t *testing.T) {
	for _, tt := range []struct {
		name          string
		limit         int // of bodies in a batch
		callers, size int
	}{
		{"full batches", 64 << 10, 8, 60_000},
		{"one batch", 1 << 20, 1, 400_000},
		{"streamed", 64 << 10, 3, 200_000},
	} {
		for _, conns := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/conns=%d", tt.name, conns), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var links sync.WaitGroup
					defer links.Wait()
					m := newMemNet()
					hop, limits := Hop{Compress: None, Conns: conns}, Limits{BatchLimit: tt.limit, Timeout: -1, ConnectTimeout: time.Minute}
					body := make([]byte, tt.size)
					rand.Read(body)
					startBack(t, m, Config{Hop: hop, Limits: limits, Handler: func(ctx *fasthttp.RequestCtx) {
						if ctx.IsGet() {
							ctx.SetBody(body)
						} else if !bytes.Equal(ctx.PostBody(), body) {
							ctx.SetStatusCode(400)
						}
					}})
					f, err := NewFront(Config{Hop: hop, Limits: limits, To: []string{"h2tpc://back:1"}, Dial: m.dialThin(&links, 12_000)})
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					clients := newMemNet()
					go f.Serve(clients)
					tr := &http.Transport{DialContext: func(_ context.Context, network, addr string) (net.Conn, error) { return clients.dial(network, addr, 0) }}
					defer tr.CloseIdleConnections()
					synctest.Wait()
					exchange := func(method string, sent, want []byte) {
						req, _ := http.NewRequest(method, "http://x/", bytes.NewReader(sent))
						resp, err := tr.RoundTrip(req)
						if err != nil {
							t.Error(err)
							return
						}
						defer resp.Body.Close()
						if got, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || err != nil || !bytes.Equal(got, want) {
							t.Errorf("%s: got status %d, %d bytes, %v; want %d", method, resp.StatusCode, len(got), err, len(want))
						}
					}
					var wg sync.WaitGroup
					for range tt.callers {
						wg.Go(func() { exchange("POST", body, nil) })
						wg.Go(func() { exchange("GET", nil, body) })
					}
					wg.Wait()
				})
			})
		}
	}
}

// deaf takes what comes, as an intermediary does for a back that is gone.
type deaf struct{ closed chan time.Time }

func (deaf) Receive([]byte) error { return nil }
func (d deaf) Closed(error)       { d.closed <- time.Now() }

// An intermediary that answers HTTP/2's pings, and goes on to take what a front sends, hides a
// dead back no longer than silence would; or, when it passes bytes of another stream on, behind
// which the answer may be, for as long as these come.
func TestBackHiddenByAnIntermediaryIsFound(t *testing.T) {
	for name, parts := range map[string]int{"silence": 0, "another stream": 25} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opened, closed := make(chan time.Time, 100), make(chan time.Time, 100)
				var wg sync.WaitGroup
				defer wg.Wait()
				srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: func(s *pool.Stream) {
					switch s.Header().Path {
					case pathBatch:
						s.SetReceiver(deaf{closed})
						own := ownTerms()
						s.Respond(200, append(own.fields(), pool.Field{Name: "h2tp-session", Value: "session"})...)
						opened <- time.Now()
					case pathReady:
						s.Respond(200, pool.Field{Name: "h2tp-stream", Value: fmt.Sprintf("%08x", s.ID())})
						wg.Go(func() {
							for range parts {
								time.Sleep(500 * time.Millisecond)
								s.Write(make([]byte, 1000))
							}
						})
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				m := newMemNet()
				go srv.Serve(m)
				defer srv.Close()
				f, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Dial: m.dial, Hop: Hop{Conns: 1}, Limits: Limits{Timeout: time.Second}})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				began := <-opened
				wg.Go(func() {
					for time.Since(began) < 9*time.Second {
						if _, err := ask(f, "GET", "http://x/", ""); !errors.Is(err, ErrTimeout) {
							t.Errorf("got %v; want a timeout", err)
						}
					}
				})
				want := 5*time.Second + max(5*time.Second, time.Duration(parts)*500*time.Millisecond)
				if took := (<-closed).Sub(began); took < want || took > want+2*sweepPeriod {
					t.Errorf("found after %v; want %v", took, want)
				}
			})
		})
	}
}

// The request on a stream of its own may be behind what its connection carries besides.
func TestRequestBehindOtherStreamsIsWaitedFor(t *testing.T) {
	for name, isBusy := range map[string]bool{"busy": true, "silent": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemNet()
				startBack(t, m, Config{Handler: okHandler})
				cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: "back:1",
					Dial: func(_ context.Context, network, addr string) (net.Conn, error) { return m.dial(network, addr, 0) }})
				if err != nil {
					t.Fatal(err)
				}
				defer cl.Close()
				batched, err := cl.Open(t.Context(), pool.Header{Path: pathBatch, Fields: ownTerms().fields()}, deaf{make(chan time.Time, 1)})
				if err != nil {
					t.Fatal(err)
				}
				session := pool.Field{Name: "h2tp-session", Value: batched.Header().Value("h2tp-session")}
				s, err := cl.Open(t.Context(), pool.Header{Path: pathBulk, Fields: append(bulkTerms(&route{}, lightCodecs).fields(), session)}, nil)
				if err != nil {
					t.Fatal(err)
				}
				enc := wire.NewEncoder(wire.DictLimits{})
				for range 12 {
					time.Sleep(time.Second)
					if isBusy {
						var b wire.Batch
						enc.AppendPing(&b, [8]byte{})
						writeBatch(batched, &b)
					}
				}
				writeBatch(s, getBatch(wire.NewEncoder(wire.DictLimits{}), "/"))
				s.CloseWrite()
				got, err := io.ReadAll(s)
				if isAnswered := err == nil && bytes.HasSuffix(got, []byte("ok")); isAnswered != isBusy {
					t.Errorf("got %q, %v; want an answer: %v", got, err, isBusy)
				}
			})
		})
	}
}
