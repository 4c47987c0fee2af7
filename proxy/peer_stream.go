package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// peerStream is one batched stream as its front sees it.
type peerStream struct {
	p     *peer
	own   terms
	here  station
	gonec chan struct{} // closed when it takes no new exchanges

	sender
	unbatcher
	isSpread atomic.Bool // a stream of the session reached another back
	isLeft   atomic.Bool // the back drains: what others there are at its address is another

	// Guarded by sender.mu.
	inflight   table
	isDraining bool
	isGone     bool // gonec is closed, or about to be
	takers     int  // responses that have not met the stream of their body
	isOpen     bool // the peer's terms are known and both directions set up

	// Set before it comes to use.
	session string
	ready   *pool.Ready
	readers readyReaders
	readyc  chan struct{} // wakes readyLoop, capacity 1
}

// Opened implements pool.Opener: the two directions begin with the peer's terms.
func (ps *peerStream) Opened(s *pool.Stream) error {
	theirs, err := parseTerms(s.Header())
	if err == nil && s.Header().Value("h2tp-session") == "" {
		err = errors.New("no h2tp-session")
	}
	if err != nil {
		return &termsError{err, *s.Header()}
	}
	hop, own := &ps.p.cfg.Hop, ps.own
	ps.sender.mu.Lock()
	defer ps.sender.mu.Unlock()
	if ps.isGone {
		return pool.ErrClosed
	}
	ps.sent, ps.came = &ps.p.hop.out, &ps.p.hop.in
	ps.sender.init(s, hop, own, theirs)
	ps.unbatcher.init(hop, ps.p.route, own, theirs, ps.onRecord)
	ps.session = s.Header().Value("h2tp-session")
	ps.isOpen = true
	return nil
}

// deliver registers the exchange and appends its record, in one step: a response
// cannot come before its id is known.
func (ps *peerStream) deliver(ex *exchange) {
	ex.at.Store(&ps.here)
	ex.req.TimeLeft = 0
	if ex.deadline < noDeadline {
		ex.req.TimeLeft = max(1, ex.deadline-ps.p.route.now())
	}
	size := ex.req.Bound()
	ps.sender.mu.Lock()
	var f failure
	switch {
	case ex.isCancelled.Load():
		ps.sender.mu.Unlock()
		ps.p.inflight.Add(-1)
		ex.drop()
		return
	case ps.err != nil:
		f = failure{code: wire.CodeUnreachable, isNotStarted: true, err: ps.err}
	case ps.isDraining || ps.lastID >= 1<<31-2:
		f = failure{code: wire.CodeDraining, isNotStarted: true, err: ErrDraining}
	case ps.queued >= maxQueue:
		f = failure{code: wire.CodeOverload, isNotStarted: true, err: ErrOverloaded}
	case !ps.makeRoomLocked(size):
		f = failure{code: wire.CodeRequestTooLarge, isNotStarted: true, err: ErrTooLarge}
	default:
		before := ps.sizeLocked()
		id := ps.wenc.AppendRequest(&ps.open, &ex.req)
		ps.lastID = id
		ex.peerID.Store(id)
		ps.inflight.put(id, ex)
		ps.appendedLocked(before)
		ps.sender.mu.Unlock()
		return
	}
	ps.sender.mu.Unlock()
	ps.p.fail(ex, f)
}

// cancel tells the back that nobody waits for the response.
func (ps *peerStream) cancel(ex *exchange) bool {
	ps.sender.mu.Lock()
	defer ps.sender.mu.Unlock()
	id := ex.peerID.Load()
	if ps.inflight.get(id) != ex {
		return false
	}
	ps.takeLocked(id)
	ps.cancelLocked(id)
	ps.p.inflight.Add(-1)
	return true
}

func (ps *peerStream) cancelLocked(id uint32) {
	if ps.err == nil && !ps.isEnded {
		before := ps.sizeLocked()
		ps.wenc.AppendCancel(&ps.open, id)
		ps.appendedLocked(before)
	}
}

// takeLocked takes an exchange out, and ends this side of a draining stream
// with the last one.
func (ps *peerStream) takeLocked(id uint32) *exchange {
	ex := ps.inflight.take(id)
	if ps.isDraining && ps.inflight.n == 0 && !ps.isEnded {
		ps.endLocked()
	}
	return ex
}

func (ps *peerStream) take(id uint32) *exchange {
	ps.sender.mu.Lock()
	defer ps.sender.mu.Unlock()
	return ps.takeLocked(id)
}

var errFuture = &pool.ResetError{Code: codeProtocol, Local: true}

// Receive implements pool.Receiver.
func (ps *peerStream) Receive(p []byte) error { return ps.receive(p) }

// onRecord handles one record from the back.
func (ps *peerStream) onRecord(rec *wire.Record) error {
	switch rec.Type {
	case wire.TypeResponse:
		return ps.onResponse(rec)
	case wire.TypeFailed, wire.TypeNotStarted:
		if err := ps.checkID(rec.ID); err != nil {
			return err
		}
		if ex := ps.take(rec.ID); ex != nil {
			f := failure{code: rec.Code, isPeers: true, isNotStarted: rec.Type == wire.TypeNotStarted}
			if f.isNotStarted {
				f.after = rec.After
			} else {
				f.err = errors.New(string(rec.Text))
			}
			ps.p.fail(ex, f)
		}
	case wire.TypeDrain:
		ps.isLeft.Store(true)
		ps.p.client.Leave()
		ps.p.bulk.Leave()
		ps.drain(rec.ID, failure{code: wire.CodeDraining, isNotStarted: true, isPeers: true, err: ErrDraining})
	case wire.TypePing:
		ps.sender.mu.Lock()
		before := ps.sizeLocked()
		ps.wenc.AppendPong(&ps.open, rec.Ping)
		ps.appendedLocked(before)
		ps.sender.mu.Unlock()
	case wire.TypePong:
	case wire.TypeHealth:
		ps.p.onHealth(rec.Share)
	case wire.TypeBodyOnStream, wire.TypeOpenForExchange:
		return ps.onBody(rec)
	default:
		return errFuture
	}
	return nil
}

// checkID refuses an id this end has not used yet.
func (ps *peerStream) checkID(id uint32) error {
	ps.sender.mu.Lock()
	defer ps.sender.mu.Unlock()
	if id == 0 || id > ps.lastID {
		return errFuture
	}
	return nil
}

func (ps *peerStream) onResponse(rec *wire.Record) error {
	resp := &rec.Response
	ps.sender.mu.Lock()
	if rec.ID == 0 || rec.ID > ps.lastID {
		ps.sender.mu.Unlock()
		return errFuture
	}
	if resp.Status < 200 && rec.Over == wire.OverNone {
		ex := ps.inflight.take(rec.ID)
		ps.sender.mu.Unlock()
		if ex != nil {
			ps.interim(rec.ID, ex, resp)
		}
		return nil
	}
	ex := ps.takeLocked(rec.ID)
	ps.sender.mu.Unlock()
	switch {
	case ex == nil: // cancelled, or late
	case rec.Over != wire.OverNone || ps.p.cfg.isOver(int64(len(resp.Body))):
		ps.p.fail(ex, failure{code: wire.CodeResponseTooLarge, isPeers: true, err: ErrTooLarge})
	default:
		ps.p.inflight.Add(-1)
		ex.finishAt(resp, time.Duration(ps.lastRecv.Load())) // when its batch came
	}
	return nil
}

// interim passes an interim response on. The exchange is out of the table
// meanwhile: one that is cancelled, or whose stream dies, then is let go here.
func (ps *peerStream) interim(id uint32, ex *exchange, resp *wire.Response) {
	ex.interim(resp)
	ps.sender.mu.Lock()
	err := ps.err
	isCancelled := ex.isCancelled.Load()
	switch {
	case isCancelled:
		ps.cancelLocked(id)
	case err == nil:
		ps.inflight.put(id, ex)
	}
	ps.sender.mu.Unlock()
	switch {
	case isCancelled:
		ps.p.inflight.Add(-1)
		ex.drop()
	case err != nil:
		ps.p.fail(ex, failure{code: wire.CodeUpstream, err: err})
	}
}

// drain stops new exchanges, fails those above last with f, and lets the others
// finish.
func (ps *peerStream) drain(last uint32, f failure) {
	ps.p.retire(ps) // first: what fails for it is not to find it again
	ps.sender.mu.Lock()
	ps.isDraining = true
	isGone := ps.isGone
	ps.isGone = true
	var lost []*exchange
	if last != ^uint32(0) {
		lost = ps.inflight.takeAll(func(id uint32, _ *exchange) bool { return id > last })
	}
	if ps.inflight.n == 0 && !ps.isEnded && ps.err == nil {
		ps.endLocked()
	}
	ps.sender.mu.Unlock()
	if !isGone {
		close(ps.gonec)
	}
	for _, ex := range lost {
		ps.p.fail(ex, f)
	}
}

// retire moves a stream from use to the draining ones.
func (p *peer) retire(ps *peerStream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream == ps {
		p.setStreamLocked(nil)
	}
	p.old[ps] = struct{}{}
}

// Closed implements pool.Receiver: the stream is over, and what is pending on it
// fails at once. What cannot have left was not started.
func (ps *peerStream) Closed(err error) {
	if err == io.EOF {
		err = errors.New("peer ended the stream")
	}
	ps.p.forget(ps)
	ps.release()
	ps.sender.mu.Lock()
	isGone := ps.isGone
	ps.isGone, ps.isDraining = true, true
	if !ps.isOpen { // it never came to use
		ps.sender.mu.Unlock()
		if !isGone {
			close(ps.gonec)
		}
		return
	}
	ps.failLocked(err)
	sent := ps.sentID
	all := ps.inflight.takeAll(func(uint32, *exchange) bool { return true })
	ps.sender.mu.Unlock()
	wake(ps.readyc)
	if !isGone {
		close(ps.gonec)
	}
	ps.p.forget(ps) // it may have been retired meanwhile
	ps.stream.Close()
	for _, ex := range all {
		ps.p.fail(ex, failure{code: wire.CodeUpstream, isNotStarted: ex.peerID.Load() > sent, err: err})
	}
}

// sweep fails the exchanges that ran out of time, and ends a stream that has
// been silent after a ping. The ping has its own record since an intermediary
// answers HTTP/2's.
func (ps *peerStream) sweep(now time.Duration) {
	ps.sender.mu.Lock()
	late := ps.inflight.takeAll(func(_ uint32, ex *exchange) bool { return now >= ex.deadline })
	for _, ex := range late {
		ps.cancelLocked(ex.peerID.Load())
	}
	if ps.isDraining && ps.inflight.n == 0 && !ps.isEnded {
		ps.endLocked()
	}
	isWatched := ps.p.cfg.PingPeriod >= 0 && ps.err == nil && !ps.isEnded
	isDead := isWatched && ps.watchLocked() <= 0
	ps.sender.mu.Unlock()
	ps.releaseIdle()
	for _, ex := range late {
		ps.p.fail(ex, failure{code: wire.CodeTimeout, err: ErrTimeout})
	}
	if isDead {
		ps.stream.Reset(codeCancel)
	}
}
