package proxy

import (
	"context"
	"errors"
	"strconv"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// keepReady begins to keep ready streams open on the session.
func (ps *peerStream) keepReady() (err error) {
	cfg := &ps.p.cfg.Hop
	ps.ready, err = ps.p.bulk.Ready(pool.ReadyConfig{
		Open: ps.openReady, IDField: fieldStream, OpenTimeout: bodyWait, Release: ps.askRelease, Lost: ps.readers.drop,
		MinCapacity: min(cfg.MinReady, cfg.MaxReady), MaxCapacity: cfg.MaxReady,
	})
	return err
}

// openReady announces codecs for whose contexts there is memory, which is held until
// the stream is over or its body is.
func (ps *peerStream) openReady(ctx context.Context) (*pool.Stream, error) {
	in := newReadyReader(&ps.p.cfg.Hop, ps.p.route)
	s, err := ps.openBody(ctx, pathReady, in.own.fields()...)
	if err != nil {
		in.release()
		return nil, err
	}
	ps.readers.add(s, in)
	return s, nil
}

// askRelease asks the back to end a ready stream: only it knows that it did not
// acquire it.
func (ps *peerStream) askRelease(id uint32) {
	ps.sender.mu.Lock()
	defer ps.sender.mu.Unlock()
	if ps.err == nil && !ps.isEnded {
		before := ps.sizeLocked()
		ps.wenc.AppendRelease(&ps.open, id)
		ps.appendedLocked(before)
	}
}

// readyLoop ends the ready streams once the session is over and each response that
// named one has met it.
func (ps *peerStream) readyLoop() {
	<-ps.gonec
	ps.ready.Drain()
	for !ps.isOver() {
		<-ps.readyc
	}
	ps.ready.Close()
}

func (ps *peerStream) isOver() bool {
	ps.sender.mu.Lock()
	defer ps.sender.mu.Unlock()
	return ps.err != nil && ps.takers == 0
}

// onBody handles a response whose body comes on a stream of its own.
func (ps *peerStream) onBody(rec *wire.Record) error {
	if err := ps.checkID(rec.ID); err != nil {
		return err
	}
	isNamed := rec.Type == wire.TypeBodyOnStream
	ps.sender.mu.Lock()
	ex := ps.takeLocked(rec.ID)
	if ex != nil {
		ps.takers++
	}
	ps.sender.mu.Unlock()
	switch {
	case ex != nil:
		b := &frontBody{ps: ps, ex: ex, id: rec.ID, resp: ownResponse(&rec.Response), isNamed: isNamed}
		ps.p.wg.Go(b.loop)
	case isNamed: // cancelled meanwhile
		ps.ready.Drop(rec.Response.Stream)
	}
	return nil
}

// frontBody brings the body of a batched exchange's response from its stream to
// the client.
type frontBody struct {
	ps      *peerStream
	ex      *exchange
	id      uint32 // of the exchange
	resp    *wire.Response
	isNamed bool // the back named a ready stream; else it asked for one
	s       *pool.Stream
	in      *bulkReader
}

func (b *frontBody) loop() {
	ps, p := b.ps, b.ps.p
	err := b.meet()
	if b.in != nil {
		b.in.came = &p.hop.in
		defer b.in.release()
	}
	ps.sender.mu.Lock()
	ps.takers--
	ps.sender.mu.Unlock()
	wake(ps.readyc)
	if err != nil {
		b.ex.isSafe = false
		p.fail(b.ex, failure{code: wire.CodeUpstream, isPeers: true, err: err})
		if errors.Is(err, pool.ErrTaken) { // named twice
			ps.stream.Reset(codeProtocol)
		}
		return
	}
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

// meet waits for the stream that the back named, or opens the one it asked for.
func (b *frontBody) meet() (err error) {
	ctx, cancel := context.WithTimeout(b.ps.p.ctx, bodyWait)
	defer cancel()
	if b.isNamed {
		if b.s, err = b.ps.ready.Take(ctx, b.resp.Stream); err == nil {
			b.in = b.ps.readers.take(b.s)
		}
		return err
	}
	b.in = newBulkReader(&b.ps.p.cfg.Hop, b.ps.p.route)
	fields := append(b.in.own.fields(), pool.Field{Name: "h2tp-exchange", Value: strconv.FormatUint(uint64(b.id), 10)})
	b.s, err = b.ps.openBody(ctx, pathBulk, fields...)
	return err
}
