//go:build unix && !h2tp_portable

package rawconn

import "time"

// A TCP socket sends as much as its congestion window lets it, and where that is
// found by loss the window fills the queue of the slowest link on the way, however
// long that is. What is small and written last waits behind all of it. So where small
// and large share a connection the bytes it holds, sent or not, are kept at what the
// path carries in its least round trip and queueTime.

const (
	// queueTime is the queue that may be, however short the round trip. The sender is
	// woken when a third of what it may hold has gone, and has the rest of it to go on.
	queueTime = time.Millisecond / 2
	// leastQueue is enough for a few of the segments that a socket sends at once.
	leastQueue = 16 << 10
	// mostQueue is what net.core.wmem_max lets anybody set. A path that carries more
	// in its round trip is left alone: the queue is short beside it.
	mostQueue = 384 << 10
	// stuckTurns at leastQueue, and the round trip neither half of what it was nor near
	// what is wanted: others fill the queue. The bound is lifted for pauseTurns, since it
	// only gives them more room.
	stuckTurns = 30
	pauseTurns = 1000
)

// bound is that of one socket. It is looked at once in some milliseconds.
type bound struct {
	size  int           // what the socket may hold; 0: what the kernel thinks
	began time.Duration // the round trip when it was first bound
	stuck int           // turns at leastQueue that did not help
	pause int           // turns to come in which there is no bound
}

// next returns the bound that follows from the smoothed round trip, the least one
// seen, and what is sent and not acknowledged.
func (b *bound) next(rtt, least time.Duration, unacked int) int {
	if b.pause > 0 {
		b.pause--
		return 0
	}
	want := least + max(least, queueTime)
	size := b.size
	switch {
	case size > 0: // half way to where the round trip would be what is wanted
		size = int(int64(size) * int64(rtt+want) / int64(2*max(rtt, want/4)))
	case rtt <= want:
		return 0
	default:
		size = int(int64(unacked) * int64(want) / int64(rtt))
		b.began = rtt
	}
	switch {
	case size > mostQueue:
		size = 0
	case size <= leastQueue:
		size = leastQueue
		if b.stuck++; rtt < max(b.began/2, 4*want) {
			b.stuck = 0
		}
	default:
		b.stuck = 0
	}
	if b.size = size; b.stuck > stuckTurns {
		*b = bound{pause: pauseTurns}
	}
	return b.size
}

// BoundQueue keeps the queue that the socket makes in front of its peer short. To be
// called every few milliseconds while isOn, by one goroutine at a time; then once not
// isOn. It returns how many bytes the socket holds before it takes no more, 0 when it
// is not bound: where the kernel has no means for it, nothing happens.
func (c *Conn) BoundQueue(isOn bool) (held int) {
	was := c.bound.size
	if !isOn {
		c.bound.size, c.bound.stuck = 0, 0
	} else if rtt, least, unacked, ok := roundTrips(c.raw); ok {
		c.bound.next(rtt, least, unacked)
	}
	if c.bound.size != was {
		setHeld(c.raw, c.bound.size)
	}
	return c.bound.size
}
