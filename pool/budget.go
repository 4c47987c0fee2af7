package pool

import (
	"encoding/binary"
	"io"
	"time"

	"golang.org/x/net/http2"
)

// budget bounds what a peer may ask of a connection for nothing: frames that move
// no byte and finish no stream, and resets. It is one leaky bucket, in units of
// about the work of a small frame. Time drains it, work done repays it, and a peer
// that fills it is told ENHANCE_YOUR_CALM and cut off.
//
// The rate is what costs one processor a few per cent, and twice what a front sends
// whose clients cancel 5000 exchanges a second before they are answered; the limit
// is two seconds of it, so that a burst of any legitimate kind passes.
type budget struct {
	debt time.Duration // what is owed, as the time that drains it
	at   time.Duration // when debt was looked at, since the connection's start
}

const (
	budgetUnit  = 100 * time.Microsecond // so 10000 units a second
	budgetLimit = 20000 * budgetUnit
)

// spend adds n units at a time; false when the limit is passed.
func (b *budget) spend(n int, now time.Duration) bool {
	b.debt = max(0, b.debt-(now-b.at)) + time.Duration(n)*budgetUnit
	b.at = now
	return b.debt <= budgetLimit
}

// repay takes n units off.
func (b *budget) repay(n int) { b.debt = max(0, b.debt-time.Duration(n)*budgetUnit) }

// spend charges n units; its error ends the connection.
func (c *conn) spend(n int, what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spendLocked(n, what)
}

func (c *conn) spendLocked(n int, what string) error {
	if c.budget.spend(n, time.Duration(c.lastRead.Load())) {
		return nil
	}
	return &ConnError{Code: codeCalm, Reason: "too many useless frames, the last " + what}
}

// repaySentLocked repays for a DATA frame of n bytes what its credit costs: a
// receiver may return it at once, for stream and connection, and in pieces of 1 KiB.
// One that is small, and not what ends a Write, was cut by credit given in crumbs.
func (c *conn) repaySentLocked(n int64, isLast bool) {
	if n >= leastUseful || isLast {
		c.budget.repay(2 + int(n>>9))
	}
}

// leastUseful is the least DATA frame that credit in crumbs does not explain.
const leastUseful = 1 << 10

// provoked resets s, nil if it is gone, for a frame of the peer's that was wrong for
// it, and charges the reset. The block that was decoded for it is charged as well.
func (c *conn) provoked(s *Stream, code Code, err error) error {
	if s != nil {
		s.reset(code, err)
	}
	return c.spend(1+c.in.block>>7, "one that made this end reset a stream")
}

// peerReset charges for the peer's reset of s, before s ends. At a client it costs
// nothing, since this end's calls opened what it ends. At a server it costs unless
// the peer can have waited for the answer.
func (c *conn) peerReset(s *Stream) error {
	if c.isClient {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.isAnswered && time.Duration(c.lastRead.Load())-s.opened >= c.rtt {
		return nil
	}
	return c.spendLocked(1, "RST_STREAM before an answer")
}

// releaseLocked notes that the owner of s is done with it. A stream that the peer
// ended counts as one of the peer's until then: what was begun for it may go on.
func (s *Stream) releaseLocked() {
	s.isReleased = true
	if s.isHeld {
		s.isHeld = false
		s.c.held--
	}
}

// holdLocked begins that, for a stream that ended without its owner; one that its
// owner has not touched, as a ready stream, and that holds nothing is no work.
func (s *Stream) holdLocked() {
	if !s.c.isClient && s.receiver == nil && (s.isUsed || s.buf.size > 0) && !s.isReleased && !s.isHeld {
		s.isHeld = true
		s.c.held++
	}
}

// frameReader follows the frames the Framer reads, and ends a header block of too
// many frames or bytes: the Framer itself reads empty CONTINUATION frames for ever.
type frameReader struct {
	r         *input
	maxBlock  int
	maxFrames int

	left   int // of the frame's payload
	block  int // bytes of the header block, 0 when the last frame was of none
	frames int // its CONTINUATION frames
}

func newFrameReader(r *input, maxHeaderBytes int) *frameReader {
	// A block that is longer than twice its list is no compression; one of frames
	// that are smaller than 8 KiB, bar a few, no sender's choice.
	return &frameReader{r: r, maxBlock: 2*maxHeaderBytes + 1024, maxFrames: 32 + maxHeaderBytes>>13}
}

// readPayload fills p, with a part of the frame's payload.
func (r *frameReader) readPayload(p []byte) error {
	r.left -= len(p)
	return r.r.readPayload(p)
}

func (r *frameReader) Read(p []byte) (int, error) {
	if r.left > 0 {
		n, err := r.r.Read(p[:min(len(p), r.left)])
		r.left -= n
		return n, err
	}
	// Here the Framer asks for the 9 bytes of RFC 9113 4.1 at once.
	n, err := io.ReadFull(r.r, p)
	if err != nil {
		return n, err
	}
	r.left = int(binary.BigEndian.Uint32(p) >> 8)
	switch http2.FrameType(p[3]) {
	case http2.FrameHeaders:
		r.block, r.frames = r.left, 0
	case http2.FrameContinuation:
		r.block += r.left
		r.frames++
		if r.block > r.maxBlock || r.frames > r.maxFrames {
			return 0, &ConnError{Code: codeCalm, Reason: "header block of too many frames or bytes"}
		}
	default:
		r.block = 0
	}
	return n, nil
}
