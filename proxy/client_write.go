package proxy

import (
	"net"
	"strconv"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// What a client is sent, and by whom: whoever brings a response writes it as far as the socket
// takes it at once, and restLoop writes the rest.

// refuse writes an error and waits a little for the client to read it: closing
// with input unread would reset the connection under it.
func (c *clientConn) refuse(status int, text string) {
	c.f.route.meter.refuse(status)
	o := getOutput()
	defer o.put()
	o.b = http1.AppendStatusLine(o.b, status, nil)
	o.b = http1.AppendField(o.b, "Content-Type", "text/plain; charset=utf-8")
	o.b = c.appendHSTS(o.b)
	if status == 503 {
		o.b = http1.AppendField(o.b, "Retry-After", "1")
	}
	o.b = appendLength(o.b, len(text)+1)
	o.b = http1.AppendEnd(o.b, http1.HopClose)
	o.b = append(append(o.b, text...), '\n')
	c.nc.SetDeadline(time.Now().Add(time.Second))
	n, err := c.nc.Write(o.b)
	c.f.route.stats.clientOut.Add(int64(n))
	if err == nil {
		c.awaitRead()
	}
}

// awaitRead ends this side and gives the client a moment to read what it was sent:
// it drops what still comes, up to a second and 1 MiB.
func (c *clientConn) awaitRead() {
	cw, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || cw.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(time.Second))
	var trash [4096]byte
	for left := 1 << 20; left > 0; {
		n, err := c.nc.Read(trash[:])
		if err != nil {
			return
		}
		left -= n
	}
}

var nameHSTS = []byte("Strict-Transport-Security")

// secured adds the field that keeps a browser to https, where one is to be said. It lasts as long as o.
func (c *clientConn) secured(resp *wire.Response, o *output) *wire.Response {
	if c.f.hsts == nil || fieldValue(resp.Fields, "strict-transport-security") != nil {
		return resp
	}
	o.fields = append(append(o.fields[:0], resp.Fields...), wire.Field{Name: nameHSTS, Value: c.f.hsts})
	o.resp = *resp
	o.resp.Fields = o.fields
	return &o.resp
}

// appendHSTS is secured for what h2tp answers by itself.
func (c *clientConn) appendHSTS(dst []byte) []byte {
	if c.f.hsts == nil {
		return dst
	}
	return http1.AppendField(dst, nameHSTS, c.f.hsts)
}

// respond implements sink.
func (c *clientConn) respond(_ *exchange, resp *wire.Response) {
	isFinal := resp.Status >= 200
	if !isFinal && (c.minor == 0 || resp.Status == 100 && (c.src == nil || !c.src.isAwaited)) {
		return // RFC 9110 15.2: not for HTTP/1.0; and a 100 nobody waits for is noise
	}
	if resp.Status == 100 {
		c.src.isContinued.Store(true)
	}
	var hop http1.Hop
	if isFinal {
		c.hasAnswered = true
		if c.src != nil {
			c.src.isAnswered.Store(true)
			c.src.closeUnlessWhole()
		}
		hop = c.hop()
	}
	o := getOutput()
	if isFinal {
		resp = c.secured(resp, o)
	}
	o.b = appendResponse(o.b, resp, c.isHead, c.minor, hop)
	c.write(o.b, isFinal)
	o.put()
}

// hop decides whether the connection goes on, and how the client is told.
func (c *clientConn) hop() http1.Hop {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.f.isDraining.Load() {
		c.mustClose = true
	}
	switch {
	case c.mustClose:
		return http1.HopClose
	case c.isKA10:
		return http1.HopKeepAlive
	}
	return 0
}

// fail implements sink.
func (c *clientConn) fail(_ *exchange, f failure) {
	c.hasAnswered = true
	if c.src != nil {
		c.src.closeUnlessWhole()
	}
	status, token := statusOf(f)
	if f.err != nil {
		c.f.log.Debug("exchange failed", "status", status, "why", token, "err", f.err)
	}
	o := getOutput()
	o.b = http1.AppendStatusLine(o.b, status, nil)
	o.b = http1.AppendField(o.b, "Content-Type", "text/plain; charset=utf-8")
	o.b = c.appendHSTS(o.b)
	if status == 503 {
		o.b = append(o.b, "Retry-After: "...)
		o.b = strconv.AppendUint(o.b, uint64(f.retryAfter()), 10)
		o.b = append(o.b, '\r', '\n')
	}
	text := http1.StatusText(status)
	o.b = appendLength(o.b, len(text)+1)
	o.b = http1.AppendEnd(o.b, c.hop())
	if !c.isHead {
		o.b = append(append(o.b, text...), '\n')
	}
	c.write(o.b, true)
	o.put()
}

// maxInterim bounds the interim responses that wait for a client which does not read them; one that lets more wait is cut
// off, whatever the upstream sends.
const maxInterim = 128 << 10

// write hands p to the kernel, as far as it takes it at once, and the rest to
// restLoop; p is not kept. With isLast the exchange is over after it.
func (c *clientConn) write(p []byte, isLast bool) {
	c.mu.Lock()
	if c.isResting { // behind what is waiting
		c.isLast = c.isLast || isLast
		isOK := !c.isClosed && (isLast || len(c.rest)+len(p) <= maxInterim)
		if isOK {
			c.rest = append(c.rest, p...)
			isOK = c.f.route.memory.hold(&c.restHeld, int64(len(c.rest)+c.restOut))
		}
		c.isClosed = c.isClosed || !isOK
		c.mu.Unlock()
		if !isOK {
			c.nc.Close() // restLoop lets go of what it holds
		}
		return
	}
	isClosed := c.isClosed
	c.mu.Unlock()
	n := 0
	var err error
	if isClosed {
		err = net.ErrClosed
	} else if c.raw != nil {
		n, err = c.raw.TryWrite(p)
		c.f.route.stats.clientOut.Add(int64(n))
	}
	switch {
	case err != nil:
		c.mu.Lock()
		c.isClosed = true
		c.mu.Unlock()
		c.nc.Close()
		if isLast {
			c.over()
		}
	case n == len(p):
		if isLast {
			c.over()
		}
	default:
		c.mu.Lock()
		c.rest = append([]byte(nil), p[n:]...)
		c.isResting, c.isLast = true, isLast
		isOK := c.f.route.memory.hold(&c.restHeld, int64(len(c.rest)))
		c.mu.Unlock()
		if !isOK { // slow readers hold all there is: this one is let go
			c.nc.Close()
		}
		c.f.wg.Go(c.restLoop)
	}
}

// restLoop writes what the socket did not take at once. It ends when nothing is
// left, or when the client does not keep pace.
func (c *clientConn) restLoop() {
	for {
		c.mu.Lock()
		p := c.rest
		c.rest, c.restOut = nil, len(p)
		isLast := c.isLast
		if len(p) == 0 {
			c.isResting = false
			c.rested.Broadcast()
			c.restOut = 0
			c.f.route.memory.free(&c.restHeld)
			c.nc.SetWriteDeadline(time.Time{})
			c.mu.Unlock()
			if isLast {
				c.over()
			}
			return
		}
		c.mu.Unlock()
		if err := c.writeAll(p); err != nil {
			c.mu.Lock()
			c.isClosed, c.isResting, c.rest = true, false, nil
			c.rested.Broadcast()
			c.f.route.memory.free(&c.restHeld)
			isLast = c.isLast
			c.mu.Unlock()
			c.nc.Close()
			if isLast {
				c.over()
			}
			return
		}
	}
}

// awaitRest waits, on a goroutine that may, until restLoop has ended.
func (c *clientConn) awaitRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.isResting {
		c.rested.Wait()
	}
}
