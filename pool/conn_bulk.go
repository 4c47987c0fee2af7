package pool

import "time"

// Bulk streams do not write into out: each waits in a queue with what it has to
// send, and whoever writes to the socket takes a frame of each in turn behind what
// is in out. So batches and answers wait for one write to the socket at most, and
// no bulk stream for more than a frame of each other.

const (
	// minBulk and maxBulk bound the bulk in one write to the socket.
	minBulk = minPeerFrame
	maxBulk = 256 << 10
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
// that is any.
func (c *conn) takeBulkLocked() bool {
	left := int64(c.bulkLimit)
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
		n := min(int64(len(s.unsent)), s.sendWindow, c.sendWindow, frame, left)
		if n <= 0 {
			continue
		}
		c.out = appendData(c.out, s.id, s.unsent[:n], false)
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
	return left < int64(c.bulkLimit)
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
