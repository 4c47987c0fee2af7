package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// A Go handler's RequestCtx.Hijack is fasthttp.Server's: the function that it is given cannot be had from outside. So
// an exchange that asks for an Upgrade is served by such a server, over a connection within the process, and asked for
// as of any upstream.

// newHandlerServer makes the upstream that a handler is to those who ask for an Upgrade.
func newHandlerServer(h *handlerOut) *upstream {
	srv := &fasthttp.Server{
		Handler:                       h.serveUpgrade,
		ReadBufferSize:                h.cfg.MaxHead + 32<<10, // what a request line and the fields of proxies take besides
		MaxRequestBodySize:            h.cfg.whole(),
		NoDefaultServerHeader:         true,
		NoDefaultDate:                 true,
		NoDefaultContentType:          true,
		DisableHeaderNamesNormalizing: true,
		Logger:                        silent{},
	}
	cfg := *h.cfg
	cfg.CheckPath = ""
	cfg.Dial = func(string, string, time.Duration) (net.Conn, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.isClosed {
			return nil, ErrClosed
		}
		near, far := newDuplex()
		h.wg.Add(1) // until far is closed, which is when the handler has done with it
		far.onClose = h.wg.Done
		go srv.ServeConn(far)
		return near, nil
	}
	u := newUpstream(h.route, &cfg, endpoint{url: "handler", host: "handler"})
	u.member = h.route.group.NewMember(u.end.url, u, false)
	return u
}

func (h *handlerOut) serveUpgrade(ctx *fasthttp.RequestCtx) {
	if err := h.call(ctx); err != nil {
		h.cfg.Logger.Error("handler failed", "err", err)
		ctx.Response.Reset()
		ctx.SetStatusCode(fasthttp.StatusBadGateway)
		ctx.SetConnectionClose()
	}
}

// errHijack is what a handler meets that takes the connection of a request which did not ask for it.
var errHijack = errors.New("proxy: Hijack without an Upgrade")

type silent struct{}

func (silent) Printf(string, ...any) {}

// duplex is one end of a connection within the process, of which each direction ends on its own.
type duplex struct {
	net.Conn // what is read
	w        net.Conn
	once     sync.Once
	onClose  func() // may be nil
}

func newDuplex() (near, far *duplex) {
	a, b := net.Pipe()
	c, d := net.Pipe()
	return &duplex{Conn: a, w: c}, &duplex{Conn: d, w: b}
}

func (c *duplex) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = net.ErrClosed
	}
	return n, err
}

func (c *duplex) CloseWrite() error { return c.w.Close() }

func (c *duplex) Close() error {
	c.Conn.Close()
	c.w.Close()
	if c.onClose != nil {
		c.once.Do(c.onClose)
	}
	return nil
}

// SetDeadline and those of one direction find no fault with an end that is closed: a socket does not, and fasthttp would not
// call the function that it was given.
func (c *duplex) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *duplex) SetReadDeadline(t time.Time) error {
	c.Conn.SetReadDeadline(t)
	return nil
}

func (c *duplex) SetWriteDeadline(t time.Time) error {
	c.w.SetWriteDeadline(t)
	return nil
}
