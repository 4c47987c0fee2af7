package pool

import (
	"net"
	"syscall"
	"time"
)

// WireStats are what the kernel counted of TCP connections, TLS included and the headers of packets not. On systems
// other than Linux, and for connections that are no TCP, they are zero.
type WireStats struct {
	// BytesIn and BytesOut were received and sent; what was sent again counts again, and is BytesAgain.
	BytesIn, BytesOut, BytesAgain int64
	// PacketsIn and PacketsOut are TCP segments, those without data too.
	PacketsIn, PacketsOut int64
	// RoundTrip is the longest smoothed one of the connections open now.
	RoundTrip time.Duration
}

// LinkState is how the way to the peer is, as TCP sees it now. What is not known is zero.
type LinkState struct {
	// Unsent is how many of the bytes that were written the kernel has not sent yet, since the way takes no more.
	Unsent int
	// RoundTrip is the smoothed round trip, and LeastRoundTrip the least: what is between them is waiting.
	RoundTrip, LeastRoundTrip time.Duration
}

// Link asks the kernel how the way of the stream's connection is, a system call. On systems other than Linux there is only a
// LeastRoundTrip, of SETTINGS and PING.
func (s *Stream) Link() LinkState {
	if st, ok := linkOf(s.c.socket); ok {
		return st
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return LinkState{LeastRoundTrip: s.c.rtt}
}

// Add adds what other connections had.
func (w *WireStats) Add(other WireStats) {
	w.BytesIn += other.BytesIn
	w.BytesOut += other.BytesOut
	w.BytesAgain += other.BytesAgain
	w.PacketsIn += other.PacketsIn
	w.PacketsOut += other.PacketsOut
	w.RoundTrip = max(w.RoundTrip, other.RoundTrip)
}

// addGone adds what a connection had that is over, though its socket may be about to be closed yet.
func (w *WireStats) addGone(c *conn) {
	had := c.wireStats()
	had.RoundTrip = 0
	w.Add(had)
}

// socketOf finds the socket below TLS and other layers; nil when there is none.
func socketOf(nc net.Conn) syscall.RawConn {
	for {
		if sc, ok := nc.(syscall.Conn); ok {
			raw, err := sc.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		}
		layer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		nc = layer.NetConn()
	}
}

// closeSocket keeps what the kernel counted, and closes the connection.
func (c *conn) closeSocket() {
	if w, ok := wireOf(c.socket); ok {
		w.RoundTrip = 0
		c.wire.Store(&w)
	}
	c.nc.Close()
}

// wireStats asks the kernel; of a closed connection it tells the last.
func (c *conn) wireStats() WireStats {
	w, ok := wireOf(c.socket)
	if last := c.wire.Load(); !ok && last != nil {
		w = *last
	}
	return w
}
