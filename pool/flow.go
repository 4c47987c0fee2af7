package pool

import (
	"sync"
	"sync/atomic"
	"time"
)

// Windows bounds the receive windows of all streams that share it, and so what
// peers can make a process hold for consumers that do not read. Each stream has
// leastWindow without asking; what it has more counts. A connection takes no more
// than it leaves to others, so that each finds some of it however greedy those
// before were. The zero value has no room.
//
// The least windows are bounded by refusing streams: a server whose connections
// have as many as would hold leastFactor times the limit takes more only on those
// that have less than an equal part.
type Windows struct {
	limit   int64
	used    atomic.Int64
	streams atomic.Int64 // open, that peers opened
	conns   atomic.Int64 // of servers
}

// leastFactor is large, as a least window is rarely full: with the default limit
// it makes 16384 streams, or 1 GiB if peers fill them all and nobody reads.
const leastFactor = 16

// hasPlace reports whether a connection with so many streams may have another.
func (w *Windows) hasPlace(streams int) bool {
	most := leastFactor * max(w.limit, leastWindow) / leastWindow // one stream's at least, lest all are refused
	return w.streams.Load() < most || int64(streams) < most/max(1, w.conns.Load())
}

// NewWindows makes a bound in bytes; zero or less means 64 MiB.
func NewWindows(limit int64) *Windows {
	if limit <= 0 {
		limit = 64 << 20
	}
	return &Windows{limit: limit}
}

// Used returns what counts now, in bytes.
func (w *Windows) Used() int64 { return w.used.Load() }

// Limit returns the bound.
func (w *Windows) Limit() int64 { return w.limit }

// take takes n for a connection that has taken of it already.
func (w *Windows) take(n, of int64) bool {
	if used := w.used.Add(n); of+n > w.limit-used {
		w.used.Add(-n)
		return false
	}
	return true
}

func (w *Windows) give(n int64) { w.used.Add(-n) }

// recvBuffer holds what arrived on a stream and was not read, in pieces that are
// given back as they are read.
type recvBuffer struct {
	pieces []*piece
	size   int
}

type piece struct {
	b    []byte
	read int
}

const (
	// pieceSize is the payload of an ordinary DATA frame.
	pieceSize = 16 << 10
	// largeSize is that of one of bulk: 64 KiB and what those add who frame them, and
	// room to read the next frame's header together with it.
	largeSize = 65 << 10
)

var (
	pieces      = sync.Pool{New: func() any { return &piece{b: make([]byte, 0, pieceSize)} }}
	largePieces = sync.Pool{New: func() any { return &piece{b: make([]byte, 0, largeSize)} }}
)

func (r *recvBuffer) write(p []byte) {
	r.size += len(p)
	for len(p) > 0 {
		var last *piece
		if n := len(r.pieces); n > 0 {
			last = r.pieces[n-1]
		}
		if last == nil || len(last.b) == cap(last.b) {
			last = pieces.Get().(*piece)
			r.pieces = append(r.pieces, last)
		}
		n := min(len(p), cap(last.b)-len(last.b))
		last.b = append(last.b, p[:n]...)
		p = p[n:]
	}
}

// readFrom appends n bytes of a frame's payload. No piece is less than half full but
// for the last of several.
func (r *recvBuffer) readFrom(from *frameReader, n int) error {
	for n > 0 {
		kind, size := &pieces, pieceSize
		if n >= 32<<10 {
			kind, size = &largePieces, largeSize-headerAhead
		}
		last := kind.Get().(*piece)
		r.pieces = append(r.pieces, last)
		last.b = last.b[:min(n, size)]
		if err := from.readPayload(last.b); err != nil {
			return err
		}
		r.size += len(last.b)
		n -= len(last.b)
	}
	return nil
}

// take moves what another holds behind what r does.
func (r *recvBuffer) take(from *recvBuffer) {
	r.pieces = append(r.pieces, from.pieces...)
	r.size += from.size
	clear(from.pieces)
	from.pieces, from.size = nil, 0
}

func (r *recvBuffer) readTo(p []byte) int {
	done := 0
	for done < len(p) && len(r.pieces) > 0 {
		first := r.pieces[0]
		n := copy(p[done:], first.b[first.read:])
		done += n
		if first.read += n; first.read == len(first.b) {
			r.drop()
		}
	}
	r.size -= done
	return done
}

// drop gives the first piece back.
func (r *recvBuffer) drop() {
	first := r.pieces[0]
	first.b, first.read = first.b[:0], 0
	if cap(first.b) == largeSize {
		largePieces.Put(first)
	} else {
		pieces.Put(first)
	}
	n := copy(r.pieces, r.pieces[1:])
	r.pieces[n] = nil
	r.pieces = r.pieces[:n]
}

// free gives all memory back.
func (r *recvBuffer) free() {
	for len(r.pieces) > 0 {
		r.drop()
	}
	r.pieces, r.size = nil, 0
}

func (c *conn) takeWindowLocked(n int64) bool {
	if !c.cfg.Windows.take(n, c.windows) {
		return false
	}
	c.windows += n
	return true
}

func (c *conn) giveWindowLocked(n int64) {
	c.cfg.Windows.give(n)
	c.windows -= n
}

// creditLocked counts n bytes of s as consumed, and returns the credit once it is
// a quarter of the window. Each time a window has been consumed, it doubles if its
// consumer had to wait for the peer meanwhile and it took no longer than a few round
// trips, so that the window may be what the peer waits for; and it is halved, by
// withholding credit, if the consumer did not wait: then the peer waits for the
// consumer, and a larger window would only be more memory.
func (c *conn) creditLocked(s *Stream, n int64) {
	s.recvDue += n
	if s.isRecvEnd || s.err != nil {
		return
	}
	if s.receiver == nil {
		s.consumed += n
		if s.consumed >= s.window {
			c.resizeLocked(s)
		}
	}
	if d := min(s.withheld, s.recvDue); d > 0 {
		s.recvDue -= d
		s.withheld -= d
		s.window -= d
		c.giveWindowLocked(d)
	}
	if s.recvDue >= s.window/4 {
		c.out = appendWindowUpdate(c.out, s.id, uint32(s.recvDue))
		s.recvWindow += s.recvDue
		s.recvDue = 0
		c.kickLocked()
	}
}

// windowTrips is how many round trips a window may take to be consumed and still
// be thought to limit its stream. One that is full at each credit takes one;
// credit comes late when both ends are busy.
const windowTrips = 4

func (c *conn) resizeLocked(s *Stream) {
	s.consumed = 0
	now := time.Since(c.start)
	took := now - s.resized
	s.resized = now
	switch {
	case s.hasWaited && took <= windowTrips*c.rtt && s.window < maxStreamWindow && c.takeWindowLocked(s.window):
		s.recvDue += s.window
		s.window *= 2
		s.withheld = 0
	case !s.hasWaited:
		s.withheld = max(0, min(s.window/2, s.window-initialWindow))
	}
	s.hasWaited = false
}

// widenLocked gives a new stream the window that SETTINGS could not: one with a
// Receiver what its path may need, any other initialWindow, if there is memory.
func (c *conn) widenLocked(s *Stream) {
	want := int64(initialWindow)
	if s.receiver != nil {
		want = receiverWindow
	}
	if s.err != nil || s.isRefused || s.window >= want {
		return
	}
	if s.receiver == nil && !c.takeWindowLocked(want-leastWindow) {
		return
	}
	c.out = appendWindowUpdate(c.out, s.id, uint32(want-s.window))
	s.recvWindow += want - s.window
	s.window = want
}

// forgetWindowLocked ends what s counts for, except for what is yet to be read: s
// is over, but its owner may be slow.
func (c *conn) forgetWindowLocked(s *Stream) {
	if left := max(leastWindow, int64(s.buf.size)); s.receiver == nil && s.window > left {
		c.giveWindowLocked(s.window - left)
		s.window = left
	}
}
