package bench

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/h2tp/h2tp/proxy"
)

// BenchmarkInMemory is the whole path without the kernel: the hop is a pipe in
// memory, and one processor does all. Beside it, via=direct calls the upstream's
// handler and copies the request and the response, no more; via=http1 is
// fasthttp's client and server, with a pipe for each caller.
func BenchmarkInMemory(b *testing.B) {
	for _, isTiny := range []bool{false, true} {
		for _, callers := range []int{100, 1000, 10_000} {
			for _, codec := range []proxy.Codec{proxy.None, proxy.Zstd} {
				if isTiny && codec != proxy.None {
					continue
				}
				b.Run(fmt.Sprintf("via=h2tp/kind=%s/callers=%d/codec=%s", kind(isTiny), callers, codec), func(b *testing.B) {
					oneProcessor(b)
					ln := fasthttputil.NewInmemoryListener()
					benchExchange(b, setup{callers: callers, isTiny: isTiny, codec: codec, ln: ln, dial: ln.Dial})
				})
			}
			b.Run(fmt.Sprintf("via=http1/kind=%s/callers=%d", kind(isTiny), callers), func(b *testing.B) {
				benchHTTP1(b, callers, isTiny)
			})
			b.Run(fmt.Sprintf("via=direct/kind=%s/callers=%d", kind(isTiny), callers), func(b *testing.B) {
				oneProcessor(b)
				w, cs := newClients(callers, isTiny)
				d := &direct{handler: w.handler()}
				d.ctx.Init(&fasthttp.Request{}, nil, nil)
				benchClients(b, d, w, cs, func() int64 { return 0 })
			})
		}
	}
}

func kind(isTiny bool) string {
	if isTiny {
		return "tiny"
	}
	return "typical"
}

func newClients(callers int, isTiny bool) (*workload, []*client) {
	w := newWorkload()
	w.isTiny = isTiny
	cs := make([]*client, callers)
	for i := range cs {
		cs[i] = newClient(isTiny)
	}
	return w, cs
}

// direct calls the handler. It has one RequestCtx, since one processor runs the
// callers and none of them waits in Do.
type direct struct {
	handler fasthttp.RequestHandler
	busy    atomic.Bool
	ctx     fasthttp.RequestCtx
}

func (d *direct) Do(req *fasthttp.Request, resp *fasthttp.Response) error {
	ctx := &d.ctx
	if !d.busy.CompareAndSwap(false, true) { // another caller was preempted in here
		ctx = new(fasthttp.RequestCtx)
		ctx.Init(&fasthttp.Request{}, nil, nil)
	} else {
		defer d.busy.Store(false)
	}
	req.CopyTo(&ctx.Request)
	ctx.Response.Reset()
	d.handler(ctx)
	ctx.Response.CopyTo(resp)
	return nil
}

func benchHTTP1(b *testing.B, callers int, isTiny bool) {
	oneProcessor(b)
	w, cs := newClients(callers, isTiny)
	ln := fasthttputil.NewInmemoryListener()
	srv := &fasthttp.Server{Handler: w.handler(), Concurrency: 2 * callers, NoDefaultDate: true}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	hc := &fasthttp.HostClient{
		Addr: "orders.internal", MaxConns: 2 * callers, MaxIdleConnDuration: time.Minute,
		Dial: func(string) (net.Conn, error) { return ln.Dial() },
	}
	b.Cleanup(func() {
		hc.CloseIdleConnections()
		ln.Close()
		<-served
	})
	benchClients(b, hc, w, cs, func() int64 { return 0 })
}
