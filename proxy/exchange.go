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
	id    uint32 // the accepting half's own number

	// The delivering half's.
	at     atomic.Pointer[station]
	peerID atomic.Uint32 // its number on the stream it was sent on; a cancel may look while it moves to another

	isCancelled atomic.Bool
	mayWait     bool          // who calls the sink may wait there for room
	isBulk      bool          // it goes by carry
	isTouched   bool          // its src has been read from
	isSafe      bool          // may be sent again though it may have been started
	attempts    int           // deliveries, the running one included
	began       time.Duration // on the route's clock
	deadline    time.Duration // on the route's clock
	queued      time.Duration // when it began to wait for a peer
	chosen
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

// reset prepares ex for another use by its accepting half.
func (ex *exchange) reset() {
	ex.at.Store(nil)
	ex.isCancelled.Store(false)
	ex.attempts, ex.mayWait, ex.src = 0, false, nil
	ex.isBulk, ex.isTouched = false, false
	ex.member = nil
}

// interim passes on a response below 200. The client has seen something of this
// attempt: there is to be no other.
func (ex *exchange) interim(resp *wire.Response) {
	ex.isSafe = false
	ex.sink.respond(ex, resp)
}

// finish ends the exchange with its response. The caller has taken it out of its
// table and does not touch it again.
func (ex *exchange) finish(resp *wire.Response) {
	ex.route.left()
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
	isTunnel := resp.Status == 101
	m := ex.member
	ex.noteHead(resp.Status)
	ex.member = nil // ex may be used again before the body is over
	c := &countedBody{r: r, member: m, isTunnel: isTunnel}
	if c.bodyWriter = ex.sink.stream(ex, resp); c.bodyWriter == nil {
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
	total    int64
	isTunnel bool // an Upgrade's: no body
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
	if c.member != nil {
		c.member.Drop()
	}
}

func (c *countedBody) end(trailers []wire.Field) error {
	c.left()
	return c.bodyWriter.end(trailers)
}

func (c *countedBody) abort(err error) {
	c.left()
	c.bodyWriter.abort(err)
}

// fail ends the exchange, or sends it elsewhere when that is allowed. The caller
// has taken it out of its table and does not touch it again.
func (ex *exchange) fail(f failure) {
	if ex.isCancelled.Load() {
		ex.drop()
		return
	}
	ex.noteFailed(f)
	if ex.route.repeat(ex, f) {
		return
	}
	ex.route.left()
	ex.sink.fail(ex, f)
}

// drop lets go of an exchange that was cancelled before or while it was delivered.
func (ex *exchange) drop() {
	ex.route.left()
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
	ex.route.left()
	ex.letGo()
	return true
}
