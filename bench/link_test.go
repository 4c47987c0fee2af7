package bench

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/h2tp/h2tp/pool"
)

// recordHead is a record's length, itself not counted, and the caller's number.
const recordHead = 8

// end is one end of a link: records are appended to a buffer under a mutex, and
// one goroutine writes what has gathered, after it has let others append.
type end struct {
	w        io.Writer
	size     int // of the records it sends
	onRecord func(caller uint32)
	rest     []byte // of a record that is not whole; the reader's
	kickc    chan struct{}
	donec    chan struct{}
	written  atomic.Int64
	batches  atomic.Int64

	mu         sync.Mutex // guards all below
	open       []byte
	isSleeping bool
	isClosed   bool
}

func newEnd(w io.Writer, size int) *end {
	return &end{w: w, size: size, kickc: make(chan struct{}, 1), donec: make(chan struct{})}
}

// filler stands in for what a record carries.
var filler [4096]byte

func (e *end) send(caller uint32) {
	e.mu.Lock()
	e.open = binary.BigEndian.AppendUint32(e.open, uint32(e.size-4))
	e.open = binary.BigEndian.AppendUint32(e.open, caller)
	e.open = append(e.open, filler[:e.size-recordHead]...)
	e.kickLocked()
	e.mu.Unlock()
}

func (e *end) kickLocked() {
	if e.isSleeping {
		e.isSleeping = false
		e.kickc <- struct{}{}
	}
}

// flushLoop writes batches until the end is closed or cannot write.
func (e *end) flushLoop() {
	defer close(e.donec)
	var batch []byte
	for {
		e.mu.Lock()
		for len(e.open) == 0 && !e.isClosed {
			e.isSleeping = true
			e.mu.Unlock()
			<-e.kickc
			e.mu.Lock()
		}
		isClosed := e.isClosed
		e.mu.Unlock()
		if isClosed {
			return
		}
		runtime.Gosched() // those about to append join the batch
		e.mu.Lock()
		batch, e.open = e.open, batch[:0]
		e.mu.Unlock()
		if _, err := e.w.Write(batch); err != nil {
			return
		}
		e.written.Add(int64(len(batch)))
		e.batches.Add(1)
	}
}

func (e *end) close() {
	e.mu.Lock()
	e.isClosed = true
	e.kickLocked()
	e.mu.Unlock()
	<-e.donec
}

// Receive implements pool.Receiver: it takes the next bytes of the other end.
func (e *end) Receive(p []byte) error {
	for len(e.rest) > 0 && len(p) > 0 {
		want := 4
		if len(e.rest) >= 4 {
			want += int(binary.BigEndian.Uint32(e.rest))
		}
		k := min(len(p), want-len(e.rest))
		e.rest, p = append(e.rest, p[:k]...), p[k:]
		if len(e.rest) == want && want > 4 {
			e.onRecord(binary.BigEndian.Uint32(e.rest[4:]))
			e.rest = e.rest[:0]
		}
	}
	for len(p) >= recordHead {
		n := 4 + int(binary.BigEndian.Uint32(p))
		if n > len(p) {
			break
		}
		e.onRecord(binary.BigEndian.Uint32(p[4:]))
		p = p[n:]
	}
	e.rest = append(e.rest, p...)
	return nil
}

// Closed implements pool.Receiver.
func (e *end) Closed(error) {}

// readLoop is the one reader of a bare connection.
func (e *end) readLoop(nc net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := nc.Read(buf)
		e.Receive(buf[:n])
		if err != nil {
			return
		}
	}
}

// link is a pair of ends, of which the second answers each record with one of
// its own.
type link struct {
	client, server *end
	answered       []chan struct{} // by caller, capacity 1
	wireBytes      func() int64
}

func newLink(callers, request, response int) *link {
	l := &link{client: newEnd(nil, request), server: newEnd(nil, response), answered: make([]chan struct{}, callers)}
	for i := range l.answered {
		l.answered[i] = make(chan struct{}, 1)
	}
	l.client.onRecord = func(caller uint32) { l.answered[caller] <- struct{}{} }
	l.server.onRecord = l.server.send
	return l
}

func (l *link) exchange(caller int) {
	l.client.send(uint32(caller))
	<-l.answered[caller]
}

// startTCP makes a link of one bare TCP connection over loopback, in TLS when
// there is a configuration.
func startTCP(tb testing.TB, callers, request, response int, server, client *tls.Config) *link {
	l := newLink(callers, request, response)
	ln := listen(tb)
	cc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	sc, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	ln.Close()
	if server != nil {
		cc, sc = tls.Client(cc, client), tls.Server(sc, server)
	}
	l.client.w, l.server.w = cc, sc
	l.wireBytes = func() int64 { return l.client.written.Load() + l.server.written.Load() }
	var wg sync.WaitGroup
	wg.Go(l.client.flushLoop)
	wg.Go(l.server.flushLoop)
	wg.Go(func() { l.client.readLoop(cc) })
	wg.Go(func() { l.server.readLoop(sc) })
	tb.Cleanup(func() {
		l.client.close()
		l.server.close()
		cc.Close()
		sc.Close()
		wg.Wait()
	})
	return l
}

// startPool makes a link of one stream of a pool over loopback.
func startPool(tb testing.TB, callers, request, response int) *link {
	l := newLink(callers, request, response)
	ln := listen(tb)
	var wg sync.WaitGroup
	acceptedc := make(chan struct{})
	srv, err := pool.NewServer(pool.ServerConfig{
		Common: pool.Common{Cleartext: true},
		Accept: func(s *pool.Stream) {
			l.server.w = s
			s.SetReceiver(l.server)
			wg.Go(l.server.flushLoop)
			s.Respond(200)
			close(acceptedc)
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	wg.Go(func() { srv.Serve(ln) })
	cl, err := pool.NewClient(pool.ClientConfig{
		Common: pool.Common{Cleartext: true},
		Addr:   ln.Addr().String(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := cl.Open(context.Background(), pool.Header{Path: "/"}, l.client)
	if err != nil {
		tb.Fatal(err)
	}
	<-acceptedc
	l.client.w = s
	l.wireBytes = func() int64 {
		st := cl.Stats()
		return st.BytesIn + st.BytesOut
	}
	wg.Go(l.client.flushLoop)
	tb.Cleanup(func() {
		l.client.close()
		l.server.close()
		cl.Close()
		srv.Close()
		wg.Wait()
	})
	return l
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

var _ pool.Receiver = (*end)(nil)
