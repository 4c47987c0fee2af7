package proxy

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// pipe makes a connection to an upstream one on which requests wait behind each other, sent already (RFC 9112 9.3.2):
// those that may be sent again, since all are lost with the connection, and behind one whose body is
// streamed none can wait. They are then sent elsewhere, at once and free of --retry-percent.
type pipe struct {
	// Guarded by the upstream's mu.
	depth    int  // exchanges on it, those that nobody waits for included
	isProven bool // the connection outlived a response: others may join (RFC 9112 9.3.2)

	kickc chan struct{} // wakes pipeLoop, capacity 1

	// Guarded by the connection's mu, as is its ex: the one whose response comes next.
	isBusy    bool // a response is to come
	isOrphan  bool // for which nobody waits any more
	isOver    bool // none may join any more
	isLast    bool // the response said that the connection closes: those behind were not started (RFC 9112 9.6)
	behind    []piped
	out       []byte        // requests that are to be written
	unsent    int           // how many those are: the last ones
	isWriting bool          // pipeLoop writes
	since     time.Duration // when ex's response became the next, on the route's clock
}

// piped is one that waits behind others.
type piped struct {
	ex     *exchange // nil when nobody waits for it any more
	isHead bool
}

// maxPipe bounds Limits.Pipeline, and what is searched for one that is cancelled.
const maxPipe = 256

// isPiped reports whether ex may wait behind others, or have them behind itself.
func (u *upstream) isPiped(ex *exchange) bool {
	return u.cfg.Pipeline > 1 && ex.isSafe && ex.attempts < 2
}

// pickPipeLocked returns the connection with the fewest exchanges, nil when there is no room on any; isNew is set when one
// more is to be made.
func (u *upstream) pickPipeLocked() (c *upstreamConn, isNew bool) {
	for _, p := range u.pipes {
		if c == nil || p.pipe.depth < c.pipe.depth {
			c = p
		}
		if c.pipe.depth == 0 {
			return c, false
		}
	}
	if len(u.pipes) < u.cfg.PipelineConns && u.usedLocked() < u.cfg.MaxUpstreamConns {
		return nil, true
	}
	if c == nil || c.pipe.depth >= u.cfg.Pipeline || !c.pipe.isProven {
		return nil, false
	}
	return c, false
}

// dropPipeLocked takes a connection out that none may join any more, with what is on it.
func (u *upstream) dropPipeLocked(c *upstreamConn) {
	if i := slices.Index(u.pipes, c); i >= 0 {
		u.pipes = slices.Delete(u.pipes, i, i+1)
		u.piped -= c.pipe.depth
		c.pipe.depth = 0
	}
}

// pipeDone notes that one exchange is off the connection, and whether it was answered.
func (u *upstream) pipeDone(c *upstreamConn, isAnswered bool) {
	u.mu.Lock()
	c.pipe.isProven = c.pipe.isProven || isAnswered
	if c.pipe.depth > 0 {
		c.pipe.depth--
		u.piped--
	}
	if u.isLeaving && c.pipe.depth == 0 {
		u.mu.Unlock()
		c.close()
		return
	}
	u.nextAndUnlock()
}

// join sends an exchange on a pipelined connection; false when that is of no use any more, and nothing was sent.
func (c *upstreamConn) join(ex *exchange) bool {
	p := c.pipe
	ex.at.Store(&c.here)
	c.mu.Lock()
	if c.isClosed || p.isOver {
		c.mu.Unlock()
		return false
	}
	if ex.isCancelled.Load() {
		c.mu.Unlock()
		c.u.inflight.Add(-1)
		ex.drop()
		c.u.pipeDone(c, false)
		return true
	}
	isFirst := !p.isBusy
	if s := (piped{ex: ex, isHead: string(ex.req.Method) == "HEAD"}); isFirst {
		c.awaitLocked(s)
	} else {
		p.behind = append(p.behind, s)
	}
	if isFirst && c.raw != nil && len(p.out) == 0 && !p.isWriting { // nobody else is about to join: it does not wait for pipeLoop
		o := getOutput()
		o.b = appendRequest(o.b, &ex.req, c.u.end.host)
		n, err := c.raw.TryWrite(o.b)
		if err != nil && n == 0 {
			c.ex, p.isBusy, c.isClosed = nil, false, true
			c.mu.Unlock()
			o.put()
			c.nc.Close()
			return false
		}
		p.out = append(p.out, o.b[n:]...) // an error after the first bytes is readLoop's to find
		o.put()
	} else {
		p.out = appendRequest(p.out, &ex.req, c.u.end.host)
		p.unsent++
	}
	hasMore := len(p.out) > 0
	c.mu.Unlock()
	if hasMore {
		wake(p.kickc)
	}
	return true
}

// awaitLocked makes s the one whose response comes next.
func (c *upstreamConn) awaitLocked(s piped) {
	c.ex, c.isHead, c.hasHead = s.ex, s.isHead, false
	c.pipe.isBusy, c.pipe.isOrphan, c.pipe.since = true, s.ex == nil, c.u.route.now()
}

// pipeLoop writes what could not be written at once, many requests together, until the connection is closed.
func (c *upstreamConn) pipeLoop() {
	p := c.pipe
	var buf []byte
	for range p.kickc {
		runtime.Gosched() // those about to join
		c.mu.Lock()
		for len(p.out) > 0 && !c.isClosed && !p.isOver {
			buf, p.out = p.out, buf[:0]
			p.unsent = 0
			p.isWriting = true
			c.mu.Unlock()
			err := c.writePiped(buf)
			if cap(buf) > keepBuffer {
				buf = nil
			}
			c.mu.Lock()
			p.isWriting = false
			if err != nil {
				p.isOver = true // an upstream that takes no more may still have sent responses: readLoop finds them, or the end
				if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
					c.nc.Close()
				}
				break
			}
		}
		isOver := c.isClosed || p.isOver
		c.mu.Unlock()
		if isOver {
			return
		}
	}
}

func (c *upstreamConn) writePiped(p []byte) error {
	if c.raw != nil {
		n, err := c.raw.TryWrite(p)
		if p = p[n:]; err != nil || len(p) == 0 {
			return err
		}
	}
	defer c.nc.SetWriteDeadline(time.Time{})
	for len(p) > 0 {
		c.nc.SetWriteDeadline(time.Now().Add(c.u.cfg.WriteTimeout))
		n, err := c.nc.Write(p[:min(len(p), 64<<10)])
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// cancelPiped is cancel: the response is read all the same, for those behind it, unless nobody waits there.
func (c *upstreamConn) cancelPiped(ex *exchange) bool {
	p := c.pipe
	c.mu.Lock()
	if c.ex == ex {
		c.ex, p.isOrphan = nil, true
	} else if i := slices.IndexFunc(p.behind, func(s piped) bool { return s.ex == ex }); i >= 0 {
		p.behind[i].ex = nil
	} else {
		c.mu.Unlock()
		return false
	}
	isAlone := c.isForNobodyLocked()
	c.mu.Unlock()
	if isAlone {
		c.close()
	}
	c.u.inflight.Add(-1)
	return true
}

// isForNobodyLocked reports whether nobody waits for what is to come.
func (c *upstreamConn) isForNobodyLocked() bool {
	return c.ex == nil && !c.isLent && !slices.ContainsFunc(c.pipe.behind, func(s piped) bool { return s.ex != nil })
}

// nextPiped goes on to the response behind the one that ended at used.
func (c *upstreamConn) nextPiped(used int, now time.Duration) error {
	p, in := c.pipe, c.in
	rest := len(in.b) - used
	c.mu.Lock()
	c.isLent = false
	if len(p.behind) > 0 {
		c.awaitLocked(p.behind[0])
		p.behind = slices.Delete(p.behind, 0, 1)
	} else {
		p.isBusy, p.isOrphan = false, false
	}
	isUnasked := rest > 0 && !p.isBusy
	p.isOver = p.isOver || isUnasked
	c.mu.Unlock()
	if isUnasked {
		return errUnasked
	}
	if rest == 0 {
		c.in = nil
		in.put(c.u.route.memory)
	} else {
		in.b = append(in.b[:0], in.b[used:]...)
		in.head.Reset()
	}
	c.idleSince.Store(int64(now))
	c.u.pipeDone(c, true)
	return nil
}

// failPiped sends those elsewhere that wait behind, once the connection is of no use to them.
func (c *upstreamConn) failPiped(err error) {
	p := c.pipe
	c.u.mu.Lock()
	c.u.dropPipeLocked(c)
	c.u.mu.Unlock()
	c.mu.Lock()
	p.isOver = true
	behind, unsent, isLast := p.behind, p.unsent, p.isLast
	p.behind, p.out, p.unsent = nil, nil, 0
	c.mu.Unlock()
	for i, s := range behind {
		if s.ex != nil {
			c.u.fail(s.ex, failure{code: wire.CodeUpstream, isMoved: true, isNotStarted: isLast || i >= len(behind)-unsent, err: err})
		}
	}
}

// sweepPiped fails those that wait behind and have no time left, and ends a connection on which the next response is
// overdue, or for nobody.
func (c *upstreamConn) sweepPiped(now time.Duration) {
	p := c.pipe
	var late []*exchange
	c.mu.Lock()
	for i := range p.behind {
		if s := &p.behind[i]; s.ex != nil && now >= s.ex.deadline {
			late = append(late, s.ex)
			s.ex = nil
		}
	}
	first := c.u.cfg.FirstByteTimeout
	isVain := p.isBusy && (c.isForNobodyLocked() || p.isOrphan && !c.hasHead && first > 0 && now-p.since >= first)
	c.mu.Unlock()
	for _, ex := range late {
		c.u.fail(ex, failure{code: wire.CodeTimeout, err: ErrTimeout})
	}
	if isVain {
		c.close()
	}
}
