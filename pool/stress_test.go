package pool

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counts is a Trace that counts.
type counts struct{ dialled, connected, disconnected, opened, reused, reset, closed atomic.Int64 }

func (n *counts) trace() *Trace {
	return &Trace{
		Dialing: func(string) { n.dialled.Add(1) },
		Connected: func(_ string, _ time.Duration, err error) {
			if err == nil {
				n.connected.Add(1)
			}
		},
		Disconnected: func(string, error) { n.disconnected.Add(1) },
		Opened: func(_ *Stream, isReused bool) {
			n.opened.Add(1)
			if isReused {
				n.reused.Add(1)
			}
		},
		Reset:  func(*Stream, *ResetError) { n.reset.Add(1) },
		Closed: func(*Stream, error) { n.closed.Add(1) },
	}
}

// abuse does to a stream what its methods allow, in any order.
func abuse(s *Stream) {
	buf := make([]byte, 1+rand.IntN(40<<10))
	for range 1 + rand.IntN(8) {
		switch rand.IntN(12) {
		case 0:
			s.SetDeadline(time.Now().Add(time.Duration(rand.IntN(3)) * time.Millisecond))
		case 1:
			s.SetReadDeadline(time.Time{})
		case 2:
			s.SetWriteDeadline(time.Time{})
		case 3:
			s.CloseWrite()
		case 4:
			s.Reset(Code(rand.IntN(14)))
		case 5:
			s.Close()
		case 6, 7, 8:
			s.SetWriteDeadline(time.Now().Add(5 * time.Millisecond))
			s.Write(buf)
		case 9, 10:
			s.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			s.Read(buf)
		default:
			s.Header().Value("x")
			s.LocalAddr()
			s.RemoteAddr()
			s.TLS()
			s.ID()
		}
	}
}

// All methods at once, on both ends, with connections that come, fill up, are
// flushed and lost: for the race detector; and in the end nothing is left open and
// every stream that was opened was closed once.
func TestAllMethodsAtOnce(t *testing.T) {
	var atClient, atServer counts
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true, MaxStreams: 8, Trace: atServer.trace()}})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	cl, err := NewClient(ClientConfig{
		Common: Common{Cleartext: true, Trace: atClient.trace()}, Addr: ln.Addr().String(), Conns: 2, MaxConns: 6, IdleTimeout: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	var accepts, opens sync.WaitGroup
	for range 4 {
		accepts.Go(func() {
			for {
				s, err := srv.Accept(context.Background())
				if err != nil {
					return
				}
				accepts.Go(func() {
					defer s.Close()
					abuse(s)
					s.SetDeadline(time.Now().Add(10 * time.Millisecond))
					io.Copy(s, s)
				})
			}
		})
	}
	for range 16 {
		opens.Go(func() {
			for i := range 100 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(1000))*time.Millisecond)
				if s, err := cl.Open(ctx, Header{Path: "/"}, nil); err == nil {
					var both sync.WaitGroup
					both.Go(func() { abuse(s) })
					abuse(s)
					both.Wait()
					s.Close()
				}
				cancel()
				switch {
				case i%50 == 49:
					cl.Flush()
				case i%10 == 9:
					cl.Stats()
					srv.Stats()
					cl.ResetErrors()
					cl.Err()
				}
			}
		})
	}
	opens.Wait()
	var ends sync.WaitGroup
	for range 2 {
		ends.Go(func() { cl.Close() })
		ends.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			srv.Shutdown(ctx)
		})
		ends.Go(func() { srv.Close() })
		ends.Go(func() { cl.Shutdown(context.Background()) })
	}
	ends.Wait()
	accepts.Wait()
	if err := <-served; !errors.Is(err, ErrClosed) {
		t.Errorf("Serve: got %v", err)
	}
	if _, err := cl.Open(t.Context(), Header{Path: "/"}, nil); err != ErrClosed {
		t.Errorf("Open after Close: got %v", err)
	}
	for name, n := range map[string]*counts{"client": &atClient, "server": &atServer} {
		t.Logf("%s: %d dials, %d connections, %d streams, %d of them on reused ones, %d resets", name,
			n.dialled.Load(), n.connected.Load(), n.opened.Load(), n.reused.Load(), n.reset.Load())
		if o, c := n.opened.Load(), n.closed.Load(); o == 0 || o != c {
			t.Errorf("%s: %d streams were opened, %d closed", name, o, c)
		}
		if o, c := n.connected.Load(), n.disconnected.Load(); o != c {
			t.Errorf("%s: %d connections came, %d went", name, o, c)
		}
	}
	if c, s := cl.Stats(), srv.Stats(); c.Conns+c.Streams+s.Conns+s.Streams != 0 {
		t.Errorf("left: %+v, %+v", c, s)
	}
}
