package pool

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// echo answers every stream with 200 and sends back what it reads.
func echo(s *Stream) {
	s.Respond(200)
	go func() {
		io.Copy(s, s)
		s.CloseWrite()
	}()
}

type countingListener struct {
	net.Listener
	n atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return nc, err
}

func listen(t testing.TB) *countingListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &countingListener{Listener: ln}
}

func startServer(t testing.TB, ln net.Listener, accept func(*Stream)) *Server {
	t.Helper()
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: accept})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != ErrClosed {
			t.Errorf("Serve: got %v; want ErrClosed", err)
		}
	})
	return srv
}

func startClient(t testing.TB, ln net.Listener) *Client {
	t.Helper()
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

func TestStreamsCarryBytesBothWays(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, echo)
	cl := startClient(t, ln)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			want := make([]byte, 3<<20) // larger than every window and buffer
			rand.Read(want)
			go func() {
				s.Write(want)
				s.CloseWrite()
			}()
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, %v; want the %d sent", len(got), err, len(want))
			}
		})
	}
	wg.Wait()
	if n := ln.n.Load(); n != 1 {
		t.Errorf("got %d connections; want 1", n)
	}
}

func TestColdOpensShareOneConnection(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, func(s *Stream) { s.Respond(200); s.CloseWrite() })
	cl := startClient(t, ln)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
	if n := ln.n.Load(); n != 1 {
		t.Errorf("got %d connections; want 1", n)
	}
}

// sink counts what it receives and when it was told of the end.
type sink struct {
	mu     sync.Mutex
	data   []byte
	closed chan error
}

func newSink() *sink { return &sink{closed: make(chan error, 2)} }

func (k *sink) Receive(p []byte) error {
	k.mu.Lock()
	k.data = append(k.data, p...)
	k.mu.Unlock()
	return nil
}

func (k *sink) Closed(err error) { k.closed <- err }

func TestReceiverGetsAllAndIsToldOnce(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, echo)
	cl := startClient(t, ln)
	k := newSink()
	s, err := cl.Open(t.Context(), Header{Path: "/"}, k)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 20<<20)
	rand.Read(want)
	if _, err := s.Write(want); err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	if err := <-k.closed; err != io.EOF {
		t.Errorf("Closed: got %v; want EOF", err)
	}
	if !bytes.Equal(k.data, want) {
		t.Errorf("got %d bytes; want the %d sent", len(k.data), len(want))
	}
	cl.Close()
	if len(k.closed) != 0 {
		t.Error("Closed was called twice")
	}
}

func TestRefusedStreamIsAStatusError(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, func(s *Stream) { s.Refuse(404, "no such path\n", Field{Name: "h2tp-error", Value: "x"}) })
	cl := startClient(t, ln)
	_, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	se, ok := errors.AsType[*StatusError](err)
	if !ok || se.Status != 404 || se.Header.Value("h2tp-error") != "x" {
		t.Errorf("got %v; want status 404", err)
	}
}

func TestLargeHeadersUseContinuation(t *testing.T) {
	ln := listen(t)
	long := string(bytes.Repeat([]byte("v"), 12<<10))
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true, MaxHeaderBytes: 64 << 10}, Accept: func(s *Stream) {
		if s.Header().Value("a") != long || s.Header().Value("b") != long+long {
			s.Refuse(400, "")
			return
		}
		s.Respond(200)
	}})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	cl := startClient(t, ln)
	if _, err := cl.Open(t.Context(), Header{Path: "/", Fields: []Field{{Name: "a", Value: long}, {Name: "b", Value: long + long}}}, nil); err != nil {
		t.Error(err)
	}
}

func TestLostConnectionFailsStreamsAndIsReplaced(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, echo)
	cl := startClient(t, ln)
	k := newSink()
	s, err := cl.Open(t.Context(), Header{Path: "/"}, k)
	if err != nil {
		t.Fatal(err)
	}
	s.c.nc.Close()
	if err := <-k.closed; err == nil || err == io.EOF {
		t.Errorf("Closed: got %v; want an error", err)
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("Write worked on a lost connection")
	}
	if _, err := cl.Open(t.Context(), Header{Path: "/"}, nil); err != nil {
		t.Error(err)
	}
}

func TestServerCloseEndsStreamsAtBothEnds(t *testing.T) {
	ln := listen(t)
	accepted := make(chan *Stream, 1)
	srv := startServer(t, ln, func(s *Stream) { s.Respond(200); accepted <- s })
	cl := startClient(t, ln)
	s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv.Close()
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("the client still reads")
	}
	if _, err := (<-accepted).Read(make([]byte, 1)); err == nil {
		t.Error("the server still reads")
	}
}

func TestShutdownLetsStreamsEnd(t *testing.T) {
	ln := listen(t)
	srv := startServer(t, ln, echo)
	cl := startClient(t, ln)
	s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(t.Context()) }()
	for { // until GOAWAY has come
		if ok, _ := s.c.hasRoom(); !ok {
			break
		}
		time.Sleep(time.Millisecond)
	}
	s.Write([]byte("still here"))
	s.CloseWrite()
	if got, err := io.ReadAll(s); string(got) != "still here" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGarbageIsTurnedAwayAtOnce(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, echo)
	for _, in := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc.Write([]byte(in))
		nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, context.DeadlineExceeded) || err != nil && isTimeout(err) {
			t.Errorf("%q: still open", in)
		}
		nc.Close()
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// pipeListener hands out one end of in-memory pipes, for fake time.
type pipeListener struct {
	connc chan net.Conn
	donec chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{connc: make(chan net.Conn), donec: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.connc:
		return nc, nil
	case <-l.donec:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.donec) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }
func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.connc <- b:
		return a, nil
	case <-l.donec:
		return nil, errors.New("refused")
	}
}

func TestDeadPeerIsFoundByPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		go func() { // a peer that says hello and is then silent, though it reads
			b.Write(appendSettings(nil))
			io.Copy(io.Discard, b)
		}()
		cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "x", Dial: func(context.Context, string, string) (net.Conn, error) {
			if a == nil {
				return nil, errors.New("refused")
			}
			defer func() { a = nil }()
			return a, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		synctest.Wait()
		began := time.Now()
		cl.mu.Lock()
		cn := cl.conns[0]
		cl.mu.Unlock()
		<-cn.donec
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("found dead after %v; want 10s", d)
		}
		if cn.err != ErrPingTimeout {
			t.Errorf("got %v; want ErrPingTimeout", cn.err)
		}
	})
}

func TestPeerThatReadsNothingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe() // a write blocks until it is read: b reads only the preface
		defer b.Close()
		go func() {
			b.Write(appendSettings(nil))
			io.ReadFull(b, make([]byte, 24+9+24+13))
		}()
		c := newConn(a, true, &Common{Cleartext: true, PingPeriod: 15 * time.Second, PingTimeout: 5 * time.Second, MaxHeaderBytes: 1 << 14, Windows: NewWindows(0)})
		began := time.Now()
		if err := c.run(); err != ErrPingTimeout {
			t.Errorf("got %v; want ErrPingTimeout", err)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("closed after %v; want at most 20s", d)
		}
	})
}

func TestIdleConnectionLivesByPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: echo})
		go srv.Serve(ln)
		defer srv.Close()
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe", Dial: ln.dial})
		defer cl.Close()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		s.Write([]byte("x"))
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		s.Close()
	})
}

func TestBackoffDoublesAndHurriesForWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "x", Dial: func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return nil, errors.New("refused")
		}})
		defer cl.Close()
		check := func(name string, min, max time.Duration) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			for i := 1; i < len(at); i++ {
				if d := at[i].Sub(at[i-1]); d < min || d > max {
					t.Errorf("%s: wait %d is %v; want %v to %v", name, i, d, min, max)
				}
			}
		}
		time.Sleep(20 * time.Second)
		mu.Lock()
		if d := at[1].Sub(at[0]); d < 37*time.Millisecond || d > 63*time.Millisecond {
			t.Errorf("first wait is %v; want 50ms +- 25%%", d)
		}
		at = at[len(at)-2:]
		mu.Unlock()
		check("idle", 3750*time.Millisecond, 6250*time.Millisecond)

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		mu.Lock()
		at = nil
		mu.Unlock()
		_, err := cl.Open(ctx, Header{Path: "/"}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !bytes.Contains([]byte(err.Error()), []byte("refused")) {
			t.Errorf("got %v; want the dial's error and the deadline", err)
		}
		check("waited for", 375*time.Millisecond, 625*time.Millisecond)
	})
}

func TestDeadlinesAreOfOneStream(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, echo)
	cl := startClient(t, ln)
	a, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.SetDeadline(time.Now().Add(-time.Second))
	if _, err := a.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("got %v; want a timeout", err)
	}
	if _, err := a.Write([]byte("x")); !isTimeout(err) {
		t.Errorf("got %v; want a timeout", err)
	}
	b.Write([]byte("x"))
	if _, err := b.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	a.SetDeadline(time.Time{})
	a.Write([]byte("x"))
	if _, err := a.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
