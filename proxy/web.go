package proxy

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// webCall is the accepting half of one request that net/http received: those of browsers, which speak HTTP/2 to
// an https listener. The delivering half must not wait for the client, so what it brings of a batched exchange is
// kept for ServeHTTP's goroutine; a streamed body is written by the one who brings it, while that one waits.
type webCall struct {
	exchange
	f      *Front
	w      http.ResponseWriter
	rc     *http.ResponseController
	addr   []byte            // the client's IP address
	proto  string            // HTTP/2.0, or what a program serves by
	parsed http1.RequestHead // what req is made of
	edit   hygiene

	webSrc *webSource // of a bulk exchange

	isAnswered atomic.Bool // a final response has begun

	wmu sync.Mutex // held by the one who writes to w; taken before mu
	out pace       // guarded by wmu

	mu      sync.Mutex // guards all below
	changed chan struct{}
	brought []*wire.Response // interim ones, and then the final one, not yet written
	failed  *failure
	refused int   // status for what is wrong with the body; 0 is nothing
	size    int64 // of the messages that are held
	waiting int64 // of those of them that are interim responses
	held    int64 // of the route's memory, for them
	isOver  bool
	hasHead bool   // of a streamed response, which was written
	hasLeft bool   // the client
	isCut   bool   // the body was, so the stream is reset
	gone    func() // ends the work for the body that is streamed
}

// ServeHTTP makes Front an http.Handler, with the limits of Config. It is how HTTP/2 is served to those who negotiate it with an
// https listener. Over HTTP/2 a 100 Continue is sent when the request's body is first read, which is at once, and there is no Upgrade.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &webCall{f: f, w: w, rc: http.NewResponseController(w), changed: make(chan struct{}, 1)}
	c.sink = c
	n := f.webCalls.Add(1)
	defer c.letGo()
	select {
	case <-f.donec:
		c.refuse(503)
		return
	default: // what comes while draining, before the client has seen GOAWAY, is served
	}
	if f.cfg.MaxExchanges > 0 && n > int64(f.cfg.MaxExchanges) { // a request that comes slowly holds a goroutine
		f.route.stats.overloads.Add(1)
		f.route.meter.refuse(503)
		c.refuse(503)
		return
	}
	if status := c.fill(r); status != 0 {
		f.route.meter.refuse(status)
		c.refuse(status)
		return
	}
	stop := context.AfterFunc(r.Context(), c.leave)
	defer stop()
	if c.req.BodyKind != wire.BodyFollows {
		f.route.deliver(&c.exchange)
		c.serve()
		return
	}
	src := newWebSource(c, r)
	c.webSrc, c.src = src, src
	donec := make(chan struct{})
	go c.carryLoop(donec)
	defer func() { // also when serve panics: net/http takes w and the body back then
		src.stop()
		<-donec
		src.close()
	}()
	c.serve()
}

// carryLoop runs a bulk exchange, whose sink is served by ServeHTTP's goroutine, which waits for its end.
func (c *webCall) carryLoop(donec chan<- struct{}) {
	c.f.route.carry(&c.exchange)
	close(donec)
}

// serve writes what is brought until the exchange is over.
func (c *webCall) serve() {
	for range c.changed {
		err := c.flush()
		c.mu.Lock()
		failed, refused, isOver, isCut := c.failed, c.refused, c.isOver, c.isCut
		c.mu.Unlock()
		switch {
		case refused != 0 && isOver:
			c.refuse(refused)
			return
		case isCut, err != nil:
			panic(http.ErrAbortHandler) // net/http resets the stream
		case isOver && failed != nil:
			c.refuseFor(*failed)
			return
		case isOver: // what is in net/http's buffer has yet to go
			c.setWriteDeadline()
			return
		}
	}
}

// flush writes what was brought.
func (c *webCall) flush() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.mu.Lock()
	brought := c.brought
	c.brought = nil
	c.mu.Unlock()
	for _, resp := range brought {
		if err := c.write(resp); err != nil {
			return err
		}
		if resp.Status < 200 {
			c.mu.Lock()
			c.waiting -= sizeOf(resp)
			c.holdLocked(-sizeOf(resp))
			c.mu.Unlock()
		}
	}
	return nil
}

func (c *webCall) letGo() {
	c.f.webCalls.Add(-1)
	c.mu.Lock()
	c.f.route.memory.free(&c.held)
	c.mu.Unlock()
}

// sizeOf is what a response takes of the memory.
func sizeOf(resp *wire.Response) int64 {
	const each = 64 // a field takes it besides its bytes, and so does a response
	n := each + len(resp.Body)
	for _, fields := range [...][]wire.Field{resp.Fields, resp.Trailers} {
		for i := range fields {
			n += each + len(fields[i].Name) + len(fields[i].Value)
		}
	}
	return int64(n)
}

// hold notes n more bytes of messages in memory; false when that is too much.
func (c *webCall) hold(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holdLocked(n)
}

func (c *webCall) holdLocked(n int64) bool {
	c.size += n
	return c.f.route.memory.hold(&c.held, c.size)
}

func (c *webCall) wakeLocked() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// write writes an interim response's head, or a whole response.
func (c *webCall) write(resp *wire.Response) error {
	c.setWriteDeadline()
	if resp.Status < 200 {
		h := c.w.Header()
		for _, f := range resp.Fields {
			h[string(f.Name)] = append(h[string(f.Name)], string(f.Value))
		}
		c.w.WriteHeader(resp.Status)
		clear(h)
		return c.clearWriteDeadline()
	}
	isHead := string(c.req.Method) == http.MethodHead
	c.head(resp, !isHead && resp.BodyKind == wire.BodyWhole)
	if !isHead && hasBody(resp.Status) {
		if err := c.writeAll(resp.Body); err != nil {
			return err
		}
	}
	c.trail(resp.Trailers)
	return nil
}

func hasBody(status int) bool { return status >= 200 && status != 204 && status != 304 }

// setWriteDeadline bounds the next write. net/http resets the stream when it passes, whether or not anybody writes.
func (c *webCall) setWriteDeadline() {
	c.rc.SetWriteDeadline(time.Now().Add(c.f.cfg.WriteTimeout))
}

func (c *webCall) clearWriteDeadline() error { return c.rc.SetWriteDeadline(time.Time{}) }

// webWrite is written at a time, so that the client's pace is seen.
const webWrite = 16 << 10

// writeAll writes p to the client, waiting for it as long as it keeps pace.
func (c *webCall) writeAll(p []byte) error {
	for len(p) > 0 {
		began := time.Now()
		c.setWriteDeadline()
		n, err := c.w.Write(p[:min(len(p), webWrite)])
		c.f.route.stats.clientOut.Add(int64(n))
		if err != nil {
			return errGone
		}
		p = p[n:]
		if !c.out.spent(time.Since(began), int64(n), c.f.cfg.WriteTimeout, c.f.cfg.MinRate) {
			return errPace
		}
	}
	return nil
}

// head writes a final head. net/http would add a Date and guess a Content-Type where the upstream sent none.
func (c *webCall) head(resp *wire.Response, hasLength bool) {
	h := c.w.Header()
	h["Content-Type"], h["Date"] = nil, nil
	for _, f := range resp.Fields {
		if hasLength && isContentLength(f.Name) {
			continue
		}
		name := http.CanonicalHeaderKey(string(f.Name))
		h[name] = append(h[name], string(f.Value))
	}
	if c.f.hsts != nil && h["Strict-Transport-Security"] == nil {
		h["Strict-Transport-Security"] = []string{string(c.f.hsts)}
	}
	if hasLength && len(resp.Trailers) == 0 {
		h["Content-Length"] = []string{strconv.Itoa(len(resp.Body))}
	}
	c.w.WriteHeader(resp.Status)
	clear(h) // net/http would tell what Trailer names once more, as trailers
}

func (c *webCall) trail(trailers []wire.Field) {
	for _, f := range trailers { // names that differ in their case are one to net/http, which keeps the values of one of them
		c.w.Header().Add(http.TrailerPrefix+http.CanonicalHeaderKey(string(f.Name)), string(f.Value))
	}
}

func (c *webCall) refuseFor(f failure) {
	status, token := statusOf(f)
	if f.err != nil {
		c.f.log.Debug("exchange failed", "status", status, "why", token, "err", f.err)
	}
	if status == 503 {
		c.w.Header().Set("Retry-After", strconv.FormatUint(uint64(f.retryAfter()), 10))
	}
	c.refuse(status)
}

func (c *webCall) refuse(status int) {
	if status == 503 && c.w.Header().Get("Retry-After") == "" {
		c.w.Header().Set("Retry-After", "1")
	}
	if c.f.hsts != nil {
		c.w.Header().Set("Strict-Transport-Security", string(c.f.hsts))
	}
	c.setWriteDeadline()
	http.Error(c.w, http1.StatusText(status), status)
}

// leave is called when the client has left, or the stream is over; or when the client is given up.
func (c *webCall) leave() {
	c.mu.Lock()
	if c.hasLeft {
		c.mu.Unlock()
		return
	}
	gone := c.gone
	c.gone, c.hasLeft = nil, true
	if gone != nil { // under mu: what it ends may serve another once the exchange is over
		gone()
	}
	isOver := c.isOver
	c.mu.Unlock()
	switch {
	case isOver:
	case c.webSrc != nil:
		c.webSrc.leave()
	case c.cancel():
		c.dropped(nil)
	}
}

// cut says what is wrong with the request's body, when nothing was answered yet.
func (c *webCall) cut(status int) {
	c.mu.Lock()
	if !c.hasHead && !c.isOver {
		c.refused = status
	}
	c.mu.Unlock()
}

// respond implements sink.
func (c *webCall) respond(_ *exchange, resp *wire.Response) {
	if resp.Status == 100 || resp.Status == 101 {
		return
	}
	own := ownResponse(resp)
	own.Body, own.Trailers = slices.Clone(resp.Body), ownFields(resp.Trailers)
	isFinal, size := resp.Status >= 200, sizeOf(own)
	if isFinal {
		c.isAnswered.Store(true)
	}
	c.mu.Lock()
	if !isFinal {
		if c.waiting > 0 && c.waiting+size > maxInterim {
			c.mu.Unlock()
			c.leave() // it does not read, and the upstream does not stop
			return
		}
		c.waiting += size
	}
	if c.isOver = isFinal; !c.holdLocked(size) {
		c.failed = &failure{code: wire.CodeOverload, err: errMemory}
	} else {
		c.brought = append(c.brought, own)
	}
	c.wakeLocked()
	c.mu.Unlock()
}

// fail implements sink.
func (c *webCall) fail(_ *exchange, f failure) {
	c.mu.Lock()
	c.failed, c.isOver = &f, true
	c.wakeLocked()
	c.mu.Unlock()
}

// dropped implements sink: nobody reads what would be answered.
func (c *webCall) dropped(*exchange) {
	c.mu.Lock()
	c.isCut = !c.isOver
	c.isOver = true
	c.wakeLocked()
	c.mu.Unlock()
}

// stream implements sink.
func (c *webCall) stream(_ *exchange, resp *wire.Response) bodyWriter {
	if resp.Status == 101 {
		return nil
	}
	c.isAnswered.Store(true)
	c.mu.Lock()
	c.hasHead = true
	c.mu.Unlock()
	b := &webBody{c: c, left: -1, isNone: string(c.req.Method) == http.MethodHead || !hasBody(resp.Status)}
	if !b.isNone {
		b.left = bodyLength(resp.Fields)
	}
	if b.err = c.flush(); b.err != nil { // interim ones first
		return b
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.setWriteDeadline()
	c.head(resp, false)
	c.rc.Flush()
	c.clearWriteDeadline()
	return b
}

// webBody writes a streamed body.
type webBody struct {
	c      *webCall
	isNone bool  // there is none: what comes is dropped
	left   int64 // of Content-Length: a peer's word is not enough; -1 unknown
	err    error
}

func (b *webBody) write(p []byte) error {
	if b.isNone || b.err != nil {
		return b.err
	}
	if b.left >= 0 {
		if int64(len(p)) > b.left {
			return errFraming
		}
		b.left -= int64(len(p))
	}
	b.c.wmu.Lock()
	defer b.c.wmu.Unlock()
	if b.err = b.c.writeAll(p); b.err == nil {
		b.c.setWriteDeadline()
		b.err = b.c.rc.Flush()
		b.c.clearWriteDeadline() // the next piece may be long in coming
	}
	return b.err
}

func (b *webBody) end(trailers []wire.Field) error {
	if b.err == nil && b.left > 0 {
		b.err = errFraming
	}
	if b.err != nil {
		b.over(true)
		return b.err
	}
	b.c.wmu.Lock()
	b.c.trail(trailers)
	b.c.wmu.Unlock()
	b.over(false)
	return nil
}

func (b *webBody) abort(error) { b.over(true) }

func (b *webBody) over(isCut bool) {
	b.c.mu.Lock()
	b.c.gone, b.c.isOver, b.c.isCut = nil, true, isCut
	b.c.wakeLocked()
	b.c.mu.Unlock()
}

func (b *webBody) onGone(f func()) {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	if b.c.hasLeft {
		f()
	} else {
		b.c.gone = f
	}
}
