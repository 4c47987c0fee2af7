package proxy

import (
	"bytes"
	"net"
	"sync"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// StatusGone is the status of exchanges for which nobody waited any more.
const StatusGone = 499

// Exchange is an exchange that is over, for [Config].OnExchange.
type Exchange struct {
	// Client is the IP address of who sent it: a client, or at a back a front; empty in the Go API.
	Client []byte
	// Protocol is a client's, such as HTTP/1.1 or HTTP/2.0; empty at a back and in the Go API.
	Protocol string
	// Method, Target and Authority are the request's.
	Method, Target, Authority []byte
	// RequestID and TraceParent are the values of X-Request-Id and traceparent as they were passed on, empty without.
	RequestID, TraceParent []byte
	// Status is what was answered, or StatusGone; Failure says why the destination gave no response, or that the
	// response's body was cut, and is empty otherwise.
	Status  int
	Failure string
	// Bytes is the length of the response's body, of which a streamed one was handed on.
	Bytes int64
	// Began is when the request was whole, or for a streamed one its head; Duration from there to the end.
	Began    time.Time
	Duration time.Duration
	// Took is the time of the attempt at Destination until the whole response was here, or the head of a streamed one; zero without a
	// response. Queued is how long it waited, there or before elsewhere, for room or a connection.
	Took, Queued time.Duration
	// Route is the name of the one that was chosen.
	Route string
	// Destination is the last it was delivered to, empty when it was to none; Repeats are attempts after the first.
	Destination string
	Repeats     int
	// IsBulk is set when the request, or the response's body, was streamed.
	IsBulk bool
}

var entries = sync.Pool{New: func() any { return new(Exchange) }}

// addressed is a sink that knows who sent the request, and how.
type addressed interface {
	address() []byte
	protocol() string
}

// log tells OnExchange of an exchange that is over.
func (ex *exchange) log(status int, failure string, size int64, took, now time.Duration) {
	e := entries.Get().(*Exchange)
	ex.describe(e)
	e.Status, e.Failure, e.Bytes, e.Took, e.Duration = status, failure, size, took, now-ex.began
	ex.route.onExchange(e)
	*e = Exchange{}
	entries.Put(e)
}

// describe fills in what is known before the exchange is over.
func (ex *exchange) describe(e *Exchange) {
	*e = Exchange{
		Method: ex.req.Method, Target: ex.req.Target, Authority: ex.req.Authority,
		RequestID: fieldValue(ex.req.Fields, "x-request-id"), TraceParent: fieldValue(ex.req.Fields, "traceparent"),
		Route: ex.route.name, Began: ex.route.start.Add(ex.began), Repeats: max(0, ex.attempts-1), IsBulk: ex.isBulk, Queued: ex.waited,
	}
	if a, ok := ex.sink.(addressed); ok {
		e.Client, e.Protocol = a.address(), a.protocol()
	}
	if ex.last != nil {
		e.Destination = ex.last.name()
	}
}

// own makes e independent of the exchange.
func (e *Exchange) own() *Exchange {
	for _, p := range []*[]byte{&e.Client, &e.Method, &e.Target, &e.Authority, &e.RequestID, &e.TraceParent} {
		*p = bytes.Clone(*p)
	}
	return e
}

func (c *clientConn) address() []byte   { return c.addr }
func (c *webCall) address() []byte      { return c.addr }
func (hx *hopExchange) address() []byte { return ipOf(hx.bs.stream.RemoteAddr()) }
func (in *bulkIn) address() []byte      { return ipOf(in.s.RemoteAddr()) }

func (c *carried) address() []byte {
	if a, ok := c.sink.(addressed); ok {
		return a.address()
	}
	return nil
}

func (c *clientConn) protocol() string { return clientProtocols[c.minor] }
func (c *webCall) protocol() string    { return c.proto }
func (*hopExchange) protocol() string  { return "" }
func (*bulkIn) protocol() string       { return "" }

var clientProtocols = [2]string{"HTTP/1.0", "HTTP/1.1"}

func (c *carried) protocol() string {
	if a, ok := c.sink.(addressed); ok {
		return a.protocol()
	}
	return ""
}

func ipOf(addr net.Addr) []byte {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().AppendTo(nil)
	}
	return []byte(addr.String())
}

// marker adds to requests what lets one be followed through several programs.
type marker struct {
	makesID bool
	trace   TraceContext
}

func newMarker(cfg *Config) *marker {
	if !cfg.RequestID && cfg.TraceContext == TracePass {
		return nil
	}
	return &marker{makesID: cfg.RequestID, trace: cfg.TraceContext}
}

var (
	nameRequestID   = []byte("X-Request-Id")
	nameTraceparent = []byte("traceparent")
)

// mark changes a request that was just accepted.
func (m *marker) mark(req *wire.Request) {
	if m.makesID && fieldValue(req.Fields, "x-request-id") == nil {
		id := appendHex(appendHex(make([]byte, 0, 32), randomID()), randomID())
		req.Fields = append(req.Fields, wire.Field{Name: nameRequestID, Value: id})
	}
	if m.trace != TracePass {
		req.Fields = m.trace.apply(req.Fields)
	}
}
