package pool

import (
	"slices"
	"time"
)

// writeLoop writes what nobody else does: frames that readLoop or keepLoop
// appended, and what was appended while another goroutine was in nc.Write.
func (c *conn) writeLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil {
		if c.hasOutLocked() && !c.isWriting {
			c.writeOutLocked(nil)
			continue
		}
		c.isSleeping = true
		c.mu.Unlock()
		select {
		case <-c.kickc:
		case <-c.donec:
		}
		c.mu.Lock()
		c.isSleeping = false
	}
}

// kickLocked makes sure that out gets written: by the goroutine that is writing
// already, or else by writeLoop.
func (c *conn) kickLocked() {
	if len(c.out) > outHardLimit && c.err == nil {
		c.err = &ConnError{Code: codeCalm, Reason: "answers are not read"}
		close(c.donec)
		c.closeSocket()
		return
	}
	if c.isSleeping && !c.isWriting {
		c.isSleeping = false
		select {
		case c.kickc <- struct{}{}:
		default:
		}
	}
}

// writeOutLocked writes out and some bulk to the socket, without the lock, and wakes
// the writers that waited for room. The caller has seen that isWriting is false. What
// the bulk stream self has to send need not be copied: its Write is the caller.
func (c *conn) writeOutLocked(self *Stream) {
	hasBulk := c.takeBulkLocked(self)
	if len(c.out) == 0 {
		return
	}
	p, loans := c.out, c.loans
	c.out, c.spare = c.spare[:0], nil
	c.isWriting = true
	c.writing = len(p)
	for _, l := range loans {
		c.writing += len(l.p)
	}
	c.writeSince = time.Now()
	if c.hasBatch {
		c.hasBatch = false
		c.cfg.Mix.noteBatch(c.writeSince)
	}
	if c.bounder != nil && (hasBulk || c.isBound) {
		c.boundQueueLocked(hasBulk)
	}
	c.mu.Unlock()
	n, err := c.writeSocket(p, loans)
	c.bytesOut.Add(n)
	c.mu.Lock()
	c.isWriting, c.writing = false, 0
	clear(loans)
	c.loans = loans[:0]
	if hasBulk {
		c.adaptBulkLocked(time.Since(c.writeSince))
	}
	if cap(p) <= 2*outSoftLimit {
		c.spare = p[:0]
	}
	if err != nil && c.err == nil {
		if c.err = err; c.leaving != nil {
			c.err = c.leaving
		}
		close(c.donec)
		c.closeSocket()
	}
	c.noteBusyLocked()
	c.wakeLocked()
	if c.hasOutLocked() {
		c.kickLocked()
	} else if c.leaving != nil {
		c.leaveLocked()
	}
}

// writeSocket writes out with the loans in their places. It is called by who has set
// isWriting, without the lock.
func (c *conn) writeSocket(out []byte, loans []loan) (int64, error) {
	var n int
	var err error
	switch {
	case len(loans) > 0:
		return c.writeGathered(out, loans)
	case c.records != nil:
		n, err = c.records.writeThrough(c.nc, out)
	case c.drip != nil:
		n, err = c.drip.write(c.nc, out)
	default:
		n, err = c.nc.Write(out)
	}
	return int64(n), err
}

// freeOutLocked gives back what a busier time made of the buffers.
func (c *conn) freeOutLocked() {
	if !c.isWriting && len(c.out) == 0 && cap(c.out)+cap(c.spare) > 64<<10 {
		c.out, c.spare = nil, nil
	}
}

// hasOutLocked reports whether there is something that may be written. A
// connection that is to end takes no more bulk.
func (c *conn) hasOutLocked() bool {
	return len(c.out) > 0 || len(c.bulk) > 0 && c.sendWindow > 0 && c.leaving == nil
}

// lingerTimeout is how long the peer of a connection that ends may take to close
// its side.
const lingerTimeout = time.Second

// closeSoon closes the connection once what is in out has been written, by
// whoever writes. It does not wait for a write of another goroutine.
func (c *conn) closeSoon(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.leaving != nil {
		return
	}
	c.leaving = err
	c.isLeaving.Store(true)
	switch {
	case c.isWriting: // its writer goes on
	case len(c.out) > 0:
		c.writeOutLocked(nil)
	default:
		c.leaveLocked()
	}
}

// leaveLocked closes, or after an end in peace half-closes: a socket closed with
// something unread in it resets the connection, and what the peer has not yet
// received is lost. readLoop goes on until the peer has closed too.
func (c *conn) leaveLocked() {
	if c.err != nil || c.isWriting {
		return
	}
	nc, ok := c.nc.(interface{ CloseWrite() error })
	if c.leaving == ErrClosed && ok {
		c.isWriting = true // for good
		c.writeSince = time.Now()
		c.mu.Unlock()
		c.nc.SetReadDeadline(time.Now().Add(lingerTimeout))
		err := nc.CloseWrite()
		c.mu.Lock()
		if err == nil || c.err != nil {
			return
		}
	}
	c.err = c.leaving
	close(c.donec)
	c.closeSocket()
}

// wakeLocked lets the writers that wait for room in out, or for the
// connection's window, look again, first come first.
func (c *conn) wakeLocked() {
	for i, s := range c.blocked {
		s.isBlocked = false
		s.wakeSenderLocked()
		c.blocked[i] = nil
	}
	c.blocked = c.blocked[:0]
}

// unblockLocked forgets a writer whose stream is over.
func (c *conn) unblockLocked(s *Stream) {
	if s.isBlocked {
		s.isBlocked = false
		i := slices.Index(c.blocked, s)
		c.blocked = slices.Delete(c.blocked, i, i+1)
	}
	if s.isQueued {
		s.isQueued = false
		i := slices.Index(c.bulk, s)
		c.bulk = slices.Delete(c.bulk, i, i+1)
	}
}
