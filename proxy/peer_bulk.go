package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// bodyWait bounds how long one end waits for the other to open, or name, the
// stream of a body.
const bodyWait = 5 * time.Second

// carry sends an exchange on a stream of its own.
func (p *peer) carry(ex *exchange) {
	p.inflight.Add(1)
	b := &peerBulk{p: p, ex: ex, src: ex.src}
	if f := b.run(); f != nil {
		p.fail(ex, *f) // nothing of this attempt is left: there may be another
	}
}

// header is what opens a ready or bulk stream of this session.
func (ps *peerStream) header(path string, fields ...pool.Field) pool.Header {
	fields = append(fields, pool.Field{Name: "h2tp-session", Value: ps.session, Sensitive: true})
	fields = append(fields, ps.p.cfg.tokenFields()...)
	return pool.Header{Authority: ps.p.end.host, Path: ps.p.end.prefix + path, Fields: fields}
}

// openBody opens a ready or bulk stream of this session. A 421 says that an
// intermediary took it to another back: then on the batched stream's connection, as
// when the back drains.
func (ps *peerStream) openBody(ctx context.Context, path string, fields ...pool.Field) (*pool.Stream, error) {
	h := ps.header(path, fields...)
	if !ps.isSpread.Load() && !ps.isLeft.Load() {
		s, err := ps.p.bulk.Open(ctx, h, nil)
		if se, ok := errors.AsType[*pool.StatusError](err); !ok || se.Status != 421 {
			return s, err
		}
		if !ps.isLeft.Load() && ps.isSpread.CompareAndSwap(false, true) {
			ps.p.log.Warn("streams reach another back: an intermediary spreads them", "peer", ps.p.end.url)
		}
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
	b.in.came = &b.p.hop.in
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
	} else if err != nil && !isAnswered(err) {
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

// isAnswered reports whether the back takes no more of a request since it has answered (RFC 9113 8.1), which
// the end of a write may be told of first: the answer stands to be read.
func isAnswered(err error) bool {
	re, ok := errors.AsType[*pool.ResetError](err)
	return ok && re.Code == http2.ErrCodeNo && !re.Local
}

// open opens the stream.
func (b *peerBulk) open(ctx context.Context) *failure {
	p := b.p
	ps, f := p.admit(ctx, b.ex)
	if f != nil {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ConnectTimeout)
	defer cancel()
	var err error
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
	b.out = newBulkWriter(b.s, p.cfg, b.in.own, theirs, ps.tune)
	b.out.sent = &p.hop.out
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
