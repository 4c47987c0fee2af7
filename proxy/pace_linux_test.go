//go:build !h2tp_portable && !h2tp_noloop

package proxy

import (
	"syscall"
	"testing"
)

// The kernel must not take megabytes for a client that reads nothing.
func TestKernelHoldsLittleForAClient(t *testing.T) {
	f, addr := startFront(t, Config{Handler: okHandler})
	dialClient(t, addr).get("/").want(t, 200, "a request")
	const tcpNotsentLowat = 25
	for _, c := range f.list() {
		c.watched.Control(func(fd uintptr) error {
			if n, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat); n != clientUnsent || err != nil {
				t.Errorf("TCP_NOTSENT_LOWAT is %d, %v; want %d", n, err, clientUnsent)
			}
			return nil
		})
	}
}
