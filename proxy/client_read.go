package proxy

import (
	"io"

	"github.com/h2tp/h2tp/proxy/internal/http1"
)

// What a client sends, and by whom it is read. A loop that watches the sockets of all clients takes requests that are
// whole and may begin, with no goroutine of theirs. All else is serveLoop's, which may wait, until the connection is idle again:
// streamed bodies, Upgrades, requests that come before the answer to the one before, what is wrong, and the end. Where there is
// no loop (TLS, pipes, other systems) serveLoop does it all.

// Acquire implements rawconn.Buffers: room for a read.
func (c *clientConn) Acquire() []byte {
	if c.next == nil {
		c.next = inputs.Get().(*input)
	}
	in := c.next
	in.b = grow(in.b, inputSize/4)
	return in.b[len(in.b):cap(in.b)]
}

// Release implements rawconn.Buffers: the read found nothing.
func (c *clientConn) Release() {
	if len(c.next.b) == 0 {
		c.next.put(c.f.route.memory)
		c.next = nil
	}
}

// read reads more into next, waiting for it.
func (c *clientConn) read() error {
	var n int
	var err error
	if c.raw != nil {
		n, err = c.raw.ReadInto(c)
	} else {
		n, err = c.nc.Read(c.Acquire())
		if n == 0 {
			c.Release()
		}
	}
	if n > 0 {
		return c.came(n)
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// came takes in that n bytes more are in next.
func (c *clientConn) came(n int) error {
	in := c.next
	in.b = in.b[:len(in.b)+n]
	c.f.route.stats.clientIn.Add(int64(n))
	c.begun.Store(true)
	if c.state.Load() == stateIdle {
		c.setState(stateReading)
	}
	if !c.f.route.memory.hold(&in.held, int64(cap(in.b)+cap(in.body.body))) {
		return errMemory
	}
	return nil
}

var errMemory = &http1.Error{Status: 503, Msg: "too much in memory"}

// serveLoop serves the connection until it ends, or until the loop watches it again.
func (c *clientConn) serveLoop() {
	if c.serve() {
		c.f.forget(c)
	}
}

// serve reports whether the connection is over; else it is another's by now.
func (c *clientConn) serve() (isOver bool) {
	if !c.isMet {
		if !c.meet() || !c.shake() {
			return true
		}
		c.isMet = true
		c.setState(stateIdle)
	}
	for {
		if c.watched != nil && c.next == nil && c.readErr == nil {
			c.watched.Watch(c.ready)
			return false
		}
		if err := c.readErr; err != nil {
			c.end(err)
			return true
		}
		n, isBulk, err := c.readRequest()
		if err != nil {
			c.end(err)
			return true
		}
		if !c.awaitIdle() {
			c.end(nil)
			return true
		}
		if !isBulk {
			c.start(n)
		} else if !c.serveBulk(n) {
			return true
		}
	}
}

// onReady takes what there is to read, on the loop's goroutine. All but whole requests that can be begun is handed to
// serveLoop.
func (c *clientConn) onReady() {
	for isMore := true; isMore; {
		var n int
		var err error
		if n, isMore, err = c.watched.TryReadInto(c); n > 0 {
			err = c.came(n)
		}
		if err == nil && n == 0 {
			return
		}
		if err != nil || !c.tryStart() {
			c.readErr = err
			c.watched.Leave()
			go c.serveLoop() // as the one before, it is awaited with the connection
			return
		}
	}
}

// tryStart begins the exchange of the request that is in next, if it is whole and may begin. It reports whether nothing is
// left to do but to wait for more.
func (c *clientConn) tryStart() bool {
	n, isBulk, err := c.parse()
	if n == 0 || err != nil || isBulk {
		return err == nil && !isBulk
	}
	c.mu.Lock()
	isBusy := c.isRunning || c.isClosed || c.mustClose
	c.mu.Unlock()
	if isBusy {
		return false
	}
	c.start(n)
	return c.next == nil // else a request follows that was not waited for
}

// readRequest reads one whole request into next and returns its length, or the
// head of a bulk one.
func (c *clientConn) readRequest() (n int, isBulk bool, err error) {
	for {
		if n, isBulk, err = c.parse(); n > 0 || err != nil {
			return n, isBulk, err
		}
		if err := c.read(); err != nil {
			return 0, false, err
		}
	}
}

// parse looks whether a whole request is in next, or the head of a bulk one: n is its length then, and 0 while more has to come.
func (c *clientConn) parse() (n int, isBulk bool, err error) {
	in := c.next
	if in == nil || len(in.b) == 0 || len(in.b) < in.need {
		return 0, false, nil
	}
	h := &in.head
	head, err := http1.ParseRequestHead(in.b, h, c.f.lim)
	if err != nil || head == 0 {
		return 0, false, err
	}
	h.Upgrade = withoutH2C(h.Upgrade)
	if h.ContentLength > maxUpgradeBody || h.ExpectContinue && (h.Chunked || h.ContentLength > 0) {
		h.Upgrade = nil // declined
	}
	switch {
	case c.f.cfg.isOver(h.ContentLength):
		return 0, false, errBodyLimit
	case h.Chunked:
		n, isBulk, err := c.wholeChunked(head)
		if isBulk || len(in.body.body) > maxUpgradeBody {
			h.Upgrade = nil
		}
		return n, isBulk || len(h.Upgrade) > 0, err
	case h.ContentLength <= 0 || len(h.Upgrade) == 0 && c.isBulk(h, len(in.b)-head):
		return head, c.isBulk(h, len(in.b)-head), nil
	}
	if in.need = head + int(h.ContentLength); len(in.b) < in.need {
		h.Reset() // the buffer may move under it
		return 0, false, nil
	}
	return in.need, len(h.Upgrade) > 0, nil
}

// maxUpgradeBody bounds the body of a request that asks for an Upgrade, which it sends first (RFC 9110 7.8): it has
// to be in one record beside a head. With a larger one, or one that is not whole at once, the Upgrade is declined.
const maxUpgradeBody = 32 << 10

// wholeChunked tells whether a chunked body is small and here already, so that it
// may travel in a batch.
func (c *clientConn) wholeChunked(head int) (n int, isBulk bool, err error) {
	in := c.next
	if err := in.body.reset(true, -1, maxWhole, c.f.lim); err != nil {
		return 0, false, err
	}
	n, isDone, err := in.body.take(in.b[head:], 0)
	switch {
	case err != nil:
		return 0, false, err
	case !isDone || len(in.body.body) > c.f.cfg.BatchLimit || c.f.cfg.isOver(int64(len(in.body.body))):
		return head, true, nil
	}
	return head + n, false, nil
}
