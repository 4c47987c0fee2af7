//go:build linux && !386 && !s390x && !h2tp_portable

package rawconn

import (
	"syscall"
	"testing"
)

// The kernel takes the bound, and lets go of it.
func TestBoundIsTheSockets(t *testing.T) {
	c, _ := pair(t, "tcp")
	held := func() int {
		var n int
		c.raw.Control(func(fd uintptr) { n, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF) })
		return n
	}
	if rtt, least, _, ok := roundTrips(c.raw); !ok || rtt <= 0 || least > rtt {
		t.Errorf("round trips: got %v, %v, %v", rtt, least, ok)
	}
	setHeld(c.raw, 64<<10)
	if got := held(); got != 64<<10 {
		t.Errorf("bound: got %d; want %d", got, 64<<10)
	}
	c.bound.size = 64 << 10
	c.BoundQueue(false)
	if c.bound.size != 0 {
		t.Errorf("bound after its end: %d", c.bound.size)
	}
}
