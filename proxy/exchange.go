package proxy

import (
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// exchange is a request waiting for its response: the form in which an accepting
// half (HTTP/1.1 in, hop in, the Go API) hands it to a delivering half (upstream
// out, peer out, a Go handler).
//
// A delivering half has charge of an exchange from deliver until it calls
// finish or fail, or until cancel claims it back; exactly one of these happens.
// It keeps the exchange in a table of its own, under a lock of its own, and
// whoever takes it out of there goes on alone.
type exchange struct {
	// Set by the accepting half before deliver, not changed until it is over.
	// What req points to stays valid as long.
	req   wire.Request
	src   source // the request's body, when req says that it follows
	sink  sink
	route *route
	id    uint32      // the accepting half's own number
	lane  *lane       // of its session; nil where exchanges come one at a time, or not by a session
	front *frontShare // that sent it; nil unless it came by the hop
	share *share      // in which it counts; nil in none

	// The delivering half's.
	at     atomic.Pointer[station]
	peerID atomic.Uint32 // its number on the stream it was sent on; a cancel may look while it moves to another

	isCancelled atomic.Bool
	mayWait     bool          // who calls the sink may wait there for room
	isBulk      bool          // it goes by carry
	isTouched   bool          // its src has been read from
	isSafe      bool          // may be sent again though it may have been started
	attempts    int           // deliveries, the running one included
	refused     int           // of those that failed, how many were refused a connection
	started     int           // of those that failed, how many an upstream may have seen
	began       time.Duration // on the route's clock
	delivered   time.Duration // when it was delivered last
	last        destination   // and where
	deadline    time.Duration // on the route's clock
	queued      time.Duration // when it began to wait in a lobby
	waited      time.Duration // how long it has, in lobbies
	waiter      *waiter       // the goroutine that waits there with it, of those that go by carry
	held        *peer         // it counts in that peer's bound
	chosen

	// Guarded by the lock of the destination in whose lobby, or lane, it waits.
	before, behind *exchange
	isQueued       bool
	isInLane       bool
}

// sink is the accepting half's side of an exchange. Its methods are called by the
// delivering half's goroutine, which must not wait unless the exchange's mayWait
// is set; resp is valid during the call.
type sink interface {
	// respond takes a response; an interim one (status below 200) is followed by
	// more, and no other call follows a final one.
	respond(ex *exchange, resp *wire.Response)
	// stream takes a final response whose body follows, and says where to write it;
	// the caller may wait, and so may the methods of what is returned. The exchange
	// is no longer to be cancelled: a client that leaves fails a write. nil means
	// that nobody waits any more, and the exchange is over.
	stream(ex *exchange, resp *wire.Response) bodyWriter
	// fail ends the exchange without a response.
	fail(ex *exchange, f failure)
	// dropped is called instead when a cancelled exchange is let go by the
	// delivering half rather than by the one who cancelled.
	dropped(ex *exchange)
}

// station is where an exchange can be cancelled: a stream or a connection.
type station struct {
	// cancel takes ex out if it is still there and reports whether it was; it
	// has then ended what was running for it.
	cancel func(ex *exchange) bool
}

// hasRoom reports whether a response would not have to wait for room.
func (ex *exchange) hasRoom() bool {
	hx, ok := ex.sink.(*hopExchange)
	return !ok || !hx.bs.isFull.Load()
}

// reset prepares ex for another use by its accepting half.
func (ex *exchange) reset() {
	ex.at.Store(nil)
	ex.isCancelled.Store(false)
	ex.last, ex.attempts, ex.refused, ex.started, ex.mayWait, ex.src = nil, 0, 0, 0, false, nil
	ex.isBulk, ex.isTouched = false, false
	ex.waiter, ex.held, ex.waited = nil, nil, 0
	ex.front, ex.share = nil, nil
	ex.member, ex.tried = nil, ex.tried[:0]
}

// forget lets go of the route and its destinations, which may be gone before ex is used again.
func (ex *exchange) forget() {
	clear(ex.tried)
	ex.route, ex.last, ex.chosen = nil, nil, chosen{tried: ex.tried[:0]}
}

// interim passes on a response below 200. The client has seen something of this
// attempt: there is to be no other.
func (ex *exchange) interim(resp *wire.Response) {
	ex.isSafe = false
	ex.sink.respond(ex, resp)
}

// finish ends the exchange with its response. The caller has taken it out of its
// table and does not touch it again.
func (ex *exchange) finish(resp *wire.Response) { ex.finishAt(resp, ex.route.now()) }

// finishAt is finish where the clock was read already.
func (ex *exchange) finishAt(resp *wire.Response, now time.Duration) {
	ex.last.meter().answered(ex, resp.Status, now)
	ex.ended(resp.Status, now)
	if ex.route.onExchange != nil {
		ex.log(resp.Status, "", int64(len(resp.Body)), now-ex.delivered, now)
	}
	ex.left()
	ex.release()
	if ex.member != nil {
		ex.noteHead(resp.Status)
		ex.letGo()
	}
	ex.sink.respond(ex, resp)
}

// stream ends the exchange with a response whose body follows. The caller has
// taken it out of its table, touches it no more, and writes the body; nil means
// that nobody wants it.
func (ex *exchange) stream(resp *wire.Response) bodyWriter {
	r := ex.route
	if resp.Status != 101 && r.cfg.isOver(bodyLength(resp.Fields)) {
		ex.fail(failure{code: wire.CodeResponseTooLarge, err: ErrTooLarge})
		return nil
	}
	m, now := ex.member, r.now()
	ex.last.meter().answered(ex, resp.Status, now)
	ex.noteHead(resp.Status)
	ex.member = nil // ex may be used again before the body is over
	held, share := ex.held, ex.share
	ex.held, ex.share = nil, nil
	c := &countedBody{r: r, member: m, held: held, share: share, isTunnel: resp.Status == 101, method: methodIndex(ex.req.Method), began: ex.began, status: resp.Status}
	if r.onExchange != nil {
		c.entry = new(Exchange)
		ex.describe(c.entry)
		c.entry.own().Took = now - ex.delivered
	}
	if c.bodyWriter = ex.sink.stream(ex, resp); c.bodyWriter == nil {
		r.meter.ended[c.method][resultGone].Add(1)
		c.status = StatusGone
		c.log("", r.now())
		c.left()
		return nil
	}
	return c
}

// countedBody keeps an exchange in flight until its body is written.
type countedBody struct {
	bodyWriter
	r        *route
	member   *balance.Member // that it is on; may be nil
	held     *peer           // as the exchange's
	share    *share
	total    int64
	isTunnel bool // an Upgrade's: no body

	// Of the exchange, which may be another by now.
	method, status int
	began          time.Duration
	entry          *Exchange // for OnExchange; else nil
}

// write holds the body to MaxBody, whoever says how long it is.
func (c *countedBody) write(p []byte) error {
	if c.total += int64(len(p)); !c.isTunnel && c.r.cfg.isOver(c.total) {
		return ErrTooLarge
	}
	return c.bodyWriter.write(p)
}

func (c *countedBody) left() {
	c.r.left()
	if c.share != nil {
		c.share.add(-1)
	}
	if c.member != nil {
		c.member.Drop()
	}
	if c.held != nil {
		c.held.leave()
	}
}

func (c *countedBody) end(trailers []wire.Field) error {
	c.over("")
	return c.bodyWriter.end(trailers)
}

func (c *countedBody) abort(err error) {
	c.r.meter.cut.Add(1)
	c.over("cut")
	c.bodyWriter.abort(err)
}

func (c *countedBody) over(failure string) {
	now := c.r.now()
	c.r.meter.ended[c.method][resultOf(c.status)].Add(1)
	if !c.isTunnel {
		c.r.meter.took.time(now - c.began)
	}
	c.log(failure, now)
	c.left()
}

// log tells OnExchange, if there is one.
func (c *countedBody) log(failure string, now time.Duration) {
	if e := c.entry; e != nil {
		e.Status, e.Failure, e.Bytes, e.Duration, e.IsBulk = c.status, failure, c.total, now-c.began, true
		c.r.onExchange(e)
	}
}

// fail ends the exchange, or sends it elsewhere when that is allowed. The caller
// has taken it out of its table and does not touch it again.
func (ex *exchange) fail(f failure) {
	if ex.isCancelled.Load() {
		ex.drop()
		return
	}
	if f.isMoved {
		ex.letGo()
	} else {
		m := ex.last.meter()
		m.failed[failureIndex(f.code)].Add(1)
		if m.adapt != nil && f.code == wire.CodeTimeout && !f.isNotStarted {
			now := ex.route.now()
			m.adapt.sample(now, now-ex.delivered)
		}
		ex.noteFailed(f)
	}
	if !f.isNotStarted {
		ex.started++
	} else if f.isRefused() {
		ex.refused++
	}
	ex.release()
	if ex.route.repeat(ex, f) {
		return
	}
	f.isNotStarted = ex.started == 0 // the last attempt is not all there was
	ex.failed(f)
	ex.left()
	ex.sink.fail(ex, f)
}

// left notes that the exchange is no longer in flight.
func (ex *exchange) left() {
	ex.route.left()
	if s := ex.share; s != nil {
		ex.share = nil
		s.add(-1)
	}
}

// failed counts an exchange that ends without a response of its destination.
func (ex *exchange) failed(f failure) {
	status, token := statusOf(f)
	now := ex.route.now()
	ex.route.meter.failed[failureIndex(f.code)].Add(1)
	ex.ended(status, now)
	if ex.route.onExchange != nil {
		ex.log(status, token, 0, 0, now)
	}
}

// ended counts an exchange that is over, but for whoever is to be told.
func (ex *exchange) ended(status int, now time.Duration) {
	m := ex.route.meter
	m.ended[methodIndex(ex.req.Method)][resultOf(status)].Add(1)
	m.took.time(now - ex.began)
}

// gone counts an exchange for which nobody waits any more.
func (ex *exchange) gone() {
	ex.route.meter.ended[methodIndex(ex.req.Method)][resultGone].Add(1)
	ex.last.meter().ended[resultGone].Add(1)
	if ex.route.onExchange != nil {
		ex.log(StatusGone, "", 0, 0, ex.route.now())
	}
}

// answered counts the response to ex.
func (m *destMeter) answered(ex *exchange, status int, now time.Duration) {
	m.ended[resultOf(status)].Add(1)
	m.took.time(now - ex.delivered)
	if m.adapt != nil && status < 500 { // a refusal may be quick, and says nothing of how many are borne
		m.adapt.sample(now, now-ex.delivered)
	}
}

// drop lets go of an exchange that was cancelled before or while it was delivered.
func (ex *exchange) drop() {
	ex.gone()
	ex.left()
	ex.release()
	ex.letGo()
	ex.sink.dropped(ex)
}

// cancel is called by the accepting half, once, when nobody waits for the
// response. It reports whether the exchange is over; otherwise the delivering
// half is about to end it, and calls the sink once more.
//
// The order of the stores and loads matters: a delivering half stores at first
// and looks at isCancelled under the lock of its table, so one of the two sees
// the other.
func (ex *exchange) cancel() bool {
	ex.isCancelled.Store(true)
	st := ex.at.Load()
	if st == nil || !st.cancel(ex) {
		return false
	}
	ex.gone()
	ex.left()
	ex.release()
	ex.letGo()
	return true
}

// release gives the room back that ex took of a bound.
func (ex *exchange) release() {
	if p := ex.held; p != nil {
		ex.held = nil
		p.leave()
	}
}
