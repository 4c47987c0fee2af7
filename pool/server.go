package pool

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Server accepts HTTP/2 connections and hands each stream to [ServerConfig.Accept],
// or where that is nil to callers of [Server.Accept]. Its methods may be called concurrently.
type Server struct {
	cfg    ServerConfig
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	queuec chan *Stream // for Accept, capacity Backlog

	mu        sync.Mutex // guards all below
	listeners map[net.Listener]struct{}
	pending   map[net.Conn]struct{} // in TLS
	conns     map[*conn]struct{}
	isClosing bool
	idlec     chan struct{} // closed when draining and no connection is left
	addr      net.Addr      // of the first listener
	bytesIn   int64
	bytesOut  int64
	wire      WireStats
	bad       int64                // handshakes that failed
	addrs     map[netip.Prefix]int // of conns and pending, with MaxConnsPerAddr
	refused   int64                // connections too many
}

// NewServer makes a Server; it serves nothing until Serve is called.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, listeners: make(map[net.Listener]struct{}), pending: make(map[net.Conn]struct{}),
		conns: make(map[*conn]struct{}), addrs: make(map[netip.Prefix]int), idlec: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.cfg.Accept == nil {
		s.queuec = make(chan *Stream, cfg.Backlog)
		s.cfg.Accept = s.enqueue
	}
	return s, nil
}

// Serve accepts connections on ln until ln fails or the server ends, and then
// returns ErrClosed or the listener's error. A connection that stalls in its
// handshake delays no other.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.isClosing {
		s.mu.Unlock()
		ln.Close()
		return ErrClosed
	}
	s.listeners[ln] = struct{}{}
	if s.addr == nil {
		s.addr = ln.Addr()
	}
	s.mu.Unlock()
	defer ln.Close()
	for delay := time.Duration(0); ; {
		nc, err := ln.Accept()
		if err != nil {
			s.mu.Lock()
			isClosing := s.isClosing
			delete(s.listeners, ln)
			s.mu.Unlock()
			if isClosing {
				return ErrClosed
			}
			// Out of descriptors, or a connection that died in the queue.
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || isTemporary(err) {
				delay = min(max(2*delay, 5*time.Millisecond), time.Second)
				s.cfg.Logger.Warn("accept failed", "err", err)
				if !s.pause(delay) {
					return ErrClosed
				}
				s.mu.Lock()
				s.listeners[ln] = struct{}{}
				s.mu.Unlock()
				continue
			}
			return err
		}
		delay = 0
		if !s.begin(nc) {
			nc.Close()
		}
	}
}

// begin serves a connection, unless it may not come or there are too many.
func (s *Server) begin(nc net.Conn) bool {
	if !s.cfg.admits(nc.RemoteAddr()) {
		s.cfg.Logger.Debug("address refused", "addr", nc.RemoteAddr().String())
		return false
	}
	var from netip.Prefix // not valid where nobody counts
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil && s.cfg.MaxConnsPerAddr > 0 {
		from = NetworkOf(ap.Addr())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isClosing:
		return false
	case s.cfg.MaxConns > 0 && len(s.conns)+len(s.pending) >= s.cfg.MaxConns, from.IsValid() && s.addrs[from] >= s.cfg.MaxConnsPerAddr:
		s.refused++
		s.cfg.Logger.Debug("too many connections", "addr", nc.RemoteAddr().String())
		return false
	}
	if from.IsValid() {
		s.addrs[from]++
	}
	s.pending[nc] = struct{}{}
	s.wg.Go(func() { s.serveConn(nc, from) })
	return true
}

// uncount takes a connection that is over off those of its address.
func (s *Server) uncount(from netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.addrs[from]; n > 1 {
		s.addrs[from] = n - 1
	} else {
		delete(s.addrs, from)
	}
}

// isTemporary reports whether Accept may work again: the error is of one
// connection or of a resource, not of the listener.
func isTemporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

func (s *Server) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) serveConn(nc net.Conn, from netip.Prefix) {
	defer s.uncount(from)
	began, addr := time.Now(), nc.RemoteAddr().String()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.HandshakeTimeout)
	tc, state, err := handshake(ctx, nc, false, &s.cfg.Common)
	cancel()
	s.cfg.Trace.connected(addr, began, err)
	if err != nil {
		isBad := err != errChallenge
		if isBad {
			s.cfg.Logger.Info("handshake failed", "addr", addr, "err", err)
		}
		nc.Close()
		s.mu.Lock()
		if isBad {
			s.bad++
		}
		delete(s.pending, nc)
		s.idleLocked()
		s.mu.Unlock()
		return
	}
	c := newConn(tc, false, &s.cfg.Common)
	c.addr = addr
	c.tlsState = state
	c.accept = s.cfg.Accept
	s.mu.Lock()
	delete(s.pending, nc)
	s.conns[c] = struct{}{}
	isClosing := s.isClosing
	s.mu.Unlock()
	if isClosing {
		c.close(ErrClosed)
	}
	// Until the preface and SETTINGS have come, the handshake's deadline holds.
	timer := time.AfterFunc(s.cfg.HandshakeTimeout, c.closeUnready)
	err = c.run()
	timer.Stop()
	s.cfg.Trace.disconnected(addr, err)
	level := slog.LevelDebug
	if ce, ok := errors.AsType[*ConnError](err); ok && ce.Code == codeCalm && !ce.Peer {
		level = slog.LevelWarn // a budget is spent
	}
	s.cfg.Logger.Log(context.Background(), level, "connection ended", "addr", addr, "err", err)
	s.mu.Lock()
	delete(s.conns, c)
	s.bytesIn += c.bytesIn.Load()
	s.bytesOut += c.bytesOut.Load()
	s.wire.addGone(c)
	s.idleLocked()
	s.mu.Unlock()
}

// closeUnready closes a connection whose peer has not sent its SETTINGS.
func (c *conn) closeUnready() {
	select {
	case <-c.readyc:
	default:
		c.close(errors.New("pool: no SETTINGS in time"))
	}
}

func (s *Server) idleLocked() {
	if s.isClosing && len(s.conns)+len(s.pending) == 0 {
		select {
		case <-s.idlec:
		default:
			close(s.idlec)
		}
	}
}

// stop closes the listeners and returns the connections.
func (s *Server) stop() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isClosing = true
	for ln := range s.listeners {
		ln.Close()
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.idleLocked()
	return conns
}

// StopAccepting closes the listeners. Connections go on, and streams on them; Shutdown or
// Close is to follow.
func (s *Server) StopAccepting() { s.stop() }

// Shutdown stops accepting, sends GOAWAY, waits until the open streams have
// ended or ctx ends, and closes.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, c := range s.stop() {
		c.drain()
	}
	select {
	case <-s.idlec:
	case <-ctx.Done():
		s.Close()
		return context.Cause(ctx)
	}
	return s.Close()
}

// Close stops accepting, ends every stream and connection and waits for the
// goroutines. The peers see their connections closed.
func (s *Server) Close() error {
	conns := s.stop()
	s.cancel()
	s.mu.Lock()
	for nc := range s.pending {
		nc.Close()
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.close(ErrClosed)
	}
	s.wg.Wait()
	return nil
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	st := Stats{Refused: s.refused, BadHandshakes: s.bad, BytesIn: s.bytesIn, BytesOut: s.bytesOut, Wire: s.wire}
	s.mu.Unlock()
	for _, c := range conns {
		st.add(c)
	}
	return st
}
