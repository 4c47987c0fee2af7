package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/rawconn"
)

// Back accepts the hop, unpacks exchanges and dispatches them to its
// destinations, or to a Go handler. Its methods may be called concurrently.
type Back struct {
	cfg   Config
	route *route
	srv   *pool.Server
	hop   hopMeter
	gate  entrance

	fronts atomic.Int64 // whose batched streams there are

	mu         sync.Mutex // guards all below
	streams    map[*backStream]struct{}
	sessions   map[string]*backStream // by token
	shares     map[string]*frontShare // of fronts, by name
	isDraining bool
	isClosed   bool
	idlec      chan struct{}  // closed when draining and no stream is left
	wg         sync.WaitGroup // the streams' flushLoops and watchLoops
}

// NewBack makes a Back. With Config.ListenTLS it serves h2tp, with
// Config.Cleartext h2tpc; one of them must be set.
func NewBack(cfg Config) (*Back, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.ListenTLS == nil && !cfg.Cleartext {
		return nil, errors.New("proxy: a back needs ListenTLS or Cleartext")
	}
	b := &Back{cfg: cfg, streams: make(map[*backStream]struct{}), sessions: make(map[string]*backStream), shares: make(map[string]*frontShare), idlec: make(chan struct{})}
	b.cfg.Prefix = strings.TrimRight(b.cfg.Prefix, "/")
	b.cfg.ProxyProtocol = false // a front's
	if b.srv, err = pool.NewServer(pool.ServerConfig{
		Common: pool.Common{
			TLS: cfg.ListenTLS, Cleartext: cfg.ListenTLS == nil, Logger: cfg.Logger,
			PingPeriod: cfg.PingPeriod, PingTimeout: cfg.PingTimeout, Windows: cfg.Windows, Trace: cfg.Trace,
		},
		Accept: b.accept, MaxConnsPerAddr: cfg.MaxConnsPerAddr,
	}); err != nil {
		return nil, err
	}
	if b.route, err = newRouteTo(&b.cfg, b.onHealth); err != nil {
		return nil, err
	}
	b.gate = entrance{cfg: &b.cfg.Entry, log: cfg.Logger, stats: &b.route.stats}
	return b, nil
}

// newRouteTo makes a route with the destinations of a configuration.
func newRouteTo(cfg *Config, onHealth func(uint32)) (*route, error) {
	r := newRoute(cfg)
	r.onHealth = onHealth
	r.onExchange, r.marker = cfg.OnExchange, newMarker(cfg)
	err := r.addDestinations(cfg)
	if err == nil && len(cfg.Routes) > 0 {
		err = r.setRoutes(cfg.Routes)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	r.run()
	return r, nil
}

func (r *route) addDestinations(cfg *Config) error {
	if cfg.Handler != nil {
		h := newHandlerOut(r, cfg)
		r.set.Store(&destSet{dests: []destination{h}, only: h})
		return nil
	}
	if len(cfg.To) > 0 {
		return r.setDests(cfg.To)
	}
	return nil
}

// Serve accepts the hop's connections on ln until Shutdown or Close, and then
// returns ErrClosed.
func (b *Back) Serve(ln net.Listener) error {
	if err := b.srv.Serve(hopListener{rawListener{ln, &b.gate}}); !errors.Is(err, pool.ErrClosed) {
		return err
	}
	return ErrClosed
}

// hopListener bounds what waits in the kernel, besides.
type hopListener struct{ rawListener }

func (l hopListener) Accept() (net.Conn, error) {
	nc, err := l.rawListener.Accept()
	if err == nil {
		rawconn.LimitUnsent(nc, hopUnsent)
	}
	return nc, err
}

// rawListener makes the connections of those who may come do their I/O raw.
type rawListener struct {
	net.Listener
	gate *entrance
}

func (l rawListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if ip := addrOf(nc.RemoteAddr()); l.gate.cfg.namesOthers(ip) || l.gate.admits(ip, rulesOf(l.Listener)) {
			return rawconn.Wrap(nc), nil
		}
		nc.Close()
	}
}

// accept answers a stream that a front opens.
func (b *Back) accept(s *pool.Stream) {
	h := s.Header()
	path, ok := strings.CutPrefix(h.Path, b.cfg.Prefix)
	if !ok || path != pathBatch && path != pathReady && path != pathBulk {
		s.Refuse(404, "not found\n")
		return
	}
	if h.Method != "POST" {
		s.Refuse(405, "method not allowed\n", pool.Field{Name: "allow", Value: "POST"})
		return
	}
	if !b.cfg.takesToken(h) {
		s.Refuse(403, "denied\n", pool.Field{Name: "h2tp-error", Value: "denied"})
		b.route.stats.badTokens.Add(1)
		b.gate.lines.warn(b.cfg.Logger, addrOf(s.RemoteAddr()), "front refused", "addr", s.RemoteAddr().String(), "why", "its token is not ours")
		return
	}
	if path != pathBatch {
		b.acceptBody(s, path)
		return
	}
	theirs, err := parseTerms(h)
	if errors.Is(err, errVersion) {
		s.Refuse(400, "no common version\n", pool.Field{Name: "h2tp-error", Value: "version"}, pool.Field{Name: "h2tp-version", Value: version})
		return
	}
	if err != nil {
		s.Refuse(400, "bad fields\n", pool.Field{Name: "h2tp-error", Value: "fields"})
		b.cfg.Logger.Warn("front refused", "addr", s.RemoteAddr().String(), "err", err)
		return
	}
	b.mu.Lock()
	isDraining := b.isDraining
	b.mu.Unlock()
	if isDraining {
		s.Refuse(503, "draining\n", pool.Field{Name: "h2tp-error", Value: "draining"}, pool.Field{Name: "retry-after", Value: "1"})
		return
	}
	bs := newBackStream(b, s, theirs)
	var token [16]byte
	rand.Read(token[:])
	bs.token = hex.EncodeToString(token[:])
	b.mu.Lock()
	b.sessions[bs.token] = bs // before the front can know it
	bs.front = b.enterLocked(bs.name)
	b.mu.Unlock()
	s.SetReceiver(bs)
	s.Respond(200, append(bs.own.fields(), pool.Field{Name: "h2tp-session", Value: bs.token, Sensitive: true})...)
	b.mu.Lock()
	isDraining = b.isDraining
	isClosed := b.isClosed
	if !isClosed {
		b.streams[bs] = struct{}{}
		b.wg.Go(bs.flushLoop)
		b.wg.Go(bs.watchLoop)
	}
	b.mu.Unlock()
	switch {
	case isClosed:
		s.Close()
		b.forget(bs)
	case isDraining: // since we looked
		bs.drain()
	}
	if share := b.route.told.Load(); share < 1000 && !isClosed {
		bs.tellHealth(share)
	}
}

// onHealth tells the fronts, which then prefer other backs.
func (b *Back) onHealth(share uint32) {
	for _, bs := range b.list() {
		bs.tellHealth(share)
	}
}

func (b *Back) forget(bs *backStream) {
	b.mu.Lock()
	delete(b.streams, bs)
	if b.sessions[bs.token] != nil {
		delete(b.sessions, bs.token)
		b.leaveLocked(bs.name, bs.front)
	}
	b.idleLocked()
	b.mu.Unlock()
}

func (b *Back) idleLocked() {
	if b.isDraining && len(b.streams) == 0 {
		select {
		case <-b.idlec:
		default:
			close(b.idlec)
		}
	}
}

func (b *Back) list() []*backStream {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*backStream, 0, len(b.streams))
	for bs := range b.streams {
		list = append(list, bs)
	}
	return list
}

// Shutdown tells the fronts to send no more, lets what runs finish until ctx
// ends, and closes.
func (b *Back) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	b.isDraining = true
	b.idleLocked()
	b.mu.Unlock()
	b.srv.StopAccepting()
	for _, bs := range b.list() {
		bs.drain()
	}
	select { // GOAWAY would keep the fronts from opening streams for bodies that they are owed
	case <-b.idlec:
	case <-ctx.Done():
	}
	err := b.srv.Shutdown(ctx)
	b.mu.Lock()
	b.isClosed = true
	b.mu.Unlock()
	b.route.shutdown(ctx)
	b.wg.Wait()
	b.route.endLoop()
	return err
}

// Close ends everything now. It waits for Go handlers that still run.
func (b *Back) Close() error {
	b.mu.Lock()
	b.isDraining, b.isClosed = true, true
	b.mu.Unlock()
	b.srv.Close()
	b.route.close()
	b.wg.Wait()
	b.route.endLoop()
	return nil
}

// Stats returns the counts.
func (b *Back) Stats() Stats {
	st := b.route.snapshot()
	hop := b.srv.Stats()
	st.HopIn += hop.BytesIn
	st.HopOut += hop.BytesOut
	st.Refused += hop.Refused
	st.BadHandshakes += hop.BadHandshakes
	st.Hop = b.hop.stats()
	st.Hop.Conns, st.Hop.Streams, st.Hop.BytesIn, st.Hop.BytesOut, st.Hop.Wire = hop.Conns, hop.Streams, hop.BytesIn, hop.BytesOut, hop.Wire
	for _, bs := range b.list() {
		st.Hop.Sessions = append(st.Hop.Sessions, bs.sender.stats(&bs.inflight, bs.ready.Ready()))
	}
	b.mu.Lock()
	st.IsDraining = b.isDraining
	b.mu.Unlock()
	return st
}
