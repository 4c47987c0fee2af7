package pool

import "time"

// A second connection costs processor time, a half more with a hundred streams, and
// gives nothing until the socket of the first is what very many streams wait for
// (bench/README.md). So it takes that, and for some time.

// busyAfter is how long that has to last.
const busyAfter = time.Second

// noteBusyLocked looks, after a write to the socket, how many streams still wait
// for it.
func (c *conn) noteBusyLocked() {
	if c.busyStreams <= 0 {
		return
	}
	switch {
	case len(c.blocked)+len(c.bulk) < c.busyStreams || c.sendWindow <= 0:
		c.busySince = time.Time{}
		c.isBusy = false
	case c.busySince.IsZero():
		c.busySince = c.writeSince
	case !c.isBusy && c.writeSince.Sub(c.busySince) >= busyAfter:
		c.isBusy = true
		wake(c.busyc)
	}
}

// isBusyNow reports whether streams had better be opened on another connection.
func (c *conn) isBusyNow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isBusy
}
