package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/rawconn"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// sweepPeriod is how often what has run out of time is looked for. A deadline
// timer per exchange costs 1.3 us; a turn over the tables costs nothing that
// shows.
const sweepPeriod = 100 * time.Millisecond

// destination is a delivering half: an upstream, a peer or a Go handler.
type destination interface {
	// deliver takes charge of ex; it does not block.
	deliver(ex *exchange)
	// carry takes charge of an exchange whose request's body follows, or that
	// wants a stream of its own, and returns when the exchange is over or
	// repeated. Only the caller's goroutine waits; the body is read by another.
	carry(ex *exchange)
	// isUp reports whether a delivery now is likely to work.
	isUp(now time.Duration) bool
	// meter is where its exchanges are counted.
	meter() *destMeter
	// inGroup is the member that it is of the route's group; nil for a handler.
	inGroup() *balance.Member
	// bound bounds what it has in flight, as Config.To says; 0 is MaxDestExchanges.
	bound(most int)
	// start starts what it does of itself.
	start()
	// stats tells how it fares.
	stats(now time.Duration) DestinationStats
	// load is the number of exchanges in its charge.
	load() int
	// sweep fails what has run out of time.
	sweep(now time.Duration)
	// shutdown takes no more, fails what has not begun as not started, and waits until
	// the rest has finished or ctx ends.
	shutdown(ctx context.Context)
	close()
	name() string
	// capacity is how many exchanges it may have, those that wait too; 0 is any number.
	capacity() int64
}

// route is where accepting and delivering halves meet: the limit on exchanges in
// flight, the choice of a destination, repeats and time stand here, once.
type route struct {
	// Immutable.
	cfg     *Limits
	config  *Config
	log     *slog.Logger
	group   *balance.Group
	retries *balance.Retries
	key     *hashKey // with the policy hash
	isBold  bool     // PUT and DELETE are repeated
	start   time.Time

	onHealth func(share uint32) // told how much of the destinations is healthy; may be nil
	told     atomic.Uint32      // the last it was told, in thousandths

	via []byte // this process's name in Via, random

	onExchange func(*Exchange) // may be nil
	marker     *marker         // nil marks nothing

	set atomic.Pointer[destSet] // changed under mu

	routing // empty but of a front's or back's own

	swept    atomic.Int64 // when the last sweep was over, a time.Duration on the route's clock
	capacity atomic.Int64 // of MaxExchanges and all destinations, as of the last sweep; 0 is any number
	inflight atomic.Int64 // of those that were chosen among several too
	memory   *budget
	stats    stats
	meter    *meter

	donec chan struct{}
	once  sync.Once
	wg    sync.WaitGroup // sweepLoop, fileLoop, leaveLoops, the lookups' loops

	setting     sync.Mutex // held by setDests, before mu
	to          []string   // what setDests was given last; guarded by setting
	isFollowing bool       // fileLoop runs; guarded by setting

	mu       sync.Mutex // guards the changes of set, and all below
	isEnding bool       // there are no more of them
	files    []*toFile  // that named is from; changed under setting, too
	named    []balance.Destination
	lookups  map[balance.Destination]*lookup // of those of named that are to be looked up, by lookupKey
}

func newRoute(cfg *Config) *route {
	var name [5]byte
	rand.Read(name[:])
	r := &route{
		cfg: &cfg.Limits, config: cfg, log: cfg.Logger, start: time.Now(), donec: make(chan struct{}),
		group: balance.NewGroup(cfg.Balance.config()), retries: cfg.retries(), key: cfg.key(), isBold: cfg.RepeatIdempotent,
		via:    fmt.Appendf(nil, "h2tp-%x", name),
		memory: &budget{limit: int64(cfg.BodyMemory)}, meter: new(meter),
	}
	r.initRouting(cfg)
	r.told.Store(1000)
	r.set.Store(new(destSet))
	return r
}

// run starts the sweeping, once there are destinations.
func (r *route) run() {
	r.measure()
	r.wg.Go(r.sweepLoop)
}

// measure finds the capacity.
func (r *route) measure() {
	sum, most := int64(0), int64(max(r.cfg.MaxExchanges, 0))
	for _, of := range r.current() {
		for _, d := range of.dests() {
			n := d.capacity()
			if sum += n; n == 0 {
				r.capacity.Store(most)
				return
			}
		}
	}
	if sum == 0 || most > 0 && most < sum {
		sum = most
	}
	r.capacity.Store(sum)
}

// now is the time on the route's clock, which only moves forward.
func (r *route) now() time.Duration { return time.Since(r.start) }

// noDeadline is that of an exchange without a bound on its time.
const noDeadline time.Duration = 1<<63 - 1

// deliver takes an exchange from an accepting half. ex is complete, and the sink
// may be called before deliver returns.
func (r *route) deliver(ex *exchange) {
	if r = r.choose(ex); r != nil && r.admit(ex) {
		r.begin(ex)
	}
}

// carry takes an exchange that wants a stream of its own; it returns when the
// exchange is over. The sink's methods may wait.
func (r *route) carry(ex *exchange) {
	if r = r.choose(ex); r != nil && r.admit(ex) {
		ex.mayWait = true
		ex.isBulk = true
		r.begin(ex)
	}
}

// begin makes the first attempt.
func (r *route) begin(ex *exchange) {
	d, _ := r.pick(ex)
	if d == nil {
		f := failure{code: wire.CodeUnreachable, isNotStarted: true, err: errNowhere}
		ex.failed(f)
		ex.left()
		ex.sink.fail(ex, f)
		return
	}
	r.send(ex, d)
}

var errNowhere = errors.New("no destination")

// admit counts ex in, or refuses it.
func (r *route) admit(ex *exchange) bool {
	ex.route = r
	ex.began = r.now()
	ex.delivered = ex.began
	ex.deadline = ex.began + r.cfg.Timeout
	if r.cfg.Timeout < 0 {
		ex.deadline = noDeadline
	}
	if left := ex.req.TimeLeft; left > 0 {
		ex.deadline = min(ex.deadline, ex.began+left)
	}
	ex.isSafe = r.isRepeatable(&ex.req)
	if r.marker != nil {
		r.marker.mark(&ex.req)
	}
	if n := r.home.inflight.Add(1); r.refuseMethod(ex) {
		r.left()
		return false
	} else if r.cfg.MaxExchanges > 0 && n > int64(r.cfg.MaxExchanges) || ex.front != nil && !ex.front.take(ex, r) {
		r.left()
		r.home.stats.overloads.Add(1)
		f := failure{code: wire.CodeOverload, isNotStarted: true, err: ErrOverloaded}
		ex.failed(f)
		ex.sink.fail(ex, f)
		return false
	}
	r.meter.exchanges.Add(1)
	return true
}

func (r *route) send(ex *exchange, d destination) {
	ex.attempts++
	ex.last = d
	if ex.isBulk {
		d.carry(ex)
	} else {
		d.deliver(ex)
	}
}

// left notes that an exchange is no longer in flight.
func (r *route) left() {
	r.inflight.Add(-1)
	if r.home != r {
		r.home.inflight.Add(-1)
	}
}

// maxAttempts bounds the deliveries of one exchange, however often peers say
// that they did not start it.
const (
	maxAttempts = 4
	// maxRefused bounds those that were refused a connection, which do not count: when most destinations are down, one that
	// is not is found all the same.
	maxRefused = 16
)

// repeat sends a failed exchange elsewhere, or to the same destination when
// there is no other, and reports whether it did. Anything may be sent again that
// was not started; a GET, HEAD or OPTIONS without a body also, once, when a
// connection was lost, or elsewhere when an upstream was silent. A response that began is never here.
func (r *route) repeat(ex *exchange, f failure) bool {
	select {
	case <-r.donec:
		return false
	default:
	}
	isLost := f.code == wire.CodeUpstream || f.code == wire.CodeUnreachable || f.isSilent
	switch {
	case ex.attempts-ex.refused >= maxAttempts || ex.refused >= maxRefused || r.now() >= ex.deadline:
		return false
	case f.code == wire.CodeRequestTooLarge || f.code == wire.CodeFieldsTooLarge || f.code == wire.CodeLoop || f.code == wire.CodeTimeout && !f.isSilent:
		return false
	case ex.isTouched: // part of the body is gone
		return false
	case f.isNotStarted:
		only := r.set.Load().only
		if only != nil && only == ex.last && !only.isUp(r.now()) && f.code != wire.CodeDraining {
			return false
		}
	case ex.isSafe && isLost && ex.started < 2:
	default:
		return false
	}
	d, isAgain := r.pick(ex)
	// A peer that could not reach its own destination has waited and repeated
	// already; a queue that is full is full.
	isVain := d == nil || isAgain && (f.code == wire.CodeOverload || f.isSilent || f.isPeers && f.code != wire.CodeDraining) ||
		isAgain && ex.attempts >= maxAttempts || f.code == wire.CodeOverload && ex.member != nil && ex.member.IsFull() ||
		f.isLate && !d.isUp(r.now()) // who has waited for one does not wait for the next
	// What a destination never saw, or is to leave for another, is no load to it.
	isFree := f.isMoved || f.code == wire.CodeDraining || f.isNotStarted && f.code != wire.CodeOverload && (!f.isPeers || f.code == wire.CodeUnreachable)
	if isVain || !isFree && !r.retries.Take() {
		ex.letGo()
		return false
	}
	r.meter.repeats.Add(1)
	ex.delivered = r.now()
	if ex.src != nil {
		ex.src.restart()
	}
	r.send(ex, d)
	return true
}

func isSafeMethod(m []byte) bool {
	switch string(m) {
	case "GET", "HEAD", "OPTIONS":
		return true
	}
	return false
}

// isRepeatable reports whether a request may be sent again though it may have
// been started.
func (r *route) isRepeatable(req *wire.Request) bool {
	if isSafeMethod(req.Method) {
		return req.BodyKind == wire.BodyNone
	}
	return r.isBold && req.BodyKind != wire.BodyFollows && (string(req.Method) == "PUT" || string(req.Method) == "DELETE")
}

func (r *route) sweepLoop() {
	ticker := time.NewTicker(sweepPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-r.donec:
			return
		}
		now := r.now()
		r.group.Sweep(now)
		r.tellHealth()
		r.measure()
		r.retries.Tick(now, r.meter.exchanges.Load()-r.base)
		set := r.set.Load()
		for _, d := range set.dests {
			d.sweep(now)
		}
		for _, l := range set.leaving {
			l.sweep(now)
		}
		r.swept.Store(int64(now))
	}
}

// tellHealth tells of a change of the destinations' health.
func (r *route) tellHealth() {
	if r.config.Handler != nil || r.onHealth == nil {
		return
	}
	share := uint32(math.Ceil(1000 * r.healthy()))
	if r.told.Swap(share) != share {
		r.onHealth(share)
	}
}

// shutdown lets exchanges finish until ctx ends, then closes.
func (r *route) shutdown(ctx context.Context) {
	var wg sync.WaitGroup
	for _, sub := range r.all() {
		wg.Go(func() { sub.shutdown(ctx) })
	}
	set := r.endSet()
	for _, d := range set.dests {
		wg.Go(func() { d.shutdown(ctx) })
	}
	wg.Wait()
	for _, l := range set.leaving {
		select {
		case <-l.donec:
		case <-ctx.Done():
		}
	}
	r.close()
}

// adopt has a loop watch a socket in the place of a goroutine; nc is not to be used any more then. One loop is there for all
// sockets of a front or back, clients' and upstreams'.
func (r *route) adopt(nc net.Conn) (*rawconn.Watched, bool) {
	if _, ok := nc.(*rawconn.Conn); !ok {
		return nil, false // no socket, or a system without loops
	}
	home := r.home
	home.loopOnce.Do(func() { home.loop, _ = rawconn.NewLoop() })
	if home.loop == nil {
		return nil, false
	}
	return home.loop.Adopt(nc)
}

// endLoop is called by the one who has closed all sockets.
func (r *route) endLoop() {
	r.loopOnce.Do(func() {}) // none is made any more
	if r.loop != nil {
		r.loop.Close()
	}
}

func (r *route) close() {
	r.once.Do(func() { close(r.donec) })
	for _, sub := range r.stopRouting() {
		sub.close()
	}
	set := r.endSet()
	for _, l := range set.leaving {
		l.cancel()
	}
	for _, d := range set.dests {
		d.close()
	}
	r.wg.Wait()
}
