package bench

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/certs"
	"github.com/h2tp/h2tp/proxy"
)

// The exchange is a small call between services: as HTTP/1.1 the request has
// 289 bytes with 8 fields, the response 270 with 7. Bodies and trace ids differ from
// one to the next and come again only when a codec's window has forgotten them.
const variants = 8192

// workload is the texts that differ, made once.
type workload struct {
	requests, responses [variants][]byte
	traces              [variants][]byte
	asked, answered     atomic.Uint32
	isTiny              bool
}

func newWorkload() *workload {
	r := rand.New(rand.NewPCG(1, 2))
	w := new(workload)
	for i := range variants {
		w.traces[i] = fmt.Appendf(nil, "%016x", r.Uint64())
		w.requests[i] = fmt.Appendf(nil, `{"user":%d,"item":"%08x","count":%d}`, r.IntN(1e6), r.Uint32(), r.IntN(20))
		w.responses[i] = fmt.Appendf(nil, `{"order":%d,"state":"accepted","price":%d.%02d,"left":%d}`, r.IntN(1e9), r.IntN(1e3), r.IntN(100), r.IntN(500))
	}
	return w
}

// handle is the upstream.
func (w *workload) handle(ctx *fasthttp.RequestCtx) {
	i := w.answered.Add(1) % variants
	h := &ctx.Response.Header
	h.SetContentType("application/json")
	h.SetServer("orders/2.7")
	h.Set("Date", "Mon, 02 Mar 2026 10:00:00 GMT")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Encoding")
	h.SetBytesV("X-Trace-Id", w.traces[variants-1-i])
	ctx.Response.SetBodyRaw(w.responses[i])
}

func (w *workload) handler() fasthttp.RequestHandler {
	if w.isTiny {
		return handleTiny
	}
	return w.handle
}

// handleTiny is the upstream of the tiny exchange: a GET without fields, and a
// short text.
func handleTiny(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetContentType("text/plain")
	ctx.Response.SetBodyString("a short text, and that is all of it: 42 bytes")
}

// client is what one caller uses again and again.
type client struct {
	req  fasthttp.Request
	resp fasthttp.Response
}

func newClient(isTiny bool) *client {
	c := new(client)
	c.req.SetRequestURI("http://orders.internal/v1/orders?fields=state,price")
	c.req.URI() // parsed here, not in the first exchange
	if isTiny {
		return c
	}
	h := &c.req.Header
	h.DisableNormalizing()
	h.SetMethod("POST")
	h.SetUserAgent("shop/3.1")
	h.SetContentType("application/json")
	h.Set("Accept", "application/json")
	h.Set("Accept-Encoding", "gzip")
	h.Set("X-Tenant", "north-eu-1")
	h.Set("X-Trace-Id", "0")
	return c
}

// doer is a Front, or what stands beside it.
type doer interface {
	Do(*fasthttp.Request, *fasthttp.Response) error
}

// exchange makes one exchange through d.
func (c *client) exchange(d doer, w *workload) error {
	if !w.isTiny {
		i := w.asked.Add(1) % variants
		c.req.Header.SetBytesV("X-Trace-Id", w.traces[i])
		c.req.SetBodyRaw(w.requests[i])
	}
	if err := d.Do(&c.req, &c.resp); err != nil {
		return err
	}
	if c.resp.StatusCode() != 200 || len(c.resp.Body()) < 40 {
		return fmt.Errorf("status %d, %d bytes", c.resp.StatusCode(), len(c.resp.Body()))
	}
	return nil
}

// pair is a front and a back with the upstream's handler.
type pair struct {
	front *proxy.Front
	work  *workload
	cs    []*client
}

// setup says how a pair is made.
type setup struct {
	callers int
	isTiny  bool
	codec   proxy.Codec
	isTLS   bool
	delay   time.Duration
	ln      net.Listener // in memory; nil for loopback
	dial    func() (net.Conn, error)
}

func startPair(tb testing.TB, s setup) *pair {
	p := &pair{work: newWorkload(), cs: make([]*client, s.callers)}
	p.work.isTiny = s.isTiny
	handler := p.work.handler()
	hop := proxy.Hop{Compress: s.codec, BatchDelay: s.delay}
	limits := proxy.Limits{MaxExchanges: 2 * s.callers}
	bc := proxy.Config{Hop: hop, Limits: limits, Handler: handler, Cleartext: !s.isTLS}
	fc := proxy.Config{Hop: hop, Limits: limits}
	scheme := "h2tpc://"
	if s.isTLS {
		scheme = "h2tp://"
		server, client := tlsConfigs(tb)
		bc.ListenTLS, fc.TLS = server, func() *tls.Config { return client }
	}
	ln := s.ln
	if ln == nil {
		ln = listen(tb)
		fc.To = []string{scheme + ln.Addr().String()}
	} else {
		fc.To = []string{scheme + "127.0.0.1:1"}
		fc.Dial = func(string, string, time.Duration) (net.Conn, error) { return s.dial() }
	}
	back, err := proxy.NewBack(bc)
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- back.Serve(ln) }()
	if p.front, err = proxy.NewFront(fc); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.front.Close()
		back.Close()
		<-served
	})
	for i := range p.cs {
		p.cs[i] = newClient(s.isTiny)
	}
	// The first exchange waits for the connection; then all may come at once.
	if err := p.cs[0].exchange(p.front, p.work); err != nil {
		tb.Fatal(err)
	}
	return p
}

func (p *pair) wireBytes() int64 {
	st := p.front.Stats()
	return st.HopIn + st.HopOut
}

// tlsConfigs are those of a back and a front, with a certificate made for them.
func tlsConfigs(tb testing.TB) (server, cl *tls.Config) {
	ca, err := certs.NewDevCA()
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		tb.Fatal(err)
	}
	if server, err = certs.Server(certs.ServerConfig{Certificate: &cert}); err != nil {
		tb.Fatal(err)
	}
	if cl, err = certs.Client(certs.ClientConfig{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}); err != nil {
		tb.Fatal(err)
	}
	return server, cl
}

// benchExchange measures exchanges through a pair.
func benchExchange(b *testing.B, s setup) {
	p := startPair(b, s)
	benchClients(b, p.front, p.work, p.cs, p.wireBytes)
}

func benchClients(b *testing.B, d doer, w *workload, cs []*client, wireBytes func() int64) {
	var failed atomic.Value
	c := startCallers(b, len(cs), func(caller int) {
		if err := cs[caller].exchange(d, w); err != nil {
			failed.CompareAndSwap(nil, err.Error())
		}
	})
	measure(b, c, wireBytes)
	if err := failed.Load(); err != nil {
		b.Fatal(err)
	}
}

// Sizes of the exchange's two records on the hop without a codec, for the bare
// connection beside it; a batch's own header is not in them.
const (
	requestRecord  = 117
	responseRecord = 105
)

// BenchmarkExchange is the whole path over loopback: Front.Do to the handler of a
// Back and back again; via=tcp is the same number of bytes, batched the same way,
// over one bare connection.
func BenchmarkExchange(b *testing.B) {
	cases := []setup{
		{callers: 1, codec: proxy.None},
		{callers: 10, codec: proxy.None},
		{callers: 100, codec: proxy.None},
		{callers: 1000, codec: proxy.None},
		{callers: 10_000, codec: proxy.None},
		{callers: 100, codec: proxy.Snappy},
		{callers: 100, codec: proxy.Zstd},
		{callers: 1000, codec: proxy.Zstd},
		{callers: 100, codec: proxy.None, isTLS: true},
		{callers: 100, codec: proxy.Zstd, isTLS: true},
		{callers: 100, codec: proxy.None, delay: 100 * time.Microsecond},
		{callers: 1, codec: proxy.None, delay: 100 * time.Microsecond},
	}
	for _, s := range cases {
		b.Run(fmt.Sprintf("via=h2tp/callers=%d/codec=%s/tls=%s/delay=%v", s.callers, s.codec, yes(s.isTLS), s.delay), func(b *testing.B) {
			benchExchange(b, s)
		})
		if s.codec != proxy.None || s.delay != 0 {
			continue
		}
		b.Run(fmt.Sprintf("via=tcp/callers=%d/tls=%s", s.callers, yes(s.isTLS)), func(b *testing.B) {
			var server, cl *tls.Config
			if s.isTLS {
				server, cl = tlsConfigs(b)
			}
			l := startTCP(b, s.callers, requestRecord, responseRecord, server, cl)
			measure(b, startCallers(b, s.callers, l.exchange), l.wireBytes)
		})
	}
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
