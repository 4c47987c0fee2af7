package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// carry sends an exchange to the upstream on a connection of its own, body and
// response at once. The connection is not used again.
func (u *upstream) carry(ex *exchange) {
	u.inflight.Add(1)
	c := &upstreamBulk{u: u, ex: ex, src: ex.src, gonec: make(chan struct{}), endc: make(chan struct{})}
	if f := u.admit(ex); f != nil {
		u.fail(ex, *f)
		return
	}
	f := c.run()
	u.forgetBulk(c)
	if f != nil {
		u.fail(ex, *f) // nothing of this attempt is left: there may be another
	}
}

// admit waits for the room of a connection.
func (u *upstream) admit(ex *exchange) *failure {
	u.mu.Lock()
	if u.isLeaving {
		u.mu.Unlock()
		return &notTaken
	}
	if u.lobby.n == 0 && u.hasRoomLocked(nil) {
		u.bulks++
		idle := u.makeRoomLocked()
		u.tellLocked()
		u.mu.Unlock()
		if idle != nil {
			idle.close()
		}
		return nil
	}
	w := &waiter{c: make(chan struct{})}
	ex.waiter = w
	isIn := u.lobby.enqueue(ex, u.route.now())
	u.tellLocked()
	u.mu.Unlock()
	if !isIn {
		ex.waiter = nil
		return &failure{code: wire.CodeOverload, isNotStarted: true, err: ErrOverloaded}
	}
	if ex.src != nil {
		ex.src.onGone(func() { u.unqueueBulk(ex, w) })
	}
	<-w.c
	ex.waiter = nil
	return w.f
}

// unqueueBulk ends the wait of a bulk exchange whose client is gone.
func (u *upstream) unqueueBulk(ex *exchange, w *waiter) {
	u.mu.Lock()
	isIn := !w.isOver && u.lobby.remove(ex)
	u.tellLocked()
	u.mu.Unlock()
	if isIn {
		w.fail(failure{code: wire.CodeTimeout, isNotStarted: true, err: ErrTimeout})
	}
}

// upstreamBulk is one such connection.
type upstreamBulk struct {
	u      *upstream
	ex     *exchange
	src    source             // the exchange's
	cancel context.CancelFunc // of the dial
	nc     net.Conn
	wg     sync.WaitGroup
	gonec  chan struct{} // closed by pumpLoop when it has ended
	endc   chan struct{} // closed when the request's body has ended

	isSwitched bool // 101: bytes go through as they are
	isChunked  bool
	left       int64        // of Content-Length
	isGone     atomic.Bool  // the client is
	sent       atomic.Int64 // when the request was whole, on the route's clock; 0 before
}

// run makes one attempt, and returns why it was not started; else the sink was told an
// end.
func (c *upstreamBulk) run() *failure {
	u, ex := c.u, c.ex
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	c.cancel = cancel
	if c.src != nil {
		c.src.onGone(c.leave)
	}
	nc, f := u.dialBulk(ctx, ex)
	if f != nil {
		return f
	}
	u.mu.Lock()
	c.nc = nc
	u.bulk[c] = struct{}{}
	isClosed := u.isClosed || c.isGone.Load()
	u.mu.Unlock()
	if isClosed {
		nc.Close()
	}
	defer c.wg.Wait()
	defer nc.Close()

	head := getOutput()
	head.b = c.appendHead(head.b)
	nc.SetWriteDeadline(time.Now().Add(u.cfg.WriteTimeout))
	n, err := nc.Write(head.b)
	head.put()
	if err != nil {
		return &failure{code: wire.CodeUpstream, isNotStarted: n == 0, err: err}
	}
	upgrade := fieldValue(ex.req.Fields, "upgrade") != nil
	if c.src != nil && !upgrade {
		ex.isTouched = true
		c.wg.Go(c.pumpLoop)
		defer c.src.stop()
	} else {
		c.sent.Store(int64(u.route.now()) + 1)
	}
	c.respond()
	return nil
}

// dialBulk makes a connection within the time that ex has.
func (u *upstream) dialBulk(ctx context.Context, ex *exchange) (net.Conn, *failure) {
	if ex.deadline < noDeadline {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, ex.deadline-u.route.now())
		defer cancel()
	}
	nc, _, err := dialUpstream(ctx, u.cfg, u.end)
	switch {
	case err == nil:
		return nc, nil
	case u.route.now() >= ex.deadline:
		return nil, &failure{code: wire.CodeTimeout, isNotStarted: true, err: ErrTimeout}
	case ctx.Err() == nil:
		u.noteDown(err)
	}
	return nil, &failure{code: wire.CodeUnreachable, isNotStarted: true, err: err}
}

// appendHead appends the request's head, framed as its body is.
func (c *upstreamBulk) appendHead(dst []byte) []byte {
	req := &c.ex.req
	authority := req.Authority
	if len(authority) == 0 {
		authority = []byte(c.u.end.host)
	}
	dst = http1.AppendRequestLine(dst, req.Method, req.Target, authority)
	hop := hopOf(req.Fields)
	switch {
	case req.BodyKind == wire.BodyWhole:
		return appendBody(dst, req.Fields, true, req.Body, req.Trailers, hop)
	case req.BodyKind == wire.BodyNone || hop&http1.HopUpgrade != 0:
		return http1.AppendEnd(appendFields(dst, req.Fields, false), hop)
	}
	if c.left = bodyLength(req.Fields); c.left < 0 {
		c.isChunked = true
		return http1.AppendEnd(appendFields(dst, req.Fields, false), hop|http1.HopChunked)
	}
	return http1.AppendEnd(http1.AppendFields(dst, req.Fields), hop)
}

// pumpLoop sends the request's body.
func (c *upstreamBulk) pumpLoop() {
	defer close(c.gonec)
	switch err := pump(c.src, c); {
	case err == errStopped:
	case err == errGone || err == errCut:
		c.leave()
	case c.isSwitched:
		c.nc.Close() // half of a tunnel is none
	default: // the upstream takes no more of it, and may answer all the same, in time
		c.sent.CompareAndSwap(0, int64(c.u.route.now())+1)
	}
}

// leave ends the exchange: there is nobody to answer.
func (c *upstreamBulk) leave() {
	c.isGone.Store(true)
	c.cancel()
	c.u.mu.Lock()
	nc := c.nc
	c.u.mu.Unlock()
	if nc != nil {
		nc.Close()
	}
}

// write, end and abort implement bodyWriter, for the request's body.
func (c *upstreamBulk) write(p []byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(c.u.cfg.WriteTimeout))
	var err error
	if c.isChunked {
		o := getOutput()
		o.b = http1.AppendChunk(o.b, p)
		_, err = c.nc.Write(o.b)
		o.put()
	} else if c.left -= int64(len(p)); c.left < 0 && !c.isSwitched {
		return errCut // more would be another request
	} else {
		_, err = c.nc.Write(p)
	}
	return err
}

func (c *upstreamBulk) end(trailers []wire.Field) error {
	if c.left > 0 && !c.isChunked && !c.isSwitched {
		return errCut
	}
	c.sent.Store(int64(c.u.route.now()) + 1)
	close(c.endc)
	if c.isSwitched {
		if cw, ok := c.nc.(interface{ CloseWrite() error }); ok {
			return cw.CloseWrite()
		}
		return c.nc.Close() // nothing less tells the upstream that the client has ended
	}
	if !c.isChunked {
		return nil
	}
	_, err := c.nc.Write(http1.AppendLastChunk(nil, trailers))
	return err
}

func (c *upstreamBulk) abort(error)   { c.nc.Close() }
func (c *upstreamBulk) onGone(func()) {}

// respond reads the response and hands it on.
func (c *upstreamBulk) respond() {
	u, ex := c.u, c.ex
	in := replies.Get().(*reply)
	defer in.put(u.route.memory)
	for {
		n, err := c.readHead(in)
		if err != nil {
			f := failure{code: wire.CodeUpstream, err: err}
			if errors.Is(err, ErrTimeout) {
				f.code = wire.CodeTimeout
			}
			ex.isSafe = false
			if c.isGone.Load() {
				u.inflight.Add(-1)
				ex.drop()
				return
			}
			u.fail(ex, f)
			return
		}
		h := &in.head
		resp := wire.Response{Status: h.Status, Fields: h.Fields, Reason: h.Reason}
		if string(h.Reason) == http1.StatusText(h.Status) {
			resp.Reason = nil
		}
		if h.Status < 200 && h.Status != 101 {
			ex.interim(&resp)
			in.b = append(in.b[:0], in.b[n:]...)
			h.Reset()
			continue
		}
		u.inflight.Add(-1)
		c.body(in, n, &resp)
		return
	}
}

// readHead reads a response's head, within Timeout and FirstByteTimeout from the request's end.
func (c *upstreamBulk) readHead(in *reply) (int, error) {
	for {
		if len(in.b) > 0 {
			n, err := http1.ParseResponseHead(in.b, &in.head, c.u.lim)
			if n > 0 || err != nil {
				return n, err
			}
		}
		if err := c.read(in); err != nil {
			return 0, err
		}
	}
}

// read reads more, looking each second, and when it is time, whether the response is overdue.
func (c *upstreamBulk) read(in *reply) error {
	most := c.u.cfg.Timeout
	if first := c.u.cfg.FirstByteTimeout; first > 0 && (most <= 0 || first < most) {
		most = first
	}
	for {
		wait := time.Second
		if sent := c.sent.Load(); sent > 0 && most > 0 {
			left := most - (c.u.route.now() - time.Duration(sent))
			if left <= 0 {
				return ErrTimeout
			}
			wait = min(wait, left)
		}
		c.nc.SetReadDeadline(time.Now().Add(wait))
		in.b = grow(in.b, inputSize/4)
		n, err := c.nc.Read(in.b[len(in.b):cap(in.b)])
		if n > 0 {
			in.b = in.b[:len(in.b)+n]
			return nil
		}
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
			return err
		}
	}
}

// body passes a response on whose head stands in the first n bytes of in.
func (c *upstreamBulk) body(in *reply, n int, resp *wire.Response) {
	u, ex := c.u, c.ex
	h := &in.head
	c.nc.SetReadDeadline(time.Time{})
	if h.Status == 101 {
		c.tunnel(in, n, resp)
		return
	}
	method := methodGet
	if string(ex.req.Method) == "HEAD" {
		method = methodHead
	}
	mode := h.BodyMode(method)
	if mode == http1.BodyNone {
		ex.finish(resp)
		return
	}
	if u.cfg.isOver(h.ContentLength) {
		ex.fail(failure{code: wire.CodeResponseTooLarge, err: ErrTooLarge})
		return
	}
	resp.BodyKind = wire.BodyFollows
	resp.RawBody = isCompressed(h.Fields)
	w := ex.stream(resp)
	if w == nil {
		return
	}
	bc := bodyCopy{mode: mode, length: h.ContentLength, limit: u.cfg.MaxBody, stall: u.cfg.StallTimeout}
	bc.chunked.Reset(u.lim)
	bc.run(c.nc, in.b[n:], w)
}

// bodyCopy streams a response's body from an upstream to the one who waits.
type bodyCopy struct {
	mode    http1.BodyMode
	length  int64         // what is left, with BodyLength
	limit   int           // of all, 0 none
	stall   time.Duration // StallTimeout; none when it is not positive
	total   int64
	chunked http1.Chunked
	left    []byte // read behind the body
}

// run copies the body, of which p has been read, and reports whether it was whole.
func (b *bodyCopy) run(nc net.Conn, p []byte, w bodyWriter) bool {
	buf := make([]byte, bulkPiece)
	for {
		done, err := b.piece(&p, w)
		if err == nil && b.limit > 0 && b.total > int64(b.limit) {
			err = ErrTooLarge
		}
		if err != nil {
			w.abort(err)
			return false
		}
		if done {
			if b.stall > 0 {
				nc.SetReadDeadline(time.Time{})
			}
			b.left = p
			return w.end(b.chunked.Trailers) == nil
		}
		if b.stall > 0 {
			nc.SetReadDeadline(time.Now().Add(b.stall))
		}
		n, err := nc.Read(buf)
		p = buf[:n]
		switch {
		case n > 0:
		case err == io.EOF && b.mode == http1.BodyUntilClose:
			return w.end(nil) == nil
		default:
			w.abort(errCut)
			return false
		}
	}
}

// piece passes on what of the body is in p.
func (b *bodyCopy) piece(p *[]byte, w bodyWriter) (done bool, err error) {
	switch b.mode {
	case http1.BodyChunked:
		for !done && err == nil {
			var used int
			var data []byte
			used, data, done, err = b.chunked.Next(*p)
			*p = (*p)[used:]
			if err == nil && len(data) > 0 {
				b.total += int64(len(data))
				err = w.write(data)
			}
			if used == 0 && len(data) == 0 || len(*p) == 0 && len(data) == 0 {
				break
			}
		}
		return done, err
	case http1.BodyLength:
		n := min(int64(len(*p)), b.length)
		if n > 0 {
			err = w.write((*p)[:n])
		}
		*p = (*p)[n:]
		b.length -= n
		b.total += n
		return b.length == 0, err
	}
	if len(*p) > 0 {
		b.total += int64(len(*p))
		err = w.write(*p)
	}
	return false, err
}

// tunnel joins the two sides of an Upgrade until both have ended.
func (c *upstreamBulk) tunnel(in *reply, n int, resp *wire.Response) {
	ex := c.ex
	if len(in.head.Upgrade) == 0 || fieldValue(ex.req.Fields, "upgrade") == nil || ex.src == nil {
		ex.fail(failure{code: wire.CodeUpstream, err: errors.New("upstream switched protocols unasked")})
		return
	}
	resp.BodyKind, resp.RawBody = wire.BodyFollows, true
	resp.Fields = append(resp.Fields, wire.Field{Name: []byte("Upgrade"), Value: in.head.Upgrade})
	w := ex.stream(resp)
	if w == nil {
		return
	}
	c.isSwitched = true
	c.wg.Go(c.pumpLoop)
	bc := bodyCopy{mode: http1.BodyUntilClose}
	bc.run(c.nc, in.b[n:], w)
	select { // the upstream has ended its side; the client may go on
	case <-c.endc:
	case <-c.gonec:
	}
	c.src.stop()
}

// bodyLength returns what Content-Length says; -1 if there is none, or none to be
// relied on: a peer's fields are its own word.
func bodyLength(fields []wire.Field) int64 {
	length := int64(-1)
	for i := range fields {
		if !isContentLength(fields[i].Name) {
			continue
		}
		n, err := strconv.ParseUint(string(fields[i].Value), 10, 63)
		if err != nil || length >= 0 {
			return -1
		}
		length = int64(n)
	}
	return length
}

// fieldValue returns the first value of a field, nil if there is none.
func fieldValue(fields []wire.Field, lower string) []byte {
	for i := range fields {
		if isName(fields[i].Name, lower) {
			if fields[i].Value == nil {
				return []byte{}
			}
			return fields[i].Value
		}
	}
	return nil
}
