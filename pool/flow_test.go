package pool

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A consumer that keeps up gets a larger window, one that stalls gives it back,
// and the end of the stream returns the rest.
func TestWindowFollowsTheConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		win := NewWindows(0)
		accepted := make(chan *Stream, 1)
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: func(s *Stream) { s.Respond(200); accepted <- s }})
		go srv.Serve(ln)
		defer srv.Close()
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true, Windows: win}, Addr: "pipe", Dial: ln.dial})
		defer cl.Close()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		peer := <-accepted
		piece := make([]byte, 64<<10)
		rand.Read(piece)
		for range 1024 { // the consumer waits for each piece
			go peer.Write(piece)
			if _, err := io.ReadFull(s, piece); err != nil {
				t.Fatal(err)
			}
		}
		window := func() int64 {
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			return s.window
		}
		if w := window(); w < maxStreamWindow/2 {
			t.Errorf("window of a fast consumer: got %d; want at least %d", w, maxStreamWindow/2)
		}
		if got, want := win.Used(), window()-leastWindow; got != want {
			t.Errorf("accounted: got %d; want %d", got, want)
		}

		go func() {
			for range 4096 {
				peer.Write(piece)
			}
			peer.CloseWrite()
		}()
		for { // the consumer is what is waited for
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if _, err := io.ReadFull(s, piece); err != nil {
				break
			}
			s.c.mu.Lock()
			size := s.buf.size
			s.c.mu.Unlock()
			if size > maxStreamWindow {
				t.Fatalf("%d bytes held; want at most %d", size, maxStreamWindow)
			}
		}
		if w := window(); w > 2*initialWindow {
			t.Errorf("window of a slow consumer: got %d; want at most %d", w, 2*initialWindow)
		}
		s.Close()
		peer.Close()
		if got := win.Used(); got != 0 {
			t.Errorf("accounted after the end: got %d; want 0", got)
		}
	})
}

// When the budget is spent, streams make do with the least window, and work.
func TestWindowsStayWithinTheirBudget(t *testing.T) {
	ln := listen(t)
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true, Windows: NewWindows(1 << 20)}, Accept: echo})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	cl := startClient(t, ln)
	for range 16 {
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		want := make([]byte, 1<<20)
		go s.Write(want)
		if _, err := io.ReadFull(s, want); err != nil {
			t.Fatal(err)
		}
		if used := srv.cfg.Windows.Used(); used > 1<<20 {
			t.Fatalf("%d bytes of windows; want at most %d", used, 1<<20)
		}
	}
}

// A Write of which the peer takes nothing ends; one that is taken slowly does not.
func TestWriteTimeoutIsOfProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		accepted := make(chan *Stream, 1)
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: func(s *Stream) { s.Respond(200); accepted <- s }})
		go srv.Serve(ln)
		defer srv.Close()
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe", Dial: ln.dial})
		defer cl.Close()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		peer := <-accepted
		s.SetWriteTimeout(time.Second)
		slowly := make(chan struct{})
		go func() { // a window each 0.9 s
			defer close(slowly)
			for range 10 {
				time.Sleep(900 * time.Millisecond)
				io.ReadFull(peer, make([]byte, initialWindow))
			}
		}()
		if _, err := s.Write(make([]byte, 10*initialWindow)); err != nil {
			t.Errorf("a slow reader: %v", err)
		}
		<-slowly
		began := time.Now()
		n, err := s.Write(make([]byte, 10*initialWindow))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Second {
			t.Errorf("a reader that stops: %d bytes, %v after %v; want a timeout after 1s", n, err, took)
		}
	})
}

// A stream beside another is on its connection, while there is one.
func TestOpenBesideKeepsToTheConnection(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, echo)
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: ln.Addr().String(), Conns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	first, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		s, err := cl.OpenBeside(t.Context(), first, Header{Path: "/"}, nil)
		if err != nil || s.c != first.c {
			t.Fatalf("not beside, or %v", err)
		}
	}
	first.c.close(ErrClosed)
	if s, err := cl.OpenBeside(t.Context(), first, Header{Path: "/"}, nil); err != nil || s.c == first.c {
		t.Errorf("beside one that is over: %v", err)
	}
}

// What comes in frames of any size is read as it was sent, whoever is faster, and
// what a stream that ends leaves unread is let go.
func TestPayloadsOfAllSizesAreReadInOrder(t *testing.T) {
	ln := listen(t)
	accepted := make(chan *Stream, 1)
	startServer(t, ln, func(s *Stream) { s.Respond(200); accepted <- s })
	cl := startClient(t, ln)
	s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	peer := <-accepted
	want := make([]byte, 3<<20)
	rand.Read(want)
	go func() {
		for p, n := want, 1; len(p) > 0; n = n*3/2 + 1 { // below, at and above what is kept as it comes
			k := min(n%(100<<10)+1, len(p))
			if _, err := s.Write(p[:k]); err != nil {
				t.Error(err)
			}
			p = p[k:]
		}
		s.CloseWrite()
	}()
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v; want what was sent, %d", len(got), err, len(want))
	}
	peer.Write(want[:100<<10])
	s.Close()
	if n := s.buf.size; n != 0 {
		t.Errorf("%d bytes are kept after Close", n)
	}
}

// Windows that have nothing to grow by are no reason to refuse streams.
func TestTheLeastWindowsTakeStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true, Windows: NewWindows(1)}, Accept: func(s *Stream) { s.Respond(200) }})
		go srv.Serve(ln)
		defer srv.Close()
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true, Windows: NewWindows(1)}, Addr: "pipe", Dial: ln.dial})
		defer cl.Close()
		for range leastFactor {
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
	})
}
