package proxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// codeInternal and the others are HTTP/2 error codes (RFC 9113 section 7).
const (
	codeProtocol pool.Code = 0x1
	codeInternal pool.Code = 0x2
	codeCancel   pool.Code = 0x8
	codeCalm     pool.Code = 0xb
)

// What X-Forwarded-For, Via and Upgrade may add to a head.
const (
	addedFields = 8
	addedBytes  = 1 << 10
)

// unbatcher is the other direction: it puts batches together from DATA payloads,
// decodes them and hands out their records. It is owned by the connection's
// reading goroutine.
type unbatcher struct {
	decoding
	limits wire.Limits
	wdec   *wire.Decoder
	buf    []byte        // a batch that is not whole yet
	held   int64         // of the route's memory, for buf
	parts  time.Duration // when buf was last of use, on the route's clock
	route  *route
	came   *wayMeter

	lastRecv atomic.Int64 // when a batch came last, on the route's clock
	rec      wire.Record

	mu     sync.Mutex // held by receive, and by whoever gives the memory back
	isOver atomic.Bool

	// onRecord takes each record; what it points to is valid during the call.
	onRecord func(*wire.Record) error
}

// plainBufs are decoded sections: hot, and shared by all streams.
var plainBufs = sync.Pool{New: func() any { b := make([]byte, 0, batchSize+batchSize/4); return &b }}

// partsIdle is for how long a buffer for batches that come in parts is kept without
// use: each would hold memory that is bounded for all.
const partsIdle = 5 * time.Second

// releaseIdle gives the memory of a context back that the peer has not used for
// so long that it must start it anew: PROTOCOL.md section 5; and an idle buffer.
func (u *unbatcher) releaseIdle() {
	if !u.mu.TryLock() {
		return
	}
	if u.cdec != nil && time.Since(u.coded) > 2*codecIdle {
		u.releaseCodec()
	}
	if u.buf != nil && len(u.buf) == 0 && u.route.now()-u.parts > partsIdle {
		u.buf = nil
		u.route.memory.free(&u.held)
	}
	u.mu.Unlock()
	if u.isOver.Load() { // release may have come meanwhile, and does not wait
		u.release()
	}
}

func (u *unbatcher) init(hop *Hop, r *route, own, peer terms, onRecord func(*wire.Record) error) {
	u.mem, u.route = hop.Memory, r
	u.lastRecv.Store(int64(r.now()))
	u.limits = recordLimits(own, r)
	u.window = own.limits.Window
	u.wdec = wire.NewDecoder(own.limits.Dict(peer.limits), u.limits)
	u.onRecord = onRecord
}

// recordLimits are more than a head may have, by what the ends on the way add:
// whether it is too large is the front's to say.
func recordLimits(own terms, r *route) wire.Limits {
	lim := wire.Limits{Batch: own.limits.Batch, Fields: wire.DefaultFields + addedFields, FieldBytes: wire.DefaultFieldBytes + addedBytes}
	if r.cfg != nil && r.cfg.MaxHead > wire.DefaultFieldBytes {
		lim.FieldBytes = r.cfg.MaxHead + addedBytes
	}
	return lim
}

// receive takes the next bytes of the stream; its error is the stream's.
func (u *unbatcher) receive(p []byte) error {
	u.mu.Lock()
	err := u.take(p)
	u.mu.Unlock()
	if u.isOver.Load() {
		u.release()
	}
	return err
}

// release gives all memory back, once no receive is under way.
func (u *unbatcher) release() {
	u.isOver.Store(true)
	if u.mu.TryLock() {
		u.releaseCodec()
		u.buf = nil
		if u.route != nil {
			u.route.memory.free(&u.held)
		}
		u.mu.Unlock()
	}
}

func (u *unbatcher) take(p []byte) error {
	if u.isOver.Load() {
		return pool.ErrClosed
	}
	if u.route == nil {
		return nil // the text of a refusal
	}
	for len(p) > 0 {
		if len(u.buf) == 0 {
			n, err := u.whole(p)
			if err != nil {
				return err
			}
			if n > 0 && n <= len(p) {
				if err := u.batch(p[:n]); err != nil {
					return err
				}
				p = p[n:]
				continue
			}
			return u.keep(p)
		}
		// Complete the header first, then what it promises.
		want := wire.HeaderSize
		if len(u.buf) >= wire.HeaderSize {
			n, err := u.whole(u.buf)
			if err != nil {
				return err
			}
			want = n
		}
		k := min(len(p), want-len(u.buf))
		if err := u.keep(p[:k]); err != nil {
			return err
		}
		p = p[k:]
		if len(u.buf) < want || want == wire.HeaderSize {
			continue
		}
		if err := u.batch(u.buf); err != nil {
			return err
		}
		u.parts = time.Duration(u.lastRecv.Load())
		if u.buf = u.buf[:0]; cap(u.buf) > keepBuffer {
			u.buf = nil
			u.route.memory.free(&u.held)
		}
	}
	return nil
}

// keep holds what has come of a batch.
func (u *unbatcher) keep(p []byte) error {
	u.buf = append(u.buf, p...)
	if !u.route.memory.hold(&u.held, int64(cap(u.buf))) {
		return &pool.ResetError{Code: codeCalm, Local: true}
	}
	return nil
}

// whole returns the length of the batch that begins p, 0 while its header is
// not complete.
func (u *unbatcher) whole(p []byte) (int, error) {
	if len(p) < wire.HeaderSize {
		return 0, nil
	}
	h, err := wire.ParseHeader(p, u.limits.Batch)
	if err != nil {
		return 0, streamError(err)
	}
	return wire.HeaderSize + h.Coded + h.Raw, nil
}

var errSum = errors.New("checksum mismatch")

// batch handles one whole batch.
func (u *unbatcher) batch(p []byte) error {
	h, err := wire.ParseHeader(p, u.limits.Batch)
	if err != nil {
		return streamError(err)
	}
	shared := p[wire.HeaderSize : wire.HeaderSize+h.Coded]
	raw := p[wire.HeaderSize+h.Coded:]
	if h.Codec != 0 {
		buf := plainBufs.Get().(*[]byte)
		defer func() {
			if cap(*buf) <= keepBuffer {
				plainBufs.Put(buf)
			}
		}()
		if *buf, err = u.decode((*buf)[:0], shared, h); err != nil {
			return &pool.ResetError{Code: codeProtocol, Local: true}
		}
		shared = *buf
	}
	if wire.Checksum(shared, raw) != h.Sum {
		return errSum
	}
	u.lastRecv.Store(int64(u.route.now()))
	u.wdec.Reset(shared, raw, h.Clear)
	for records := 0; ; records++ {
		if err := u.wdec.Next(&u.rec); err != nil {
			if err == io.EOF {
				u.came.batch(records, h.Plain+h.Raw, len(p))
				return nil
			}
			return streamError(err)
		}
		if err := u.onRecord(&u.rec); err != nil {
			return err
		}
	}
}

// streamError gives a wire error the code it resets the stream with.
func streamError(err error) error {
	if we, ok := errors.AsType[*wire.Error](err); ok {
		return &pool.ResetError{Code: pool.Code(we.Code), Local: true}
	}
	return err
}
