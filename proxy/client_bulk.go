package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// isBulk reports whether a request wants a stream of its own: its body is large
// or of unknown length, the client waits to be asked for it, or the connection is
// to become another protocol's.
func (c *clientConn) isBulk(h *http1.RequestHead, have int) bool {
	return h.Chunked || h.ContentLength > int64(c.f.cfg.BatchLimit) || len(h.Upgrade) > 0 ||
		h.ExpectContinue && h.ContentLength > int64(have)
}

// serveBulk serves the request whose head, and body when it asks for an Upgrade, stands in the first n bytes of
// next, and returns whether the connection goes on. It runs on serveLoop's goroutine.
func (c *clientConn) serveBulk(n int) bool {
	in, h := c.next, &c.next.head
	c.next = nil
	c.begun.Store(false)
	// A copy of what follows the head: in is given back with the response, which
	// may be over before this is taken.
	src := &clientSource{c: c, p: append([]byte(nil), in.b[n:]...), left: h.ContentLength}
	src.changed.L = &src.mu
	c.ex.reset()
	c.prepare(in)
	req := &c.ex.req
	req.BodyKind, req.Body, req.Trailers = wire.BodyFollows, nil, nil
	req.RawBody = isCompressed(h.Fields)
	switch {
	case len(h.Upgrade) > 0:
		src.isTunnel = true
		if h.Chunked || h.ContentLength > 0 {
			in.setBody(req, n)
		}
		req.Fields = append(req.Fields, wire.Field{Name: nameUpgrade, Value: h.Upgrade})
	case h.Chunked:
		src.isChunked = true
		src.chunked.Reset(c.f.lim)
	case h.ContentLength < 0:
		src.left = 0
	}
	if h.ExpectContinue {
		src.isAwaited = true
	}
	src.isOpen = !src.isTunnel
	c.ex.src = src
	c.src = src
	c.hasAnswered = false

	c.mu.Lock()
	c.cur, c.isRunning, c.bulk = in, true, src
	c.mustClose = h.Close
	c.mu.Unlock()
	c.setState(stateRunning)
	if c.isLoop {
		c.f.route.meter.refuse(508)
		c.fail(&c.ex, failure{code: wire.CodeLoop})
	} else {
		c.f.route.carry(&c.ex)
	}
	src.stop()
	c.nc.SetReadDeadline(time.Time{})
	c.src = nil

	c.mu.Lock()
	isRunning := c.isRunning
	c.bulk = nil
	// What was not read of a body would be taken for the next request. An Upgrade has none.
	mustClose := c.mustClose || c.isClosed || src.isGone || !src.isWhole.Load() && !src.isTunnel
	c.mu.Unlock()
	if isRunning { // restLoop still writes
		c.awaitIdle()
	}
	if he, ok := errors.AsType[*http1.Error](src.bad); ok && !c.hasAnswered {
		c.refuse(he.Status, he.Msg)
	}
	if mustClose {
		c.linger()
		return false
	}
	if len(src.p) > 0 {
		c.next = inputs.Get().(*input)
		c.next.b = append(c.next.b, src.p...)
		c.begun.Store(true)
		c.setState(stateReading)
	}
	return true
}

// linger closes after the client had a moment to read the last response: closing
// with input unread would reset the connection under it.
func (c *clientConn) linger() {
	c.mu.Lock()
	isClosed := c.isClosed
	c.isClosed = true
	c.mu.Unlock()
	if !isClosed {
		c.awaitRead()
	}
	c.nc.Close()
}

// clientSource is the body of a client's request as it comes from the socket.
type clientSource struct {
	c *clientConn

	isChunked bool
	isTunnel  bool // bytes as they are, until EOF; not before the 101
	isAwaited bool // the client waits for 100 Continue; it may send all the same
	chunked   http1.Chunked
	left      int64
	total     int64
	isEnded   bool // the body was read to its end

	buf []byte
	p   []byte // read and not taken

	in  pace
	bad error // what is wrong with the body

	isAnswered  atomic.Bool // a final response has begun
	isContinued atomic.Bool // 100 was passed on

	// All of the body was taken. The response may come before the one who took the
	// last piece of a body of known length asks for more.
	isWhole atomic.Bool

	mu        sync.Mutex // guards all below, and the order of read deadlines
	changed   sync.Cond
	isOpen    bool // next may read
	isStopped bool
	isGone    bool   // the client is
	gone      func() // ends what runs for it
}

// open lets next read: the 101 was sent.
func (s *clientSource) open() {
	s.mu.Lock()
	s.isOpen = true
	s.changed.Broadcast()
	s.mu.Unlock()
}

func (s *clientSource) stop() {
	s.mu.Lock()
	if !s.isStopped {
		s.isStopped = true
		s.c.nc.SetReadDeadline(time.Unix(1, 0))
		s.changed.Broadcast()
	}
	s.mu.Unlock()
}

// restart implements source.
func (s *clientSource) restart() {
	s.mu.Lock()
	s.isStopped = false
	s.mu.Unlock()
}

// onGone implements source.
func (s *clientSource) onGone(f func()) {
	s.mu.Lock()
	s.gone = f
	isGone := s.isGone
	s.mu.Unlock()
	if isGone {
		f()
	}
}

// leave notes that the client is gone, whether or not anybody reads. A tunnel may end one side at a time.
func (s *clientSource) leave() {
	s.mu.Lock()
	if s.isStopped || s.isGone || s.isTunnel && s.isOpen {
		s.mu.Unlock()
		return
	}
	s.isGone = true
	s.c.ex.isCancelled.Store(true) // nothing is to be repeated, nor answered
	s.changed.Broadcast()
	gone := s.gone
	s.mu.Unlock()
	if gone != nil {
		gone()
	}
}

// wait waits until cond; the error says that it was stop, or the client's end.
func (s *clientSource) wait(cond func() bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.isStopped:
			return errStopped
		case s.isGone:
			return errGone
		case cond():
			return nil
		}
		s.changed.Wait()
	}
}

// closeUnlessWhole has the client told that the connection ends when it is answered
// before all of its body was taken: what it sends next would not be a request.
func (s *clientSource) closeUnlessWhole() {
	if !s.isTunnel && !s.isWhole.Load() {
		s.c.mu.Lock()
		s.c.mustClose = true
		s.c.mu.Unlock()
	}
}

func (s *clientSource) trailers() []wire.Field { return s.chunked.Trailers }

// next implements source.
func (s *clientSource) next() ([]byte, error) {
	if err := s.wait(func() bool { return s.isOpen || s.isEnded }); err != nil {
		return nil, err
	}
	if s.isEnded {
		return nil, s.await()
	}
	for {
		data, isDone, err := s.take()
		switch {
		case err != nil:
			s.bad = err
			return nil, errCut
		case len(data) > 0:
			if s.total += int64(len(data)); s.c.f.cfg.isOver(s.total) && !s.isTunnel {
				s.bad = errBodyLimit
				return nil, errCut
			}
			return data, nil
		case isDone:
			s.isEnded = true
			s.isWhole.Store(true)
			return nil, io.EOF
		}
		if err := s.read(); err != nil {
			if s.isTunnel && err == io.EOF {
				s.isEnded = true
			} else if err != errStopped {
				err = errCut // a reset too
			}
			return nil, err
		}
	}
}

// take takes the next piece of the body from what was read.
func (s *clientSource) take() (data []byte, isDone bool, err error) {
	switch {
	case s.isTunnel:
		data, s.p = s.p, nil
		return data, false, nil
	case s.isChunked:
		for {
			used, data, done, err := s.chunked.Next(s.p)
			s.p = s.p[used:]
			if err != nil || done || len(data) > 0 || used == 0 {
				if done && len(data) > 0 { // the end is for the next call
					return data, false, err
				}
				return data, done, err
			}
		}
	}
	n := min(int64(len(s.p)), s.left)
	data, s.p = s.p[:n], s.p[n:]
	if s.left -= n; s.left == 0 {
		s.isWhole.Store(true)
	}
	return data, s.left == 0, nil
}

// read reads more from the socket, within the client's pace; a tunnel may be silent.
func (s *clientSource) read() error {
	if s.buf == nil {
		s.buf = make([]byte, bulkPiece)
	}
	for {
		timeout, rate := s.c.f.cfg.ReadTimeout, s.c.f.cfg.MinRate
		isAwaiting := s.isAwaited && s.total == 0 && !s.isContinued.Load()
		if s.isTunnel {
			timeout, rate = 0, 0
		} else if isAwaiting || s.isAnswered.Load() { // what it sends waits for what it is told
			rate = 0
		}
		began := time.Now()
		if err := s.setDeadline(began, s.in.left(timeout, rate)); err != nil {
			return err
		}
		n, err := s.c.nc.Read(s.buf)
		s.p = s.buf[:n]
		isFast := s.in.spent(time.Since(began), int64(n), timeout, rate)
		if isAwaiting && s.isContinued.Load() { // its time begins
			s.in, isFast = pace{}, true
		}
		if n > 0 {
			s.c.f.route.stats.clientIn.Add(int64(n))
		}
		switch ne, ok := errors.AsType[net.Error](err); {
		case s.wait(isTrue) != nil:
			return s.wait(isTrue)
		case !isFast:
			s.bad = errSlow
			return errCut
		case n > 0:
			return nil
		case err == nil:
			return io.ErrNoProgress
		case !ok || !ne.Timeout():
			return err
		}
	}
}

// setDeadline sets that of the next read, d from now; 0 is none.
func (s *clientSource) setDeadline(now time.Time, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopped {
		return errStopped
	}
	deadline := time.Time{}
	if d > 0 {
		deadline = now.Add(d)
	}
	s.c.nc.SetReadDeadline(deadline)
	return nil
}

var errSlow = &http1.Error{Status: 408, Msg: "request timeout"}

// await waits for the client to leave, after its body's end. Input of a next
// request ends the waiting: it is kept, and the client is there.
func (s *clientSource) await() error {
	if err := s.setDeadline(time.Time{}, 0); err != nil {
		return err
	}
	if len(s.p) == 0 && !s.isTunnel {
		if s.buf == nil {
			s.buf = make([]byte, bulkPiece)
		}
		n, _ := s.c.nc.Read(s.buf)
		s.p = s.buf[:n]
		if n == 0 {
			if err := s.wait(isTrue); err != nil {
				return err
			}
			return errGone
		}
		s.c.f.route.stats.clientIn.Add(int64(n))
	}
	return s.wait(isFalse)
}

func isTrue() bool  { return true }
func isFalse() bool { return false }

// stream implements sink: the response's head is written, and its body will be.
func (c *clientConn) stream(_ *exchange, resp *wire.Response) bodyWriter {
	if c.src != nil && (resp.Status >= 300 || bodyLength(resp.Fields) >= 0) {
		c.src.closeUnlessWhole() // else both may go on for long
	}
	if c.src != nil {
		c.src.isAnswered.Store(true)
	}
	hop := c.hop()
	c.hasAnswered = true
	w := &clientBody{c: c, left: -1}
	c.awaitRest()
	o := getOutput()
	defer o.put()
	resp = c.secured(resp, o)
	o.b = http1.AppendStatusLine(o.b, resp.Status, resp.Reason)
	switch {
	case resp.Status == 101:
		c.mu.Lock()
		c.mustClose = true
		c.mu.Unlock()
		w.isRaw, w.isTunnel = true, true
		o.b = http1.AppendEnd(http1.AppendFields(o.b, resp.Fields), http1.HopUpgrade)
		if c.src != nil {
			defer c.src.open()
		}
	case c.isHead || resp.Status == 204 || resp.Status == 304:
		w.isNone = true // whatever a peer says
		o.b = http1.AppendEnd(appendFields(o.b, resp.Fields, resp.Status != 204), hop)
	case bodyLength(resp.Fields) >= 0:
		w.isRaw = true
		w.left = bodyLength(resp.Fields)
		o.b = http1.AppendEnd(http1.AppendFields(o.b, resp.Fields), hop)
	case c.minor == 0: // HTTP/1.0 knows no chunks: the end of the connection is the body's
		c.mu.Lock()
		c.mustClose = true
		c.mu.Unlock()
		w.isRaw, w.isUntilClose = true, true
		o.b = http1.AppendEnd(appendFields(o.b, resp.Fields, false), http1.HopClose)
	default:
		o.b = http1.AppendEnd(appendFields(o.b, resp.Fields, false), hop|http1.HopChunked)
	}
	w.writeAll(o.b)
	return w
}

// clientBody writes a response's body to a client, waiting for it.
type clientBody struct {
	c            *clientConn
	isRaw        bool // as it is, not in chunks
	isUntilClose bool
	isTunnel     bool
	isNone       bool  // there is none: what comes is dropped
	left         int64 // of Content-Length: a peer's word is not enough; -1 unknown
	err          error
}

func (w *clientBody) writeAll(p []byte) error {
	if w.err == nil {
		w.err = w.c.writeAll(p)
	}
	return w.err
}

func (w *clientBody) write(p []byte) error {
	if w.isNone {
		return nil
	}
	if w.left >= 0 {
		if int64(len(p)) > w.left {
			return errFraming
		}
		w.left -= int64(len(p))
	}
	if w.isRaw {
		return w.writeAll(p)
	}
	o := getOutput()
	o.b = http1.AppendChunk(o.b, p)
	err := w.writeAll(o.b)
	o.put()
	return err
}

func (w *clientBody) end(trailers []wire.Field) error {
	c := w.c
	if !w.isRaw && !w.isNone {
		w.writeAll(http1.AppendLastChunk(nil, trailers))
	}
	if w.err == nil && w.left > 0 {
		w.err = errFraming
	}
	if w.err != nil {
		w.abort(w.err)
		return w.err
	}
	c.nc.SetWriteDeadline(time.Time{})
	if w.isTunnel {
		if cw, ok := c.nc.(interface{ CloseWrite() error }); ok {
			cw.CloseWrite()
		} else {
			c.nc.Close()
		}
	}
	c.over()
	return nil
}

// abort closes the connection: the client sees its body end too soon.
func (w *clientBody) abort(error) {
	c := w.c
	c.mu.Lock()
	c.isClosed = true
	c.mu.Unlock()
	if w.isUntilClose {
		// Nothing but a reset tells the client that this was not all.
		if l, ok := lingerer(c.nc); ok {
			l.SetLinger(0)
		}
	}
	c.nc.Close()
	c.over()
}

// onGone implements bodyWriter: serveLoop, which reads on, finds that the client left.
func (w *clientBody) onGone(f func()) {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		f()
	} else {
		c.gone = f
	}
}

func lingerer(nc net.Conn) (interface{ SetLinger(int) error }, bool) {
	if u, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = u.NetConn()
	}
	l, ok := nc.(interface{ SetLinger(int) error })
	return l, ok
}
