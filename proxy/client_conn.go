package proxy

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/rawconn"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// input is what has been read of a request, and the request parsed from it. A
// connection has one while a request comes or runs, and none while it is idle.
type input struct {
	b    []byte
	head http1.RequestHead
	body bodyReader
	edit hygiene
	held int64 // of the route's memory
	need int   // bytes of b without which the request is not whole, where that is known
}

var inputs = sync.Pool{New: func() any { return &input{b: make([]byte, 0, inputSize)} }}

func (in *input) put(m *budget) {
	m.free(&in.held)
	in.head.Reset()
	in.edit.scratch = in.edit.scratch[:0]
	if cap(in.b) > keepBuffer || cap(in.body.body) > keepBuffer {
		return
	}
	in.b, in.need = in.b[:0], 0
	inputs.Put(in)
}

// What a client's connection is doing, for the front's sweep.
const (
	stateIdle    int32 = iota // waits for a request
	stateReading              // a request has begun to come
	stateRunning              // an exchange runs or its response is being written
	stateShaking              // TLS's handshake, or net/http has the connection
)

// clientConn is the HTTP/1.1 accepting half of one connection. Its requests are read by a loop that watches many
// sockets, or by serveLoop: see client_read.go. The response is written by whoever brings it, and what the socket
// does not take at once by restLoop. Reading goes on while an exchange runs, so that a client that leaves is noticed at once.
type clientConn struct {
	// Immutable.
	f       *Front
	nc      net.Conn
	raw     rawconn.Socket   // nc, where it can do raw I/O; else nil
	sock    rawconn.Socket   // what nc runs over, where that can; else nil
	watched *rawconn.Watched // raw, where a loop watches it; else nil
	ready   func()           // onReady
	from    netip.Prefix     // what MaxConnsPerAddr counts it by; not valid without an IP address
	origin

	socket    net.Conn // what nc runs over
	hasHeader bool     // of the PROXY protocol, to be read first
	rules     *rules   // its listener's own, for whom that names

	state atomic.Int32
	since atomic.Int64 // when state began, on the route's clock

	timed atomic.Bool // ReadTimeout is over
	begun atomic.Bool // bytes of a request are in next

	// Owned by the one who reads: serveLoop, or the loop while it watches.
	next    *input // what is being read; nil while nothing is
	readErr error  // what reading came to in the loop
	isMet   bool   // the PROXY header and the handshake are over

	ex     exchange // the one exchange that may run
	isHead bool     // its method is HEAD
	minor  int      // its HTTP/1 minor version
	isKA10 bool
	isLoop bool          // its Via names this process
	src    *clientSource // of a bulk exchange

	hasAnswered bool // a bulk exchange's final head was written

	out pace // owned by the one who writes and may wait

	mu        sync.Mutex // guards all below
	cur       *input     // what the running exchange was parsed from
	isRunning bool
	bulk      *clientSource // of the running exchange, while serveLoop is in serveBulk
	mustClose bool          // after the running exchange
	isWaiting bool          // serveLoop waits on idlec
	isClosed  bool
	gone      func() // ends the work for the body that is streamed to the client
	isResting bool   // restLoop runs
	rested    sync.Cond
	rest      []byte // what it has to write
	restOut   int    // what it is writing
	restHeld  int64  // of the route's memory, for both
	isLast    bool   // and then the exchange is over
	idlec     chan struct{}
}

// clientUnsent bounds what the kernel holds unsent for one client: it would take megabytes, from each that reads slowly or
// not at all, and say that they were written.
const clientUnsent = 256 << 10

func newClientConn(f *Front, nc net.Conn) *clientConn {
	rawconn.LimitUnsent(nc, clientUnsent)
	c := &clientConn{f: f, nc: nc, idlec: make(chan struct{}, 1)}
	c.rested.L = &c.mu
	if f.cfg.ListenTLS == nil {
		if w, ok := f.route.adopt(nc); ok {
			nc, c.watched, c.ready = w, w, c.onReady
		}
	}
	c.nc = nc
	if c.sock, _ = nc.(rawconn.Socket); f.cfg.ListenTLS != nil {
		c.nc = newTLSConn(nc, f.cfg.ListenTLS)
	} else {
		c.raw = c.sock
	}
	c.state.Store(stateShaking)
	ip := addrOf(nc.RemoteAddr())
	c.isFrom(ip)
	if c.socket = nc; f.cfg.expectsHeader(ip) {
		c.hasHeader, c.from = true, netip.Prefix{} // counted once it has told whom it is for
	}
	c.ex.sink = c
	return c
}

// isFrom notes the client's address.
func (c *clientConn) isFrom(ip netip.Addr) {
	c.origin = c.f.cfg.originOf(ip, c.f.cfg.ListenTLS != nil)
	c.from = pool.NetworkOf(ip)
}

func (c *clientConn) setState(s int32) {
	c.state.Store(s)
	c.since.Store(int64(c.f.route.now()))
}

// awaitIdle waits until the exchange before is over, its response handed to the
// kernel; false when the connection is to end.
func (c *clientConn) awaitIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.isRunning && !c.isClosed {
		c.isWaiting = true
		c.mu.Unlock()
		<-c.idlec
		c.mu.Lock()
	}
	return !c.isClosed && !c.mustClose
}

// start begins the exchange that stands in the first n bytes of next.
func (c *clientConn) start(n int) {
	in, h := c.next, &c.next.head
	c.next = nil
	if n < len(in.b) { // a pipelined request follows
		c.next = inputs.Get().(*input)
		c.next.b = append(c.next.b, in.b[n:]...)
		c.f.route.memory.hold(&c.next.held, int64(cap(c.next.b)))
	}
	c.begun.Store(c.next != nil)
	c.ex.reset()
	c.prepare(in)
	req := &c.ex.req
	in.setBody(req, n)
	if h.ExpectContinue { // met: the body is here
		req.Fields = slices.DeleteFunc(req.Fields, func(f wire.Field) bool { return isName(f.Name, "expect") })
	}

	c.mu.Lock()
	c.cur = in
	c.isRunning = true
	c.mustClose = h.Close
	c.mu.Unlock()
	c.setState(stateRunning)
	if c.isLoop {
		c.f.route.meter.refuse(508)
		c.fail(&c.ex, failure{code: wire.CodeLoop})
		return
	}
	c.f.route.deliver(&c.ex)
}

// prepare makes the exchange's request of the head in in, without a body.
func (c *clientConn) prepare(in *input) {
	h, req := &in.head, &c.ex.req
	*req = wire.Request{Method: h.Method, Target: h.Target, Authority: h.Authority}
	var isNew bool
	h.Fields = in.edit.forwarded(h.Fields, &c.origin, h.Authority, &c.f.cfg.Entry)
	h.Fields, isNew = in.edit.via(h.Fields, protocols[h.Minor], c.f.route.via)
	req.Fields = h.Fields
	if h.TETrailers {
		req.Fields = append(req.Fields, wire.Field{Name: nameTE, Value: valueTE})
	}
	c.isLoop = !isNew
	c.isHead = string(h.Method) == "HEAD"
	c.minor, c.isKA10 = h.Minor, h.KeepAlive10
}

// setBody gives the request the body that ends at n of in, if there is one.
func (in *input) setBody(req *wire.Request, n int) {
	h := &in.head
	if !h.Chunked && h.ContentLength < 0 {
		return
	}
	req.BodyKind = wire.BodyWhole
	if h.Chunked {
		req.Body, req.Trailers = in.body.body, in.body.chunked.Trailers
	} else {
		req.Body = in.b[n-int(h.ContentLength) : n]
	}
	req.RawBody = len(req.Body) > 256 && isCompressed(h.Fields)
}

var protocols = [2]string{"1.0 ", "1.1 "}

// end answers what can be answered, ends what runs, and closes. It is called by
// serveLoop when it can read no more requests.
func (c *clientConn) end(err error) {
	if c.next != nil {
		defer func() { c.next.put(c.f.route.memory) }()
	}
	he, isBad := errors.AsType[*http1.Error](err)
	if isBad || c.timed.Load() {
		// What was asked before is answered first; then say what is wrong with this.
		if c.awaitIdle() {
			status, text := 408, "request timeout"
			if isBad {
				status, text = he.Status, he.Msg
			}
			c.f.log.Debug("bad request", "addr", string(c.addr), "status", status, "err", text)
			c.refuse(status, text)
		}
	}
	c.mu.Lock()
	c.isClosed = true
	isRunning := c.isRunning
	c.mu.Unlock()
	c.nc.Close()
	if isRunning && c.ex.cancel() {
		c.over()
	}
	c.mu.Lock()
	if c.gone != nil { // under mu: what it ends may serve another once the exchange is over
		c.gone()
		c.gone = nil
	}
	c.mu.Unlock()
}

// over notes that the exchange is over: its input is given back, and serveLoop
// goes on.
func (c *clientConn) over() {
	c.mu.Lock()
	c.ex.req = wire.Request{}
	c.ex.forget()
	if c.cur != nil {
		c.cur.put(c.f.route.memory)
		c.cur = nil
	}
	c.mustClose = c.mustClose || c.isClosed || c.f.isDraining.Load()
	mustClose, isBulk := c.mustClose, c.bulk != nil
	if c.begun.Load() {
		c.setState(stateReading)
	} else {
		c.setState(stateIdle)
	}
	c.isRunning = false
	c.gone = nil
	if c.isWaiting {
		c.isWaiting = false
		c.idlec <- struct{}{}
	}
	c.mu.Unlock()
	if mustClose && !isBulk { // serveBulk closes itself, when the client has read
		c.nc.Close()
	}
}

// dropped implements sink.
func (c *clientConn) dropped(*exchange) { c.over() }

// goneAge is how long an exchange runs before its client is looked for, where nobody reads from it: most are over sooner.
const goneAge = 250 * time.Millisecond

// sweep closes the connection if it has been idle, or sending one request, for
// too long. With isLook it looks whether a client that waits is still there.
func (c *clientConn) sweep(now time.Duration, isLook bool) {
	age := now - time.Duration(c.since.Load())
	switch c.state.Load() {
	case stateIdle:
		if age >= c.f.idle || c.f.isDraining.Load() {
			c.nc.Close()
		}
	case stateReading:
		if c.f.cfg.ReadTimeout > 0 && age >= c.f.cfg.ReadTimeout {
			c.timed.Store(true)
			c.nc.SetReadDeadline(time.Unix(1, 0)) // serveLoop answers 408
			if c.watched != nil && c.watched.Unwatch() {
				go c.serveLoop()
			}
		}
	case stateRunning:
		if isLook && age >= goneAge {
			c.look()
		}
	}
}

// look finds a client that left while nobody reads from it, or what it sent before stands in the way of its end: a
// pipelined request waits, a body is not taken, an Upgrade not answered.
func (c *clientConn) look() {
	c.mu.Lock()
	src, isWaiting := c.bulk, c.isWaiting
	c.mu.Unlock()
	if src == nil && !isWaiting || c.sock == nil || !c.sock.HasEnded() {
		return
	}
	if src != nil {
		src.leave()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isClosed = true
	if c.isWaiting { // serveLoop ends what runs
		c.isWaiting = false
		c.idlec <- struct{}{}
	}
}
