package proxy

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
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
		if !bs.addReady(s, own, theirs) {
			s.Refuse(503, "too many ready streams\n", pool.Field{Name: "h2tp-error", Value: "overload"})
		}
	case exchange != "":
		id, err := strconv.ParseUint(exchange, 10, 31)
		if err != nil || !bs.opened(uint32(id), s, own, theirs) {
			s.Refuse(400, "no such exchange\n", pool.Field{Name: "h2tp-error", Value: "fields"})
		}
	default:
		b.mu.Lock()
		isDraining := b.isDraining
		if !isDraining {
			in := &bulkIn{b: b, s: s, theirs: theirs, stopc: make(chan struct{})}
			b.wg.Go(in.loop)
		}
		b.mu.Unlock()
		if isDraining {
			s.Refuse(503, "draining\n", pool.Field{Name: "h2tp-error", Value: "draining"}, pool.Field{Name: "retry-after", Value: "1"})
		}
	}
}

// maxReady bounds the ready streams of one session.
const maxReady = 64

// heldStream is a ready stream, or one opened for an exchange, at the back.
type heldStream struct {
	s      *pool.Stream
	theirs terms
}

// addReady gives a ready stream an id, accepts it and keeps it; false when there
// are too many.
func (bs *backStream) addReady(s *pool.Stream, own, theirs terms) bool {
	id := bs.readyID()
	if id == 0 {
		return false
	}
	// First the answer: once it is in ready, another goroutine may write to it.
	s.Respond(200, append(own.fields(), pool.Field{Name: "h2tp-stream", Value: fmt.Sprintf("%08x", id)})...)
	bs.sender.mu.Lock()
	isOver := bs.ready == nil
	if !isOver {
		bs.ready[id] = &heldStream{s: s, theirs: theirs}
	}
	bs.sender.mu.Unlock()
	if isOver {
		s.Close()
	}
	return true
}

// readyID returns an id that no ready stream has; 0 when there are too many. It is
// called by connections' reading goroutines, which may be several.
func (bs *backStream) readyID() uint32 {
	bs.sender.mu.Lock()
	defer bs.sender.mu.Unlock()
	for id := range bs.ready {
		select {
		case <-bs.ready[id].s.Done():
			bs.ready[id].s.Close()
			delete(bs.ready, id)
		default:
		}
	}
	if len(bs.ready) >= maxReady || bs.ready == nil {
		return 0
	}
	for {
		var b [4]byte
		rand.Read(b[:])
		id := binary.BigEndian.Uint32(b[:])
		if id != 0 && bs.ready[id] == nil {
			return id
		}
	}
}

// releaseReady ends a ready stream the front no longer wants.
func (bs *backStream) releaseReady(id uint32) {
	bs.sender.mu.Lock()
	r := bs.ready[id]
	delete(bs.ready, id)
	bs.sender.mu.Unlock()
	if r != nil {
		r.s.Close()
	}
}

// acquireLocked takes a ready stream that lives.
func (bs *backStream) acquireLocked() (uint32, *heldStream) {
	for id, r := range bs.ready {
		delete(bs.ready, id)
		select {
		case <-r.s.Done():
			r.s.Close()
		default:
			return id, r
		}
	}
	return 0, nil
}

// opened hands over a stream that the front opened for an exchange.
func (bs *backStream) opened(id uint32, s *pool.Stream, own, theirs terms) bool {
	bs.sender.mu.Lock()
	c := bs.wanted[id]
	delete(bs.wanted, id)
	bs.sender.mu.Unlock()
	if c == nil {
		return false
	}
	s.Respond(200, own.fields()...)
	c <- &heldStream{s: s, theirs: theirs}
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
	id, held := bs.acquireLocked()
	before := bs.sizeLocked()
	var openedc chan *heldStream
	if held != nil {
		resp.Stream = id
		bs.wenc.AppendBodyOnStream(&bs.open, ex.id, resp)
	} else {
		openedc = make(chan *heldStream, 1)
		bs.wanted[ex.id] = openedc
		bs.wenc.AppendOpenForExchange(&bs.open, ex.id, resp)
	}
	bs.appendedLocked(before)
	bs.bodies++
	bs.sender.mu.Unlock()
	exID := ex.id
	hx.recycle()
	if held == nil {
		if held = bs.awaitOpened(exID, openedc); held == nil {
			bs.bodyDone()
			return nil
		}
	}
	w := newBulkWriter(held.s, &bs.b.cfg, bulkTerms(bs.b.route, lightCodecs), held.theirs)
	w.isRaw = isRaw
	return &backBody{bulkWriter: w, bs: bs, overc: make(chan struct{})}
}

// awaitOpened waits for the stream that the front was asked to open.
func (bs *backStream) awaitOpened(id uint32, c chan *heldStream) *heldStream {
	timer := time.NewTimer(bodyWait)
	defer timer.Stop()
	select {
	case held := <-c:
		return held
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
