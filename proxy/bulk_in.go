package proxy

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// bulkIn is the accepting half of an exchange on a stream of its own. It is the
// source of its request's body, and the sink of its response.
type bulkIn struct {
	b      *Back
	s      *pool.Stream
	theirs terms
	tune   *tuneMeter // the session's

	ex   exchange
	hx   hopExchange // holds the copy of the request
	r    *bulkReader
	w    *bulkWriter
	done bool // the response is over

	isWhole bool
	isLarge bool // over MaxBody
	total   int64
	rest    []wire.Field
	wg      sync.WaitGroup // watchLoop

	mu        sync.Mutex // guards all below
	stopped   bool
	stopc     chan struct{} // closed by stop
	isWatched bool          // watchLoop runs
	isGone    bool
	gone      func()
}

// loop serves the exchange.
func (in *bulkIn) loop() {
	b := in.b
	defer in.wg.Wait()
	defer in.s.Close()
	in.r = newBulkReader(&b.cfg.Hop, b.route)
	in.r.came = &b.hop.in
	defer in.r.release()
	if err := in.s.Respond(200, in.r.own.fields()...); err != nil {
		return
	}
	in.r.begin(in.s, in.theirs)
	in.w = newBulkWriter(in.s, &b.cfg, in.r.own, in.theirs, in.tune)
	in.w.sent = &b.hop.out
	defer in.w.release()
	rec, err := in.first()
	if err != nil || rec.Type != wire.TypeRequest {
		in.s.Reset(codeProtocol)
		return
	}
	ex := &in.ex
	ex.sink = in
	switch {
	case rec.Over == wire.OverTarget:
		b.route.meter.refuse(414)
		in.respond(ex, &wire.Response{Status: 414, BodyKind: wire.BodyWhole})
		return
	case rec.Over != wire.OverNone:
		b.route.meter.refuse(431)
		in.fail(ex, failure{code: wire.CodeFieldsTooLarge})
		return
	case !in.hx.copyBulk(&rec.Request, b.route.via):
		b.route.meter.refuse(508)
		in.fail(ex, failure{code: wire.CodeLoop})
		return
	case b.cfg.isOver(max(bodyLength(rec.Request.Fields), int64(len(rec.Request.Body)))):
		b.route.meter.refuse(413)
		in.fail(ex, failure{code: wire.CodeRequestTooLarge})
		return
	}
	ex.req = in.hx.req
	isUpgrade := fieldValue(ex.req.Fields, "upgrade") != nil
	if ex.src = in; ex.req.BodyKind != wire.BodyFollows && !isUpgrade {
		in.isWhole = true
		ex.src = &restSource{bulkIn: in}
	}
	if in.isWhole || isUpgrade {
		in.r.releaseCodec() // nothing that comes needs it: a tunnel's bytes go as they are
	}
	b.route.carry(ex)
	in.stop()
	switch {
	case in.done:
	case in.isLarge:
		in.fail(ex, failure{code: wire.CodeRequestTooLarge})
	default: // dropped: nobody waits
		in.s.Reset(codeCancel)
	}
}

// first reads the request, which may be behind what comes on other streams.
func (in *bulkIn) first() (*wire.Record, error) {
	defer in.s.SetReadDeadline(time.Time{})
	began := in.s.Progress().Came
	for seen := began; ; {
		in.s.SetReadDeadline(time.Now().Add(bodyWait))
		rec, err := in.r.next()
		came := in.s.Progress().Came
		if !errors.Is(err, os.ErrDeadlineExceeded) || came == seen || came-began > pool.MaxAhead {
			return rec, err
		}
		seen = came
	}
}

// next implements source.
func (in *bulkIn) next() ([]byte, error) {
	if in.isWhole {
		return nil, in.await()
	}
	for {
		if in.isStopped() {
			return nil, errStopped
		}
		rec, err := in.r.next()
		switch {
		case err != nil && in.isStopped():
			return nil, errStopped
		case err != nil:
			return nil, errCut
		case rec.Type == wire.TypeEnd:
			in.isWhole = true
			in.rest = ownFields(rec.Trailers)
			in.r.releaseCodec()
			return nil, io.EOF
		case rec.Type != wire.TypeData:
			in.s.Reset(codeProtocol)
			return nil, errCut
		}
		if in.total += int64(len(rec.Data)); in.b.cfg.isOver(in.total) && fieldValue(in.ex.req.Fields, "upgrade") == nil {
			in.isLarge = true
			return nil, errCut
		}
		if len(rec.Data) > 0 {
			return rec.Data, nil
		}
	}
}

// await waits for the front to leave: it has sent all, so its end is a reset, or the
// response's. In a tunnel that may come before the end of what is written onwards.
func (in *bulkIn) await() error {
	in.mu.Lock()
	stopc := in.stopc
	in.mu.Unlock()
	select {
	case <-stopc:
		return errStopped
	case <-in.s.Done():
	}
	if in.s.Err() == io.EOF { // this end has ended its side too: whoever did is about to stop this
		<-stopc
	}
	if in.isStopped() {
		return errStopped
	}
	return errGone
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
		in.isWatched = false // there may be a restart
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

// stop implements source.
func (in *bulkIn) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.stopped {
		in.stopped = true
		close(in.stopc)
		in.s.SetReadDeadline(time.Unix(1, 0))
	}
}

// restart implements source.
func (in *bulkIn) restart() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		in.stopped = false
		in.stopc = make(chan struct{})
		in.s.SetReadDeadline(time.Time{})
	}
}

// restSource is the source of a bulk request without a body: it ends at once.
type restSource struct {
	*bulkIn
	isEnded bool
}

func (r *restSource) next() ([]byte, error) {
	if !r.isEnded {
		r.isEnded = true
		return nil, io.EOF
	}
	return nil, r.await()
}

// respond implements sink.
func (in *bulkIn) respond(_ *exchange, resp *wire.Response) {
	in.done = resp.Status >= 200
	if err := in.w.respond(resp); err == nil && in.done {
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
