package pool

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// The last response is in the buffer, and another goroutine in a write, when
// draining ends the connection.
func TestDrainWritesWhatIsBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv := startServer(t, ln, func(s *Stream) { s.Respond(200); s.CloseWrite() })
		nc, err := ln.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		p := newScripted(t, nc)
		p.do("preface", func() error { _, err := io.WriteString(nc, http2.ClientPreface); return err }())
		p.do("SETTINGS", p.fr.WriteSettings())
		synctest.Wait() // the server is in its first write, which nobody reads
		p.request(1, true)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(t.Context()) }()
		synctest.Wait()
		p.fr.ReadMetaHeaders = nil
		var last uint32
		p.want("GOAWAY", func(f http2.Frame) bool {
			if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
				last = d.StreamID
			}
			_, ok := f.(*http2.GoAwayFrame)
			return ok
		})
		if last != 1 {
			t.Error("GOAWAY without the response before it")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// halfPipe notes when its writing side, and when all of it, was closed.
type halfPipe struct {
	net.Conn
	began         time.Time
	half, whole   time.Duration
	isHalf, isEnd bool
}

func (h *halfPipe) CloseWrite() error {
	h.half, h.isHalf = time.Since(h.began), true
	return nil
}

func (h *halfPipe) Close() error {
	if !h.isEnd {
		h.whole, h.isEnd = time.Since(h.began), true
	}
	return h.Conn.Close()
}

// Something unread in a socket would make its end a reset, which takes with it
// what the peer has not received: so it is read on until the peer closes.
func TestDrainedConnectionIsHalfClosedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		h := &halfPipe{Conn: b, began: time.Now()}
		cfg := Common{Cleartext: true}
		if err := cfg.complete(); err != nil {
			t.Fatal(err)
		}
		c := newConn(h, false, &cfg)
		over := make(chan error, 1)
		go func() { over <- c.run() }()
		p := newScripted(t, a)
		p.do("preface", func() error { _, err := io.WriteString(a, http2.ClientPreface); return err }())
		p.do("SETTINGS", p.fr.WriteSettings())
		p.wantPong()
		go c.drain()
		p.wantGoAway(http2.ErrCodeNo)
		synctest.Wait()
		p.do("PING", p.fr.WritePing(false, [8]byte{2})) // is read still
		<-over
		if !h.isHalf || h.half != 0 || h.whole != lingerTimeout {
			t.Errorf("half-closed %v after %v, closed after %v; want at once, after %v", h.isHalf, h.half, h.whole, lingerTimeout)
		}
	})
}

// Each end is told of a drain as what it is: its own, or the peer's.
func TestDrainIsTheEndsThatBeganIt(t *testing.T) {
	for name, isServers := range map[string]bool{"the server's": true, "the client's": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				toServer, toClient := make(chan error, 1), make(chan error, 1)
				told := func(c chan error) *Trace { return &Trace{Disconnected: func(_ string, err error) { c <- err }} }
				ln := newPipeListener()
				srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true, Trace: told(toServer)}, Accept: echo})
				go srv.Serve(ln)
				defer srv.Close()
				cl, _ := NewClient(ClientConfig{Common: Common{Cleartext: true, Trace: told(toClient)}, Addr: "pipe", Dial: ln.dial})
				defer cl.Close()
				synctest.Wait()
				own, peers := toServer, toClient
				if isServers {
					srv.Shutdown(t.Context())
				} else {
					own, peers = toClient, toServer
					cl.Shutdown(t.Context())
				}
				if err := <-own; err != errDrained || !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrGoAway) {
					t.Errorf("who drained: got %v; want errDrained", err)
				}
				if err := <-peers; err != ErrGoAway {
					t.Errorf("the other: got %v; want ErrGoAway", err)
				}
			})
		})
	}
}
