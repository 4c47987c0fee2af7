package proxy

import (
	"errors"
	"net"
	"time"
)

// rateWindow is how long a client that is waited for is measured before it is judged by MinRate: the time it has at first,
// and how long one that was fast may then be slow.
const rateWindow = 10 * time.Second

var errPace = errors.New("client is too slow")

// pace holds a client to a timeout without a byte and to a least rate. Only the time that it is waited for counts: a
// client is not to blame for a slow upstream. It is owned by the one who waits.
type pace struct {
	waited time.Duration // in this window
	moved  int64         // bytes in this window
	still  time.Duration // waited since the last byte
}

// left is how long the next wait may last before spent is to be told; 0 is without end.
func (p *pace) left(timeout time.Duration, rate int) time.Duration {
	d := time.Duration(0)
	if timeout > 0 {
		d = max(timeout-p.still, 1)
	}
	if rate > 0 && (d == 0 || rateWindow-p.waited < d) {
		d = max(rateWindow-p.waited, 1)
	}
	return d
}

// spent notes a wait and the bytes that came of it; false when the client is too slow.
func (p *pace) spent(d time.Duration, n int64, timeout time.Duration, rate int) bool {
	p.waited += d
	p.moved += n
	p.still += d
	if n > 0 {
		p.still = 0
	}
	if timeout > 0 && p.still >= timeout {
		return false
	}
	if p.waited < rateWindow {
		return true
	}
	isFast := rate <= 0 || float64(p.moved) >= float64(rate)*p.waited.Seconds()
	p.waited, p.moved = 0, 0
	return isFast
}

// writeAll writes p to the client, waiting for it as long as it keeps pace. restLoop calls it, or the one who writes a
// streamed body.
func (c *clientConn) writeAll(p []byte) error {
	timeout, rate := c.f.cfg.WriteTimeout, c.f.cfg.MinRate
	_, isTLS := c.nc.(*tlsConn)
	for len(p) > 0 {
		began, queued := time.Now(), c.queued()
		d, piece := c.out.left(timeout, rate), 64<<10
		if isTLS { // it does not survive a timeout: the rate is judged between records
			d, piece = timeout, 16<<10
		}
		if d > 0 {
			c.nc.SetWriteDeadline(began.Add(d))
		}
		n, err := c.nc.Write(p[:min(len(p), piece)])
		p = p[n:]
		c.f.route.stats.clientOut.Add(int64(n))
		taken := int64(n - (c.queued() - queued))
		if !c.out.spent(time.Since(began), taken, timeout, rate) {
			return errPace
		}
		if ne, ok := errors.AsType[net.Error](err); err != nil && (isTLS || !ok || !ne.Timeout()) {
			return err
		}
	}
	return nil
}

// queued is what the kernel holds of what was written, where it tells: it takes megabytes at once, and then nothing until a
// third of them has gone, which says little of a client that reads slowly.
func (c *clientConn) queued() int {
	if c.sock == nil {
		return 0
	}
	return c.sock.Queued()
}
