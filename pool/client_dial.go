package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// steadyAfter is how long a connection must have lived for its loss to be
// followed by a dial at once; one that dies young counts as a failed dial.
const steadyAfter = 2 * time.Second

// pickLocked returns the connection with room that has the fewest streams, of
// those that are kept; of the others only when these are full or busy, so that they
// empty.
// Before all it is the one of beside.
func (c *Client) pickLocked(beside *Stream) *conn {
	if beside != nil {
		if beside.c.hasRoomBeside() {
			return beside.c
		}
	}
	var best, busy *conn
	least := 0
	for i, cn := range c.conns {
		if best != nil && i >= c.cfg.Conns {
			break
		}
		ok, n := cn.hasRoom()
		switch {
		case !ok:
		case cn.isBusyNow():
			busy = cn
		case best == nil || n < least:
			best, least = cn, n
		}
	}
	if best == nil {
		return busy
	}
	return best
}

// dialLoop keeps the configured number of connections, one dial at a time, and
// opens and closes those above it.
func (c *Client) dialLoop() {
	for c.ctx.Err() == nil {
		if !c.isShort() {
			c.awaitChange(c.trim())
			continue
		}
		if d := c.nextBackoff(); d > 0 && !c.sleep(d) {
			return
		}
		c.noteDial(c.dial())
	}
}

// noteDial notes how a dial went, and logs the first of several that failed.
func (c *Client) noteDial(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	if err != nil {
		c.isYoung = true
		c.errors++
		if c.dialErr == nil && !c.isLost {
			c.cfg.Logger.Warn("no connection", "peer", c.cfg.Addr, "err", err)
		}
	} else {
		c.isLost = false
		c.cfg.Logger.Info("connected", "peer", c.cfg.Addr)
	}
	c.dialErr = err
	c.broadcastLocked()
}

// nextBackoff returns how long to wait before the next dial: not at all unless the
// last one failed, or what it made was lost soon.
func (c *Client) nextBackoff() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isYoung {
		return 0
	}
	c.isYoung = false
	c.backoff = min(max(2*c.backoff, c.cfg.BackoffMin), c.cfg.BackoffIdle)
	return c.backoff
}

// isShort reports whether a connection is missing: one of those that are kept, or
// one with room while somebody waits for it, or one that is not busy.
func (c *Client) isShort() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	usable, roomy, busy := 0, 0, 0
	for _, cn := range c.conns {
		if cn.isUsable() {
			usable++
		} else {
			c.noteLossLocked(cn)
		}
		if ok, _ := cn.hasRoom(); ok {
			roomy++
		}
		if cn.isBusyNow() {
			busy++
		}
	}
	isWanted := usable < c.cfg.Conns || roomy == 0 && c.waiters > 0 || busy > 0 && busy == roomy
	return isWanted && len(c.conns) < c.cfg.MaxConns && !c.isDraining
}

// noteLossLocked notes once that a connection takes no more streams.
func (c *Client) noteLossLocked(cn *conn) {
	if cn.isLost {
		return
	}
	cn.isLost = true
	if time.Since(cn.start) < steadyAfter {
		c.isYoung = true
	} else {
		c.backoff = 0
	}
}

// trim closes the connections above those that are kept which had no stream for
// IdleTimeout, and tells when to look again; 0 is never.
func (c *Client) trim() time.Duration {
	if c.cfg.IdleTimeout < 0 {
		return 0
	}
	c.mu.Lock()
	var extra []*conn
	n := 0
	for _, cn := range c.conns {
		if cn.isUsable() {
			if n++; n > c.cfg.Conns {
				extra = append(extra, cn)
			}
		}
	}
	c.mu.Unlock()
	next := time.Duration(0)
	for _, cn := range extra {
		if left := c.cfg.IdleTimeout - cn.idleFor(); left <= 0 {
			c.mu.Lock()
			cn.isLost = true
			c.mu.Unlock()
			cn.drain()
		} else if next == 0 || left < next {
			next = left
		}
	}
	return next
}

// awaitChange waits until the connections may be too few, or for d.
func (c *Client) awaitChange(d time.Duration) {
	var timerc <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timerc = timer.C
	}
	select {
	case <-c.wakec:
	case <-timerc:
	case <-c.ctx.Done():
	}
}

// sleep waits out a back-off; one that began while nobody waited for a
// connection is cut to BackoffMax when somebody does.
func (c *Client) sleep(backoff time.Duration) bool {
	jitter := func(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }
	began := time.Now()
	long, short := jitter(backoff), jitter(min(backoff, c.cfg.BackoffMax))
	for {
		c.mu.Lock()
		d := long
		if c.waiters > 0 {
			d = min(short, long)
		}
		c.mu.Unlock()
		d -= time.Since(began)
		if d <= 0 {
			return true
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-c.wakec:
		case <-c.ctx.Done():
		}
		timer.Stop()
		if c.ctx.Err() != nil {
			return false
		}
	}
}

// dial makes one connection and starts it; it is usable when dial returns nil.
func (c *Client) dial() error {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.DialTimeout)
	defer cancel()
	c.mu.Lock()
	c.dials++
	c.mu.Unlock()
	addr, err := c.cfg.Resolve(ctx)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", c.cfg.Addr, err)
	}
	began := time.Now()
	c.cfg.Trace.dialing(addr)
	cn, err := c.connect(ctx, addr)
	if err == nil {
		err = c.adopt(cn)
	}
	c.cfg.Trace.connected(addr, began, err)
	return err
}

// adopt makes cn one of the connections, unless it is over already: remove then
// came too early to find it.
func (c *Client) adopt(cn *conn) error {
	c.mu.Lock()
	cn.mu.Lock()
	err := cn.err
	cn.mu.Unlock()
	if err == nil {
		c.conns = append(c.conns, cn)
	}
	isClosed := c.isDraining
	c.mu.Unlock()
	if isClosed {
		cn.close(ErrClosed)
	}
	return err
}

// connect dials addr, and returns when the peer's SETTINGS have come.
func (c *Client) connect(ctx context.Context, addr string) (*conn, error) {
	nc, err := c.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		if _, isNamed := errors.AsType[*net.OpError](err); isNamed {
			return nil, err
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	tc, state, err := handshake(ctx, nc, true, c.cfg.common())
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	cn := newConn(tc, true, &c.cfg.Common)
	cn.addr = addr
	cn.busyStreams, cn.busyc = c.cfg.BusyStreams, c.wakec
	cn.tlsState = state
	cn.onChange = c.connChanged
	c.wg.Go(func() { c.runConn(cn) })
	select {
	case <-cn.readyc:
	case <-cn.donec:
	case <-ctx.Done():
		cn.close(fmt.Errorf("no SETTINGS: %w", ctx.Err()))
	}
	cn.mu.Lock()
	err = cn.err
	cn.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return cn, nil
}

// runConn serves cn and removes it when it is over.
func (c *Client) runConn(cn *conn) {
	err := cn.run()
	if c.remove(cn, err) {
		c.cfg.Trace.disconnected(cn.addr, err)
	}
}

// remove reports whether cn had come to use.
func (c *Client) remove(cn *conn, err error) (isKnown bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytesIn += cn.bytesIn.Load()
	c.bytesOut += cn.bytesOut.Load()
	c.wire.addGone(cn)
	for i, x := range c.conns {
		if x == cn {
			isKnown = true
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			break
		}
	}
	if isKnown && !errors.Is(err, ErrClosed) {
		c.noteLossLocked(cn)
		if !errors.Is(err, ErrGoAway) && c.ctx.Err() == nil && !c.isDraining {
			c.errors++
			c.isLost = true
			c.cfg.Logger.Warn("connection lost", "peer", c.cfg.Addr, "err", err)
		}
	}
	c.broadcastLocked()
	return isKnown
}

// connChanged is called without a connection's lock held, when its room for
// streams, or whether it is usable, may have changed.
func (c *Client) connChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passLocked()
	wake(c.wakec)
}

func (c *Client) broadcastLocked() {
	close(c.changedc)
	c.changedc = make(chan struct{})
	wake(c.wakec)
}
