package proxy

import (
	"bytes"
	"errors"
	"io"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// bulkPiece is how much of a body is read, and sent as one batch, at a time.
const bulkPiece = 32 << 10

// bulkBatch is the largest batch announced for bulk and ready streams: a sender
// of pieces needs no more, and a receiver holds one.
const bulkBatch = 256 << 10

// source is a body that comes piece by piece. One goroutine reads it; stop may be
// called from any.
type source interface {
	// next returns the next piece, valid until the call after; io.EOF after the
	// last, and from then on it waits until the sender is gone (errGone), or stop
	// (errStopped).
	next() ([]byte, error)
	// trailers are those behind the body, after io.EOF.
	trailers() []wire.Field
	// stop ends a next that waits.
	stop()
	// onGone says what ends the work when the sender is gone, for the times when nobody is in next. Only the last f
	// counts; it may be called at any time until stop returns, at once too, and more than once.
	onGone(f func())
}

var (
	errGone    = errors.New("client is gone")
	errStopped = errors.New("stopped")
	errCut     = errors.New("body cut short")
	errFraming = errors.New("body is not as long as its Content-Length")
)

// bodyWriter takes a body piece by piece, for the one who waits for it. Its
// methods may wait; a piece is on its way when write returns. The exchange is
// over with end or abort.
type bodyWriter interface {
	write(p []byte) error
	end(trailers []wire.Field) error
	// abort cuts the body short, so that it is not taken as whole.
	abort(err error)
	// onGone says what ends the work for the body when nobody waits for it any more,
	// so that a sender that is silent is not waited for. f is called at most once,
	// not after end or abort, and must not call w. The body of an exchange that goes by
	// carry has no use for it: there the request's source tells.
	onGone(f func())
}

// bulkTerms is what is announced for bulk and ready streams.
func bulkTerms(codecs []compress.ID) terms {
	t := terms{codecs: codecs, limits: wire.DefaultAnnounced()}
	t.limits.Batch = bulkBatch
	return t
}

// bulkWriter sends records on a stream of their own; a bodyWriter too. It is used
// by one goroutine at a time.
type bulkWriter struct {
	s     *pool.Stream
	hop   *Hop
	codec compress.ID
	isRaw bool // the body gains nothing from a codec
	wenc  *wire.Encoder
	cenc  *compress.Encoder
	isNew bool
	batch wire.Batch
	out   []byte
}

func newBulkWriter(s *pool.Stream, hop *Hop, own, peer terms) *bulkWriter {
	w := &bulkWriter{s: s, hop: hop, wenc: wire.NewEncoder(own.limits.Dict(peer.limits)), codec: peer.sendCodec(codecIDs[hop.Compress])}
	w.wenc.SetSecrets(hop.Secrets)
	return w
}

// flush sends the records appended to batch.
func (w *bulkWriter) flush() error {
	b := &w.batch
	if w.cenc == nil && w.codec != compress.None && len(b.Shared) >= bulkPiece/8 {
		w.cenc, _ = w.hop.Memory.NewEncoder(w.codec, compress.EncoderOptions{})
		w.isNew = true
		if w.cenc == nil {
			w.codec = compress.None
		}
	}
	enc := w.cenc
	if len(b.Shared) < minCoded {
		enc = nil
	}
	out, err := appendBatch(w.out[:0], b, enc, w.isNew)
	if err != nil {
		return err
	}
	if enc != nil {
		w.isNew = false
	}
	w.out = out
	b.Shared, b.Raw, b.Clear = b.Shared[:0], b.Raw[:0], false
	_, err = w.s.Write(out)
	return err
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

func (w *bulkWriter) release() {
	if w.cenc != nil {
		w.cenc.Close()
		w.cenc, w.codec = nil, compress.None
	}
}

// bulkReader reads records from a stream of their own, by blocking calls.
type bulkReader struct {
	s   *pool.Stream
	u   unbatcher
	buf []byte
}

func newBulkReader(s *pool.Stream, hop *Hop, rt *route, own, peer terms, onRecord func(*wire.Record) error) *bulkReader {
	r := &bulkReader{s: s, buf: make([]byte, bulkPiece)}
	r.u.init(hop, rt, own, peer, onRecord)
	return r
}

// more reads once and hands out the records that became whole.
func (r *bulkReader) more() error {
	n, err := r.s.Read(r.buf)
	if n > 0 {
		if err := r.u.receive(r.buf[:n]); err != nil {
			return err
		}
	}
	return err
}

func (r *bulkReader) release() { r.u.release() }

// readBody hands a body's records to w until it is whole; nil then.
func readBody(s *pool.Stream, hop *Hop, rt *route, own, peer terms, w bodyWriter) error {
	isEnded := false
	r := newBulkReader(s, hop, rt, own, peer, func(rec *wire.Record) error {
		switch {
		case isEnded:
			return errFuture
		case rec.Type == wire.TypeData:
			return w.write(rec.Data)
		case rec.Type == wire.TypeEnd:
			isEnded = true
			return w.end(rec.Trailers)
		}
		return errFuture
	})
	defer r.release()
	for {
		err := r.more()
		switch {
		case err == io.EOF && isEnded:
			return nil
		case err == io.EOF:
			err = errCut
		case err == nil:
			continue
		}
		if !isEnded {
			w.abort(err)
		}
		s.Reset(codeCancel)
		return err
	}
}

// pump sends a request's body until it is whole, and then waits for the client to
// leave. It returns why it ended: errStopped when the response was over first,
// errGone or errCut when the client was, else what w said. A body that was not
// whole is then the caller's to abort.
func pump(src source, w bodyWriter) error {
	isEnded := false
	for {
		p, err := src.next()
		switch {
		case err == io.EOF && !isEnded:
			isEnded = true
			if err := w.end(src.trailers()); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if err := w.write(p); err != nil {
				return err
			}
		}
	}
}

// ownResponse is a response that outlives the batch it came in.
func ownResponse(resp *wire.Response) *wire.Response {
	own := *resp
	own.Fields, own.Trailers, own.Body = ownFields(resp.Fields), nil, nil
	if resp.Reason != nil {
		own.Reason = append([]byte{}, resp.Reason...)
	}
	return &own
}

// ownFields are fields that outlive the batch they came in.
func ownFields(fields []wire.Field) []wire.Field {
	own := make([]wire.Field, len(fields))
	for i, f := range fields {
		own[i] = wire.Field{Name: bytes.Clone(f.Name), Value: bytes.Clone(f.Value), Secret: f.Secret}
	}
	return own
}
