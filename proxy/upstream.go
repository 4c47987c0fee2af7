package proxy

import (
	"context"
	"slices"
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
// dialled; at MaxDestExchanges or MaxUpstreamConns exchanges wait. With Pipeline some wait on connections, see pipe.
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
	bulks    int // connections of bulk exchanges, those yet to be dialled too
	pipes    []*upstreamConn
	piped    int // exchanges on those
	lobby    lobby
	isClosed bool
	downErr  error // why it was down last

	isLeaving bool          // takes no more
	leavec    chan struct{} // closed when it is set
}

func newUpstream(r *route, cfg *Config, end endpoint) *upstream {
	u := &upstream{route: r, cfg: cfg, end: end, idle: cfg.IdleTimeout, conns: make(map[*upstreamConn]struct{}), bulk: make(map[*upstreamBulk]struct{}), leavec: make(chan struct{})}
	def(&u.idle, 55*time.Second)
	u.lobby.init(&cfg.Limits)
	u.adapt = u.lobby.adapt
	u.lim = http1.Limits{Head: cfg.MaxHead}
	u.here.cancel = u.unqueue
	u.ctx, u.stop = context.WithCancel(context.Background())
	return u
}

func (u *upstream) name() string             { return u.end.url }
func (u *upstream) load() int                { return int(u.inflight.Load()) }
func (u *upstream) inGroup() *balance.Member { return u.member }

// bound lets those in who waited for a bound that has been raised.
func (u *upstream) bound(most int) {
	u.lobby.bound(most)
	u.mu.Lock()
	u.nextAndUnlock()
}

func (u *upstream) start() {
	if u.cfg.CheckPath != "" {
		u.wg.Go(u.checkLoop)
	}
}

func (u *upstream) capacity() int64 {
	most := u.cfg.MaxUpstreamConns
	if u.cfg.Pipeline > 1 {
		most += u.cfg.PipelineConns * (u.cfg.Pipeline - 1)
	}
	if n := u.lobby.most(); n > 0 {
		most = min(most, n)
	}
	return u.lobby.within(most)
}

func (u *upstream) isUp(now time.Duration) bool { return now >= time.Duration(u.downUntil.Load()) }

// deliver writes the request to an idle connection, or has one dialled for it; where
// there is no room it waits.
func (u *upstream) deliver(ex *exchange) {
	u.inflight.Add(1)
	ex.mayWait = true
	u.mu.Lock()
	switch {
	case u.isLeaving:
		u.mu.Unlock()
		u.fail(ex, notTaken)
	case u.lobby.n > 0 || !u.hasRoomLocked(ex):
		u.waitAndUnlock(ex)
	default:
		u.startAndUnlock(ex)
	}
}

// waitAndUnlock lets ex wait for room.
func (u *upstream) waitAndUnlock(ex *exchange) {
	ex.at.Store(&u.here)
	isGone := ex.isCancelled.Load()
	isIn := !isGone && u.lobby.enqueue(ex, u.route.now())
	u.tellLocked()
	u.mu.Unlock()
	switch {
	case isGone:
		u.inflight.Add(-1)
		ex.drop()
	case !isIn:
		u.fail(ex, failure{code: wire.CodeOverload, isNotStarted: true, err: ErrOverloaded})
	}
}

// startAndUnlock gives ex, for which there is room, a connection.
func (u *upstream) startAndUnlock(ex *exchange) {
	isPipe := false
	for u.isPiped(ex) {
		var c *upstreamConn
		if c, isPipe = u.pickPipeLocked(); c == nil {
			break
		}
		isIdle := c.pipe.depth == 0
		c.pipe.depth++
		u.piped++
		u.tellLocked()
		u.mu.Unlock()
		if (!isIdle || c.isQuiet()) && c.join(ex) {
			return
		}
		u.mu.Lock()
		u.dropPipeLocked(c)
		if isIdle { // it is closed: its room is free at once
			delete(u.conns, c)
		}
		if u.isLeaving {
			u.mu.Unlock()
			u.fail(ex, notTaken)
			return
		}
	}
	// A repeat had the bad luck of an idle connection: it gets a fresh one.
	for n := len(u.free); n > 0 && !isPipe && (ex.attempts < 2 || ex.started == 0); n = len(u.free) {
		c := u.free[n-1]
		u.free[n-1] = nil
		u.free = u.free[:n-1]
		u.tellLocked()
		u.mu.Unlock()
		if c.isQuiet() && c.begin(ex) {
			return
		}
		u.mu.Lock()
		delete(u.conns, c) // it is closed: its room is free at once
		if u.isLeaving {
			u.mu.Unlock()
			u.fail(ex, notTaken)
			return
		}
	}
	idle := u.makeRoomLocked()
	c := newUpstreamConn(u)
	if isPipe {
		c.pipe = &pipe{kickc: make(chan struct{}, 1), depth: 1}
	}
	c.ex = ex // before anybody can find c
	ex.at.Store(&c.here)
	isGone := ex.isCancelled.Load()
	if !isGone {
		u.conns[c] = struct{}{}
		if isPipe {
			u.pipes = append(u.pipes, c)
			u.piped++
		}
		u.wg.Add(1) // until it is over: whoever reads it then
		go c.readLoop()
	}
	u.tellLocked()
	u.mu.Unlock()
	if idle != nil {
		idle.close()
	}
	if isGone {
		if c.take() != nil { // else who cancelled has done the rest
			u.inflight.Add(-1)
			ex.drop()
		}
		u.mu.Lock()
		u.nextAndUnlock()
	}
}

// notTaken is the failure of what comes after the end.
var notTaken = failure{code: wire.CodeDraining, isNotStarted: true, err: ErrClosed}

func (u *upstream) fail(ex *exchange, f failure) {
	u.inflight.Add(-1)
	ex.fail(f)
}

// unqueue is the station of the exchanges that wait.
func (u *upstream) unqueue(ex *exchange) bool {
	u.mu.Lock()
	isIn := u.lobby.remove(ex)
	u.tellLocked()
	u.mu.Unlock()
	if isIn {
		u.inflight.Add(-1)
	}
	return isIn
}

// release takes a connection back that is ready for another exchange.
func (u *upstream) release(c *upstreamConn) {
	if c.pipe != nil {
		u.pipeDone(c, false)
		return
	}
	u.mu.Lock()
	if u.isLeaving {
		u.mu.Unlock()
		c.close()
		return
	}
	u.free = append(u.free, c)
	u.nextAndUnlock()
}

// usedLocked is how many connections are in use; on each but the pipelined ones is one exchange.
func (u *upstream) usedLocked() int {
	n := len(u.conns) - len(u.free) + u.bulks
	for _, c := range u.pipes {
		if c.pipe.depth == 0 {
			n--
		}
	}
	return n
}

// hasRoomLocked reports whether ex, nil for any, needs not wait.
func (u *upstream) hasRoomLocked(ex *exchange) bool {
	used := u.usedLocked()
	busy := used + u.piped // exchanges: but a pipelined connection is none besides those on it
	for _, c := range u.pipes {
		if c.pipe.depth > 0 {
			busy--
		}
	}
	if !u.lobby.hasRoom(busy) {
		return false
	}
	if used < u.cfg.MaxUpstreamConns {
		return true
	}
	if ex == nil || !u.isPiped(ex) {
		return false
	}
	c, _ := u.pickPipeLocked()
	return c != nil
}

func (u *upstream) tellLocked() { u.lobby.tell(u.lobby.n > 0 || !u.hasRoomLocked(nil)) }

// makeRoomLocked takes the connection that has been idle longest out, for the
// caller to close, when another may not be dialled beside it.
func (u *upstream) makeRoomLocked() *upstreamConn {
	if len(u.conns)+u.bulks < u.cfg.MaxUpstreamConns {
		return nil
	}
	if len(u.free) == 0 {
		i := slices.IndexFunc(u.pipes, func(c *upstreamConn) bool { return c.pipe.depth == 0 })
		if i < 0 {
			return nil
		}
		c := u.pipes[i]
		u.dropPipeLocked(c)
		delete(u.conns, c)
		return c
	}
	c := u.free[0]
	u.free = slices.Delete(u.free, 0, 1)
	delete(u.conns, c)
	return c
}

// nextAndUnlock gives what room there is to the exchanges that have waited longest.
func (u *upstream) nextAndUnlock() {
	for u.lobby.n > 0 && !u.isLeaving && u.hasRoomLocked(u.lobby.first) {
		ex := u.lobby.pop()
		now := u.route.now()
		u.admitted(ex, now)
		w := ex.waiter
		if w == nil {
			u.startAndUnlock(ex)
			u.mu.Lock()
			continue
		}
		u.bulks++
		if idle := u.makeRoomLocked(); idle != nil {
			u.mu.Unlock()
			idle.close()
			u.mu.Lock()
		}
		w.begin()
	}
	u.tellLocked()
	u.mu.Unlock()
}

// forget removes a connection that is over.
func (u *upstream) forget(c *upstreamConn) {
	u.mu.Lock()
	delete(u.conns, c) // makeRoomLocked may have
	if c.pipe != nil {
		u.dropPipeLocked(c)
	}
	if i := slices.Index(u.free, c); i >= 0 {
		u.free = slices.Delete(u.free, i, i+1)
	}
	u.nextAndUnlock()
}

// forgetBulk is forget for a connection of a bulk exchange.
func (u *upstream) forgetBulk(c *upstreamBulk) {
	u.mu.Lock()
	delete(u.bulk, c)
	u.bulks--
	u.nextAndUnlock()
}

// failWaits ends waits in vain.
func (u *upstream) failWaits(list []*exchange, why func(*exchange) failure) {
	for _, ex := range list {
		if w := ex.waiter; w != nil {
			w.fail(why(ex))
		} else {
			u.fail(ex, why(ex))
		}
	}
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
	late := u.lobby.takeLate(now)
	u.tellLocked()
	conns := make([]*upstreamConn, 0, len(u.conns))
	for c := range u.conns {
		conns = append(conns, c)
	}
	u.mu.Unlock()
	u.failWaits(late, func(ex *exchange) failure { return u.lobby.lateness(ex, now) })
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
	waiting := u.lobby.takeAll(func(*exchange) bool { return true })
	idle := u.free
	u.free = nil
	for _, c := range u.pipes {
		if c.pipe.depth == 0 {
			idle = append(idle, c)
		}
	}
	u.mu.Unlock()
	u.failWaits(waiting, func(*exchange) failure { return notTaken })
	for _, c := range idle {
		c.close()
	}
}

func (u *upstream) isBusy() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.inflight.Load() > 0 || len(u.conns)+u.bulks > 0
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
