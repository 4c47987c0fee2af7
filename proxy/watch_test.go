package proxy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/pool"
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
					hop, limits := Hop{Compress: None, Conns: conns}, Limits{BatchLimit: tt.limit, Timeout: -1}
					startBack(t, m, Config{Hop: hop, Limits: limits, Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBody(ctx.PostBody()) }})
					f, err := NewFront(Config{Hop: hop, Limits: limits, To: []string{"h2tpc://back:1"}, Dial: m.dialThin(&links, 12_000)})
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					synctest.Wait()
					body := make([]byte, tt.size)
					rand.Read(body)
					var wg sync.WaitGroup
					for range tt.callers {
						wg.Go(func() {
							if got, err := ask(f, "POST", "http://x/", string(body)); err != nil || got != string(body) {
								t.Errorf("got %d bytes, %v; want the %d sent", len(got), err, len(body))
							}
						})
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
// dead back no longer than silence would.
func TestBackHiddenByAnIntermediaryIsFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		opened, closed := make(chan time.Time, 100), make(chan time.Time, 100)
		srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: func(s *pool.Stream) {
			if s.Header().Path == pathBatch {
				s.SetReceiver(deaf{closed})
				own := ownTerms()
				s.Respond(200, append(own.fields(), pool.Field{Name: "h2tp-session", Value: "session"})...)
				opened <- time.Now()
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		m := newMemNet()
		go srv.Serve(m)
		defer srv.Close()
		f, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Dial: m.dial, Limits: Limits{Timeout: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		began := <-opened
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for time.Since(began) < 9*time.Second {
				if _, err := ask(f, "GET", "http://x/", ""); !errors.Is(err, ErrTimeout) {
					t.Errorf("got %v; want a timeout", err)
				}
			}
		})
		if took := (<-closed).Sub(began); took < 10*time.Second || took > 10*time.Second+2*sweepPeriod {
			t.Errorf("found after %v; want 10s", took)
		}
	})
}
