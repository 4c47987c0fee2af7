package pool

import (
	"net"
	"time"

	"golang.org/x/net/http2"
)

// Bulk streams do not write into out: each waits in a queue with what it has to
// send, and whoever writes to the socket takes a frame of each in turn behind what
// is in out. So batches and answers wait for one write to the socket at most, and
// no bulk stream for more than a frame of each other.

const (
	// minBulk and maxBulk bound the bulk in one write to the socket, but for the last
	// frame, which is whole, lest streams lose turns to what was left of the bound.
	minBulk = minPeerFrame
	maxBulk = 256 << 10
	// minTurn is what no stream waits a turn for: it goes with the frame before.
	minTurn = 1 << 10
	// bulkTime is how long such a write may take before the next has less.
	bulkTime = time.Millisecond
)

// queueLocked lets s stand in the queue while it may send.
func (c *conn) queueLocked(s *Stream) {
	if !s.isQueued && len(s.unsent) > 0 && s.sendWindow > 0 {
		s.isQueued = true
		c.bulk = append(c.bulk, s)
	}
}

// takeBulkLocked appends to out what a write may have of bulk, and reports whether
// that is any. Of self, whose Write the caller is, it may leave payloads where they are.
func (c *conn) takeBulkLocked(self *Stream) bool {
	limit := int64(c.bulkLimit)
	if c.heldBytes > 0 {
		limit = min(limit, int64(max(minBulk, c.heldBytes/4)))
	}
	left := limit
	frame := min(int64(c.peerFrame), max(minBulk, left/4))
	for left > 0 && c.sendWindow > 0 && len(c.bulk) > 0 && c.leaving == nil {
		s := c.bulk[0]
		k := copy(c.bulk, c.bulk[1:])
		c.bulk[k] = nil
		c.bulk = c.bulk[:k]
		s.isQueued = false
		if s.err != nil || s.isSendEnd {
			continue // nothing may follow its end
		}
		turn := frame
		if rest := int64(len(s.unsent)) - frame; rest < minTurn && frame+rest <= int64(c.peerFrame) {
			turn += rest
		}
		n := min(int64(len(s.unsent)), s.sendWindow, c.sendWindow, turn)
		if n <= 0 {
			continue
		}
		if s == self && c.gatherer != nil && n >= minGather {
			c.out = appendFrameHeader(c.out, int(n), http2.FrameData, 0, s.id)
			c.loans = append(c.loans, loan{len(c.out), s.unsent[:n]})
		} else {
			c.out = appendData(c.out, s.id, s.unsent[:n], false)
		}
		s.unsent = s.unsent[n:]
		s.sendWindow -= n
		c.sendWindow -= n
		left -= n
		c.repaySentLocked(n, len(s.unsent) == 0)
		if len(s.unsent) == 0 {
			s.wakeSenderLocked()
		}
		c.queueLocked(s)
	}
	return left < limit
}

// adaptBulkLocked keeps a write with bulk as short as bulkTime: what comes
// meanwhile waits for it.
func (c *conn) adaptBulkLocked(took time.Duration) {
	switch {
	case took > bulkTime:
		c.bulkLimit = max(minBulk, c.bulkLimit/2)
	case took < bulkTime/4:
		c.bulkLimit = min(maxBulk, c.bulkLimit*2)
	}
}

// bounder is a socket that can keep the queue short that it makes on its way.
type bounder interface {
	// BoundQueue is called every boundPeriod while isOn, and once when it is no more.
	// It returns how many bytes the socket then holds before it takes no more, 0 when
	// that is not bounded. The last write it takes comes on top.
	BoundQueue(isOn bool) (held int)
}

const (
	boundPeriod  = 10 * time.Millisecond
	unboundAfter = 500 * time.Millisecond // without bulk
)

// bounderOf returns the socket below TLS, if it is a bounder; else nil.
func bounderOf(nc net.Conn) bounder {
	if r := recordsOf(nc); r != nil {
		nc = r.Conn
	}
	b, _ := nc.(bounder)
	return b
}

// boundQueueLocked bounds the socket's queue while bulk goes through it, and batches
// through it or another connection of the Mix.
func (c *conn) boundQueueLocked(hasBulk bool) {
	now := c.writeSince
	since := now.Sub(c.boundAt)
	switch {
	case hasBulk && since >= boundPeriod:
		c.boundAt = now
		if isMixed := c.cfg.Mix.isMixed(now); isMixed || c.isBound {
			c.isBound = isMixed
			c.heldBytes = c.bounder.BoundQueue(isMixed)
		}
	case c.isBound && since >= unboundAfter:
		c.isBound = false
		c.heldBytes = c.bounder.BoundQueue(false)
	}
}
