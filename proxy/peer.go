package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// peer is the delivering half that sends exchanges to a back. peerLoop keeps a
// batched stream open; what comes while there is none, or no room, waits in the lobby.
type peer struct {
	// Immutable.
	route  *route
	cfg    *Config
	end    endpoint
	client *pool.Client // of batched streams
	bulk   *pool.Client // of ready and bulk streams: client, if there is but one connection
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	here   station

	inflight atomic.Int64
	member   *balance.Member // immutable
	destMeter
	hop hopMeter

	mu         sync.Mutex // guards all below
	stream     *peerStream
	old        map[*peerStream]struct{} // draining
	lobby      lobby
	running    int   // exchanges within the lobby's bound; not counted without one
	isPassing  bool  // next runs
	isDown     bool  // the last attempt to open a stream failed
	err        error // why
	isTold     bool  // that the other end opens none
	isDraining bool
	isClosed   bool
}

func newPeer(r *route, cfg *Config, end endpoint) (*peer, error) {
	p := &peer{route: r, cfg: cfg, end: end, log: cfg.Logger, old: make(map[*peerStream]struct{})}
	p.lobby.init(&cfg.Limits)
	p.adapt = p.lobby.adapt
	p.here.cancel = p.unqueue
	pc := pool.ClientConfig{
		Common: pool.Common{
			Cleartext: !end.isTLS, PingPeriod: cfg.PingPeriod, PingTimeout: cfg.PingTimeout,
			Windows: cfg.Windows, Trace: cfg.Trace, Mix: pool.NewMix(),
			Logger: cfg.Logger,
		},
		Addr:        end.addr,
		DialTimeout: cfg.ConnectTimeout,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialRaw(ctx, cfg, end)
		},
	}
	if end.isTLS {
		pc.CurrentTLS = cfg.TLS
	}
	var err error
	if p.client, err = pool.NewClient(pc); err != nil {
		return nil, err
	}
	if p.bulk = p.client; cfg.Conns > 1 {
		pc.Conns = cfg.Conns - 1
		if p.bulk, err = pool.NewClient(pc); err != nil {
			p.client.Close()
			return nil, err
		}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

func (p *peer) name() string             { return p.end.url }
func (p *peer) load() int                { return int(p.inflight.Load()) }
func (p *peer) inGroup() *balance.Member { return p.member }
func (p *peer) start()                   { p.wg.Go(p.peerLoop) }

// bound lets those in who waited for a bound that has been raised.
func (p *peer) bound(most int) {
	p.lobby.bound(most)
	p.next()
}

func (p *peer) isUp(time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stream != nil
}

// deliver appends the request to the stream's open batch, or lets it wait while
// there is no stream, or no room.
func (p *peer) deliver(ex *exchange) {
	p.inflight.Add(1)
	ex.mayWait = false // the response comes on a connection's reading goroutine
	p.mu.Lock()
	ps := p.stream
	switch {
	case p.isClosed || p.isDraining:
		p.mu.Unlock()
		p.fail(ex, failure{code: wire.CodeDraining, isNotStarted: true, err: ErrDraining})
	case ps == nil || !p.hasRoomLocked():
		p.waitAndUnlock(ex)
	default:
		p.countLocked(ex)
		p.mu.Unlock()
		ps.deliver(ex)
	}
}

// fail lets go of ex, which is in no table any more.
func (p *peer) fail(ex *exchange, f failure) {
	p.inflight.Add(-1)
	ex.fail(f)
}

// peerLoop keeps a batched stream: it opens one when there is none, and another
// in time before the one in use is too old.
func (p *peer) peerLoop() {
	backoff := time.Duration(0)
	for !p.isEnding() {
		ps, err := p.open()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			p.noteDown(err)
			longest := 500 * time.Millisecond
			if se, ok := errors.AsType[*pool.StatusError](err); ok && se.Status == 403 {
				longest = 5 * time.Second // somebody has to do something first
			}
			backoff = min(max(2*backoff, 50*time.Millisecond), longest)
			p.pause(backoff)
			continue
		}
		backoff = 0
		p.use(ps)
		p.await(ps)
	}
}

// isEnding reports whether p takes no more.
func (p *peer) isEnding() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isClosed || p.isDraining
}

// noteDown logs what a connected peer does in place of opening a stream, once; that it cannot be connected to was logged.
func (p *peer) noteDown(err error) {
	msg := whatOf(err)
	p.mu.Lock()
	isNew := msg != "" && !p.isTold && !p.isDraining
	p.isTold = p.isTold || isNew
	p.isDown, p.err = true, err
	p.mu.Unlock()
	if isNew {
		p.log.Warn(msg, "peer", p.end.url, "err", err)
	}
}

// whatOf is what a peer did by which a stream was not opened, or nothing when that was for want of its connection, or for now.
func whatOf(err error) string {
	if _, isRefusal := errors.AsType[*pool.StatusError](err); isRefusal {
		return "peer refuses"
	}
	if _, isOther := errors.AsType[*termsError](err); isOther {
		return "peer is no back"
	}
	if re, isReset := errors.AsType[*pool.ResetError](err); isReset && !errors.Is(err, pool.ErrNotStarted) && !re.Local {
		return "peer resets"
	}
	if errors.Is(err, errUnanswered) {
		return "peer does not answer"
	}
	return ""
}

var errUnanswered = errors.New("no answer to the opening of a batched stream")

// pause waits out a back-off, jittered by +-25 %.
func (p *peer) pause(d time.Duration) {
	timer := time.NewTimer(d*3/4 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}

// await returns when another stream is needed.
func (p *peer) await(ps *peerStream) {
	var agec <-chan time.Time
	if age := p.cfg.StreamMaxAge; age > 0 {
		timer := time.NewTimer(age*9/10 + rand.N(age/5+1))
		defer timer.Stop()
		agec = timer.C
	}
	select {
	case <-ps.gonec:
	case <-agec:
	case <-p.ctx.Done():
	}
}

// open opens a batched stream; it waits for a connection as long as it takes,
// within a bound that lets a stuck intermediary be noticed.
func (p *peer) open() (*peerStream, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.ConnectTimeout+p.cfg.PingTimeout)
	defer cancel()
	ps := &peerStream{p: p, own: ownTerms(), gonec: make(chan struct{}), readyc: make(chan struct{}, 1)}
	ps.here.cancel = ps.cancel
	ps.own.codecs = ps.prepare(p.cfg.Memory, ps.own.limits.Window)
	_, err := p.client.Open(ctx, pool.Header{
		Authority: p.end.host, Path: p.end.prefix + pathBatch, Fields: append(append(ps.own.fields(), p.cfg.tokenFields()...), pool.Field{Name: fieldFront, Value: string(p.route.via)}),
	}, ps)
	if err != nil {
		ps.unbatcher.release()
	}
	if se, ok := errors.AsType[*pool.StatusError](err); ok && se.Header.Value("h2tp-error") != "" {
		err = fmt.Errorf("%w (%s)", err, se.Header.Value("h2tp-error"))
	}
	if err == context.DeadlineExceeded { // a wait for a connection says more
		err = errUnanswered
	}
	return ps, err
}

// use makes ps the stream for new exchanges and drains the one before.
func (p *peer) use(ps *peerStream) {
	if err := ps.keepReady(); err != nil { // the client is closed, or drains
		ps.stream.Reset(codeCancel)
		return
	}
	p.wg.Go(ps.flushLoop)
	p.wg.Go(ps.readyLoop)
	p.mu.Lock()
	before := p.stream
	p.setStreamLocked(ps)
	if before != nil {
		p.old[before] = struct{}{}
	}
	p.mu.Unlock()
	if before != nil {
		before.drain(^uint32(0), failure{})
	}
	select { // it may have died before it came to use
	case <-ps.gonec:
		p.forget(ps)
		return
	default:
	}
	p.mu.Lock()
	wasDown := p.isDown
	p.isDown, p.isTold, p.err = false, false, nil
	isClosing := p.isClosed || p.isDraining
	p.mu.Unlock()
	if wasDown {
		p.log.Info("peer is up", "peer", p.end.url)
	}
	p.next()
	if isClosing {
		ps.drain(^uint32(0), failure{})
	}
}

// setStreamLocked also tells the group, whose lock is a leaf: what it is told last
// is so.
func (p *peer) setStreamLocked(ps *peerStream) {
	p.stream = ps
	now := p.route.now()
	if ps == nil { // another says anew what is behind it
		p.route.group.Capacity(now, p.member, 1)
	}
	p.route.group.Reach(now, p.member, ps != nil)
}

// onHealth weighs the peer by what it says of its own destinations.
func (p *peer) onHealth(share uint32) {
	if p.route.group.Capacity(p.route.now(), p.member, float64(share)/1000) {
		p.log.Info("peer tells of its destinations", "peer", p.end.url, "share", float64(min(share, 1000))/1000)
	}
}

// forget forgets a stream that is over.
func (p *peer) forget(ps *peerStream) {
	p.mu.Lock()
	if p.stream == ps {
		p.setStreamLocked(nil)
	}
	delete(p.old, ps)
	p.mu.Unlock()
}

func (p *peer) streams() []*peerStream {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*peerStream, 0, len(p.old)+1)
	if p.stream != nil {
		list = append(list, p.stream)
	}
	for ps := range p.old {
		list = append(list, ps)
	}
	return list
}

// sweep fails what has waited or run too long, and watches the streams.
func (p *peer) sweep(now time.Duration) {
	p.mu.Lock()
	late := p.lobby.takeLate(now)
	p.tellLocked()
	isUp := p.stream != nil
	err := p.err // of a stream; an older one than a dial's that failed
	p.mu.Unlock()
	if dialErr := p.client.Err(); dialErr != nil {
		err = dialErr
	}
	p.failWaits(late, func(ex *exchange) failure {
		if isUp || now >= ex.deadline {
			return p.lobby.lateness(ex, now)
		}
		return failure{code: wire.CodeUnreachable, isNotStarted: true, isLate: true, err: err}
	})
	for _, ps := range p.streams() {
		ps.sweep(now)
	}
}

func (p *peer) shutdown(ctx context.Context) {
	p.mu.Lock()
	p.isDraining = true
	waiting := p.lobby.takeAll(func(*exchange) bool { return true })
	p.mu.Unlock()
	p.failWaits(waiting, func(*exchange) failure {
		return failure{code: wire.CodeDraining, isNotStarted: true, err: ErrDraining}
	})
	for _, ps := range p.streams() {
		ps.drain(^uint32(0), failure{})
	}
	ticker := time.NewTicker(sweepPeriod / 10)
	defer ticker.Stop()
	for p.inflight.Load() > 0 && ctx.Err() == nil { // what is may yet need a stream
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	p.client.Shutdown(ctx)
	p.bulk.Shutdown(ctx)
}

func (p *peer) close() {
	p.mu.Lock()
	p.isClosed = true
	p.mu.Unlock()
	p.cancel()
	p.client.Close()
	p.bulk.Close()
	p.wg.Wait()
	p.mu.Lock()
	waiting := p.lobby.takeAll(func(*exchange) bool { return true })
	p.mu.Unlock()
	p.failWaits(waiting, func(*exchange) failure {
		return failure{code: wire.CodeDraining, isNotStarted: true, err: ErrClosed}
	})
}

// pooled are the counts of the connections, those of bulk streams too.
func (p *peer) pooled() pool.Stats {
	st := p.client.Stats()
	if p.bulk != p.client {
		more := p.bulk.Stats()
		st.Conns += more.Conns
		st.Streams += more.Streams
		st.BytesIn += more.BytesIn
		st.BytesOut += more.BytesOut
		st.Wire.Add(more.Wire)
	}
	return st
}

var _ destination = (*peer)(nil)
