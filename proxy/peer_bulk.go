package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

const (
	// readyStreams is how many ready streams a front keeps open on each batched stream.
	readyStreams = 4
	// readyAge is when a ready stream that was not acquired is replaced: an
	// intermediary may cut a stream that is silent for a minute.
	readyAge = 45 * time.Second
	// bodyWait bounds how long one end waits for the other to open, or name, the
	// stream of a body.
	bodyWait = 5 * time.Second
)

// carry sends an exchange on a stream of its own.
func (p *peer) carry(ex *exchange) {
	p.inflight.Add(1)
	b := &peerBulk{p: p, ex: ex, src: ex.src}
	if f := b.run(); f != nil {
		p.fail(ex, *f) // nothing of this attempt is left: there may be another
	}
}

// awaitStream returns the batched stream whose session a bulk stream joins; it
// waits for one within QueueTimeout.
func (p *peer) awaitStream(ctx context.Context) (*peerStream, error) {
	timer := time.NewTimer(p.cfg.QueueTimeout)
	defer timer.Stop()
	for {
		p.mu.Lock()
		ps, c := p.stream, p.upc
		p.mu.Unlock()
		if ps != nil {
			return ps, nil
		}
		select {
		case <-c:
		case <-timer.C:
			if err := p.client.Err(); err != nil {
				return nil, err
			}
			return nil, errors.New("no connection in time")
		case <-ctx.Done():
			return nil, ErrClosed
		}
	}
}

// header is what opens a ready or bulk stream of this session.
func (ps *peerStream) header(path string, fields ...pool.Field) pool.Header {
	fields = append(fields, pool.Field{Name: "h2tp-session", Value: ps.session, Sensitive: true})
	return pool.Header{Authority: ps.p.end.host, Path: ps.p.end.prefix + path, Fields: fields}
}

// openBody opens a ready or bulk stream of this session. A 421 says that an
// intermediary took it to another back: then on the batched stream's connection.
func (ps *peerStream) openBody(ctx context.Context, path string, fields ...pool.Field) (*pool.Stream, error) {
	h := ps.header(path, fields...)
	var beside *pool.Stream
	if ps.isSpread.Load() {
		beside = ps.stream
	}
	s, err := ps.p.client.OpenBeside(ctx, beside, h, nil)
	se, ok := errors.AsType[*pool.StatusError](err)
	if !ok || se.Status != 421 {
		return s, err
	}
	if ps.isSpread.CompareAndSwap(false, true) {
		ps.p.log.Warn("streams reach another back: an intermediary spreads them", "peer", ps.p.end.url)
	}
	if beside != nil {
		return nil, err
	}
	return ps.p.client.OpenBeside(ctx, ps.stream, h, nil)
}

// peerBulk is one exchange on a stream of its own, at the front; a bodyWriter for
// the request's body.
type peerBulk struct {
	p   *peer
	ex  *exchange
	src source
	s   *pool.Stream
	out *bulkWriter
	in  *bulkReader
	wg  sync.WaitGroup

	w      bodyWriter // where the response's body goes
	isOver bool       // the sink was told the end, or failed is set
	failed *failure   // the back's

	isSwitched bool // 101: bytes go through as they are

	mu      sync.Mutex // guards all below
	isGone  bool       // the client is
	hasHead bool       // the response's final head has come
}

// run makes one attempt, and returns why it failed, with nothing of it left; nil
// when the sink was told an end.
func (b *peerBulk) run() *failure {
	hop := &b.p.cfg.Hop
	isUpgrade := fieldValue(b.ex.req.Fields, "upgrade") != nil
	if b.in = newBulkReader(hop, b.p.route); isUpgrade { // a tunnel's bytes go as they are
		b.in.release()
		b.in = newLightReader(hop, b.p.route)
	}
	defer b.in.release()
	ctx, cancel := context.WithCancel(b.p.ctx)
	defer cancel()
	if b.src != nil {
		b.src.onGone(cancel)
	}
	if f := b.open(ctx); f != nil {
		return f
	}
	defer b.out.release()
	defer b.wg.Wait()
	defer b.s.Close() // a pumpLoop may wait for the back to take more
	if b.src != nil {
		b.src.onGone(b.leave)
	}
	b.out.isRaw = b.ex.req.RawBody || isUpgrade
	b.out.wenc.AppendRequest(&b.out.batch, &b.ex.req)
	if err := b.out.flush(); err == ErrTooLarge {
		return &failure{code: wire.CodeFieldsTooLarge, err: err}
	} else if err != nil {
		return &failure{code: wire.CodeUpstream, err: err}
	}
	if b.src != nil {
		b.wg.Go(b.pumpLoop)
		defer b.src.stop()
	} else {
		b.s.CloseWrite()
	}
	if isUpgrade || b.src == nil {
		b.awaitHead()
	}
	return b.receive()
}

// open opens the stream.
func (b *peerBulk) open(ctx context.Context) *failure {
	p := b.p
	ps, err := p.awaitStream(ctx)
	if err != nil {
		return &failure{code: wire.CodeUnreachable, isNotStarted: true, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
	defer cancel()
	if b.s, err = ps.openBody(ctx, pathBulk, b.in.own.fields()...); err != nil {
		f := &failure{code: wire.CodeUnreachable, isNotStarted: true, err: err}
		if se, ok := errors.AsType[*pool.StatusError](err); ok && se.Status == 503 {
			f.code = wire.CodeDraining
		}
		return f
	}
	theirs, err := parseTerms(b.s.Header())
	if err != nil {
		b.s.Reset(codeProtocol)
		return &failure{code: wire.CodeInternal, isNotStarted: true, err: fmt.Errorf("peer's terms: %w", err)}
	}
	b.out = newBulkWriter(b.s, p.cfg, b.in.own, theirs)
	b.in.begin(b.s, theirs)
	return nil
}

// receive handles what the back sends until it has ended its side.
func (b *peerBulk) receive() *failure {
	var err error
	for err == nil {
		var rec *wire.Record
		if rec, err = b.in.next(); err == nil {
			err = b.onRecord(rec)
		}
	}
	if err == io.EOF && b.isOver {
		if b.isSwitched { // the back has ended its side; the client may go on
			<-b.s.Done()
		}
		return b.failed
	}
	f := failure{code: wire.CodeUpstream, err: err}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		f = failure{code: wire.CodeTimeout, err: ErrTimeout}
	case err == io.EOF:
		f.err = errCut
	}
	b.s.Reset(codeCancel)
	switch {
	case b.isOver:
		return b.failed
	case b.w != nil:
		b.w.abort(f.err)
	case b.clientGone():
		b.p.inflight.Add(-1)
		b.ex.drop()
	default:
		return &f
	}
	return nil
}

func (b *peerBulk) clientGone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isGone
}

// pumpLoop sends the request's body.
func (b *peerBulk) pumpLoop() {
	switch err := pump(b.src, b); err {
	case errStopped:
	case errGone, errCut:
		b.leave()
	default: // the back takes no more of it, and may answer all the same, in time
		b.awaitHead()
	}
}

// leave ends the exchange for a client that is gone.
func (b *peerBulk) leave() {
	b.mu.Lock()
	b.isGone = true
	b.mu.Unlock()
	b.s.Reset(codeCancel)
}

func (b *peerBulk) write(p []byte) error {
	b.ex.isTouched = true
	return b.out.write(p)
}

func (b *peerBulk) end(trailers []wire.Field) error {
	b.ex.isTouched = true
	err := b.out.end(trailers)
	b.awaitHead()
	return err
}

func (b *peerBulk) abort(err error) { b.out.abort(err) }
func (b *peerBulk) onGone(func())   {}

// awaitHead bounds the wait for the response's head: the request is whole, or no
// more of it is taken.
func (b *peerBulk) awaitHead() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if timeout := b.p.cfg.Timeout; timeout > 0 && !b.hasHead {
		b.s.SetReadDeadline(time.Now().Add(timeout))
	}
}

// headCame ends the wait for it.
func (b *peerBulk) headCame() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hasHead = true
	b.s.SetReadDeadline(time.Time{})
}

// onRecord handles what the back sends on the stream.
func (b *peerBulk) onRecord(rec *wire.Record) error {
	switch {
	case b.isOver:
		return errFuture
	case rec.Type == wire.TypeData && b.w != nil:
		return b.w.write(rec.Data)
	case rec.Type == wire.TypeEnd && b.w != nil:
		b.isOver = true
		return b.w.end(rec.Trailers)
	case b.w != nil:
		return errFuture
	case rec.Type == wire.TypeResponse && rec.Over != wire.OverNone:
		b.failed = &failure{code: wire.CodeResponseTooLarge, isPeers: true, err: ErrTooLarge}
	case rec.Type == wire.TypeResponse:
		return b.onResponse(&rec.Response)
	case rec.Type == wire.TypeFailed:
		b.failed = &failure{code: rec.Code, isPeers: true, err: errors.New(string(rec.Text))}
	case rec.Type == wire.TypeNotStarted:
		b.failed = &failure{code: rec.Code, isPeers: true, isNotStarted: true, after: rec.After}
	default:
		return errFuture
	}
	b.isOver = true
	return io.EOF
}

func (b *peerBulk) onResponse(resp *wire.Response) error {
	if resp.Status < 200 && resp.Status != 101 {
		b.ex.interim(resp)
		return nil
	}
	b.headCame()
	b.p.inflight.Add(-1)
	if resp.BodyKind != wire.BodyFollows {
		b.isOver = true
		b.ex.finish(resp)
		return nil
	}
	b.isSwitched = resp.Status == 101
	if b.w = b.ex.stream(resp); b.w == nil {
		b.isOver = true
		return errGone
	}
	return nil
}

// readyLoop keeps ready streams open on the session until it is over, or the back
// does not know it.
func (ps *peerStream) readyLoop() {
	for {
		ps.sender.mu.Lock()
		isShort := ps.liveReadyLocked() < readyStreams && !ps.isGone
		isGone := ps.isGone
		ps.sender.mu.Unlock()
		switch {
		case isGone:
			return
		case !isShort:
			select {
			case <-ps.readyc:
			case <-ps.gonec:
			}
			continue
		}
		ctx, cancel := context.WithTimeout(ps.p.ctx, bodyWait)
		own := bulkTerms(ps.p.route, allCodecs)
		s, err := ps.openBody(ctx, pathReady, own.fields()...)
		cancel()
		if err != nil {
			if se, ok := errors.AsType[*pool.StatusError](err); ok {
				ps.p.log.Info("no ready streams", "peer", ps.p.end.url, "err", se)
				return
			}
			ps.p.pause(time.Second)
			continue
		}
		id, err := strconv.ParseUint(s.Header().Value("h2tp-stream"), 16, 32)
		if err != nil || id == 0 {
			s.Reset(codeProtocol)
			return
		}
		ps.addReady(uint32(id), s)
	}
}

// readyStream is one the back may acquire. One that is over is kept for a while:
// nothing orders its end and the record that names it.
type readyStream struct {
	s          *pool.Stream
	since      time.Duration
	over       time.Duration // when it ended, 0 while it lives
	isReleased bool
}

func (ps *peerStream) liveReadyLocked() int {
	n := 0
	for _, r := range ps.ready {
		if r.over == 0 {
			n++
		}
	}
	return n
}

// pendingBody is a response whose stream has not been seen yet.
type pendingBody struct {
	// nil when nobody waits any more: the stream is not to be taken for a ready one.
	ex    *exchange
	resp  *wire.Response
	since time.Duration
}

// addReady offers a stream, or gives it to the response that named it before.
func (ps *peerStream) addReady(id uint32, s *pool.Stream) {
	ps.sender.mu.Lock()
	pending, isNamed := ps.named[id]
	delete(ps.named, id)
	isUnwanted := isNamed && pending.ex == nil
	if !isNamed && !ps.isGone {
		ps.ready[id] = &readyStream{s: s, since: ps.p.route.now()}
	}
	isGone := ps.isGone && !isNamed
	ps.sender.mu.Unlock()
	switch {
	case isGone || isUnwanted:
		s.Close()
	case isNamed:
		ps.p.startBody(&frontBody{p: ps.p, ex: pending.ex, resp: pending.resp, s: s})
	default:
		ps.p.startWatch(&readyWatch{ps: ps, id: id, s: s})
	}
}

// readyWatch notices that a ready stream ended without having been acquired.
type readyWatch struct {
	ps *peerStream
	id uint32
	s  *pool.Stream
}

func (w *readyWatch) loop() {
	<-w.s.Done()
	ps := w.ps
	ps.sender.mu.Lock()
	if r := ps.ready[w.id]; r != nil && r.s == w.s {
		r.over = ps.p.route.now()
	}
	ps.sender.mu.Unlock()
	wake(ps.readyc)
}

// onBody handles a response whose body comes on a stream of its own.
func (ps *peerStream) onBody(rec *wire.Record) error {
	if err := ps.checkID(rec.ID); err != nil {
		return err
	}
	ex := ps.take(rec.ID)
	if rec.Type == wire.TypeBodyOnStream {
		ps.sender.mu.Lock()
		id := rec.Response.Stream
		r := ps.ready[id]
		delete(ps.ready, id)
		_, isTwice := ps.named[id]
		if r == nil && !isTwice && (ex != nil || len(ps.named) < maxReady) {
			ps.named[id] = &pendingBody{ex: ex, resp: ownResponse(&rec.Response), since: ps.p.route.now()}
		}
		ps.sender.mu.Unlock()
		wake(ps.readyc)
		switch {
		case isTwice && ex != nil:
			ps.p.fail(ex, failure{code: wire.CodeInternal, isPeers: true, err: errors.New("a stream was named twice")})
			return errFuture
		case r != nil && ex == nil: // cancelled meanwhile
			r.s.Reset(codeCancel)
		case r != nil:
			ps.p.startBody(&frontBody{p: ps.p, ex: ex, resp: ownResponse(&rec.Response), s: r.s})
		}
		return nil
	}
	if ex != nil {
		ps.p.startBody(&frontBody{p: ps.p, ex: ex, resp: ownResponse(&rec.Response), ps: ps, id: rec.ID})
	}
	return nil
}

func (p *peer) startBody(b *frontBody)   { p.wg.Go(b.loop) }
func (p *peer) startWatch(w *readyWatch) { p.wg.Go(w.loop) }

// frontBody brings the body of a batched exchange's response from its stream to
// the client.
type frontBody struct {
	p    *peer
	ex   *exchange
	resp *wire.Response
	s    *pool.Stream
	in   *bulkReader
	ps   *peerStream // to open a stream for exchange id, when s is nil
	id   uint32
}

func (b *frontBody) loop() {
	b.in = newBulkReader(&b.p.cfg.Hop, b.p.route)
	defer b.in.release()
	if b.s == nil && !b.open() {
		return
	}
	p := b.p
	b.resp.BodyKind = wire.BodyFollows
	p.inflight.Add(-1)
	w := b.ex.stream(b.resp)
	if w == nil {
		b.s.Reset(codeCancel)
		return
	}
	w.onGone(b.cancel)
	theirs, err := parseTerms(b.s.Header())
	if err != nil {
		w.abort(err)
		b.s.Reset(codeProtocol)
		return
	}
	b.s.CloseWrite()
	b.in.begin(b.s, theirs)
	readBody(b.in, w)
	b.s.Close()
}

func (b *frontBody) cancel() { b.s.Reset(codeCancel) }

// open opens the stream that the back asked for.
func (b *frontBody) open() bool {
	ctx, cancel := context.WithTimeout(b.p.ctx, bodyWait)
	defer cancel()
	fields := append(b.in.own.fields(), pool.Field{Name: "h2tp-exchange", Value: strconv.FormatUint(uint64(b.id), 10)})
	s, err := b.ps.openBody(ctx, pathBulk, fields...)
	if err != nil {
		b.ex.isSafe = false
		b.p.fail(b.ex, failure{code: wire.CodeUpstream, isPeers: true, err: err})
		return false
	}
	b.s = s
	return true
}

// sweepReadyLocked returns the responses whose stream did not come, and asks for
// the end of ready streams that are too old.
func (ps *peerStream) sweepReadyLocked(now time.Duration) (late []*pendingBody) {
	for id, b := range ps.named {
		switch {
		case now-b.since < bodyWait:
		case b.ex == nil:
			delete(ps.named, id)
		default:
			late = append(late, b)
			ps.named[id] = &pendingBody{since: now}
		}
	}
	for id, r := range ps.ready {
		if r.over > 0 && now-r.over >= bodyWait {
			delete(ps.ready, id)
			continue
		}
		if now-r.since >= readyAge && !r.isReleased && !ps.isEnded && ps.err == nil {
			r.isReleased = true
			before := ps.sizeLocked()
			ps.wenc.AppendRelease(&ps.open, id)
			ps.appendedLocked(before)
		}
	}
	return late
}

// endReadyLocked takes out what waits for streams of a session that is over.
func (ps *peerStream) endReadyLocked() (ready []*pool.Stream, pending []*pendingBody) {
	for id, r := range ps.ready {
		ready = append(ready, r.s)
		delete(ps.ready, id)
	}
	for id, b := range ps.named {
		if b.ex != nil {
			pending = append(pending, b)
		}
		delete(ps.named, id)
	}
	return ready, pending
}
