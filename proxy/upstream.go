package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// downFor is how long an upstream that refused a connection is passed over while
// another destination is up.
const downFor = time.Second

// upstream is the delivering half that sends exchanges to an HTTP/1.1 server.
// Whoever delivers writes the request to an idle connection, the one used last,
// whose own goroutine waits in a read for the response. With none idle another is
// dialled; at MaxUpstreamConns exchanges wait.
type upstream struct {
	// Immutable.
	route *route
	cfg   *Config
	end   endpoint
	lim   http1.Limits
	idle  time.Duration
	here  station
	wg    sync.WaitGroup
	ctx   context.Context // of dials; ends at close
	stop  context.CancelFunc

	member *balance.Member // immutable

	destMeter
	inflight  atomic.Int64
	downUntil atomic.Int64 // on the route's clock

	mu       sync.Mutex // guards all below
	free     []*upstreamConn
	conns    map[*upstreamConn]struct{}
	bulk     map[*upstreamBulk]struct{}
	waiting  fifo
	carried  map[*exchange]*upstreamBulk // of those in waiting, who carries it
	isClosed bool
	downErr  error // why it was down last

	isLeaving bool          // takes no more
	leavec    chan struct{} // closed when it is set
}

func newUpstream(r *route, cfg *Config, end endpoint) *upstream {
	u := &upstream{route: r, cfg: cfg, end: end, idle: cfg.IdleTimeout, conns: make(map[*upstreamConn]struct{}), bulk: make(map[*upstreamBulk]struct{}), carried: make(map[*exchange]*upstreamBulk), leavec: make(chan struct{})}
	def(&u.idle, 55*time.Second)
	u.lim = http1.Limits{Head: cfg.MaxHead}
	u.here.cancel = u.unqueue
	u.ctx, u.stop = context.WithCancel(context.Background())
	return u
}

func (u *upstream) name() string             { return u.end.url }
func (u *upstream) load() int                { return int(u.inflight.Load()) }
func (u *upstream) inGroup() *balance.Member { return u.member }

func (u *upstream) start() {
	if u.cfg.CheckPath != "" {
		u.wg.Go(u.checkLoop)
	}
}

func (u *upstream) isUp(now time.Duration) bool { return now >= time.Duration(u.downUntil.Load()) }

// deliver writes the request to an idle connection, or has one dialled for it.
func (u *upstream) deliver(ex *exchange) {
	u.inflight.Add(1)
	ex.mayWait = true
	for {
		u.mu.Lock()
		if u.isLeaving {
			u.mu.Unlock()
			u.fail(ex, notTaken)
			return
		}
		n := len(u.free)
		if n == 0 || ex.attempts > 1 {
			break // a repeat had the bad luck of an idle connection: it gets a fresh one
		}
		c := u.free[n-1]
		u.free[n-1] = nil
		u.free = u.free[:n-1]
		u.mu.Unlock()
		if c.isQuiet() && c.begin(ex) {
			return
		}
	}
	if !u.hasRoomLocked() {
		ex.at.Store(&u.here)
		if ex.isCancelled.Load() {
			u.mu.Unlock()
			u.inflight.Add(-1)
			ex.drop()
			return
		}
		ex.queued = u.route.now()
		u.waiting.push(ex) // bounded by the route's MaxExchanges
		u.mu.Unlock()
		return
	}
	c := newUpstreamConn(u)
	c.ex = ex // before anybody can find c
	ex.at.Store(&c.here)
	if ex.isCancelled.Load() {
		u.mu.Unlock()
		if c.take() != nil { // else who cancelled has done the rest
			u.inflight.Add(-1)
			ex.drop()
		}
		return
	}
	u.conns[c] = struct{}{}
	u.wg.Go(c.readLoop)
	u.mu.Unlock()
}

// notTaken is the failure of what comes after the end.
var notTaken = failure{code: wire.CodeDraining, isNotStarted: true, err: ErrClosed}

func (u *upstream) fail(ex *exchange, f failure) {
	u.inflight.Add(-1)
	ex.fail(f)
}

// unqueue is the station of the exchanges that wait for a connection.
func (u *upstream) unqueue(ex *exchange) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.waiting.remove(ex) {
		return false
	}
	u.inflight.Add(-1)
	return true
}

// release takes a connection back that is ready for another exchange; one that
// waits has it at once.
func (u *upstream) release(c *upstreamConn) {
	u.mu.Lock()
	if u.isLeaving {
		u.mu.Unlock()
		c.close()
		return
	}
	ex := u.popLocked()
	b := u.carried[ex]
	switch {
	case ex == nil:
		u.free = append(u.free, c)
	case b != nil:
		delete(u.conns, c)
		u.admitLocked(ex, b)
	}
	u.mu.Unlock()
	switch {
	case b != nil:
		c.close()
	case ex != nil && !c.begin(ex):
		u.inflight.Add(-1)
		u.deliver(ex) // the connection is of no use: look for another
	}
}

// popLocked takes the exchange out that has waited longest, nil when none waits.
func (u *upstream) popLocked() *exchange {
	ex := u.waiting.pop()
	if ex != nil {
		u.destMeter.queued.time(u.route.now() - ex.queued)
	}
	return ex
}

func (u *upstream) hasRoomLocked() bool { return len(u.conns)+len(u.bulk) < u.cfg.MaxUpstreamConns }

// admitLocked gives a bulk exchange that waited the room of a connection.
func (u *upstream) admitLocked(ex *exchange, b *upstreamBulk) {
	delete(u.carried, ex)
	u.bulk[b] = struct{}{}
	b.roomc <- true
}

// forget removes a connection that is over; an exchange that waits gets another.
func (u *upstream) forget(c *upstreamConn) {
	u.mu.Lock()
	delete(u.conns, c) // makeRoomLocked may have
	for i, x := range u.free {
		if x == c {
			u.free = append(u.free[:i], u.free[i+1:]...)
			break
		}
	}
	u.nextAndUnlock()
}

// forgetBulk is forget for a connection of a bulk exchange.
func (u *upstream) forgetBulk(c *upstreamBulk) {
	u.mu.Lock()
	delete(u.bulk, c)
	u.nextAndUnlock()
}

// nextAndUnlock gives the room of a connection that is over to an exchange that
// waits.
func (u *upstream) nextAndUnlock() {
	var ex *exchange
	if !u.isLeaving && u.hasRoomLocked() {
		ex = u.popLocked()
	}
	if b := u.carried[ex]; b != nil {
		u.admitLocked(ex, b)
		ex = nil
	}
	u.mu.Unlock()
	if ex != nil {
		u.inflight.Add(-1)
		u.deliver(ex)
	}
}

// unqueueBulk ends the wait of a bulk exchange whose client is gone.
func (u *upstream) unqueueBulk(ex *exchange, b *upstreamBulk) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.carried[ex] == b && u.waiting.remove(ex) {
		delete(u.carried, ex)
		b.roomc <- false
	}
}

// takeLocked takes exchanges that wait out: bulk ones are told, the others returned.
func (u *upstream) takeLocked(match func(*exchange) bool) (batched []*exchange) {
	for _, ex := range u.waiting.takeAll(match) {
		if b := u.carried[ex]; b != nil {
			delete(u.carried, ex)
			b.roomc <- false
		} else {
			batched = append(batched, ex)
		}
	}
	return batched
}

// noteDown remembers that a dial failed.
func (u *upstream) noteDown(err error) {
	now := u.route.now()
	u.downUntil.Store(int64(now + downFor))
	u.mu.Lock()
	u.downErr = err
	u.mu.Unlock()
	if u.route.group.Refused(now, u.member) {
		u.cfg.Logger.Warn("upstream is down", "upstream", u.end.url, "err", err)
	}
}

// sweep fails what has waited or run too long, and closes idle connections.
func (u *upstream) sweep(now time.Duration) {
	u.mu.Lock()
	late := u.takeLocked(func(ex *exchange) bool { return now >= ex.deadline })
	conns := make([]*upstreamConn, 0, len(u.conns))
	for c := range u.conns {
		conns = append(conns, c)
	}
	u.mu.Unlock()
	for _, ex := range late {
		u.fail(ex, failure{code: wire.CodeTimeout, isNotStarted: true, err: ErrTimeout})
	}
	for _, c := range conns {
		c.sweep(now)
	}
}

// shutdown waits for connections: a streamed response is not in flight any more.
func (u *upstream) shutdown(ctx context.Context) {
	u.leave()
	ticker := time.NewTicker(sweepPeriod / 10)
	defer ticker.Stop()
	for u.isBusy() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// leave takes no more: what waits goes elsewhere, idle connections are closed.
func (u *upstream) leave() {
	u.mu.Lock()
	if u.isLeaving {
		u.mu.Unlock()
		return
	}
	u.isLeaving = true
	close(u.leavec)
	waiting := u.takeLocked(func(*exchange) bool { return true })
	idle := u.free
	u.free = nil
	u.mu.Unlock()
	for _, ex := range waiting {
		u.fail(ex, notTaken)
	}
	for _, c := range idle {
		c.close()
	}
}

func (u *upstream) isBusy() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.inflight.Load() > 0 || len(u.conns)+len(u.bulk) > 0
}

func (u *upstream) close() {
	u.leave()
	u.mu.Lock()
	u.isClosed = true
	u.stop()
	conns := make([]*upstreamConn, 0, len(u.conns))
	for c := range u.conns {
		conns = append(conns, c)
	}
	for c := range u.bulk {
		if c.nc != nil {
			c.nc.Close()
		}
	}
	u.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
	u.wg.Wait()
}

var _ destination = (*upstream)(nil)
