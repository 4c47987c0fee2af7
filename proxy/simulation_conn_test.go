package proxy

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// simPair is a connection of the simulation: its bytes take time, and it may break at any
// of them. One lock guards both ends.
type simPair struct {
	net    *simNet
	number int
	addr   string // that was dialled
	random *rand.Rand
	ends   [2]*simConn // who dialled, and who accepted

	mu       sync.Mutex // guards all below
	cond     *sync.Cond
	err      error // it is broken
	isFrozen bool  // nothing arrives, as when a process is stopped or a packet filter is in the way
}

// simConn is one end.
type simConn struct {
	pair       *simPair
	local      net.Addr
	peer       *simConn
	in         simFlow // towards this end
	isClosed   bool
	readUntil  simDeadline
	writeUntil simDeadline
}

// simFlow is one direction.
type simFlow struct {
	chunks    []simChunk
	size      int       // what waits to be read
	total     int64     // ever written
	isEnded   bool      // its writer has ended it
	isLost    bool      // what is written disappears
	notBefore time.Time // what is written arrives
	wakeAt    time.Time // when a reader is to be woken for what arrives then
	fault     simFault
	faultAt   int64
}

type simChunk struct {
	at time.Time
	b  []byte
}

// simRoom is what a direction holds before its writer waits.
const simRoom = 64 << 10

func newSimPair(n *simNet, addr string, number int, random *rand.Rand) *simPair {
	p := &simPair{net: n, addr: addr, number: number, random: random}
	p.cond = sync.NewCond(&p.mu)
	near := &simConn{pair: p, local: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1024 + number}}
	far := &simConn{pair: p, local: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 80}, peer: near}
	near.peer = far
	p.ends = [2]*simConn{near, far}
	for _, c := range p.ends {
		if random.Float64() < n.faulty {
			c.in.fault = faultReset + simFault(random.IntN(int(lastFault-faultReset)))
			// Most of what there is to break is in the first bytes.
			c.in.faultAt = int64(random.IntN(1 << (1 + random.IntN(18))))
		}
	}
	return p
}

func (c *simConn) Read(b []byte) (int, error) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case c.isClosed:
			return 0, net.ErrClosed
		case c.readUntil.isPast(now):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case !p.isFrozen && len(c.in.chunks) > 0 && (!now.Before(c.in.chunks[0].at) || p.err != nil):
			return c.takeLocked(b), nil
		case p.err != nil:
			return 0, p.err
		case !p.isFrozen && len(c.in.chunks) == 0 && c.in.isEnded:
			return 0, io.EOF
		}
		if k := c.in.chunks; len(k) > 0 && now.Before(k[0].at) && c.in.wakeAt != k[0].at {
			c.in.wakeAt = k[0].at
			time.AfterFunc(k[0].at.Sub(now), p.wake)
		}
		p.cond.Wait()
	}
}

func (c *simConn) takeLocked(b []byte) int {
	first := &c.in.chunks[0]
	n := copy(b, first.b)
	if first.b = first.b[n:]; len(first.b) == 0 {
		c.in.chunks = c.in.chunks[1:]
	}
	c.in.size -= n
	c.pair.cond.Broadcast()
	return n
}

func (c *simConn) Write(b []byte) (written int, err error) {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	to := &c.peer.in
	for {
		switch {
		case c.isClosed:
			return written, net.ErrClosed
		case p.err != nil:
			return written, p.err
		case to.isEnded:
			return written, syscall.EPIPE
		case c.writeUntil.isPast(time.Now()):
			return written, os.ErrDeadlineExceeded
		case len(b) == 0:
			return written, nil
		case c.peer.isClosed: // as a kernel answers: the write is taken, and the next fails
			p.resetLocked(false)
			return written + len(b), nil
		}
		n := min(len(b), simRoom-to.size)
		if n <= 0 {
			p.cond.Wait()
			continue
		}
		if to.fault != noFault && to.total+int64(n) > to.faultAt {
			n = int(max(0, to.faultAt-to.total))
			c.putLocked(b[:n])
			b, written = b[n:], written+n
			c.breakLocked()
			continue
		}
		c.putLocked(b[:n])
		b, written = b[n:], written+n
	}
}

// putLocked sends bytes on their way, in one piece or several.
func (c *simConn) putLocked(b []byte) {
	to, p := &c.peer.in, c.pair
	to.total += int64(len(b))
	for len(b) > 0 {
		n := len(b)
		if p.random.IntN(8) == 0 {
			n = 1 + p.random.IntN(n)
		}
		to.size += n
		if !to.isLost {
			at := time.Now().Add(p.net.delay(p.random))
			if at.Before(to.notBefore) {
				at = to.notBefore
			}
			if k := len(to.chunks); k > 0 && at.Before(to.chunks[k-1].at) {
				at = to.chunks[k-1].at
			}
			to.chunks = append(to.chunks, simChunk{at: at, b: append([]byte(nil), b[:n]...)})
		}
		b = b[n:]
	}
	p.cond.Broadcast()
}

func (p *simPair) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cond.Broadcast()
}

// CloseWrite ends what this end sends.
func (c *simConn) CloseWrite() error {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	c.peer.in.isEnded = true
	c.pair.cond.Broadcast()
	return nil
}

// Close ends both directions; with bytes that were not read the peer is told of a reset.
func (c *simConn) Close() error {
	p := c.pair
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	c.isClosed = true
	if c.in.size > 0 && !c.in.isLost && p.err == nil {
		p.resetLocked(p.random.IntN(2) == 0)
	}
	c.peer.in.isEnded = !c.peer.in.isLost
	if c.peer.isClosed {
		p.net.forget(p)
	}
	p.cond.Broadcast()
	return nil
}

func (c *simConn) LocalAddr() net.Addr  { return c.local }
func (c *simConn) RemoteAddr() net.Addr { return c.peer.local }

func (c *simConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}
func (c *simConn) SetReadDeadline(t time.Time) error  { return c.set(&c.readUntil, t) }
func (c *simConn) SetWriteDeadline(t time.Time) error { return c.set(&c.writeUntil, t) }

// simDeadline is a point in time, and what wakes those it ends.
type simDeadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *simDeadline) isPast(now time.Time) bool { return !d.at.IsZero() && !now.Before(d.at) }

func (c *simConn) set(d *simDeadline, at time.Time) error {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), c.pair.wake)
	}
	return nil
}
