package pool

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// pipeGatherer writes the parts to a pipe, one by one.
type pipeGatherer struct {
	net.Conn
	loans int // parts that are payloads only
}

func (g *pipeGatherer) WriteBuffers(v *net.Buffers) (int64, error) {
	for _, p := range *v {
		if len(p) >= minGather {
			g.loans++
		}
	}
	return v.WriteTo(g.Conn)
}

// Payloads that are not copied stand in their places among those that are, and
// a stream's bytes come in order.
func TestGatheredPayloadsKeepTheirPlaces(t *testing.T) {
	a, b := net.Pipe()
	c := newConn(a, true, &Common{Cleartext: true, PingPeriod: -1, MaxHeaderBytes: 1 << 14, Windows: NewWindows(0)})
	c.out, c.sendWindow, c.peerWindow = nil, 1<<30, 1<<30
	g := &pipeGatherer{Conn: a}
	c.gatherer = g
	sent, got := map[uint32][]byte{}, map[uint32][]byte{}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer a.Close()
		streams := make([]*Stream, 3)
		for i := range streams {
			streams[i], _ = c.open(&Header{Path: "/"}, nil)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, size := range []int{100, 200 << 10, minGather - 1, minGather, 1 << 20} {
			for _, s := range streams {
				s.unsent = make([]byte, size)
				rand.Read(s.unsent)
				sent[s.ID()] = append(sent[s.ID()], s.unsent...)
				c.queueLocked(s)
			}
			for c.hasOutLocked() {
				c.writeOutLocked(streams[1])
			}
		}
	})
	fr := http2.NewFramer(nil, b)
	fr.SetMaxReadFrameSize(maxReadFrame)
	for {
		f, err := fr.ReadFrame()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.DataFrame); ok {
			got[f.StreamID] = append(got[f.StreamID], f.Data()...)
		}
	}
	wg.Wait()
	for id, p := range sent {
		if !bytes.Equal(got[id], p) {
			t.Errorf("stream %d: other bytes than were sent", id)
		}
	}
	if g.loans == 0 {
		t.Error("each payload was copied: the test shows nothing")
	}
}

// Over real sockets, where the kernel gathers.
func TestBulkOverSocketsArrivesWhole(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	acceptc := make(chan *Stream, 4)
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: func(s *Stream) { s.Respond(200); acceptc <- s }})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(ln) })
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer wg.Wait()
	defer srv.Close()
	defer cl.Close()
	var streams sync.WaitGroup
	for range 4 {
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		far := <-acceptc
		sent := make([]byte, 4<<20)
		rand.Read(sent)
		streams.Go(func() {
			for p := sent; len(p) > 0; {
				n := min(len(p), 150_000)
				if _, err := s.Write(p[:n]); err != nil {
					t.Error(err)
					return
				}
				p = p[n:]
			}
			s.CloseWrite()
		})
		streams.Go(func() {
			got, err := io.ReadAll(far)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes, %v; want what was sent", len(got), err)
			}
			far.Close()
		})
	}
	streams.Wait()
}
