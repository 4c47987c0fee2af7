package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/rawconn"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// reply is what has been read of a response, and the response parsed from it. A
// connection has one only while a response comes.
type reply struct {
	b    []byte
	head http1.ResponseHead
	body bodyReader
	held int64 // of the route's memory
}

var replies = sync.Pool{New: func() any { return &reply{b: make([]byte, 0, inputSize)} }}

func (r *reply) put(m *budget) {
	m.free(&r.held)
	r.head.Reset()
	if cap(r.b) > keepBuffer || cap(r.body.body) > keepBuffer {
		return
	}
	r.b = r.b[:0]
	replies.Put(r)
}

// upstreamConn is one connection to an upstream. Its readLoop dials it; then a loop that watches many sockets takes
// responses that are whole, with no goroutine of theirs, and hands all else to readLoop again: bodies that are
// streamed, or whose length is not known, what is wrong, and the end. Where there is no loop readLoop does it all, waiting in a read.
type upstreamConn struct {
	// Immutable.
	u    *upstream
	here station

	// Set by readLoop before the connection is first released.
	nc      net.Conn
	raw     rawconn.Socket   // nc, where it can do raw I/O; else nil
	socket  rawconn.Socket   // what nc runs over, where that can; else nil
	watched *rawconn.Watched // raw, where a loop watches it; else nil
	ready   func()           // onReady

	// Owned by the one who reads: readLoop, or the loop while it watches.
	in      *reply
	readErr error // what reading came to in the loop
	isLoop  bool  // it must not wait
	isUp    bool  // readLoop has dialled

	idleSince atomic.Int64

	pipe *pipe // nil but on pipelined ones; immutable

	mu       sync.Mutex // guards all below
	ex       *exchange  // the one that runs; nil also while lent to interim
	isHead   bool       // its method is HEAD
	hasHead  bool       // that of its response is here
	isLent   bool
	rest     []byte // of its request, that restLoop writes
	isRest   bool   // restLoop runs
	isClosed bool
}

func newUpstreamConn(u *upstream) *upstreamConn {
	c := &upstreamConn{u: u}
	c.here.cancel = c.cancel
	return c
}

// Acquire implements rawconn.Buffers.
func (c *upstreamConn) Acquire() []byte {
	if c.in == nil {
		c.in = replies.Get().(*reply)
	}
	c.in.b = grow(c.in.b, inputSize/4)
	return c.in.b[len(c.in.b):cap(c.in.b)]
}

// Release implements rawconn.Buffers.
func (c *upstreamConn) Release() {
	if len(c.in.b) == 0 {
		c.in.put(c.u.route.memory)
		c.in = nil
	}
}

// What reading comes to on the loop.
var (
	errLater = errors.New("more has to come")
	errWait  = errors.New("somebody has to wait")
)

func (c *upstreamConn) read() error {
	if c.isLoop {
		return errLater
	}
	var n int
	var err error
	if c.raw != nil {
		n, err = c.raw.ReadInto(c)
	} else if n, err = c.nc.Read(c.Acquire()); n == 0 {
		c.Release()
	}
	if n > 0 {
		return c.came(n)
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// came takes in that n bytes more are in c.in.
func (c *upstreamConn) came(n int) error {
	in := c.in
	in.b = in.b[:len(in.b)+n]
	if !c.u.route.memory.hold(&in.held, int64(cap(in.b)+cap(in.body.body))) {
		return errMemory
	}
	return nil
}

// isQuiet looks whether the upstream has closed an idle connection, or said
// something unasked: a request sent on it then would be lost (RFC 9112 9.6).
func (c *upstreamConn) isQuiet() bool {
	if c.socket != nil && c.socket.Peek() != rawconn.Quiet {
		c.close()
		return false
	}
	return true
}

// begin starts an exchange on an idle connection; false when that is of no use
// any more, and nothing was sent.
func (c *upstreamConn) begin(ex *exchange) bool {
	ex.at.Store(&c.here)
	c.mu.Lock()
	if c.isClosed {
		c.mu.Unlock()
		return false
	}
	if ex.isCancelled.Load() {
		c.mu.Unlock()
		c.u.inflight.Add(-1)
		ex.drop()
		c.u.release(c)
		return true
	}
	o := getOutput()
	o.b = appendRequest(o.b, &ex.req, c.u.end.host)
	c.ex = ex
	c.hasHead = false
	c.isHead = string(ex.req.Method) == "HEAD"
	n := 0
	var err error
	if c.raw != nil {
		n, err = c.raw.TryWrite(o.b) // does not wait, so it may be under mu
	}
	if err != nil && n == 0 {
		c.ex = nil
		c.isClosed = true
		c.mu.Unlock()
		o.put()
		c.nc.Close()
		return false
	}
	if err == nil && n < len(o.b) {
		c.rest = append([]byte(nil), o.b[n:]...)
		c.isRest = true
		c.u.wg.Go(c.restLoop)
	}
	c.mu.Unlock()
	o.put()
	return true // an error after the first bytes is readLoop's to find
}

// restLoop writes what the socket did not take of a request at once.
func (c *upstreamConn) restLoop() {
	c.mu.Lock()
	p := c.rest
	c.rest = nil
	c.mu.Unlock()
	var err error
	for len(p) > 0 && err == nil {
		c.nc.SetWriteDeadline(time.Now().Add(c.u.cfg.WriteTimeout))
		var n int
		n, err = c.nc.Write(p[:min(len(p), 64<<10)])
		p = p[n:]
	}
	c.nc.SetWriteDeadline(time.Time{})
	c.mu.Lock()
	c.isRest = false
	c.mu.Unlock()
	// On an error the upstream may have answered without reading all: readLoop
	// finds the response, or the end.
}

// take claims the exchange for the one who ends it.
func (c *upstreamConn) take() *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	ex := c.ex
	c.ex = nil
	return ex
}

// takeSafe is take if it can be repeated and was not yet.
func (c *upstreamConn) takeSafe() *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	ex := c.ex
	if ex == nil || !ex.isSafe || ex.started > 0 {
		return nil
	}
	c.ex = nil
	return ex
}

// cancel ends the upstream's work for ex with the connection.
func (c *upstreamConn) cancel(ex *exchange) bool {
	if c.pipe != nil {
		return c.cancelPiped(ex)
	}
	c.mu.Lock()
	if c.ex != ex {
		c.mu.Unlock()
		return false
	}
	c.ex = nil
	c.mu.Unlock()
	c.close()
	c.u.inflight.Add(-1)
	return true
}

// close ends the connection now; what runs on it fails when readLoop notices.
func (c *upstreamConn) close() {
	c.mu.Lock()
	c.isClosed = true
	nc := c.nc
	c.mu.Unlock()
	if nc != nil {
		nc.Close()
	}
	if c.pipe != nil {
		wake(c.pipe.kickc)
	}
}

var errShort = errors.New("connection closed before the response was whole")

// readLoop dials, sends the first request, and reads responses until the
// connection ends, or until the loop watches it.
func (c *upstreamConn) readLoop() {
	if !c.isUp {
		if !c.dial() {
			c.over()
			return
		}
		c.isUp = true
	}
	for {
		if c.watched != nil && c.in == nil && c.readErr == nil {
			c.watched.Watch(c.ready)
			return // it is another's by now
		}
		err := c.readErr
		if err == nil {
			err = c.readResponse()
		}
		if err == nil {
			continue
		}
		hasBegun := c.in != nil && len(c.in.b) > 0
		if c.in != nil {
			c.in.put(c.u.route.memory)
			c.in = nil
		}
		c.close()
		if ex := c.take(); ex != nil {
			f := failure{code: wire.CodeUpstream, err: err}
			if he, ok := errors.AsType[*http1.Error](err); ok && he.Status == 413 {
				f.code = wire.CodeResponseTooLarge
			} else if err == errMemory {
				f.code = wire.CodeOverload
			} else if hasBegun && (err == io.EOF || errors.Is(err, net.ErrClosed)) {
				f.err = errShort
			}
			// A response that began must not be asked for again.
			if ex.isSafe = ex.isSafe && !hasBegun; f.code == wire.CodeResponseTooLarge {
				ex.isSafe = false
			}
			c.u.fail(ex, f)
		}
		if c.pipe != nil {
			c.failPiped(err)
		}
		c.over()
		return
	}
}

// over ends what began with the making of the connection.
func (c *upstreamConn) over() {
	c.u.forget(c)
	c.u.wg.Done()
}

// onReady takes what there is to read, on the loop's goroutine.
func (c *upstreamConn) onReady() {
	c.isLoop = true
	for isMore := true; isMore; {
		var n int
		var err error
		if n, isMore, err = c.watched.TryReadInto(c); n > 0 {
			err = c.came(n)
		}
		if err == nil && n == 0 {
			break
		}
		for err == nil && c.in != nil { // of pipelined ones several may have come
			err = c.readResponse()
		}
		if err == errLater {
			c.in.head.Reset() // the buffer may move under it
			err = nil
		}
		if err != nil {
			if c.readErr = err; err == errWait { // there is nothing wrong with it
				c.readErr = nil
			}
			c.isLoop = false
			c.watched.Leave()
			go c.readLoop() // as the one before, it is awaited with the connection
			return
		}
	}
	c.isLoop = false
}

// dial connects and begins the exchange the connection was made for.
func (c *upstreamConn) dial() bool {
	nc, socket, err := dialUpstream(c.u.ctx, c.u.cfg, c.u.end)
	c.mu.Lock()
	if err == nil {
		if w, ok := c.u.route.adopt(nc); ok {
			nc, socket = w, w
			c.watched, c.ready = w, c.onReady
		}
		c.nc, c.socket = nc, socket
		c.raw, _ = nc.(rawconn.Socket)
	}
	isClosed := c.isClosed
	ex := c.ex
	c.ex = nil
	c.mu.Unlock()
	switch {
	case err != nil:
		c.close()
		if c.u.ctx.Err() == nil {
			c.u.noteDown(err)
		}
		if ex != nil {
			c.u.fail(ex, failure{code: wire.CodeUnreachable, isNotStarted: true, err: err})
		}
		return false
	case isClosed:
		nc.Close()
		if ex != nil {
			c.u.fail(ex, notTaken)
		}
		return false
	case ex == nil: // cancelled while we dialled
		c.idleSince.Store(int64(c.u.route.now()))
		c.u.release(c)
		return true
	case c.pipe != nil:
		c.u.wg.Go(c.pipeLoop)
		if !c.join(ex) {
			c.u.fail(ex, failure{code: wire.CodeUnreachable, isNotStarted: true, err: net.ErrClosed})
		}
		return true
	}
	if !c.begin(ex) {
		c.u.fail(ex, failure{code: wire.CodeUnreachable, isNotStarted: true, err: net.ErrClosed})
		return false
	}
	return true
}

// readResponse reads one response, interim ones before it, and finishes the
// exchange; an error ends the connection.
func (c *upstreamConn) readResponse() error {
	for {
		n, err := c.readHead()
		if err != nil {
			return err
		}
		h := &c.in.head
		if h.Status == 101 {
			return errors.New("upstream switched protocols unasked")
		}
		if h.Status >= 200 {
			return c.finish(n)
		}
		if c.isLoop {
			return errWait
		}
		if err := c.interim(); err != nil {
			return err
		}
		c.in.b = append(c.in.b[:0], c.in.b[n:]...)
		h.Reset()
	}
}

var errUnasked = errors.New("upstream sent what was not asked for")

// interim passes an interim response on. The exchange is taken out meanwhile: one
// that is cancelled then is let go here.
func (c *upstreamConn) interim() error {
	c.mu.Lock()
	ex := c.ex
	isOrphan := c.pipe != nil && c.pipe.isOrphan
	c.ex, c.isLent = nil, true
	c.mu.Unlock()
	if ex != nil {
		resp := wire.Response{Status: c.in.head.Status, Fields: c.in.head.Fields}
		ex.interim(&resp)
	} else if !isOrphan {
		return errUnasked
	}
	c.mu.Lock()
	c.isLent = false
	isCancelled := ex != nil && ex.isCancelled.Load()
	if !isCancelled {
		c.ex = ex
	} else if c.pipe != nil {
		c.pipe.isOrphan = true
	}
	c.mu.Unlock()
	if isCancelled {
		c.u.inflight.Add(-1)
		ex.drop()
		if c.pipe == nil {
			return errUnasked
		}
	}
	return nil
}

func (c *upstreamConn) readHead() (int, error) {
	for {
		if c.in != nil && len(c.in.b) > 0 {
			n, err := http1.ParseResponseHead(c.in.b, &c.in.head, c.u.lim)
			if n > 0 || err != nil {
				return n, err
			}
		}
		if err := c.read(); err != nil {
			return 0, err
		}
	}
}

// finish reads the body and hands the response on. A response cut short is an
// error: it is never passed on as whole.
func (c *upstreamConn) finish(head int) error {
	in := c.in
	h := &in.head
	var resp wire.Response
	used := head
	c.mu.Lock()
	method := methodGet
	if c.isHead {
		method = methodHead
	}
	c.hasHead = true
	isAsked := c.ex != nil || c.pipe != nil && c.pipe.isOrphan
	mustWait := c.isLoop && c.ex != nil && !c.ex.hasRoom()
	mode := h.BodyMode(method)
	if c.pipe != nil && (h.Close || mode == http1.BodyUntilClose) {
		c.pipe.isOver = true // what is written now would reset the connection under the response
	}
	c.mu.Unlock()
	if !isAsked {
		return errUnasked
	}
	if mustWait {
		return errWait
	}
	resp.Status, resp.Fields = h.Status, h.Fields
	if resp.Reason = h.Reason; string(h.Reason) == http1.StatusText(h.Status) {
		resp.Reason = nil
	}
	if mode != http1.BodyNone {
		n, isWhole, err := c.readBody(head, mode, h.ContentLength)
		if err != nil {
			return err
		}
		if !isWhole && c.isLoop {
			return errWait
		}
		if !isWhole {
			return c.streamBody(&resp, head, n, mode)
		}
		used += n
		resp.BodyKind = wire.BodyWhole
		resp.Body = in.body.bytes(in.b[head:], n)
		if mode == http1.BodyChunked {
			resp.Trailers = in.body.chunked.Trailers
		}
		resp.RawBody = len(resp.Body) > 256 && isCompressed(h.Fields)
	}
	resp.Fields = h.Fields // the buffer may have moved
	if resp.Reason != nil {
		resp.Reason = h.Reason
	}
	isReusable := !h.Close && mode != http1.BodyUntilClose && (used == len(in.b) || c.pipe != nil)
	c.mu.Lock()
	ex := c.ex
	c.ex = nil
	if c.pipe != nil {
		isReusable = isReusable && !c.isClosed
		c.isLent = true // until nextPiped
		c.pipe.isLast = !isReusable
		c.pipe.isOver = c.pipe.isOver || !isReusable
	} else {
		isReusable = isReusable && ex != nil && !c.isRest && !c.isClosed
	}
	c.mu.Unlock()
	now := c.u.route.now()
	if ex != nil {
		c.u.inflight.Add(-1)
		ex.mayWait = !c.isLoop
		ex.finishAt(&resp, now)
	}
	if c.pipe != nil && isReusable {
		return c.nextPiped(used, now)
	}
	c.in = nil
	in.put(c.u.route.memory)
	if !isReusable {
		return errDone
	}
	c.idleSince.Store(int64(now))
	c.u.release(c)
	return nil
}

var methodGet, methodHead = []byte("GET"), []byte("HEAD")

var errDone = errors.New("connection is not to be used again")

// wholeWait is how long a body of unknown length may take to be whole and travel in
// a batch.
const wholeWait = 2 * time.Millisecond

// readBody reads until the body behind the head is whole and says how much of what
// was read it took; or, when it is larger than BatchLimit or does not end at once,
// until that is known.
func (c *upstreamConn) readBody(head int, mode http1.BodyMode, length int64) (n int, isWhole bool, err error) {
	in := c.in
	limit := c.u.cfg.BatchLimit
	isKnown := mode == http1.BodyLength
	if !isKnown {
		length = -1
	} else if c.u.cfg.isOver(length) {
		return 0, false, errBodyLimit
	} else if length > int64(limit) {
		return 0, false, nil
	}
	if err := in.body.reset(mode == http1.BodyChunked, length, maxWhole, c.u.lim); err != nil {
		return 0, false, err
	}
	start := &in.b[0]
	var until time.Time // of a body of unknown length, for all of it: pieces that come fast make none
	for {
		n, isWhole, err = in.body.take(in.b[head:], n)
		if err != nil {
			return 0, false, err
		}
		if c.u.cfg.isOver(int64(len(in.body.body))) || mode == http1.BodyUntilClose && c.u.cfg.isOver(int64(len(in.b)-head)) {
			return 0, false, errBodyLimit
		}
		if len(in.body.body) > limit {
			isWhole = false // the read that made it whole made it too large
			break
		}
		if isWhole || len(in.b)-head > limit {
			break
		}
		if !isKnown && c.isLoop {
			return 0, false, errWait
		}
		if !isKnown {
			if until.IsZero() {
				until = time.Now().Add(wholeWait)
			}
			c.nc.SetReadDeadline(until)
		}
		err = c.read()
		if !isKnown {
			c.nc.SetReadDeadline(time.Time{})
		}
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() && !isKnown {
			break
		}
		if err == io.EOF && mode == http1.BodyUntilClose {
			n, isWhole = len(in.b)-head, true
			break
		}
		if err != nil {
			return 0, false, err
		}
	}
	if &in.b[0] != start { // the buffer moved under the head
		in.head.Reset()
		if _, err := http1.ParseResponseHead(in.b, &in.head, c.u.lim); err != nil {
			return 0, false, err
		}
	}
	return n, isWhole, nil
}

// maxWhole is more than any body that is collected may become before it is looked
// at: BatchLimit and what one read adds.
const maxWhole = 4 << 20

// streamBody hands a response on whose body is still coming: n bytes behind the
// head have been taken into in.body.
func (c *upstreamConn) streamBody(resp *wire.Response, head, n int, mode http1.BodyMode) error {
	in := c.in
	h := &in.head
	c.mu.Lock()
	ex := c.ex
	c.ex, c.isLent = nil, true
	c.mu.Unlock()
	if ex == nil {
		return errUnasked
	}
	if c.pipe != nil { // it may last: nobody waits behind it
		c.failPiped(errStreamed)
	}
	resp.BodyKind, resp.Fields = wire.BodyFollows, h.Fields
	if resp.Reason != nil {
		resp.Reason = h.Reason
	}
	resp.RawBody = isCompressed(h.Fields)
	bc := bodyCopy{mode: mode, length: h.ContentLength, limit: c.u.cfg.MaxBody, stall: c.u.cfg.StallTimeout}
	rest := in.b[head:]
	if mode == http1.BodyChunked {
		bc.chunked, rest = in.body.chunked, rest[n:]
	}
	c.u.inflight.Add(-1)
	w := ex.stream(resp)
	if w == nil {
		return errDone
	}
	w.onGone(c.close)
	if mode == http1.BodyChunked && len(in.body.body) > 0 {
		bc.total = int64(len(in.body.body))
		if err := w.write(in.body.body); err != nil {
			w.abort(err)
			return errDone
		}
	}
	if !bc.run(c.nc, rest, w) {
		return errDone
	}
	c.mu.Lock()
	c.isLent = false
	isReusable := !h.Close && mode != http1.BodyUntilClose && len(bc.left) == 0 && !c.isRest && !c.isClosed && c.pipe == nil
	c.mu.Unlock()
	if !isReusable {
		return errDone
	}
	c.in = nil
	in.put(c.u.route.memory)
	c.idleSince.Store(int64(c.u.route.now()))
	c.u.release(c)
	return nil
}

var errStreamed = errors.New("the response before is streamed")

// sweep fails an exchange that ran out of time, and closes an idle connection.
func (c *upstreamConn) sweep(now time.Duration) {
	c.mu.Lock()
	ex := c.ex
	isLate := ex != nil && now >= ex.deadline
	isSilent := false
	if first := c.u.cfg.FirstByteTimeout; first > 0 && ex != nil && !c.hasHead {
		since := ex.delivered
		if c.pipe != nil {
			since = c.pipe.since
		}
		isSilent = !isLate && now-since >= first
		isLate = isLate || isSilent
	}
	if isLate {
		c.ex = nil
	}
	isOld := ex == nil && !c.isLent && c.nc != nil && now-time.Duration(c.idleSince.Load()) >= c.u.idle && (c.pipe == nil || !c.pipe.isBusy)
	c.mu.Unlock()
	if c.pipe != nil {
		c.sweepPiped(now)
	}
	if isLate {
		c.close()
		c.u.fail(ex, failure{code: wire.CodeTimeout, isSilent: isSilent, err: ErrTimeout})
	} else if isOld {
		c.close()
	}
}
