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
)

// Any number of first calls make the configured number of dials.
func TestColdOpensMakeTheConfiguredDials(t *testing.T) {
	for _, conns := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			cl, _ := pair(t, ServerConfig{Accept: echo}, ClientConfig{Conns: conns})
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Second)
					s.Close()
				})
			}
			wg.Wait()
			time.Sleep(time.Hour)
			if st := cl.Stats(); st.Dials != int64(conns) || st.Conns != conns {
				t.Errorf("got %d dials, %d connections; want %d", st.Dials, st.Conns, conns)
			}
		})
	}
}

// When the peer takes no more streams on a connection, and only then, another is
// opened; it is closed when it had no stream for IdleTimeout.
func TestFullConnectionsGetCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, _ := pair(t, ServerConfig{Accept: echo, Common: Common{MaxStreams: 10}}, ClientConfig{MaxConns: 3})
		var open []*Stream
		want := func(conns int) {
			t.Helper()
			synctest.Wait()
			if st := cl.Stats(); st.Conns != conns {
				t.Fatalf("%d streams: got %d connections; want %d", len(open), st.Conns, conns)
			}
		}
		more := func(n int) {
			for range n {
				s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, s)
			}
		}
		more(10)
		want(1)
		more(1)
		want(2)
		more(19)
		want(3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := cl.Open(ctx, Header{Path: "/"}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("over MaxConns: got %v; want the deadline", err)
		}
		// Who waits gets the room of a stream that ends.
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := cl.Open(t.Context(), Header{Path: "/"}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for _, s := range open {
			s.Close()
		}
		wg.Wait()
		want(3)
		time.Sleep(30*time.Second - 1)
		want(3)
		time.Sleep(time.Nanosecond)
		want(1)
		if n := cl.Stats().Streams; n != 10 {
			t.Errorf("%d streams left; want 10", n)
		}
	})
}

func TestFlushReplacesConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, _ := pair(t, ServerConfig{Accept: echo}, ClientConfig{Conns: 2})
		synctest.Wait()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		cl.Flush()
		synctest.Wait() // and no back-off
		if st := cl.Stats(); st.Dials != 4 || st.Conns != 3 || st.Errors != 0 {
			t.Errorf("got %+v; want 4 dials, 3 connections, no error", st)
		}
		next, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil || next.c == s.c {
			t.Errorf("opened on the connection before, or %v", err)
		}
		s.Write([]byte("x"))
		s.CloseWrite()
		if got, err := io.ReadAll(s); string(got) != "x" || err != nil {
			t.Errorf("the stream before: got %q, %v", got, err)
		}
		synctest.Wait()
		if st := cl.Stats(); st.Conns != 2 {
			t.Errorf("got %d connections; want 2", st.Conns)
		}
	})
}

func TestLeaveKeepsWhatIsOpenedBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, _ := pair(t, ServerConfig{Accept: echo}, ClientConfig{Conns: 2})
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // a young connection that ends is not replaced at once
		cl.Leave()
		synctest.Wait()
		if st := cl.Stats(); st.Dials != 4 || st.Conns != 3 || st.Errors != 0 {
			t.Errorf("got %+v; want 4 dials, 3 connections, no error", st)
		}
		beside, err := cl.OpenBeside(t.Context(), s, Header{Path: "/"}, nil)
		if err != nil || beside.c != s.c {
			t.Fatalf("opened elsewhere, or %v", err)
		}
		next, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil || next.c == s.c {
			t.Errorf("opened on the connection before, or %v", err)
		}
		for _, s := range []*Stream{s, beside} {
			s.Write([]byte("x"))
			s.CloseWrite()
			if got, err := io.ReadAll(s); string(got) != "x" || err != nil {
				t.Errorf("a stream before: got %q, %v", got, err)
			}
		}
		synctest.Wait()
		if st := cl.Stats(); st.Conns != 2 || st.Errors != 0 {
			t.Errorf("got %+v; want 2 connections, no error", st)
		}
	})
}

func TestErrorsAreCountedAndReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		var isDown atomic.Bool
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: echo})
		go srv.Serve(ln)
		defer srv.Close()
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe",
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if isDown.Load() {
					return nil, errors.New("refused")
				}
				return ln.dial(ctx, network, addr)
			}})
		defer cl.Close()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(steadyAfter)
		isDown.Store(true)
		s.c.nc.Close()
		synctest.Wait()
		if n := cl.ResetErrors(); n != 2 { // the loss, and the dial at once after it
			t.Errorf("got %d errors; want 2", n)
		}
		if n := cl.Stats().Errors; n != 0 {
			t.Errorf("got %d errors after the reset; want 0", n)
		}
		isDown.Store(false)
		if _, err := cl.Open(t.Context(), Header{Path: "/"}, nil); err != nil {
			t.Error(err)
		}
		if err := cl.Err(); err != nil {
			t.Errorf("got %v after a dial that worked", err)
		}
	})
}

// A peer that lets each connection in and closes it at once is dialled with a
// back-off, however it says so.
func TestConnectionsThatDieYoungBackOff(t *testing.T) {
	for name, bye := range map[string][]byte{"closed": nil, "GOAWAY": appendGoAway(nil, 0, 0, "")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipeListener()
				defer ln.Close()
				go func() {
					for {
						nc, err := ln.Accept()
						if err != nil {
							return
						}
						go io.Copy(io.Discard, nc)
						nc.Write(append(appendSettings(nil), bye...))
						if bye == nil {
							nc.Close()
						}
					}
				}()
				cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe", Dial: ln.dial})
				defer cl.Close()
				time.Sleep(time.Minute)
				if n := cl.Stats().Dials; n < 12 || n > 25 { // 50 ms doubling to 5 s, +-25 %
					t.Errorf("got %d dials in a minute; want about 18", n)
				}
			})
		})
	}
}

// sluggishConn takes a while for each write, whatever its size.
type sluggishConn struct {
	net.Conn
	isSlow *atomic.Bool
}

func (c sluggishConn) Write(p []byte) (int, error) {
	if c.isSlow.Load() {
		time.Sleep(10 * ms)
	}
	return c.Conn.Write(p)
}

// Streams that wait for the socket for long, and many of them, bring another
// connection, which new streams use; few of them, or a moment, do not.
func TestBusyConnectionsGetCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: func(s *Stream) {
			s.Respond(200)
			go io.Copy(io.Discard, s)
		}})
		go srv.Serve(ln)
		defer srv.Close()
		var isSlow atomic.Bool
		isSlow.Store(true)
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe", BusyStreams: 10,
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := ln.dial(ctx, network, addr)
				return sluggishConn{nc, &isSlow}, err
			}})
		defer cl.Close()
		var writers []*Stream
		more := func(n int) {
			for range n {
				s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
				if err != nil {
					t.Fatal(err)
				}
				writers = append(writers, s)
				go func() {
					for {
						if _, err := s.Write(make([]byte, 256<<10)); err != nil {
							return
						}
					}
				}()
			}
		}
		more(5)
		time.Sleep(5 * time.Second)
		if n := cl.Stats().Conns; n != 1 {
			t.Errorf("5 streams: got %d connections; want 1", n)
		}
		more(15)
		time.Sleep(busyAfter / 2)
		if n := cl.Stats().Conns; n != 1 {
			t.Errorf("20 streams, for a moment: got %d connections; want 1", n)
		}
		time.Sleep(busyAfter)
		if n := cl.Stats().Conns; n != 2 {
			t.Errorf("20 streams: got %d connections; want 2", n)
		}
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil || s.c == writers[0].c {
			t.Errorf("opened on the busy connection, or %v", err)
		}
		s.Close()
		for _, s := range writers {
			s.Close()
		}
		isSlow.Store(false)
		time.Sleep(35 * time.Second)
		if st := cl.Stats(); st.Conns != 1 || st.Dials != 2 {
			t.Errorf("afterwards: got %+v; want 1 connection of 2", st)
		}
	})
}
