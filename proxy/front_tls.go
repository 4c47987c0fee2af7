package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// handshakeTimeout bounds the TLS handshake of a client.
const handshakeTimeout = 10 * time.Second

// tlsConn is a client's connection over TLS. Its Close never waits: tls.Conn's would, to say goodbye to a client
// that takes nothing. Whoever ends a response with the connection calls CloseWrite first, which says it.
type tlsConn struct {
	*tls.Conn
	under *closeNotifier
}

func (c *tlsConn) Close() error { return c.under.Close() }

// closeNotifier tells when net/http has closed a connection it was given.
type closeNotifier struct {
	net.Conn
	from  net.Addr // whom a PROXY header has named; nil without
	once  sync.Once
	donec chan struct{}
}

func (c *closeNotifier) RemoteAddr() net.Addr {
	if c.from != nil {
		return c.from
	}
	return c.Conn.RemoteAddr()
}

func (c *closeNotifier) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.donec) })
	return err
}

func newTLSConn(nc net.Conn, config *tls.Config) *tlsConn {
	under := &closeNotifier{Conn: nc, donec: make(chan struct{})}
	return &tlsConn{Conn: tls.Server(under, config), under: under}
}

// shake does the TLS handshake, where there is one, and reports whether HTTP/1.1 is to be served. HTTP/2 is handed to
// net/http, and shake returns when that connection is over.
func (c *clientConn) shake() bool {
	tc, ok := c.nc.(*tlsConn)
	if !ok {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		c.f.route.stats.badHandshakes.Add(1)
		c.f.gate.lines.info(c.f.log, addrOf(tc.RemoteAddr()), "handshake failed", "addr", string(c.addr), "err", err)
		tc.Close()
		return false
	}
	switch tc.ConnectionState().NegotiatedProtocol {
	case "", "http/1.1":
		return true
	case "h2":
		if c.f.web.hand(tc.Conn) {
			<-tc.under.donec
			return false
		}
	}
	tc.Close() // of acme-tls/1 the handshake is all
	return false
}

// web serves HTTP/2 by net/http on connections that are handed to it.
type web struct {
	srv   http.Server
	connc chan net.Conn
	donec chan struct{} // closed by close
	once  sync.Once
	addr  net.Addr
}

// What net/http may hold of one connection's request bodies, besides what their readers took.
const (
	webStreams      = 250
	webStreamBuffer = 64 << 10
	webConnBuffer   = 1 << 20
)

func newWeb(f *Front) *web {
	w := &web{connc: make(chan net.Conn), donec: make(chan struct{})}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	w.srv = http.Server{
		Handler: f, DisableGeneralOptionsHandler: true, Protocols: &protocols, MaxHeaderBytes: f.cfg.MaxHead, IdleTimeout: f.idle,
		ReadHeaderTimeout: max(0, f.cfg.ReadTimeout),
		ErrorLog:          slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: webStreams, MaxReceiveBufferPerStream: webStreamBuffer, MaxReceiveBufferPerConnection: webConnBuffer,
			WriteByteTimeout: f.cfg.WriteTimeout, SendPingTimeout: f.cfg.PingPeriod, PingTimeout: f.cfg.PingTimeout,
		},
	}
	return w
}

func (w *web) serveLoop() { w.srv.Serve(w) } // until close

// hand gives it a connection whose handshake is done.
func (w *web) hand(nc net.Conn) bool {
	select {
	case w.connc <- nc:
		return true
	case <-w.donec:
		return false
	}
}

// Accept implements net.Listener.
func (w *web) Accept() (net.Conn, error) {
	select {
	case nc := <-w.connc:
		return nc, nil
	case <-w.donec:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (w *web) Addr() net.Addr { return w.addr }

// Close implements net.Listener: Shutdown calls it first.
func (w *web) Close() error {
	w.once.Do(func() { close(w.donec) })
	return nil
}
