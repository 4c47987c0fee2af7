package proxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// backStream is the accepting half of one batched stream.
type backStream struct {
	b     *Back
	own   terms
	token string // of the session
	ready *pool.ReadySet
	lane  lane
	front *frontShare // whose it is
	name  string      // of the front
	sender
	unbatcher

	// Guarded by sender.mu.
	inflight   table
	drainID    uint32 // highest id accepted, once isDraining
	seenID     uint32
	isDraining bool
	isEOF      bool                         // the front has ended its side
	bodies     int                          // announced, and not over
	wanted     map[uint32]chan *pool.Stream // by exchange
}

func newBackStream(b *Back, s *pool.Stream, theirs terms) *backStream {
	own := ownTerms()
	bs := &backStream{b: b, name: s.Header().Value(fieldFront), wanted: make(map[uint32]chan *pool.Stream)}
	// Twice as many as a front keeps, since it replaces those that are old before they
	// have ended; and it is the front that asks for that.
	bs.ready, _ = pool.NewReadySet(pool.ReadySetConfig{
		IDField: fieldStream, Max: 2 * b.cfg.MaxReady, MaxAge: -1, Refusal: []pool.Field{{Name: "h2tp-error", Value: "overload"}},
	})
	own.codecs = bs.unbatcher.prepare(b.cfg.Memory, own.limits.Window)
	bs.own = own
	bs.sent, bs.came = &b.hop.out, &b.hop.in
	bs.sender.init(s, &b.cfg.Hop, own, theirs)
	bs.unbatcher.init(&b.cfg.Hop, b.route, own, theirs, bs.onRecord)
	return bs
}

// watchLoop ends what runs for a front that is gone. It finds one that an
// intermediary hides by pings of its own, whatever the front's period is.
func (bs *backStream) watchLoop() {
	defer bs.b.forget(bs)
	next := bs.hop.PingPeriod
	if next < 0 {
		next = time.Hour
	}
	timer := time.NewTimer(next)
	defer timer.Stop()
	for {
		select {
		case <-bs.stream.Done():
			bs.abort(pool.ErrClosed)
			return
		case <-timer.C:
		}
		bs.releaseIdle()
		if bs.hop.PingPeriod >= 0 {
			bs.sender.mu.Lock()
			next = bs.watchLocked()
			bs.sender.mu.Unlock()
			if next <= 0 {
				bs.stream.Reset(codeCancel)
				next = time.Hour // Done is closed
			}
		}
		timer.Reset(next)
	}
}

// Receive implements pool.Receiver.
func (bs *backStream) Receive(p []byte) error { return bs.receive(p) }

// Closed implements pool.Receiver. A front that drains still gets what it is
// owed; all else is watchLoop's.
func (bs *backStream) Closed(err error) {
	bs.unbatcher.release()
	if err != io.EOF {
		return
	}
	bs.sender.mu.Lock()
	bs.isEOF = true
	bs.endIfIdleLocked()
	bs.sender.mu.Unlock()
}

// abort ends what runs for a front that is gone.
func (bs *backStream) abort(err error) {
	bs.sender.mu.Lock()
	bs.failLocked(err)
	all := bs.inflight.takeAll(func(uint32, *exchange) bool { return true })
	bs.sender.mu.Unlock()
	bs.ready.Close()
	for _, ex := range all {
		ex.sink.(*hopExchange).cancelled()
	}
}

// endIfIdleLocked ends this side once nothing is owed and nothing will come.
func (bs *backStream) endIfIdleLocked() {
	if (bs.isEOF || bs.isDraining) && bs.inflight.n == 0 && bs.bodies == 0 && !bs.isEnded {
		bs.endLocked()
	}
}

// drain tells the front which exchanges are still answered.
func (bs *backStream) drain() {
	bs.sender.mu.Lock()
	defer bs.sender.mu.Unlock()
	if bs.isDraining || bs.err != nil || bs.isEnded {
		return
	}
	bs.isDraining = true
	bs.drainID = bs.seenID
	before := bs.sizeLocked()
	bs.wenc.AppendDrain(&bs.open, bs.drainID)
	bs.appendedLocked(before)
	bs.endIfIdleLocked()
}

// tellHealth tells the front how much of what is behind this back can be reached.
func (bs *backStream) tellHealth(share uint32) {
	bs.sender.mu.Lock()
	defer bs.sender.mu.Unlock()
	if bs.err != nil || bs.isEnded {
		return
	}
	before := bs.sizeLocked()
	bs.wenc.AppendHealth(&bs.open, share)
	bs.appendedLocked(before)
}

// onRecord handles one record from the front.
func (bs *backStream) onRecord(rec *wire.Record) error {
	switch rec.Type {
	case wire.TypeRequest:
		return bs.onRequest(rec)
	case wire.TypeCancel:
		bs.sender.mu.Lock()
		if rec.ID == 0 || rec.ID > bs.seenID {
			bs.sender.mu.Unlock()
			return errFuture
		}
		ex := bs.inflight.take(rec.ID)
		bs.endIfIdleLocked()
		bs.sender.mu.Unlock()
		if ex != nil {
			ex.sink.(*hopExchange).cancelled()
		}
	case wire.TypePing:
		bs.sender.mu.Lock()
		before := bs.sizeLocked()
		bs.wenc.AppendPong(&bs.open, rec.Ping)
		bs.appendedLocked(before)
		bs.sender.mu.Unlock()
	case wire.TypeRelease:
		bs.ready.Release(rec.Stream)
	case wire.TypePong:
	default:
		return errFuture
	}
	return nil
}

func (bs *backStream) onRequest(rec *wire.Record) error {
	req := &rec.Request
	if req.BodyKind == wire.BodyFollows {
		return errFuture
	}
	hx := hopExchanges.Get().(*hopExchange)
	hx.bs = bs
	isFull := !bs.b.route.memory.hold(&hx.held, int64(max(cap(hx.buf), req.Bound())))
	isOK := hx.copy(req, bs.b.route.via)
	bs.sender.mu.Lock()
	bs.seenID = rec.ID
	if bs.isDraining { // above the drain record's id: the front sends it elsewhere
		bs.sender.mu.Unlock()
		hx.recycle()
		return nil
	}
	var refuse failure
	status := 0
	switch {
	case rec.Over == wire.OverTarget:
		status = 414
	case rec.Over != wire.OverNone:
		refuse.code = wire.CodeFieldsTooLarge
	case bs.b.cfg.isOver(int64(len(req.Body))):
		refuse.code = wire.CodeRequestTooLarge
	case !isOK:
		refuse.code = wire.CodeLoop
	case isFull:
		refuse.code, refuse.isNotStarted = wire.CodeOverload, true
	}
	if status != 0 || refuse.code != 0 {
		before := bs.sizeLocked()
		refused := status
		if refused == 0 {
			refused, _ = statusOf(refuse)
		}
		bs.b.route.meter.refuse(refused)
		if status != 0 {
			bs.wenc.AppendResponse(&bs.open, rec.ID, &wire.Response{Status: status, BodyKind: wire.BodyWhole})
		} else if refuse.isNotStarted {
			bs.wenc.AppendNotStarted(&bs.open, rec.ID, refuse.code, 0)
		} else {
			bs.wenc.AppendFailed(&bs.open, rec.ID, refuse.code, "")
		}
		bs.appendedLocked(before)
		bs.sender.mu.Unlock()
		hx.recycle()
		return nil
	}
	hx.id = rec.ID
	hx.lane, hx.front = &bs.lane, bs.front
	hx.sink = hx
	bs.inflight.put(rec.ID, &hx.exchange)
	bs.sender.mu.Unlock()
	bs.b.route.deliver(&hx.exchange)
	return nil
}

// hopExchange is an exchange that came over the hop. It owns a copy of its
// request, since the batch it came in is gone before the response comes.
type hopExchange struct {
	exchange
	bs    *backStream
	buf   []byte
	edit  hygiene
	held  int64        // of the route's memory
	parts atomic.Int32 // of canceller and delivering half, who has let go
}

var hopExchanges = sync.Pool{New: func() any { return new(hopExchange) }}

// copy copies what req points to and adds this process to Via; false when it
// stands there already.
func (hx *hopExchange) copy(req *wire.Request, via []byte) bool {
	return hx.copyFields(req, via, false)
}

// copyBulk is copy for a stream of its own, which may carry an Upgrade.
func (hx *hopExchange) copyBulk(req *wire.Request, via []byte) bool {
	return hx.copyFields(req, via, true)
}

func (hx *hopExchange) copyFields(req *wire.Request, via []byte, isBulk bool) bool {
	hx.exchange.reset()
	hx.parts.Store(0)
	fields, trailers := hx.req.Fields[:0], hx.req.Trailers[:0]
	hx.req = *req
	n := req.Bound()
	if cap(hx.buf) < n {
		hx.buf = make([]byte, 0, n+n/4)
	}
	buf := hx.buf[:0]
	keep := func(p []byte) []byte {
		if len(p) == 0 {
			return nil
		}
		buf = append(buf, p...)
		return buf[len(buf)-len(p) : len(buf) : len(buf)]
	}
	hx.req.Method, hx.req.Target, hx.req.Authority = keep(req.Method), keep(req.Target), keep(req.Authority)
	for _, f := range req.Fields {
		if http1.IsHopByHop(f.Name) && !(isBulk && isName(f.Name, "upgrade")) && !isTE(&f) {
			continue // the front has taken them out, if it is one of ours
		}
		fields = append(fields, wire.Field{Name: keep(f.Name), Value: keep(f.Value), Secret: f.Secret})
	}
	for _, f := range req.Trailers {
		trailers = append(trailers, wire.Field{Name: keep(f.Name), Value: keep(f.Value), Secret: f.Secret})
	}
	hx.req.Body = keep(req.Body)
	hx.buf = buf
	hx.edit.scratch = hx.edit.scratch[:0]
	var ok bool
	hx.req.Fields, ok = hx.edit.via(fields, "2.0 ", via)
	hx.req.Trailers = trailers
	return ok
}

func (hx *hopExchange) recycle() {
	hx.bs.b.route.memory.free(&hx.held)
	hx.bs, hx.sink, hx.route, hx.lane = nil, nil, nil, nil
	if cap(hx.buf) > keepBuffer {
		hx.buf = nil
	}
	hx.req.Body = nil
	hopExchanges.Put(hx)
}

// cancelled is called by who took hx out of the stream's table without a
// response to send.
func (hx *hopExchange) cancelled() {
	if hx.cancel() {
		hx.recycle()
		return
	}
	hx.letGo()
}

// letGo recycles hx once both the canceller and the delivering half are done.
func (hx *hopExchange) letGo() {
	if hx.parts.Add(1) == 2 {
		hx.recycle()
	}
}

// respond implements sink.
func (hx *hopExchange) respond(ex *exchange, resp *wire.Response) {
	bs := hx.bs
	bs.sender.mu.Lock()
	if hx.mayWait {
		bs.waitRoomLocked()
	}
	isFinal := resp.Status >= 200
	if bs.inflight.get(ex.id) != ex {
		bs.sender.mu.Unlock()
		if isFinal {
			hx.letGo()
		}
		return
	}
	before := bs.sizeLocked()
	if bs.err == nil && bs.queued > maxQueue {
		bs.wenc.AppendFailed(&bs.open, ex.id, wire.CodeOverload, "")
	} else if bs.err == nil && bs.makeRoomLocked(resp.Bound()) {
		before = bs.sizeLocked()
		bs.wenc.AppendResponse(&bs.open, ex.id, resp)
	} else if bs.err == nil {
		bs.wenc.AppendFailed(&bs.open, ex.id, wire.CodeResponseTooLarge, "")
	}
	bs.appendedLocked(before)
	if isFinal {
		bs.inflight.take(ex.id)
		bs.endIfIdleLocked()
	}
	bs.sender.mu.Unlock()
	if isFinal {
		hx.recycle()
	}
}

// fail implements sink.
func (hx *hopExchange) fail(ex *exchange, f failure) {
	bs := hx.bs
	bs.sender.mu.Lock()
	if bs.inflight.get(ex.id) != ex {
		bs.sender.mu.Unlock()
		hx.letGo()
		return
	}
	bs.inflight.take(ex.id)
	if bs.err == nil {
		before := bs.sizeLocked()
		if f.isNotStarted {
			bs.wenc.AppendNotStarted(&bs.open, ex.id, f.code, f.after)
		} else {
			bs.wenc.AppendFailed(&bs.open, ex.id, f.code, failureText(f))
		}
		bs.appendedLocked(before)
	}
	bs.endIfIdleLocked()
	bs.sender.mu.Unlock()
	hx.recycle()
}

// dropped implements sink.
func (hx *hopExchange) dropped(*exchange) { hx.letGo() }

func failureText(f failure) string {
	if f.err == nil || errors.Is(f.err, ErrTimeout) {
		return ""
	}
	text := f.err.Error()
	return text[:min(len(text), 256)]
}
