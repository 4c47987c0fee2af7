package proxy

import (
	"io"
	"sync"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// bulkRoom is what a batch with one piece of a body takes, and some more.
const bulkRoom = bulkPiece + 1<<10

// bulkBufs are for what comes on bulk and ready streams, as read and decoded.
var bulkBufs = sync.Pool{New: func() any { b := make([]byte, 0, bulkRoom); return &b }}

// bulkReader takes records from a stream of their own, one at a time, by calls
// that wait. It is used by one goroutine at a time.
type bulkReader struct {
	decoding
	own   terms // what is announced for it
	s     *pool.Stream
	route *route
	held  int64 // of the route's memory, for what both buffers have above bulkRoom
	wdec  *wire.Decoder
	rec   wire.Record
	came  *wayMeter // nil counts nothing

	in    *[]byte // what was read; (*in)[at:] is not used up
	at    int
	size  int     // of the batch in hand, which begins at at; 0 when there is none
	plain *[]byte // its shared section, decoded
}

// newBulkReader makes a reader before its stream is opened, or answered, with a
// context for the codecs it announces.
func newBulkReader(hop *Hop, rt *route) *bulkReader {
	r := newLightReader(hop, rt)
	r.own.codecs = r.prepare(hop.Memory, r.own.limits.Window)
	return r
}

// newReadyReader is newBulkReader for a stream that may never be used: it leaves half
// of the codecs' memory to those that are.
func newReadyReader(hop *Hop, rt *route) *bulkReader {
	if limit := hop.Memory.Limit(); limit >= 0 && hop.Memory.Used() > limit/2 {
		return newLightReader(hop, rt)
	}
	return newBulkReader(hop, rt)
}

// newLightReader is newBulkReader for what gains nothing from a codec.
func newLightReader(hop *Hop, rt *route) *bulkReader {
	r := &bulkReader{own: bulkTerms(rt, lightCodecs), route: rt}
	r.mem, r.window = hop.Memory, r.own.limits.Window
	return r
}

// begin makes r read from s, once the peer's terms are known.
func (r *bulkReader) begin(s *pool.Stream, peer terms) {
	r.s = s
	r.wdec = wire.NewDecoder(r.own.limits.Dict(peer.limits), recordLimits(r.own, r.route))
}

// next returns the next record, which is valid until the call after. After an error
// of the stream's deadline it may be called again.
func (r *bulkReader) next() (*wire.Record, error) {
	for {
		if r.size > 0 {
			err := r.wdec.Next(&r.rec)
			if err == nil {
				return &r.rec, nil
			}
			if err != io.EOF {
				return nil, streamError(err)
			}
			r.at += r.size
			r.size = 0
			r.shrink()
		}
		if err := r.nextBatch(); err != nil {
			return nil, err
		}
	}
}

// nextBatch reads until a batch is whole, and begins it.
func (r *bulkReader) nextBatch() error {
	for {
		want := wire.HeaderSize
		if r.in != nil && len(*r.in)-r.at >= want {
			p := (*r.in)[r.at:]
			h, err := wire.ParseHeader(p, r.own.limits.Batch)
			if err != nil {
				return streamError(err)
			}
			if want += h.Coded + h.Raw; len(p) >= want {
				return r.beginBatch(h, p[wire.HeaderSize:want])
			}
		}
		if err := r.fill(want); err != nil {
			return err
		}
	}
}

func (r *bulkReader) beginBatch(h wire.Header, p []byte) error {
	shared, raw := p[:h.Coded], p[h.Coded:]
	if h.Codec != 0 {
		if r.plain == nil {
			r.plain = bulkBufs.Get().(*[]byte)
		}
		var err error
		if *r.plain, err = r.decode((*r.plain)[:0], shared, h); err != nil {
			return &pool.ResetError{Code: codeProtocol, Local: true}
		}
		shared = *r.plain
		if err := r.account(); err != nil {
			return err
		}
	}
	if wire.Checksum(shared, raw) != h.Sum {
		return errSum
	}
	r.size = wire.HeaderSize + len(p)
	r.came.bytes(h.Plain+h.Raw, r.size)
	r.wdec.Reset(shared, raw, h.Clear)
	return nil
}

// fill reads once, into a buffer with room for a batch of want bytes.
func (r *bulkReader) fill(want int) error {
	if r.in == nil {
		r.in = bulkBufs.Get().(*[]byte)
		*r.in = (*r.in)[:0]
	}
	b := *r.in
	if rest := b[r.at:]; cap(b)-r.at < want {
		if cap(b) < want { // a peer that sends larger pieces than ours
			b = make([]byte, len(rest), want)
		} else {
			b = b[:len(rest)]
		}
		copy(b, rest)
		r.at = 0
		*r.in = b
		if err := r.account(); err != nil {
			return err
		}
	}
	n, err := r.s.Read(b[len(b):cap(b)])
	if n > 0 {
		*r.in = b[:len(b)+n]
		return nil
	}
	return err
}

// account counts what the buffers have more than their share.
func (r *bulkReader) account() error {
	more := 0
	for _, b := range []*[]byte{r.in, r.plain} {
		if b != nil {
			more += max(0, cap(*b)-bulkRoom)
		}
	}
	if !r.route.memory.hold(&r.held, int64(more)) {
		return &pool.ResetError{Code: codeCalm, Local: true}
	}
	return nil
}

// shrink lets go of what large batches left, once all was used.
func (r *bulkReader) shrink() {
	if r.at < len(*r.in) {
		return
	}
	*r.in, r.at = (*r.in)[:0], 0
	if cap(*r.in) > bulkRoom {
		r.in = nil
	}
	if r.plain != nil && cap(*r.plain) > bulkRoom {
		r.plain = nil
	}
	r.account()
}

// release gives all memory back.
func (r *bulkReader) release() {
	r.releaseCodec()
	for _, b := range []*[]byte{r.in, r.plain} {
		if b != nil && cap(*b) <= bulkRoom {
			bulkBufs.Put(b)
		}
	}
	r.in, r.plain, r.at, r.size = nil, nil, 0, 0
	r.route.memory.free(&r.held)
}

// readBody hands a body's records to w until it is whole; nil then.
func readBody(r *bulkReader, w bodyWriter) error {
	isEnded := false
	for {
		rec, err := r.next()
		switch {
		case err == io.EOF && isEnded:
			return nil
		case err == io.EOF:
			err = errCut
		case err != nil:
		case isEnded:
			err = errFuture
		case rec.Type == wire.TypeData:
			err = w.write(rec.Data)
		case rec.Type == wire.TypeEnd:
			isEnded = true
			err = w.end(rec.Trailers)
		default:
			err = errFuture
		}
		if err == nil {
			continue
		}
		if !isEnded {
			w.abort(err)
		}
		r.s.Reset(codeCancel)
		return err
	}
}
