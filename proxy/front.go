package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
)

// Front accepts HTTP/1.1 and hands exchanges to its destinations: peers, upstreams or a Go
// handler. It is also a fasthttp client and handler; see Do and Handle. Its
// methods may be called concurrently.
type Front struct {
	cfg   Config
	route *route
	log   *slog.Logger
	lim   http1.Limits
	idle  time.Duration
	web   *web   // with ListenTLS
	hsts  []byte // with ListenTLS and HSTS
	gate  entrance

	swept      atomic.Int64 // when the last sweep was over, on the route's clock
	webCalls   atomic.Int64 // that run
	isDraining atomic.Bool
	donec      chan struct{} // closed by Close
	once       sync.Once
	wg         sync.WaitGroup // connections, restLoops, the sweep

	mu        sync.Mutex // guards all below
	listeners map[net.Listener]struct{}
	conns     map[*clientConn]struct{}
	away      map[*clientConn]struct{} // that are told that there are too many
	addrs     map[netip.Prefix]int     // of conns, with MaxConnsPerAddr
	idlec     chan struct{}            // closed when draining and no connection is left
}

// NewFront makes a Front, and begins to connect to its peers.
func NewFront(cfg Config) (*Front, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Front{
		cfg: cfg, log: cfg.Logger, idle: cfg.IdleTimeout,
		lim:   http1.Limits{Head: cfg.MaxHead, Line: min(cfg.MaxHead, 16<<10)},
		donec: make(chan struct{}), idlec: make(chan struct{}),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*clientConn]struct{}), away: make(map[*clientConn]struct{}), addrs: make(map[netip.Prefix]int),
	}
	def(&f.idle, 75*time.Second)
	if f.route, err = newRouteTo(&f.cfg, nil); err != nil {
		return nil, err
	}
	f.gate = entrance{cfg: &f.cfg.Entry, log: cfg.Logger, stats: &f.route.stats}
	if cfg.ListenTLS != nil {
		f.web = newWeb(f)
		if cfg.HSTS > 0 {
			f.hsts = fmt.Appendf(nil, "max-age=%d", cfg.HSTS/time.Second)
		}
		f.wg.Go(f.web.serveLoop)
	}
	f.wg.Go(f.sweepLoop)
	return f, nil
}

// Serve accepts HTTP/1.1 on ln, with Config.ListenTLS over TLS and HTTP/2 too, until
// Shutdown or Close, and then returns ErrClosed.
func (f *Front) Serve(ln net.Listener) error {
	of := ln
	ln = rawListener{ln, &f.gate}
	f.mu.Lock()
	if f.isDraining.Load() {
		f.mu.Unlock()
		ln.Close()
		return ErrClosed
	}
	f.listeners[ln] = struct{}{}
	f.mu.Unlock()
	defer f.leave(ln)
	delay := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if f.isDraining.Load() {
				return ErrClosed
			}
			if t, ok := errors.AsType[interface {
				error
				Temporary() bool
			}](err); ok && t.Temporary() { // out of descriptors, say
				delay = min(max(2*delay, 5*time.Millisecond), time.Second)
				f.log.Warn("accept failed", "err", err)
				f.pause(delay)
				continue
			}
			return err
		}
		delay = 0
		c := newClientConn(f, nc)
		c.rules = rulesOf(of)
		if !f.add(c) {
			c.socket.Close()
		}
	}
}

// leave closes a listener that is served no more; who closed it may have done so to go on without it.
func (f *Front) leave(ln net.Listener) {
	ln.Close()
	f.mu.Lock()
	delete(f.listeners, ln)
	f.mu.Unlock()
}

// add serves a connection, unless there are too many.
func (f *Front) add(c *clientConn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isDraining.Load() {
		return false
	}
	isFull := f.cfg.MaxConns > 0 && len(f.conns) >= f.cfg.MaxConns
	if isFull || !f.countLocked(c) {
		f.route.stats.refused.Add(1)
		if !isFull || f.cfg.ListenTLS != nil || len(f.away) >= maxAway { // a handshake costs more than what it would say
			return false
		}
		f.away[c] = struct{}{}
		f.wg.Go(c.turnAwayLoop)
		return true
	}
	f.conns[c] = struct{}{}
	f.route.stats.conns.Add(1)
	f.wg.Add(1) // until forget: whoever serves it then
	go c.serveLoop()
	return true
}

// maxAway bounds the connections beyond MaxConns that are told so at once; more are closed.
const maxAway = 64

// turnAwayLoop answers 503 and gives the client a moment to read it.
func (c *clientConn) turnAwayLoop() {
	c.refuse(503, "too many connections")
	c.nc.Close()
	c.f.mu.Lock()
	delete(c.f.away, c)
	c.f.mu.Unlock()
}

func (f *Front) forget(c *clientConn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.uncountLocked(c)
	f.idleLocked()
	f.mu.Unlock()
	f.wg.Done()
}

// countLocked counts a connection by its address, where it has one; false when that has too many.
func (f *Front) countLocked(c *clientConn) bool {
	switch {
	case f.cfg.MaxConnsPerAddr <= 0 || !c.from.IsValid():
		return true
	case f.addrs[c.from] >= f.cfg.MaxConnsPerAddr:
		return false
	}
	f.addrs[c.from]++
	return true
}

func (f *Front) uncountLocked(c *clientConn) {
	if n := f.addrs[c.from]; n > 1 {
		f.addrs[c.from] = n - 1
	} else {
		delete(f.addrs, c.from)
	}
}

func (f *Front) idleLocked() {
	if f.isDraining.Load() && len(f.conns) == 0 {
		select {
		case <-f.idlec:
		default:
			close(f.idlec)
		}
	}
}

func (f *Front) list() []*clientConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*clientConn, 0, len(f.conns))
	for c := range f.conns {
		list = append(list, c)
	}
	return list
}

func (f *Front) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.donec:
	}
}

// lookPeriod is how often clients that wait are looked for: with goneAge and a sweep it makes less than a second.
const lookPeriod = 500 * time.Millisecond

// sweepLoop closes the connections that are idle or slow, and while draining
// those that become idle.
func (f *Front) sweepLoop() {
	ticker := time.NewTicker(min(max(f.idle/10, 10*time.Millisecond), sweepPeriod))
	defer ticker.Stop()
	looked := time.Duration(0)
	for {
		select {
		case <-ticker.C:
		case <-f.donec:
			return
		}
		now := f.route.now()
		isLook := now-looked >= lookPeriod
		if isLook {
			looked = now
		}
		for _, c := range f.list() {
			c.sweep(now, isLook)
		}
		f.swept.Store(int64(now))
	}
}

// stop closes the listeners.
func (f *Front) stop() {
	f.isDraining.Store(true)
	f.mu.Lock()
	for ln := range f.listeners {
		ln.Close()
	}
	f.idleLocked()
	f.mu.Unlock()
}

// Shutdown stops accepting, closes idle connections, lets what runs finish until
// ctx ends (each response then says Connection: close), and closes.
func (f *Front) Shutdown(ctx context.Context) error {
	f.stop()
	for _, c := range f.list() {
		if c.state.Load() == stateIdle {
			c.nc.Close()
		}
	}
	if f.web != nil {
		f.web.srv.Shutdown(ctx) // if it fails, ctx has ended
	}
	var err error
	select {
	case <-f.idlec:
		f.route.shutdown(ctx)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	f.Close()
	return err
}

// Close ends everything now.
func (f *Front) Close() error {
	f.stop()
	f.once.Do(func() { close(f.donec) })
	if f.web != nil {
		f.web.srv.Close()
		f.web.Close()
	}
	for _, c := range f.list() {
		c.mu.Lock()
		c.isClosed = true
		if c.isWaiting {
			c.isWaiting = false
			c.idlec <- struct{}{}
		}
		c.mu.Unlock()
		c.nc.Close()
	}
	f.mu.Lock()
	for c := range f.away {
		c.nc.Close()
	}
	f.mu.Unlock()
	f.route.close()
	f.wg.Wait()
	f.route.endLoop()
	return nil
}

// Stats returns the counts.
func (f *Front) Stats() Stats {
	st := f.route.snapshot()
	st.SinceSweep = max(st.SinceSweep, f.route.now()-time.Duration(f.swept.Load()))
	f.mu.Lock()
	st.Conns = len(f.conns)
	f.mu.Unlock()
	st.IsDraining = f.isDraining.Load()
	return st
}
