package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// swallower passes bytes on in both directions until it is told to swallow them,
// without closing anything, as a firewall that forgot a connection does.
type swallower struct {
	net.Listener
	to         string
	isSwallows atomic.Bool
	wg         sync.WaitGroup
}

func (w *swallower) serve() {
	for {
		a, err := w.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", w.to)
		if err != nil {
			a.Close()
			continue
		}
		pass := func(dst, src net.Conn) {
			buf := make([]byte, 64<<10)
			isOld := w.isSwallows.Load()
			for {
				n, err := src.Read(buf)
				if w.isSwallows.Load() && !isOld {
					io.Copy(io.Discard, src) // it reads on, and says nothing of the end
					return
				}
				if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
					dst.Close()
					return
				}
			}
		}
		w.wg.Go(func() { pass(a, b) })
		w.wg.Go(func() { pass(b, a) })
	}
}

// Over sockets: the streams on a connection whose packets are swallowed fail, and a
// new connection is there. The bound is ten times what is expected.
func TestSwallowedPacketsAreNoticed(t *testing.T) {
	const period, timeout = 100 * time.Millisecond, 100 * time.Millisecond
	ln, front := listen(t), listen(t)
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true, PingPeriod: period, PingTimeout: timeout}, Accept: echo})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	relay := &swallower{Listener: front, to: ln.Addr().String()}
	relay.wg.Go(relay.serve)
	defer func() {
		srv.Close() // one end of what was swallowed
		relay.Close()
		relay.wg.Wait()
	}()
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true, PingPeriod: period, PingTimeout: timeout}, Addr: front.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("x"))
	s.Read(make([]byte, 1))
	relay.isSwallows.Store(true)
	began := time.Now()
	s.Write([]byte("y"))
	if _, err := s.Read(make([]byte, 1)); err != ErrPingTimeout {
		t.Errorf("got %v; want ErrPingTimeout", err)
	}
	took := time.Since(began)
	next, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	next.Write([]byte("z"))
	if _, err := next.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	t.Logf("noticed after %v, another stream after %v; PING period and deadline are %v", took, time.Since(began), period+timeout)
	if took > 10*(period+timeout) {
		t.Errorf("noticed after %v; want about %v", took, period+timeout)
	}
}

// With the defaults, exactly: 5 s of silence, 5 s for the answer, at both ends.
func TestSwallowedPacketsAreNoticedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		accepted := make(chan *Stream, 1)
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: func(s *Stream) { s.Respond(200); accepted <- s }})
		go srv.Serve(ln)
		defer srv.Close()
		var isSwallows atomic.Bool
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe",
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				b, err := ln.dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				a, c := net.Pipe()
				pass := func(dst, src net.Conn) {
					buf := make([]byte, 64<<10)
					for {
						n, err := src.Read(buf)
						if err != nil {
							return
						}
						if !isSwallows.Load() {
							dst.Write(buf[:n])
						}
					}
				}
				go pass(b, c)
				go pass(c, b)
				t.Cleanup(func() { b.Close(); c.Close() })
				return a, nil
			}})
		defer cl.Close()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		peer := <-accepted
		synctest.Wait()
		isSwallows.Store(true)
		began := time.Now()
		for _, end := range []*Stream{s, peer} {
			if _, err := end.Read(make([]byte, 1)); err != ErrPingTimeout {
				t.Errorf("got %v; want ErrPingTimeout", err)
			}
			if d := time.Since(began); d != 10*time.Second {
				t.Errorf("noticed after %v; want 10s", d)
			}
		}
		isSwallows.Store(false)
		if _, err := cl.Open(t.Context(), Header{Path: "/"}, nil); err != nil {
			t.Error(err)
		}
		(<-accepted).Close()
	})
}

// dialScripted makes a client whose connections are scripted servers in memory.
func dialScripted(t *testing.T, cfg ClientConfig) (*Client, chan *scripted) {
	t.Helper()
	ln := newPipeListener()
	t.Cleanup(func() { ln.Close() })
	peers := make(chan *scripted)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p := newScripted(t, nc)
			io.ReadFull(nc, make([]byte, len(http2.ClientPreface)))
			p.fr.WriteSettings()
			peers <- p
		}
	}()
	cfg.Cleartext, cfg.Addr, cfg.Dial = true, "scripted", ln.dial
	cl, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl, peers
}

// wantHeaders reads until n streams have been opened, and on in the background.
func (p *scripted) wantHeaders(n int) {
	p.t.Helper()
	for range n {
		p.want("HEADERS", func(f http2.Frame) bool {
			_, ok := f.(*http2.MetaHeadersFrame)
			return ok
		})
	}
	go io.Copy(io.Discard, p.nc)
}

// A GOAWAY names the last stream it holds for: that one goes on, those above were
// not started and are told so.
func TestGoAwayTellsWhichStreamsWereNotStarted(t *testing.T) {
	for _, code := range []http2.ErrCode{http2.ErrCodeNo, http2.ErrCodeEnhanceYourCalm} {
		synctest.Test(t, func(t *testing.T) {
			cl, peers := dialScripted(t, ClientConfig{})
			p := <-peers
			errs := make([]error, 3)
			streams := make([]*Stream, 3)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { streams[i], errs[i] = cl.Open(t.Context(), Header{Path: "/"}, newSink()) })
				synctest.Wait()
			}
			p.wantHeaders(3)
			p.headers(1, false, ":status", "200")
			synctest.Wait()
			p.fr.WriteGoAway(1, code, nil)
			wg.Wait()
			if errs[0] != nil || !errors.Is(errs[1], ErrGoAway) || !errors.Is(errs[2], ErrGoAway) || !errors.Is(errs[2], ErrNotStarted) {
				t.Errorf("got %v; want nil, ErrGoAway, ErrGoAway", errs)
			}
			if ce, hasCause := errors.AsType[*ConnError](errs[1]); hasCause != (code != 0) || hasCause && ce.Code != code {
				t.Errorf("got %v; want %v in it, unless it is a drain", errs[1], code)
			}
			k := streams[0].receiver.(*sink)
			if code != 0 {
				if err := <-k.closed; errors.Is(err, ErrNotStarted) {
					t.Errorf("the stream that was started: got %v", err)
				}
				return
			}
			p.fr.WriteData(1, true, []byte("finished"))
			if err := <-k.closed; err != io.EOF || string(k.data) != "finished" {
				t.Errorf("the stream that was started: got %q, %v", k.data, err)
			}
			streams[0].CloseWrite()
			time.Sleep(time.Second) // the connection was young, so the dial comes after a back-off
			if st := cl.Stats(); st.Conns != 1 || st.Dials != 2 || st.Errors != 0 {
				t.Errorf("got %+v; want one new connection, no error", st)
			}
			<-peers
		})
	}
}

// Open itself goes on to the next connection: nothing was sent yet.
func TestOpenTriesAgainAfterGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, peers := dialScripted(t, ClientConfig{})
		first := <-peers
		opened := make(chan error, 1)
		go func() {
			_, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			opened <- err
		}()
		first.wantHeaders(1)
		first.fr.WriteGoAway(0, http2.ErrCodeNo, nil)
		second := <-peers
		second.wantHeaders(1)
		second.headers(1, false, ":status", "200")
		if err := <-opened; err != nil {
			t.Error(err)
		}
	})
}

// A stream that was answered was started, also when a GOAWAY says otherwise.
func TestGoAwayBelowAnAnsweredStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, peers := dialScripted(t, ClientConfig{})
		p := <-peers
		go func() {
			p.wantHeaders(1)
			p.headers(1, false, ":status", "200")
		}()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.fr.WriteGoAway(0, http2.ErrCodeNo, nil)
		if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, ErrNotStarted) {
			t.Errorf("got %v; want an error that is not ErrNotStarted", err)
		}
		<-peers // the client has dialled again
	})
}

// One that meets nothing but drains is told so after some, and one whose connection ends by an
// error at once: it may be the cause.
func TestOpenEndsItsTriesAfterGoAway(t *testing.T) {
	for code, tries := range map[http2.ErrCode]int{http2.ErrCodeNo: openTries, http2.ErrCodeCompression: 1} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, peers := dialScripted(t, ClientConfig{})
				n := 0
				go func() {
					for p := range peers {
						p.wantHeaders(1)
						n++
						p.fr.WriteGoAway(0, code, nil)
					}
				}()
				_, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
				ce, hasCause := errors.AsType[*ConnError](err)
				if !errors.Is(err, ErrNotStarted) || hasCause != (code != 0) || hasCause && ce.Code != code {
					t.Errorf("got %v; want ErrNotStarted, for %v", err, code)
				}
				synctest.Wait()
				if n != tries {
					t.Errorf("%d streams were opened; want %d", n, tries)
				}
				cl.Close()
				close(peers)
			})
		})
	}
}
