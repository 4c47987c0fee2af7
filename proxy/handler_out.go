package proxy

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// handlerOut is the delivering half that calls a Go handler in this process. Each
// running handler has a goroutine; the one that became idle last takes the next
// exchange, and no more are kept than were busy at once.
type handlerOut struct {
	route   *route
	cfg     *Config
	handler fasthttp.RequestHandler
	here    station
	wg      sync.WaitGroup
	running atomic.Int64
	server  *upstream // the handler too, for an Upgrade
	destMeter

	mu       sync.Mutex // guards all below
	free     []*handlerLoop
	lobby    lobby // and what no goroutine has taken yet; with Serial the first of each lane only
	active   int   // handlers that run
	lanes    lanes // and those behind it
	isWaking bool  // a goroutine is about to look at the lobby
	isClosed bool
}

// handlerLoop is one goroutine and the RequestCtx it uses again and again.
type handlerLoop struct {
	h     *handlerOut
	wakec chan struct{} // capacity 1; closed to end the goroutine
	ctx   *fasthttp.RequestCtx

	resp   wire.Response
	fields []wire.Field
	length []byte // the value of a HEAD's Content-Length
}

func newHandlerOut(r *route, cfg *Config) *handlerOut {
	h := &handlerOut{route: r, cfg: cfg, handler: cfg.Handler}
	h.lobby.init(&cfg.Limits)
	h.adapt = h.lobby.adapt
	h.here.cancel = h.unqueue
	h.server = newHandlerServer(h)
	return h
}

func (h *handlerOut) name() string            { return "handler" }
func (h *handlerOut) load() int               { return int(h.running.Load()) }
func (h *handlerOut) isUp(time.Duration) bool { return true }
func (h *handlerOut) capacity() int64         { return h.lobby.within(h.lobby.most()) }

func (h *handlerOut) start()                   {}
func (h *handlerOut) bound(most int)           { h.lobby.bound(most) }
func (h *handlerOut) inGroup() *balance.Member { return nil }

// sweep fails what has waited too long for room. A running handler's deadline is its
// own business, and the accepting half of a pair keeps the exchange's.
func (h *handlerOut) sweep(now time.Duration) {
	h.mu.Lock()
	var late []*exchange
	if h.lobby.most() > 0 { // without a bound none waits for room
		late = h.lobby.takeLate(now)
	}
	for _, ex := range late {
		h.passLocked(ex.lane)
	}
	l := h.wakeLocked()
	h.mu.Unlock()
	if l != nil {
		l.wakec <- struct{}{}
	}
	for _, ex := range late {
		h.running.Add(-1)
		ex.fail(h.lobby.lateness(ex, now))
	}
	h.server.sweep(now)
}

// unqueue is the station of all exchanges. A handler cannot be stopped: its exchange
// is let go when it returns.
func (h *handlerOut) unqueue(ex *exchange) bool {
	h.mu.Lock()
	isIn := ex.waiter == nil && h.removeLocked(ex) // else carry waits for its end
	l := h.wakeLocked()
	h.mu.Unlock()
	if isIn {
		h.running.Add(-1)
	}
	if l != nil {
		l.wakec <- struct{}{}
	}
	return isIn
}

func (h *handlerOut) deliver(ex *exchange) {
	h.running.Add(1)
	ex.at.Store(&h.here)
	ex.mayWait = true
	h.mu.Lock()
	if h.isClosed {
		h.mu.Unlock()
		h.running.Add(-1)
		ex.fail(failure{code: wire.CodeDraining, isNotStarted: true, err: ErrClosed})
		return
	}
	isGone := ex.isCancelled.Load()
	isIn := isGone || h.lobby.hasRoom(h.active) || h.lobby.n < h.lobby.length
	switch {
	case isGone:
	case isIn:
		if h.lobby.most() > 0 {
			ex.queued = h.route.now()
		}
		h.pushLocked(ex)
	default:
		h.lobby.refused.Add(1)
	}
	l := h.wakeLocked()
	h.mu.Unlock()
	switch {
	case isGone:
		h.running.Add(-1)
		ex.drop()
	case !isIn:
		h.running.Add(-1)
		ex.fail(failure{code: wire.CodeOverload, isNotStarted: true, err: ErrOverloaded})
	}
	if l != nil {
		l.wakec <- struct{}{}
	}
}

// carry collects the request's body, up to MaxBody, for a handler takes it whole.
func (h *handlerOut) carry(ex *exchange) {
	if fieldValue(ex.req.Fields, "upgrade") != nil {
		h.running.Add(1)
		defer h.running.Add(-1)
		h.server.carry(ex)
		return
	}
	var body []byte
	ex.isTouched = true
	if ex.src != nil {
		h.running.Add(1)
		defer h.running.Add(-1)
		if fieldValue(ex.req.Fields, "expect") != nil {
			ex.interim(&wire.Response{Status: 100})
		}
		for {
			p, err := ex.src.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				ex.drop()
				return
			}
			if len(body)+len(p) > h.cfg.whole() {
				ex.fail(failure{code: wire.CodeRequestTooLarge, err: ErrTooLarge})
				return
			}
			body = append(body, p...)
		}
		ex.req.Trailers = ex.src.trailers()
	}
	ex.req.BodyKind, ex.req.Body = wire.BodyWhole, body
	to := ex.sink
	done := make(chan struct{})
	ex.sink, ex.waiter = &carried{sink: to, donec: done}, new(waiter)
	h.deliver(ex)
	<-done
	ex.sink, ex.waiter = to, nil // the exchange may be used again
}

// carried tells carry when the handler has answered.
type carried struct {
	sink
	donec chan struct{}
}

func (c *carried) respond(ex *exchange, resp *wire.Response) {
	c.sink.respond(ex, resp)
	if resp.Status >= 200 {
		close(c.donec)
	}
}

func (c *carried) fail(ex *exchange, f failure) { c.sink.fail(ex, f); close(c.donec) }
func (c *carried) dropped(ex *exchange)         { c.sink.dropped(ex); close(c.donec) }

// wakeLocked gives a goroutine to look at the queue, unless one is about to. One
// that takes an exchange has the next one woken first, so a handler that waits
// delays nobody, and quick ones run on few goroutines.
func (h *handlerOut) wakeLocked() *handlerLoop {
	if h.isWaking || h.lobby.n == 0 || !h.lobby.hasRoom(h.active) {
		return nil
	}
	h.isWaking = true
	if n := len(h.free); n > 0 {
		l := h.free[n-1]
		h.free[n-1] = nil
		h.free = h.free[:n-1]
		return l
	}
	l := &handlerLoop{h: h, wakec: make(chan struct{}, 1)}
	h.wg.Go(l.loop)
	return l
}

// loop serves exchanges until it is closed.
func (l *handlerLoop) loop() {
	h := l.h
	for range l.wakec {
		h.mu.Lock()
		h.isWaking = false
		for h.lobby.n > 0 && h.lobby.hasRoom(h.active) {
			ex := h.lobby.pop()
			if h.lobby.most() > 0 {
				ex.delivered = h.route.now() // what it waited is not the handler's time
				ex.waited += ex.delivered - ex.queued
			}
			h.active++
			lane := ex.lane // ex may be another's when its handler has returned
			next := h.wakeLocked()
			h.mu.Unlock()
			if next != nil {
				next.wakec <- struct{}{}
			}
			l.serve(ex)
			h.mu.Lock()
			h.active--
			h.passLocked(lane)
		}
		if h.isClosed {
			h.mu.Unlock()
			return
		}
		h.free = append(h.free, l)
		h.mu.Unlock()
	}
}

func (l *handlerLoop) serve(ex *exchange) {
	if l.ctx == nil {
		l.ctx = new(fasthttp.RequestCtx)
		l.ctx.Init(&fasthttp.Request{}, nil, nil)
		l.ctx.Request.Header.DisableNormalizing()
		l.ctx.Response.Header.DisableNormalizing()
	}
	ctx := l.ctx
	setRequest(&ctx.Request, &ex.req)
	err := l.h.call(ctx)
	if err == nil && ctx.Hijacked() {
		err = errHijack
	}
	if err != nil {
		l.h.cfg.Logger.Error("handler failed", "err", err)
		l.ctx = nil // it may be in use still, or in no state to be
		l.h.running.Add(-1)
		ex.fail(failure{code: wire.CodeInternal, err: err})
		return
	}
	resp := &ctx.Response
	if late := ctx.LastTimeoutErrorResponse(); late != nil {
		resp, l.ctx = late, nil // the handler goes on with ctx
	}
	l.respond(ex, resp)
	if l.ctx != nil {
		ctx.ResetUserValues()
		ctx.Request.Reset()
		ctx.Response.Reset()
		ctx.Request.Header.DisableNormalizing()
		ctx.Response.Header.DisableNormalizing()
	}
}

// call runs the handler; its panic is an error, and ends nothing else.
func (h *handlerOut) call(ctx *fasthttp.RequestCtx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	h.handler(ctx)
	return nil
}

func (l *handlerLoop) respond(ex *exchange, from *fasthttp.Response) {
	body := from.Body()
	l.h.running.Add(-1)
	if len(body) > l.h.cfg.whole() {
		ex.fail(failure{code: wire.CodeResponseTooLarge, err: ErrTooLarge})
		return
	}
	l.resp = wire.Response{Status: from.StatusCode(), BodyKind: wire.BodyWhole, Body: body}
	if msg := from.Header.StatusMessage(); len(msg) > 0 && string(msg) != http1.StatusText(l.resp.Status) {
		l.resp.Reason = msg
	}
	if status := l.resp.Status; status == 204 || status == 304 || status < 200 {
		l.resp.BodyKind, l.resp.Body = wire.BodyNone, nil
	}
	fields := l.fields[:0]
	if string(ex.req.Method) == "HEAD" && l.resp.BodyKind == wire.BodyWhole {
		l.resp.BodyKind, l.resp.Body = wire.BodyNone, nil
		length := len(body)
		if n := from.Header.ContentLength(); from.SkipBody && n > 0 {
			length = n
		}
		l.length = strconv.AppendInt(l.length[:0], int64(length), 10)
		fields = append(fields, wire.Field{Name: []byte(contentLength), Value: l.length})
	}
	for name, value := range from.Header.All() {
		if !http1.IsHopByHop(name) && !isContentLength(name) && http1.IsValidField(name, value) {
			fields = append(fields, wire.Field{Name: name, Value: value})
		}
	}
	l.resp.Fields = fields
	l.resp.RawBody = len(l.resp.Body) > 256 && isCompressed(fields)
	ex.finish(&l.resp)
	l.fields = clearFields(fields)
}

// setRequest makes a fasthttp request of an exchange's, which it does not refer to.
func setRequest(to *fasthttp.Request, from *wire.Request) {
	to.Header.SetMethodBytes(from.Method)
	to.Header.SetRequestURIBytes(from.Target)
	to.Header.SetHostBytes(from.Authority)
	for i := range from.Fields {
		f := &from.Fields[i]
		if !isContentLength(f.Name) {
			to.Header.AddBytesKV(f.Name, f.Value)
		}
	}
	if from.BodyKind == wire.BodyWhole {
		to.SetBody(from.Body) // a copy: after TimeoutError the handler may go on
		to.Header.SetContentLength(len(from.Body))
	}
}

func (h *handlerOut) shutdown(ctx context.Context) {
	defer h.server.shutdown(ctx)
	ticker := time.NewTicker(sweepPeriod / 10)
	defer ticker.Stop()
	for h.running.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// close ends the idle goroutines; one whose handler still runs ends with it.
func (h *handlerOut) close() {
	h.mu.Lock()
	isClosed := h.isClosed
	h.isClosed = true
	free := h.free
	h.free = nil
	queue := append(h.lobby.takeAll(func(*exchange) bool { return true }), h.takeLanesLocked()...)
	h.mu.Unlock()
	for _, ex := range queue {
		h.running.Add(-1)
		ex.fail(failure{code: wire.CodeDraining, isNotStarted: true, err: ErrClosed})
	}
	for _, l := range free {
		close(l.wakec)
	}
	h.server.close()
	if !isClosed {
		h.wg.Wait()
	}
}

var _ destination = (*handlerOut)(nil)
