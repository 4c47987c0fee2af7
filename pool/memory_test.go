package pool

import (
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// However many streams a peer opens and grows, another finds room for its own.
func TestGreedyPeerLeavesWindowsToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		w := NewWindows(8 << 20)
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true, Windows: w}, Accept: func(s *Stream) { s.Respond(200) }})
		go srv.Serve(ln)
		defer srv.Close()
		taken := func() int64 {
			nc, _ := ln.dial(t.Context(), "", "")
			p := newFlooder(t, nc)
			go p.readLoop()
			p.b.w.WriteString(http2.ClientPreface)
			p.do("SETTINGS", p.fr.WriteSettings())
			before := w.Used()
			for i := range 100 {
				p.do("stream", p.open(uint32(2*i+1)))
			}
			p.do("flush", p.flush())
			synctest.Wait()
			return w.Used() - before
		}
		left := w.Limit()
		for i := range 4 {
			n := taken()
			if n > left/2 || n < left/2-initialWindow {
				t.Errorf("connection %d took %d bytes of the %d that were left; want half", i, n, left)
			}
			left -= n
		}
	})
}

// What an ended stream holds for an owner that does not read counts until it is read.
func TestUnreadBytesOfAnEndedStreamCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWindows(8 << 20)
		var s *Stream
		srv, p, _ := attackedServer(t, ServerConfig{Common: Common{Windows: w}, Accept: func(st *Stream) { s = st; st.Respond(200) }})
		defer srv.Close()
		for range 4 {
			p.do("DATA", p.fr.WriteData(1, false, make([]byte, 50<<10)))
		}
		p.do("DATA", first(p.fr.WriteData(1, true, nil), p.flush()))
		synctest.Wait()
		s.CloseWrite()
		<-s.Done()
		if got, want := w.Used(), int64(200<<10-leastWindow); got != want {
			t.Errorf("accounted after the end: got %d; want the unread %d", got, want)
		}
		if s.c.held != 1 {
			t.Errorf("%d streams held; want 1", s.c.held)
		}
		if n, err := io.Copy(io.Discard, s); n != 200<<10 || err != nil {
			t.Errorf("read %d, %v; want all", n, err)
		}
		if w.Used() != 0 || s.c.held != 0 {
			t.Errorf("after the reading: %d bytes accounted, %d streams held; want none", w.Used(), s.c.held)
		}
	})
}

// A reset drops what had come, since nobody can tell what is missing.
func TestResetFreesWhatWasNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWindows(8 << 20)
		var s *Stream
		srv, p, _ := attackedServer(t, ServerConfig{Common: Common{Windows: w}, Accept: func(st *Stream) { s = st; st.Respond(200) }})
		defer srv.Close()
		p.do("DATA", first(p.fr.WriteData(1, false, make([]byte, 100<<10)), p.fr.WriteRSTStream(1, http2.ErrCodeCancel), p.flush()))
		synctest.Wait()
		if s.buf.size != 0 || w.Used() != 0 {
			t.Errorf("%d bytes held, %d accounted; want none", s.buf.size, w.Used())
		}
	})
}

// The least windows of all streams are bounded: beyond that the connections that have
// many streams are refused more, and those that have few are not.
func TestLeastWindowsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		w := NewWindows(1 << 20) // 256 least windows
		accepted := 0
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true, Windows: w}, Accept: func(*Stream) { accepted++ }})
		go srv.Serve(ln)
		defer srv.Close()
		open := func() int {
			nc, _ := ln.dial(t.Context(), "", "")
			p := newFlooder(t, nc)
			go p.readLoop()
			p.b.w.WriteString(http2.ClientPreface)
			p.do("SETTINGS", p.fr.WriteSettings())
			before := accepted
			for i := range 500 {
				p.do("stream", p.open(uint32(2*i+1)))
			}
			p.do("flush", p.flush())
			synctest.Wait()
			return accepted - before
		}
		for i, want := range []int{256, 128, 85, 64} {
			if got := open(); got != want {
				t.Errorf("connection %d: got %d streams; want %d", i, got, want)
			}
		}
	})
}

// What waited for the socket at a busy time is not kept through a quiet one.
func TestQuietConnectionGivesItsBuffersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: echo})
		go srv.Serve(ln)
		defer srv.Close()
		cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe", Dial: ln.dial})
		defer cl.Close()
		k := newSink()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, k)
		if err != nil {
			t.Fatal(err)
		}
		s.Write(make([]byte, 1<<20))
		s.CloseWrite()
		<-k.closed
		kept := func() int {
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			return cap(s.c.out) + cap(s.c.spare)
		}
		if n := kept(); n < 64<<10 {
			t.Errorf("%d bytes of buffers when busy; the test shows nothing", n)
		}
		time.Sleep(time.Minute)
		if n := kept(); n > 64<<10 {
			t.Errorf("%d bytes of buffers are kept", n)
		}
	})
}

// What a connection with one stream costs either end, idle after it was used.
func TestConnectionsCostLittle(t *testing.T) {
	const conns = 1000
	ln := listen(t)
	startServer(t, ln, echo)
	before, goroutines := heap(), runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range conns {
		cl := startClient(t, ln)
		wg.Go(func() {
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			p := make([]byte, 16<<10)
			s.Write(p)
			if _, err := io.ReadFull(s, p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	bytes, n := (heap()-before)/conns, float64(runtime.NumGoroutine()-goroutines)/conns
	t.Logf("%d bytes and %.1f goroutines a connection, both ends together", bytes, n)
	if bytes > 256<<10 { // with room for the race detector's share
		t.Errorf("got %d bytes a connection, both ends; want at most %d", bytes, 256<<10)
	}
	if n > 9 { // 3 at either end, the client's dialLoop, the echo
		t.Errorf("got %.1f goroutines a connection, both ends; want at most 9", n)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
