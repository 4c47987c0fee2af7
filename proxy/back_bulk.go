package proxy

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
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
	own := bulkTerms(allCodecs)
	switch exchange := h.Value("h2tp-exchange"); {
	case path == pathReady:
		if !bs.addReady(s, own, theirs) {
			s.Refuse(503, "too many ready streams\n", pool.Field{Name: "h2tp-error", Value: "overload"})
		}
	case exchange != "":
		id, err := strconv.ParseUint(exchange, 10, 31)
		if err != nil || !bs.opened(uint32(id), s, theirs) {
			s.Refuse(400, "no such exchange\n", pool.Field{Name: "h2tp-error", Value: "fields"})
		}
	default:
		b.mu.Lock()
		isDraining := b.isDraining
		if !isDraining {
			in := &bulkIn{b: b, s: s, own: own, theirs: theirs}
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
func (bs *backStream) opened(id uint32, s *pool.Stream, theirs terms) bool {
	bs.sender.mu.Lock()
	c := bs.wanted[id]
	delete(bs.wanted, id)
	bs.sender.mu.Unlock()
	if c == nil {
		return false
	}
	s.Respond(200, bulkTerms(allCodecs).fields()...)
	c <- &heldStream{s: s, theirs: theirs}
	return true
}

// stream implements sink: the response goes into a batch, and its body on a ready
// stream, or on one that the front is asked to open.
func (hx *hopExchange) stream(ex *exchange, resp *wire.Response) bodyWriter {
	bs := hx.bs
	hop := &bs.b.cfg.Hop
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
	w := newBulkWriter(held.s, hop, bulkTerms(allCodecs), held.theirs)
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

// bulkIn is the accepting half of an exchange on a stream of its own.
type bulkIn struct {
	b           *Back
	s           *pool.Stream
	own, theirs terms

	ex   exchange
	hx   hopExchange // holds the copy of the request
	r    *bulkReader
	w    *bulkWriter
	done bool // the response is over

	hasHead bool
	isLoop  bool
	isWhole bool
	total   int64
	queue   [][]byte // pieces read and not taken
	rest    []wire.Field
	wg      sync.WaitGroup // watchLoop

	mu        sync.Mutex // guards all below
	stopped   bool
	isWatched bool // watchLoop runs
	isGone    bool
	gone      func()
}

// loop serves the exchange.
func (in *bulkIn) loop() {
	b := in.b
	defer in.wg.Wait()
	defer in.s.Close()
	if err := in.s.Respond(200, in.own.fields()...); err != nil {
		return
	}
	in.r = newBulkReader(in.s, &b.cfg.Hop, b.route, in.own, in.theirs, in.onRecord)
	defer in.r.release()
	in.w = newBulkWriter(in.s, &b.cfg.Hop, in.own, in.theirs)
	defer in.w.release()
	in.s.SetReadDeadline(time.Now().Add(bodyWait))
	for !in.hasHead {
		if err := in.r.more(); err != nil {
			in.s.Reset(codeProtocol)
			return
		}
	}
	in.s.SetReadDeadline(time.Time{})
	ex := &in.ex
	ex.sink = in
	if in.isLoop {
		in.fail(ex, failure{code: wire.CodeLoop})
		return
	}
	if ex.req.BodyKind == wire.BodyFollows {
		ex.src = in
	} else {
		ex.src = &restSource{in: in}
	}
	b.route.carry(ex)
	in.stop()
	if !in.done { // dropped: nobody waits
		in.s.Reset(codeCancel)
	}
}

// onRecord handles what the front sends.
func (in *bulkIn) onRecord(rec *wire.Record) error {
	switch {
	case rec.Type == wire.TypeRequest && !in.hasHead:
		in.hasHead = true
		if rec.Over != wire.OverNone {
			return errFuture
		}
		isNew := in.hx.copyBulk(&rec.Request, in.b.route.via)
		in.ex.req = in.hx.req
		in.isLoop = !isNew
	case rec.Type == wire.TypeData && in.hasHead && !in.isWhole:
		if in.total += int64(len(rec.Data)); in.b.cfg.isOver(in.total) && fieldValue(in.ex.req.Fields, "upgrade") == nil {
			return &pool.ResetError{Code: codeCalm, Local: true}
		}
		if len(rec.Data) > 0 {
			in.queue = append(in.queue, append([]byte(nil), rec.Data...))
		}
	case rec.Type == wire.TypeEnd && in.hasHead && !in.isWhole:
		in.isWhole = true
		in.rest = ownFields(rec.Trailers)
		in.queue = append(in.queue, nil)
	default:
		return errFuture
	}
	return nil
}

// next implements source.
func (in *bulkIn) next() ([]byte, error) {
	for {
		if in.isStopped() {
			return nil, errStopped
		}
		if len(in.queue) > 0 {
			p := in.queue[0]
			in.queue[0] = nil
			in.queue = in.queue[1:]
			if p == nil {
				return nil, io.EOF
			}
			return p, nil
		}
		err := in.r.more()
		switch {
		case err == nil || len(in.queue) > 0:
		case in.isStopped():
			return nil, errStopped
		case err == io.EOF && in.isWhole:
			// The front has sent all; its end is a reset, or the response's.
			<-in.s.Done()
			if in.isStopped() {
				return nil, errStopped
			}
			return nil, errGone
		case in.isWhole:
			return nil, errGone
		default:
			return nil, errCut
		}
	}
}

// onGone implements source.
func (in *bulkIn) onGone(f func()) {
	in.mu.Lock()
	in.gone = f
	isGone := in.isGone
	if !in.isWatched {
		in.isWatched = true
		in.wg.Go(in.watchLoop)
	}
	in.mu.Unlock()
	if isGone {
		f()
	}
}

// watchLoop notices that the front has reset the stream, when nobody reads it. After an end in order there may be
// bytes to read.
func (in *bulkIn) watchLoop() {
	<-in.s.Done()
	isInOrder := in.s.Err() == io.EOF
	in.mu.Lock()
	if in.stopped || isInOrder {
		in.mu.Unlock()
		return
	}
	in.isGone = true
	in.ex.isCancelled.Store(true)
	gone := in.gone
	in.mu.Unlock()
	gone()
}

func (in *bulkIn) trailers() []wire.Field { return in.rest }

func (in *bulkIn) isStopped() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stopped
}

func (in *bulkIn) stop() {
	in.mu.Lock()
	isFirst := !in.stopped
	in.stopped = true
	in.mu.Unlock()
	if isFirst {
		in.s.SetReadDeadline(time.Unix(1, 0))
	}
}

// restSource is the source of a bulk request without a body: it ends at once.
type restSource struct {
	in *bulkIn
	at int
}

func (r *restSource) next() ([]byte, error) {
	if r.at++; r.at == 1 {
		return nil, io.EOF
	}
	<-r.in.s.Done()
	if r.in.isStopped() {
		return nil, errStopped
	}
	return nil, errGone
}
func (r *restSource) trailers() []wire.Field { return nil }
func (r *restSource) stop()                  { r.in.stop(); r.in.s.Close() }
func (r *restSource) onGone(f func())        { r.in.onGone(f) }

// respond implements sink.
func (in *bulkIn) respond(_ *exchange, resp *wire.Response) {
	in.w.wenc.AppendResponse(&in.w.batch, 1, resp)
	if resp.Status >= 200 {
		in.done = true
	}
	if err := in.w.flush(); err == nil && in.done {
		in.s.CloseWrite()
	}
}

// stream implements sink.
func (in *bulkIn) stream(_ *exchange, resp *wire.Response) bodyWriter {
	in.done = true
	in.w.isRaw = resp.RawBody
	in.w.wenc.AppendResponse(&in.w.batch, 1, resp)
	if err := in.w.flush(); err != nil {
		return nil
	}
	return in.w
}

// fail implements sink.
func (in *bulkIn) fail(_ *exchange, f failure) {
	in.done = true
	if f.isNotStarted {
		in.w.wenc.AppendNotStarted(&in.w.batch, 1, f.code, f.after)
	} else {
		in.w.wenc.AppendFailed(&in.w.batch, 1, f.code, failureText(f))
	}
	if err := in.w.flush(); err == nil {
		in.s.CloseWrite()
	}
}

// dropped implements sink.
func (in *bulkIn) dropped(*exchange) {}
