package proxy

import (
	"bytes"
	"errors"
	"io"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// bulkPiece is how much of a body is read, and sent as one batch, at a time.
const bulkPiece = 32 << 10

// bulkBatch is the largest batch announced for bulk and ready streams: a piece, or
// the largest head, needs no more, and a receiver holds one.
const bulkBatch = 128 << 10

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
	// restart undoes stop, for another reader: of a source that gave nothing yet.
	restart()
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
func bulkTerms(r *route, codecs []compress.ID) terms {
	t := terms{codecs: codecs, limits: wire.DefaultAnnounced()}
	if t.limits.Batch = bulkBatch; r.cfg != nil {
		t.limits.Batch = max(bulkBatch, 2*r.cfg.MaxHead)
	}
	return t
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
