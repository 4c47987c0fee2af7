package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// A peer that closes its socket between two frames has not ended its streams:
// io.EOF would make a cut body look whole.
func TestClosedSocketIsNotTheEndOfAStream(t *testing.T) {
	ln := listen(t)
	accepted := make(chan *Stream, 1)
	startServer(t, ln, func(s *Stream) { s.Respond(200); accepted <- s })
	cl := startClient(t, ln)
	s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := <-accepted
	at.Write([]byte("half of "))
	buf := make([]byte, 8)
	if _, err := io.ReadFull(s, buf); err != nil {
		t.Fatal(err)
	}
	at.c.nc.Close()
	if _, err := s.Read(buf); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v; want an error that is not io.EOF", err)
	}
}

func TestEachDialAsksForAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: echo})
		go srv.Serve(ln)
		defer srv.Close()
		var mu sync.Mutex
		var dialled []string
		cl, _ := NewClient(ClientConfig{
			Common: Common{Cleartext: true}, Addr: "service", Conns: 5, Resolve: Rotate("a:1", "b:2"),
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				mu.Lock()
				dialled = append(dialled, addr)
				mu.Unlock()
				return ln.dial(ctx, network, addr)
			},
		})
		defer cl.Close()
		synctest.Wait()
		if want := []string{"a:1", "b:2", "a:1", "b:2", "a:1"}; !slices.Equal(dialled, want) {
			t.Errorf("dialled %q; want %q", dialled, want)
		}
	})
}
