package proxy

import (
	"strconv"
	"sync"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

const (
	// bulkCoded is the least shared section worth a codec's context of its own.
	bulkCoded = bulkPiece / 8
	// bulkIdle is after how long without a batch an encoder is let go: a body that
	// pauses, or a receiver that does, holds none. It is less than codecIdle.
	bulkIdle = 5 * time.Second
)

// bulkWriter sends records on a stream of their own; a bodyWriter too. It is used
// by one goroutine at a time.
type bulkWriter struct {
	s     *pool.Stream
	hop   *Hop
	tuned tuned
	isRaw bool // the body gains nothing from a codec
	peer  wire.Announced
	wenc  *wire.Encoder
	batch wire.Batch
	out   []byte
	sent  *wayMeter // nil counts nothing

	mu    sync.Mutex // guards all below
	cenc  *compress.Encoder
	isNew bool
	coded time.Time // when cenc was last used
	idle  *time.Timer
}

// newBulkWriter makes a writer to s, which gives up when the peer takes nothing for
// WriteTimeout. It sends as what chooses for the session's batches does, nil with all but Auto.
func newBulkWriter(s *pool.Stream, cfg *Config, own, peer terms, tune *tuneMeter) *bulkWriter {
	w := &bulkWriter{s: s, hop: &cfg.Hop, wenc: wire.NewEncoder(own.limits.Dict(peer.limits)),
		tuned: tuned{peer.sendCodec(codecIDs[cfg.Compress]), cfg.CompressLevel}, peer: peer.limits}
	if tune != nil {
		w.tuned = peer.tuned(tune.tuner.now())
	}
	w.wenc.SetSecrets(cfg.Secrets)
	s.SetWriteTimeout(cfg.WriteTimeout)
	return w
}

// flush sends the records appended to batch.
func (w *bulkWriter) flush() error {
	b := &w.batch
	if len(b.Shared)+len(b.Raw) > w.peer.Batch { // a head: pieces are smaller
		return ErrTooLarge
	}
	plain := len(b.Shared) + len(b.Raw)
	err := w.encode(b)
	b.Shared, b.Raw, b.Clear = b.Shared[:0], b.Raw[:0], false
	if err != nil {
		return err
	}
	w.sent.bytes(plain, len(w.out))
	_, err = w.s.Write(w.out)
	return err
}

// encode makes the bytes of a batch. The encoder may be let go once it has.
func (w *bulkWriter) encode(b *wire.Batch) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cenc == nil && w.tuned.codec != compress.None && len(b.Shared) >= bulkCoded {
		w.beginLocked()
	}
	enc := w.cenc
	if len(b.Shared) < minCoded {
		enc = nil
	}
	if w.out, err = appendBatch(w.out[:0], b, enc, w.isNew); err == nil && enc != nil {
		w.isNew, w.coded = false, time.Now()
	}
	return err
}

// beginLocked begins a context, if there is memory for one: else the batch goes as
// it is, and the next may have more luck.
func (w *bulkWriter) beginLocked() {
	w.cenc, _ = w.hop.newEncoder(w.tuned.codec, w.tuned.level, min(wire.DefaultWindow, w.peer.Window))
	w.isNew = true
	switch {
	case w.cenc == nil:
	case w.idle == nil:
		w.idle = time.AfterFunc(bulkIdle, w.releaseIdle)
	default:
		w.idle.Reset(bulkIdle)
	}
}

// releaseIdle lets go of an encoder that has not been used for bulkIdle; what comes
// after begins a context anew.
func (w *bulkWriter) releaseIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cenc == nil {
		return
	}
	if left := bulkIdle - time.Since(w.coded); left > 0 {
		w.idle.Reset(left)
		return
	}
	w.cenc.Close()
	w.cenc = nil
}

func (w *bulkWriter) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), bulkPiece)
		w.wenc.AppendData(&w.batch, p[:n], w.isRaw)
		p = p[n:]
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// respond sends a whole response, its body in as many batches as it takes.
func (w *bulkWriter) respond(resp *wire.Response) error {
	if resp.BodyKind != wire.BodyWhole || len(resp.Body) <= bulkPiece {
		w.wenc.AppendResponse(&w.batch, 1, resp)
		return w.flush()
	}
	head := *resp
	head.BodyKind, head.Body, head.Trailers = wire.BodyFollows, nil, nil
	if len(resp.Trailers) == 0 && bodyLength(resp.Fields) < 0 {
		head.Fields = append(head.Fields[:len(head.Fields):len(head.Fields)],
			wire.Field{Name: []byte(contentLength), Value: strconv.AppendInt(nil, int64(len(resp.Body)), 10)})
	}
	w.isRaw = resp.RawBody
	w.wenc.AppendResponse(&w.batch, 1, &head)
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.write(resp.Body); err != nil {
		return err
	}
	w.wenc.AppendEnd(&w.batch, resp.Trailers)
	return w.flush()
}

func (w *bulkWriter) end(trailers []wire.Field) error {
	defer w.release()
	w.wenc.AppendEnd(&w.batch, trailers)
	if err := w.flush(); err != nil {
		return err
	}
	return w.s.CloseWrite()
}

func (w *bulkWriter) abort(error) {
	w.release()
	w.s.Reset(codeCancel)
}

func (w *bulkWriter) onGone(func()) {}

// release ends the encoder; what is written after goes as it is.
func (w *bulkWriter) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tuned.codec = compress.None
	if w.cenc != nil {
		w.cenc.Close()
		w.cenc = nil
		w.idle.Stop()
	}
}
