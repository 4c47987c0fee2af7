package pool

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// FuzzConn runs its input as a program that a peer sends, to a server and to a
// client: neither may panic, hang, keep a goroutine or account wrongly for windows.
func FuzzConn(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 4<<10 {
			return
		}
		synctest.Test(t, func(t *testing.T) { fuzzServer(t, program) })
		synctest.Test(t, func(t *testing.T) { fuzzClient(t, program) })
	})
}

// Each letter is an operation, and what follows its arguments; see fuzzPeer.step.
var fuzzSeeds = []string{
	"h1h1h1r1r1r1h2w\x00h2d\x01\xff\x01z",                 // requests, resets, WINDOW_UPDATE
	"h1d1\x40e1h1t1h1e1d1\x01z",                           // DATA after END_STREAM
	"h1d1\xffd1\xffd1\xffd1\xffd1\xffd1\xffz",             // beyond a window
	"h1c\x00c\x00c\x00z",                                  // CONTINUATION of nothing
	"b\x00\x82\x86\x84c\x00c\x01\xbez",                    // header blocks in pieces
	"s\x04\x00\x00\x00\x00h1s\x04\x7f\xff\xff\xffw1\xffz", // windows of SETTINGS
	"s\x05\x00\x00\x00\x00z", "s\x03\x00\x00\x00\x00z",    // MAX_FRAME_SIZE, MAX_CONCURRENT_STREAMS
	"s\x01\xff\xff\xff\xffh1h1z",              // HEADER_TABLE_SIZE
	"pppPPPaaaagg\x01g\x05z",                  // PING, ACKs, GOAWAY
	"o1o1i1i1o1d1\x20t1z",                     // responses, interim ones, trailers
	"o1d1\xffw1\x01z~~~~z", "u\x05hellou\xff", // time, raw bytes
	"x1\x09\x00\x00x\x00\x02\x00\x00", "y1h1y1e1h1r1~h1w1\x7fz", "h1h1h1h1h1h1h1h1h1h1h1h1e2e3e4z~~~~", // pushes, PRIORITY, many
}

// fuzzPeer writes what a program tells it to.
type fuzzPeer struct {
	fr      *http2.Framer
	nc      net.Conn
	program []byte
	nextID  uint32
	p       *scripted // for header blocks
}

func newFuzzPeer(t *testing.T, nc net.Conn, program []byte) *fuzzPeer {
	p := &fuzzPeer{fr: http2.NewFramer(nc, nil), nc: nc, program: program, nextID: 1, p: newScripted(t, nc)}
	nc.SetDeadline(time.Time{})
	p.fr.AllowIllegalWrites = true
	return p
}

func (p *fuzzPeer) take() byte {
	if len(p.program) == 0 {
		return 0
	}
	b := p.program[0]
	p.program = p.program[1:]
	return b
}

func (p *fuzzPeer) takeN(n int) []byte {
	b := p.program[:min(n, len(p.program))]
	p.program = p.program[len(b):]
	return b
}

// id is one of the first streams, or by the byte's high bit a strange one.
func (p *fuzzPeer) id() uint32 {
	b := p.take()
	if b&0x80 != 0 {
		return uint32(b & 0x7f)
	}
	return uint32(b%16)*2 + 1
}

func (p *fuzzPeer) uint32() uint32 {
	var v uint32
	for range 4 {
		v = v<<8 | uint32(p.take())
	}
	return v
}

func (p *fuzzPeer) headers(id uint32, end, endBlock bool, block []byte) error {
	return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: end, EndHeaders: endBlock, BlockFragment: block})
}

func (p *fuzzPeer) step() error {
	switch op := p.take(); op {
	case 'h', 'H': // a request
		p.nextID += 2
		return p.headers(p.nextID-2, op == 'H', true, p.p.block(":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "n", string(p.takeN(1))))
	case 'o', 'O': // a response
		return p.headers(p.id(), op == 'O', true, p.p.block(":status", "200"))
	case 'i':
		return p.headers(p.id(), false, true, p.p.block(":status", "103", "link", "x"))
	case 't':
		return p.headers(p.id(), true, true, p.p.block("trailer", "x"))
	case 'b', 'B': // a block of any bytes, ended or not
		return p.headers(p.id(), false, op == 'B', p.takeN(int(p.take()%64)))
	case 'c', 'C':
		return p.fr.WriteContinuation(p.id(), op == 'C', p.takeN(int(p.take()%64)))
	case 'd':
		id := p.id()
		n := int(p.take())
		return p.fr.WriteData(id, false, make([]byte, n*n))
	case 'e':
		return p.fr.WriteData(p.id(), true, nil)
	case 'f':
		return p.fr.WriteDataPadded(p.id(), false, make([]byte, p.take()), make([]byte, p.take()))
	case 'r':
		return p.fr.WriteRSTStream(p.id(), http2.ErrCode(p.take()%16))
	case 'w':
		return p.fr.WriteWindowUpdate(p.id()&^(uint32(p.take())%2), p.uint32()>>(p.take()%32))
	case 's':
		return p.fr.WriteSettings(http2.Setting{ID: http2.SettingID(p.take()), Val: p.uint32()})
	case 'a':
		return p.fr.WriteSettingsAck()
	case 'p', 'P':
		return p.fr.WritePing(op == 'P', [8]byte{})
	case 'g':
		return p.fr.WriteGoAway(p.id(), http2.ErrCode(p.take()%4), []byte("x"))
	case 'y':
		return p.fr.WritePriority(p.id(), http2.PriorityParam{StreamDep: p.id()})
	case 'x':
		return p.fr.WriteRawFrame(http2.FrameType(p.take()%16), http2.Flags(p.take()), p.id(), p.takeN(int(p.take()%64)))
	case 'u':
		_, err := p.nc.Write(p.takeN(int(p.take())))
		return err
	case '~':
		time.Sleep(time.Duration(p.take()) * 10 * time.Millisecond)
	case 'z':
		synctest.Wait()
	}
	return nil
}

func (p *fuzzPeer) run() {
	for len(p.program) > 0 {
		if p.step() != nil {
			return
		}
	}
}

// use does with a stream what its owner may, by its number, and closes it.
func use(s *Stream) {
	defer s.Close()
	s.SetDeadline(time.Now().Add(3 * time.Second))
	switch s.ID() / 2 % 6 {
	case 0:
		io.Copy(s, s)
	case 1:
		s.Write(make([]byte, 300<<10))
	case 2:
		io.Copy(io.Discard, s)
		s.CloseWrite()
	case 3:
		time.Sleep(time.Second)
		io.ReadAtLeast(s, make([]byte, 1000), 1000)
	case 4:
		s.CloseWrite()
		s.Read(make([]byte, 100))
	case 5:
		s.Write([]byte("x"))
		s.Reset(http2.ErrCodeCancel)
	}
}

func checkAfter(t *testing.T, w *Windows) {
	t.Helper()
	if n, streams, conns := w.used.Load(), w.streams.Load(), w.conns.Load(); n != 0 || streams != 0 || conns != 0 {
		t.Errorf("after the end: %d bytes of windows, %d streams, %d connections; want none", n, streams, conns)
	}
}

func fuzzServer(t *testing.T, program []byte) {
	ln := newPipeListener()
	w := NewWindows(1 << 20)
	var owners sync.WaitGroup
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true, MaxStreams: 8, Windows: w}, Accept: func(s *Stream) {
		switch s.ID() / 2 % 8 {
		case 0:
			s.Refuse(404, "no such path\n")
			return
		case 1:
			s.SetReceiver(newSink())
		}
		s.Respond(200)
		owners.Go(func() { useOrSend(s) })
	}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { srv.Serve(ln); close(served) }()
	nc, _ := ln.dial(t.Context(), "", "")
	go io.Copy(io.Discard, nc)
	io.WriteString(nc, http2.ClientPreface)
	p := newFuzzPeer(t, nc, program)
	if p.fr.WriteSettings() == nil {
		p.run()
	}
	checkHeld(t, srv)
	nc.Close()
	srv.Close()
	<-served
	owners.Wait()
	checkAfter(t, w)
}

// useOrSend is use of a stream that may have a Receiver.
func useOrSend(s *Stream) {
	if s.receiver == nil {
		use(s)
		return
	}
	s.SetWriteDeadline(time.Now().Add(3 * time.Second))
	s.Write(make([]byte, 100<<10))
	s.Close()
}

// checkHeld sees that no more is held for the peer than the bounds say.
func checkHeld(t *testing.T, srv *Server) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for c := range srv.conns {
		c.mu.Lock()
		for _, s := range c.streams {
			if int64(s.buf.size) > s.window {
				t.Errorf("stream %d: %d bytes held; its window is %d", s.id, s.buf.size, s.window)
			}
		}
		if n := cap(c.out); n > 4*outSoftLimit+outHardLimit {
			t.Errorf("%d bytes wait for the peer", n)
		}
		if n := len(c.streams); n > 8 || n+c.held > 16 {
			t.Errorf("%d streams, %d held; want at most 8 and 16", n, c.held)
		}
		c.mu.Unlock()
	}
}

func fuzzClient(t *testing.T, program []byte) {
	a, b := net.Pipe()
	w := NewWindows(1 << 20)
	isDialled := false
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true, Windows: w}, Addr: "x",
		Dial: func(context.Context, string, string) (net.Conn, error) {
			if isDialled {
				return nil, io.ErrClosedPipe
			}
			isDialled = true
			return a, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, b)
	p := newFuzzPeer(t, b, program)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var owners sync.WaitGroup
	if p.fr.WriteSettings() == nil {
		for i := range 8 {
			owners.Go(func() {
				var r Receiver
				if i%4 == 3 {
					r = newSink()
				}
				s, err := cl.Open(ctx, Header{Path: "/"}, r)
				if err == nil {
					useOrSend(s)
				}
			})
		}
		synctest.Wait()
		p.run()
	}
	b.Close()
	cl.Close()
	owners.Wait()
	checkAfter(t, w)
}
