//go:build unix && (!linux || 386 || s390x)

package rawconn

import (
	"syscall"
	"time"
)

func roundTrips(syscall.RawConn) (rtt, least time.Duration, unacked int, ok bool) {
	return 0, 0, 0, false
}

func setHeld(syscall.RawConn, int) {}
