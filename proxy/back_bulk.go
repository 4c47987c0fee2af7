package proxy

import (
	"strconv"
	"sync"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// session finds the batched stream that a ready or bulk stream belongs to.
func (b *Back) session(token string) *backStream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[token]
}

// acceptBody answers a ready or bulk stream.
func (b *Back) acceptBody(s *pool.Stream, path string) {
	h := s.Header()
	bs := b.session(h.Value("h2tp-session"))
	if bs == nil {
		s.Refuse(421, "unknown session\n", pool.Field{Name: "h2tp-error", Value: "session"})
		return
	}
	theirs, err := parseTerms(h)
	if err != nil {
		s.Refuse(400, "bad fields\n", pool.Field{Name: "h2tp-error", Value: "fields"})
		return
	}
	own := bulkTerms(b.route, lightCodecs) // on ready streams, and those for an exchange, the back only sends
	switch exchange := h.Value("h2tp-exchange"); {
	case path == pathReady:
		bs.ready.Offer(s, own.fields()...)
	case exchange != "":
		id, err := strconv.ParseUint(exchange, 10, 31)
		if err != nil || !bs.opened(uint32(id), s, own) {
			s.Refuse(400, "no such exchange\n", pool.Field{Name: "h2tp-error", Value: "fields"})
		}
	default:
		b.mu.Lock()
		isDraining := b.isDraining
		if !isDraining {
			in := &bulkIn{b: b, s: s, theirs: theirs, stopc: make(chan struct{})}
			in.ex.front, in.tune = bs.front, bs.tune
			b.wg.Go(in.loop)
		}
		b.mu.Unlock()
		if isDraining {
			s.Refuse(503, "draining\n", pool.Field{Name: "h2tp-error", Value: "draining"}, pool.Field{Name: "retry-after", Value: "1"})
		}
	}
}

// opened hands over a stream that the front opened for an exchange.
func (bs *backStream) opened(id uint32, s *pool.Stream, own terms) bool {
	bs.sender.mu.Lock()
	c := bs.wanted[id]
	delete(bs.wanted, id)
	bs.sender.mu.Unlock()
	if c == nil {
		return false
	}
	s.Respond(200, own.fields()...)
	c <- s
	return true
}

// stream implements sink: the response goes into a batch, and its body on a ready
// stream, or on one that the front is asked to open.
func (hx *hopExchange) stream(ex *exchange, resp *wire.Response) bodyWriter {
	bs := hx.bs
	isRaw := resp.RawBody
	bs.sender.mu.Lock()
	if bs.inflight.get(ex.id) != ex {
		bs.sender.mu.Unlock()
		hx.letGo()
		return nil
	}
	bs.inflight.take(ex.id)
	if bs.err != nil {
		bs.sender.mu.Unlock()
		hx.recycle()
		return nil
	}
	bs.bodies++ // the batched stream stays open
	bs.sender.mu.Unlock()
	id := ex.id
	s, openedc := bs.announce(id, resp)
	hx.recycle()
	if s == nil {
		s = bs.awaitOpened(id, openedc)
	}
	if s == nil {
		bs.bodyDone()
		return nil
	}
	theirs, _ := parseTerms(s.Header()) // looked at when it came
	w := newBulkWriter(s, &bs.b.cfg, bulkTerms(bs.b.route, lightCodecs), theirs, bs.tune)
	w.isRaw = isRaw
	w.sent = &bs.b.hop.out
	return &backBody{bulkWriter: w, bs: bs, overc: make(chan struct{})}
}

// announce sends a response whose body comes on the ready stream that it returns, or,
// with none ready, on one that the front is asked to open, which comes by openedc.
func (bs *backStream) announce(id uint32, resp *wire.Response) (s *pool.Stream, openedc chan *pool.Stream) {
	s, stream := bs.ready.Acquire()
	bs.sender.mu.Lock()
	before := bs.sizeLocked()
	if s != nil {
		resp.Stream = stream
		bs.wenc.AppendBodyOnStream(&bs.open, id, resp)
	} else {
		openedc = make(chan *pool.Stream, 1)
		bs.wanted[id] = openedc
		bs.wenc.AppendOpenForExchange(&bs.open, id, resp)
	}
	bs.appendedLocked(before)
	bs.sender.mu.Unlock()
	return s, openedc
}

// awaitOpened waits for the stream that the front was asked to open.
func (bs *backStream) awaitOpened(id uint32, c chan *pool.Stream) *pool.Stream {
	timer := time.NewTimer(bodyWait)
	defer timer.Stop()
	select {
	case s := <-c:
		return s
	case <-timer.C:
	case <-bs.stream.Done():
	}
	bs.sender.mu.Lock()
	_, isWanted := bs.wanted[id]
	delete(bs.wanted, id)
	bs.sender.mu.Unlock()
	if !isWanted { // it came at the last moment
		return <-c
	}
	return nil
}

// bodyDone notes that a body which a batch announced is over.
func (bs *backStream) bodyDone() {
	bs.sender.mu.Lock()
	bs.bodies--
	bs.endIfIdleLocked()
	bs.sender.mu.Unlock()
}

// backBody is a body on a stream of its own; the batched stream stays open as long.
type backBody struct {
	*bulkWriter
	bs    *backStream
	overc chan struct{} // closed by end and abort

	mu   sync.Mutex // guards all below
	gone func()     // nil once the body is over
}

func (w *backBody) end(trailers []wire.Field) error {
	w.over()
	defer w.bs.bodyDone()
	return w.bulkWriter.end(trailers)
}

func (w *backBody) abort(err error) {
	w.over()
	w.bulkWriter.abort(err)
	w.bs.bodyDone()
}

func (w *backBody) onGone(f func()) {
	w.mu.Lock()
	w.gone = f
	w.mu.Unlock()
	w.bs.b.wg.Go(w.watchLoop)
}

// watchLoop notices that the front has ended the stream before the body was whole.
func (w *backBody) watchLoop() {
	select {
	case <-w.overc:
		return
	case <-w.s.Done():
	}
	w.mu.Lock() // held during gone: what it ends may serve another once this is over
	defer w.mu.Unlock()
	if w.gone != nil {
		w.gone()
	}
}

func (w *backBody) over() {
	w.mu.Lock()
	w.gone = nil
	w.mu.Unlock()
	close(w.overc)
}
