package proxy

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// call is the accepting half of the Go API: one request of a goroutine that waits.
type call struct {
	exchange
	f      *Front
	resp   *fasthttp.Response
	err    error
	donec  chan struct{} // capacity 1
	fields []wire.Field
	target []byte
	edit   hygiene
	timer  *time.Timer
}

var calls = sync.Pool{New: func() any { return &call{donec: make(chan struct{}, 1)} }}

// Do sends req to a destination and fills in resp. It honours Config.Timeout.
// req is not changed and not kept. Its URI's host is the authority; header names
// keep the case they have in req. The errors are ErrTimeout, ErrOverloaded,
// ErrDraining, ErrTooLarge and ErrUpstream, wrapped; a status is not an error.
// A response's trailers are dropped, for fasthttp has no place for them; so is its
// Date, which fasthttp keeps to itself.
// A request is sent again only as the exchanges of HTTP/1.1 clients are: never
// a POST that may have been started.
func (f *Front) Do(req *fasthttp.Request, resp *fasthttp.Response) error {
	return f.do(req, resp, 0, nil)
}

// DoTimeout is Do with a bound of its own on the time; the time left goes to the
// upstream's end with the request. When it returns ErrTimeout, nothing refers to
// req or resp any more.
func (f *Front) DoTimeout(req *fasthttp.Request, resp *fasthttp.Response, timeout time.Duration) error {
	if timeout <= 0 {
		return ErrTimeout
	}
	return f.do(req, resp, timeout, nil)
}

// DoDeadline is DoTimeout until a point in time. With PendingRequests it makes
// Front a fasthttp.BalancingClient.
func (f *Front) DoDeadline(req *fasthttp.Request, resp *fasthttp.Response, deadline time.Time) error {
	return f.DoTimeout(req, resp, time.Until(deadline))
}

// PendingRequests is the number of exchanges in flight.
func (f *Front) PendingRequests() int { return int(f.route.inflight.Load()) }

// Handle is a fasthttp.RequestHandler that proxies what a fasthttp server
// received. The client's address is added to X-Forwarded-For, as Serve does; failures are
// answered as Serve answers them.
func (f *Front) Handle(ctx *fasthttp.RequestCtx) {
	from := f.cfg.originOf(addrOf(ctx.RemoteAddr()), ctx.IsTLS())
	err := f.do(&ctx.Request, &ctx.Response, 0, &from)
	if err == nil {
		return
	}
	status := 400 // errInvalid
	if fe, ok := errors.AsType[*failureError](err); ok {
		status, _ = statusOf(fe.failure)
	}
	ctx.Error(http1.StatusText(status), status)
	if status == 503 {
		ctx.Response.Header.Set("Retry-After", "1")
	}
}

var errInvalid = errors.New("proxy: request has no valid method, URI or host")

func (f *Front) do(req *fasthttp.Request, resp *fasthttp.Response, timeout time.Duration, from *origin) error {
	if f.isDraining.Load() {
		return failure{code: wire.CodeDraining}.asError()
	}
	c := calls.Get().(*call)
	defer c.put()
	c.reset()
	c.f, c.resp, c.err, c.sink = f, resp, nil, c
	if err := c.fill(req, from); err != nil {
		return err
	}
	c.req.TimeLeft = timeout
	resp.Reset()
	f.route.deliver(&c.exchange)
	if timeout <= 0 {
		<-c.donec
		return c.err
	}
	if c.timer == nil {
		c.timer = time.NewTimer(timeout)
	} else {
		c.timer.Reset(timeout)
	}
	select {
	case <-c.donec:
		c.timer.Stop()
		return c.err
	case <-c.timer.C:
	}
	if !c.cancel() {
		<-c.donec // the response is being filled in, or a handler of this process runs
		if c.err == nil {
			return nil
		}
	}
	return failure{code: wire.CodeTimeout}.asError()
}

func (c *call) put() {
	c.f, c.resp, c.sink, c.route = nil, nil, nil, nil
	c.fields = clearFields(c.fields)
	c.req = wire.Request{}
	c.edit.scratch = c.edit.scratch[:0]
	calls.Put(c)
}

// fill makes the exchange's request of a fasthttp one; it refers to its memory.
func (c *call) fill(req *fasthttp.Request, from *origin) error {
	r := &c.req
	if r.Method = methodGet; !req.Header.IsGet() { // Method would allocate the default
		r.Method = req.Header.Method()
	}
	if from != nil { // as a server received it
		r.Target, r.Authority = req.Header.RequestURI(), req.Header.Host()
	} else {
		uri := req.URI()
		c.target = append(c.target[:0], uri.PathOriginal()...) // as written, not tidied
		if len(c.target) == 0 || c.target[0] != '/' {
			c.target = append(c.target[:0], uri.Path()...)
		}
		if query := uri.QueryString(); len(query) > 0 {
			c.target = append(append(c.target, '?'), query...)
		}
		r.Target, r.Authority = c.target, uri.Host()
	}
	if !wire.IsToken(r.Method) || !wire.IsTarget(r.Target) || !wire.IsValue(r.Authority) {
		return errInvalid
	}
	fields := c.fields[:0]
	named := c.edit.scratch[:0] // what Connection names, in all its lines
	for name, value := range req.Header.All() {
		if isName(name, "connection") {
			named = append(append(named, value...), ',')
		}
		if !http1.IsHopByHop(name) && !isContentLength(name) && http1.IsValidField(name, value) {
			fields = append(fields, wire.Field{Name: name, Value: value})
		}
	}
	if len(named) > 0 {
		fields = dropNamed(fields, named)
	}
	c.edit.scratch = named
	if from != nil {
		fields = c.edit.forwarded(fields, from, r.Authority, &c.f.cfg.Entry)
	}
	fields, ok := c.edit.via(fields, "1.1 ", c.f.route.via)
	c.fields, r.Fields = fields, fields
	if !ok {
		return failure{code: wire.CodeLoop}.asError()
	}
	body := req.Body()
	r.BodyKind, r.Body, r.RawBody = wire.BodyNone, nil, false
	if len(body) > c.f.cfg.whole() {
		return failure{code: wire.CodeRequestTooLarge}.asError()
	}
	if len(body) > 0 || req.Header.ContentLength() == 0 && !isSafeMethod(r.Method) {
		r.BodyKind, r.Body = wire.BodyWhole, body
		r.RawBody = len(body) > 256 && isCompressed(fields)
	}
	return nil
}

func isName(name []byte, lower string) bool {
	return len(name) == len(lower) && bytes.EqualFold(name, []byte(lower))
}

// dropNamed removes the fields that a Connection value names.
func dropNamed(fields []wire.Field, named []byte) []wire.Field {
	for token := range bytes.SplitSeq(named, []byte(",")) {
		token = bytes.TrimSpace(token)
		keep := fields[:0]
		for _, f := range fields {
			if !bytes.EqualFold(f.Name, token) {
				keep = append(keep, f)
			}
		}
		fields = keep
	}
	return fields
}

// respond implements sink: it fills in resp and wakes the goroutine.
func (c *call) respond(_ *exchange, resp *wire.Response) {
	if resp.Status < 200 {
		return
	}
	to := c.resp
	to.Header.DisableNormalizing()
	to.Header.SetNoDefaultContentType(true)
	to.SetStatusCode(resp.Status)
	if resp.Reason != nil {
		to.Header.SetStatusMessage(resp.Reason)
	}
	isHead := string(c.req.Method) == "HEAD"
	for i := range resp.Fields {
		f := &resp.Fields[i]
		if !isContentLength(f.Name) || isHead {
			to.Header.AddBytesKV(f.Name, f.Value)
		}
	}
	if isHead {
		to.SkipBody = true
	} else {
		to.SetBody(resp.Body)
	}
	c.donec <- struct{}{}
}

// stream implements sink: the body is collected, up to MaxBody, within Timeout.
func (c *call) stream(ex *exchange, resp *wire.Response) bodyWriter {
	b := &callBody{c: c, resp: ownResponse(resp)}
	if ex.deadline < noDeadline {
		b.timer = time.AfterFunc(ex.deadline-c.f.route.now(), b.quit)
	}
	return b
}

// callBody collects a response's body.
type callBody struct {
	c     *call
	resp  *wire.Response
	body  []byte
	timer *time.Timer

	mu     sync.Mutex // guards all below
	gone   func()
	isLate bool
	isOver bool
}

func (b *callBody) onGone(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isLate {
		f()
	} else {
		b.gone = f
	}
}

// quit ends the waiting for the rest of the body.
func (b *callBody) quit() {
	b.mu.Lock() // held during gone: what it ends may serve another once this is over
	defer b.mu.Unlock()
	b.isLate = true
	if b.gone != nil && !b.isOver {
		b.gone()
	}
}

// over reports whether it was too late.
func (b *callBody) over() bool {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isOver = true
	return b.isLate
}

func (b *callBody) write(p []byte) error {
	if len(b.body)+len(p) > b.c.f.cfg.whole() {
		return ErrTooLarge
	}
	b.body = append(b.body, p...)
	return nil
}

func (b *callBody) end(trailers []wire.Field) error {
	b.over()
	b.resp.BodyKind, b.resp.Body = wire.BodyWhole, b.body
	b.c.respond(nil, b.resp)
	return nil
}

func (b *callBody) abort(err error) {
	f := failure{code: wire.CodeUpstream, err: err}
	if b.over() {
		f = failure{code: wire.CodeTimeout, err: ErrTimeout}
	} else if err == ErrTooLarge {
		f.code = wire.CodeResponseTooLarge
	}
	b.c.fail(nil, f)
}

// fail implements sink.
func (c *call) fail(_ *exchange, f failure) {
	c.err = f.asError()
	c.donec <- struct{}{}
}

// dropped implements sink: the call was cancelled.
func (c *call) dropped(*exchange) {
	c.err = failure{code: wire.CodeTimeout}.asError()
	c.donec <- struct{}{}
}

var _ fasthttp.BalancingClient = (*Front)(nil)
